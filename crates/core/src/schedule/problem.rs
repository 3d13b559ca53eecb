//! What the scheduler is asked, and what it answers.

use super::{Class, Memory};
use crate::machine::ReadyTask;
use recode_types::{AttemptNo, NodeId, TaskId};
use std::collections::BTreeMap;

/// The Nodes that would take work and the Tasks that wait.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Problem {
    /// Nodes that reported lately, full ones too: a Task may be better off waiting for one of them.
    pub nodes: Vec<FreeNode>,
    /// Ready Tasks, most urgent first, as [`super::look`] picks them.
    pub tasks: Vec<ReadyTask>,
    /// So many heavy Tasks wait beside these that whatever is begun now ends before they all do.
    pub plenty: bool,
}

/// A Node and how much it would take now.
#[derive(Clone, Debug, PartialEq)]
pub struct FreeNode {
    /// The Node.
    pub node: NodeId,
    /// Heavy Attempts, one for prefetching included.
    pub heavy: u32,
    /// Light Attempts.
    pub light: u32,
    /// Seconds until each of its heavy slots is free of all that it holds, shortest first. See [`super::Load::busy`].
    pub busy: Vec<f64>,
    /// Work per second of one heavy slot, in the unit of [`ReadyTask::cost`]; a Class that is missing is not known yet.
    pub speeds: BTreeMap<Class, f64>,
    /// What its runs may have of its memory; `None`: it does not say, and is not limited by it.
    pub memory: Option<Memory>,
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
    /// Slots are free, but nowhere beside one is as much memory left as it is likely to need.
    NoMemory {
        /// So much, in bytes.
        need: u64,
    },
    /// A slot is free, but this Node, which is busy, will have finished it earlier.
    Held(NodeId),
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoNodes => f.write_str("waits for a node to report"),
            Self::Refused => f.write_str("every node lacks something it needs"),
            Self::NoFreeSlot => f.write_str("waits for a free slot"),
            Self::NoMemory { need } => write!(
                f,
                "waits for memory: it needs about {} MB, and no node with a free slot has that left",
                need.div_ceil(1_000_000)
            ),
            Self::Held(node) => write!(
                f,
                "waits for {node}, which is busy and will have finished it before any free node could"
            ),
        }
    }
}
