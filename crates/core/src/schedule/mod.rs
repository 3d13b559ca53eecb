//! Who gets which Task: a pure function of a [`Problem`]. See README.md beside.

use crate::machine::ReadyTask;
use recode_types::{AttemptNo, NodeId, TaskId};

#[cfg(test)]
mod tests;

/// The Nodes that would take work and the Tasks that wait.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Problem {
    /// Nodes that reported lately.
    pub nodes: Vec<FreeNode>,
    /// Ready Tasks, most urgent first: as [`crate::State::ready`] gives them. More than there are slots is no use.
    pub tasks: Vec<ReadyTask>,
}

/// A Node and how much it would take now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FreeNode {
    /// The Node.
    pub node: NodeId,
    /// Heavy Attempts, one for prefetching included.
    pub heavy: u32,
    /// Light Attempts.
    pub light: u32,
    /// Work per second of one heavy slot, in the unit of [`ReadyTask::cost`]; 0.0: not known yet.
    pub speed: f64,
    /// Work already waiting on this Node, in the same unit.
    pub queued: u64,
}

/// Who gets what, and why the others wait.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Solution {
    /// Tasks with their Nodes, in the order of the Problem.
    pub placed: Vec<Placed>,
    /// The other Tasks, in the order of the Problem.
    pub unplaced: Vec<(TaskId, Reason)>,
}

/// A Task and its Node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placed {
    /// The Task.
    pub task: TaskId,
    /// The number of the Attempt.
    pub attempt: AttemptNo,
    /// The Node.
    pub node: NodeId,
}

/// Why a Task waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No Node has reported.
    NoNodes,
    /// Every Node has refused it.
    Refused,
    /// All slots of its kind are taken.
    NoFreeSlot,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoNodes => "waits for a node to report",
            Self::Refused => "every node lacks something it needs",
            Self::NoFreeSlot => "waits for a free slot",
        })
    }
}

/// Places each Task, most urgent first, on the Node that would finish it earliest.
/// # Shape
/// Every Task of the Problem is either placed once or unplaced with a reason. No Node gets more than it asked for, and
/// no Task goes to a Node that refused it. Ties go to the Node with more free slots, then to the lower id.
pub fn assign(problem: &Problem) -> Solution {
    let mut nodes = problem.nodes.clone();
    nodes.sort_by_key(|n| n.node);
    // Where no speed is known, a Node is taken to be as fast as the mean of those that are.
    let known: Vec<f64> = nodes.iter().map(|n| n.speed).filter(|s| *s > 0.0).collect();
    let mean = if known.is_empty() {
        1.0
    } else {
        known.iter().sum::<f64>() / known.len() as f64
    };
    let mut solution = Solution::default();
    for task in &problem.tasks {
        let free = |n: &FreeNode| if task.heavy { n.heavy } else { n.light };
        let finish = |n: &FreeNode| {
            let speed = if n.speed > 0.0 { n.speed } else { mean };
            (n.queued + task.cost) as f64 / speed
        };
        let best = nodes
            .iter_mut()
            .filter(|n| {
                let refused = task.avoid.contains(&n.node) && !planted!(PlacedWhereRefused);
                (free(n) > 0 || planted!(NodeOverfilled)) && !refused
            })
            .min_by(|a, b| {
                finish(a)
                    .total_cmp(&finish(b))
                    .then(free(b).cmp(&free(a)))
                    .then(a.node.cmp(&b.node))
            });
        match best {
            Some(node) => {
                if task.heavy {
                    node.heavy = node.heavy.saturating_sub(1);
                    node.queued += task.cost;
                } else {
                    node.light = node.light.saturating_sub(1);
                }
                solution.placed.push(Placed {
                    task: task.id,
                    attempt: task.attempt,
                    node: node.node,
                });
            }
            None => {
                let reason = if nodes.is_empty() {
                    Reason::NoNodes
                } else if nodes.iter().all(|n| task.avoid.contains(&n.node)) {
                    Reason::Refused
                } else {
                    Reason::NoFreeSlot
                };
                solution.unplaced.push((task.id, reason));
            }
        }
    }
    solution
}
