//! Tasks and their Attempts.
//!
//! A Task needs no row until somebody tries it, and whether it is finished follows from its result in the Job. What is
//! kept here is the history of tries and the Lease, where one holds.
//!
//! ```text
//!            grant                     complete: done
//!   idle ───────────► leased ─────────────────────────► idle, result in the Job
//!    ▲                  │  complete: failed, not for the last time
//!    ├──────────────────┤
//!    └──────────────────┘  expired or revoked
//! ```

use recode_types::{AttemptNo, NodeId};
use serde::{Deserialize, Serialize};

/// Failed Attempts of one Task after which the Job fails.
pub const MAX_FAILURES: u32 = 3;
/// Attempts of one Task, silent Nodes included, after which the Job fails: bounds what a Task that kills its Node can do.
pub const MAX_ATTEMPTS: u32 = 100;

/// What is known about one Task beside its result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Number of the newest Attempt; 0 before the first.
    pub attempts: AttemptNo,
    /// Attempts since the Task was last opened that reported a failure.
    pub failures: u32,
    /// Attempts since the Task was last opened.
    pub tries: u32,
    /// The right of one Node to run the newest Attempt.
    pub lease: Option<Lease>,
    /// Not to be granted before this time.
    pub retry_at_ms: u64,
    /// Nodes that said they cannot do it.
    pub avoid: Vec<NodeId>,
}

/// The right of one Node to run one Attempt.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// The holder.
    pub node: NodeId,
    /// Fencing token together with the Task.
    pub attempt: AttemptNo,
    /// When it was granted.
    pub granted_ms: u64,
}

impl Task {
    /// The Task is asked for anew (other settings): its history of failures does not count any more, its numbers go on.
    pub fn reopen(&mut self) {
        if !planted!(ReopenKeepsFailures) {
            self.failures = 0;
        }
        self.tries = 0;
        self.retry_at_ms = 0;
    }
}
