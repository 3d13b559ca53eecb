//! A part: finished frames of a Chunk as an MP4 file, and beside them what they are.

use super::super::frames::Matched;
use recode_media::mp4::{ChunkIndex, note, read_chunk};
use recode_types::Digest;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The box that holds the [`Evidence`].
const KIND: &[u8; 4] = b"rcpt";

/// Version of what stands in it.
const VERSION: u32 = 1;

/// What a part is. Stored as JSON within it, under the digest of the whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Evidence {
    version: u32,
    /// Content address of the Chunk.
    pub address: Digest,
    /// Identity of the FFmpeg that made it.
    pub build: Digest,
    /// Its first row, counted from that of the Chunk.
    pub first_row: u32,
    /// Its rows.
    pub rows: u32,
    /// Signature of the frame before, where the decode saw it.
    pub before: Option<u32>,
    /// Signature of its first frame.
    pub first: u32,
    /// Signature of its last frame.
    pub last: u32,
    /// Signature of the frame after.
    pub after: u32,
}

impl Evidence {
    /// Of rows that were encoded just now. `None`: the decode has not come as far as the frame after.
    pub fn of(
        (address, build): (Digest, Digest),
        rows: std::ops::Range<u32>,
        matched: &Matched,
    ) -> Option<Self> {
        Some(Self {
            version: VERSION,
            address,
            build,
            first_row: rows.start,
            rows: rows.end - rows.start,
            before: matched.before,
            first: matched.first,
            last: matched.last,
            after: matched.after?,
        })
    }

    /// One past its last row.
    pub fn end(&self) -> u32 {
        self.first_row.saturating_add(self.rows)
    }
}

/// Puts the evidence into a part.
/// # Errors
/// What the operating system says.
pub(super) fn write(path: &Path, evidence: &Evidence) -> std::io::Result<()> {
    note::append(path, KIND, &serde_json::to_vec(evidence)?)
}

/// A part that was stored; `None`: not in a form that this build reads.
pub(super) fn read(path: &Path) -> Option<(Evidence, ChunkIndex)> {
    let said = note::read(path, KIND).ok()??;
    let evidence: Evidence = serde_json::from_slice(&said).ok()?;
    let index = read_chunk(path).ok()?;
    let whole = evidence.version == VERSION && evidence.rows as usize == index.samples.len();
    whole.then_some((evidence, index))
}
