//! What openraft is told about us.

use recode_core::Outcome;
use serde::{Deserialize, Serialize};
use std::io::Cursor;

/// Number of a coordinator. Never reused: a new disk is a new number.
pub type CoordinatorId = u64;

openraft::declare_raft_types!(
    /// Types of the coordinators' Raft.
    pub TypeConfig:
        D = Proposal,
        R = Answers,
        NodeId = CoordinatorId,
        Node = openraft::BasicNode,
        Entry = openraft::Entry<TypeConfig>,
        SnapshotData = Cursor<Vec<u8>>,
        AsyncRuntime = crate::runtime::Runtime,
);

/// A batch of commands in its sealed form (`recode_core::Batch::encode`): versioned, with a checksum of its own. It is
/// encoded once, by the proposer, and these bytes are what every log and every replica sees.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal(pub Vec<u8>);

impl std::fmt::Debug for Proposal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Proposal({} bytes)", self.0.len())
    }
}

/// One answer for each command of the batch; empty for entries of Raft's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answers(pub Vec<Outcome>);

/// Short names for openraft's types with our parameters.
pub mod alias {
    use super::{CoordinatorId, TypeConfig};

    pub type Entry = openraft::Entry<TypeConfig>;
    pub type LogId = openraft::LogId<CoordinatorId>;
    pub type Vote = openraft::Vote<CoordinatorId>;
    pub type Membership = openraft::StoredMembership<CoordinatorId, openraft::BasicNode>;
    pub type SnapshotMeta = openraft::SnapshotMeta<CoordinatorId, openraft::BasicNode>;
    pub type StorageError = openraft::StorageError<CoordinatorId>;
    pub type Raft = openraft::Raft<TypeConfig>;
}
