//! The replicated state: Jobs, their Tasks and Attempts, Leases, Nodes.
//!
//! [`State::apply`] takes one log [`Entry`] and answers an [`Outcome`] for the proposer and [`Effect`]s for the Leader.
//! It is deterministic, reads nothing else, and never fails on a well-formed entry: a command that does not fit is
//! answered with a typed [`Rejected`] and changes nothing.
//!
//! One noun per file, its states drawn at the top: [`job`], [`run`] (a Job whose Plan is known), [`task`], [`node`].
//! [`ready`] lists what may be granted, [`work`] builds what a Node needs to know, [`decide`] holds what the Leader
//! proposes of its own accord, [`snapshot`] the encodings.

pub mod command;
pub mod decide;
pub mod job;
pub mod node;
pub mod ready;
pub mod run;
pub mod snapshot;
pub mod task;
pub mod work;

#[cfg(test)]
mod chaos;
#[cfg(test)]
mod tests;

pub use command::{Batch, Command, Effect, Entry, LeaseGrant, Outcome, Rejected};
pub use job::{Job, Phase};
pub use node::Node;
pub use ready::ReadyTask;
pub use run::{Chunk, OutputRun, Run};
pub use task::{Lease, Task};
pub use work::{Order, StitchOrder};

use recode_types::event::{Event, JobState, JobStatus};
use recode_types::{AttemptNo, JobId, NodeId, TaskId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything the log has decided.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// All Jobs that were not forgotten.
    pub jobs: BTreeMap<JobId, Job>,
    /// Request ids and the Jobs they made: the same id gives the same answer.
    pub requests: BTreeMap<String, JobId>,
    /// Nodes that have registered and were not replaced.
    pub nodes: BTreeMap<NodeId, Node>,
    /// Number of the last Node; never reused.
    pub last_node: u64,
}

impl State {
    /// Applies one entry.
    pub fn apply(&mut self, entry: &Entry) -> (Outcome, Vec<Effect>) {
        let mut effects = Vec::new();
        let outcome = match self.change(entry.at_ms, &entry.command, &mut effects) {
            Ok(outcome) => outcome,
            Err(rejected) => Outcome::Rejected(rejected),
        };
        (outcome, effects)
    }

    /// Applies the entries of a batch in order: one answer for each.
    pub fn apply_batch(&mut self, batch: &Batch) -> Vec<(Outcome, Vec<Effect>)> {
        batch.0.iter().map(|entry| self.apply(entry)).collect()
    }

    fn change(
        &mut self,
        at_ms: u64,
        command: &Command,
        effects: &mut Vec<Effect>,
    ) -> Result<Outcome, Rejected> {
        match command {
            Command::SubmitJob {
                request_id,
                job,
                request,
            } => {
                if let Some(known) = self.requests.get(request_id)
                    && !planted!(RequestIdIgnored)
                {
                    let same = self
                        .jobs
                        .get(known)
                        .is_none_or(|known| known.request == **request);
                    return if same || planted!(RequestNotCompared) {
                        Ok(Outcome::Submitted {
                            job: *known,
                            existing: true,
                        })
                    } else {
                        Err(Rejected::RequestIdTaken)
                    };
                }
                if self.jobs.contains_key(job) {
                    return Err(Rejected::JobIdTaken);
                }
                self.requests.insert(request_id.clone(), *job);
                self.jobs.insert(
                    *job,
                    Job::submitted(*job, request_id.clone(), (**request).clone(), at_ms),
                );
                effects.push(Effect::Announce { job: *job });
                effects.push(Effect::Dispatch);
                Ok(Outcome::Submitted {
                    job: *job,
                    existing: false,
                })
            }
            Command::RegisterNode { name, incarnation } => {
                if let Some(node) = self
                    .nodes
                    .values()
                    .find(|n| n.incarnation == *incarnation && !planted!(IncarnationIgnored))
                {
                    return Ok(Outcome::Registered { node: node.id });
                }
                // The same place started again: its former self is gone, and so are the Attempts it ran.
                let former: Vec<NodeId> = self
                    .nodes
                    .values()
                    .filter(|n| n.name == *name && !planted!(FormerNodeKept))
                    .map(|n| n.id)
                    .collect();
                for id in former {
                    self.forget_node(id, at_ms, effects);
                }
                self.last_node = if planted!(NodeNumberReused) {
                    self.nodes.len() as u64 + 1
                } else {
                    self.last_node + 1
                };
                let id = NodeId(self.last_node);
                self.nodes
                    .insert(id, Node::new(id, name.clone(), incarnation.clone(), at_ms));
                effects.push(Effect::Dispatch);
                Ok(Outcome::Registered { node: id })
            }
            Command::ForgetNode { node } => {
                if !self.nodes.contains_key(node) {
                    return Err(Rejected::UnknownNode);
                }
                self.forget_node(*node, at_ms, effects);
                Ok(Outcome::Accepted)
            }
            Command::GrantLeases { grants } => {
                let results = grants.iter().map(|g| self.grant(g, at_ms)).collect();
                Ok(Outcome::Granted { results })
            }
            Command::ExpireLeases { leases } => {
                for (task, attempt) in leases {
                    self.expire(*task, *attempt, at_ms, effects);
                }
                Ok(Outcome::Accepted)
            }
            Command::CompleteAttempt {
                task,
                attempt,
                outcome,
            } => {
                let job = self.jobs.get_mut(&task.job).ok_or(Rejected::UnknownJob)?;
                let node = job.lease(task.key, *attempt)?.node;
                job.complete(task.key, *attempt, outcome, at_ms, effects);
                if let Some(node) = self.nodes.get_mut(&node)
                    && !planted!(LeaseStaysWithNode)
                {
                    node.leases.remove(task);
                }
                self.settle(task.job, effects);
                Ok(Outcome::Accepted)
            }
            Command::ForgetJob { job } => {
                let known = self.jobs.get(job).ok_or(Rejected::UnknownJob)?;
                if !known.state().is_terminal() {
                    return Err(Rejected::JobRuns);
                }
                if !planted!(RequestOutlivesJob) {
                    self.requests.remove(&known.request_id);
                }
                self.jobs.remove(job);
                Ok(Outcome::Accepted)
            }
            Command::PlanPart { job, .. }
            | Command::PlanReady { job, .. }
            | Command::SetKnobs { job, .. }
            | Command::Replan { job, .. }
            | Command::CancelJob { job, .. }
            | Command::FailJob { job, .. }
            | Command::Warn { job, .. } => {
                let id = *job;
                let job = self.jobs.get_mut(&id).ok_or(Rejected::UnknownJob)?;
                job.change(at_ms, command, effects)?;
                self.settle(id, effects);
                Ok(Outcome::Accepted)
            }
        }
    }

    fn grant(&mut self, grant: &LeaseGrant, at_ms: u64) -> Result<(), Rejected> {
        let job = self
            .jobs
            .get_mut(&grant.task.job)
            .ok_or(Rejected::UnknownJob)?;
        let node = self
            .nodes
            .get_mut(&grant.node)
            .ok_or(Rejected::UnknownNode)?;
        job.grant(grant, at_ms)?;
        node.leases.insert(grant.task);
        Ok(())
    }

    fn expire(&mut self, task: TaskId, attempt: AttemptNo, at_ms: u64, effects: &mut Vec<Effect>) {
        let Some(job) = self.jobs.get_mut(&task.job) else {
            return;
        };
        let attempt = match planted!(ExpireIgnoresAttempt) {
            true => job.attempt(task.key).unwrap_or(attempt),
            false => attempt,
        };
        let Ok(lease) = job.lease(task.key, attempt) else {
            return;
        };
        let node = lease.node;
        job.expire(task.key, at_ms, effects);
        if let Some(node) = self.nodes.get_mut(&node) {
            node.leases.remove(&task);
        }
        effects.push(Effect::Revoke {
            node,
            task,
            attempt,
        });
        effects.push(Effect::Dispatch);
        self.settle(task.job, effects);
    }

    fn forget_node(&mut self, id: NodeId, at_ms: u64, effects: &mut Vec<Effect>) {
        let Some(node) = self.nodes.get(&id) else {
            return;
        };
        let leases = match planted!(LeasesSurviveForget) {
            true => Default::default(),
            false => node.leases.clone(),
        };
        for task in leases {
            let attempt = self.jobs.get(&task.job).and_then(|j| j.attempt(task.key));
            if let Some(attempt) = attempt {
                self.expire(task, attempt, at_ms, effects);
            }
        }
        self.nodes.remove(&id);
    }

    /// Leases that a change of the Job has ended leave their Nodes too.
    fn settle(&mut self, job: JobId, effects: &mut [Effect]) {
        for effect in effects.iter() {
            if let Effect::Revoke { node, task, .. } = effect
                && task.job == job
                && !planted!(RevokeNotSettled)
                && let Some(node) = self.nodes.get_mut(node)
            {
                node.leases.remove(task);
            }
        }
    }

    /// The effects that a new Leader must carry out, having seen none before: all are idempotent.
    pub fn pending_effects(&self) -> Vec<Effect> {
        let mut effects = vec![Effect::Dispatch];
        for job in self.jobs.values() {
            match job.state() {
                JobState::Planning if planted!(PendingForgetsPlan) => {}
                JobState::Planning => effects.push(Effect::Plan { job: job.id }),
                JobState::Running if planted!(PendingForgetsDecide) => {}
                JobState::Running => effects.push(Effect::Decide { job: job.id }),
                JobState::Done | JobState::Failed | JobState::Cancelled => {
                    effects.push(Effect::Ended { job: job.id });
                }
                JobState::Probing => {}
            }
        }
        effects
    }

    /// Events of a Job from `index` on; `None`: no such Job.
    pub fn events(&self, job: JobId, index: u64) -> Option<&[Event]> {
        let events = &self.jobs.get(&job)?.events;
        Some(&events[events.len().min(index as usize)..])
    }

    /// One line about a Job.
    pub fn status(&self, job: JobId) -> Option<JobStatus> {
        self.jobs.get(&job).map(Job::status)
    }
}
