//! FFmpeg's command line, typed. Pure: values in, argument lists out. Nothing a user writes reaches FFmpeg as it is:
//! every choice is a type or comes out of a list here.

pub mod audio;
pub mod copy;
pub mod encode;
pub mod encoder;
mod graph;
pub(crate) mod list;
pub mod mux;
pub(crate) mod origin;
pub mod whole;

use recode_types::FrameTable;
use std::ops::Range;
use std::path::PathBuf;

/// Changes whenever the same wish makes other bytes by the same FFmpeg: Chunks that an earlier release made do not join with those
/// of this one.
pub const GENERATION: u32 = 1;

/// Where pictures come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The file.
    pub path: PathBuf,
    /// FFmpeg's demuxer, so that nothing is guessed; `None` lets it guess.
    pub demuxer: Option<&'static str>,
    /// FFmpeg's index of the video stream in this file.
    pub stream: u32,
    /// Which clock the decoded frames carry.
    pub clock: Clock,
    /// Decoder threads. What is made of damage, even how many frames, depends on their number.
    pub threads: u32,
}

/// The clock of decoded frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// As stored: for clips, whose timestamps we wrote ourselves.
    Stored,
    /// As a plain FFmpeg process that uses every stream would have it: starts near 0, jumps are mended. For the Source
    /// itself, read from its beginning.
    Plain,
}

/// Which of the decoded frames are wanted. Neighbours are used as context and do not reach the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// By timestamp, in ticks of the decoded frames' time base.
    Time {
        /// First wanted frame.
        start_pts: i64,
        /// One past the last wanted frame, at most the next frame's PTS. `None`: to the end.
        end_pts: Option<i64>,
        /// The frame before the first, where the input has it.
        before_pts: Option<i64>,
        /// The frame after the last, where the input has it.
        after_pts: Option<i64>,
    },
    /// By number in decoding output, from 0: for Sources whose timestamps cannot be relied on.
    Ordinal {
        /// First wanted frame.
        first: u64,
        /// How many.
        count: u64,
        /// More frames come after.
        more: bool,
        /// When they are shown: only a change of the frame rate asks for that.
        times: RowTimes,
    },
}

/// What the frame table says of the times of some rows, in its ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowTimes {
    /// Of the row before the first, or of the first where none is before it.
    pub from_pts: i64,
    /// Of the first row.
    pub start_pts: i64,
    /// Of the row after the last.
    pub after_pts: Option<i64>,
    /// From each to the next, neighbours included. `None`: they are not alike, and the decoder's own distances have to do.
    pub step: Option<i64>,
}

impl RowTimes {
    /// Of these rows of a table.
    /// # Panics
    /// When there are none.
    pub fn of(table: &FrameTable, rows: Range<usize>) -> Self {
        let around = rows.start.saturating_sub(1)..table.rows.len().min(rows.end + 1);
        let from_pts = table.rows[around.start].pts;
        let mut steps = table.rows[around]
            .windows(2)
            .map(|two| two[1].pts - two[0].pts);
        let first = steps.next();
        Self {
            from_pts,
            start_pts: table.rows[rows.start].pts,
            after_pts: table.rows.get(rows.end).map(|row| row.pts),
            step: first.filter(|first| steps.all(|step| step == *first)),
        }
    }
}

impl Span {
    /// Whether a context frame before and after is there.
    pub fn neighbours(&self) -> (bool, bool) {
        match *self {
            Self::Time {
                before_pts,
                after_pts,
                ..
            } => (before_pts.is_some(), after_pts.is_some()),
            Self::Ordinal { first, more, .. } => (first > 0, more),
        }
    }

    /// When its first frame is shown, and the one after its last, where that is known.
    pub(crate) fn shown(&self) -> (i64, Option<i64>) {
        match *self {
            Self::Time {
                start_pts,
                after_pts,
                ..
            } => (start_pts, after_pts),
            Self::Ordinal { times, .. } => (times.start_pts, times.after_pts),
        }
    }
}
