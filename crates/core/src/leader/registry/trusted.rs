//! Who has failed at what, and who would not fit: what the Leader keeps of it with what it knows of Nodes.

use super::{Heard, Registry};
use crate::schedule::Standing;
use recode_types::task::FailureClass;
use recode_types::{AttemptToken, JobId, NodeId, TaskId};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

impl Registry {
    /// Nodes whose Chunks of an Output would not fit the others: those that were seen to make such, and those that use the
    /// same FFmpeg as one of them.
    pub fn apart(&self, job: JobId, output: u16) -> BTreeSet<NodeId> {
        let Some(seen) = self.trust.apart(job, output) else {
            return BTreeSet::new();
        };
        let known: Vec<&Heard> = seen.iter().filter_map(|id| self.nodes.get(id)).collect();
        let alike = |node: &Heard| known.iter().any(|other| node.is_like(other));
        let nodes = self.nodes.iter().filter(|(_, node)| alike(node));
        nodes
            .map(|(id, _)| *id)
            .chain(seen.iter().copied())
            .collect()
    }

    /// An Attempt has failed on a Node. Answers for how long the Node gets nothing because of that.
    pub fn failed(
        &mut self,
        node: NodeId,
        token: &AttemptToken,
        class: FailureClass,
        now: Instant,
    ) -> Option<Duration> {
        let (clock, present) = (self.clock(now), self.present());
        let before = self.trust.standing(node, &present, clock);
        self.trust.failed(node, token.task, class, clock);
        match self.trust.standing(node, &present, clock) {
            Standing::Suspended { left, .. } if !matches!(before, Standing::Suspended { .. }) => {
                Some(left)
            }
            _ => None,
        }
    }

    /// An Attempt has done its work.
    pub fn worked(&mut self, node: NodeId, token: &AttemptToken) {
        self.trust.worked(node, token.task);
    }

    /// The Chunks of a Node do not fit the others of an Output. Answers whether that is new.
    pub fn set_apart(&mut self, job: JobId, output: u16, node: NodeId) -> bool {
        self.trust.set_apart(job, output, node)
    }

    /// Nobody has failed lately, and nobody is set apart.
    pub fn is_spotless(&self) -> bool {
        self.trust.is_spotless()
    }

    /// Where a Task has failed.
    pub fn failed_at(&self, task: TaskId) -> Option<&BTreeSet<NodeId>> {
        self.trust.failed_at(task)
    }

    /// A Job has ended.
    pub fn forget_job(&mut self, job: JobId) {
        self.trust.forget_job(job);
    }
}
