//! MP4 and QuickTime: reading indexes, and writing the two kinds of file this project makes itself (clips and the
//! stitched video track).

pub(crate) mod boxes;
mod chunk;
mod edit;
mod fragments;
mod moov;
mod read;
mod stitched;
pub(crate) mod write;

pub use chunk::{
    ChunkError, ChunkIndex, ChunkSample, append_rows, check_units, read_chunk, read_rows,
};
pub(crate) use read::{looks_like, read};
pub use stitched::{Span, StitchError, Stitched, Stitcher};
