//! Everything that knows openraft. The rest of the coordinator sees [`Consensus`]: propose commands, look at the state,
//! take effects, learn of the end.

mod effects;
mod log_store;
mod network;
mod proposer;
mod snapshot;
mod state_machine;
mod type_config;
mod wal;

#[cfg(test)]
mod tests;

pub use effects::Gathered;
pub use proposer::ProposeError;
pub use state_machine::Shared;

use log_store::{Founding, LogStore};
use openraft::{Config, SnapshotPolicy};
use proposer::Proposer;
use recode_core::{Command, Outcome};
use snapshot::Snapshots;
use state_machine::StateMachine;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use type_config::alias::{Entry, Raft, Vote};

/// This build runs one coordinator, and this is its number.
const ONLY: type_config::CoordinatorId = 1;

/// Entries between snapshots, and entries kept behind one. Openraft's own figures, which its tests know best.
const SNAPSHOT_EVERY: u64 = 5000;

/// The log and the state cannot be opened, or stopped working.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk said no.
    #[error(
        "the data folder {path} cannot be used; free the disk, correct its permissions or choose another folder"
    )]
    Folder {
        /// Which folder.
        path: PathBuf,
        /// What the disk said.
        source: std::io::Error,
    },
    /// Another coordinator has it open.
    #[error(
        "the data folder {0} is in use by another coordinator: stop that one, or choose another folder"
    )]
    InUse(PathBuf),
    /// The log is damaged, in use or cannot be written.
    #[error(transparent)]
    Log(#[from] wal::Error),
    /// Raft gave up.
    #[error("the replicated log has stopped: {0}")]
    Fatal(String),
}

/// The replicated log and state of this coordinator. Cheap to clone.
#[derive(Clone)]
pub struct Consensus {
    raft: Raft,
    shared: Arc<Shared>,
    proposer: Proposer,
    log: LogStore,
}

impl Consensus {
    /// Opens the folder, founding a cluster of one where it is empty, and starts Raft.
    ///
    /// A founded log holds the membership and this coordinator's committed vote from its first flush on: with a single
    /// voter, its own vote is the quorum, so there is no election to wait for.
    /// # Errors
    /// See [`Error`]; none of them is cured by trying again.
    pub async fn open(dir: &Path) -> Result<Self, Error> {
        let folder = |source| Error::Folder {
            path: dir.to_owned(),
            source,
        };
        std::fs::create_dir_all(dir).map_err(folder)?;
        let node = BTreeMap::from([(ONLY, openraft::BasicNode::default())]);
        let membership = openraft::Membership::new(vec![BTreeSet::from([ONLY])], node);
        let founding = Founding {
            vote: Some(Vote::new_committed(1, ONLY)),
            entries: vec![Entry {
                log_id: openraft::LogId::default(),
                payload: openraft::EntryPayload::Membership(membership),
            }],
        };
        let log = LogStore::open(dir, founding)?;
        let machine = Snapshots::open(dir)
            .and_then(StateMachine::open)
            .map_err(folder)?;
        let shared = machine.shared();
        let config = Config {
            cluster_name: "recode".into(),
            heartbeat_interval: 250,
            election_timeout_min: 750,
            election_timeout_max: 1000,
            install_snapshot_timeout: 10_000,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_EVERY),
            ..Config::default()
        };
        let config = config.validate().map_err(|e| Error::Fatal(e.to_string()))?;
        let raft = Raft::new(ONLY, Arc::new(config), network::Alone, log.clone(), machine)
            .await
            .map_err(|e| Error::Fatal(e.to_string()))?;
        let proposer = Proposer::start(raft.clone(), &shared);
        Ok(Self {
            raft,
            shared,
            proposer,
            log,
        })
    }

    /// The state, its effects and its changes.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Puts commands into the log, many callers sharing one entry; answers when they are applied here.
    /// # Errors
    /// [`ProposeError`]: the outcome is unknown; propose again with the same ids, or look at the state.
    pub async fn propose(&self, commands: Vec<Command>) -> Result<Vec<Outcome>, ProposeError> {
        self.proposer.propose(commands).await
    }

    /// Milliseconds since 1970, as stamped on entries: never goes back, whatever the wall clock does.
    pub fn now_ms(&self) -> u64 {
        self.proposer.now_ms()
    }

    /// Waits until this coordinator leads and its state holds everything that was committed before.
    /// # Errors
    /// [`Error::Fatal`].
    pub async fn leading(&self) -> Result<(), Error> {
        self.raft
            .wait(Some(Duration::from_secs(10)))
            .metrics(|m| m.state == openraft::ServerState::Leader, "leading")
            .await
            .map_err(|e| Error::Fatal(e.to_string()))?;
        if self.raft.metrics().borrow().last_log_index <= Some(0) {
            // Just founded: there is nothing before, and a flush saved.
            return Ok(());
        }
        // A read barrier: an entry of this term makes everything before it committed and applied.
        self.propose(Vec::new())
            .await
            .map(|_| ())
            .map_err(|e| Error::Fatal(e.to_string()))
    }

    /// Resolves when Raft has stopped, with the reason; `None`: it was asked to.
    pub async fn ended(&self) -> Option<String> {
        let mut metrics = self.raft.metrics();
        loop {
            if let Err(fatal) = &metrics.borrow_and_update().running_state {
                return match fatal {
                    openraft::error::Fatal::Stopped => None,
                    fatal => Some(fatal.to_string()),
                };
            }
            if metrics.changed().await.is_err() {
                return None;
            }
        }
    }

    /// Stops Raft and gives the folder back. What was acknowledged is on disk already.
    pub async fn stop(&self) {
        // A join error is a panic of the core, which `ended` has told.
        let _ = self.raft.shutdown().await;
        let log = self.log.clone();
        // The same for the log's writer.
        let _ = tokio::task::spawn_blocking(move || log.close()).await;
    }
}
