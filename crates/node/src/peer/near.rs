//! A remote Source, read through the nodes of one's own site.

use super::ask::Refusal;
use super::{Neighbours, Traffic, home};
use bytes::Bytes;
use futures::future::BoxFuture;
use recode_store::ranges::Fetch;
use recode_store::{Error, Source};
use recode_types::Digest;
use std::ops::Range;

/// How many nodes are tried before the store: the home of a stripe, and who stands in for it.
const TRIED: usize = 2;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Near {
    source: Source,
    name: Digest,
    /// `None`: this node serves nobody and asks nobody.
    neighbours: Option<Neighbours>,
}

impl Near {
    /// `source` as the neighbours of a node have it.
    pub fn new(source: Source, neighbours: Option<Neighbours>) -> Self {
        Self {
            name: home::name(source.identity()),
            source,
            neighbours,
        }
    }

    /// Exactly `range`, from wherever it is to be had.
    /// # Errors
    /// What the store says, which is asked last.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let Some(neighbours) = &self.neighbours else {
            return self.source.read(range).await;
        };
        let site = neighbours.site();
        // One that the others do not know of would fetch what they fetch too.
        if site.len() < 2 || !site.iter().any(|node| node == neighbours.own()) {
            return self.read_stored(neighbours, range).await;
        }
        let pieces = home::pieces(range);
        if let [piece] = &pieces[..] {
            return self.piece(neighbours, &site, piece).await;
        }
        // Whoever fetches asks for no more than a stripe is long, so these are two.
        let mut parts = Vec::with_capacity(pieces.len());
        for piece in &pieces {
            parts.push(self.piece(neighbours, &site, piece));
        }
        let parts: Vec<Bytes> = futures::future::try_join_all(parts).await?;
        Ok(parts.concat().into())
    }

    async fn piece(
        &self,
        neighbours: &Neighbours,
        site: &[String],
        piece: &home::Piece,
    ) -> Result<Bytes, Error> {
        let shared = &neighbours.shared;
        let ranked = home::ranked(&self.name, piece.stripe, site);
        let asked = |node: &&str| neighbours.is_asked(node);
        for node in ranked.into_iter().filter(asked).take(TRIED) {
            let range = piece.range.clone();
            if node == neighbours.own() {
                return shared.shelf.read(&self.source, range).await;
            }
            match shared
                .lines
                .source(node, self.source.identity(), range)
                .await
            {
                Ok(bytes) => {
                    Traffic::add(&shared.traffic.from_peers, bytes.len() as u64);
                    return Ok(bytes);
                }
                Err(Refusal::Not(why)) => {
                    tracing::debug!(node, why, "a neighbour does not serve this");
                    break;
                }
                Err(Refusal::Bad(why)) => neighbours.blame(node, &why),
            }
        }
        self.read_stored(neighbours, piece.range.clone()).await
    }

    async fn read_stored(
        &self,
        neighbours: &Neighbours,
        range: Range<u64>,
    ) -> Result<Bytes, Error> {
        let bytes = self.source.read(range).await?;
        let traffic = &neighbours.shared.traffic;
        Traffic::add(&traffic.from_store, bytes.len() as u64);
        Ok(bytes)
    }
}

impl Fetch for Near {
    fn size(&self) -> u64 {
        self.source.size()
    }

    fn fetch(&self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, Error>> {
        Box::pin(self.read(range))
    }
}
