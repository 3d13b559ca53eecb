//! Fencing, kept as a second set of books: which Attempts hold a Lease, which numbers were ever given out, who refused what
//! and until when a Task backs off.

use super::{Step, rejected};
use crate::film::is_wanted;
use recode_core::Rejected;
use recode_core::machine::{Command, Outcome, State};
use recode_types::event::EventKind;
use recode_types::task::{AttemptOutcome, FailureClass};
use recode_types::{AttemptNo, JobId, NodeId, TaskId, TaskKey};
use std::collections::{BTreeMap, BTreeSet};

type Live = BTreeMap<TaskKey, (AttemptNo, NodeId)>;

/// See the module.
#[derive(Debug, Default)]
pub struct Leases {
    live: BTreeMap<JobId, Live>,
    newest: BTreeMap<TaskId, AttemptNo>,
    refused: BTreeSet<(TaskId, NodeId)>,
}

impl Leases {
    /// Jobs with a Lease on one of these Nodes.
    pub fn jobs_of(&self, gone: &dyn Fn(&NodeId) -> bool) -> BTreeSet<JobId> {
        let jobs = self.live.iter();
        jobs.filter(|(_, live)| live.values().any(|(_, node)| gone(node)))
            .map(|(job, _)| *job)
            .collect()
    }

    fn end(&mut self, task: TaskId, attempt: AttemptNo) {
        if let Some(live) = self.live.get_mut(&task.job)
            && live.get(&task.key).is_some_and(|l| l.0 == attempt)
        {
            live.remove(&task.key);
        }
    }

    fn end_of_nodes(&mut self, gone: &dyn Fn(&NodeId) -> bool) {
        for live in self.live.values_mut() {
            live.retain(|_, (_, node)| !gone(node));
        }
    }

    /// # Errors
    /// What is wrong with the Leases after a step.
    pub fn check(&mut self, step: &Step<'_>) -> Result<(), String> {
        match (&step.entry.command, step.outcome) {
            (Command::GrantLeases { grants }, Outcome::Granted { results }) => {
                if grants.len() != results.len() {
                    return Err("not every grant was answered".to_owned());
                }
                // Several grants in one command change nothing about what each of the others may do.
                for (grant, result) in grants.iter().zip(results) {
                    if result.is_ok() {
                        self.granted(step, grant.task, grant.attempt, grant.node)?;
                    }
                }
            }
            (
                Command::CompleteAttempt {
                    task,
                    attempt,
                    outcome,
                },
                answer,
            ) => {
                let holder = self
                    .live
                    .get(&task.job)
                    .and_then(|live| live.get(&task.key))
                    .filter(|l| l.0 == *attempt)
                    .map(|l| l.1);
                match (holder, answer) {
                    (Some(node), Outcome::Accepted) => {
                        self.end(*task, *attempt);
                        if let AttemptOutcome::Failed { failure, .. } = &**outcome
                            && failure.class == FailureClass::MissingCapability
                        {
                            self.refused.insert((*task, node));
                        }
                    }
                    (None, answer)
                        if matches!(
                            rejected(answer),
                            Some(Rejected::StaleAttempt | Rejected::UnknownJob)
                        ) => {}
                    (Some(_), answer) => {
                        return Err(format!("{task}#{attempt} holds a lease and got {answer:?}"));
                    }
                    (None, answer) => {
                        return Err(format!(
                            "{task}#{attempt} holds no lease and got {answer:?}"
                        ));
                    }
                }
            }
            (Command::ExpireLeases { leases }, _) => {
                for (task, attempt) in leases {
                    self.end(*task, *attempt);
                }
            }
            (Command::ForgetNode { node }, Outcome::Accepted) => self.end_of_nodes(&|n| n == node),
            (Command::RegisterNode { name, .. }, Outcome::Registered { node }) => {
                let former = &step.before.nodes;
                self.end_of_nodes(&|n| n != node && former.get(n).is_some_and(|n| n.name == *name));
            }
            _ => {}
        }
        for job in step.jobs {
            let earlier = step.before.jobs.get(job).map_or(0, |j| j.events.len());
            let now = step.after.jobs.get(job);
            let over = now.is_none_or(|now| {
                now.state().is_terminal()
                    || now.events[earlier.min(now.events.len())..]
                        .iter()
                        .any(|e| matches!(e.kind, EventKind::Replanning { .. }))
            });
            if over {
                self.live.remove(job);
            }
            if now.is_none() {
                self.newest.retain(|task, _| task.job != *job);
            }
            self.agree(step.after, *job)?;
        }
        Ok(())
    }

    fn granted(
        &mut self,
        step: &Step<'_>,
        task: TaskId,
        attempt: AttemptNo,
        node: NodeId,
    ) -> Result<(), String> {
        let newest = self.newest.entry(task).or_default();
        if attempt != *newest + 1 {
            return Err(format!("{task}#{attempt} was granted after #{newest}"));
        }
        *newest = attempt;
        if !step.before.nodes.contains_key(&node) {
            return Err(format!(
                "{task}#{attempt} was granted to {node}, which is not known"
            ));
        }
        if self.refused.contains(&(task, node)) {
            return Err(format!(
                "{task}#{attempt} was granted to {node}, which has refused it"
            ));
        }
        if !is_wanted(step.before, task.job, task.key) {
            return Err(format!("{task}#{attempt} was granted, and nobody needs it"));
        }
        let backs_off = step.before.jobs[&task.job].tasks.get(&task.key);
        if backs_off.is_some_and(|t| t.retry_at_ms > step.entry.at_ms) {
            return Err(format!("{task}#{attempt} was granted while it backs off"));
        }
        let live = self.live.entry(task.job).or_default();
        if let Some((other, _)) = live.insert(task.key, (attempt, node)) {
            return Err(format!(
                "{task}#{attempt} was granted while #{other} is live"
            ));
        }
        Ok(())
    }

    fn agree(&self, state: &State, job: JobId) -> Result<(), String> {
        let held: Live = state
            .jobs
            .get(&job)
            .into_iter()
            .flat_map(|job| job.tasks.iter())
            .filter_map(|(key, task)| Some((*key, (task.lease?.attempt, task.lease?.node))))
            .collect();
        let empty = Live::new();
        let live = self.live.get(&job).unwrap_or(&empty);
        if held != *live {
            return Err(format!(
                "leases of {job} should be {live:?} and are {held:?}"
            ));
        }
        Ok(())
    }
}
