//! One run: the queue of events, the network between the places, and the end.

mod end;
mod event;
mod links;

pub use event::{Event, Place};
pub use links::Exchange;

use super::CALM_MS;
use super::client::Client;
use super::leader::Reply;
use super::log::{Coordinator, Log};
use super::node::SimNode;
use crate::faults::{Fault, Fired};
use crate::film::Library;
use crate::oracle::Oracle;
use crate::rng::Rng;
use crate::schedule::Schedule;
use crate::trace::Trace;
use event::Queued;
use recode_core::machine::{Command, Entry, Outcome};
use recode_types::AttemptToken;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// See the module.
pub struct World {
    pub now: u64,
    order: u64,
    queue: BinaryHeap<Reverse<Queued>>,
    pub rng: Rng,
    pub schedule: Schedule,
    pub calm: bool,
    pub fired: Fired,
    pub trace: Trace,
    pub library: Arc<Library>,
    pub oracle: Oracle,
    pub broken: Option<String>,
    pub log: Log,
    pub coordinators: Vec<Coordinator>,
    pub nodes: Vec<SimNode>,
    pub clients: Vec<Client>,
    pub exchanges: Vec<Exchange>,
    pub cuts: BTreeSet<(Place, Place)>,
    /// Stored lists of Chunks.
    pub lists: Rc<Vec<Vec<recode_types::task::ChunkFacts>>>,
    /// Artifacts made so far: none is like another.
    pub made: u64,
    pub jobs_named: u64,
    /// Attempts whose end the log has taken.
    pub taken: BTreeSet<AttemptToken>,
    pub commands: u64,
    pub attempts: u64,
    /// Coordinators whose Leader's parts may have something to do.
    pub stirred: BTreeSet<usize>,
    /// Where the real Registry's clock begins; only differences count.
    pub epoch: Instant,
}

impl World {
    pub fn new(seed: u64, library: Arc<Library>, lines: bool) -> Self {
        let mut rng = Rng::new(seed);
        let schedule = Schedule::draw(&mut rng, library.templates.len());
        let skewed = schedule.nodes.iter().any(|n| n.rate != 1000);
        let coordinators = (0..schedule.coordinators)
            .map(|_| Coordinator::new(if skewed { rng.within(900, 1100) } else { 1000 }))
            .collect::<Vec<_>>();
        let mut world = Self {
            now: 0,
            order: 0,
            queue: BinaryHeap::new(),
            calm: false,
            fired: Fired::default(),
            trace: Trace::new(lines),
            oracle: Oracle::new(library.clone()),
            library,
            broken: None,
            log: Log::default(),
            nodes: schedule
                .nodes
                .iter()
                .map(|&draw| SimNode::new(draw))
                .collect(),
            clients: Vec::new(),
            exchanges: Vec::new(),
            cuts: BTreeSet::new(),
            lists: Rc::default(),
            made: 100,
            jobs_named: 0,
            taken: BTreeSet::new(),
            commands: 0,
            attempts: 0,
            stirred: BTreeSet::new(),
            epoch: Instant::now(),
            coordinators,
            rng,
            schedule,
        };
        let rates = world.nodes.iter().map(|n| n.slots.draw.rate);
        let rates: Vec<u64> = rates
            .chain(world.coordinators.iter().map(|c| c.rate))
            .collect();
        if rates.iter().max() > rates.iter().min().map(|r| r + 100).as_ref() {
            world.fired.add(Fault::ClockSkew);
        }
        for (index, draw) in world.schedule.jobs.clone().into_iter().enumerate() {
            world.clients.push(Client::new(index, draw, &world.library));
            world.after(draw.at_ms, Event::Client { client: index });
        }
        for node in 0..world.nodes.len() {
            let wait = world.rng.within(0, 3_000);
            world.after(wait, Event::NodeStarts { node });
        }
        world.after(0, Event::Elect { force: false });
        world.after(500, Event::Chaos);
        let chaos_ms = world.schedule.chaos_ms;
        world.after(chaos_ms, Event::Calm);
        world
    }

    /// Something is to happen.
    pub fn after(&mut self, wait_ms: u64, event: Event) {
        self.order += 1;
        self.queue.push(Reverse(Queued {
            at: self.now + wait_ms,
            order: self.order,
            event,
        }));
    }

    /// An invariant does not hold.
    pub fn broke(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    pub fn run(&mut self) {
        while self.broken.is_none() {
            let Some(Reverse(Queued { at, event, .. })) = self.queue.pop() else {
                self.broke("nothing happens any more".to_owned());
                return;
            };
            self.now = self.now.max(at);
            if let Some(place) = event.to(self) {
                let goes_on = match place {
                    Place::Coordinator(c) => self.coordinators[c].paused_until,
                    Place::Node(n) => self.nodes[n].paused_until,
                    Place::Client(_) => 0,
                };
                if goes_on > self.now {
                    let wait = goes_on - self.now;
                    self.after(wait, event);
                    continue;
                }
                if let Place::Coordinator(c) = place {
                    if !self.coordinators[c].up {
                        continue;
                    }
                    self.stirred.insert(c);
                }
            }
            self.trace.note(&[self.now, self.order]);
            if matches!(event, Event::Look) {
                if self.has_ended() {
                    self.judge_end();
                    return;
                }
                self.after(1_000, Event::Look);
                if self.now > self.schedule.chaos_ms + CALM_MS {
                    let what = self.why_not_ended();
                    self.broke(format!("it does not come to an end without faults: {what}"));
                }
                continue;
            }
            self.happen(event);
            while let Some(at) = self.stirred.pop_first() {
                self.turn(at);
                if self.broken.is_some() {
                    return;
                }
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Append {
                to,
                from,
                upto,
                commit,
                term,
            } => {
                self.on_append(to, from, upto, commit, term);
            }
            Event::Synced {
                at,
                life,
                upto,
                term,
            } => self.on_synced(at, life, upto, term),
            Event::Acked {
                to,
                from,
                upto,
                term,
            } => self.on_acked(to, from, upto, term),
            Event::Heartbeat { at, term } => self.on_heartbeat(at, term),
            Event::Elect { force } => {
                self.elect(force);
                if !force {
                    let wait = self.rng.within(700, 1_300);
                    self.after(wait, Event::Elect { force: false });
                }
            }
            Event::StepDown { at, term } => self.step_down(at, term),
            Event::Deadline { at, term, write } => self.on_deadline(at, term, write),
            Event::Round { at, term } => self.on_round(at, term),
            Event::Retry { at, term } => self.on_retry(at, term),
            Event::Stored {
                at,
                term,
                node,
                token,
                grant,
            } => {
                self.on_stored(at, term, node, token, grant);
            }
            Event::FactsRead {
                at,
                term,
                job,
                tries,
            } => self.on_facts(at, term, job, tries),
            Event::PlanAgain { at, term, job } => self.plan_again(at, term, job),
            Event::Restart { at } => {
                self.coordinators[at].up = true;
                self.trace
                    .line(self.now, || format!("coordinator {at} starts"));
            }
            Event::Open {
                to,
                exchange,
                report,
            } => self.on_open(to, exchange, report),
            Event::Report { exchange, report } => self.on_report(exchange, report),
            Event::Closed { exchange } => self.on_closed(exchange),
            Event::Orders { exchange, orders } => self.on_orders(exchange, &orders),
            Event::HangUp { exchange } => self.on_hang_up(exchange),
            Event::Dial { node, life } => self.on_dial(node, life),
            Event::Tick { node, life } => self.on_tick(node, life),
            Event::Ends { node, life, token } => self.on_ends(node, life, token),
            Event::NodeStarts { node } => self.node_starts(node),
            Event::Client { client } => self.on_client(client),
            Event::Call {
                to,
                client,
                call,
                what,
            } => self.on_call(to, client, call, &what),
            Event::Answer {
                client,
                call,
                answer,
            } => self.on_answer(client, call, answer),
            Event::Chaos => self.on_chaos(),
            Event::Mend { a, b } => {
                self.cuts.remove(&(a, b));
            }
            Event::Calm => self.on_calm(),
            Event::Look => unreachable!("looked at before"),
        }
    }

    /// The monotonic clock of a coordinator, as the real Registry takes it.
    pub fn instant(&self, at: usize) -> Instant {
        let local = self.now * self.coordinators[at].rate / 1000;
        self.epoch + Duration::from_millis(local)
    }

    /// Looks at what the log has taken.
    pub fn notice(&mut self, entry: &Entry, outcome: &Outcome) {
        match (&entry.command, outcome) {
            (Command::CompleteAttempt { task, attempt, .. }, Outcome::Accepted) => {
                self.taken.insert(AttemptToken {
                    task: *task,
                    attempt: *attempt,
                });
            }
            (Command::GrantLeases { .. }, Outcome::Granted { results }) => {
                self.attempts += results.iter().filter(|r| r.is_ok()).count() as u64;
            }
            _ => {}
        }
    }

    /// An answer of the log that nobody waits for.
    pub fn shout(&mut self, command: Command) -> bool {
        let Some(at) = self.log.leader else {
            return false;
        };
        let leads = self.coordinators[at]
            .reign
            .as_ref()
            .is_some_and(|r| r.started && r.term == self.log.term);
        if !leads || !self.coordinators[at].up || self.coordinators[at].paused_until > self.now {
            return false;
        }
        self.propose(at, vec![command], Reply::Nobody);
        self.stirred.insert(at);
        true
    }
}
