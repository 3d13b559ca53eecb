//! Bytes of Chunks that are elsewhere: from their makers where these are near, else from the store.

use crate::peer::Neighbours;
use crate::run::Attempt;
use bytes::Bytes;
use futures::stream::{Stream, StreamExt as _};
use recode_store::{Error, WorkStore, ranges};
use recode_types::task::ChunkFacts;
use std::ops::Range;
use std::path::PathBuf;

/// Bytes of one request: what a neighbour is asked for at most, and a store too.
pub(super) const PART_BYTES: u64 = crate::peer::home::STRIPE_BYTES;

/// Parts of one Chunk on their way at once.
const PARTS_AT_ONCE: usize = 2;

/// A Chunk that is wanted.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// What is known of it.
    pub(super) facts: ChunkFacts,
    /// Where its maker serves this node; empty: nowhere.
    pub(super) maker: String,
}

impl Wanted {
    /// Its length.
    pub(super) fn size(&self) -> u64 {
        self.facts.artifact.size_bytes
    }
}

/// Where bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// The maker where it is near, else the store.
    Maker,
    /// The store.
    Store,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(super) struct Reader {
    pub(super) store: WorkStore,
    pub(super) neighbours: Option<Neighbours>,
    /// For Chunks too large for memory.
    pub(super) room: PathBuf,
    first: Ask,
}

impl Reader {
    /// One for an Attempt. Only the first of a Task asks makers: whatever has gone wrong with one, the store is right.
    pub(super) fn of(attempt: &Attempt) -> Self {
        Self {
            store: attempt.store.clone(),
            neighbours: attempt.context.sources.neighbours().cloned(),
            room: attempt.room.path().to_owned(),
            first: match attempt.attempt {
                1 => Ask::Maker,
                _ => Ask::Store,
            },
        }
    }

    #[cfg(test)]
    pub(super) fn with(store: WorkStore, neighbours: Option<Neighbours>, room: PathBuf) -> Self {
        Self {
            store,
            neighbours,
            room,
            first: Ask::Maker,
        }
    }

    /// Whom to ask in the n-th read of the same bytes, from 1.
    pub(super) fn ask(&self, read: u32) -> Ask {
        match read {
            1 => self.first,
            _ => Ask::Store,
        }
    }

    /// Consecutive parts of `range`, with whether they came from the maker.
    pub(super) fn parts(
        &self,
        wanted: &Wanted,
        range: Range<u64>,
        ask: Ask,
    ) -> impl Stream<Item = Result<(Bytes, bool), Error>> {
        let parts = ranges::split(range, PART_BYTES).into_iter();
        let parts = parts.filter(|part| part.start < part.end);
        futures::stream::iter(parts)
            .map(move |part| self.part(wanted, part, ask))
            .buffered(PARTS_AT_ONCE)
    }

    /// One part, of [`PART_BYTES`] at most.
    pub(super) async fn part(
        &self,
        wanted: &Wanted,
        range: Range<u64>,
        ask: Ask,
    ) -> Result<(Bytes, bool), Error> {
        let artifact = &wanted.facts.artifact;
        if let (Ask::Maker, Some(neighbours)) = (ask, &self.neighbours)
            && !wanted.maker.is_empty()
        {
            let made = neighbours.chunk(&wanted.maker, artifact, range.clone());
            if let Some(bytes) = made.await {
                return Ok((bytes, true));
            }
        }
        let bytes = self.store.get_part(artifact, range).await?;
        if let Some(neighbours) = &self.neighbours {
            neighbours.came_from_store(bytes.len() as u64);
        }
        Ok((bytes, false))
    }
}
