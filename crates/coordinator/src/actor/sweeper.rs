//! Removes what ended Jobs left in the work store.

use recode_store::WorkStore;
use recode_types::JobId;
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// The sweeper's public face.
#[derive(Clone, Debug)]
pub struct SweeperHandle {
    // Ended Jobs come gathered; `None`: somebody else cleans up.
    mailbox: Option<mpsc::Sender<JobId>>,
}

impl SweeperHandle {
    /// A sweeper that leaves everything in its place: an embedded coordinator's folder goes as a whole.
    pub fn idle() -> Self {
        Self { mailbox: None }
    }

    /// A Job has ended.
    pub async fn ended(&self, job: JobId) {
        if let Some(mailbox) = &self.mailbox {
            // A sweeper that is gone has stopped with everything else; the next Leader is told again.
            let _ = mailbox.send(job).await;
        }
    }
}

/// Prepares a sweeper; the future is its life.
pub fn new(store: WorkStore, stop: CancellationToken) -> (SweeperHandle, impl Future<Output = ()>) {
    let (mailbox, mut inbox) = mpsc::channel::<JobId>(256);
    let life = async move {
        loop {
            let job = tokio::select! {
                () = stop.cancelled() => return,
                job = inbox.recv() => job,
            };
            let Some(job) = job else { return };
            let prefix = recode_store::key::job(job);
            // Nothing of an ended Job is named by anybody any more.
            let named = BTreeSet::new();
            let swept = recode_store::sweep::sweep(
                &store,
                &prefix,
                &named,
                SystemTime::now(),
                Duration::ZERO,
            );
            match swept.await {
                Ok(swept) => tracing::debug!(%job, removed = swept.removed, "swept"),
                Err(error) => {
                    tracing::warn!(%job, %error, "could not be swept; tried again by the next leader")
                }
            }
        }
    };
    let handle = SweeperHandle {
        mailbox: Some(mailbox),
    };
    (handle, life)
}
