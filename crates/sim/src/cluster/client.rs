//! Clients: who carries their calls to the real services, and what a read must show. What they want is [`crate::client`].

use super::machine::Server;
use super::net::{Place, Serve, ask, pipe};
use super::node::{named, next_target};
use super::world::World;
use crate::client::{Answer, Call};
use crate::faults::Fault;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use recode_coordinator::simulated::Leadership;
use recode_core::Rejected;
use recode_core::machine::Outcome;
use recode_proto::convert::status::reason;
use recode_proto::v1::{self, job_service_server::JobService as _};
use recode_types::{Event, JobId, JobStatus};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};

/// A stream on which nothing is said for so long is opened again, elsewhere.
const QUIET_SECONDS: u32 = 6;

/// What somebody was shown of a Job: a read that begins later must show it too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    events: u64,
    ended: bool,
}

impl World {
    /// A call to `path` passes the gate of a coordinator, as it is put before its services.
    pub fn passes(&self, server: &Server, path: &str) -> Result<(), Status> {
        server.coordinator.services.gate.check(path)?;
        let leadership = server.coordinator.consensus.leadership().borrow().clone();
        if let Leadership::Leads { term } = leadership {
            let newest = self.lock().book.newest();
            if let Some((newer, by)) = newest.filter(|newest| *newest > (term, server.id)) {
                self.broke(format!(
                    "coordinator {} answers as the leader of term {term} while {by} leads in term {newer}",
                    server.id
                ));
            }
        }
        Ok(())
    }

    fn show(&self, job: JobId, events: u64, ended: bool) {
        let mut inner = self.lock();
        let seen = inner.seen.entry(job).or_default();
        seen.events = seen.events.max(events);
        seen.ended |= ended;
    }
}

/// What became of a call.
enum Heard<T> {
    Answer(T),
    /// The service said no, for this reason.
    Refused(Status),
    /// Not here; perhaps there.
    Elsewhere(Option<u64>),
    /// What became of it is not known.
    Unknown,
}

type Method<T> =
    Arc<dyn Fn(Arc<Server>) -> BoxFuture<'static, Result<Response<T>, Status>> + Send + Sync>;

struct Caller {
    world: Arc<World>,
    index: usize,
    target: u64,
}

/// A client's life.
pub async fn live(world: Arc<World>, index: usize) {
    let at = world.lock().schedule.jobs[index].at_ms;
    sleep(Duration::from_millis(at)).await;
    let mut caller = Caller {
        target: index as u64 % 3 + 1,
        world,
        index,
    };
    while let Some(call) = caller.next() {
        match call {
            Call::Submit {
                request_id,
                request,
            } => caller.submit(request_id, (*request).into()).await,
            Call::Watch { job, from } => caller.watch(job, from).await,
            Call::Cancel { job } => caller.cancel(job).await,
            // No client has this call: Jobs leave the state when they are archived.
            Call::Forget { .. } => return,
        }
        let wait = caller.world.lock().rng.within(50, 700);
        sleep(Duration::from_millis(wait)).await;
    }
}

/// Reads Jobs for as long as the run lasts, now here, now there: wherever it is answered, what anybody was shown must be seen.
pub async fn read(world: Arc<World>) {
    let index = world.lock().clients.len();
    loop {
        let wait = world.lock().rng.within(20, 600);
        sleep(Duration::from_millis(wait)).await;
        let (job, target) = {
            let mut inner = world.lock();
            let inner = &mut *inner;
            let jobs: Vec<JobId> = inner.seen.keys().copied().collect();
            if jobs.is_empty() {
                continue;
            }
            let at = inner.rng.index(inner.machines.len());
            (inner.rng.pick(&jobs), inner.machines[at].id)
        };
        let world = world.clone();
        // One that is not answered holds up no other.
        world.clone().spawn(async move {
            let mut caller = Caller {
                world,
                index,
                target,
            };
            caller.look(job).await;
        });
    }
}

impl Caller {
    fn next(&self) -> Option<Call> {
        let mut inner = self.world.lock();
        let now = inner.now_ms();
        inner.clients[self.index].call(now)
    }

    /// Makes a call behind the gate, as the listener would.
    async fn ask<T: Send + 'static>(&mut self, path: &'static str, method: Method<T>) -> Heard<T> {
        let gate = self.world.clone();
        let serve: Serve<Result<T, Status>> = Arc::new(move |server| {
            let (server, method, gate) = (server.clone(), method.clone(), gate.clone());
            Box::pin(async move {
                gate.passes(&server, path)?;
                super::chaos::aim(&gate, server.id);
                method(server).await.map(Response::into_inner)
            })
        });
        let answer = ask(&self.world, Place::Client(self.index), self.target, serve);
        let patience = {
            let rng = &mut self.world.lock().rng;
            match rng.chance(200) {
                // Longer than a coordinator waits for its log.
                true => rng.within(15_000, 25_000),
                false => rng.within(1_500, 3_500),
            }
        };
        match timeout(Duration::from_millis(patience), answer).await {
            Ok(Ok(Ok(Ok(answer)))) => Heard::Answer(answer),
            Ok(Ok(Ok(Err(status)))) => match status.code() {
                Code::Unavailable => Heard::Elsewhere(named(&status)),
                Code::DeadlineExceeded | Code::Cancelled => Heard::Unknown,
                _ => Heard::Refused(status),
            },
            Ok(Ok(Err(super::net::Silence::Refused))) => Heard::Elsewhere(None),
            Ok(Ok(Err(super::net::Silence::Broken)) | Err(_)) | Err(_) => Heard::Unknown,
        }
    }

    fn turn(&mut self, named: Option<u64>) {
        self.target = named.unwrap_or_else(|| next_target(&self.world, self.target));
    }

    /// What all calls have in common that were not answered.
    fn unanswered<T>(&mut self, heard: Heard<T>) -> Option<Result<T, Status>> {
        match heard {
            Heard::Answer(answer) => Some(Ok(answer)),
            Heard::Refused(status) => Some(Err(status)),
            Heard::Elsewhere(named) => {
                self.turn(named);
                None
            }
            Heard::Unknown => {
                self.world.fire(Fault::CallUnknown);
                self.turn(None);
                None
            }
        }
    }

    fn take(&self, answer: Answer) {
        let taken = {
            let mut inner = self.world.lock();
            let inner = &mut *inner;
            inner.clients[self.index].take(answer, inner.oracle.state())
        };
        if let Err(what) = taken {
            self.world.broke(format!("client {}: {what}", self.index));
        }
    }

    fn strange(&self, call: &str, status: &Status) {
        let what = format!("client {} asked to {call} and heard {status}", self.index);
        self.world.broke(what);
    }

    async fn submit(&mut self, request_id: String, request: v1::JobRequest) {
        let method: Method<v1::SubmitResponse> = Arc::new(move |server: Arc<Server>| {
            let message = v1::SubmitRequest {
                request_id: request_id.clone(),
                request: Some(request.clone()),
                ..v1::SubmitRequest::default()
            };
            Box::pin(async move {
                let jobs = &server.coordinator.services.jobs;
                jobs.submit(Request::new(message)).await
            })
        });
        let heard = self.ask("recode.v1.JobService/Submit", method).await;
        match self.unanswered(heard) {
            None => {}
            Some(Ok(answer)) => {
                let Ok(job) = answer.job.parse() else {
                    return self.world.broke(format!("{} is no job", answer.job));
                };
                self.world.show(job, 1, false);
                self.take(Answer::Outcome(Outcome::Submitted {
                    job,
                    existing: answer.known,
                }));
            }
            Some(Err(status)) => match reason(&status).as_deref() {
                Some("REQUEST_ID_TAKEN") => {
                    let taken = Outcome::Rejected(Rejected::RequestIdTaken);
                    self.take(Answer::Outcome(taken));
                }
                _ => self.strange("submit", &status),
            },
        }
    }

    async fn cancel(&mut self, job: JobId) {
        let method: Method<v1::CancelResponse> = Arc::new(move |server: Arc<Server>| {
            let message = v1::CancelRequest {
                job: job.to_string(),
                ..v1::CancelRequest::default()
            };
            Box::pin(async move {
                let jobs = &server.coordinator.services.jobs;
                jobs.cancel(Request::new(message)).await
            })
        });
        let heard = self.ask("recode.v1.JobService/Cancel", method).await;
        match self.unanswered(heard) {
            None => {}
            Some(Ok(_)) => {
                self.world.show(job, 0, true);
                self.take(Answer::Outcome(Outcome::Accepted));
            }
            Some(Err(status)) => self.strange("cancel", &status),
        }
    }

    /// Reads the Job: what anybody was shown before must be in it.
    async fn look(&mut self, job: JobId) -> bool {
        let method: Method<v1::GetResponse> = Arc::new(move |server: Arc<Server>| {
            let message = v1::GetRequest {
                job: job.to_string(),
                ..v1::GetRequest::default()
            };
            Box::pin(async move {
                let jobs = &server.coordinator.services.jobs;
                jobs.get(Request::new(message)).await
            })
        });
        let floor = self.world.lock().seen.get(&job).copied();
        let floor = floor.unwrap_or_default();
        let target = self.target;
        let heard = self.ask("recode.v1.JobService/Get", method).await;
        let answer = match self.unanswered(heard) {
            None => return false,
            Some(Ok(answer)) => answer,
            Some(Err(status)) => {
                self.strange("get", &status);
                return false;
            }
        };
        let status = answer.status.map(JobStatus::try_from);
        let Some(Ok(status)) = status else {
            self.world
                .broke(format!("the status of {job} does not read"));
            return false;
        };
        let ended = status.state.is_terminal();
        if status.events < floor.events || floor.ended && !ended {
            self.world.broke(format!(
                "coordinator {target} shows {job} with {} events, {:?}; {floor:?} was shown before",
                status.events, status.state
            ));
        }
        self.world.show(job, status.events, ended);
        true
    }

    async fn watch(&mut self, job: JobId, from: u64) {
        if !self.look(job).await {
            return;
        }
        let (there, here) = (Place::Coordinator(self.target), Place::Client(self.index));
        let torn = CancellationToken::new();
        let (carrier, cord) = (self.world.clone(), torn.clone());
        let method: Method<_> = Arc::new(move |server: Arc<Server>| {
            let message = v1::WatchRequest {
                job: job.to_string(),
                from_index: from,
                ..v1::WatchRequest::default()
            };
            let (world, cord) = (carrier.clone(), cord.clone());
            Box::pin(async move {
                let jobs = &server.coordinator.services.jobs;
                let mut stream = jobs.watch(Request::new(message)).await?.into_inner();
                let (tell, told) = pipe(&world, there, here, &cord);
                server.host.spawn(async move {
                    while let Some(Ok(message)) = stream.next().await {
                        if tell.send(message).is_err() {
                            return;
                        }
                    }
                });
                Ok(Response::new(told))
            })
        });
        let heard = self.ask("recode.v1.JobService/Watch", method).await;
        let mut told = match self.unanswered(heard) {
            None => return,
            Some(Ok(told)) => told,
            Some(Err(status)) => return self.strange("watch", &status),
        };
        let mut quiet = 0;
        while let Some(Call::Watch { .. }) = self.next() {
            match timeout(Duration::from_secs(1), told.recv()).await {
                Err(_) if quiet < QUIET_SECONDS => quiet += 1,
                Err(_) | Ok(None) => {
                    self.turn(None);
                    return;
                }
                Ok(Some(message)) => {
                    quiet = 0;
                    self.hear(job, message);
                }
            }
        }
    }

    fn hear(&self, job: JobId, message: v1::WatchResponse) {
        let Some(v1::watch_response::What::Event(event)) = message.what else {
            return;
        };
        match Event::try_from(event) {
            Ok(event) => {
                self.world.show(job, event.index + 1, false);
                self.take(Answer::Events(vec![event]));
            }
            Err(error) => self.world.broke(format!("an event does not read: {error}")),
        }
    }
}
