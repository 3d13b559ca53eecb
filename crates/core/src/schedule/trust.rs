//! What a Leader has seen of Nodes that fail. Time is an argument, counted from any fixed moment. Kept in memory only: a new
//! Leader learns it anew.

use recode_types::task::FailureClass;
use recode_types::{JobId, NodeId, TaskId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Failures in a row after which a Node gets nothing for a while, if others do better.
const MOST_IN_A_ROW: u32 = 3;

/// How long it gets nothing after so many; each further failure doubles it.
const COOL_DOWN: Duration = Duration::from_secs(15);

/// The longest that a Node gets nothing.
const LONGEST_COOL_DOWN: Duration = Duration::from_secs(600);

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    streaks: BTreeMap<NodeId, Streak>,
    /// Where a Task has failed for a reason that may be the Node's.
    failed: BTreeMap<TaskId, BTreeSet<NodeId>>,
    /// Nodes whose encoder gives an Output other parameter sets than its other Chunks have.
    apart: BTreeMap<JobId, BTreeMap<u16, BTreeSet<NodeId>>>,
}

/// Failures of one Node since anything went well there.
#[derive(Clone, Copy, Debug)]
struct Streak {
    failures: u32,
    last: Duration,
}

impl Streak {
    fn until(self) -> Option<Duration> {
        let beyond = self.failures.checked_sub(MOST_IN_A_ROW)?;
        let pause = COOL_DOWN.saturating_mul(1 << beyond.min(16));
        Some(self.last + pause.min(LONGEST_COOL_DOWN))
    }
}

/// What a Node is trusted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All it asks for.
    Good,
    /// Its pause is over: one Attempt, which shows whether anything has changed.
    OnTrial,
    /// Nothing yet.
    Suspended {
        /// Failures in a row.
        failures: u32,
        /// For how long still.
        left: Duration,
    },
}

impl Trust {
    /// An Attempt at a Task has failed on a Node.
    pub fn failed(&mut self, node: NodeId, task: TaskId, class: FailureClass, now: Duration) {
        if !may_be_the_nodes(class) {
            return;
        }
        self.failed.entry(task).or_default().insert(node);
        let streak = self.streaks.entry(node).or_insert(Streak {
            failures: 0,
            last: now,
        });
        // What was granted before the pause and fails in it says nothing new.
        if streak.until().is_none_or(|until| now >= until) {
            *streak = Streak {
                failures: streak.failures + 1,
                last: now,
            };
        }
    }

    /// A Node has done a Task.
    pub fn worked(&mut self, node: NodeId, task: TaskId) {
        self.streaks.remove(&node);
        self.failed.remove(&task);
    }

    /// A Node's encoder gives an Output other parameter sets than its other Chunks have: they cannot be joined. Answers whether
    /// that is new.
    pub fn set_apart(&mut self, job: JobId, output: u16, node: NodeId) -> bool {
        let outputs = self.apart.entry(job).or_default();
        outputs.entry(output).or_default().insert(node)
    }

    /// Nodes that were set apart from an Output.
    pub fn apart(&self, job: JobId, output: u16) -> Option<&BTreeSet<NodeId>> {
        self.apart.get(&job)?.get(&output)
    }

    /// A Job has ended, or may be tried again by those who failed.
    pub fn forget_job(&mut self, job: JobId) {
        self.failed.retain(|task, _| task.job != job);
        self.apart.remove(&job);
    }

    /// A Node is known no longer.
    pub fn forget_node(&mut self, node: NodeId) {
        self.streaks.remove(&node);
        self.failed.retain(|_, nodes| {
            nodes.remove(&node);
            !nodes.is_empty()
        });
        for nodes in self.apart.values_mut().flat_map(BTreeMap::values_mut) {
            nodes.remove(&node);
        }
    }

    /// Where a Task has failed: another Node should try it next.
    pub fn failed_at(&self, task: TaskId) -> Option<&BTreeSet<NodeId>> {
        self.failed.get(&task)
    }

    /// What a Node is trusted with. Where all of `nodes` fail alike the cause is none of theirs, and all are trusted.
    pub fn standing(&self, node: NodeId, nodes: &BTreeSet<NodeId>, now: Duration) -> Standing {
        let Some(streak) = self.streaks.get(&node) else {
            return Standing::Good;
        };
        let fails = |node| {
            let streak = self.streaks.get(node);
            streak.is_some_and(|streak| streak.failures >= MOST_IN_A_ROW)
        };
        let Some(until) = streak.until().filter(|_| !nodes.iter().all(fails)) else {
            return Standing::Good;
        };
        match until.checked_sub(now).filter(|left| !left.is_zero()) {
            None => Standing::OnTrial,
            Some(left) => Standing::Suspended {
                failures: streak.failures,
                left,
            },
        }
    }

    /// Nobody has failed and nobody was set apart: there is nothing to ask.
    pub fn is_spotless(&self) -> bool {
        self.streaks.is_empty() && self.failed.is_empty() && self.apart.is_empty()
    }
}

/// A failure that another Node might not have had. What the Source or the request is to blame for would be the same anywhere,
/// and one that says it lacks something is not asked again anyway.
fn may_be_the_nodes(class: FailureClass) -> bool {
    match class {
        FailureClass::OutOfResources
        | FailureClass::Killed
        | FailureClass::Store
        | FailureClass::Unknown => true,
        FailureClass::BadInput
        | FailureClass::MissingCapability
        | FailureClass::IndexLied
        | FailureClass::SourceChanged
        | FailureClass::OutputExists => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{at, token};
    use super::*;

    const BAD: NodeId = NodeId(1);
    const GOOD: NodeId = NodeId(2);

    fn both() -> BTreeSet<NodeId> {
        [BAD, GOOD].into()
    }

    fn suspended(failures: u32, seconds: u64) -> Standing {
        let left = at(seconds);
        Standing::Suspended { failures, left }
    }

    /// A Node that has failed at so many Tasks, one a second.
    fn after(failures: u32) -> Trust {
        let mut trust = Trust::default();
        for one in 0..failures {
            trust.failed(BAD, token(one).task, FailureClass::Unknown, at(one.into()));
        }
        trust
    }

    #[test]
    fn the_third_failure_in_a_row_suspends_a_node() {
        assert_eq!(after(2).standing(BAD, &both(), at(1)), Standing::Good);
        let trust = after(3);
        assert_eq!(trust.standing(BAD, &both(), at(2)), suspended(3, 15));
        assert_eq!(trust.standing(BAD, &both(), at(16)), suspended(3, 1));
        assert_eq!(trust.standing(GOOD, &both(), at(2)), Standing::Good);
    }

    #[test]
    fn a_success_between_ends_the_row() {
        let mut trust = after(2);
        trust.worked(BAD, token(9).task);
        trust.failed(BAD, token(2).task, FailureClass::Unknown, at(2));
        assert_eq!(trust.standing(BAD, &both(), at(2)), Standing::Good);
    }

    #[test]
    fn after_the_pause_one_try_decides_and_a_failure_doubles_it() {
        let mut trust = after(3);
        assert_eq!(trust.standing(BAD, &both(), at(17)), Standing::OnTrial);
        trust.failed(BAD, token(3).task, FailureClass::Killed, at(17));
        assert_eq!(trust.standing(BAD, &both(), at(17)), suspended(4, 30));
        trust.worked(BAD, token(4).task);
        assert_eq!(trust.standing(BAD, &both(), at(17)), Standing::Good);
    }

    #[test]
    fn what_was_granted_before_the_pause_does_not_make_it_longer() {
        let mut trust = after(3);
        trust.failed(BAD, token(3).task, FailureClass::Unknown, at(3));
        assert_eq!(trust.standing(BAD, &both(), at(3)), suspended(3, 14));
    }

    #[test]
    fn the_pause_has_a_longest() {
        let mut trust = Trust::default();
        let mut now = at(0);
        for one in 0..40 {
            trust.failed(BAD, token(one).task, FailureClass::Unknown, now);
            now += LONGEST_COOL_DOWN;
        }
        let last = now - LONGEST_COOL_DOWN;
        assert_eq!(trust.standing(BAD, &both(), last), suspended(40, 600));
    }

    #[test]
    fn where_all_fail_alike_nobody_is_suspended() {
        let mut trust = after(3);
        assert_eq!(trust.standing(BAD, &[BAD].into(), at(3)), Standing::Good);
        for one in 0..3 {
            trust.failed(GOOD, token(one).task, FailureClass::Store, at(3));
        }
        assert_eq!(trust.standing(BAD, &both(), at(3)), Standing::Good);
    }

    #[test]
    fn what_the_source_is_to_blame_for_is_held_against_nobody() {
        let mut trust = Trust::default();
        for one in 0..5 {
            trust.failed(BAD, token(one).task, FailureClass::BadInput, at(0));
        }
        assert!(trust.is_spotless());
    }

    #[test]
    fn where_a_task_has_failed_is_known_until_it_is_done() {
        let mut trust = after(1);
        let task = token(0).task;
        assert_eq!(trust.failed_at(task), Some(&[BAD].into()));
        assert_eq!(trust.failed_at(token(1).task), None);
        trust.worked(GOOD, task);
        assert_eq!(trust.failed_at(task), None);
    }

    #[test]
    fn a_job_that_ends_and_a_node_that_leaves_take_their_history_with_them() {
        let (mut trust, job) = (after(1), token(0).task.job);
        assert!(trust.set_apart(job, 0, BAD) && !trust.set_apart(job, 0, BAD));
        assert_eq!(trust.apart(job, 0), Some(&[BAD].into()));
        assert_eq!(trust.apart(job, 1), None);
        let mut without = trust.clone();
        without.forget_node(BAD);
        assert_eq!(without.failed_at(token(0).task), None);
        assert_eq!(without.apart(job, 0), Some(&BTreeSet::new()));
        trust.forget_job(job);
        trust.worked(BAD, token(5).task);
        assert!(trust.is_spotless());
    }
}
