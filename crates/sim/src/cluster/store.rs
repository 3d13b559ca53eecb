//! A make-believe work store: objects by number, and facts and tables of the make-believe Sources.

use super::world::World;
use crate::faults::Fault;
use crate::film;
use futures::future::BoxFuture;
use recode_coordinator::simulated::Artifacts;
use recode_store::Error;
use recode_types::ArtifactRef;
use recode_types::task::ChunkFacts;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Numbers of stored objects begin here; below are those of Sources.
const FIRST: u64 = 1 << 40;

/// What is stored.
#[derive(Debug, Default)]
pub struct Objects {
    bytes: Vec<Vec<u8>>,
    keys: BTreeMap<String, u64>,
}

impl Objects {
    fn put(&mut self, key: &str, bytes: Vec<u8>) -> ArtifactRef {
        let number = *self.keys.entry(key.to_owned()).or_insert_with(|| {
            self.bytes.push(bytes);
            FIRST + self.bytes.len() as u64 - 1
        });
        film::artifact(number)
    }

    /// The Chunks in a stored list.
    pub fn list(&self, number: u64) -> Vec<ChunkFacts> {
        let bytes = &self.bytes[(number - FIRST) as usize];
        serde_json::from_slice(bytes).expect("the dispatcher stores lists of chunks")
    }
}

/// The store as coordinators see it.
#[derive(Debug)]
pub struct Shelf(pub Weak<World>);

impl Shelf {
    async fn answers(&self, what: &str) -> Result<Arc<World>, Error> {
        let gone = || Error::Unreachable {
            what: what.to_owned(),
            detail: "it does not answer".to_owned(),
        };
        let world = self.0.upgrade().ok_or_else(gone)?;
        let (took, fails) = world.store_answers();
        tokio::time::sleep(Duration::from_millis(took)).await;
        if fails {
            world.fire(Fault::StoreFailed);
            return Err(gone());
        }
        Ok(world)
    }
}

impl Artifacts for Shelf {
    fn url(&self) -> &str {
        "memory://sim"
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        bytes: Vec<u8>,
    ) -> BoxFuture<'a, Result<ArtifactRef, Error>> {
        Box::pin(async move {
            let world = self.answers(key).await?;
            let artifact = world.lock().objects.put(key, bytes);
            Ok(artifact)
        })
    }

    fn get<'a>(&'a self, artifact: &'a ArtifactRef) -> BoxFuture<'a, Result<Vec<u8>, Error>> {
        Box::pin(async move {
            let number = artifact.size_bytes;
            let world = self.answers("an artifact").await?;
            let of_source = world.library.object(number);
            let found = of_source.or_else(|| {
                let at = number.checked_sub(FIRST)? as usize;
                world.lock().objects.bytes.get(at).cloned()
            });
            found.ok_or_else(|| Error::NotFound {
                what: format!("artifact {number}"),
                remedy: String::new(),
            })
        })
    }

    fn clear<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<u64, Error>> {
        // Left in its place: a list that a late Attempt reads costs nothing here.
        Box::pin(async move { self.answers(prefix).await.map(|_| 0) })
    }
}
