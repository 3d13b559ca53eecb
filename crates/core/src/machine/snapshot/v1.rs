//! Snapshots of version 1: no pauses, logs, wishes, drained Nodes or archives. What is not named here has not changed.

use crate::machine::job::Ledger;
use crate::machine::{self, Phase, Task};
use recode_types::event::Event;
use recode_types::{JobId, JobRequest, NodeId, TaskId, TaskKey};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

#[derive(Deserialize)]
pub struct State {
    jobs: BTreeMap<JobId, Job>,
    requests: BTreeMap<String, JobId>,
    nodes: BTreeMap<NodeId, Node>,
    last_node: u64,
}

#[derive(Deserialize)]
struct Job {
    id: JobId,
    request_id: String,
    request: JobRequest,
    submitted_ms: u64,
    phase: Phase,
    tasks: BTreeMap<TaskKey, Task>,
    events: Vec<Event>,
    used: Ledger,
}

#[derive(Deserialize)]
struct Node {
    id: NodeId,
    name: String,
    incarnation: String,
    registered_ms: u64,
    leases: BTreeSet<TaskId>,
}

impl From<State> for machine::State {
    fn from(old: State) -> Self {
        Self {
            jobs: old.jobs.into_iter().map(|(id, j)| (id, j.into())).collect(),
            requests: old.requests,
            nodes: old
                .nodes
                .into_iter()
                .map(|(id, n)| (id, n.into()))
                .collect(),
            last_node: old.last_node,
            wishes: BTreeMap::new(),
            archived: BTreeMap::new(),
            level: 0,
        }
    }
}

impl From<Job> for machine::Job {
    fn from(old: Job) -> Self {
        Self {
            id: old.id,
            request_id: old.request_id,
            request: old.request,
            submitted_ms: old.submitted_ms,
            phase: old.phase,
            tasks: old.tasks.into_iter().collect(),
            events: old.events.into(),
            used: old.used,
            paused: false,
            retiring: false,
            logs: VecDeque::new(),
            wishes: VecDeque::new(),
            turns: 0,
            command: None,
            backoff: BTreeSet::new(),
        }
    }
}

impl From<Node> for machine::Node {
    fn from(old: Node) -> Self {
        Self {
            id: old.id,
            name: old.name,
            incarnation: old.incarnation,
            registered_ms: old.registered_ms,
            leases: old.leases,
            draining: false,
        }
    }
}
