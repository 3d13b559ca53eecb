//! What the coordinator asks of the work store.

use futures::future::BoxFuture;
use recode_store::{Error, WorkStore};
use recode_types::ArtifactRef;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// As its users keep it.
pub type Store = Arc<dyn Artifacts>;

/// A place for artifacts. [`WorkStore`] is one; a simulation has another.
pub trait Artifacts: Send + Sync + 'static {
    /// Where it is, for nodes.
    fn url(&self) -> &str;

    /// Stores bytes under a key.
    fn put<'a>(&'a self, key: &'a str, bytes: Vec<u8>)
    -> BoxFuture<'a, Result<ArtifactRef, Error>>;

    /// The bytes of an artifact, compared with its digest.
    fn get<'a>(&'a self, artifact: &'a ArtifactRef) -> BoxFuture<'a, Result<Vec<u8>, Error>>;

    /// Removes everything whose key begins with `prefix`. Answers how many there were.
    fn clear<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<u64, Error>>;
}

impl Artifacts for WorkStore {
    fn url(&self) -> &str {
        self.url()
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        bytes: Vec<u8>,
    ) -> BoxFuture<'a, Result<ArtifactRef, Error>> {
        Box::pin(self.put(key, bytes))
    }

    fn get<'a>(&'a self, artifact: &'a ArtifactRef) -> BoxFuture<'a, Result<Vec<u8>, Error>> {
        Box::pin(async move { self.get(artifact).await.map(|bytes| bytes.to_vec()) })
    }

    fn clear<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<u64, Error>> {
        Box::pin(async move {
            let (named, now) = (BTreeSet::new(), SystemTime::now());
            let swept = recode_store::sweep::sweep(self, prefix, &named, now, Duration::ZERO);
            Ok(swept.await?.removed)
        })
    }
}
