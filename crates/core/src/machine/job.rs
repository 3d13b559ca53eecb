//! Jobs.
//!
//! ```text
//!   SubmitJob ─► probing ─probed─► planning ─PlanReady─► running ─all Outputs there─► done
//!                   ▲                  │                    │
//!                   └──── index lied, or Replan: once ──────┘
//!   probing, planning, running ─a failure that counts, FailJob─► failed
//!                              ─Ask cancel, CancelJob──────────► cancelled
//!   failed ─Ask retry─► running, with all committed Chunks; or probing, where there was no Plan
//! ```
//!
//! Paused is no state of its own: a Job that lives may be paused in each of them, and then nothing of it is granted while
//! results of Attempts that run are taken.
//!
//! An ended Job stays as it is, with everything its report and another try need, until it is archived or forgotten (see
//! [`super::retention`]). What a failed one has in the work store stays as long.

mod attempts;
mod planning;
mod wishes;

pub(super) use attempts::wrong_result;

use super::command::{Command, Effect, Rejected};
use super::commanded::CommandJob;
use super::rows::Rows;
use super::run::Run;
use recode_types::event::{AttemptLog, Event, EventKind, JobState, JobStatus};
use recode_types::task::FailureClass;
use recode_types::{ArtifactRef, AttemptNo, JobId, JobRequest, Segment, TaskId, TaskKey};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// Failed Attempts of one Job whose logs are kept; the oldest are dropped first.
pub const MOST_LOGS: usize = 16;
/// The longest tail of FFmpeg's stderr that is kept of one Attempt, and the longest message, in bytes.
pub const LONGEST_TAIL: usize = 4096;

/// What a user is told about [`TaskResult::EncodedUnsteady`].
const UNSTEADY: &str = "the source's picture is damaged, and its decoder does not show the damage twice alike: the output \
                        shows it as it was decoded for the encoder";

/// One request and everything that came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What the client called its request.
    pub request_id: String,
    /// What is asked.
    pub request: JobRequest,
    /// When it was accepted.
    pub submitted_ms: u64,
    /// How far it is.
    pub phase: Phase,
    /// Tasks that were tried; the others have no row.
    pub tasks: Rows,
    /// What happened, in order.
    pub events: Arc<Vec<Event>>,
    /// What all Attempts used, failed ones included.
    pub used: Ledger,
    /// Nothing of it is granted.
    pub paused: bool,
    /// It has ended and is to be archived.
    pub retiring: bool,
    /// How Attempts failed: the newest [`MOST_LOGS`], with numbers that follow each other.
    pub logs: VecDeque<AttemptLog>,
    /// Request ids of what was wished of it, oldest first: the newest [`super::MOST_WISHES`].
    pub wishes: VecDeque<String>,
    /// How often it was paused, resumed or retried; at most [`super::MOST_TURNS`].
    pub turns: u32,
    /// The command, where it is a command job. Stored beside the Job, see [`super::commanded`].
    #[serde(skip)]
    pub command: Option<Box<CommandJob>>,
    /// Tasks with a time before which they are not granted. Follows from `tasks`.
    #[serde(skip)]
    pub(super) backoff: BTreeSet<TaskKey>,
}

/// How far a Job is, with what that state has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Phase {
    /// The Source is being looked at.
    Probing {
        /// By decoding all of it.
        deep: bool,
    },
    /// The facts are known, the Plan is being made.
    Planning {
        /// Grade of the probe.
        deep: bool,
        /// `SourceFacts`.
        facts: ArtifactRef,
        /// Parts that have come.
        parts: u32,
        /// Their Segments.
        segments: Vec<Segment>,
    },
    /// Tasks run.
    Running(Box<Run>),
    /// Nothing more happens.
    Ended(Box<End>),
    /// The one Task of a command job runs. Last: the position is the encoding.
    Command,
}

/// How a Job ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// `Done`, `Failed` or `Cancelled`.
    pub state: JobState,
    /// Class of the failure that ended it.
    pub class: Option<FailureClass>,
    /// One sentence; empty where it is done.
    pub reason: String,
    /// When.
    pub at_ms: u64,
    /// What had been made by then.
    pub run: Option<Run>,
}

/// What all Attempts of a Job used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// User and system time of child processes.
    pub cpu_ms: u64,
    /// Bytes read from the Source.
    pub source_bytes_read: u64,
    /// Bytes written to the work store and the Outputs.
    pub bytes_written: u64,
    /// Attempts beyond the first of each Task, where the first one failed or its Node fell silent.
    pub retries: u32,
    /// Chunks found finished.
    pub chunks_reused: u32,
}

impl Job {
    pub(super) fn submitted(
        id: JobId,
        request_id: String,
        request: JobRequest,
        at_ms: u64,
    ) -> Self {
        let mut job = Self {
            id,
            request_id,
            request,
            submitted_ms: at_ms,
            phase: Phase::Probing { deep: false },
            tasks: Rows::default(),
            events: Arc::default(),
            used: Ledger::default(),
            paused: false,
            retiring: false,
            logs: VecDeque::new(),
            wishes: VecDeque::new(),
            turns: 0,
            command: None,
            backoff: BTreeSet::new(),
        };
        job.tell(at_ms, EventKind::Submitted);
        job
    }

    /// Tasks with a time before which they are not granted.
    fn backing_off(&self) -> BTreeSet<TaskKey> {
        let tasks = self.tasks.iter();
        let waiting = tasks.filter(|(_, task)| task.retry_at_ms > 0);
        waiting.map(|(key, _)| *key).collect()
    }

    /// Makes what follows from everything else, after it was read.
    pub(super) fn complete_from_parts(&mut self) {
        self.backoff = self.backing_off();
    }

    /// What is counted as it comes is what there is. For tests of all that changes it.
    pub fn is_counted_right(&self) -> bool {
        self.backoff == self.backing_off() && self.run().is_none_or(Run::is_counted_right)
    }

    /// How far it is.
    pub fn state(&self) -> JobState {
        match &self.phase {
            Phase::Probing { .. } => JobState::Probing,
            Phase::Planning { .. } => JobState::Planning,
            Phase::Running(_) | Phase::Command => JobState::Running,
            Phase::Ended(end) => end.state,
        }
    }

    /// What runs, or had run when it ended.
    pub fn run(&self) -> Option<&Run> {
        match &self.phase {
            Phase::Running(run) => Some(run),
            Phase::Ended(end) => end.run.as_ref(),
            Phase::Probing { .. } | Phase::Planning { .. } | Phase::Command => None,
        }
    }

    /// Grade of the probe that counts now.
    pub fn deep(&self) -> bool {
        match &self.phase {
            Phase::Probing { deep } | Phase::Planning { deep, .. } => *deep,
            Phase::Running(run) => run.deep,
            Phase::Ended(end) => end.run.as_ref().is_some_and(|run| run.deep),
            Phase::Command => false,
        }
    }

    /// The number that the next Attempt of a Task must have.
    pub fn next_attempt(&self, key: TaskKey) -> AttemptNo {
        self.tasks.get(&key).map_or(0, |task| task.attempts) + 1
    }

    /// One line about it.
    pub fn status(&self) -> JobStatus {
        let (tasks, tasks_done) = self.count_tasks();
        let end = match &self.phase {
            Phase::Ended(end) => Some(end),
            _ => None,
        };
        JobStatus {
            job: self.id,
            state: self.state(),
            source: self.request.source.clone(),
            outputs: match &self.command {
                Some(command) => {
                    let outputs = command.request.outputs.iter();
                    outputs.map(|output| output.url.clone()).collect()
                }
                None => self.request.outputs.iter().map(|o| o.url.clone()).collect(),
            },
            submitted_at_ms: self.submitted_ms,
            ended_at_ms: end.map(|end| end.at_ms),
            tasks,
            tasks_done,
            events: self.events.len() as u64,
            class: end.and_then(|end| end.class),
            reason: end
                .filter(|end| !end.reason.is_empty())
                .map(|end| end.reason.clone()),
            paused: self.paused,
            priority: self.request.priority,
            labels: self.request.labels.clone(),
            archive: None,
        }
    }

    /// Tasks known so far and Tasks finished, the probe included.
    pub fn count_tasks(&self) -> (u32, u32) {
        if let Some(command) = &self.command {
            return (1, u32::from(!command.results.is_empty()));
        }
        match self.run() {
            None => (1, u32::from(matches!(self.phase, Phase::Planning { .. }))),
            Some(run) => {
                let (tasks, done) = run.count_tasks();
                (tasks + 1, done + 1)
            }
        }
    }

    pub(super) fn tell(&mut self, at_ms: u64, kind: EventKind) {
        let mut index = self.events.len() as u64;
        if matches!(kind, EventKind::Reopened { .. }) && planted!(EventIndexSkipped) {
            index += 1;
        }
        Arc::make_mut(&mut self.events).push(Event { index, at_ms, kind });
    }

    pub(super) fn change(
        &mut self,
        at_ms: u64,
        command: &Command,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Rejected> {
        if self.state().is_terminal() && !planted!(EndsTwice) {
            return Err(Rejected::JobEnded);
        }
        match command {
            Command::PlanPart {
                deep,
                part,
                segments,
                ..
            } => self.plan_part(*deep, *part, segments),
            Command::PlanReady {
                deep,
                parts,
                plan,
                segments,
                ..
            } => {
                let run = self.plan_ready(*deep, *parts, plan, segments)?;
                self.tell(
                    at_ms,
                    EventKind::Planned {
                        segments: run.plan.segments.len() as u32,
                        frames: run.plan.source.frames,
                        warnings: run.plan.warnings.clone(),
                    },
                );
                self.phase = Phase::Running(Box::new(run));
                effects.push(Effect::Announce { job: self.id });
                effects.push(Effect::Decide { job: self.id });
                effects.push(Effect::Dispatch);
                self.finish_if_complete(at_ms, effects);
                Ok(())
            }
            Command::SetKnobs {
                output,
                round,
                knobs,
                reason,
                ..
            } => self.set_knobs(at_ms, (*output, *round), knobs, reason, effects),
            Command::TurnKnobs {
                deep,
                output,
                round,
                knobs,
                reason,
                ..
            } => {
                if *deep != self.deep() {
                    return Err(Rejected::Outdated);
                }
                self.set_knobs(at_ms, (*output, *round), knobs, reason, effects)
            }
            Command::Warn { settled, text, .. } => {
                if let (Phase::Running(run), Some(output)) = (&mut self.phase, settled) {
                    run.settle(*output)?;
                }
                self.tell(at_ms, EventKind::Warning { text: text.clone() });
                effects.push(Effect::Announce { job: self.id });
                effects.push(Effect::Dispatch);
                Ok(())
            }
            Command::Replan { reason, .. } => {
                // A command job has no Plan to make anew.
                if self.deep() || self.command.is_some() {
                    return Err(Rejected::Outdated);
                }
                self.replan(at_ms, reason.clone(), effects);
                Ok(())
            }
            Command::CancelJob { reason, .. } => {
                self.end(at_ms, JobState::Cancelled, None, reason.clone(), effects);
                Ok(())
            }
            Command::FailJob { class, message, .. } => {
                self.end(
                    at_ms,
                    JobState::Failed,
                    Some(*class),
                    message.clone(),
                    effects,
                );
                Ok(())
            }
            Command::SubmitJob { .. }
            | Command::SubmitCommand { .. }
            | Command::GrantLeases { .. }
            | Command::CompleteAttempt { .. }
            | Command::ExpireLeases { .. }
            | Command::RegisterNode { .. }
            | Command::ForgetNode { .. }
            | Command::ForgetJob { .. }
            | Command::Ask { .. }
            | Command::DrainNode { .. }
            | Command::RaiseLevel { .. }
            | Command::Retire { .. }
            | Command::ArchiveJob { .. } => unreachable!("handled by State, not by one Job"),
        }
    }

    fn revoke_all(&mut self, effects: &mut Vec<Effect>) {
        for (key, task) in self.tasks.iter_mut() {
            if let Some(lease) = task.lease.take() {
                effects.push(Effect::Revoke {
                    node: lease.node,
                    task: TaskId {
                        job: self.id,
                        key: *key,
                    },
                    attempt: lease.attempt,
                });
            }
        }
    }

    fn finish_if_complete(&mut self, at_ms: u64, effects: &mut Vec<Effect>) {
        if let Phase::Running(run) = &self.phase
            && run.is_complete()
        {
            self.end(at_ms, JobState::Done, None, String::new(), effects);
        }
    }

    pub(super) fn end(
        &mut self,
        at_ms: u64,
        state: JobState,
        class: Option<FailureClass>,
        reason: String,
        effects: &mut Vec<Effect>,
    ) {
        if !planted!(EndKeepsLeases) {
            self.revoke_all(effects);
        }
        self.paused = false;
        self.tell(
            at_ms,
            EventKind::Ended {
                state,
                class,
                reason: reason.clone(),
            },
        );
        let before = std::mem::replace(&mut self.phase, Phase::Probing { deep: false });
        let run = match before {
            Phase::Running(run) => Some(*run),
            Phase::Ended(_) => unreachable!("an ended job does not end again"),
            Phase::Probing { .. } | Phase::Planning { .. } | Phase::Command => None,
        };
        self.phase = Phase::Ended(Box::new(End {
            state,
            class,
            reason,
            at_ms,
            run,
        }));
        effects.push(Effect::Announce { job: self.id });
        effects.push(Effect::Ended { job: self.id });
    }
}
