//! One run: the queue of events, the network between the places, and the end.

use super::CALM_MS;
use super::client::{Answer, Call, Client};
use super::leader::Reply;
use super::log::{Coordinator, Log};
use super::node::SimNode;
use crate::faults::{Fault, Fired};
use crate::film::Library;
use crate::oracle::Oracle;
use crate::report::Report;
use crate::rng::{Rng, mix};
use crate::schedule::{LEAST_FAULTS, Schedule};
use crate::trace::Trace;
use recode_core::machine::{Command, Entry, Outcome};
use recode_types::task::Grant;
use recode_types::{AttemptToken, JobId, JobState, NodeId, NodeOrders, NodeReport};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A process that messages come from and go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Coordinator(usize),
    Node(usize),
    Client(usize),
}

/// Everything that can happen. Where there is a `term` or a `life`, what comes too late for it is dropped.
#[derive(Debug)]
pub enum Event {
    Append {
        to: usize,
        from: usize,
        upto: usize,
        commit: usize,
        term: u64,
    },
    Synced {
        at: usize,
        life: u32,
        upto: usize,
        term: u64,
    },
    Acked {
        to: usize,
        from: usize,
        upto: usize,
        term: u64,
    },
    Heartbeat {
        at: usize,
        term: u64,
    },
    Elect {
        force: bool,
    },
    StepDown {
        at: usize,
        term: u64,
    },
    Deadline {
        at: usize,
        term: u64,
        write: u64,
    },
    Round {
        at: usize,
        term: u64,
    },
    Retry {
        at: usize,
        term: u64,
    },
    Stored {
        at: usize,
        term: u64,
        node: NodeId,
        token: AttemptToken,
        grant: Option<Box<Grant>>,
    },
    FactsRead {
        at: usize,
        term: u64,
        job: JobId,
        tries: u32,
    },
    PlanAgain {
        at: usize,
        term: u64,
        job: JobId,
    },
    Restart {
        at: usize,
    },
    Open {
        to: usize,
        exchange: usize,
        report: Box<NodeReport>,
    },
    Report {
        exchange: usize,
        report: Box<NodeReport>,
    },
    Closed {
        exchange: usize,
    },
    Orders {
        exchange: usize,
        orders: Rc<NodeOrders>,
    },
    HangUp {
        exchange: usize,
    },
    Dial {
        node: usize,
        life: u32,
    },
    Tick {
        node: usize,
        life: u32,
    },
    Ends {
        node: usize,
        life: u32,
        token: AttemptToken,
    },
    NodeStarts {
        node: usize,
    },
    Client {
        client: usize,
    },
    Call {
        to: usize,
        client: usize,
        call: u64,
        what: Rc<Call>,
    },
    Answer {
        client: usize,
        call: u64,
        answer: Answer,
    },
    Chaos,
    Mend {
        a: Place,
        b: Place,
    },
    Calm,
    Look,
}

impl Event {
    /// Who is woken by it; one that stands still sees it when it goes on.
    fn to(&self, world: &World) -> Option<Place> {
        Some(match self {
            Self::Append { to, .. }
            | Self::Acked { to, .. }
            | Self::Open { to, .. }
            | Self::Call { to, .. } => Place::Coordinator(*to),
            Self::Heartbeat { at, .. }
            | Self::StepDown { at, .. }
            | Self::Deadline { at, .. }
            | Self::Round { at, .. }
            | Self::Retry { at, .. }
            | Self::Stored { at, .. }
            | Self::FactsRead { at, .. }
            | Self::PlanAgain { at, .. } => Place::Coordinator(*at),
            Self::Report { exchange, .. } | Self::Closed { exchange } => {
                Place::Coordinator(world.exchanges[*exchange].coordinator)
            }
            Self::Orders { exchange, .. } | Self::HangUp { exchange } => {
                Place::Node(world.exchanges[*exchange].node)
            }
            Self::Dial { node, .. } | Self::Tick { node, .. } | Self::Ends { node, .. } => {
                Place::Node(*node)
            }
            _ => return None,
        })
    }
}

#[derive(Debug)]
struct Queued {
    at: u64,
    order: u64,
    event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// A stream between a Node and a coordinator. In order, unless it is told to reorder; once a message is lost all is.
#[derive(Debug)]
pub struct Exchange {
    pub node: usize,
    pub life: u32,
    pub coordinator: usize,
    pub broken: bool,
    up_at: u64,
    down_at: u64,
}

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

    /// A message can go this way.
    pub fn passes(&self, from: Place, to: Place) -> bool {
        !self.cuts.contains(&(from, to))
    }

    fn delay(&mut self) -> u64 {
        let usual = self.rng.within(0, 20);
        if !self.calm && self.rng.chance(self.schedule.rates.delay) {
            self.fired.add(Fault::MessageDelayed);
            usual + self.rng.within(200, 8_000)
        } else {
            usual
        }
    }

    /// Sends a message that stands by itself.
    pub fn send(&mut self, from: Place, to: Place, event: Event) {
        if !self.passes(from, to) {
            return;
        }
        let rates = self.schedule.rates;
        if !self.calm && self.rng.chance(rates.lose) {
            self.fired.add(Fault::MessageLost);
            return;
        }
        let wait = self.delay();
        if !self.calm
            && let Event::Call {
                to,
                client,
                call,
                what,
            } = &event
            && self.rng.chance(rates.duplicate)
        {
            self.fired.add(Fault::MessageDuplicated);
            let again = Event::Call {
                to: *to,
                client: *client,
                call: *call,
                what: what.clone(),
            };
            let later = wait + self.rng.within(0, 5_000);
            self.after(later, again);
        }
        self.after(wait, event);
    }

    /// Sends a message on a stream. `up`: from Node to coordinator.
    pub fn say(&mut self, exchange: usize, up: bool, event: Event) {
        let stream = &self.exchanges[exchange];
        if stream.broken {
            return;
        }
        let (node, leader) = (
            Place::Node(stream.node),
            Place::Coordinator(stream.coordinator),
        );
        let (from, to) = if up { (node, leader) } else { (leader, node) };
        let rates = self.schedule.rates;
        let lost = !self.calm && self.rng.chance(rates.lose);
        if lost || !self.passes(from, to) {
            if lost {
                self.fired.add(Fault::MessageLost);
            }
            self.break_exchange(exchange);
            return;
        }
        let wait = self.delay();
        let mut at = self.now + wait;
        let overtaken = !self.calm && self.rng.chance(rates.reorder);
        let twice = !self.calm && self.rng.chance(rates.duplicate);
        let stream = &mut self.exchanges[exchange];
        let last = if up {
            &mut stream.up_at
        } else {
            &mut stream.down_at
        };
        if overtaken {
            at += self.rng.within(20, 3_000);
            self.fired.add(Fault::MessageReordered);
        } else {
            at = at.max(*last);
            *last = at;
        }
        if twice {
            let again = match &event {
                Event::Report { exchange, report } => Some(Event::Report {
                    exchange: *exchange,
                    report: report.clone(),
                }),
                Event::Orders { exchange, orders } => Some(Event::Orders {
                    exchange: *exchange,
                    orders: orders.clone(),
                }),
                _ => None,
            };
            if let Some(again) = again {
                self.fired.add(Fault::MessageDuplicated);
                let wait = at - self.now + self.rng.within(0, 3_000);
                self.after(wait, again);
            }
        }
        self.after(at - self.now, event);
    }

    /// A stream ends with everything under way on it; both sides find out in their own time.
    pub fn break_exchange(&mut self, exchange: usize) {
        if std::mem::replace(&mut self.exchanges[exchange].broken, true) {
            return;
        }
        if !self.calm {
            self.fired.add(Fault::ExchangeBroken);
        }
        let wait = self.rng.within(50, 12_000);
        self.after(wait, Event::HangUp { exchange });
        let wait = self.rng.within(50, 12_000);
        self.after(wait, Event::Closed { exchange });
    }

    pub fn new_exchange(&mut self, node: usize, coordinator: usize) -> usize {
        self.exchanges.push(Exchange {
            node,
            life: self.nodes[node].life,
            coordinator,
            broken: false,
            up_at: 0,
            down_at: 0,
        });
        self.exchanges.len() - 1
    }

    /// A coordinator is gone, or leads no more: its streams end.
    pub fn hang_up_all(&mut self, at: usize) {
        for exchange in 0..self.exchanges.len() {
            let stream = &mut self.exchanges[exchange];
            if stream.coordinator == at && !stream.broken {
                stream.broken = true;
                let wait = self.rng.within(10, 1_500);
                self.after(wait, Event::HangUp { exchange });
            }
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

    fn has_ended(&self) -> bool {
        self.why_not_ended().is_empty()
    }

    /// What is still missing; empty: nothing.
    fn why_not_ended(&self) -> String {
        if let Some(client) = self.clients.iter().find(|c| !c.wants.is_satisfied()) {
            return format!(
                "client {} still wants something: {}; {}",
                client.wants.request_id,
                client.wants.wants(),
                self.open_leases()
            );
        }
        let state = self.oracle.state();
        if let Some(job) = state.jobs.values().find(|j| !j.state().is_terminal()) {
            return format!("{} is {:?}", job.id, job.state());
        }
        if let Some((c, _)) =
            (self.coordinators.iter().enumerate()).find(|(_, c)| c.applied != self.log.committed)
        {
            return format!("replica {c} does not catch up");
        }
        if self.log.committed != self.log.entries.len() {
            return "entries wait to be committed".to_owned();
        }
        if let Some((n, node)) = (self.nodes.iter().enumerate()).find(|(_, n)| n.slots.is_busy()) {
            return format!("node {n} still runs {:?}", node.slots.holds());
        }
        String::new()
    }

    /// What is leased, for people.
    fn open_leases(&self) -> String {
        let state = self.oracle.state();
        let jobs = state.jobs.values().filter(|j| !j.state().is_terminal());
        jobs.flat_map(|job| {
            job.tasks
                .iter()
                .filter_map(|(key, task)| Some(format!("{key} {:?}", task.lease?)))
                .chain([format!("{} {:?}", job.id, job.state())])
        })
        .collect::<Vec<_>>()
        .join(", ")
    }

    fn judge_end(&mut self) {
        let bytes = self.oracle.state().encode();
        for (c, one) in self.coordinators.iter().enumerate() {
            if one.state.encode() != bytes {
                self.broken
                    .get_or_insert(format!("replica {c} differs at the end"));
            }
        }
        let state = self.oracle.state();
        if state.nodes.values().any(|n| !n.leases.is_empty()) {
            self.broken
                .get_or_insert("a lease is left at the end".to_owned());
        }
        let missing = self
            .clients
            .iter()
            .find_map(|client| client.wants.judge(state).err());
        if let Some(what) = missing {
            self.broke(what);
        }
        let digest = bytes.chunks(8).fold(self.trace.digest, |digest, bytes| {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            mix(digest, u64::from_le_bytes(word))
        });
        self.trace.digest = digest;
    }

    pub fn report(self, seed: u64) -> Report {
        let mut ends = [0; 3];
        for job in self.oracle.state().jobs.values() {
            match job.state() {
                JobState::Done => ends[0] += 1,
                JobState::Failed => ends[1] += 1,
                JobState::Cancelled => ends[2] += 1,
                _ => {}
            }
        }
        Report {
            seed,
            void: self.broken.is_none() && self.fired.total() < LEAST_FAULTS,
            tasks: self
                .taken
                .iter()
                .map(|t| t.task)
                .collect::<BTreeSet<_>>()
                .len() as u64,
            terms: self.log.term,
            broken: self.broken,
            digest: self.trace.digest,
            last: self.trace.last(),
            fired: self.fired,
            commands: self.commands,
            attempts: self.attempts,
            virtual_ms: self.now,
            calm_ms: self.now.saturating_sub(self.schedule.chaos_ms),
            ends,
        }
    }
}
