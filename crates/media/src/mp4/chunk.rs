//! Reading a Chunk: an MP4 or MOV with one video track, as FFmpeg wrote it.

use recode_types::time::TimeBase;
use std::path::Path;

/// A Chunk that cannot be read: make it again.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    /// The file could not be read.
    #[error("cannot read the chunk")]
    Io(#[from] std::io::Error),
    /// It is no MP4/MOV with exactly one video track.
    #[error("the chunk is not what an encoder should have written: {0}")]
    Shape(&'static str),
}

/// One encoded frame of a Chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkSample {
    /// First byte in the Chunk's file.
    pub offset: u64,
    /// Length in bytes.
    pub size: u32,
    /// Decode time as FFmpeg shows it.
    pub dts: i64,
    /// Presentation time as FFmpeg shows it (edit list applied).
    pub pts: i64,
    /// Key frame.
    pub key: bool,
}

/// What a Chunk holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkIndex {
    /// `ftyp` box, verbatim.
    pub ftyp: Vec<u8>,
    /// `stsd` box, verbatim: sample entry with parameter sets. Chunks of a Rendition must agree in it.
    pub sample_description: Vec<u8>,
    /// `tkhd` box, verbatim: matrix and display size.
    pub tkhd: Vec<u8>,
    /// Seconds per tick of the samples' times.
    pub time_base: TimeBase,
    /// Encoded frames in decode order.
    pub samples: Vec<ChunkSample>,
}

/// Reads what an encoder wrote.
/// # Errors
/// [`ChunkError`].
pub fn read_chunk(path: &Path) -> Result<ChunkIndex, ChunkError> {
    let _ = path;
    unimplemented!()
}
