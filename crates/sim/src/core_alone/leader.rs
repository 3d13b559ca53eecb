//! What runs while a coordinator leads: dispatcher, planner and proposer, modelled after the coordinator's actors. Where
//! those wait on the log, here the rest of the work is kept as a [`Reply`] and goes on when the answer comes.

use super::client::Answer;
use super::log::Gathered;
use super::registry::Registry;
use super::world::{Event, Place, World};
use crate::faults::Fault;
use crate::film;
use recode_core::Rejected;
use recode_core::machine::{
    Batch, Command, Entry, LeaseGrant, Order, Outcome, Phase, ReadyTask, State, decide,
};
use recode_core::schedule::{self, FreeNode, Held, Problem, Reason, Solution};
use recode_types::task::{AttemptOutcome, FailureClass, Grant};
use recode_types::{AttemptToken, JobId, NodeId, NodeOrders, NodeReport};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

/// As in the coordinator's proposer.
const DEADLINE_MS: u64 = 15_000;
const MOST_TOGETHER: usize = 64;
const MAILBOX: usize = 256;
/// As in its planner.
const STORE_TRIES: u32 = 4;
const PLANS_AT_ONCE: usize = 4;

/// Who waits for an answer of the log, and what is to be done with it.
#[derive(Debug)]
pub enum Reply {
    Nobody,
    Registered {
        exchange: usize,
        report: Box<NodeReport>,
    },
    Completed(BTreeMap<AttemptToken, (NodeId, AttemptOutcome)>),
    Expired(Vec<NodeId>),
    Granted {
        problem: Problem,
        grants: Vec<LeaseGrant>,
    },
    Planner {
        job: JobId,
        rest: VecDeque<Vec<Command>>,
        decides: bool,
    },
    Call {
        client: usize,
        call: u64,
    },
}

#[derive(Debug)]
enum Msg {
    Opened {
        exchange: usize,
        report: Box<NodeReport>,
    },
    Reported {
        exchange: usize,
        report: Box<NodeReport>,
    },
    Closed {
        exchange: usize,
    },
}

#[derive(Debug)]
struct Write {
    number: u64,
    /// Where it stands in the log, if it does.
    index: Option<usize>,
    waiting: Vec<(usize, Reply)>,
}

/// Where the dispatcher's loop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Wakes,
    Complete,
    Expire,
    Dispatch,
}

/// See the module. Dropped as one value when leadership ends.
#[derive(Debug)]
pub struct Reign {
    pub term: u64,
    /// Its first entry is applied, so its state is complete.
    pub started: bool,
    since: u64,
    base_ms: u64,
    registry: Option<Registry>,
    /// Streams that orders go out on.
    orders: BTreeMap<NodeId, usize>,
    finished: BTreeMap<AttemptToken, (NodeId, AttemptOutcome)>,
    expired: Vec<NodeId>,
    due: bool,
    inbox: VecDeque<Msg>,
    stage: Stage,
    /// The dispatcher waits on the log.
    waits: bool,
    /// Something has happened since it last looked what there is to do.
    woken: bool,
    retry_set: bool,
    to_plan: BTreeSet<JobId>,
    to_decide: BTreeSet<JobId>,
    planning: usize,
    deciding: bool,
    queue: VecDeque<(Vec<Command>, Reply)>,
    writing: Option<Write>,
    writes: u64,
}

impl Reign {
    pub fn new(term: u64) -> Self {
        Self {
            term,
            started: false,
            since: 0,
            base_ms: 0,
            registry: None,
            orders: BTreeMap::new(),
            finished: BTreeMap::new(),
            expired: Vec::new(),
            due: false,
            inbox: VecDeque::new(),
            stage: Stage::Wakes,
            waits: false,
            woken: false,
            retry_set: false,
            to_plan: BTreeSet::new(),
            to_decide: BTreeSet::new(),
            planning: 0,
            deciding: false,
            queue: VecDeque::new(),
            writing: None,
            writes: 0,
        }
    }

    fn registry(&mut self) -> &mut Registry {
        self.registry.as_mut().expect("it has started")
    }
}

impl World {
    fn reign(&mut self, at: usize) -> Option<&mut Reign> {
        self.coordinators[at].reign.as_deref_mut()
    }

    fn reign_of(&mut self, at: usize, term: u64) -> Option<&mut Reign> {
        self.reign(at).filter(|r| r.term == term && r.started)
    }

    /// Milliseconds since 1970, as this coordinator stamps them: its wall clock when it began to lead, never before what
    /// the log has seen, and from then on its monotonic clock.
    pub fn now_ms(&self, at: usize) -> u64 {
        let one = &self.coordinators[at];
        let Some(reign) = &one.reign else {
            return one.at_ms;
        };
        reign.base_ms + (self.now - reign.since) * one.rate / 1000
    }

    fn start(&mut self, at: usize) {
        let (now, instant) = (self.now, self.instant(at));
        let one = &mut self.coordinators[at];
        let wall = (1_700_000_000_000 + now as i64 + one.wall_error_ms) as u64;
        let pending = one.state.pending_effects();
        pending.iter().for_each(|e| one.gathered.add(e));
        let at_ms = one.at_ms;
        let Some(reign) = one.reign.as_deref_mut() else {
            return;
        };
        reign.started = true;
        reign.since = now;
        reign.base_ms = wall.max(at_ms);
        reign.registry = Some(Registry::new(instant));
        let term = reign.term;
        self.after(1_000, Event::Round { at, term });
        self.stirred.insert(at);
    }

    pub fn step_down(&mut self, at: usize, term: u64) {
        let place = Place::Coordinator(at);
        let hears = (0..self.coordinators.len())
            .any(|c| c != at && self.passes(Place::Coordinator(c), place));
        let Some(reign) = &self.coordinators[at].reign else {
            return;
        };
        if reign.term != term {
            return;
        }
        if !hears {
            self.after(500, Event::StepDown { at, term });
            return;
        }
        self.trace
            .line(self.now, || format!("coordinator {at} leads no more"));
        // Whoever waits for an answer hears that it does not lead; what became of their commands is not known.
        let reign = self.coordinators[at].reign.take().expect("looked at above");
        let written = reign.writing.into_iter().flat_map(|w| w.waiting);
        let waiting = written
            .map(|w| w.1)
            .chain(reign.queue.into_iter().map(|q| q.1));
        for reply in waiting.collect::<Vec<_>>() {
            if let Reply::Call { client, call } = reply {
                self.answer(at, client, call, Answer::NotLeading);
            }
        }
        self.hang_up_all(at);
    }

    // ---- the proposer

    pub fn propose(&mut self, at: usize, commands: Vec<Command>, reply: Reply) {
        if let Some(reign) = self.reign(at) {
            reign.queue.push_back((commands, reply));
            self.pump(at);
        }
    }

    fn pump(&mut self, at: usize) {
        let at_ms = self.now_ms(at);
        let Some(reign) = self.reign(at) else {
            return;
        };
        if reign.writing.is_some() || reign.queue.is_empty() {
            return;
        }
        let (mut entries, mut waiting) = (Vec::new(), Vec::new());
        while entries.len() < MOST_TOGETHER
            && let Some((commands, reply)) = reign.queue.pop_front()
        {
            waiting.push((commands.len(), reply));
            entries.extend(commands.into_iter().map(|command| Entry { at_ms, command }));
        }
        reign.writes += 1;
        let (number, term) = (reign.writes, reign.term);
        let index = self.append(at, Batch(entries));
        if let Some(reign) = self.reign(at) {
            reign.writing = Some(Write {
                number,
                index,
                waiting,
            });
        }
        self.after(
            DEADLINE_MS,
            Event::Deadline {
                at,
                term,
                write: number,
            },
        );
    }

    pub fn on_deadline(&mut self, at: usize, term: u64, write: u64) {
        let Some(reign) = self.reign_of(at, term) else {
            return;
        };
        let Some(late) = reign.writing.take_if(|w| w.number == write) else {
            return;
        };
        self.fired.add(Fault::SlowLog);
        for (_, reply) in late.waiting {
            self.replied(at, reply, None);
        }
        self.pump(at);
    }

    /// This coordinator has applied an entry.
    pub fn on_applied(&mut self, at: usize, index: usize) {
        let term = self.log.entries[index].term;
        self.stirred.insert(at);
        let Some(reign) = self.reign(at).filter(|r| r.term == term) else {
            return;
        };
        if !reign.started {
            self.start(at);
            return;
        }
        let Some(write) = reign.writing.take_if(|w| w.index == Some(index)) else {
            return;
        };
        let answers = self.log.answers[index].clone();
        let mut outcomes = answers.iter().map(|a| a.0.clone());
        for (count, reply) in write.waiting {
            let mine = outcomes.by_ref().take(count).collect();
            self.replied(at, reply, Some(mine));
        }
        self.pump(at);
    }

    /// The log has answered, or not in time.
    fn replied(&mut self, at: usize, reply: Reply, outcomes: Option<Vec<Outcome>>) {
        let instant = self.instant(at);
        let Some(reign) = self.coordinators[at].reign.as_deref_mut() else {
            return;
        };
        let term = reign.term;
        match reply {
            Reply::Nobody => {}
            Reply::Registered { exchange, report } => {
                reign.waits = false;
                let Some(Outcome::Registered { node }) = outcomes.and_then(|o| o.first().cloned())
                else {
                    self.refuse(exchange);
                    return;
                };
                reign
                    .registry()
                    .opened(node, exchange as u64, *report, instant);
                let former = reign.orders.insert(node, exchange);
                if let Some(former) = former
                    && former != exchange
                {
                    self.hang_up(former);
                }
                let hello = NodeOrders {
                    node: Some(node),
                    ..NodeOrders::default()
                };
                self.order(at, node, hello);
                self.after_report(at, node, true);
            }
            Reply::Completed(finished) => {
                reign.waits = false;
                if outcomes.is_none() {
                    reign.finished = finished;
                } else {
                    let mut acknowledged: BTreeMap<NodeId, Vec<AttemptToken>> = BTreeMap::new();
                    for (token, (node, outcome)) in finished {
                        let took = match &outcome {
                            AttemptOutcome::Done { result, usage } if !result.is_reused() => {
                                Some(std::time::Duration::from_millis(usage.wall_ms))
                            }
                            _ => None,
                        };
                        reign.registry().ended(node, &token, took, instant);
                        acknowledged.entry(node).or_default().push(token);
                    }
                    reign.due = true;
                    for (node, acknowledged) in acknowledged {
                        let orders = NodeOrders {
                            acknowledged,
                            ..NodeOrders::default()
                        };
                        self.order(at, node, orders);
                    }
                }
            }
            Reply::Expired(silent) => {
                reign.waits = false;
                if outcomes.is_none() {
                    return;
                }
                reign.due = true;
                let mut streams = Vec::new();
                for node in silent {
                    reign.registry().forget(node);
                    streams.extend(reign.orders.remove(&node));
                }
                for exchange in streams {
                    self.hang_up(exchange);
                }
            }
            Reply::Granted { problem, grants } => {
                reign.waits = false;
                let Some(outcomes) = outcomes else {
                    // Whether they hold is not known: who might hold one dials again, and then everything is compared.
                    let nodes: BTreeSet<NodeId> = grants.iter().map(|g| g.node).collect();
                    let mut streams = Vec::new();
                    for node in nodes {
                        if let Some(exchange) = reign.orders.remove(&node) {
                            reign.registry().closed(node, exchange as u64);
                            streams.push(exchange);
                        }
                    }
                    for exchange in streams {
                        self.hang_up(exchange);
                    }
                    return;
                };
                if let Some(Outcome::Granted { results }) = outcomes.last() {
                    self.granted(at, &problem, &grants, results);
                }
            }
            Reply::Planner {
                job,
                mut rest,
                decides,
            } => {
                if outcomes.is_none() {
                    if decides {
                        reign.deciding = false;
                    } else {
                        reign.planning -= 1;
                    }
                    self.after(1_000, Event::PlanAgain { at, term, job });
                    return;
                }
                match rest.pop_front() {
                    Some(commands) => {
                        self.propose(at, commands, Reply::Planner { job, rest, decides });
                    }
                    None if decides => reign.deciding = false,
                    None => reign.planning -= 1,
                }
            }
            Reply::Call { client, call } => {
                let answer = match outcomes.and_then(|mut o| o.pop()) {
                    Some(outcome) => Answer::Outcome(outcome),
                    None => Answer::NotLeading,
                };
                self.answer(at, client, call, answer);
            }
        }
    }

    // ---- the dispatcher

    /// Does what there is to do, until it waits or there is nothing more.
    pub fn turn(&mut self, at: usize) {
        while self.broken.is_none() && self.wake(at) {}
    }

    /// One step of the dispatcher's loop; `false`: nothing to do now.
    fn wake(&mut self, at: usize) -> bool {
        let one = &mut self.coordinators[at];
        let Some(reign) = one.reign.as_deref_mut() else {
            return false;
        };
        if !reign.started {
            return false;
        }
        // The planner waits for nothing of the dispatcher's.
        if !reign.deciding
            && let Some(job) = reign.to_decide.pop_first()
        {
            self.decide(at, job);
            return true;
        }
        if reign.planning < PLANS_AT_ONCE
            && let Some(job) = reign.to_plan.pop_first()
        {
            reign.planning += 1;
            let term = reign.term;
            let wait = self.rng.within(2, 60);
            self.after(
                wait,
                Event::FactsRead {
                    at,
                    term,
                    job,
                    tries: 0,
                },
            );
            return true;
        }
        if reign.waits {
            return false;
        }
        match reign.stage {
            Stage::Wakes => {
                if !one.gathered.is_empty() {
                    reign.woken = true;
                    let gathered = std::mem::take(&mut one.gathered);
                    self.on_effects(at, gathered);
                    return true;
                }
                if let Some(msg) = reign.inbox.pop_front() {
                    reign.woken = true;
                    self.on_msg(at, msg);
                    return true;
                }
                if std::mem::take(&mut reign.woken) {
                    reign.stage = Stage::Complete;
                    return true;
                }
                self.set_retry(at);
                false
            }
            Stage::Complete => {
                reign.stage = Stage::Expire;
                if !reign.finished.is_empty() {
                    self.complete(at);
                }
                true
            }
            Stage::Expire => {
                reign.stage = Stage::Dispatch;
                if !reign.expired.is_empty() {
                    self.expire(at);
                }
                true
            }
            Stage::Dispatch => {
                reign.stage = Stage::Wakes;
                if std::mem::take(&mut reign.due) {
                    self.dispatch(at);
                }
                true
            }
        }
    }

    fn set_retry(&mut self, at: usize) {
        let now_ms = self.now_ms(at);
        let next = self.coordinators[at].state.next_retry_ms(now_ms);
        if let Some(reign) = self.reign(at)
            && let (Some(next), false) = (next, reign.retry_set)
        {
            reign.retry_set = true;
            let term = reign.term;
            self.after((next - now_ms + 1).min(5_000), Event::Retry { at, term });
        }
    }

    pub fn on_retry(&mut self, at: usize, term: u64) {
        if let Some(reign) = self.reign_of(at, term) {
            reign.retry_set = false;
            reign.woken = true;
            reign.due = true;
        }
    }

    pub fn on_round(&mut self, at: usize, term: u64) {
        let instant = self.instant(at);
        let known: Vec<NodeId> = self.coordinators[at].state.nodes.keys().copied().collect();
        if let Some(reign) = self.reign_of(at, term) {
            reign.expired = reign.registry().silent(known.into_iter(), instant);
            reign.woken = true;
            self.after(1_000, Event::Round { at, term });
        }
    }

    fn on_effects(&mut self, at: usize, effects: Gathered) {
        let instant = self.instant(at);
        let Some(reign) = self.reign(at) else {
            return;
        };
        reign.due |= effects.dispatch;
        reign.to_plan.extend(effects.plan);
        reign.to_decide.extend(effects.decide);
        for (node, token) in effects.revoke {
            if let Some(reign) = self.reign(at) {
                reign.registry().ended(node, &token, None, instant);
            }
            let orders = NodeOrders {
                revocations: vec![token],
                ..NodeOrders::default()
            };
            self.order(at, node, orders);
        }
    }

    fn mailbox(&mut self, at: usize, msg: Msg) {
        let Some(reign) = self.reign(at) else {
            return;
        };
        reign.inbox.push_back(msg);
        // A full mailbox makes each Node wait with its next message: so it cannot hold more than a few of each.
        if reign.inbox.len() > MAILBOX {
            self.broke("the dispatcher's mailbox overflows".to_owned());
        }
    }

    pub fn on_open(&mut self, to: usize, exchange: usize, report: Box<NodeReport>) {
        if self.reign(to).is_some_and(|r| r.started) {
            self.mailbox(to, Msg::Opened { exchange, report });
        } else {
            self.refuse(exchange);
        }
    }

    fn refuse(&mut self, exchange: usize) {
        self.exchanges[exchange].broken = true;
        let wait = self.rng.within(5, 50);
        self.after(wait, Event::HangUp { exchange });
    }

    fn hang_up(&mut self, exchange: usize) {
        self.exchanges[exchange].broken = true;
        let wait = self.rng.within(5, 200);
        self.after(wait, Event::HangUp { exchange });
    }

    pub fn on_report(&mut self, exchange: usize, report: Box<NodeReport>) {
        if self.exchanges[exchange].broken {
            return;
        }
        let at = self.exchanges[exchange].coordinator;
        self.mailbox(at, Msg::Reported { exchange, report });
    }

    pub fn on_closed(&mut self, exchange: usize) {
        let at = self.exchanges[exchange].coordinator;
        self.mailbox(at, Msg::Closed { exchange });
    }

    fn on_msg(&mut self, at: usize, msg: Msg) {
        let instant = self.instant(at);
        let Some(reign) = self.reign(at) else {
            return;
        };
        match msg {
            Msg::Opened { exchange, report } => {
                let hello = report.hello.clone().unwrap_or_default();
                let command = Command::RegisterNode {
                    name: hello.name,
                    incarnation: report.instance.clone(),
                };
                reign.waits = true;
                self.propose(at, vec![command], Reply::Registered { exchange, report });
            }
            Msg::Reported { exchange, report } => {
                if let Some(node) = reign.node_of(exchange) {
                    reign.registry().reported(node, *report, instant);
                    self.after_report(at, node, false);
                }
            }
            Msg::Closed { exchange } => {
                if let Some(node) = reign.node_of(exchange) {
                    reign.registry().closed(node, exchange as u64);
                    reign.orders.remove(&node);
                }
            }
        }
    }

    fn after_report(&mut self, at: usize, node: NodeId, first: bool) {
        let instant = self.instant(at);
        let leased = leases_of(&self.coordinators[at].state, node);
        let taken = &self.taken;
        let one = &mut self.coordinators[at];
        let state = &one.state;
        let Some(reign) = one.reign.as_deref_mut() else {
            return;
        };
        let registry = reign.registry.as_mut().expect("it has started");
        let difference = registry.compare(node, &leased, first);
        for token in difference.complete {
            if let Some(outcome) = registry.outcome(node, &token) {
                reign.finished.insert(token, (node, outcome));
            }
        }
        let late = difference.acknowledge.iter().filter(|t| !taken.contains(t));
        for _ in late {
            self.fired.add(Fault::ResultLate);
        }
        if first {
            for token in registry.held_by(node).intersection(&leased).copied() {
                registry.holds(node, token, held_of(state, token), instant);
            }
        }
        for &token in &difference.grant_again {
            let held = Held {
                again: true,
                ..held_of(state, token)
            };
            registry.granted(node, token, held, instant);
        }
        reign.due = true;
        let again = difference.grant_again.into_iter();
        let grants: Vec<Grant> = again
            .filter_map(|token| self.prepare(at, node, token))
            .collect();
        let orders = NodeOrders {
            grants,
            revocations: difference.revoke,
            acknowledged: difference.acknowledge,
            ..NodeOrders::default()
        };
        if orders != NodeOrders::default() {
            self.order(at, node, orders);
        }
    }

    fn complete(&mut self, at: usize) {
        let Some(reign) = self.reign(at) else {
            return;
        };
        let finished = std::mem::take(&mut reign.finished);
        let commands = finished
            .iter()
            .map(|(token, (_, outcome))| Command::CompleteAttempt {
                task: token.task,
                attempt: token.attempt,
                outcome: Box::new(outcome.clone()),
            })
            .collect();
        reign.waits = true;
        self.propose(at, commands, Reply::Completed(finished));
    }

    fn expire(&mut self, at: usize) {
        let one = &mut self.coordinators[at];
        let Some(reign) = one.reign.as_deref_mut() else {
            return;
        };
        let silent = std::mem::take(&mut reign.expired);
        let mut commands = Vec::new();
        for node in &silent {
            let leases = leases_of(&one.state, *node);
            commands.push(Command::ExpireLeases {
                leases: leases.iter().map(|t| (t.task, t.attempt)).collect(),
            });
            commands.push(Command::ForgetNode { node: *node });
        }
        reign.waits = true;
        self.propose(at, commands, Reply::Expired(silent));
    }

    fn dispatch(&mut self, at: usize) {
        let (now_ms, instant) = (self.now_ms(at), self.instant(at));
        let one = &mut self.coordinators[at];
        let Some(reign) = one.reign.as_deref_mut() else {
            return;
        };
        let nodes = reign.registry().free(instant);
        let heavy = one.state.ready(now_ms).filter(|task| task.heavy);
        let (tasks, plenty) = schedule::look(one.state.ready_light(now_ms), heavy, &nodes, 1);
        if !plenty && tasks.iter().all(|task| !task.heavy) {
            let mut late = reign.registry().relieve(&nodes, instant);
            late.retain(|(_, token)| may_move(&one.state, token));
            if !late.is_empty() {
                reign.due = true;
                let leases = late.iter().map(|(_, t)| (t.task, t.attempt)).collect();
                self.propose(at, vec![Command::ExpireLeases { leases }], Reply::Nobody);
                return;
            }
        }
        if tasks.is_empty() {
            return;
        }
        let problem = Problem {
            nodes,
            tasks,
            plenty,
        };
        let solution = schedule::assign(&problem);
        if let Err(what) = judge(&problem, &solution) {
            self.broke(what);
            return;
        }
        let stuck: BTreeSet<JobId> = solution
            .unplaced
            .iter()
            .filter(|(_, reason)| *reason == Reason::Refused)
            .map(|(task, _)| task.job)
            .collect();
        let present = reign.registry().present();
        let jobs = stuck.iter().filter_map(|job| one.state.jobs.get(job));
        let mut commands: Vec<Command> = jobs
            .filter_map(|job| decide::stuck(job, &present, now_ms))
            .collect();
        let grants: Vec<LeaseGrant> = solution
            .placed
            .iter()
            .map(|placed| LeaseGrant {
                task: placed.task,
                attempt: placed.attempt,
                node: placed.node,
            })
            .collect();
        if !grants.is_empty() {
            commands.push(Command::GrantLeases {
                grants: grants.clone(),
            });
        }
        if commands.is_empty() {
            return;
        }
        reign.waits = true;
        self.propose(at, commands, Reply::Granted { problem, grants });
    }

    fn granted(
        &mut self,
        at: usize,
        problem: &Problem,
        grants: &[LeaseGrant],
        results: &[Result<(), Rejected>],
    ) {
        let instant = self.instant(at);
        let mut ready: BTreeMap<NodeId, Vec<Grant>> = BTreeMap::new();
        for (grant, result) in grants.iter().zip(results) {
            let token = AttemptToken {
                task: grant.task,
                attempt: grant.attempt,
            };
            let Some(reign) = self.reign(at) else {
                return;
            };
            if let Err(rejected) = result {
                reign.due = true;
                // It was forgotten while it was heard: it is cut off, dials again and registers anew.
                if *rejected == Rejected::UnknownNode {
                    reign.registry().forget(grant.node);
                    if let Some(exchange) = reign.orders.remove(&grant.node) {
                        self.hang_up(exchange);
                    }
                }
                continue;
            }
            let task = problem.tasks.iter().find(|t| t.id == grant.task);
            let held = task.map_or_else(Held::default, ReadyTask::held);
            reign.registry().granted(grant.node, token, held, instant);
            if let Some(now) = self.prepare(at, grant.node, token) {
                ready.entry(grant.node).or_default().push(now);
            }
        }
        for (node, grants) in ready {
            let orders = NodeOrders {
                grants,
                ..NodeOrders::default()
            };
            self.order(at, node, orders);
        }
    }

    /// Builds a grant, or has its list stored first.
    fn prepare(&mut self, at: usize, node: NodeId, token: AttemptToken) -> Option<Grant> {
        let grant = |work| Grant {
            task: token.task,
            attempt: token.attempt,
            work_store: String::new(),
            work,
        };
        match self.coordinators[at].state.work_for(token.task)? {
            Order::Work(work) => Some(grant(*work)),
            Order::Stitch(order) => {
                let stored = self.calm || !self.rng.chance(self.schedule.rates.store);
                let list = film::artifact(self.lists.len() as u64);
                Rc::make_mut(&mut self.lists).push(order.chunks().collect());
                let grant = stored.then(|| Box::new(grant(order.stored(list))));
                let wait = self.rng.within(1, 40);
                let term = self.coordinators[at].reign.as_ref()?.term;
                self.after(
                    wait,
                    Event::Stored {
                        at,
                        term,
                        node,
                        token,
                        grant,
                    },
                );
                None
            }
        }
    }

    pub fn on_stored(
        &mut self,
        at: usize,
        term: u64,
        node: NodeId,
        token: AttemptToken,
        grant: Option<Box<Grant>>,
    ) {
        let Some(reign) = self.reign_of(at, term) else {
            return;
        };
        reign.woken = true;
        match grant {
            Some(grant) => {
                let orders = NodeOrders {
                    grants: vec![*grant],
                    ..NodeOrders::default()
                };
                self.order(at, node, orders);
            }
            None => {
                let failed = film::failed(FailureClass::Store);
                reign.finished.insert(token, (node, failed));
                self.fired.add(Fault::StoreFailed);
            }
        }
    }

    fn order(&mut self, at: usize, node: NodeId, mut orders: NodeOrders) {
        let Some(reign) = self.reign(at) else {
            return;
        };
        let Some(&exchange) = reign.orders.get(&node) else {
            return;
        };
        orders.sequence = reign.registry().sequence(node);
        let orders = Rc::new(orders);
        self.say(exchange, false, Event::Orders { exchange, orders });
    }

    // ---- the planner

    fn decide(&mut self, at: usize, job: JobId) {
        let commands = decide::next(&self.coordinators[at].state, job);
        if commands.is_empty() {
            return;
        }
        if let Some(reign) = self.reign(at) {
            reign.deciding = true;
        }
        self.propose_in_pairs(at, job, commands, true);
    }

    fn propose_in_pairs(&mut self, at: usize, job: JobId, commands: Vec<Command>, decides: bool) {
        let mut rest: VecDeque<Vec<Command>> = commands.chunks(2).map(<[_]>::to_vec).collect();
        let Some(first) = rest.pop_front() else {
            return;
        };
        self.propose(at, first, Reply::Planner { job, rest, decides });
    }

    pub fn plan_again(&mut self, at: usize, term: u64, job: JobId) {
        if self.reign_of(at, term).is_some() {
            let gathered = &mut self.coordinators[at].gathered;
            gathered.plan.insert(job);
            gathered.decide.insert(job);
        }
    }

    pub fn on_facts(&mut self, at: usize, term: u64, job: JobId, tries: u32) {
        if self.reign_of(at, term).is_none() {
            return;
        }
        let known = self.coordinators[at].state.jobs.get(&job);
        let planning = known.and_then(|known| match &known.phase {
            Phase::Planning { deep, facts, .. } => Some((*deep, facts.size_bytes)),
            _ => None,
        });
        let Some((deep, facts)) = planning else {
            if let Some(reign) = self.reign(at) {
                reign.planning -= 1;
            }
            return;
        };
        let mut commands;
        if !self.calm && self.rng.chance(self.schedule.rates.store) {
            self.fired.add(Fault::StoreFailed);
            let tries = tries + 1;
            if tries < STORE_TRIES {
                self.after(
                    1_000 << tries,
                    Event::FactsRead {
                        at,
                        term,
                        job,
                        tries,
                    },
                );
                return;
            }
            commands = vec![Command::FailJob {
                job,
                class: FailureClass::Store,
                message: "the facts cannot be read".into(),
            }];
        } else {
            let plan = self.library.plan((facts >> 1) as usize, deep).clone();
            commands = plan.into_commands(job, deep, film::artifact(1));
            // A real part holds more Segments than these films have: shorter ones, so that there are several.
            if let [
                Command::PlanPart { segments, .. },
                Command::PlanReady { .. },
            ] = &commands[..]
            {
                let size = self.rng.within(1, 6) as usize;
                let mut parts: Vec<Command> = segments
                    .chunks(size)
                    .zip(0..)
                    .map(|(segments, part)| Command::PlanPart {
                        job,
                        deep,
                        part,
                        segments: segments.to_vec(),
                    })
                    .collect();
                let count = parts.len() as u32;
                let mut ready = commands.pop().expect("there are two");
                if let Command::PlanReady { parts, .. } = &mut ready {
                    *parts = count;
                }
                parts.push(ready);
                commands = parts;
            }
        }
        self.propose_in_pairs(at, job, commands, false);
    }
}

impl Reign {
    /// The Node whose exchange this is, if it counts.
    fn node_of(&self, exchange: usize) -> Option<NodeId> {
        let registry = self.registry.as_ref()?;
        let mut nodes = self.orders.iter();
        let by_stream = nodes.find(|(_, e)| **e == exchange).map(|(n, _)| *n);
        by_stream.filter(|n| registry.exchange(*n) == Some(exchange as u64))
    }
}

/// As in the dispatcher.
fn may_move(state: &State, token: &AttemptToken) -> bool {
    let job = state.jobs.get(&token.task.job);
    job.is_some_and(|job| {
        let anywhere = job.needs().is_none() && job.describe(token.task.key).avoid.is_empty();
        anywhere && !job.paused
    })
}

/// As in the dispatcher.
fn held_of(state: &State, token: AttemptToken) -> Held {
    let task = state.jobs.get(&token.task.job);
    let task = task.map(|job| job.describe(token.task.key));
    task.map_or_else(Held::default, |task| task.held())
}

/// As in the dispatcher.
fn leases_of(state: &State, node: NodeId) -> BTreeSet<AttemptToken> {
    let Some(known) = state.nodes.get(&node) else {
        return BTreeSet::new();
    };
    known
        .leases
        .iter()
        .filter_map(|id| {
            let lease = state.jobs.get(&id.job)?.tasks.get(&id.key)?.lease?;
            (lease.node == node).then_some(AttemptToken {
                task: *id,
                attempt: lease.attempt,
            })
        })
        .collect()
}

/// What the scheduler promises of a solution.
fn judge(problem: &Problem, solution: &Solution) -> Result<(), String> {
    let mut free: BTreeMap<NodeId, (u32, u32)> = problem
        .nodes
        .iter()
        .map(|n| (n.node, (n.heavy, n.light)))
        .collect();
    let mut left: BTreeMap<_, _> = problem.tasks.iter().map(|t| (t.id, t)).collect();
    for placed in &solution.placed {
        let Some(task) = left.remove(&placed.task) else {
            return Err(format!("{} was placed twice", placed.task));
        };
        if task.avoid.contains(&placed.node) {
            return Err(format!("{} was placed where it was refused", placed.task));
        }
        let room = free.entry(placed.node).or_default();
        let room = if task.heavy { &mut room.0 } else { &mut room.1 };
        if *room == 0 {
            return Err(format!("{} was placed on a full node", placed.task));
        }
        *room -= 1;
    }
    let alone = problem.nodes.len() == 1;
    // Slots that nothing holds, and nothing was placed on.
    let idle = |n: &FreeNode| {
        let idle = n.busy.iter().filter(|busy| **busy <= 0.0).count();
        let left = free.get(&n.node).map_or(0, |(heavy, _)| *heavy);
        idle.saturating_sub((n.heavy - left) as usize)
    };
    for (task, reason) in &solution.unplaced {
        let Some(task) = left.remove(task) else {
            return Err(format!("{task} is both placed and not"));
        };
        if let Reason::Held(node) = reason {
            let fast = problem.nodes.iter().find(|n| n.node == *node);
            // A slot that is idle would take it now or, if the Node has no room, never for certain.
            if fast.is_none_or(|n| idle(n) > 0) {
                return Err(format!(
                    "{} is held back for {node}, which has an idle slot",
                    task.id
                ));
            }
            if task.avoid.contains(node) {
                return Err(format!("{} is held back for who refused it", task.id));
            }
            continue;
        }
        let fits = |n: &FreeNode| {
            let (heavy, light) = free.get(&n.node).copied().unwrap_or_default();
            let room = match task.heavy {
                // Of a Node that was never tried no more is wanted than it can begin.
                true if !alone && !n.speeds.contains_key(&task.class) => heavy > 0 && idle(n) > 0,
                true => heavy > 0,
                false => light > 0,
            };
            !task.avoid.contains(&n.node) && room
        };
        if problem.nodes.iter().any(fits) {
            return Err(format!("{} waits though a node has room", task.id));
        }
    }
    if !left.is_empty() {
        return Err("the scheduler has lost a task".to_owned());
    }
    for heavy in [false, true] {
        let order = problem.tasks.iter().filter(|t| t.heavy == heavy);
        if !order.rev().map(|t| t.priority).is_sorted() {
            return Err("the ready tasks are not in the order of their priority".to_owned());
        }
    }
    Ok(())
}
