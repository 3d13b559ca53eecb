//! Keeps copies of the newest snapshots in the work store, for a cluster that has lost all its disks. Works while this
//! coordinator leads; [`crate::restore`] is the way back.
//!
//! ```text
//! archive/snapshots/<cluster>/<index>-<digest>.snapshot     the file as on disk: description, CRC, state
//! ```
//!
//! Below `archive/`, which nobody sweeps. Named by what they hold, so that copying twice is harmless.

use crate::raft::Consensus;
use crate::runtime::{self, Polite};
use recode_store::{Take, WorkStore, digest_of};
use recode_types::{ArtifactRef, Digest};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Everything lies below this.
const PREFIX: &str = "archive/snapshots/";

/// How often and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copies {
    /// A state that has changed is copied after this long, if Raft has not made a snapshot before; snapshots of Raft's after a
    /// tenth of it, or more.
    pub every: Duration,
    /// Copies kept; 0: none are made.
    pub keep: usize,
}

impl Default for Copies {
    /// Every ten minutes, three.
    fn default() -> Self {
        Self {
            every: Duration::from_secs(600),
            keep: 3,
        }
    }
}

/// A copy, as its key tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Whose state.
    pub cluster: String,
    /// The last entry in it.
    pub index: u64,
    /// The object.
    pub artifact: ArtifactRef,
}

fn prefix(cluster: &str) -> String {
    format!("{PREFIX}{cluster}/")
}

fn key(cluster: &str, index: u64, digest: &Digest) -> String {
    format!("{}{index:020}-{digest}.snapshot", prefix(cluster))
}

fn parse(key: &str, size_bytes: u64) -> Option<Copy> {
    let (cluster, name) = key.strip_prefix(PREFIX)?.split_once('/')?;
    let (index, digest) = name.strip_suffix(".snapshot")?.split_once('-')?;
    Some(Copy {
        cluster: cluster.to_owned(),
        index: index.parse().ok()?,
        artifact: ArtifactRef {
            key: key.to_owned(),
            size_bytes,
            digest: digest.parse().ok()?,
        },
    })
}

/// The copies in a work store, oldest first; of one cluster, or of all.
/// # Errors
/// What the store says.
pub async fn list(
    store: &WorkStore,
    cluster: Option<&str>,
) -> Result<Vec<Copy>, recode_store::Error> {
    let below = cluster.map_or_else(|| PREFIX.to_owned(), prefix);
    let listed = store.list(&below).await?;
    let mut copies: Vec<Copy> = listed
        .iter()
        .filter_map(|one| parse(&one.key, one.size_bytes))
        .collect();
    copies.sort_by(|a, b| (&a.cluster, a.index).cmp(&(&b.cluster, b.index)));
    Ok(copies)
}

/// What is too many of the copies of one cluster, which come oldest first.
fn surplus(copies: &[Copy], keep: usize) -> &[Copy] {
    &copies[..copies.len().saturating_sub(keep)]
}

/// See the module.
pub struct Copier {
    consensus: Consensus,
    store: WorkStore,
    copies: Copies,
    /// Whether this coordinator leads.
    leads: watch::Receiver<bool>,
    /// The newest that is known to be in the store.
    copied: Option<u64>,
    /// The newest that was looked at.
    seen: Option<u64>,
}

impl Copier {
    /// Prepares it; [`Copier::run`] is its life.
    pub fn new(
        consensus: Consensus,
        store: WorkStore,
        copies: Copies,
        leads: watch::Receiver<bool>,
    ) -> Self {
        Self {
            consensus,
            store,
            copies,
            leads,
            copied: None,
            seen: None,
        }
    }

    /// Until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        if self.copies.keep == 0 {
            return;
        }
        let mut round = tokio::time::interval(self.copies.every);
        round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first one is due at once, when there is nothing yet.
        round.tick().await;
        let mut rested = tokio::time::Instant::now();
        loop {
            let newer = async {
                tokio::time::sleep_until(rested).await;
                self.consensus.snapshot_after(self.seen).await
            };
            let timed = tokio::select! {
                () = stop.cancelled() => return,
                _ = round.tick() => true,
                newer = newer => match newer {
                    Some(index) => {
                        self.seen = Some(index);
                        false
                    }
                    // Raft has ended, which is told elsewhere.
                    None => return,
                },
            };
            if !*self.leads.borrow() {
                continue;
            }
            let copied = tokio::select! {
                () = stop.cancelled() => return,
                copied = self.copy(timed) => copied,
            };
            // Under load Raft makes snapshots every few seconds.
            rested = tokio::time::Instant::now() + self.copies.every / 10;
            if let Err(problem) = copied {
                let minutes = self.copies.every.as_secs_f64() / 60.0;
                tracing::warn!(
                    problem,
                    "the state is not copied to the work store; tried again within {minutes:.0} minutes"
                );
            }
        }
    }

    /// Copies the newest snapshot, where the store does not have it. `fresh`: makes a new one where the state has moved.
    async fn copy(&mut self, fresh: bool) -> Result<(), String> {
        let view = self.consensus.view();
        if fresh && view.snapshot.unwrap_or(0) < view.applied {
            self.consensus.snapshot().await.map_err(|e| e.to_string())?;
        }
        let consensus = self.consensus.clone();
        let copied = self.copied;
        // From disk to store a piece at a time: it may be large, and this coordinator has it in memory once already.
        let newest = runtime::behind(move || {
            let lent = consensus.newest_snapshot().map_err(|e| e.to_string())?;
            let Some(lent) = lent.filter(|lent| Some(lent.index) > copied) else {
                return Ok(None);
            };
            let file = std::fs::File::open(&lent.path).map_err(|e| e.to_string())?;
            let (_, digest) =
                digest_of(&mut Polite(file), |_| Ok(())).map_err(|e| e.to_string())?;
            Ok::<_, String>(Some((lent, digest)))
        });
        let Some((lent, digest)) = newest.await.map_err(|e| e.to_string())?? else {
            return Ok(());
        };
        let cluster = self.consensus.identity().cluster.clone();
        let key = key(&cluster, lent.index, &digest);
        let stored = self.store.put_file(&key, &lent.path, Take::Copy).await;
        let size = stored.map_err(|e| e.to_string())?.size_bytes;
        self.copied = Some(lent.index);
        // By now this may be the last name of a large file.
        let _ = runtime::behind(move || drop(lent)).await;
        tracing::info!(key, size, "the state is copied to the work store");
        let all = list(&self.store, Some(&cluster)).await;
        let all = all.map_err(|e| e.to_string())?;
        for copy in surplus(&all, self.copies.keep) {
            let removed = self.store.remove(&copy.artifact.key).await;
            removed.map_err(|e| e.to_string())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_what_it_names_and_others_are_left_alone() {
        let digest = Digest::of(b"state");
        let key = key("c0ffee", 5001, &digest);
        assert!(recode_store::key::is_valid(&key), "{key}");
        let copy = parse(&key, 5).unwrap();
        assert_eq!((copy.cluster.as_str(), copy.index), ("c0ffee", 5001));
        assert_eq!(
            (copy.artifact.digest, copy.artifact.size_bytes),
            (digest, 5)
        );
        for other in [
            "archive/snapshots/c/x-y.snapshot",
            "archive/job_1/a.json",
            "",
        ] {
            assert_eq!(parse(other, 0), None, "{other}");
        }
    }

    #[test]
    fn the_oldest_are_too_many() {
        let copies: Vec<Copy> = (1..=5)
            .map(|index| parse(&key("c", index, &Digest::of(b"")), 0).unwrap())
            .collect();
        assert_eq!(surplus(&copies, 3), &copies[..2]);
        assert!(surplus(&copies[..2], 3).is_empty());
    }
}
