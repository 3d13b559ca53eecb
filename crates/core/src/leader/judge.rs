//! Who can be trusted with what, learned from what ended and how the log took it.

use super::Registry;
use crate::State;
use recode_types::task::AttemptOutcome;
use recode_types::{AttemptToken, JobId, NodeId};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What changes for a Node.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It has failed again and again and gets nothing for a while.
    Suspended {
        /// The Node.
        node: NodeId,
        /// For how long.
        pause: Duration,
    },
    /// It works well, but not together with the others of an Output: nothing is held against it elsewhere.
    Apart {
        /// The Node.
        node: NodeId,
        /// The Job of the Output.
        job: JobId,
        /// What its watchers should hear.
        text: String,
    },
}

/// Call it when the log has taken what `ended`, Attempts with their Nodes; answers what is new.
pub fn judge(
    registry: &mut Registry,
    state: &State,
    ended: &BTreeMap<AttemptToken, (NodeId, AttemptOutcome)>,
    now: Instant,
) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (token, (node, outcome)) in ended {
        let job = state.jobs.get(&token.task.job);
        let Some(class) = job.and_then(|job| job.failure_of(token)) else {
            if matches!(outcome, AttemptOutcome::Done { .. }) {
                registry.worked(*node, token);
            }
            continue;
        };
        if let Some(output) = job.and_then(|job| job.differs(outcome)) {
            let job = token.task.job;
            if registry.set_apart(job, output, *node) {
                let name = registry.name(*node);
                let text = format!(
                    "the encoder of {node} ({name}) gives output {output} other parameter sets than its other chunks have: \
                     neither it nor another node with its build of FFmpeg gets more of that output"
                );
                let node = *node;
                verdicts.push(Verdict::Apart { node, job, text });
            }
        } else if let Some(pause) = registry.failed(*node, token, class, now) {
            verdicts.push(Verdict::Suspended { node: *node, pause });
        }
    }
    verdicts
}
