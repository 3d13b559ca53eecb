//! Clients: who carries their calls. What they want is [`crate::client`].

use super::leader::Reply;
use super::world::{Event, Place, World};
pub use crate::client::{Answer, Call};
use crate::faults::Fault;
use crate::film::Library;
use crate::schedule::JobDraw;
use recode_core::machine::Command;
use recode_types::JobId;
use std::rc::Rc;

/// One client and where its call is.
#[derive(Debug)]
pub struct Client {
    pub wants: crate::client::Client,
    index: usize,
    /// The call that waits, and since when.
    waits: Option<(u64, u64)>,
    calls: u64,
    target: usize,
}

impl Client {
    pub fn new(index: usize, draw: JobDraw, library: &Library) -> Self {
        Self {
            wants: crate::client::Client::new(index, draw, library),
            index,
            waits: None,
            calls: 0,
            target: index,
        }
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
        let Some(what) = one.wants.call(now) else {
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
        // Another may know more.
        one.target += match &answer {
            Answer::NoSuchJob => 1,
            Answer::Events(events) => events.len(),
            _ => 0,
        };
        if let Err(what) = one.wants.take(answer, self.oracle.state()) {
            let what = format!("client {}: {what}", one.index);
            self.broke(what);
        }
    }
}
