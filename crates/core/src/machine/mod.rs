//! The replicated state: Jobs, their Tasks and Attempts, Leases, Nodes.
//!
//! [`State::apply`] takes one log [`Entry`] and answers an [`Outcome`] for the proposer and [`Effect`]s for the Leader.
//! It is deterministic, reads nothing else, and never fails on a well-formed entry: a command that does not fit is
//! answered with a typed [`Rejected`] and changes nothing.
//!
//! One noun per file, its states drawn at the top: [`job`], [`run`] (a Job whose Plan is known), [`task`], [`node`],
//! [`commanded`] (command jobs), [`retention`] (how ended Jobs leave). [`ready`] lists what may be granted, [`turns`] in which order, [`explain`] says why the rest waits,
//! [`list`] finds Jobs, [`work`] builds what a Node needs to know, [`decide`] holds what the Leader proposes of its own
//! accord, [`snapshot`] the encodings.

pub mod chunk;
pub mod command;
pub mod commanded;
pub mod decide;
pub mod explain;
pub mod job;
pub mod level;
pub mod list;
pub mod node;
pub mod open;
pub mod per_segment;
pub mod ready;
pub mod retention;
pub mod rows;
pub mod run;
pub mod snapshot;
pub mod task;
pub mod turns;
pub mod work;

#[cfg(test)]
mod chaos;
#[cfg(test)]
mod tests;

pub use chunk::Chunk;
pub use command::{Batch, Command, Effect, Entry, LeaseGrant, Outcome, Rejected, Wish};
pub use commanded::CommandJob;
pub use job::{Job, Phase};
pub use list::Page;
pub use node::Node;
pub use per_segment::PerSegment;
pub use ready::ReadyTask;
pub use retention::{Retention, Stub};
pub use rows::Rows;
pub use run::{OutputRun, Run};
pub use task::{Lease, Task};
pub use work::{Order, StitchOrder};

use recode_types::event::{Event, JobState, JobStatus};
use recode_types::{AttemptNo, JobId, NodeHeard, NodeId, NodeStatus, TaskId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Jobs in the state, ended ones included, beyond which no more are taken.
pub const MOST_JOBS: usize = 100_000;

/// Wishes of one Job whose request ids are remembered; the oldest are forgotten first.
pub const MOST_WISHES: usize = 64;

/// Times that one Job is paused, resumed or retried at most: each adds to its events.
pub const MOST_TURNS: u32 = 1_000;

/// Everything the log has decided.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// All Jobs that were neither archived nor forgotten.
    pub jobs: BTreeMap<JobId, Job>,
    /// Request ids and the Jobs they made, archived ones included: the same id gives the same answer.
    pub requests: BTreeMap<String, JobId>,
    /// Nodes that have registered and were not replaced.
    pub nodes: BTreeMap<NodeId, Node>,
    /// Number of the last Node; never reused.
    pub last_node: u64,
    /// Request ids of wishes and what they asked for; [`Job::wishes`] holds their order.
    pub wishes: BTreeMap<String, (JobId, Wish)>,
    /// What is left of archived Jobs.
    pub archived: BTreeMap<JobId, Stub>,
    /// What all members know. See [`level`].
    pub level: u32,
}

impl State {
    /// Whether a Task fills a slot with an encoder.
    pub fn is_heavy(&self, task: TaskId) -> bool {
        let job = self.jobs.get(&task.job);
        job.map_or_else(|| ready::is_heavy(task.key), |job| job.is_heavy(task.key))
    }

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
                let same = |state: &Self, known: &JobId| match (
                    state.jobs.get(known),
                    state.archived.get(known),
                ) {
                    (Some(known), _) => known.request == **request && known.command.is_none(),
                    (None, Some(stub)) => stub.request == retention::digest(request),
                    (None, None) => true,
                };
                if self.level < level::of_request(request) {
                    return Err(Rejected::Outdated);
                }
                if let Some(known) = self.known_request(request_id, same)? {
                    return Ok(known);
                }
                self.check_new(*job)?;
                let new = Job::submitted(*job, request_id.clone(), (**request).clone(), at_ms);
                Ok(self.insert(new, effects))
            }
            Command::SubmitCommand {
                request_id,
                job,
                request,
                needs,
            } => {
                let same = |state: &Self, known: &JobId| match (
                    state.jobs.get(known),
                    state.archived.get(known),
                ) {
                    (Some(known), _) => known
                        .command
                        .as_ref()
                        .is_some_and(|c| c.request == **request),
                    (None, Some(stub)) => stub.request == commanded::digest(request),
                    (None, None) => true,
                };
                if self.level < level::COMMANDS {
                    return Err(Rejected::Outdated);
                }
                if let Some(known) = self.known_request(request_id, same)? {
                    return Ok(known);
                }
                self.check_new(*job)?;
                let (request, needs) = ((**request).clone(), needs.clone());
                let new = Job::commanded(*job, request_id.clone(), request, needs, at_ms);
                Ok(self.insert(new, effects))
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
                let job = self.job(task.job)?;
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
                if let Some(stub) = self.archived.remove(job) {
                    self.requests.remove(&stub.request_id);
                    return Ok(Outcome::Accepted);
                }
                let known = self.job(*job)?;
                if !known.state().is_terminal() {
                    return Err(Rejected::JobRuns);
                }
                let request_id = known.request_id.clone();
                if !planted!(RequestOutlivesJob) {
                    self.requests.remove(&request_id);
                }
                self.remove(*job, effects);
                Ok(Outcome::Accepted)
            }
            Command::Ask {
                job,
                request_id,
                wish,
            } => self.ask(*job, request_id, wish, at_ms, effects),
            Command::DrainNode { node, draining } => {
                let node = self.nodes.get_mut(node).ok_or(Rejected::UnknownNode)?;
                node.draining = *draining;
                effects.push(Effect::Dispatch);
                Ok(Outcome::Accepted)
            }
            Command::Retire {
                ended_before_ms,
                most_ended,
                most_stubs,
            } => {
                self.retire(*ended_before_ms, *most_ended, *most_stubs, effects);
                Ok(Outcome::Accepted)
            }
            Command::ArchiveJob {
                job,
                events,
                archive,
            } => {
                self.archive(*job, *events, archive, effects)?;
                Ok(Outcome::Accepted)
            }
            Command::RaiseLevel { level } => {
                if *level <= self.level {
                    return Err(Rejected::Outdated);
                }
                self.level = *level;
                Ok(Outcome::Accepted)
            }
            Command::PlanPart { job, .. }
            | Command::PlanReady { job, .. }
            | Command::SetKnobs { job, .. }
            | Command::TurnKnobs { job, .. }
            | Command::Replan { job, .. }
            | Command::CancelJob { job, .. }
            | Command::FailJob { job, .. }
            | Command::Warn { job, .. } => {
                let id = *job;
                self.job(id)?.change(at_ms, command, effects)?;
                self.settle(id, effects);
                Ok(Outcome::Accepted)
            }
        }
    }

    /// The Job that a request id has made before, where it stands for the `same` request.
    fn known_request(
        &self,
        request_id: &str,
        same: impl FnOnce(&Self, &JobId) -> bool,
    ) -> Result<Option<Outcome>, Rejected> {
        if self.wishes.contains_key(request_id) {
            return Err(Rejected::RequestIdTaken);
        }
        let known = self.requests.get(request_id);
        let Some(known) = known.filter(|_| !planted!(RequestIdIgnored)) else {
            return Ok(None);
        };
        match same(self, known) || planted!(RequestNotCompared) {
            true => Ok(Some(Outcome::Submitted {
                job: *known,
                existing: true,
            })),
            false => Err(Rejected::RequestIdTaken),
        }
    }

    fn check_new(&self, job: JobId) -> Result<(), Rejected> {
        if self.jobs.contains_key(&job) || self.archived.contains_key(&job) {
            return Err(Rejected::JobIdTaken);
        }
        match self.jobs.len() >= MOST_JOBS {
            true => Err(Rejected::TooManyJobs),
            false => Ok(()),
        }
    }

    fn insert(&mut self, new: Job, effects: &mut Vec<Effect>) -> Outcome {
        let job = new.id;
        self.requests.insert(new.request_id.clone(), job);
        self.jobs.insert(job, new);
        effects.push(Effect::Announce { job });
        effects.push(Effect::Dispatch);
        Outcome::Submitted {
            job,
            existing: false,
        }
    }

    fn job(&mut self, id: JobId) -> Result<&mut Job, Rejected> {
        if self.archived.contains_key(&id) {
            return Err(Rejected::JobArchived);
        }
        self.jobs.get_mut(&id).ok_or(Rejected::UnknownJob)
    }

    fn ask(
        &mut self,
        id: JobId,
        request_id: &str,
        wish: &Wish,
        at_ms: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<Outcome, Rejected> {
        if let Some((job, known)) = self.wishes.get(request_id) {
            return if *job == id && known == wish {
                Ok(Outcome::Accepted)
            } else {
                Err(Rejected::RequestIdTaken)
            };
        }
        if self.requests.contains_key(request_id) {
            return Err(Rejected::RequestIdTaken);
        }
        let job = self.job(id)?;
        job.ask(wish, at_ms, effects)?;
        if !request_id.is_empty() {
            job.wishes.push_back(request_id.to_owned());
            let forgotten = (job.wishes.len() > MOST_WISHES).then(|| job.wishes.pop_front());
            self.wishes
                .insert(request_id.to_owned(), (id, wish.clone()));
            if let Some(forgotten) = forgotten.flatten() {
                self.wishes.remove(&forgotten);
            }
        }
        self.settle(id, effects);
        Ok(Outcome::Accepted)
    }

    /// Takes a Job out of the state, with the ids of what was wished of it.
    fn remove(&mut self, id: JobId, effects: &mut Vec<Effect>) -> Option<Job> {
        let job = self.jobs.remove(&id)?;
        for wish in &job.wishes {
            self.wishes.remove(wish);
        }
        effects.push(Effect::Ended { job: id });
        Some(job)
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
        if node.draining {
            return Err(Rejected::NodeDraining);
        }
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
        // What failed Jobs had made was kept until they were archived; whether it was swept then is not known.
        let failed = self.archived.iter().filter(|(_, stub)| stub.failed());
        effects.extend(failed.map(|(job, _)| Effect::Ended { job: *job }));
        effects
    }

    /// Events of a Job from `index` on; `None`: no such Job.
    pub fn events(&self, job: JobId, index: u64) -> Option<&[Event]> {
        let events = &self.jobs.get(&job)?.events;
        Some(&events[events.len().min(index as usize)..])
    }

    /// One line about a Job; of an archived one only what its [`Stub`] knows.
    pub fn status(&self, job: JobId) -> Option<JobStatus> {
        let known = self.jobs.get(&job).map(Job::status);
        known.or_else(|| Some(self.archived.get(&job)?.status(job)))
    }

    /// What the log says of a Node, and what was `heard` from it.
    pub fn node_status(&self, node: NodeId, heard: Option<NodeHeard>) -> Option<NodeStatus> {
        let known = self.nodes.get(&node)?;
        Some(NodeStatus {
            node,
            name: known.name.clone(),
            registered_at_ms: known.registered_ms,
            draining: known.draining,
            leases: known.leases.len() as u32,
            heard,
        })
    }
}
