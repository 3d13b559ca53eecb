//! The stitched video track: all Chunks of a Rendition as one fast-start MP4, made as a stream.
//!
//! Only the header is built in memory; the payload is a list of spans to copy from the Chunks in order. FFmpeg reads
//! the result from a pipe (`-f mp4 -i pipe:0`) and muxes it with everything else.
//!
//! The k-th presented frame of the file gets the k-th timestamp that was pushed, less the first one: **FFmpeg shows the
//! first frame at 0** (with negative decode times before it where frames are reordered, through an edit list, as FFmpeg's own
//! files have it), and [`Stitched::first_pts`] says where that is on the Source's clock; give the difference to `-itsoffset`.

use super::chunk::ChunkIndex;
use recode_types::time::TimeBase;
use std::ops::Range;

/// Chunks that cannot be joined.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StitchError {
    /// The number of frames is not the number of rows.
    #[error("chunk {chunk} has {found} frames where the plan has {wanted}")]
    Count {
        /// Which Chunk, from 0.
        chunk: u32,
        /// Frames in it.
        found: usize,
        /// Rows of its Segment.
        wanted: usize,
    },
    /// Timestamps have to grow.
    #[error("the frame times of chunk {0} do not follow those before it")]
    Order(u32),
    /// Two frames are further apart than the format can say.
    #[error("frames near chunk {0} are further apart than an MP4 file can express")]
    Gap(u32),
    /// Parameter sets differ.
    #[error("chunk {0} was made with other parameter sets than the first")]
    Parameters(u32),
    /// No Chunk was given.
    #[error("there is no chunk to join")]
    Nothing,
}

/// Bytes to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Which Chunk, by the order of [`Stitcher::push`].
    pub chunk: u32,
    /// Which bytes of it.
    pub range: Range<u64>,
}

/// A stitched file, ready to be streamed: `header`, then every span in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stitched {
    /// All boxes and the header of `mdat`.
    pub header: Vec<u8>,
    /// What follows.
    pub spans: Vec<Span>,
    /// Time of the first frame on the Source's clock, in the table's time base; FFmpeg shows it at 0.
    pub first_pts: i64,
    /// Frames.
    pub frames: u64,
    /// Bytes of all spans.
    pub payload_bytes: u64,
}

/// Collects Chunks in order. Needs about 30 bytes a frame.
pub struct Stitcher {
    time_base: TimeBase,
}

impl Stitcher {
    /// Starts with the first Chunk's description. `time_base` is that of the frame table; all pushed times are in it.
    pub fn new(time_base: TimeBase) -> Self {
        Self { time_base }
    }

    /// Adds the next Chunk. `pts` are the presentation times of its frames, in order, on the Source's clock.
    /// # Errors
    /// [`StitchError`].
    pub fn push(&mut self, chunk: &ChunkIndex, pts: &[i64]) -> Result<(), StitchError> {
        let _ = (chunk, pts, self.time_base);
        unimplemented!()
    }

    /// The stitched file. `last_duration`: how long the last frame stays.
    /// # Errors
    /// [`StitchError`].
    pub fn finish(self, last_duration: i64) -> Result<Stitched, StitchError> {
        let _ = last_duration;
        unimplemented!()
    }
}
