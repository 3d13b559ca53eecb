//! MP4 and QuickTime: reading indexes, and writing the two kinds of file this project makes itself (clips and the
//! stitched video track).

pub(crate) mod boxes;
mod chunk;
mod edit;
mod fragments;
mod front;
mod groups;
mod grown;
mod join;
mod level;
mod moov;
pub mod note;
mod part;
mod read;
mod stitched;
pub(crate) mod write;

pub use chunk::{
    ChunkError, ChunkIndex, ChunkSample, append_rows, check_units, read_chunk, read_rows,
};
pub use front::{index_first, takes_packets};
pub use groups::closed_groups;
pub use grown::read_grown;
pub use join::{JoinError, Shown, join};
pub use level::without_level;
pub use part::{Part, append_check};
pub(crate) use read::{looks_like, read, trims};
pub use stitched::{Span, StitchError, Stitched, Stitcher};
