//! Segments: half-open spans of the source timeline that can be encoded on their own.

use serde::{Deserialize, Serialize};

/// A half-open span of the frame table. Segments are sorted, contiguous and cover the wanted rows exactly.
///
/// A frame belongs to exactly one Segment by its timestamp, so Segments partition the Source by construction.
/// The same for all Renditions and for any set of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Position in the Plan, from 0.
    pub index: u32,
    /// First row of the frame table that belongs to it.
    pub first_row: u32,
    /// Number of rows; at least 1.
    pub rows: u32,
    /// PTS of the first row, in the table's time base. Closed end.
    pub start_pts: i64,
    /// PTS of the first row of the next Segment, or one past the last wanted frame's PTS. Open end.
    pub end_pts: i64,
}

impl Segment {
    /// Rows of the frame table that belong to this Segment.
    pub fn row_range(&self) -> std::ops::Range<usize> {
        self.first_row as usize..(self.first_row + self.rows) as usize
    }
}
