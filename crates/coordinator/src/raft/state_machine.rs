//! `recode_core::State` behind Raft.
//!
//! The state lives in memory. It is rebuilt from the newest snapshot and the log, so `apply` writes nothing to disk.

use super::effects::Effects;
use super::snapshot::Snapshots;
use super::type_config::alias::{Entry, LogId, Membership, SnapshotMeta, StorageError};
use super::type_config::{Answers, TypeConfig};
use super::witness::{Place, Witness};
use crate::runtime;
use openraft::storage::RaftStateMachine;
use openraft::{
    EntryPayload, ErrorSubject, ErrorVerb, OptionalSend, RaftSnapshotBuilder, Snapshot,
    StorageIOError,
};
use recode_core::{Batch, Effect, State};
use std::io::{self, Cursor};
use std::sync::{Arc, RwLock};
use tokio::sync::watch;

/// The state and what it stands on.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// Everything the log has decided.
    pub state: State,
    /// The newest time stamp seen in an entry, in milliseconds since 1970.
    pub at_ms: u64,
    /// The last entry in it.
    pub last: Option<LogId>,
    membership: Membership,
}

/// What the rest of the coordinator sees of the replicated state.
#[derive(Debug)]
pub struct Shared {
    applied: RwLock<Applied>,
    /// Left by `apply` for the Leader.
    pub effects: Effects,
    /// Counts applied batches: watchers look again when it moves.
    changes: watch::Sender<u64>,
}

impl Shared {
    /// Looks at the state. Do not keep it waiting: `apply` waits meanwhile.
    pub fn look<T>(&self, f: impl FnOnce(&State) -> T) -> T {
        f(&self.read().state)
    }

    /// The newest time stamp seen in an entry.
    pub fn at_ms(&self) -> u64 {
        self.read().at_ms
    }

    /// Moves whenever the state may have changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// From here on applying panics.
    #[cfg(test)]
    pub fn spoil(self: &Arc<Self>) {
        let shared = self.clone();
        let spoiling = std::thread::spawn(move || {
            let _held = shared.write();
            panic!("as it should");
        });
        assert!(spoiling.join().is_err());
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Applied> {
        self.applied
            .read()
            .expect("a panic while applying ends the process")
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Applied> {
        self.applied
            .write()
            .expect("a panic while applying ends the process")
    }
}

/// openraft's view of it.
#[derive(Clone, Debug)]
pub struct StateMachine {
    shared: Arc<Shared>,
    snapshots: Snapshots,
    /// Closed when a panic has taken all of them along.
    alive: watch::Sender<()>,
    witness: Option<Arc<dyn Witness>>,
}

impl StateMachine {
    /// From the newest snapshot, or empty.
    /// # Errors
    /// What the disk said, or damage: do not start.
    pub fn open(snapshots: Snapshots, witness: Option<Arc<dyn Witness>>) -> io::Result<Self> {
        let applied = match snapshots.newest()? {
            Some(kept) => restore(&kept.meta, kept.state())?,
            None => Applied::default(),
        };
        if let Some(witness) = &witness
            && let Some(at) = applied.last
        {
            witness.restored(place(at), &applied.state);
        }
        Ok(Self {
            shared: Arc::new(Shared {
                applied: RwLock::new(applied),
                effects: Effects::default(),
                changes: watch::Sender::new(0),
            }),
            snapshots,
            alive: watch::Sender::new(()),
            witness,
        })
    }

    /// Closed when Raft has no state machine any more: it has stopped, or applying an entry has panicked, which openraft
    /// does not notice by itself.
    pub fn alive(&self) -> watch::Receiver<()> {
        self.alive.subscribe()
    }

    /// What the rest of the coordinator sees.
    pub fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }
}

/// Writes what a snapshot holds beside its description.
/// # Errors
/// What the disk said; nothing has changed then.
pub(super) fn write(
    snapshots: &Snapshots,
    meta: &SnapshotMeta,
    applied: &Applied,
) -> io::Result<()> {
    snapshots.write_in_pieces(meta, |sink| {
        let mut head = [0; 16];
        head[8..].copy_from_slice(&applied.state.write(sink)?);
        head[..8].copy_from_slice(&applied.at_ms.to_le_bytes());
        Ok(head)
    })
}

fn place(at: LogId) -> Place {
    Place {
        index: at.index,
        term: at.leader_id.term,
        leader: at.leader_id.node_id,
    }
}

/// The state that a snapshot holds.
/// # Errors
/// `InvalidData`: it does not read.
pub(super) fn restore(meta: &SnapshotMeta, bytes: &[u8]) -> io::Result<Applied> {
    let invalid = |e: String| io::Error::new(io::ErrorKind::InvalidData, e);
    let (at, sealed) = bytes
        .split_first_chunk::<8>()
        .ok_or_else(|| invalid("the snapshot is too short".into()))?;
    let mut state = State::decode(sealed).map_err(|e| invalid(e.to_string()))?;
    if planted!(SnapshotLosesRequests) {
        state.requests.clear();
    }
    let membership = match planted!(SnapshotLosesMembers) {
        true => Membership::default(),
        false => meta.last_membership.clone(),
    };
    Ok(Applied {
        state,
        at_ms: u64::from_le_bytes(*at),
        last: meta.last_log_id,
        membership,
    })
}

fn failure(verb: ErrorVerb, error: &io::Error) -> StorageError {
    StorageIOError::new(ErrorSubject::StateMachine, verb, error).into()
}

fn not_written(error: &io::Error) -> StorageError {
    let told = format!(
        "a snapshot cannot be written: {error}: make room on the disk, or replace it, and start again; nothing acknowledged \
         is lost"
    );
    failure(ErrorVerb::Write, &io::Error::new(error.kind(), told))
}

impl RaftSnapshotBuilder<TypeConfig> for StateMachine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError> {
        // Copied under the lock, encoded and written outside of it.
        let began = runtime::now();
        let applied = self.shared.read().clone();
        let copied = runtime::now();
        let snapshots = self.snapshots.clone();
        let mut last = applied.last;
        if planted!(SnapshotTooNew)
            && let Some(last) = &mut last
        {
            last.index += 1;
        }
        let meta = SnapshotMeta {
            last_log_id: last,
            last_membership: applied.membership.clone(),
            snapshot_id: applied
                .last
                .map_or_else(|| "0".to_owned(), |id| id.to_string()),
        };
        let written = meta.clone();
        // All coordinators do this at about the same time: commits must not wait for it.
        runtime::behind(move || write(&snapshots, &written, &applied))
            .await
            .and_then(|written| written)
            .map_err(|e| not_written(&e))?;
        tracing::info!(
            last = %meta.snapshot_id,
            copied_ms = copied.duration_since(began).as_millis() as u64,
            written_ms = runtime::now().duration_since(copied).as_millis() as u64,
            "a snapshot is written"
        );
        // Raft asks for the state with `get_current_snapshot` when a follower needs it; here it looks at the description only.
        Ok(Snapshot {
            meta,
            snapshot: Box::default(),
        })
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), StorageError> {
        let applied = self.shared.read();
        Ok((applied.last, applied.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Answers>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut answers = Vec::new();
        let mut effects: Vec<Effect> = Vec::new();
        {
            let mut applied = self.shared.write();
            for entry in entries {
                applied.last = Some(entry.log_id);
                let (mut answered, mut sealed) = (Vec::new(), None);
                match entry.payload {
                    EntryPayload::Blank => {}
                    EntryPayload::Membership(membership) => {
                        applied.membership = Membership::new(Some(entry.log_id), membership);
                    }
                    EntryPayload::Normal(proposal) => {
                        let batch = Batch::decode(&proposal.0).map_err(|e| {
                            StorageError::from(StorageIOError::apply(entry.log_id, &e))
                        })?;
                        if let Some(newest) = batch.0.iter().map(|e| e.at_ms).max() {
                            applied.at_ms = applied.at_ms.max(newest);
                        }
                        answered = applied.state.apply_batch(&batch);
                        if planted!(AppliedTwice) && entry.log_id.index.is_multiple_of(32) {
                            answered = applied.state.apply_batch(&batch);
                        }
                        sealed = Some(proposal.0);
                    }
                }
                if let Some(witness) = &self.witness {
                    let at = place(entry.log_id);
                    witness.applied(at, sealed.as_deref(), &answered, &applied.state);
                }
                let mut outcomes = Vec::with_capacity(answered.len());
                for (outcome, asked) in answered {
                    outcomes.push(outcome);
                    effects.extend(asked);
                }
                answers.push(Answers(outcomes));
            }
        }
        self.shared.effects.add(effects);
        self.shared.changes.send_modify(|count| *count += 1);
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let bytes = snapshot.into_inner();
        let applied = restore(meta, &bytes).map_err(|e| failure(ErrorVerb::Read, &e))?;
        let (snapshots, meta) = (self.snapshots.clone(), meta.clone());
        runtime::blocking(move || snapshots.write(&meta, &bytes))
            .await
            .map_err(io::Error::other)
            .and_then(|written| written)
            .map_err(|e| not_written(&e))?;
        if let (Some(witness), Some(at)) = (&self.witness, applied.last) {
            witness.restored(place(at), &applied.state);
        }
        if planted!(SnapshotNotTaken) {
            self.shared.write().last = applied.last;
            return Ok(());
        }
        *self.shared.write() = applied;
        self.shared.changes.send_modify(|count| *count += 1);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError> {
        let found = self
            .snapshots
            .newest()
            .map_err(|e| failure(ErrorVerb::Read, &e))?;
        Ok(found.map(|kept| Snapshot {
            meta: kept.meta.clone(),
            snapshot: Box::new(Cursor::new(kept.into_state())),
        }))
    }
}
