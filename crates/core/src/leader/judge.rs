//! Who can be trusted with what, learned from what ended and how the log took it.

use super::Registry;
use crate::{Outcome, State};
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

/// Nodes whose Chunks do not fit those that are there already. Call it before anything else is placed: what the log is about to
/// refuse need not be seen refused.
pub fn apart(
    registry: &mut Registry,
    state: &State,
    ended: &BTreeMap<AttemptToken, (NodeId, AttemptOutcome)>,
) -> Vec<Verdict> {
    let verdicts = ended.iter().filter_map(|(token, (node, outcome))| {
        let output = state.jobs.get(&token.task.job)?.differs(outcome)?;
        set_apart(registry, token.task.job, output, *node)
    });
    verdicts.collect()
}

/// What people are told of it, unless it was known.
fn set_apart(registry: &mut Registry, job: JobId, output: u16, node: NodeId) -> Option<Verdict> {
    let name = registry.name(node);
    let text = format!(
        "the encoder of {node} ({name}) gives output {output} other parameter sets than its other chunks have: neither it nor \
         another node with its build of FFmpeg gets more of that output"
    );
    let new = registry.set_apart(job, output, node);
    new.then_some(Verdict::Apart { node, job, text })
}

/// Call it when the log has taken what `ended`, Attempts with their Nodes; `outcomes`, in the same order, is what it said of each.
/// Answers what is new.
pub fn judge(
    registry: &mut Registry,
    state: &State,
    ended: &BTreeMap<AttemptToken, (NodeId, AttemptOutcome)>,
    outcomes: &[Outcome],
    now: Instant,
) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for ((token, (node, outcome)), taken) in ended.iter().zip(outcomes) {
        if *taken != Outcome::Accepted {
            // Somebody else has the Task by now: it says nothing of anybody.
            continue;
        }
        let job = state.jobs.get(&token.task.job);
        let class = match outcome {
            AttemptOutcome::Failed { failure, .. } => Some(failure.class),
            AttemptOutcome::Done { .. } => job.and_then(|job| job.failure_of(token)),
        };
        let Some(class) = class else {
            registry.worked(*node, token);
            continue;
        };
        if let Some(output) = job.and_then(|job| job.differs(outcome)) {
            let job = token.task.job;
            verdicts.extend(set_apart(registry, job, output, *node));
        } else if let Some(pause) = registry.failed(*node, token, class, now) {
            verdicts.push(Verdict::Suspended { node: *node, pause });
        }
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rejected;
    use crate::fixture::{self, Bench, JOB};
    use recode_types::task::{Failure, FailureClass, Usage};
    use recode_types::{NodeReport, TaskId, TaskKey};

    const NODE: NodeId = NodeId(1);

    /// What comes of so many failures of one Node at once, in a Job that remembers none of them.
    fn verdicts(failures: u32, outcome: &Outcome) -> Vec<Verdict> {
        let bench = Bench::running(fixture::small_request());
        let now = Instant::now();
        let mut registry = Registry::new(now);
        for node in [NODE, NodeId(2)] {
            registry.opened(node, node.0, NodeReport::default(), now);
        }
        let failed = |segment| {
            let key = TaskKey::Encode { group: 0, segment };
            let token = AttemptToken {
                task: TaskId { job: JOB, key },
                attempt: 1,
            };
            let failure = Failure {
                class: FailureClass::Unknown,
                message: "m".to_owned(),
                stderr_tail: None,
            };
            let usage = Usage::default();
            (token, (NODE, AttemptOutcome::Failed { failure, usage }))
        };
        let ended: BTreeMap<_, _> = (0..failures).map(failed).collect();
        let outcomes = vec![outcome.clone(); ended.len()];
        judge(&mut registry, &bench.state, &ended, &outcomes, now)
    }

    #[test]
    fn who_fails_three_times_is_suspended_however_many_failures_come_at_once() {
        assert_eq!(verdicts(2, &Outcome::Accepted), []);
        for failures in [3, 100] {
            let seen = verdicts(failures, &Outcome::Accepted);
            assert!(
                matches!(seen[..], [Verdict::Suspended { node: NODE, .. }]),
                "{seen:?}"
            );
        }
    }

    #[test]
    fn what_comes_too_late_is_held_against_nobody() {
        let late = Outcome::Rejected(Rejected::StaleAttempt);
        assert_eq!(verdicts(100, &late), []);
    }
}
