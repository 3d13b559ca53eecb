//! Attempts of a Job's Tasks: granted, silent, finished, failed.

use super::{Job, LONGEST_TAIL, MOST_LOGS, Phase, UNSTEADY};
use crate::machine::command::{Effect, LeaseGrant, Rejected};
use crate::machine::commanded::COMMAND;
use crate::machine::task::{Lease, MAX_ATTEMPTS, MAX_FAILURES};
use recode_types::event::{AttemptLog, EventKind, JobState};
use recode_types::task::{AttemptOutcome, Failure, FailureClass, TaskResult, Usage};
use recode_types::{AttemptNo, AttemptToken, TaskKey};

impl Job {
    /// The Lease of a Task, where it is this Attempt's.
    pub(in crate::machine) fn lease(
        &self,
        key: TaskKey,
        attempt: AttemptNo,
    ) -> Result<Lease, Rejected> {
        self.tasks
            .get(&key)
            .and_then(|task| task.lease)
            .filter(|lease| lease.attempt == attempt || planted!(StaleAttemptAccepted))
            .ok_or(Rejected::StaleAttempt)
    }

    /// The Attempt that holds the Lease of a Task.
    pub(in crate::machine) fn attempt(&self, key: TaskKey) -> Option<AttemptNo> {
        Some(self.tasks.get(&key)?.lease?.attempt)
    }

    pub(in crate::machine) fn grant(
        &mut self,
        grant: &LeaseGrant,
        at_ms: u64,
    ) -> Result<(), Rejected> {
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

    pub(in crate::machine) fn expire(
        &mut self,
        key: TaskKey,
        at_ms: u64,
        effects: &mut Vec<Effect>,
    ) {
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

    /// What an Attempt reported. The caller has checked that it holds the Lease.
    pub(in crate::machine) fn complete(
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
pub(in crate::machine) fn wrong_result(key: TaskKey) -> Failure {
    Failure {
        class: FailureClass::Unknown,
        message: format!("the node's result for {key} is not what was asked for"),
        stderr_tail: None,
    }
}
