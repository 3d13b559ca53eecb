//! Nodes as the log knows them: who exists and which Leases they hold. Speeds and free slots live with the Leader.
//!
//! ```text
//!   RegisterNode ──► known ──ForgetNode, or the same name registers again──► gone (its Leases end at once)
//!                   │   ▲
//!        DrainNode  ▼   │  DrainNode
//!                  draining: no new Leases
//! ```

use super::State;
use recode_types::{AttemptToken, NodeId, TaskId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One registered process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its number, never reused.
    pub id: NodeId,
    /// Where it runs. A second process of the same name replaces the first.
    pub name: String,
    /// Chosen by the process at its start; a process that starts again has another.
    pub incarnation: String,
    /// When it registered.
    pub registered_ms: u64,
    /// Tasks it has a Lease on.
    pub leases: BTreeSet<TaskId>,
    /// It gets nothing new. In the log, so that the next Leader knows.
    pub draining: bool,
}

impl Node {
    pub(super) fn new(id: NodeId, name: String, incarnation: String, at_ms: u64) -> Self {
        Self {
            id,
            name,
            incarnation,
            registered_ms: at_ms,
            leases: BTreeSet::new(),
            draining: false,
        }
    }
}

impl State {
    /// The Attempts that a Node has a Lease for.
    pub fn leases_of(&self, node: NodeId) -> BTreeSet<AttemptToken> {
        let leases = self.nodes.get(&node).into_iter().flat_map(|n| &n.leases);
        let attempt = |task: &TaskId| {
            let lease = self.jobs.get(&task.job)?.tasks.get(&task.key)?.lease?;
            (lease.node == node).then_some(AttemptToken {
                task: *task,
                attempt: lease.attempt,
            })
        };
        leases.filter_map(attempt).collect()
    }
}
