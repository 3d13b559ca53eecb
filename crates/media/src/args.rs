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

use std::path::PathBuf;

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
    },
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
}
