//! Snapshots of version 2: of clusters at level 0, whose level is not written. What is not named here has not changed.

use crate::machine::{self, Job, Node, Stub, Wish};
use recode_types::{JobId, NodeId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Deserialize)]
pub struct State {
    jobs: BTreeMap<JobId, Job>,
    requests: BTreeMap<String, JobId>,
    nodes: BTreeMap<NodeId, Node>,
    last_node: u64,
    wishes: BTreeMap<String, (JobId, Wish)>,
    archived: BTreeMap<JobId, Stub>,
}

impl From<State> for machine::State {
    fn from(old: State) -> Self {
        Self {
            jobs: old.jobs,
            requests: old.requests,
            nodes: old.nodes,
            last_node: old.last_node,
            wishes: old.wishes,
            archived: old.archived,
            level: 0,
        }
    }
}

/// What is written: fields stand one after another, with nothing around them.
pub fn fields(state: &machine::State) -> impl Serialize {
    (
        &state.jobs,
        &state.requests,
        &state.nodes,
        state.last_node,
        &state.wishes,
        &state.archived,
    )
}
