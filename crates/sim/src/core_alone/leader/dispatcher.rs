//! Reports of Nodes, what they hold, and what they are granted.

use super::judge::judge;
use super::*;

impl World {
    /// Does what there is to do, until it waits or there is nothing more.
    pub fn turn(&mut self, at: usize) {
        while self.broken.is_none() && self.wake(at) {}
    }

    /// One step of the dispatcher's loop; `false`: nothing to do now.
    pub(super) fn wake(&mut self, at: usize) -> bool {
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

    pub(super) fn set_retry(&mut self, at: usize) {
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

    pub(super) fn on_effects(&mut self, at: usize, effects: Gathered) {
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

    pub(super) fn mailbox(&mut self, at: usize, msg: Msg) {
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

    pub(super) fn refuse(&mut self, exchange: usize) {
        self.exchanges[exchange].broken = true;
        let wait = self.rng.within(5, 50);
        self.after(wait, Event::HangUp { exchange });
    }

    pub(super) fn hang_up(&mut self, exchange: usize) {
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

    pub(super) fn on_msg(&mut self, at: usize, msg: Msg) {
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

    pub(super) fn after_report(&mut self, at: usize, node: NodeId, first: bool) {
        let instant = self.instant(at);
        let leased = self.coordinators[at].state.leases_of(node);
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
                registry.holds(node, token, state.held_of(token), instant);
            }
        }
        for &token in &difference.grant_again {
            let held = Held {
                again: true,
                ..state.held_of(token)
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

    pub(super) fn complete(&mut self, at: usize) {
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

    pub(super) fn expire(&mut self, at: usize) {
        let one = &mut self.coordinators[at];
        let Some(reign) = one.reign.as_deref_mut() else {
            return;
        };
        let silent = std::mem::take(&mut reign.expired);
        let mut commands = Vec::new();
        for node in &silent {
            let leases = one.state.leases_of(*node);
            commands.push(Command::ExpireLeases {
                leases: leases.iter().map(|t| (t.task, t.attempt)).collect(),
            });
            commands.push(Command::ForgetNode { node: *node });
        }
        reign.waits = true;
        self.propose(at, commands, Reply::Expired(silent));
    }

    pub(super) fn dispatch(&mut self, at: usize) {
        let (now_ms, instant) = (self.now_ms(at), self.instant(at));
        let one = &mut self.coordinators[at];
        let Some(reign) = one.reign.as_deref_mut() else {
            return;
        };
        let nodes = reign.registry().free(instant);
        let heavy = one.state.ready_heavy(now_ms);
        let (mut tasks, plenty) = schedule::look(one.state.ready_light(now_ms), heavy, &nodes, 1);
        fit::keep(reign.registry(), &one.state, &mut tasks, &nodes);
        if !plenty && tasks.iter().all(|task| !task.heavy) {
            let mut late = reign.registry().relieve(&nodes, instant);
            late.retain(|(_, token)| decide::may_move(&one.state, token));
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
        let present = || reign.registry().present();
        let mut commands = decide::dead_ends(&one.state, &solution, present, now_ms);
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

    pub(super) fn granted(
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
    pub(super) fn prepare(
        &mut self,
        at: usize,
        node: NodeId,
        token: AttemptToken,
    ) -> Option<Grant> {
        let grant = |work| Grant {
            task: token.task,
            attempt: token.attempt,
            work_store: String::new(),
            work,
            memory_bytes: None,
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

    pub(super) fn order(&mut self, at: usize, node: NodeId, mut orders: NodeOrders) {
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
}
