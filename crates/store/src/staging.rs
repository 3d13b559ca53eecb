//! What one Attempt uploads: every key carries its number, so that tries never meet, and everything staged can be taken
//! back when the Attempt fails or is told that it came too late.

use crate::error::Error;
use crate::key;
use crate::work::{Take, WorkStore};
use bytes::Bytes;
use recode_types::{ArtifactRef, AttemptNo, Digest, TaskId};
use std::path::Path;
use std::sync::Mutex;

/// The staging area of one Attempt.
///
/// Staged is not committed: an artifact counts once the log names it. Dropping a `Staging` leaves everything in place,
/// since the log may name it by then.
pub struct Staging {
    store: WorkStore,
    task: TaskId,
    attempt: AttemptNo,
    staged: Mutex<Vec<String>>,
}

impl Staging {
    /// Opens the staging area of an Attempt in `store`.
    pub fn new(store: WorkStore, task: TaskId, attempt: AttemptNo) -> Self {
        Self {
            store,
            task,
            attempt,
            staged: Mutex::default(),
        }
    }

    /// Stages bytes under a plain file name such as `facts.json`.
    ///
    /// # Errors
    /// As [`WorkStore::put`].
    pub async fn put(&self, name: &str, bytes: impl Into<Bytes>) -> Result<ArtifactRef, Error> {
        let key = key::of_attempt(&self.task, self.attempt, name);
        self.note(&key);
        self.store.put(&key, bytes).await
    }

    /// Stages a file under a plain file name; the file is handed over.
    ///
    /// # Errors
    /// As [`WorkStore::put_file`].
    pub async fn put_file(&self, name: &str, from: &Path) -> Result<ArtifactRef, Error> {
        let key = key::of_attempt(&self.task, self.attempt, name);
        self.note(&key);
        self.store.put_file(&key, from, Take::Move).await
    }

    /// Stages the Chunk that answers `address` for one Output; the file is handed over.
    ///
    /// # Errors
    /// As [`WorkStore::put_file`].
    pub async fn put_chunk(
        &self,
        address: &Digest,
        output: u16,
        ending: &str,
        from: &Path,
    ) -> Result<ArtifactRef, Error> {
        let key = key::chunk(self.task.job, address, output, self.attempt, ending);
        self.note(&key);
        self.store.put_file(&key, from, Take::Move).await
    }

    /// Removes everything staged so far. Only for an Attempt whose results were refused or never reported.
    ///
    /// # Errors
    /// The first that a removal met; the rest was tried all the same.
    pub async fn withdraw(self) -> Result<(), Error> {
        let staged = self.staged.into_inner().unwrap_or_default();
        let mut outcome = Ok(());
        for key in staged {
            outcome = outcome.and(self.store.remove(&key).await);
        }
        outcome
    }

    /// Noted before the upload: one that fails half way may have left something.
    fn note(&self, key: &str) {
        self.staged
            .lock()
            .expect("no one panics while holding it")
            .push(key.to_owned());
    }
}
