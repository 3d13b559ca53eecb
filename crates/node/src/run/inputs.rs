//! Artifacts that many Attempts of one Job need: read, verified and decoded once per node.

use super::{failure, from_store};
use recode_media::index::SourceIndex;
use recode_store::WorkStore;
use recode_types::task::{Failure, FailureClass};
use recode_types::{ArtifactRef, Digest, FrameTable, SourceFacts};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Facts with everything they name.
#[derive(Debug)]
pub struct Loaded {
    /// What probing learned.
    pub facts: SourceFacts,
    /// The frame table of the main video.
    pub table: Arc<FrameTable>,
    /// Where the packets are, for Sources read by clips.
    pub index: Option<Arc<SourceIndex>>,
}

/// Jobs remembered: a node rarely works on more at a time, and an index may take tens of megabytes.
const REMEMBERED: usize = 4;

/// See the module.
#[derive(Default)]
pub struct Inputs {
    stores: Mutex<HashMap<String, WorkStore>>,
    loaded: Mutex<Vec<(Digest, Arc<Loaded>)>>,
}

impl Inputs {
    /// The work store at `url`.
    pub async fn store(&self, url: &str) -> Result<WorkStore, Failure> {
        let mut stores = self.stores.lock().await;
        if let Some(store) = stores.get(url) {
            return Ok(store.clone());
        }
        let store = WorkStore::open(url).await.map_err(from_store)?;
        stores.insert(url.to_owned(), store.clone());
        Ok(store)
    }

    /// The facts behind `artifact`, with table and index. Attempts that ask at the same time share one read.
    pub async fn load(
        &self,
        store: &WorkStore,
        artifact: &ArtifactRef,
    ) -> Result<Arc<Loaded>, Failure> {
        let mut loaded = self.loaded.lock().await;
        if let Some((_, found)) = loaded.iter().find(|(digest, _)| *digest == artifact.digest) {
            return Ok(Arc::clone(found));
        }
        let bytes = store.get(artifact).await.map_err(from_store)?;
        let facts: SourceFacts =
            serde_json::from_slice(&bytes).map_err(|e| failure(FailureClass::Unknown, e))?;
        let table = match &facts.table {
            Some(table) => {
                let bytes = store.get(table).await.map_err(from_store)?;
                FrameTable::decode(&bytes).map_err(|e| failure(FailureClass::Unknown, e))?
            }
            None => FrameTable {
                time_base: recode_types::TimeBase::new(1, 1000),
                rows: Vec::new(),
                last_duration: 1,
            },
        };
        let index = match &facts.index {
            Some(index) => {
                let bytes = store.get(index).await.map_err(from_store)?;
                Some(Arc::new(
                    SourceIndex::decode(&bytes).map_err(|e| failure(FailureClass::Unknown, e))?,
                ))
            }
            None => None,
        };
        let found = Arc::new(Loaded {
            facts,
            table: Arc::new(table),
            index,
        });
        self.remember(&mut loaded, artifact.digest, &found);
        Ok(found)
    }

    /// Puts in what this node has just made, so that it is not read back.
    pub async fn keep(&self, digest: Digest, made: Loaded) {
        let mut loaded = self.loaded.lock().await;
        self.remember(&mut loaded, digest, &Arc::new(made));
    }

    fn remember(
        &self,
        loaded: &mut Vec<(Digest, Arc<Loaded>)>,
        digest: Digest,
        made: &Arc<Loaded>,
    ) {
        if loaded.len() >= REMEMBERED {
            loaded.remove(0);
        }
        loaded.push((digest, Arc::clone(made)));
    }
}
