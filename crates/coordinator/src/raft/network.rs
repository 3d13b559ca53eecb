//! The network of a cluster of one: there is nobody to talk to, and it says so.
//!
//! A real implementation of the trait rather than a panic: openraft only asks for it when the membership names another
//! coordinator, and then every call is answered `Unreachable`.

use super::type_config::{CoordinatorId, TypeConfig};
use openraft::error::{InstallSnapshotError, RPCError, RaftError, Unreachable};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};

type Refused<E = openraft::error::Infallible> =
    RPCError<CoordinatorId, openraft::BasicNode, RaftError<CoordinatorId, E>>;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

/// A coordinator that this build cannot reach.
#[derive(Debug)]
pub struct NoWay {
    target: CoordinatorId,
}

#[derive(Debug, thiserror::Error)]
#[error("this build runs a single coordinator and cannot reach coordinator {0}")]
struct OnlyOne(CoordinatorId);

impl NoWay {
    fn refuse<E: std::error::Error>(&self) -> Refused<E> {
        RPCError::Unreachable(Unreachable::new(&OnlyOne(self.target)))
    }
}

impl RaftNetworkFactory<TypeConfig> for Alone {
    type Network = NoWay;

    async fn new_client(&mut self, target: CoordinatorId, _node: &openraft::BasicNode) -> NoWay {
        NoWay { target }
    }
}

impl RaftNetwork<TypeConfig> for NoWay {
    async fn append_entries(
        &mut self,
        _rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<CoordinatorId>, Refused> {
        Err(self.refuse())
    }

    async fn install_snapshot(
        &mut self,
        _rpc: InstallSnapshotRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<InstallSnapshotResponse<CoordinatorId>, Refused<InstallSnapshotError>> {
        Err(self.refuse())
    }

    async fn vote(
        &mut self,
        _rpc: VoteRequest<CoordinatorId>,
        _option: RPCOption,
    ) -> Result<VoteResponse<CoordinatorId>, Refused> {
        Err(self.refuse())
    }
}
