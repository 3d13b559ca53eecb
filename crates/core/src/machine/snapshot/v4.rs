//! Snapshots of versions 4 and 5: of clusters at levels 2 and 3, with the commands of command jobs beside the Jobs. In those of
//! version 5 a request may ask for Segments for very many Nodes, or for Chunks that several Attempts make. What is not named here has
//! not changed.

use super::FormatError;
use crate::machine::{self, CommandJob, Job, Node, Stub, Wish};
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
    level: u32,
    commands: BTreeMap<JobId, CommandJob>,
}

impl TryFrom<State> for machine::State {
    type Error = FormatError;

    fn try_from(mut read: State) -> Result<Self, FormatError> {
        for (id, command) in read.commands {
            let job = read.jobs.get_mut(&id).ok_or_else(|| {
                FormatError::Content("a command belongs to a job that is not there".to_owned())
            })?;
            job.command = Some(Box::new(command));
        }
        Ok(Self {
            jobs: read.jobs,
            requests: read.requests,
            nodes: read.nodes,
            last_node: read.last_node,
            wishes: read.wishes,
            archived: read.archived,
            level: read.level,
        })
    }
}

/// What is written: fields stand one after another, with nothing around them.
pub fn fields(state: &machine::State) -> impl Serialize {
    let commands = state.jobs.iter();
    let commands: BTreeMap<JobId, &CommandJob> = commands
        .filter_map(|(id, job)| Some((*id, &**job.command.as_ref()?)))
        .collect();
    (
        &state.jobs,
        &state.requests,
        &state.nodes,
        state.last_node,
        &state.wishes,
        &state.archived,
        state.level,
        commands,
    )
}
