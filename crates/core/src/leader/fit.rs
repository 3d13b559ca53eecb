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
