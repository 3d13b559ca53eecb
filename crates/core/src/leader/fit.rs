//! Which Nodes a Task is kept from because of what they are or did, as long as there is somebody else for it: those that lack its
//! encoder, those whose Chunks could not be joined to the others of its Output, and those where it has failed. A choice, not a
//! rule of the log: when nobody else is left they get it, and its end says why.

use super::registry::Registry;
use crate::State;
use crate::machine::ReadyTask;
use crate::schedule::FreeNode;
use recode_types::{JobId, NodeId, TaskKey};
use std::cell::{LazyCell, OnceCell};
use std::collections::{BTreeMap, BTreeSet};

/// Adds to [`ReadyTask::avoid`]. `nodes`: those that take work, full ones too.
pub fn keep(registry: &mut Registry, state: &State, tasks: &mut [ReadyTask], nodes: &[FreeNode]) {
    let taking: LazyCell<BTreeSet<NodeId>, _> =
        LazyCell::new(|| nodes.iter().map(|n| n.node).collect());
    // One that is suspended has its encoder all the same: who lacks it does not get the Task meanwhile.
    let present: OnceCell<BTreeSet<NodeId>> = OnceCell::new();
    let mut apart: BTreeMap<(JobId, u16), BTreeSet<NodeId>> = BTreeMap::new();
    for task in tasks {
        let Some(job) = state.jobs.get(&task.id.job) else {
            continue;
        };
        let outputs = LazyCell::new(|| job.outputs_of(task.id.key));
        if task.heavy {
            let encoders = || outputs.iter().filter_map(|o| job.encoder(*o)).collect();
            let lacking = registry.lacking(task.class, encoders);
            add(&mut task.avoid, &lacking, || {
                present.get_or_init(|| registry.present())
            });
        }
        if registry.is_spotless() {
            continue;
        }
        if matches!(task.id.key, TaskKey::Encode { .. }) {
            for &output in outputs.iter() {
                let others = apart
                    .entry((job.id, output))
                    .or_insert_with(|| registry.apart(job.id, output));
                add(&mut task.avoid, others, || {
                    present.get_or_init(|| registry.present())
                });
            }
        }
        if let Some(failed) = registry.failed_at(task.id) {
            add(&mut task.avoid, failed, || &taking);
        }
    }
}

/// Adds Nodes to those that are avoided, unless nobody of `all` would be left.
fn add<'a>(
    avoid: &mut Vec<NodeId>,
    more: &BTreeSet<NodeId>,
    all: impl FnOnce() -> &'a BTreeSet<NodeId>,
) {
    if more.is_empty() {
        return;
    }
    let left = |node: &&NodeId| !more.contains(node) && !avoid.contains(node);
    if all().iter().any(|node| left(&node)) {
        let new: Vec<NodeId> = more
            .iter()
            .filter(|n| !avoid.contains(n))
            .copied()
            .collect();
        avoid.extend(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, Bench, JOB};
    use recode_types::task::FailureClass;
    use recode_types::{AttemptToken, NodeHello, NodeReport};
    use std::time::Instant;

    const FIRST: NodeId = NodeId(1);
    const SECOND: NodeId = NodeId(2);

    /// Nodes 1, 2 ..., each with the encoders that it names.
    fn registry(nodes: &[&[&str]], now: Instant) -> Registry {
        let mut registry = Registry::new(now);
        for (number, encoders) in nodes.iter().enumerate() {
            let hello = NodeHello {
                capabilities: encoders.iter().map(|e| (*e).to_owned()).collect(),
                ..NodeHello::default()
            };
            let report = NodeReport {
                hello: Some(hello),
                free_heavy: 1,
                ..NodeReport::default()
            };
            registry.opened(NodeId(number as u64 + 1), 1, report, now);
        }
        registry
    }

    /// Whom the first two Segments of a Job are kept from.
    fn kept(registry: &mut Registry, now: Instant) -> [Vec<NodeId>; 2] {
        let bench = Bench::running(fixture::small_request());
        let mut tasks: Vec<ReadyTask> = bench.state.ready_heavy(bench.now_ms).take(2).collect();
        let nodes = registry.free(now);
        keep(registry, &bench.state, &mut tasks, &nodes);
        [tasks[0].avoid.clone(), tasks[1].avoid.clone()]
    }

    fn first() -> AttemptToken {
        let bench = Bench::running(fixture::small_request());
        let task = bench.state.ready_heavy(bench.now_ms).next().unwrap();
        AttemptToken {
            task: task.id,
            attempt: 1,
        }
    }

    #[test]
    fn what_failed_on_one_is_tried_on_another_as_long_as_there_is_one() {
        let now = Instant::now();
        let mut both = registry(&[&["libx264"], &["libx264"]], now);
        both.failed(FIRST, &first(), FailureClass::Unknown, now);
        assert_eq!(kept(&mut both, now), [vec![FIRST], vec![]]);
        both.failed(SECOND, &first(), FailureClass::Unknown, now);
        assert_eq!(kept(&mut both, now), [vec![], vec![]], "nobody is left");
    }

    #[test]
    fn who_lacks_the_encoder_is_not_asked_as_long_as_another_has_it() {
        let now = Instant::now();
        let mut some = registry(&[&["libx265"], &["libx264"]], now);
        assert_eq!(kept(&mut some, now), [vec![FIRST], vec![FIRST]]);
        let mut none = registry(&[&["libx265"], &["libx265"]], now);
        assert_eq!(kept(&mut none, now), [vec![], vec![]], "its end says why");
    }

    #[test]
    fn whose_chunks_would_not_fit_gets_no_more_of_the_output() {
        let now = Instant::now();
        let mut both = registry(&[&["libx264"], &["libx264"]], now);
        assert!(both.set_apart(JOB, 0, SECOND));
        assert_eq!(kept(&mut both, now), [vec![SECOND], vec![SECOND]]);
        both.forget_job(JOB);
        assert_eq!(kept(&mut both, now), [vec![], vec![]]);
    }
}
