//! What must hold, judged from outside: the oracle reads the log and keeps its own books, by other code than the state's.
//!
//! | invariant of the project | where |
//! |---|---|
//! | I1 an accepted Job ends exactly once | [`results`], `terminal_once`, the end of each run |
//! | I2 one committed result per Segment, Output and knob; an Output is made of exactly these | [`results`] |
//! | I3 only a live Attempt commits; no Attempt number twice | [`leases`] |
//! | I4 what does not fit what was asked is not committed | [`results`], `chunks_fit` |
//! | I5 replicas agree; only the log decides | [`Oracle::step`] applies everything twice; `core_alone` compares replicas |
//! | I6 a request id gives the same answer | [`requests`], and each client by itself |
//! | I7 failures, Attempts, entries are bounded | [`results`], the run's bound on entries |
//! | I9 the Chunks of a finished Job do not depend on what happened | [`results`] against [`crate::film::Library::end`] |
//! | I10 without faults everything ends | the calm at the end of each run |

pub mod leases;
pub mod requests;
pub mod results;

use crate::film::Library;
use recode_core::machine::{Command, Effect, Entry, Outcome, State};
use recode_core::{Rejected, invariant};
use recode_types::{JobId, NodeId};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The judge of one run: sees every committed command once, in order.
#[derive(Debug)]
pub struct Oracle {
    /// One step behind `after`: both apply everything, so every command is applied twice and must answer alike.
    before: State,
    after: State,
    leases: leases::Leases,
    requests: requests::Requests,
    results: results::Results,
}

/// What a step changed, as the oracle's parts see it.
pub struct Step<'a> {
    /// The command and its time.
    pub entry: &'a Entry,
    /// What its proposer hears.
    pub outcome: &'a Outcome,
    /// The state before it.
    pub before: &'a State,
    /// The state after it.
    pub after: &'a State,
    /// Jobs it may have changed.
    pub jobs: &'a BTreeSet<JobId>,
}

impl Oracle {
    /// Of an empty log.
    pub fn new(library: Arc<Library>) -> Self {
        Self {
            before: State::default(),
            after: State::default(),
            leases: leases::Leases::default(),
            requests: requests::Requests::default(),
            results: results::Results::new(library),
        }
    }

    /// The state that all replicas must come to.
    pub fn state(&self) -> &State {
        &self.after
    }

    /// Judges one command.
    /// # Errors
    /// One sentence: what does not hold any more.
    pub fn step(&mut self, entry: &Entry) -> Result<(Outcome, Vec<Effect>), String> {
        let (outcome, effects) = self.after.apply(entry);
        invariant::check(&self.before, &self.after)?;
        if let Outcome::Rejected(_) = outcome
            && self.before != self.after
        {
            return Err("a rejected command has changed something".to_owned());
        }
        let jobs = self.touched(&entry.command);
        let step = Step {
            entry,
            outcome: &outcome,
            before: &self.before,
            after: &self.after,
            jobs: &jobs,
        };
        self.requests.check(&step)?;
        self.leases.check(&step)?;
        self.results.check(&step)?;
        let again = self.before.apply(entry);
        if again != (outcome.clone(), effects.clone()) {
            return Err("the same command was answered otherwise the second time".to_owned());
        }
        Ok((outcome, effects))
    }

    fn touched(&self, command: &Command) -> BTreeSet<JobId> {
        let held_by = |gone: &dyn Fn(&NodeId) -> bool| self.leases.jobs_of(gone);
        match command {
            Command::SubmitJob { job, .. }
            | Command::SubmitCommand { job, .. }
            | Command::PlanPart { job, .. }
            | Command::PlanReady { job, .. }
            | Command::SetKnobs { job, .. }
            | Command::TurnKnobs { job, .. }
            | Command::Replan { job, .. }
            | Command::CancelJob { job, .. }
            | Command::FailJob { job, .. }
            | Command::ForgetJob { job }
            | Command::Ask { job, .. }
            | Command::ArchiveJob { job, .. }
            | Command::Warn { job, .. } => BTreeSet::from([*job]),
            Command::GrantLeases { grants } => grants.iter().map(|g| g.task.job).collect(),
            Command::ExpireLeases { leases } => leases.iter().map(|l| l.0.job).collect(),
            Command::CompleteAttempt { task, .. } => BTreeSet::from([task.job]),
            Command::DrainNode { .. } | Command::RaiseLevel { .. } => BTreeSet::new(),
            Command::Retire { .. } => self.before.jobs.keys().copied().collect(),
            Command::ForgetNode { node } => held_by(&|n| n == node),
            Command::RegisterNode { name, .. } => {
                held_by(&|n| self.before.nodes.get(n).is_some_and(|n| n.name == *name))
            }
        }
    }
}

/// A rejection.
fn rejected(outcome: &Outcome) -> Option<Rejected> {
    match outcome {
        Outcome::Rejected(reason) => Some(*reason),
        _ => None,
    }
}
