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

use super::MOST_TURNS;
use super::command::{Command, Effect, LeaseGrant, Rejected, Wish};
use super::commanded::{COMMAND, CommandJob};
use super::rows::Rows;
use super::run::Run;
use super::task::{Lease, MAX_ATTEMPTS, MAX_FAILURES};
use crate::plan::cut;
use recode_types::event::{AttemptLog, Event, EventKind, JobState, JobStatus};
use recode_types::task::{AttemptOutcome, Failure, FailureClass, TaskResult, Usage};
use recode_types::{
    ArtifactRef, AttemptNo, AttemptToken, JobId, JobRequest, Knob, Segment, TaskId, TaskKey,
};
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

    /// The Lease of a Task, where it is this Attempt's.
    pub(super) fn lease(&self, key: TaskKey, attempt: AttemptNo) -> Result<Lease, Rejected> {
        self.tasks
            .get(&key)
            .and_then(|task| task.lease)
            .filter(|lease| lease.attempt == attempt || planted!(StaleAttemptAccepted))
            .ok_or(Rejected::StaleAttempt)
    }

    /// The Attempt that holds the Lease of a Task.
    pub(super) fn attempt(&self, key: TaskKey) -> Option<AttemptNo> {
        Some(self.tasks.get(&key)?.lease?.attempt)
    }

    pub(super) fn grant(&mut self, grant: &LeaseGrant, at_ms: u64) -> Result<(), Rejected> {
        let key = grant.task.key;
        if self.state().is_terminal() {
            return Err(Rejected::JobEnded);
        }
        if self.paused {
            return Err(Rejected::JobPaused);
        }
        let is_open = self.is_open(key) || planted!(GrantNotOpen);
        let is_next = grant.attempt == self.next_attempt(key) || planted!(GrantAnyNumber);
        if !is_open || !is_next {
            return Err(Rejected::NotReady);
        }
        let task = self.tasks.row(key);
        if task.lease.is_some() {
            return Err(Rejected::NotReady);
        }
        task.attempts = grant.attempt;
        task.tries += 1;
        task.lease = Some(Lease {
            node: grant.node,
            attempt: grant.attempt,
            granted_ms: at_ms + crate::planted::tick(),
        });
        if let Phase::Running(run) = &mut self.phase {
            run.leased(key);
        }
        Ok(())
    }

    pub(super) fn expire(&mut self, key: TaskKey, at_ms: u64, effects: &mut Vec<Effect>) {
        let Some(task) = self.tasks.get_mut(&key) else {
            return;
        };
        task.lease = None;
        let tries = task.tries;
        if planted!(AttemptNumberReused) {
            task.attempts -= 1;
        }
        self.used.retries += 1;
        if let Phase::Running(run) = &mut self.phase
            && !planted!(ExpireForgetsTask)
        {
            run.released(key);
        }
        if tries >= MAX_ATTEMPTS {
            self.end(
                at_ms,
                JobState::Failed,
                Some(FailureClass::Unknown),
                format!("{key} was tried {tries} times and every node fell silent over it"),
                effects,
            );
        }
    }

    fn set_knobs(
        &mut self,
        at_ms: u64,
        (output, round): (u16, u32),
        knobs: &[(u32, Knob)],
        reason: &str,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Rejected> {
        let Phase::Running(run) = &mut self.phase else {
            return Err(Rejected::Outdated);
        };
        let reopened = run.set_knobs(output, round, knobs, &mut self.tasks)?;
        if reopened > 0 {
            let tasks = &self.tasks;
            self.backoff
                .retain(|key| tasks.get(key).is_some_and(|t| t.retry_at_ms > 0));
            self.tell(
                at_ms,
                EventKind::Reopened {
                    chunks: reopened,
                    reason: reason.to_owned(),
                },
            );
            effects.push(Effect::Announce { job: self.id });
        }
        effects.push(Effect::Dispatch);
        Ok(())
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

    /// What somebody wants. Accepted where the Job is so already.
    pub(super) fn ask(
        &mut self,
        wish: &Wish,
        at_ms: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Rejected> {
        if *wish == Wish::Retry {
            return self.retry(at_ms, effects);
        }
        if self.state().is_terminal() {
            return Err(Rejected::JobEnded);
        }
        match wish {
            Wish::Cancel { reason } => {
                self.end(at_ms, JobState::Cancelled, None, reason.clone(), effects);
            }
            Wish::Pause if !self.paused => {
                self.turn_again()?;
                self.paused = true;
                self.tell(at_ms, EventKind::Paused);
                effects.push(Effect::Announce { job: self.id });
            }
            Wish::Resume if self.paused => {
                self.turn_again()?;
                self.paused = false;
                self.tell(at_ms, EventKind::Resumed);
                effects.push(Effect::Announce { job: self.id });
                effects.push(Effect::Dispatch);
            }
            Wish::Pause | Wish::Resume | Wish::Retry => {}
        }
        Ok(())
    }

    /// Counts a pause or a resume. A pause leaves room for the resume that takes it back.
    fn turn_again(&mut self) -> Result<(), Rejected> {
        let most = MOST_TURNS - u32::from(!self.paused);
        if self.turns >= most {
            return Err(Rejected::TooManyTurns);
        }
        self.turns += 1;
        Ok(())
    }

    /// Lets a failed Job live again where it stopped. Attempt numbers go on; failures do not count any more, and Nodes that
    /// refused are asked again, since whoever asks for another try has changed something.
    fn retry(&mut self, at_ms: u64, effects: &mut Vec<Effect>) -> Result<(), Rejected> {
        // A grade that was found necessary once is necessary again.
        let deep = self
            .events
            .iter()
            .any(|event| matches!(event.kind, EventKind::Replanning { .. }));
        let Phase::Ended(end) = &mut self.phase else {
            return Err(Rejected::NotFailed);
        };
        if end.state != JobState::Failed {
            return Err(Rejected::NotFailed);
        }
        if self.turns >= MOST_TURNS {
            return Err(Rejected::TooManyTurns);
        }
        self.turns += 1;
        // Nothing made from another Source may meet what is made from now on.
        let changed = end.class == Some(FailureClass::SourceChanged);
        let run = end.run.take().filter(|_| !changed);
        for task in self.tasks.values_mut() {
            task.reopen();
            task.avoid.clear();
        }
        self.backoff.clear();
        self.retiring = false;
        let mut chunks_kept = 0;
        self.phase = match run {
            Some(mut run) => {
                run.reopen();
                chunks_kept = run.count_chunks();
                effects.push(Effect::Decide { job: self.id });
                Phase::Running(Box::new(run))
            }
            None if self.command.is_some() => Phase::Command,
            None => Phase::Probing {
                deep: deep && !changed,
            },
        };
        self.tell(at_ms, EventKind::Retried { chunks_kept });
        effects.push(Effect::Announce { job: self.id });
        effects.push(Effect::Dispatch);
        Ok(())
    }

    fn plan_part(&mut self, deep: bool, part: u32, more: &[Segment]) -> Result<(), Rejected> {
        let Phase::Planning {
            deep: grade,
            parts,
            segments,
            ..
        } = &mut self.phase
        else {
            return Err(Rejected::Outdated);
        };
        if *grade != deep {
            return Err(Rejected::Outdated);
        }
        if part == 0 {
            *parts = 0;
            if !planted!(PlanKeepsOldParts) {
                segments.clear();
            }
        }
        if part != *parts {
            return Err(Rejected::BadPlan);
        }
        *parts += 1;
        segments.extend_from_slice(more);
        Ok(())
    }

    fn plan_ready(
        &mut self,
        deep: bool,
        count: u32,
        plan: &crate::plan::Plan,
        list: &ArtifactRef,
    ) -> Result<Run, Rejected> {
        let Phase::Planning {
            deep: grade,
            facts,
            parts,
            segments,
        } = &mut self.phase
        else {
            return Err(Rejected::Outdated);
        };
        if *grade != deep && !planted!(PlanGradeIgnored) {
            return Err(Rejected::Outdated);
        }
        if (*parts != count && !planted!(PlanIncomplete))
            || plan.outputs.len() != self.request.outputs.len()
        {
            return Err(Rejected::BadPlan);
        }
        let mut plan = plan.clone();
        plan.segments = segments.clone();
        let order = cut::order(&plan.segments, self.request.segment);
        Run::start(facts.clone(), deep, plan, list.clone(), order).ok_or(Rejected::BadPlan)
    }

    /// What an Attempt reported. The caller has checked that it holds the Lease.
    pub(super) fn complete(
        &mut self,
        key: TaskKey,
        attempt: AttemptNo,
        outcome: &AttemptOutcome,
        at_ms: u64,
        effects: &mut Vec<Effect>,
    ) {
        let task = self
            .tasks
            .get_mut(&key)
            .expect("the lease was found in this row");
        let lease = task.lease.take().expect("the caller has found the lease");
        if let Phase::Running(run) = &mut self.phase
            && !planted!(FailureForgetsTask)
        {
            run.released(key);
        }
        let (AttemptOutcome::Done { usage, .. } | AttemptOutcome::Failed { usage, .. }) = outcome;
        self.used.cpu_ms += usage.cpu_ms;
        self.used.source_bytes_read += usage.source_bytes_read;
        self.used.bytes_written += usage.bytes_written;
        effects.push(Effect::Announce { job: self.id });
        effects.push(Effect::Dispatch);
        let failure = match outcome {
            AttemptOutcome::Failed { failure, .. } => Some(failure.clone()),
            AttemptOutcome::Done { result, usage } => self
                .accept(key, attempt, lease, result, usage, at_ms, effects)
                .err(),
        };
        if let Some(failure) = failure {
            self.failed(key, attempt, lease, failure, at_ms, effects);
        }
    }

    fn accept(
        &mut self,
        key: TaskKey,
        attempt: AttemptNo,
        lease: Lease,
        result: &TaskResult,
        usage: &Usage,
        at_ms: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Failure> {
        let done = |frames, bytes, reused| EventKind::TaskDone {
            task: key,
            attempt,
            node: lease.node,
            frames,
            bytes,
            reused,
        };
        match (&mut self.phase, key, result) {
            (Phase::Probing { deep }, TaskKey::Probe { .. }, TaskResult::Probed { facts }) => {
                let (deep, facts) = (*deep, facts.clone());
                self.tell(at_ms, done(0, facts.size_bytes, false));
                self.phase = Phase::Planning {
                    deep,
                    facts,
                    parts: 0,
                    segments: Vec::new(),
                };
                if !planted!(PlanNotAsked) {
                    effects.push(Effect::Plan { job: self.id });
                }
                Ok(())
            }
            (Phase::Command, COMMAND, TaskResult::Commanded { outputs }) => {
                self.accept_command(attempt, lease, outputs, at_ms, effects)
            }
            (Phase::Running(run), key, result) => {
                let made = run.accept(key, attempt, lease.node, result, usage)?;
                self.used.chunks_reused += made.reused;
                let all_reused = made.chunks > 0 && made.reused == made.chunks;
                if let TaskResult::Revise { violations } = result {
                    self.tell(
                        at_ms,
                        EventKind::Warning {
                            text: format!(
                                "the peak limit is broken in {} chunks: they are made again",
                                violations.len()
                            ),
                        },
                    );
                } else {
                    self.tell(at_ms, done(made.frames, made.bytes, all_reused));
                }
                if matches!(result, TaskResult::EncodedUnsteady { .. }) {
                    self.warn_once(at_ms, UNSTEADY);
                }
                if let TaskResult::Stitched { output } = result {
                    self.tell(
                        at_ms,
                        EventKind::OutputReady {
                            output: output.output,
                            url: output.url.clone(),
                            size_bytes: output.size_bytes,
                        },
                    );
                    for text in output.warnings.clone() {
                        self.tell(at_ms, EventKind::Warning { text });
                    }
                }
                if made.decide && !planted!(DecisionNotAsked) {
                    effects.push(Effect::Decide { job: self.id });
                }
                self.finish_if_complete(at_ms, effects);
                Ok(())
            }
            _ => Err(wrong_result(key)),
        }
    }

    /// Tells a warning unless it was told before.
    fn warn_once(&mut self, at_ms: u64, text: &str) {
        let told = |kind: &EventKind| matches!(kind, EventKind::Warning { text: t } if t == text);
        if !self.events.iter().any(|event| told(&event.kind)) {
            let text = text.to_owned();
            self.tell(at_ms, EventKind::Warning { text });
        }
    }

    fn failed(
        &mut self,
        key: TaskKey,
        attempt: AttemptNo,
        lease: Lease,
        failure: Failure,
        at_ms: u64,
        effects: &mut Vec<Effect>,
    ) {
        let task = self
            .tasks
            .get_mut(&key)
            .expect("an attempt that ended has a row");
        task.failures += u32::from(!planted!(FailuresNotCounted));
        let replan = failure.class == FailureClass::IndexLied
            && !self.deep()
            && self.command.is_none()
            && !planted!(IndexLiedRetried);
        let task = self
            .tasks
            .get_mut(&key)
            .expect("an attempt that ended has a row");
        let last = match failure.class {
            FailureClass::BadInput | FailureClass::SourceChanged | FailureClass::OutputExists => {
                true
            }
            FailureClass::IndexLied => !replan && task.failures >= MAX_FAILURES,
            FailureClass::MissingCapability => {
                if !task.avoid.contains(&lease.node) && !planted!(RefusalForgotten) {
                    task.avoid.push(lease.node);
                }
                task.failures >= MAX_FAILURES
            }
            FailureClass::OutOfResources | FailureClass::Store => {
                // Whatever is short may come back: 1 s, then 4 s.
                task.retry_at_ms = at_ms * u64::from(!planted!(NoBackoff))
                    + 1000 * 4u64.pow(task.failures.min(4) - 1);
                self.backoff.insert(key);
                task.failures >= MAX_FAILURES
            }
            FailureClass::Killed | FailureClass::Unknown => {
                task.failures >= MAX_FAILURES + u32::from(planted!(OneTryTooMany))
            }
        };
        self.log(key, attempt, &lease, &failure, at_ms);
        self.tell(
            at_ms,
            EventKind::AttemptFailed {
                task: key,
                attempt,
                node: lease.node,
                class: failure.class,
                message: failure.message.clone(),
                retried: !last,
            },
        );
        if !last {
            self.used.retries += 1;
        }
        if replan {
            self.replan(at_ms, failure.message, effects);
        } else if last {
            let mut reason = failure.message;
            if let Some(tail) = &failure.stderr_tail
                && let Some(line) = tail.lines().rfind(|line| !line.trim().is_empty())
                && !reason.contains(line.trim())
            {
                reason = format!("{reason} ({})", line.trim());
            }
            self.end(
                at_ms,
                JobState::Failed,
                Some(failure.class),
                reason,
                effects,
            );
        }
    }

    /// Keeps how an Attempt failed, in bounds.
    fn log(
        &mut self,
        task: TaskKey,
        attempt: AttemptNo,
        lease: &Lease,
        failure: &Failure,
        at_ms: u64,
    ) {
        let number = self.logs.back().map_or(0, |log| log.number + 1);
        if self.logs.len() == MOST_LOGS {
            self.logs.pop_front();
        }
        let tail = failure.stderr_tail.as_deref().unwrap_or_default();
        let message = &failure.message;
        self.logs.push_back(AttemptLog {
            number,
            task,
            attempt,
            node: lease.node,
            at_ms,
            class: failure.class,
            message: first_bytes(message, LONGEST_TAIL).to_owned(),
            stderr_tail: last_bytes(tail, LONGEST_TAIL).to_owned(),
        });
    }

    /// How an Attempt failed, as long as that is remembered; `None`: it did not.
    pub fn failure_of(&self, token: &AttemptToken) -> Option<FailureClass> {
        let logs = self.logs.iter().rev();
        let mut own = logs.filter(|log| log.task == token.task.key && log.attempt == token.attempt);
        own.next().map(|log| log.class)
    }

    /// An Output whose other Chunks have other parameter sets than those that an Attempt made.
    pub fn differs(&self, outcome: &AttemptOutcome) -> Option<u16> {
        let AttemptOutcome::Done { result, .. } = outcome else {
            return None;
        };
        let (TaskResult::Encoded { chunks } | TaskResult::EncodedUnsteady { chunks }) = result
        else {
            return None;
        };
        let run = self.run()?;
        let other = chunks.iter().find(|chunk| run.differs(chunk));
        other.map(|chunk| chunk.output)
    }

    /// A Task that only Nodes which refuse it could run must not wait for ever. Called by the Leader when no registered
    /// Node is left for it; see [`super::decide::stuck`].
    pub fn refused_by(&self, key: TaskKey) -> &[recode_types::NodeId] {
        self.tasks.get(&key).map_or(&[], |task| &task.avoid)
    }

    fn replan(&mut self, at_ms: u64, reason: String, effects: &mut Vec<Effect>) {
        if !planted!(ReplanKeepsLeases) {
            self.revoke_all(effects);
        }
        if planted!(ReplanDropsEvents) {
            Arc::make_mut(&mut self.events).truncate(1);
        }
        self.tell(at_ms, EventKind::Replanning { reason });
        // Attempt numbers go on, so that no earlier Attempt can be taken for a new one.
        if planted!(ReplanRestartsNumbers) {
            self.tasks.clear();
        }
        for task in self.tasks.values_mut() {
            task.reopen();
        }
        self.backoff.clear();
        self.phase = Phase::Probing {
            deep: !planted!(ReplanLooksQuickly),
        };
        effects.push(Effect::Announce { job: self.id });
        effects.push(Effect::Dispatch);
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

/// The beginning of `text`: at most `most` bytes of whole characters.
fn first_bytes(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The end of `text`: at most `most` bytes of whole characters.
fn last_bytes(text: &str, most: usize) -> &str {
    let mut at = text.len().saturating_sub(most);
    while !text.is_char_boundary(at) {
        at += 1;
    }
    &text[at..]
}

/// A Node answered with the result of another kind of Task, or with Chunks that were not asked for.
pub(super) fn wrong_result(key: TaskKey) -> Failure {
    Failure {
        class: FailureClass::Unknown,
        message: format!("the node's result for {key} is not what was asked for"),
        stderr_tail: None,
    }
}
