//! openraft's network over a [`Link`]: one call per message, the payload in this build's own encoding.
//!
//! A link knows addresses and bytes, nothing of Raft; gRPC is one ([`super::super::service::raft`]), a simulation has
//! another. Every message names cluster and target, so that an address with another owner harms nobody.

use super::type_config::{CoordinatorId, TypeConfig};
use futures::future::BoxFuture;
use openraft::BasicNode;
use openraft::error::{
    Infallible, InstallSnapshotError, NetworkError, PayloadTooLarge, RPCError, RaftError,
    RemoteError, Unreachable,
};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

/// Most bytes of one message between coordinators. What is larger is sent in smaller parts.
pub const MAX_MESSAGE_BYTES: usize = 8 << 20;

/// Bytes of a snapshot in one message; well below [`MAX_MESSAGE_BYTES`].
pub const SNAPSHOT_CHUNK_BYTES: u64 = 2 << 20;

/// What is asked of another coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Log entries and heartbeats.
    Append,
    /// A vote.
    Vote,
    /// Taking a piece of a snapshot.
    InstallSnapshot,
}

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its number.
    pub id: CoordinatorId,
    /// Where it listens, HOST:PORT.
    pub address: String,
}

/// A call without an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Nobody is there: no use in asking again at once.
    #[error("coordinator {0} cannot be reached: {1}")]
    Unreachable(CoordinatorId, String),
    /// The outcome is unknown.
    #[error("coordinator {0} gave no answer: {1}")]
    Lost(CoordinatorId, String),
}

/// Carries bytes to other coordinators and their answers back.
pub trait Link: Debug + Send + Sync + 'static {
    /// Asks `to`, giving up after `within`.
    fn call(
        &self,
        to: Peer,
        call: Call,
        payload: Vec<u8>,
        within: Duration,
    ) -> BoxFuture<'static, Result<Vec<u8>, LinkError>>;

    /// The feature level that a coordinator announced when it answered last; `None`: it has not answered yet, or this link
    /// does not carry levels.
    fn announced(&self, _: CoordinatorId) -> Option<u32> {
        None
    }
}

/// The link of a coordinator that is alone for good, as in an embedded one.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

impl Link for Alone {
    fn call(
        &self,
        to: Peer,
        _: Call,
        _: Vec<u8>,
        _: Duration,
    ) -> BoxFuture<'static, Result<Vec<u8>, LinkError>> {
        let error = LinkError::Unreachable(to.id, "this coordinator works alone".into());
        Box::pin(std::future::ready(Err(error)))
    }
}

/// Makes one [`Line`] per coordinator.
#[derive(Clone, Debug)]
pub struct Network(pub Arc<dyn Link>);

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Line;

    async fn new_client(&mut self, target: CoordinatorId, node: &BasicNode) -> Line {
        Line {
            link: self.0.clone(),
            peer: Peer {
                id: target,
                address: node.addr.clone(),
            },
        }
    }
}

/// The way to one coordinator.
#[derive(Clone, Debug)]
pub struct Line {
    link: Arc<dyn Link>,
    peer: Peer,
}

type Failed<E = Infallible> = RPCError<CoordinatorId, BasicNode, RaftError<CoordinatorId, E>>;

impl Line {
    async fn ask<T, E>(
        &self,
        call: Call,
        payload: Vec<u8>,
        option: &RPCOption,
    ) -> Result<T, Failed<E>>
    where
        T: DeserializeOwned,
        E: std::error::Error + DeserializeOwned,
    {
        let answer = self
            .link
            .call(self.peer.clone(), call, payload, option.hard_ttl())
            .await;
        let bytes = answer.map_err(|error| match error {
            LinkError::Unreachable(..) => RPCError::Unreachable(Unreachable::new(&error)),
            LinkError::Lost(..) => RPCError::Network(NetworkError::new(&error)),
        })?;
        let answer: Result<T, RaftError<CoordinatorId, E>> = postcard::from_bytes(&bytes)
            .map_err(|error| RPCError::Network(NetworkError::new(&error)))?;
        answer.map_err(|error| RPCError::RemoteError(RemoteError::new(self.peer.id, error)))
    }
}

/// As bytes for a [`Link`].
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(message).expect("plain data always serialises")
}

/// What [`encode`] wrote.
/// # Errors
/// One sentence: it does not read.
pub fn decode<T: DeserializeOwned>(message: &[u8]) -> Result<T, String> {
    postcard::from_bytes(message).map_err(|e| format!("the message does not read: {e}"))
}

/// The term to which a coordinator has bound itself by an answer to such a call: however its process ends, the next one knows
/// no lower term. `None`: the answer binds it to nothing.
#[cfg(feature = "simulated")]
pub fn term_bound_to(call: Call, payload: &[u8], answer: &[u8]) -> Option<u64> {
    type Answer<T> = Result<T, RaftError<CoordinatorId>>;
    let vote = match call {
        Call::Vote => {
            let answer: Answer<VoteResponse<CoordinatorId>> = decode(answer).ok()?;
            answer.ok()?.vote
        }
        Call::Append => {
            let answer: Answer<AppendEntriesResponse<CoordinatorId>> = decode(answer).ok()?;
            match answer.ok()? {
                AppendEntriesResponse::HigherVote(vote) => vote,
                _ => {
                    let asked: AppendEntriesRequest<TypeConfig> = decode(payload).ok()?;
                    asked.vote
                }
            }
        }
        Call::InstallSnapshot => return None,
    };
    Some(vote.leader_id().term)
}

impl RaftNetwork<TypeConfig> for Line {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<CoordinatorId>, Failed> {
        let payload = encode(&rpc);
        if payload.len() > MAX_MESSAGE_BYTES && rpc.entries.len() > 1 {
            let half = rpc.entries.len() as u64 / 2;
            return Err(PayloadTooLarge::new_entries_hint(half).into());
        }
        self.ask(Call::Append, payload, &option).await
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<CoordinatorId>, Failed<InstallSnapshotError>> {
        self.ask(Call::InstallSnapshot, encode(&rpc), &option).await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<CoordinatorId>,
        option: RPCOption,
    ) -> Result<VoteResponse<CoordinatorId>, Failed> {
        self.ask(Call::Vote, encode(&rpc), &option).await
    }
}

#[cfg(all(test, feature = "simulated"))]
mod tests {
    use super::*;
    use openraft::Vote;
    use openraft::error::Fatal;

    #[test]
    fn an_answer_binds_to_the_term_that_was_saved_before_it() {
        type Answer<T> = Result<T, RaftError<CoordinatorId>>;
        let asked = encode(&AppendEntriesRequest::<TypeConfig> {
            vote: Vote::new_committed(5, 2),
            prev_log_id: None,
            entries: Vec::new(),
            leader_commit: None,
        });
        let append = |answer| {
            let answer: Answer<AppendEntriesResponse<CoordinatorId>> = answer;
            term_bound_to(Call::Append, &asked, &encode(&answer))
        };
        assert_eq!(append(Ok(AppendEntriesResponse::Success)), Some(5));
        assert_eq!(append(Ok(AppendEntriesResponse::Conflict)), Some(5));
        let higher = AppendEntriesResponse::HigherVote(Vote::new(9, 1));
        assert_eq!(append(Ok(higher)), Some(9));
        assert_eq!(append(Err(RaftError::Fatal(Fatal::Stopped))), None);
        let refused: Answer<VoteResponse<CoordinatorId>> =
            Ok(VoteResponse::new(Vote::new(7, 3), None, false));
        assert_eq!(term_bound_to(Call::Vote, &[], &encode(&refused)), Some(7));
        assert_eq!(term_bound_to(Call::InstallSnapshot, &[], &[]), None);
    }
}
