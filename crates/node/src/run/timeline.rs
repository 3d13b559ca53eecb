//! When each frame of an Output is shown. Pure.
//!
//! Without frame-rate conversion an Output's frames are the Source's, at the Source's own times. With it they stand on
//! one grid that counts from the Output's zero, so that all Segments share one phase.

use super::frames::grid;
use recode_types::{FrameTable, Rational, Segment, SourceFacts, TimeBase};

const MICRO: TimeBase = Rational::new(1, 1_000_000);

/// Whether nothing of the Source comes after a planned Segment.
pub fn is_last(table: &FrameTable, segment: &Segment) -> bool {
    segment.row_range().end >= table.rows.len()
}

/// The times of one Output.
#[derive(Clone, Debug)]
pub struct Timeline<'a> {
    table: &'a FrameTable,
    rate: Option<Rational>,
    /// The Output's zero on the table's clock, in the table's ticks.
    zero: i64,
    first_row: usize,
    end_pts: i64,
    to_end: bool,
    /// Seconds per tick of what [`Timeline::of_segment`] gives.
    pub time_base: TimeBase,
    /// How long the last frame stays.
    pub last_duration: i64,
}

impl<'a> Timeline<'a> {
    /// `segments` are those of the Plan, in order; `to_end`: nothing of the Source comes after the last.
    pub fn new(
        facts: &SourceFacts,
        table: &'a FrameTable,
        rate: Option<Rational>,
        segments: &[Segment],
        start_us: Option<i64>,
        to_end: bool,
    ) -> Self {
        let rate = rate.map(Rational::reduced);
        let zero = MICRO.rescale(facts.start_us + start_us.unwrap_or(0), table.time_base);
        let first_row = segments.first().map_or(0, |s| s.first_row as usize);
        let end_row = segments
            .last()
            .map_or(0, |s| (s.first_row + s.rows) as usize);
        let end_pts = segments.last().map_or(0, |s| s.end_pts);
        let last_duration = match rate {
            Some(_) => 1,
            None if end_row == table.rows.len() => table.last_duration.max(1),
            None => end_row
                .checked_sub(1)
                .map_or(1, |last| (end_pts - table.rows[last].pts).max(1)),
        };
        Self {
            table,
            rate,
            zero,
            first_row,
            end_pts,
            to_end,
            time_base: rate.map_or(table.time_base, |r| TimeBase::new(r.den, r.num)),
            last_duration,
        }
    }

    /// The Output's zero on the table's clock, in the table's ticks.
    pub fn zero(&self) -> i64 {
        self.zero
    }

    /// Times of the frames that `segment` contributes: ticks of [`Timeline::time_base`] from the Output's zero.
    pub fn of_segment(&self, segment: &Segment) -> Vec<i64> {
        match self.rate {
            None => self.table.rows[segment.row_range()]
                .iter()
                .map(|row| row.pts - self.zero)
                .collect(),
            Some(rate) => {
                // What comes before the Output's first frame shows that frame; nothing is made before it.
                let start = segment.start_pts - self.zero;
                grid(
                    start,
                    segment.end_pts - self.zero,
                    self.to_end && segment.end_pts == self.end_pts,
                    self.table.time_base,
                    rate,
                )
                .collect()
            }
        }
    }

    /// From the Output's first frame to its end.
    pub fn duration_us(&self) -> i64 {
        let first = self.table.rows.get(self.first_row).map_or(0, |row| row.pts);
        self.table.time_base.rescale(self.end_pts - first, MICRO)
    }

    /// A time in ticks of [`Timeline::time_base`] in microseconds.
    pub fn micros(&self, ticks: i64) -> i64 {
        self.time_base.rescale(ticks, MICRO)
    }
}
