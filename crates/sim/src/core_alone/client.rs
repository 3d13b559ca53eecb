//! Clients: submit with a request id, watch, cancel, forget; take a call that was not answered in time for unknown and make
//! it again with the same id.

use super::leader::Reply;
use super::world::{Event, Place, World};
use crate::faults::Fault;
use crate::film::Library;
use crate::schedule::JobDraw;
use recode_core::machine::{Command, Outcome, Rejected, State};
use recode_types::{Event as JobEvent, EventKind, JobId, JobRequest};
use std::rc::Rc;

/// What a client asks a coordinator.
#[derive(Clone, Debug)]
pub enum Call {
    Submit {
        request_id: String,
        request: Box<JobRequest>,
    },
    Watch {
        job: JobId,
        from: u64,
    },
    Cancel {
        job: JobId,
    },
    Forget {
        job: JobId,
    },
}

/// What it hears.
#[derive(Clone, Debug)]
pub enum Answer {
    NotLeading,
    Outcome(Outcome),
    Events(Vec<JobEvent>),
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
#[derive(Debug)]
pub struct Client {
    index: usize,
    draw: JobDraw,
    pub request_id: String,
    request: Box<JobRequest>,
    stage: Stage,
    job: Option<JobId>,
    /// The call that waits, and since when.
    waits: Option<(u64, u64)>,
    calls: u64,
    target: usize,
    submitted_at: u64,
    /// What it has seen.
    events: Vec<JobEvent>,
    cancelled: bool,
    forgotten: bool,
}

impl Client {
    pub fn new(index: usize, draw: JobDraw, library: &Library) -> Self {
        let mut request = Box::new(library.templates[draw.template].request.clone());
        request.priority = draw.priority;
        Self {
            index,
            draw,
            request_id: format!("request {index}"),
            request,
            stage: Stage::Submit,
            job: None,
            waits: None,
            calls: 0,
            target: index,
            submitted_at: 0,
            events: Vec::new(),
            cancelled: false,
            forgotten: false,
        }
    }

    pub fn is_satisfied(&self) -> bool {
        self.stage == Stage::Satisfied
    }

    /// For people.
    pub fn wants(&self) -> String {
        format!(
            "{:?} of {:?}, {} events seen",
            self.stage,
            self.job,
            self.events.len()
        )
    }

    /// # Errors
    /// The Job that was accepted and is not what the client saw of it.
    pub fn judge(&self, state: &State) -> Result<(), String> {
        let Some(id) = self.job else {
            return Err(format!("{} was never accepted", self.request_id));
        };
        match state.jobs.get(&id) {
            None if self.forgotten => Ok(()),
            None => Err(format!("{id} was accepted and is lost")),
            Some(job) if job.events != self.events => {
                Err(format!("a watcher of {id} saw other events than there are"))
            }
            Some(job) if job.request != *self.request => {
                Err(format!("{id} is another request than was accepted"))
            }
            Some(_) => Ok(()),
        }
    }

    fn call(&self) -> Option<Call> {
        let job = self.job;
        Some(match self.stage {
            Stage::Submit | Stage::Again => Call::Submit {
                request_id: self.request_id.clone(),
                request: self.request.clone(),
            },
            Stage::Misuse => {
                let mut request = self.request.clone();
                request.priority ^= 1;
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
}

impl World {
    pub fn on_client(&mut self, client: usize) {
        let now = self.now;
        let count = self.coordinators.len();
        let one = &mut self.clients[client];
        if let Some((_, since)) = one.waits {
            let patience = 2_000 + 500 * (client as u64 % 3);
            if now - since < patience {
                self.after(300, Event::Client { client });
                return;
            }
            // What became of it is not known. The same again, elsewhere.
            one.waits = None;
            one.target = (one.target + 1) % count;
            self.fired.add(Fault::CallUnknown);
        }
        let one = &mut self.clients[client];
        if one.submitted_at == 0 {
            one.submitted_at = now;
        }
        if one.stage == Stage::Watch
            && !one.cancelled
            && one
                .draw
                .cancel_after_ms
                .is_some_and(|after| now >= one.submitted_at + after)
        {
            one.stage = Stage::Cancel;
        }
        let Some(what) = one.call() else {
            return;
        };
        one.calls += 1;
        let (call, to) = (one.calls, one.target % count);
        one.waits = Some((call, now));
        let what = Rc::new(what);
        let event = Event::Call {
            to,
            client,
            call,
            what,
        };
        self.send(Place::Client(client), Place::Coordinator(to), event);
        let wait = self.rng.within(200, 900);
        self.after(wait, Event::Client { client });
    }

    pub fn on_call(&mut self, to: usize, client: usize, call: u64, what: &Call) {
        let leads = self.coordinators[to]
            .reign
            .as_ref()
            .is_some_and(|r| r.started);
        let command = match what {
            Call::Watch { job, from } => {
                // Any replica may answer: an older state has fewer events, never others.
                let events = self.coordinators[to].state.events(*job, *from);
                let answer = match events {
                    Some(events) => Answer::Events(events.to_vec()),
                    None => Answer::NoSuchJob,
                };
                self.answer(to, client, call, answer);
                return;
            }
            _ if !leads => {
                self.answer(to, client, call, Answer::NotLeading);
                return;
            }
            Call::Submit {
                request_id,
                request,
            } => {
                self.jobs_named += 1;
                Command::SubmitJob {
                    request_id: request_id.clone(),
                    job: JobId(u128::from(self.now) << 64 | u128::from(self.jobs_named)),
                    request: request.clone(),
                }
            }
            Call::Cancel { job } => Command::CancelJob {
                job: *job,
                reason: "cancelled".into(),
            },
            Call::Forget { job } => Command::ForgetJob { job: *job },
        };
        self.propose(to, vec![command], Reply::Call { client, call });
    }

    pub fn answer(&mut self, from: usize, client: usize, call: u64, answer: Answer) {
        let event = Event::Answer {
            client,
            call,
            answer,
        };
        self.send(Place::Coordinator(from), Place::Client(client), event);
    }

    pub fn on_answer(&mut self, client: usize, call: u64, answer: Answer) {
        let count = self.coordinators.len();
        let one = &mut self.clients[client];
        if one.waits.is_none_or(|(waits, _)| waits != call) {
            return;
        }
        one.waits = None;
        if let Answer::NotLeading = answer {
            one.target = (one.target + 1) % count;
            return;
        }
        if let Err(what) = one.take(answer, count, self.oracle.state()) {
            let what = format!("client {}: {what}", one.index);
            self.broke(what);
        }
    }
}

impl Client {
    fn take(&mut self, answer: Answer, count: usize, truth: &State) -> Result<(), String> {
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
            (Stage::Watch, Answer::NoSuchJob) => self.target = (self.target + 1) % count,
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
                // Another may know more.
                self.target = (self.target + self.events.len()) % count;
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
