//! A Chunk, from whoever made it: the store has it too, and is asked when the maker is not near, gone, busy or wrong.

use super::ask::Refusal;
use super::{Neighbours, Traffic};
use bytes::Bytes;
use recode_types::ArtifactRef;
use std::ops::Range;
use std::path::Path;

impl Neighbours {
    /// Keeps a Chunk that this node made and stored, for whichever node of its site joins it. The file is gone from `path`
    /// afterwards, or nobody needs it there.
    pub fn keep(&self, chunk: &ArtifactRef, path: &Path) {
        if let Err(error) = self.shared.shelf.keep_made(chunk, path) {
            tracing::warn!(%error, key = chunk.key, "a chunk could not be kept for the nodes of this site");
        }
    }

    /// Part of a Chunk, of 8 MiB at most, from the node at `maker`, which may be this one; `None`: ask the store. Nobody has
    /// compared the bytes with the Chunk's digest.
    pub async fn chunk(
        &self,
        maker: &str,
        chunk: &ArtifactRef,
        range: Range<u64>,
    ) -> Option<Bytes> {
        let shared = &self.shared;
        if maker == self.own() {
            let made = shared.shelf.made().open(&chunk.digest, chunk.size_bytes)?;
            return made.read(range).ok();
        }
        let is_near = self.site().iter().any(|node| node == maker);
        if !is_near || !self.is_asked(maker) {
            return None;
        }
        match shared.lines.chunk(maker, chunk, range).await {
            Ok(bytes) => {
                Traffic::add(&shared.traffic.from_peers, bytes.len() as u64);
                return Some(bytes);
            }
            Err(Refusal::Not(why)) => {
                tracing::debug!(node = maker, why, "a neighbour does not serve this");
            }
            Err(Refusal::Bad(why)) => self.blame(maker, &why),
        }
        None
    }

    /// What `maker` served as a Chunk is not the Chunk.
    pub fn was_wrong(&self, maker: &str) {
        if maker != self.own() {
            self.blame(maker, "a chunk it served is not what it made");
        }
    }

    /// So many bytes of a Chunk came from the store.
    pub fn came_from_store(&self, bytes: u64) {
        Traffic::add(&self.shared.traffic.from_store, bytes);
    }
}
