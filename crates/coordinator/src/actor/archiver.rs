//! Stores what stays of ended Jobs, so that they may leave the state. What leaves, and when, is `recode_core`'s decision.

use super::job_set::JobSet;
use crate::artifacts::Store;
use crate::raft::Consensus;
use crate::runtime;
use recode_core::archive;
use recode_core::machine::{Retention, decide};
use recode_core::{Command, Outcome};
use recode_types::{Digest, JobId};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the age and the number of ended Jobs are looked at, and how long a store that did not take an archive is left
/// alone.
const ROUND: Duration = Duration::from_secs(60);

/// The archiver's public face.
#[derive(Clone, Debug, Default)]
pub struct ArchiverHandle {
    jobs: JobSet,
}

impl ArchiverHandle {
    /// A Job is to be archived.
    pub fn archive(&self, job: JobId) {
        self.jobs.add(job);
    }
}

/// Prepares an archiver; the future is its life.
pub fn new(
    consensus: Consensus,
    store: Store,
    retention: Retention,
    stop: CancellationToken,
) -> (ArchiverHandle, impl Future<Output = ()>) {
    let handle = ArchiverHandle::default();
    let wanted = handle.clone();
    let life = async move {
        let mut round = tokio::time::interval(ROUND);
        round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = round.tick() => retire(&consensus, &retention, &wanted).await,
                job = wanted.jobs.next() => {
                    // One at a time: nobody waits for it.
                    if let Err(error) = store_and_leave(&consensus, &store, job).await {
                        tracing::warn!(%job, error, "could not be archived; tried again in a minute");
                    }
                }
            }
        }
    };
    (handle, life)
}

/// Marks what has become too old or too much, and asks again for what was marked and is still there.
async fn retire(consensus: &Consensus, retention: &Retention, wanted: &ArchiverHandle) {
    let now_ms = consensus.now_ms();
    let due = consensus
        .shared()
        .look(|state| decide::retire(state, retention, now_ms));
    if let Some(command) = due
        && let Err(error) = consensus.propose(vec![command]).await
    {
        tracing::warn!(%error, "ended jobs are not marked yet");
    }
    let marked: Vec<JobId> = consensus
        .shared()
        .look(|state| state.retiring().map(|job| job.id).collect());
    marked.into_iter().for_each(|job| wanted.archive(job));
}

async fn store_and_leave(consensus: &Consensus, store: &Store, job: JobId) -> Result<(), String> {
    let archive = consensus.shared().look(|state| {
        let known = state.jobs.get(&job).filter(|job| job.retiring)?;
        Some(archive::build(known))
    });
    let Some(archive) = archive else {
        // It lives again, or has left already.
        return Ok(());
    };
    let events = archive.events.len() as u64;
    // A hundred thousand events take a while.
    let json = runtime::blocking(move || {
        serde_json::to_vec(&archive).expect("plain data always serialises")
    })
    .await
    .map_err(|e| e.to_string())?;
    let key = recode_store::key::archive(job, &Digest::of(&json));
    let archive = store.put(&key, json).await.map_err(|e| e.to_string())?;
    let command = Command::ArchiveJob {
        job,
        events,
        archive,
    };
    let outcomes = consensus.propose(vec![command]).await;
    match outcomes.map_err(|e| e.to_string())?.first() {
        Some(Outcome::Accepted) => tracing::info!(%job, key, "archived"),
        // Tried again by somebody, or archived by an earlier Leader.
        outcome => tracing::debug!(%job, ?outcome, "not archived"),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
