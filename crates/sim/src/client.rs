//! What a client wants and has heard: submit with a request id, watch, cancel, forget; a call that was not answered in time
//! is unknown and made again with the same id. Pure; whoever carries the calls is in [`crate::core_alone`] and
//! [`crate::cluster`].

use crate::film::Library;
use crate::schedule::JobDraw;
use recode_core::machine::{Outcome, Rejected, State};
use recode_types::{Event as JobEvent, EventKind, JobId, JobRequest};

/// What a client asks a coordinator.
#[derive(Clone, Debug)]
pub enum Call {
    /// Do this.
    Submit {
        /// The same for the same request.
        request_id: String,
        /// What is wanted.
        request: Box<JobRequest>,
    },
    /// What happens, from an event on.
    Watch {
        /// To which Job.
        job: JobId,
        /// Index of the first event wanted.
        from: u64,
    },
    /// End it.
    Cancel {
        /// Which.
        job: JobId,
    },
    /// It may leave.
    Forget {
        /// Which.
        job: JobId,
    },
}

/// What it hears.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Ask another.
    NotLeading,
    /// What the log said.
    Outcome(Outcome),
    /// What has happened.
    Events(Vec<JobEvent>),
    /// The Job is not known there.
    NoSuchJob,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Submit,
    Misuse,
    Watch,
    Cancel,
    Again,
    Forget,
    Satisfied,
}

/// One client and its Job.
#[derive(Clone, Debug)]
pub struct Client {
    draw: JobDraw,
    /// Its request's.
    pub request_id: String,
    request: Box<JobRequest>,
    stage: Stage,
    /// Its Job, once accepted.
    pub job: Option<JobId>,
    submitted_at: Option<u64>,
    /// What it has seen.
    events: Vec<JobEvent>,
    cancelled: bool,
    forgotten: bool,
}

impl Client {
    /// The client number `index`.
    pub fn new(index: usize, draw: JobDraw, library: &Library) -> Self {
        let mut request = Box::new(library.templates[draw.template].request.clone());
        request.priority = draw.priority;
        Self {
            draw,
            request_id: format!("request {index}"),
            request,
            stage: Stage::Submit,
            job: None,
            submitted_at: None,
            events: Vec::new(),
            cancelled: false,
            forgotten: false,
        }
    }

    /// It has got what it wanted.
    pub fn is_satisfied(&self) -> bool {
        self.stage == Stage::Satisfied
    }

    /// What it does, for people.
    pub fn wants(&self) -> String {
        format!(
            "{:?} of {:?}, {} events seen",
            self.stage,
            self.job,
            self.events.len()
        )
    }

    /// Whether what it saw is what there is, when everything has ended.
    /// # Errors
    /// The Job that was accepted and is not what the client saw of it.
    pub fn judge(&self, state: &State) -> Result<(), String> {
        let Some(id) = self.job else {
            return Err(format!("{} was never accepted", self.request_id));
        };
        match state.jobs.get(&id) {
            None if self.forgotten => Ok(()),
            None => Err(format!("{id} was accepted and is lost")),
            Some(job) if *job.events != self.events => {
                Err(format!("a watcher of {id} saw other events than there are"))
            }
            Some(job) if job.request != *self.request => {
                Err(format!("{id} is another request than was accepted"))
            }
            Some(_) => Ok(()),
        }
    }

    /// Events it has seen, all and in order.
    pub fn seen(&self) -> u64 {
        self.events.len() as u64
    }

    /// What it asks next, at `now`; `None`: nothing any more.
    pub fn call(&mut self, now: u64) -> Option<Call> {
        let since = *self.submitted_at.get_or_insert(now);
        if self.stage == Stage::Watch
            && !self.cancelled
            && let Some(after) = self.draw.cancel_after_ms
            && now >= since + after
        {
            self.stage = Stage::Cancel;
        }
        let job = self.job;
        Some(match self.stage {
            Stage::Submit | Stage::Again => Call::Submit {
                request_id: self.request_id.clone(),
                request: self.request.clone(),
            },
            Stage::Misuse => {
                let mut request = self.request.clone();
                request.priority = (request.priority + 1) % 100;
                Call::Submit {
                    request_id: self.request_id.clone(),
                    request,
                }
            }
            Stage::Watch => Call::Watch {
                job: job?,
                from: self.events.len() as u64,
            },
            Stage::Cancel => Call::Cancel { job: job? },
            Stage::Forget => Call::Forget { job: job? },
            Stage::Satisfied => return None,
        })
    }

    fn has_ended(&self) -> bool {
        let last = self.events.last().map(|e| &e.kind);
        matches!(last, Some(EventKind::Ended { .. }))
    }

    /// Hears an answer. `truth`: what the log has decided.
    /// # Errors
    /// What is wrong with it.
    pub fn take(&mut self, answer: Answer, truth: &State) -> Result<(), String> {
        match (self.stage, answer) {
            (Stage::Submit | Stage::Again, Answer::Outcome(Outcome::Submitted { job, .. })) => {
                if self.job.is_some_and(|known| known != job) {
                    return Err(format!(
                        "{} gave {:?} and now {job}",
                        self.request_id, self.job
                    ));
                }
                if !truth.jobs.contains_key(&job) {
                    return Err(format!("{job} was accepted and is not in the log"));
                }
                self.job = Some(job);
                self.stage = match self.stage {
                    Stage::Submit if self.draw.misuse => Stage::Misuse,
                    Stage::Submit => Stage::Watch,
                    _ if self.draw.forget => Stage::Forget,
                    _ => Stage::Satisfied,
                };
            }
            (Stage::Misuse, Answer::Outcome(Outcome::Rejected(Rejected::RequestIdTaken))) => {
                self.stage = Stage::Watch;
            }
            (_, Answer::NotLeading) | (Stage::Watch, Answer::NoSuchJob) => {}
            (Stage::Watch, Answer::Events(events)) => {
                for event in events {
                    if event.index != self.events.len() as u64 || self.has_ended() {
                        return Err(format!(
                            "event {} came after {}",
                            event.index,
                            self.events.len()
                        ));
                    }
                    self.events.push(event);
                }
                if self.has_ended() {
                    self.stage = Stage::Again;
                }
            }
            (
                Stage::Cancel,
                Answer::Outcome(Outcome::Accepted | Outcome::Rejected(Rejected::JobEnded)),
            ) => {
                let job = self.job.and_then(|job| truth.jobs.get(&job));
                if job.is_none_or(|job| !job.state().is_terminal()) {
                    return Err(format!("{:?} was cancelled and goes on", self.job));
                }
                self.cancelled = true;
                self.stage = Stage::Watch;
            }
            (
                Stage::Forget,
                Answer::Outcome(Outcome::Accepted | Outcome::Rejected(Rejected::UnknownJob)),
            ) => {
                self.forgotten = true;
                self.stage = Stage::Satisfied;
            }
            (stage, answer) => return Err(format!("{stage:?} was answered {answer:?}")),
        }
        Ok(())
    }
}
