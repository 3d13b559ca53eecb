//! Clips: small files that hold just what a decoder needs for one Segment.
//!
//! A clip has one video track and nothing else. FFmpeg opens it instead of the Source, decodes it from its start, never
//! seeks, and picks the Segment's frames with `trim=start_pts=…:end_pts=…` in the clip's own ticks. It works the same
//! for a local file, an object and an HTTP resource.
//!
//! **FFmpeg must be run with `-copyts`** on a clip: without it FFmpeg moves all timestamps to a start of its own choice
//! and `trim` would pick other frames.
//!
//! ```text
//!   packets  … K' . . . | K . . . . . K'' b b . . | …      K key frame, b leading picture of K''
//!   Segment             [ first row      last row ]        by presentation time
//!   clip       └ pre-roll ┘                   └ what the last row and `frames_after` still need, in decode order
//! ```

use crate::bytes::ByteSource;
use crate::index::SourceIndex;
use recode_types::time::TimeBase;
use recode_types::{FrameRow, FrameTable, Segment};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Frames wanted around a Segment, besides its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClipContext {
    /// How many GOPs earlier the clip begins than the Segment needs: for scores and filters that look back.
    pub gops_before: u32,
    /// How many frames after the Segment can be decoded too.
    pub frames_after: u32,
}

/// A clip on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    /// The file.
    pub path: PathBuf,
    /// FFmpeg's name for `-f` before `-i`.
    pub demuxer: &'static str,
    /// Seconds per tick of everything below; the same as the table's.
    pub time_base: TimeBase,
    /// `trim=start_pts=`: presentation time of the Segment's first frame in the clip.
    pub trim_start: i64,
    /// `trim=end_pts=`: one past the last moment of the Segment in the clip.
    pub trim_end: i64,
    /// Source time = clip time + `base`.
    pub base: i64,
    /// Clip times of the Segment's frames, in order: what has to come out.
    pub expected: Vec<i64>,
    /// The Segment's rows on the Source's clock. Those of the table, or, where the table only knows key frames (see
    /// [`crate::index::TrackIndex::complete`]), the real ones as found in the bytes that were fetched.
    pub rows: Vec<FrameRow>,
    /// Packets in the clip: what a decoder has to work through.
    pub decode_frames: u64,
    /// Bytes read from the Source to make it.
    pub bytes_read: u64,
}

/// A Segment whose clip cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Source could not be read: retry.
    #[error("cannot read the source")]
    Read(#[source] std::io::Error),
    /// Scratch could not be written.
    #[error("cannot write the clip {path}", path = path.display())]
    Write {
        /// The clip.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// The table's frames are not those of the index: read the Source linearly instead.
    #[error("the index does not have the frames of segment {0} where the frame table says")]
    Mismatch(u32),
    /// There is no such track.
    #[error(transparent)]
    Index(#[from] crate::index::Error),
}

/// The byte ranges of the Source that [`build`] reads, sorted and joined where they are near each other: for prefetching
/// and for knowing which bytes are still needed. For an incomplete track the last range is a guess that `build` may
/// have to go beyond.
/// # Errors
/// [`Error::Index`], [`Error::Mismatch`].
pub fn ranges(
    index: &SourceIndex,
    stream: u32,
    table: &FrameTable,
    segment: &Segment,
    context: ClipContext,
) -> Result<Vec<Range<u64>>, Error> {
    let _ = (index, stream, table, segment, context);
    unimplemented!()
}

/// Reads what one Segment needs and writes it to `out`, which is replaced.
/// # Errors
/// [`Error`].
pub async fn build(
    index: &SourceIndex,
    stream: u32,
    table: &FrameTable,
    segment: &Segment,
    context: ClipContext,
    source: &dyn ByteSource,
    out: &Path,
) -> Result<Clip, Error> {
    let _ = (index, stream, table, segment, context, source, out);
    unimplemented!()
}
