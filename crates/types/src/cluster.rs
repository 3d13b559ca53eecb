//! The coordinators of a cluster, as operators see them.

use serde::{Deserialize, Serialize};

/// The cluster as one coordinator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The cluster.
    pub cluster: String,
    /// The coordinator that answered.
    pub coordinator: u64,
    /// Raft's term.
    pub term: u64,
    /// The Leader, where one is known.
    pub leader: Option<u64>,
    /// All members in order.
    pub coordinators: Vec<CoordinatorStatus>,
    /// The last entry in the log of the one that answered.
    pub last_index: u64,
    /// The last entry that its state holds.
    pub applied_index: u64,
    /// The last entry that its newest snapshot holds.
    pub snapshot_index: Option<u64>,
    /// Milliseconds since a quorum last confirmed the Leader; only from the Leader itself.
    pub quorum_age_ms: Option<u64>,
}

/// One coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordinatorStatus {
    /// Its number.
    pub coordinator: u64,
    /// Where others reach it, HOST:PORT.
    pub address: String,
    /// It votes; otherwise it learns.
    pub voter: bool,
    /// The last entry known to be in its log; only from the Leader.
    pub matched_index: Option<u64>,
}
