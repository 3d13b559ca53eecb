//! Everything that knows openraft. The rest of the coordinator sees [`Consensus`]: propose commands, look at the state,
//! take effects, learn of the end.

pub mod disk;
mod due;
mod dump;
mod effects;
pub mod identity;
mod leadership;
mod log_store;
mod members;
pub mod network;
mod proposer;
mod restore;
mod silence;
mod snapshot;
mod state_machine;
mod type_config;
mod wal;
pub mod witness;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod power_loss;
#[cfg(test)]
mod tests;

pub use dump::{Change, Line, dump};
pub use effects::Gathered;
pub use identity::{Identity, new_cluster};
pub use leadership::{Leadership, Quorum};
pub use members::{ChangeError, FOUNDERS_BELOW};
pub use network::{Call, Link, LinkError, Peer};
pub use proposer::ProposeError;
pub use restore::restore;
pub use state_machine::Shared;
pub use type_config::CoordinatorId;

use crate::runtime;
use disk::Disk;
use log_store::{Founding, LogStore};
use openraft::raft::AppendEntriesResponse;
use openraft::{Config, SnapshotPolicy};
use proposer::Proposer;
use recode_core::machine::level;
use recode_core::{Command, Outcome};
use silence::Heard;
use snapshot::{Lent, Snapshots};
use state_machine::StateMachine;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use type_config::alias::{Entry, Raft, Vote};
use witness::Witness;

/// The number of the coordinator that founds a cluster alone.
pub const FIRST: CoordinatorId = 1;

/// Entries in one message to a follower, at most; with the size of entries bounded this stays near the size of a message.
const ENTRIES_TOGETHER: u64 = 64;

/// How often a Leader says that it lives, and how long silence is borne.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// A follower stands for election after a silence between this...
    pub election_min: Duration,
    /// ...and this, drawn by chance.
    pub election_max: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(250),
            election_min: Duration::from_millis(750),
            election_max: Duration::from_millis(1000),
        }
    }
}

impl Timings {
    /// # Errors
    /// One sentence: what does not fit together.
    pub fn check(&self) -> Result<(), String> {
        if self.heartbeat < Duration::from_millis(10) {
            return Err("the heartbeat must be at least 10 ms".into());
        }
        if self.election_min < self.heartbeat * 2 {
            return Err(
                "the shortest election timeout must be at least two heartbeats: one may be lost"
                    .into(),
            );
        }
        if self.election_max <= self.election_min {
            return Err("the longest election timeout must exceed the shortest".into());
        }
        Ok(())
    }
}

/// How much is kept of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Entries between two snapshots.
    pub snapshot_every: u64,
    /// Entries kept behind a snapshot, for followers that lag.
    pub behind: u64,
    /// Bytes of one file of the log.
    pub segment_bytes: usize,
}

impl Default for Keep {
    fn default() -> Self {
        // An entry of a busy cluster holds dozens of changes, so that its bytes are what counts there.
        Self {
            snapshot_every: 20_000,
            behind: 1000,
            segment_bytes: 8 << 20,
        }
    }
}

/// How a coordinator takes part.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Who it is.
    pub identity: Identity,
    /// The voters that found the cluster, with their addresses; all founders must be given the same. Empty for one that
    /// was adopted later. Of no meaning once the folder holds a log.
    pub founders: BTreeMap<CoordinatorId, String>,
    /// The way to the others.
    pub link: Arc<dyn Link>,
    /// See there.
    pub timings: Timings,
    /// See there.
    pub keep: Keep,
    /// Where log and snapshots are.
    pub disk: Arc<dyn Disk>,
    /// Sees what is applied, where somebody wants to.
    pub witness: Option<Arc<dyn Witness>>,
}

impl Setup {
    /// Alone for good, and not told to anybody: for one process that is client, coordinator and node.
    pub fn alone() -> Self {
        Self {
            identity: Identity {
                cluster: "embedded".into(),
                id: FIRST,
            },
            founders: BTreeMap::from([(FIRST, String::new())]),
            link: Arc::new(network::Alone),
            timings: Timings::default(),
            keep: Keep::default(),
            disk: disk::Real::shared(),
            witness: None,
        }
    }

    /// What an empty log begins with. One founder has its own vote as the quorum, so it leads from its first flush on;
    /// several begin with the membership and elect.
    fn founding(&self) -> Founding {
        if self.founders.is_empty() {
            return Founding::default();
        }
        let voters: BTreeSet<CoordinatorId> = self.founders.keys().copied().collect();
        let nodes = self
            .founders
            .iter()
            .map(|(id, address)| (*id, openraft::BasicNode::new(address)))
            .collect::<BTreeMap<_, _>>();
        let alone = voters.len() == 1 && voters.contains(&self.identity.id);
        Founding {
            vote: alone.then(|| Vote::new_committed(1, self.identity.id)),
            purged: None,
            entries: vec![Entry {
                log_id: openraft::LogId::default(),
                payload: openraft::EntryPayload::Membership(openraft::Membership::new(
                    vec![voters],
                    nodes,
                )),
            }],
        }
    }
}

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
    /// Something is there that could be lost.
    #[error("the folder {0} is not empty: name a new one")]
    NotEmpty(PathBuf),
    /// The log is damaged, in use or cannot be written.
    #[error(transparent)]
    Log(#[from] wal::Error),
    /// Raft gave up.
    #[error("the replicated log has stopped: {0}")]
    Fatal(String),
}

fn bug_of_ours(what: &str) -> String {
    format!("{what} panicked, as said above: a bug, please report it; nothing acknowledged is lost")
}

/// The replicated log and state of this coordinator. Cheap to clone.
#[derive(Clone)]
pub struct Consensus {
    raft: Raft,
    shared: Arc<Shared>,
    proposer: Proposer,
    machine_alive: watch::Receiver<()>,
    log: LogStore,
    snapshots: Snapshots,
    identity: Arc<Identity>,
    timings: Timings,
    leadership: leadership::Observed,
    heard: Heard,
    link: Arc<dyn Link>,
}

impl Consensus {
    /// Opens the folder, founding a cluster where it is empty and `setup` says so, and starts Raft.
    /// # Errors
    /// See [`Error`]; none of them is cured by trying again.
    pub async fn open(dir: &Path, setup: Setup) -> Result<Self, Error> {
        let folder = |source| Error::Folder {
            path: dir.to_owned(),
            source,
        };
        let disk = &setup.disk;
        disk.create_dir_all(dir).map_err(folder)?;
        let log = LogStore::open(disk, dir, setup.founding(), setup.keep.segment_bytes)?;
        let snapshots = Snapshots::open(disk, dir).map_err(folder)?;
        let log = log.beside(snapshots.durable());
        let machine =
            StateMachine::open(snapshots.clone(), setup.witness.clone()).map_err(folder)?;
        let (shared, machine_alive) = (machine.shared(), machine.alive());
        setup.timings.check().map_err(Error::Fatal)?;
        let ms = |duration: Duration| duration.as_millis() as u64;
        let config = Config {
            cluster_name: setup.identity.cluster.clone(),
            heartbeat_interval: ms(setup.timings.heartbeat),
            election_timeout_min: ms(setup.timings.election_min),
            election_timeout_max: ms(setup.timings.election_max),
            install_snapshot_timeout: 10_000,
            snapshot_max_chunk_size: network::SNAPSHOT_CHUNK_BYTES,
            max_payload_entries: ENTRIES_TOGETHER,
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: setup.keep.behind,
            ..Config::default()
        };
        let config = config.validate().map_err(|e| Error::Fatal(e.to_string()))?;
        let link = setup.link;
        let network = network::Network(link.clone());
        let raft = Raft::new(
            setup.identity.id,
            Arc::new(config),
            network,
            log.clone(),
            machine,
        )
        .await
        .map_err(|e| Error::Fatal(e.to_string()))?;
        let proposer = Proposer::start(raft.clone(), &shared);
        let leadership = leadership::Observed::start(&raft);
        let heard = Heard::start(raft.clone(), setup.timings);
        // Ends with Raft.
        tokio::spawn(due::write_snapshots(
            raft.clone(),
            log.clone(),
            setup.identity.id,
            setup.keep.snapshot_every,
        ));
        Ok(Self {
            raft,
            shared,
            proposer,
            machine_alive,
            log,
            snapshots,
            identity: Arc::new(setup.identity),
            timings: setup.timings,
            leadership,
            heard,
            link,
        })
    }

    /// Who this is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether this coordinator leads, or who does.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.changes()
    }

    /// Whether a quorum has confirmed this Leader lately. One that is cut off does not know that it was replaced, so it
    /// answers nothing as success: others wait at least the shortest election timeout before they elect.
    pub fn quorum(&self) -> Quorum {
        if planted!(StaleLeaderAnswers) {
            return Quorum::Fresh;
        }
        self.leadership.quorum(self.timings.election_min)
    }

    /// The feature level that all members know: of the others, as they announced. `None`: not all have been heard.
    pub fn common_level(&self) -> Option<u32> {
        let members = self.view().members.into_iter();
        level::common(members.map(|member| match member.peer.id {
            me if me == self.identity.id => Some(level::LEVEL),
            other => self.link.announced(other),
        }))
    }

    /// Answers another coordinator; the payload is what its [`network::Line`] sent.
    /// # Errors
    /// The payload does not read.
    pub async fn answer(&self, call: Call, payload: &[u8]) -> Result<Vec<u8>, String> {
        use network::{decode, encode};
        Ok(match call {
            Call::Append => {
                let answer = self.raft.append_entries(decode(payload)?).await;
                let refused = |answer: &AppendEntriesResponse<_>| {
                    matches!(answer, AppendEntriesResponse::HigherVote(_))
                };
                if answer.as_ref().is_ok_and(|answer| !refused(answer)) {
                    self.heard.leader();
                }
                encode(&answer)
            }
            Call::Vote => encode(&self.raft.vote(decode(payload)?).await),
            Call::InstallSnapshot => {
                let answer = self.raft.install_snapshot(decode(payload)?).await;
                if answer.is_ok() {
                    self.heard.leader();
                }
                encode(&answer)
            }
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

    /// Waits for a snapshot that ends behind entry `seen`, and answers where; `None`: Raft has ended.
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn snapshot_after(&self, seen: Option<u64>) -> Option<u64> {
        let mut metrics = self.raft.metrics();
        let newer = |m: &openraft::RaftMetrics<_, _>| m.snapshot.map(|id| id.index) > seen;
        let found = metrics.wait_for(newer).await.ok()?;
        found.snapshot.map(|id| id.index)
    }

    /// The newest snapshot as it lies on disk. Blocks.
    /// # Errors
    /// What the disk said, or that it does not read.
    pub fn newest_snapshot(&self) -> std::io::Result<Option<Lent>> {
        self.snapshots.lend()
    }

    /// Waits until the state of this coordinator, which leads, holds everything that was committed before.
    /// # Errors
    /// [`ProposeError`]: it does not lead any more.
    pub async fn barrier(&self) -> Result<(), ProposeError> {
        if self.raft.metrics().borrow().last_log_index <= Some(0) {
            // Just founded: there is nothing before, and a flush saved.
            return Ok(());
        }
        // An entry of this term makes everything before it committed and applied.
        self.propose(Vec::new()).await.map(|_| ())
    }

    /// Resolves when Raft has stopped, with the reason; `None`: it was asked to.
    pub async fn ended(&self) -> Option<String> {
        let mut alive = self.machine_alive.clone();
        let panicked = async {
            while alive.changed().await.is_ok() {}
            // When Raft stops in order, the state machine may be gone a moment earlier.
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        tokio::select! {
            biased;
            reason = self.raft_ended() => reason,
            () = self.proposer.gone() => Some(bug_of_ours("proposing")),
            () = panicked => Some(bug_of_ours("applying an entry")),
        }
    }

    async fn raft_ended(&self) -> Option<String> {
        let mut metrics = self.raft.metrics();
        loop {
            if let Err(fatal) = &metrics.borrow_and_update().running_state {
                return match fatal {
                    openraft::error::Fatal::Stopped => None,
                    fatal => Some(fatal.to_string()),
                };
            }
            if metrics.changed().await.is_err() {
                return Some(bug_of_ours("Raft"));
            }
        }
    }

    /// Stops Raft and gives the folder back. What was acknowledged is on disk already.
    pub async fn stop(&self) {
        // A join error is a panic of the core, which `ended` has told.
        let _ = self.raft.shutdown().await;
        let (log, snapshots) = (self.log.clone(), self.snapshots.clone());
        // The same for the log's writer. Whoever builds a snapshot is not waited for by Raft.
        let _ = runtime::blocking(move || {
            log.close();
            snapshots.close();
        })
        .await;
    }
}
