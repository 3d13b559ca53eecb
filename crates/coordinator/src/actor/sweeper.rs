//! Removes what ended Jobs left in the work store.

use super::job_set::JobSet;
use crate::artifacts::Store;
use recode_types::JobId;
use tokio_util::sync::CancellationToken;

/// The sweeper's public face.
#[derive(Clone, Debug)]
pub struct SweeperHandle {
    /// `None`: somebody else cleans up.
    ended: Option<JobSet>,
}

impl SweeperHandle {
    /// A sweeper that leaves everything in its place: an embedded coordinator's folder goes as a whole.
    pub fn idle() -> Self {
        Self { ended: None }
    }

    /// A Job has ended.
    pub fn ended(&self, job: JobId) {
        if let Some(ended) = &self.ended {
            ended.add(job);
        }
    }
}

/// Prepares a sweeper; the future is its life.
pub fn new(store: Store, stop: CancellationToken) -> (SweeperHandle, impl Future<Output = ()>) {
    let jobs = JobSet::default();
    let handle = SweeperHandle {
        ended: Some(jobs.clone()),
    };
    let life = async move {
        loop {
            let job = tokio::select! {
                () = stop.cancelled() => return,
                job = jobs.next() => job,
            };
            let prefix = recode_store::key::job(job);
            // Nothing of an ended Job is named by anybody any more.
            match store.clear(&prefix).await {
                Ok(removed) => tracing::debug!(%job, removed, "swept"),
                Err(error) => {
                    tracing::warn!(%job, %error, "could not be swept; tried again by the next leader");
                }
            }
        }
    };
    (handle, life)
}
