//! Who belongs to the cluster, and changing that.

use super::type_config::alias::Raft;
use super::type_config::{CoordinatorId, Proposal};
use super::{Consensus, Peer};
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{BasicNode, ChangeMembers};
use recode_core::Batch;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a new coordinator may take to catch up before it counts as failed.
const CATCH_UP: Duration = Duration::from_secs(120);

/// How long a change of the membership may take before its outcome counts as unknown.
const DEADLINE: Duration = Duration::from_secs(20);

/// Founders of a cluster choose their numbers below this; what the log gives out lies above.
pub const FOUNDERS_BELOW: CoordinatorId = 100;

/// One coordinator of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who and where.
    pub peer: Peer,
    /// It votes; otherwise it learns.
    pub voter: bool,
    /// The last entry known to be in its log; only a Leader knows.
    pub matched: Option<u64>,
}

/// The cluster as one coordinator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Raft's term.
    pub term: u64,
    /// The Leader, where one is known.
    pub leader: Option<CoordinatorId>,
    /// All members in order.
    pub members: Vec<Member>,
    /// The last entry in this log.
    pub last: u64,
    /// The last entry that this state holds.
    pub applied: u64,
    /// The last entry that the newest snapshot holds.
    pub snapshot: Option<u64>,
    /// Milliseconds since a quorum last confirmed this Leader.
    pub quorum_age_ms: Option<u64>,
}

/// A change that was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Ask the Leader.
    #[error("this coordinator does not lead now")]
    NotLeading,
    /// Another change is under way.
    #[error("another change of the members is under way: try again when it is done")]
    Busy,
    /// It would harm the cluster, or makes no sense.
    #[error("{0}")]
    Refused(String),
    /// There is no such coordinator.
    #[error("there is no coordinator {0}")]
    Unknown(CoordinatorId),
    /// No answer in time: it may or may not be made.
    #[error("the change was not confirmed in time: look at the status")]
    Outcome,
    /// Raft has stopped.
    #[error("the replicated log has stopped: {0}")]
    Fatal(String),
}

type Written<T> = Result<T, RaftError<CoordinatorId, ClientWriteError<CoordinatorId, BasicNode>>>;

async fn within<T>(
    limit: Duration,
    change: impl Future<Output = Written<T>>,
) -> Result<T, ChangeError> {
    match tokio::time::timeout(limit, change).await {
        Err(_) => Err(ChangeError::Outcome),
        Ok(Ok(done)) => Ok(done),
        Ok(Err(RaftError::Fatal(fatal))) => Err(ChangeError::Fatal(fatal.to_string())),
        Ok(Err(RaftError::APIError(error))) => Err(match error {
            ClientWriteError::ForwardToLeader(_) => ChangeError::NotLeading,
            ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_)) => {
                ChangeError::Busy
            }
            ClientWriteError::ChangeMembershipError(other) => {
                ChangeError::Refused(other.to_string())
            }
        }),
    }
}

/// Makes a change as soon as the one before it is through: a membership shows before it is committed.
async fn in_turn<F>(mut change: impl FnMut() -> F) -> Result<(), ChangeError>
where
    F: Future<Output = Result<(), ChangeError>>,
{
    let started = tokio::time::Instant::now();
    loop {
        match change().await {
            Err(ChangeError::Busy) if started.elapsed() < DEADLINE => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            done => return done,
        }
    }
}

impl Consensus {
    /// The cluster as this coordinator sees it.
    pub fn view(&self) -> View {
        let metrics = self.raft.metrics();
        let m = metrics.borrow();
        let membership = m.membership_config.membership();
        let voters: BTreeSet<CoordinatorId> = membership.voter_ids().collect();
        let matched = |id: &CoordinatorId| {
            let replication = m.replication.as_ref()?;
            replication.get(id)?.map(|log_id| log_id.index)
        };
        View {
            term: m.current_term,
            leader: m.current_leader,
            members: membership
                .nodes()
                .map(|(id, node)| Member {
                    peer: Peer {
                        id: *id,
                        address: node.addr.clone(),
                    },
                    voter: voters.contains(id),
                    matched: matched(id),
                })
                .collect(),
            last: m.last_log_index.unwrap_or(0),
            applied: m.last_applied.map_or(0, |id| id.index),
            snapshot: m.snapshot.map(|id| id.index),
            quorum_age_ms: m.millis_since_quorum_ack,
        }
    }

    /// Who votes. Waits until Raft has read its log, which must hold a membership.
    pub async fn voters(&self) -> BTreeSet<CoordinatorId> {
        let mut metrics = self.raft.metrics();
        let read = metrics.wait_for(|m| m.membership_config.voter_ids().next().is_some());
        match read.await {
            Ok(metrics) => metrics.membership_config.voter_ids().collect(),
            // Raft has ended, which is told elsewhere.
            Err(_) => BTreeSet::new(),
        }
    }

    /// A number for a new coordinator: the index of an entry made for it. Nobody had it before, nobody gets it again, and
    /// no state needs to remember it.
    /// # Errors
    /// [`ChangeError`].
    pub async fn new_number(&self) -> Result<CoordinatorId, ChangeError> {
        loop {
            let empty = Proposal(Batch::default().encode());
            let written = within(DEADLINE, self.raft.client_write(empty)).await?;
            let index = written.log_id.index;
            if index >= FOUNDERS_BELOW {
                return Ok(index);
            }
        }
    }

    /// Makes a coordinator that runs, and knows its number, a member: it learns, and when it has caught up it votes.
    /// # Errors
    /// [`ChangeError`]; it may be left as a learner, and asking again goes on from there.
    pub async fn add(&self, peer: Peer) -> Result<(), ChangeError> {
        let (raft, id) = (self.raft.clone(), peer.id);
        in_turn(move || {
            let (raft, node) = (raft.clone(), BasicNode::new(&peer.address));
            async move {
                within(CATCH_UP, raft.add_learner(id, node, true))
                    .await
                    .map(|_| ())
            }
        })
        .await?;
        let raft = self.raft.clone();
        in_turn(move || {
            let (raft, vote) = (
                raft.clone(),
                ChangeMembers::AddVoterIds(BTreeSet::from([id])),
            );
            async move {
                within(DEADLINE, raft.change_membership(vote, true))
                    .await
                    .map(|_| ())
            }
        })
        .await
    }

    /// Removes a member, living or lost.
    /// # Errors
    /// [`ChangeError`].
    pub async fn remove(&self, id: CoordinatorId) -> Result<(), ChangeError> {
        let members = self.view().members;
        let Some(member) = members.iter().find(|m| m.peer.id == id) else {
            return Err(ChangeError::Unknown(id));
        };
        let gone = BTreeSet::from([id]);
        if member.voter {
            if members.iter().filter(|m| m.voter).count() == 1 {
                return Err(ChangeError::Refused(format!(
                    "coordinator {id} is the last one that votes: removing it would end the cluster"
                )));
            }
            let change = ChangeMembers::RemoveVoters(gone);
            within(DEADLINE, self.raft.change_membership(change, false)).await?;
        } else {
            let change = ChangeMembers::RemoveNodes(gone);
            within(DEADLINE, self.raft.change_membership(change, false)).await?;
        }
        Ok(())
    }

    /// Tells the cluster where a member listens now.
    /// # Errors
    /// [`ChangeError`].
    pub async fn moved(&self, peer: Peer) -> Result<(), ChangeError> {
        let nodes = BTreeMap::from([(peer.id, BasicNode::new(&peer.address))]);
        let change = ChangeMembers::SetNodes(nodes);
        within(DEADLINE, self.raft.change_membership(change, true)).await?;
        Ok(())
    }

    /// Writes a snapshot of this state and waits for it.
    /// # Errors
    /// [`ChangeError::Fatal`], [`ChangeError::Outcome`].
    pub async fn snapshot(&self) -> Result<u64, ChangeError> {
        let raft: &Raft = &self.raft;
        let applied = self.view().applied;
        let fatal = |e: openraft::error::Fatal<CoordinatorId>| ChangeError::Fatal(e.to_string());
        raft.trigger().snapshot().await.map_err(fatal)?;
        let done = raft
            .wait(Some(DEADLINE))
            .metrics(
                |m| m.snapshot.is_some_and(|id| id.index >= applied),
                "a snapshot",
            )
            .await
            .map_err(|_| ChangeError::Outcome)?;
        Ok(done.snapshot.map_or(0, |id| id.index))
    }
}
