//! `ClusterService`.

use super::raft::adopt;
use crate::raft::{ChangeError, Consensus, Peer};
use recode_proto::convert::status::{bad_request, because, not_found};
use recode_proto::v1::{self, cluster_service_server::ClusterService};
use recode_types::cluster::{ClusterStatus, CoordinatorStatus};
use std::time::Duration;
use tonic::{Code, Request, Response, Status};

/// See the module.
#[derive(Clone)]
pub struct Cluster {
    /// The log.
    pub consensus: Consensus,
    /// Where the cluster keeps what is on its way.
    pub work_store: String,
}

fn status_of(error: &ChangeError) -> Status {
    let message = error.to_string();
    let (code, reason) = match error {
        ChangeError::NotLeading => (Code::Unavailable, "NOT_LEADING"),
        ChangeError::Busy => (Code::Unavailable, "CHANGE_UNDER_WAY"),
        ChangeError::Refused(_) => (Code::FailedPrecondition, "CHANGE_REFUSED"),
        ChangeError::Unknown(id) => {
            let name = id.to_string();
            return not_found("coordinator", &name, "UNKNOWN_COORDINATOR", message);
        }
        ChangeError::Outcome => (Code::DeadlineExceeded, "OUTCOME_UNKNOWN"),
        ChangeError::Fatal(_) => (Code::Internal, "LOG_STOPPED"),
    };
    because(code, reason, message, &[])
}

/// HOST:PORT, as coordinators are told of each other.
fn address(text: &str) -> Result<String, Status> {
    let text = text.strip_prefix("http://").unwrap_or(text);
    let good = text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if good && text.len() <= 256 && !text.contains(['/', ' ']) {
        return Ok(text.to_owned());
    }
    let shown: String = text.chars().take(80).collect();
    Err(bad_request(
        "address",
        format!("address is not valid: \"{shown}\" should be HOST:PORT"),
    ))
}

/// Adopts the coordinator that waits at `address`, and makes it a voter.
async fn add(consensus: &Consensus, address: String) -> Result<u64, Status> {
    let members = consensus.view().members;
    let known = members.iter().find(|m| m.peer.address == address);
    let id = match known {
        Some(member) if member.voter => return Ok(member.peer.id),
        // An earlier call got so far.
        Some(member) => member.peer.id,
        None => {
            let id = consensus.new_number().await.map_err(|e| status_of(&e))?;
            let cluster = &consensus.identity().cluster;
            let level = consensus.shared().look(|state| state.level);
            let adopted = adopt(cluster, level, id, &address).await;
            adopted.map_err(|why| because(Code::FailedPrecondition, "NOT_ADOPTED", why, &[]))?;
            id
        }
    };
    tracing::info!(coordinator = id, address, "a coordinator is added");
    let added = consensus.add(Peer { id, address }).await;
    added.map_err(|e| status_of(&e))?;
    Ok(id)
}

#[tonic::async_trait]
impl ClusterService for Cluster {
    async fn status(
        &self,
        _: Request<v1::ClusterStatusRequest>,
    ) -> Result<Response<v1::ClusterStatusResponse>, Status> {
        let view = self.consensus.view();
        let me = self.consensus.identity();
        let status = ClusterStatus {
            cluster: me.cluster.clone(),
            coordinator: me.id,
            term: view.term,
            leader: view.leader,
            coordinators: view
                .members
                .into_iter()
                .map(|member| CoordinatorStatus {
                    coordinator: member.peer.id,
                    address: member.peer.address,
                    voter: member.voter,
                    matched_index: member.matched,
                })
                .collect(),
            last_index: view.last,
            applied_index: view.applied,
            snapshot_index: view.snapshot,
            quorum_age_ms: view.quorum_age_ms,
        };
        Ok(Response::new(status.into()))
    }

    async fn add(
        &self,
        request: Request<v1::AddCoordinatorRequest>,
    ) -> Result<Response<v1::AddCoordinatorResponse>, Status> {
        let address = address(&request.into_inner().address)?;
        let consensus = self.consensus.clone();
        // Goes on when the caller is gone: the new coordinator itself may have asked, and begins anew once adopted.
        let added = crate::runtime::spawn(async move { add(&consensus, address).await });
        let coordinator = added
            .await
            .unwrap_or_else(|panic| Err(Status::internal(panic.to_string())))?;
        Ok(Response::new(v1::AddCoordinatorResponse { coordinator }))
    }

    async fn remove(
        &self,
        request: Request<v1::RemoveCoordinatorRequest>,
    ) -> Result<Response<v1::RemoveCoordinatorResponse>, Status> {
        let id = request.into_inner().coordinator;
        if id == 0 {
            return Err(bad_request(
                "coordinator",
                "coordinator is missing".to_owned(),
            ));
        }
        let removed = self.consensus.remove(id).await;
        removed.map_err(|e| status_of(&e))?;
        tracing::info!(coordinator = id, "a coordinator was removed");
        Ok(Response::new(v1::RemoveCoordinatorResponse {}))
    }

    async fn snapshot(
        &self,
        _: Request<v1::SnapshotRequest>,
    ) -> Result<Response<v1::SnapshotResponse>, Status> {
        let written = tokio::time::timeout(Duration::from_secs(60), self.consensus.snapshot());
        let index = written
            .await
            .unwrap_or(Err(ChangeError::Outcome))
            .map_err(|e| status_of(&e))?;
        Ok(Response::new(v1::SnapshotResponse { index }))
    }

    async fn work_store(
        &self,
        _: Request<v1::WorkStoreRequest>,
    ) -> Result<Response<v1::WorkStoreResponse>, Status> {
        let url = self.work_store.clone();
        Ok(Response::new(v1::WorkStoreResponse { url }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        assert_eq!(address("http://10.0.0.1:7420").unwrap(), "10.0.0.1:7420");
        assert!(address("[::1]:7420").is_ok());
        for bad in [
            "", "host", "host:", ":1", "h:0", "h:70000", "a b:1", "h:1/x",
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
