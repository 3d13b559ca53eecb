//! `cluster.proto`.

use crate::v1;
use recode_types::cluster::{ClusterStatus, CoordinatorStatus};

impl From<ClusterStatus> for v1::ClusterStatusResponse {
    fn from(status: ClusterStatus) -> Self {
        Self {
            cluster: status.cluster,
            coordinator: status.coordinator,
            term: status.term,
            leader: status.leader.unwrap_or(0),
            coordinators: status
                .coordinators
                .into_iter()
                .map(|c| v1::CoordinatorStatus {
                    coordinator: c.coordinator,
                    address: c.address,
                    voter: c.voter,
                    matched_index: c.matched_index,
                })
                .collect(),
            last_index: status.last_index,
            applied_index: status.applied_index,
            snapshot_index: status.snapshot_index.unwrap_or(0),
            quorum_age_ms: status.quorum_age_ms,
        }
    }
}

impl From<v1::ClusterStatusResponse> for ClusterStatus {
    fn from(status: v1::ClusterStatusResponse) -> Self {
        let some = |number: u64| (number > 0).then_some(number);
        Self {
            cluster: status.cluster,
            coordinator: status.coordinator,
            term: status.term,
            leader: some(status.leader),
            coordinators: status
                .coordinators
                .into_iter()
                .map(|c| CoordinatorStatus {
                    coordinator: c.coordinator,
                    address: c.address,
                    voter: c.voter,
                    matched_index: c.matched_index,
                })
                .collect(),
            last_index: status.last_index,
            applied_index: status.applied_index,
            snapshot_index: some(status.snapshot_index),
            quorum_age_ms: status.quorum_age_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_survives_the_wire() {
        let status = ClusterStatus {
            cluster: "c".into(),
            coordinator: 2,
            term: 7,
            leader: None,
            coordinators: vec![CoordinatorStatus {
                coordinator: 1,
                address: "a:1".into(),
                voter: true,
                matched_index: Some(0),
            }],
            last_index: 9,
            applied_index: 8,
            snapshot_index: Some(5),
            quorum_age_ms: Some(0),
        };
        let wire = v1::ClusterStatusResponse::from(status.clone());
        assert_eq!(ClusterStatus::from(wire), status);
    }
}
