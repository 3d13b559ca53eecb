//! Matroska and WebM.
//!
//! Cues name key frames only, so where a frame is and when it is shown stands in the headers of blocks all over the
//! file. A **local** file is therefore walked once from block to block, reading headers and skipping payload (Cues are then
//! not needed at all). A **remote** one would have to be fetched whole for that; its index lists only the key frames of
//! its Cues (`complete` is false), Segments are made of those, and whoever fetches a Segment's bytes finds its rows in them.

mod ebml;
mod growing;
mod head;
mod read;
pub(crate) mod walk;
mod write;

pub use growing::{Growing, Walked};
pub(crate) use read::{default_duration, hidden, packet, read};
pub(crate) use write::{Clusters, head, void};

/// The first bytes of every Matroska file.
pub(crate) const EBML_MAGIC: [u8; 4] = [0x1a, 0x45, 0xdf, 0xa3];
