//! Hands ready Tasks to Nodes and takes their results.
//!
//! Woken by reports, by effects of the log and by retries that come due; never by polling. All that arrives while one proposal
//! is written goes into the next one together: Nodes that register, then results and grants. A slot that a result has freed
//! is granted with the result, not after it.

mod handle;
mod settle;

pub use handle::DispatcherHandle;

use super::archiver::ArchiverHandle;
use super::planner::PlannerHandle;
use super::sweeper::SweeperHandle;
use crate::artifacts::Store;
use crate::raft::{Consensus, Gathered};
use crate::runtime;
use handle::Msg;
use recode_core::leader::{Nearness, Registry, Told, footprint};
use recode_core::machine::decide::{self, Tidy};
use recode_core::schedule::Held;
use recode_core::{Command, Outcome};
use recode_types::task::{AttemptOutcome, Failure, FailureClass, Grant, Usage};
use recode_types::{
    AttemptProgress, AttemptToken, JobId, NodeHeard, NodeId, NodeOrders, NodeReport,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often silence is looked for.
const ROUND: Duration = Duration::from_secs(1);

/// Reports that tell nothing but progress cause a look at what waits at most this often.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Orders that may wait for one Node. A Node that does not read for that long is cut off and dials again.
pub const WAITING_ORDERS: usize = 64;

/// What runs is told to watchers at most this often.
const TELL_EVERY: Duration = Duration::from_millis(200);

/// What runs, by Job, for watchers.
pub type Running = Arc<BTreeMap<JobId, Vec<AttemptProgress>>>;

/// What Nodes said last, and what became of it.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// What each said.
    pub nodes: BTreeMap<NodeId, NodeHeard>,
    /// Jobs of which heavy Tasks waited for memory beside free slots when it was looked last, and how much one needs, in bytes.
    pub short: BTreeMap<JobId, u64>,
}

/// What the dispatcher works with.
pub struct Parts {
    /// The log and the state.
    pub consensus: Consensus,
    /// Where lists of Chunks are stored.
    pub store: Store,
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
        registry: Registry::new(runtime::now()),
        parts,
        orders: BTreeMap::new(),
        sites: Told::default(),
        nearness: Nearness::default(),
        next_exchange: 0,
        opening: Vec::new(),
        finished: BTreeMap::new(),
        returned: BTreeSet::new(),
        warnings: Vec::new(),
        expired: Vec::new(),
        storing: JoinSet::new(),
        one_list: Arc::new(Semaphore::new(1)),
        due: false,
        reported: false,
        told: None,
        looked: None,
        short: BTreeMap::new(),
    };
    (handle, dispatcher.run(inbox, stop))
}

struct Dispatcher {
    parts: Parts,
    registry: Registry,
    orders: BTreeMap<NodeId, mpsc::Sender<NodeOrders>>,
    /// Whom Nodes were told to share bytes with.
    sites: Told,
    nearness: Nearness,
    next_exchange: u64,
    /// Nodes that have said hello and are not registered yet.
    opening: Vec<Opening>,
    /// Reported and not yet in the log.
    finished: BTreeMap<AttemptToken, (NodeId, AttemptOutcome)>,
    /// Given back by Nodes that leave. Said again until it is in the log, so nothing is lost with it.
    returned: BTreeSet<AttemptToken>,
    /// What watchers of Jobs should hear of Nodes, not in the log yet.
    warnings: Vec<Command>,
    /// Nodes found silent.
    expired: Vec<NodeId>,
    /// Grants whose lists are being stored.
    storing: JoinSet<(NodeId, AttemptToken, Result<Grant, String>)>,
    /// A list may be long: they are made one after the other.
    one_list: Arc<Semaphore>,
    /// Tasks may be ready or slots may be free.
    due: bool,
    /// Nodes have said something that watchers were not told yet.
    reported: bool,
    /// When they were told last.
    told: Option<Instant>,
    /// When it was looked last what could be placed.
    looked: Option<Instant>,
    /// See [`Heard`].
    short: BTreeMap<JobId, u64>,
}

/// A Node that waits for its number.
struct Opening {
    report: NodeReport,
    orders: mpsc::Sender<NodeOrders>,
    reply: oneshot::Sender<Result<(NodeId, u64), String>>,
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
    Tell,
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
            let quiet = self.quiet(runtime::now());
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
                () = tokio::time::sleep(quiet), if self.reported => Wake::Tell,
            };
            match wake {
                Wake::Stop | Wake::Msg(None) => return,
                Wake::Effects(effects) => self.on_effects(*effects),
                Wake::Msg(Some(msg)) => {
                    self.on_msg(msg);
                    // Reports that wait already share the proposals they cause.
                    while let Ok(msg) = inbox.try_recv() {
                        self.on_msg(msg);
                    }
                }
                Wake::Stored(node, token, grant) => self.on_stored(node, token, grant),
                Wake::Round => self.on_round(runtime::now()),
                Wake::Retry => self.due = true,
                Wake::Tell => {}
            }
            self.tell_watchers(runtime::now());
            self.carry_out().await;
        }
    }

    fn on_effects(&mut self, effects: Gathered) {
        self.due |= effects.dispatch;
        for (node, token) in effects.revoke {
            self.registry.ended(node, &token, None, runtime::now());
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
            self.registry.forget_job(job);
            self.parts.planner.forget(job);
            match shared.look(|state| decide::tidy(state, job)) {
                Tidy::Keep => {}
                Tidy::Archive => self.parts.archiver.archive(job),
                Tidy::Sweep => self.parts.sweeper.ended(job),
            }
        }
    }

    fn on_msg(&mut self, msg: Msg) {
        match msg {
            Msg::Opened {
                report,
                orders,
                reply,
            } => self.opening.push(Opening {
                report,
                orders,
                reply,
            }),
            Msg::Reported {
                node,
                exchange,
                report,
            } => {
                if self.registry.exchange(node) == Some(exchange) {
                    let now = runtime::now();
                    let changed = self.registry.reported(node, report, now);
                    self.after_report(node, false);
                    // Progress alone may let a Task go that was held back for this Node, but not at once.
                    let waited = self.looked.is_none_or(|at| now >= at + LOOK_EVERY);
                    self.due |= changed || waited;
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
                let _ = reply.send(Heard {
                    nodes: self.registry.heard(runtime::now()),
                    short: self.short.clone(),
                });
            }
        }
    }

    /// Registers Nodes in the log, once per process of them; all that come together cost one flush.
    async fn register(&mut self) {
        let opening = std::mem::take(&mut self.opening);
        let commands = opening
            .iter()
            .map(|one| Command::RegisterNode {
                name: one.report.hello.clone().unwrap_or_default().name,
                incarnation: one.report.instance.clone(),
            })
            .collect();
        let registered = self.parts.consensus.propose(commands).await;
        for (number, one) in opening.into_iter().enumerate() {
            let opened = match &registered {
                Ok(outcomes) => match outcomes.get(number) {
                    Some(Outcome::Registered { node }) => {
                        Ok(self.opened(*node, one.report, one.orders))
                    }
                    other => Err(format!("the log did not register this node: {other:?}")),
                },
                Err(error) => Err(error.to_string()),
            };
            // Who hung up meanwhile is found silent in time.
            let _ = one.reply.send(opened);
        }
    }

    /// A Node is registered. Answers its number and that of its exchange.
    fn opened(
        &mut self,
        node: NodeId,
        report: NodeReport,
        orders: mpsc::Sender<NodeOrders>,
    ) -> (NodeId, u64) {
        self.next_exchange += 1;
        let exchange = self.next_exchange;
        let hello = report.hello.as_ref();
        let (name, slots) = hello.map_or(("", 0), |h| (h.name.as_str(), h.heavy_slots));
        tracing::info!(%node, name, slots, "a node reports");
        self.registry.opened(node, exchange, report, runtime::now());
        self.orders.insert(node, orders);
        self.sites.forget(node);
        self.order(
            node,
            NodeOrders {
                node: Some(node),
                ..NodeOrders::default()
            },
        );
        self.after_report(node, true);
        (node, exchange)
    }

    /// Sees what a report changes.
    fn after_report(&mut self, node: NodeId, first: bool) {
        let shared = self.parts.consensus.shared().clone();
        let (leased, asked) = shared.look(|state| {
            let known = state.nodes.get(&node);
            (state.leases_of(node), known.is_some_and(|n| n.draining))
        });
        let difference = self.registry.compare(node, &leased, first);
        for token in difference.complete {
            if let Some(outcome) = self.registry.outcome(node, &token) {
                self.finished.insert(token, (node, outcome));
            }
        }
        self.returned.extend(difference.returned);
        let now = runtime::now();
        if first {
            for token in self.registry.held_by(node).intersection(&leased).copied() {
                let held = self.held_of(token);
                self.registry.holds(node, token, held, now);
            }
        }
        let mut grants = Vec::new();
        for token in difference.grant_again {
            if planted!(LostGrantNotRepeated) {
                continue;
            }
            let held = Held {
                again: true,
                ..self.held_of(token)
            };
            self.registry.granted(node, token, held, now);
            grants.extend(shared.look(|state| self.prepare(state, node, token)));
        }
        let orders = NodeOrders {
            grants,
            revocations: difference.revoke,
            acknowledged: difference.acknowledge,
            // One that holds no Lease and gets none will not hold one later.
            drained: (asked || self.registry.is_leaving(node)) && leased.is_empty(),
            ..NodeOrders::default()
        };
        if orders != NodeOrders::default() {
            self.order(node, orders);
        }
        self.reported = true;
        self.due |= first;
    }

    /// How the scheduler counts an Attempt that was granted before.
    fn held_of(&mut self, token: AttemptToken) -> Held {
        let (registry, planner) = (&mut self.registry, &self.parts.planner);
        let shared = self.parts.consensus.shared();
        shared.look(|state| footprint::held_of(registry, state, token, |job| planner.picture(job)))
    }

    /// How long watchers are told nothing yet.
    fn quiet(&self, now: Instant) -> Duration {
        let until = self.told.map(|told| told + TELL_EVERY);
        until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// Tells watchers what runs, unless that was done just now.
    fn tell_watchers(&mut self, now: Instant) {
        // Sites change with what Nodes say, or with their silence, which others break.
        if self.reported && self.quiet(now).is_zero() {
            let running = Arc::new(self.registry.running());
            self.parts.running.send_replace(running);
            self.tell_sites();
            self.reported = false;
            self.told = Some(now);
        }
    }

    /// Tells Nodes who serves them, where that has changed.
    fn tell_sites(&mut self) {
        for (node, peers) in self.sites.changed(&self.registry.sites()) {
            self.order(
                node,
                NodeOrders {
                    peers: Some(peers),
                    ..NodeOrders::default()
                },
            );
        }
    }

    fn on_round(&mut self, now: Instant) {
        let known: Vec<NodeId> = self
            .parts
            .consensus
            .shared()
            .look(|state| state.nodes.keys().copied().collect());
        self.expired = self.registry.silent(known.into_iter(), now);
        if planted!(SilenceNotSeen) {
            self.expired.clear();
        }
    }

    fn on_stored(&mut self, node: NodeId, token: AttemptToken, grant: Result<Grant, String>) {
        match grant {
            Ok(grant) => self.send_grants(node, vec![grant]),
            Err(message) => {
                if planted!(ListNotStoredForgotten) {
                    return;
                }
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

    /// The only waits on the log: who is there, who is silent, what ended and who gets what.
    async fn carry_out(&mut self) {
        if !self.opening.is_empty() {
            self.register().await;
        }
        if !self.expired.is_empty() {
            self.expire().await;
        }
        if self.due || !self.finished.is_empty() || !self.returned.is_empty() {
            self.settle().await;
        }
    }

    async fn expire(&mut self) {
        let silent = std::mem::take(&mut self.expired);
        let shared = self.parts.consensus.shared().clone();
        let mut commands = Vec::new();
        for node in &silent {
            tracing::warn!(%node, name = self.registry.name(*node), "a node is silent; its leases end");
            let leases = shared.look(|state| state.leases_of(*node));
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
