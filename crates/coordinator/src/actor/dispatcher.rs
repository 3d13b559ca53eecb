//! Hands ready Tasks to Nodes and takes their results.
//!
//! Woken by reports, by effects of the log and by retries that come due; never by polling. Completions that arrive
//! together go into one proposal, and so do grants.

use super::archiver::ArchiverHandle;
use super::planner::PlannerHandle;
use super::registry::{Held, Registry};
use super::sweeper::SweeperHandle;
use crate::raft::{Consensus, Gathered};
use recode_core::machine::decide::{self, Tidy};
use recode_core::machine::{LeaseGrant, Order, ReadyTask, ready::is_heavy};
use recode_core::schedule::{self, FreeNode, Problem, Reason};
use recode_core::{Command, Outcome, Rejected, State};
use recode_store::WorkStore;
use recode_types::task::{AttemptOutcome, Failure, FailureClass, Grant, Usage, Work};
use recode_types::{
    AttemptProgress, AttemptToken, Digest, JobId, NodeHeard, NodeId, NodeOrders, NodeReport,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often silence is looked for.
const ROUND: Duration = Duration::from_secs(1);

/// Orders that may wait for one Node. A Node that does not read for that long is cut off and dials again.
pub const WAITING_ORDERS: usize = 64;

/// Tasks looked at beyond the free slots, so that ones which only some Nodes refuse do not hide others.
const LOOK_BEYOND: usize = 16;

/// What runs, by Job, for watchers.
pub type Running = Arc<BTreeMap<JobId, Vec<AttemptProgress>>>;

/// What Nodes said last.
pub type Heard = BTreeMap<NodeId, NodeHeard>;

/// Everything that can happen to the dispatcher, besides effects of the log.
enum Msg {
    Opened {
        report: NodeReport,
        orders: mpsc::Sender<NodeOrders>,
        reply: oneshot::Sender<Result<(NodeId, u64), String>>,
    },
    Reported {
        node: NodeId,
        exchange: u64,
        report: NodeReport,
    },
    Closed {
        node: NodeId,
        exchange: u64,
    },
    Heard {
        reply: oneshot::Sender<Heard>,
    },
}

/// The dispatcher's public face.
#[derive(Clone)]
pub struct DispatcherHandle {
    // Each exchange sends one message at a time, so this bounds Nodes that wait, not reports.
    mailbox: mpsc::Sender<Msg>,
    consensus: Consensus,
}

impl std::fmt::Debug for DispatcherHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DispatcherHandle").finish_non_exhaustive()
    }
}

impl DispatcherHandle {
    /// A Node opens an exchange with its first report. Answers its number and that of the exchange.
    /// # Errors
    /// One sentence: the Node should try again later.
    pub async fn opened(
        &self,
        report: NodeReport,
        orders: mpsc::Sender<NodeOrders>,
    ) -> Result<(NodeId, u64), String> {
        let (reply, answer) = oneshot::channel();
        let msg = Msg::Opened {
            report,
            orders,
            reply,
        };
        let stopped = || "this coordinator stops".to_owned();
        self.mailbox.send(msg).await.map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// The next report of an exchange. `false`: the dispatcher is gone, end the exchange.
    pub async fn reported(&self, node: NodeId, exchange: u64, report: NodeReport) -> bool {
        let msg = Msg::Reported {
            node,
            exchange,
            report,
        };
        self.mailbox.send(msg).await.is_ok()
    }

    /// An exchange has ended.
    pub async fn closed(&self, node: NodeId, exchange: u64) {
        // A dispatcher that is gone has no use for it.
        let _ = self.mailbox.send(Msg::Closed { node, exchange }).await;
    }

    /// What Nodes said last; asked for, since it is long and seldom wanted. `None`: the dispatcher is gone.
    pub async fn heard(&self) -> Option<Heard> {
        let (reply, answer) = oneshot::channel();
        self.mailbox.send(Msg::Heard { reply }).await.ok()?;
        answer.await.ok()
    }

    /// The log and the state it works with.
    pub fn consensus(&self) -> &Consensus {
        &self.consensus
    }
}

/// What the dispatcher works with.
pub struct Parts {
    /// The log and the state.
    pub consensus: Consensus,
    /// Where lists of Chunks are stored.
    pub store: WorkStore,
    /// Gets the effects that are its own.
    pub planner: PlannerHandle,
    /// As above.
    pub sweeper: SweeperHandle,
    /// As above.
    pub archiver: ArchiverHandle,
    /// Gets what runs, as Nodes said last. It outlives this Leader: watchers stay.
    pub running: watch::Sender<Running>,
}

/// Prepares a dispatcher; the future is its life.
pub fn new(parts: Parts, stop: CancellationToken) -> (DispatcherHandle, impl Future<Output = ()>) {
    let (mailbox, inbox) = mpsc::channel(256);
    let handle = DispatcherHandle {
        mailbox,
        consensus: parts.consensus.clone(),
    };
    let dispatcher = Dispatcher {
        registry: Registry::new(Instant::now()),
        parts,
        orders: BTreeMap::new(),
        next_exchange: 0,
        finished: BTreeMap::new(),
        expired: Vec::new(),
        storing: JoinSet::new(),
        due: false,
    };
    (handle, dispatcher.run(inbox, stop))
}

struct Dispatcher {
    parts: Parts,
    registry: Registry,
    orders: BTreeMap<NodeId, mpsc::Sender<NodeOrders>>,
    next_exchange: u64,
    /// Reported and not yet in the log.
    finished: BTreeMap<AttemptToken, (NodeId, AttemptOutcome)>,
    /// Nodes found silent.
    expired: Vec<NodeId>,
    /// Grants whose lists are being stored.
    storing: JoinSet<(NodeId, AttemptToken, Result<Grant, String>)>,
    /// Tasks may be ready or slots may be free.
    due: bool,
}

#[allow(
    clippy::large_enum_variant,
    reason = "one at a time, on the stack of the loop"
)]
enum Wake {
    Stop,
    Msg(Option<Msg>),
    Effects(Box<Gathered>),
    Stored(NodeId, AttemptToken, Result<Grant, String>),
    Round,
    Retry,
}

impl Dispatcher {
    async fn run(mut self, mut inbox: mpsc::Receiver<Msg>, stop: CancellationToken) {
        let shared = self.parts.consensus.shared().clone();
        let mut round = tokio::time::interval(ROUND);
        round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let now_ms = self.parts.consensus.now_ms();
            let retry = shared
                .look(|state| state.next_retry_ms(now_ms))
                .map(|at| Duration::from_millis(at.saturating_sub(now_ms) + 1));
            let wake = tokio::select! {
                () = stop.cancelled() => Wake::Stop,
                effects = shared.effects.next() => Wake::Effects(Box::new(effects)),
                msg = inbox.recv() => Wake::Msg(msg),
                Some(stored) = self.storing.join_next() => match stored {
                    Ok((node, token, grant)) => Wake::Stored(node, token, grant),
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                },
                _ = round.tick() => Wake::Round,
                () = tokio::time::sleep(retry.unwrap_or(ROUND)), if retry.is_some() => Wake::Retry,
            };
            match wake {
                Wake::Stop | Wake::Msg(None) => return,
                Wake::Effects(effects) => self.on_effects(*effects),
                Wake::Msg(Some(msg)) => {
                    self.on_msg(msg).await;
                    // Reports that wait already share the proposals they cause.
                    while let Ok(msg) = inbox.try_recv() {
                        self.on_msg(msg).await;
                    }
                }
                Wake::Stored(node, token, grant) => self.on_stored(node, token, grant),
                Wake::Round => self.on_round(Instant::now()),
                Wake::Retry => self.due = true,
            }
            self.carry_out().await;
        }
    }

    fn on_effects(&mut self, effects: Gathered) {
        self.due |= effects.dispatch;
        for (node, token) in effects.revoke {
            self.registry.ended(node, &token, None);
            self.order(
                node,
                NodeOrders {
                    revocations: vec![token],
                    ..NodeOrders::default()
                },
            );
        }
        for job in effects.plan {
            self.parts.planner.plan(job);
        }
        for job in effects.decide {
            self.parts.planner.decide(job);
        }
        let shared = self.parts.consensus.shared().clone();
        for job in effects.ended {
            match shared.look(|state| decide::tidy(state, job)) {
                Tidy::Keep => {}
                Tidy::Archive => self.parts.archiver.archive(job),
                Tidy::Sweep => self.parts.sweeper.ended(job),
            }
        }
    }

    async fn on_msg(&mut self, msg: Msg) {
        match msg {
            Msg::Opened {
                report,
                orders,
                reply,
            } => {
                let opened = self.open(report, orders).await;
                // Who hung up meanwhile is found silent in time.
                let _ = reply.send(opened);
            }
            Msg::Reported {
                node,
                exchange,
                report,
            } => {
                if self.registry.exchange(node) == Some(exchange) {
                    self.registry.reported(node, report, Instant::now());
                    self.after_report(node, false);
                }
            }
            Msg::Closed { node, exchange } => {
                if self.registry.exchange(node) == Some(exchange) {
                    self.registry.closed(node, exchange);
                    self.orders.remove(&node);
                }
            }
            Msg::Heard { reply } => {
                // Who hung up does not want it any more.
                let _ = reply.send(self.registry.heard());
            }
        }
    }

    /// Registers a Node in the log, which costs one flush, once per process of it.
    async fn open(
        &mut self,
        report: NodeReport,
        orders: mpsc::Sender<NodeOrders>,
    ) -> Result<(NodeId, u64), String> {
        let hello = report
            .hello
            .as_ref()
            .ok_or("the first report has no hello")?;
        let command = Command::RegisterNode {
            name: hello.name.clone(),
            incarnation: report.instance.clone(),
        };
        let outcomes = self.parts.consensus.propose(vec![command]).await;
        let node = match outcomes.map_err(|e| e.to_string())?.first() {
            Some(Outcome::Registered { node }) => *node,
            other => return Err(format!("the log did not register this node: {other:?}")),
        };
        self.next_exchange += 1;
        let exchange = self.next_exchange;
        tracing::info!(%node, name = hello.name, slots = hello.heavy_slots, "a node reports");
        self.registry.opened(node, exchange, report, Instant::now());
        self.orders.insert(node, orders);
        self.order(
            node,
            NodeOrders {
                node: Some(node),
                ..NodeOrders::default()
            },
        );
        self.after_report(node, true);
        Ok((node, exchange))
    }

    /// Sees what a report changes.
    fn after_report(&mut self, node: NodeId, first: bool) {
        let shared = self.parts.consensus.shared().clone();
        let leased = shared.look(|state| leases_of(state, node));
        let difference = self.registry.compare(node, &leased, first);
        for token in difference.complete {
            if let Some(outcome) = self.registry.outcome(node, &token) {
                self.finished.insert(token, (node, outcome));
            }
        }
        let mut grants = Vec::new();
        for token in difference.grant_again {
            let held = Held {
                heavy: is_heavy(token.task.key),
                cost: 0,
            };
            self.registry.granted(node, token, held);
            grants.extend(shared.look(|state| self.prepare(state, node, token)));
        }
        let orders = NodeOrders {
            grants,
            revocations: difference.revoke,
            acknowledged: difference.acknowledge,
            ..NodeOrders::default()
        };
        if orders != NodeOrders::default() {
            self.order(node, orders);
        }
        self.parts
            .running
            .send_replace(Arc::new(self.registry.running()));
        self.due = true;
    }

    fn on_round(&mut self, now: Instant) {
        let known: Vec<NodeId> = self
            .parts
            .consensus
            .shared()
            .look(|state| state.nodes.keys().copied().collect());
        self.expired = self.registry.silent(known.into_iter(), now);
    }

    fn on_stored(&mut self, node: NodeId, token: AttemptToken, grant: Result<Grant, String>) {
        match grant {
            Ok(grant) => self.send_grants(node, vec![grant]),
            Err(message) => {
                // The Node never hears of it: the Leader itself says how the Attempt ended.
                let outcome = AttemptOutcome::Failed {
                    failure: Failure {
                        class: FailureClass::Store,
                        message,
                        stderr_tail: None,
                    },
                    usage: Usage::default(),
                };
                self.finished.insert(token, (node, outcome));
            }
        }
    }

    /// The only waits on the log: what ended, who is silent, who gets what.
    async fn carry_out(&mut self) {
        if !self.finished.is_empty() {
            self.complete().await;
        }
        if !self.expired.is_empty() {
            self.expire().await;
        }
        if std::mem::take(&mut self.due) {
            self.dispatch().await;
        }
    }

    async fn complete(&mut self) {
        let finished = std::mem::take(&mut self.finished);
        let commands = finished
            .iter()
            .map(|(token, (_, outcome))| Command::CompleteAttempt {
                task: token.task,
                attempt: token.attempt,
                outcome: Box::new(outcome.clone()),
            })
            .collect();
        if let Err(error) = self.parts.consensus.propose(commands).await {
            // Proposed again on the next wake: what the log has taken meanwhile is stale then, which harms nobody.
            tracing::warn!(%error, "results are not in the log yet");
            self.finished = finished;
            return;
        }
        let mut acknowledged: BTreeMap<NodeId, Vec<AttemptToken>> = BTreeMap::new();
        for (token, (node, outcome)) in finished {
            // Accepted or stale, the log is done with it.
            let took = match &outcome {
                AttemptOutcome::Done { usage, .. } => Some(Duration::from_millis(usage.wall_ms)),
                AttemptOutcome::Failed { .. } => None,
            };
            self.registry.ended(node, &token, took);
            acknowledged.entry(node).or_default().push(token);
        }
        for (node, acknowledged) in acknowledged {
            self.order(
                node,
                NodeOrders {
                    acknowledged,
                    ..NodeOrders::default()
                },
            );
        }
        self.due = true;
    }

    async fn expire(&mut self) {
        let silent = std::mem::take(&mut self.expired);
        let shared = self.parts.consensus.shared().clone();
        let mut commands = Vec::new();
        for node in &silent {
            tracing::warn!(%node, name = self.registry.name(*node), "a node is silent; its leases end");
            let leases = shared.look(|state| leases_of(state, *node));
            commands.push(Command::ExpireLeases {
                leases: leases.iter().map(|t| (t.task, t.attempt)).collect(),
            });
            commands.push(Command::ForgetNode { node: *node });
        }
        if let Err(error) = self.parts.consensus.propose(commands).await {
            tracing::warn!(%error, "leases of silent nodes have not ended yet");
            return;
        }
        for node in silent {
            self.registry.forget(node);
            self.orders.remove(&node);
        }
        self.due = true;
    }

    async fn dispatch(&mut self) {
        let shared = self.parts.consensus.shared().clone();
        let now_ms = self.parts.consensus.now_ms();
        let mut nodes = self.registry.free();
        let tasks = shared.look(|state| {
            nodes.retain(|n| state.nodes.get(&n.node).is_some_and(|n| !n.draining));
            worth_placing(state.ready(now_ms), &nodes)
        });
        if tasks.is_empty() {
            return;
        }
        let problem = Problem { nodes, tasks };
        let solution = schedule::assign(&problem);
        let stuck: BTreeSet<JobId> = solution
            .unplaced
            .iter()
            .filter(|(_, reason)| *reason == Reason::Refused)
            .map(|(task, _)| task.job)
            .collect();
        let present = self.registry.present();
        let mut commands: Vec<Command> = shared.look(|state| {
            let jobs = stuck.iter().filter_map(|job| state.jobs.get(job));
            jobs.filter_map(|job| decide::stuck(job, &present, now_ms))
                .collect()
        });
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
        let outcomes = match self.parts.consensus.propose(commands).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                // Whether they hold is not known. Who might hold one is cut off: it dials again, which the log hears after
                // these grants, and then everything is compared. Left on its exchange it would never learn of them.
                tracing::warn!(%error, "nothing could be granted");
                for node in grants
                    .iter()
                    .map(|grant| grant.node)
                    .collect::<BTreeSet<_>>()
                {
                    self.cut_off(node);
                }
                return;
            }
        };
        let Some(Outcome::Granted { results }) = outcomes.last() else {
            return;
        };
        let mut ready: BTreeMap<NodeId, Vec<Grant>> = BTreeMap::new();
        for (grant, result) in grants.iter().zip(results) {
            let token = AttemptToken {
                task: grant.task,
                attempt: grant.attempt,
            };
            if let Err(rejected) = result {
                tracing::debug!(attempt = %token, %rejected, "not granted");
                self.due = true;
                // The log has forgotten it while it was heard (a proposal that landed after its deadline): it must
                // register anew, or it would be offered work for ever and get none.
                if *rejected == Rejected::UnknownNode {
                    self.cut_off(grant.node);
                    self.registry.forget(grant.node);
                }
                continue;
            }
            let task = problem.tasks.iter().find(|t| t.id == grant.task);
            let held = Held {
                heavy: task.is_some_and(|t| t.heavy),
                cost: task.map_or(0, |t| t.cost),
            };
            self.registry.granted(grant.node, token, held);
            let now = shared.look(|state| self.prepare(state, grant.node, token));
            if let Some(grant_now) = now {
                ready.entry(grant.node).or_default().push(grant_now);
            }
        }
        for (node, grants) in ready {
            self.send_grants(node, grants);
        }
    }

    /// Builds a grant, or has its list stored first.
    fn prepare(&mut self, state: &State, node: NodeId, token: AttemptToken) -> Option<Grant> {
        let grant = move |store: &WorkStore, work: Work| Grant {
            task: token.task,
            attempt: token.attempt,
            work_store: store.url().to_owned(),
            work,
        };
        match state.work_for(token.task)? {
            Order::Work(work) => Some(grant(&self.parts.store, *work)),
            Order::Stitch(order) => {
                let store = self.parts.store.clone();
                self.storing.spawn(async move {
                    let json =
                        serde_json::to_vec(&order.chunks).expect("plain data always serialises");
                    let digest = Digest::of(&json);
                    let key = recode_store::key::of_plan(token.task.job, &digest, "json");
                    let stored = store.put(&key, json).await;
                    let grant = stored
                        .map(|chunks| grant(&store, order.stored(chunks)))
                        .map_err(|e| e.to_string());
                    (node, token, grant)
                });
                None
            }
        }
    }

    fn send_grants(&mut self, node: NodeId, grants: Vec<Grant>) {
        self.order(
            node,
            NodeOrders {
                grants,
                ..NodeOrders::default()
            },
        );
    }

    /// Ends an exchange from this side. The Node dials again.
    fn cut_off(&mut self, node: NodeId) {
        self.orders.remove(&node);
        if let Some(exchange) = self.registry.exchange(node) {
            self.registry.closed(node, exchange);
        }
    }

    /// Sends orders. A Node that does not take them is cut off; when it dials again, everything is compared.
    fn order(&mut self, node: NodeId, mut orders: NodeOrders) {
        orders.sequence = self.registry.sequence(node);
        let Some(sender) = self.orders.get(&node) else {
            return;
        };
        if sender.try_send(orders).is_err() {
            self.orders.remove(&node);
        }
    }
}

/// The first of the ready Tasks that could be placed: as many of each kind as there are slots, and some more.
fn worth_placing(ready: impl Iterator<Item = ReadyTask>, nodes: &[FreeNode]) -> Vec<ReadyTask> {
    let room = |slots: u32| {
        if slots == 0 {
            0
        } else {
            slots as usize + LOOK_BEYOND
        }
    };
    let mut heavy = room(nodes.iter().map(|n| n.heavy).sum());
    let mut light = room(nodes.iter().map(|n| n.light).sum());
    let mut tasks = Vec::new();
    let mut ready = ready;
    while heavy + light > 0
        && let Some(task) = ready.next()
    {
        let room = if task.heavy { &mut heavy } else { &mut light };
        if *room > 0 {
            *room -= 1;
            tasks.push(task);
        }
    }
    tasks
}

/// The Leases that the log says a Node holds.
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

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::{TaskId, TaskKey};

    #[test]
    fn many_light_tasks_do_not_hide_heavy_ones_and_full_kinds_are_left_out() {
        let task = |segment, heavy| ReadyTask {
            id: TaskId {
                job: JobId(1),
                key: TaskKey::Encode { group: 0, segment },
            },
            attempt: 1,
            heavy,
            cost: 1,
            priority: 50,
            avoid: Vec::new(),
        };
        let ready = || (0..200).map(|i| task(i, i >= 100));
        let count = |heavy, light| {
            let node = FreeNode {
                node: NodeId(1),
                heavy,
                light,
                speed: 0.0,
                queued: 0,
            };
            let tasks = worth_placing(ready(), &[node]);
            let heavy = tasks.iter().filter(|t| t.heavy).count();
            (heavy, tasks.len() - heavy)
        };
        assert_eq!(count(2, 1), (2 + LOOK_BEYOND, 1 + LOOK_BEYOND));
        assert_eq!(count(0, 1), (0, 1 + LOOK_BEYOND));
        assert_eq!(count(1, 0), (1 + LOOK_BEYOND, 0));
        assert_eq!(count(0, 0), (0, 0));
    }
}
