//! What the Leader's memory holds of Nodes: who was heard when, what is free, what runs, how fast. Pure: time is an
//! argument, and the dispatcher owns the one instance.
//!
//! Silence has its one home here. A Node that was not heard for a lease and a grace period loses its Leases; a new Leader
//! waits one such period first, since it has heard from no one yet.

mod heard;
mod trusted;

use super::footprint::Footprints;
use super::sites::{Member, Sites};
use crate::schedule::{self, Class, Fleet, FreeNode, Held, Standing, Trust};
use heard::Heard;
use recode_types::task::AttemptOutcome;
use recode_types::{
    AttemptProgress, AttemptToken, JobId, Needs, NodeHeard, NodeId, NodeReport, Offer, Suspended,
};
use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a Lease outlives the last report of its holder.
pub const LEASE: Duration = Duration::from_secs(10);

/// What is added for clocks that run at different rates and reports that were under way.
pub const GRACE: Duration = Duration::from_secs(5);

/// A Leader that has not looked for so long was itself not there: what Nodes said meanwhile has not reached it yet.
const ABSENT: Duration = Duration::from_secs(5);

/// All Nodes that were heard of.
#[derive(Debug)]
pub struct Registry {
    began: Instant,
    /// Nobody is silent for longer than since then.
    since: Instant,
    /// When silence was looked for last.
    looked: Instant,
    nodes: BTreeMap<NodeId, Heard>,
    pub(super) fleet: Fleet,
    pub(super) footprints: Footprints,
    /// Who has failed at what.
    trust: Trust,
    /// Nodes that lack an encoder of a Class, as long as no Node says anything else of itself.
    lacking: BTreeMap<Class, Arc<BTreeSet<NodeId>>>,
    /// Classes of which all Nodes were asked how fast they will be, for as long.
    foretold: BTreeSet<Class>,
}

/// Classes of which it is remembered what Nodes said of themselves.
const MOST_CLASSES: usize = 1024;

/// What differs between what a Node says it holds and what the log says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Held without a Lease: to be ended.
    pub revoke: Vec<AttemptToken>,
    /// Leased, but the Node knows nothing of it: to be granted again.
    pub grant_again: Vec<AttemptToken>,
    /// Finished, and the log still waits for it.
    pub complete: Vec<AttemptToken>,
    /// Finished, and the log has it or does not want it.
    pub acknowledge: Vec<AttemptToken>,
    /// Given back unfinished while it had a Lease: others may have them.
    pub returned: Vec<AttemptToken>,
}

impl Registry {
    /// An empty one, of a Leader that leads since `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            began: now,
            since: now,
            looked: now,
            nodes: BTreeMap::new(),
            fleet: Fleet::default(),
            footprints: Footprints::default(),
            trust: Trust::default(),
            lacking: BTreeMap::new(),
            foretold: BTreeSet::new(),
        }
    }

    fn clock(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    /// A Node has opened an exchange.
    pub fn opened(&mut self, node: NodeId, exchange: u64, report: NodeReport, now: Instant) {
        let hello = report.hello.clone().unwrap_or_default();
        self.said();
        self.fleet.came(node, hello.heavy_slots, hello.memory_bytes);
        self.nodes.insert(
            node,
            Heard {
                exchange,
                listed: hello.capabilities.clone(),
                hello,
                offer: None,
                load: None,
                traffic: None,
                last: now,
                open: true,
                report,
                unseen: BTreeMap::new(),
            },
        );
        self.measured(node);
    }

    /// A Node has said what it is, or is gone: what follows from that for Classes is found out anew.
    fn said(&mut self) {
        self.lacking.clear();
        self.foretold.clear();
        self.footprints.forget();
    }

    /// Keeps what a report says beyond the moment, and names as capabilities only what is offered.
    fn measured(&mut self, node: NodeId) {
        let Some(heard) = self.nodes.get_mut(&node) else {
            return;
        };
        heard.load = heard.report.load.take().or(heard.load);
        heard.traffic = heard.report.traffic.take().or(heard.traffic);
        if let Some(offer) = heard.report.offer.take() {
            let listed = heard.listed.iter();
            heard.hello.capabilities = listed
                .filter(|encoder| offer.withholds(encoder).is_none())
                .cloned()
                .collect();
            heard.offer = Some(offer);
            self.said();
        }
    }

    /// A Node has reported. Answers whether more than its progress has changed.
    pub fn reported(&mut self, node: NodeId, report: NodeReport, now: Instant) -> bool {
        let clock = self.clock(now);
        let Some(heard) = self.nodes.get_mut(&node) else {
            return false;
        };
        heard.last = now;
        for running in &report.running {
            let token = token(running);
            heard.unseen.remove(&token);
            let frames = (running.frames, running.frames_total);
            self.fleet.seen(node, &token, frames, clock);
        }
        self.fleet.told(node);
        for finished in &report.finished {
            heard.unseen.remove(&finished.token);
        }
        for returned in &report.returned {
            heard.unseen.remove(returned);
        }
        let room = |r: &NodeReport| (r.free_heavy, r.free_light, r.draining);
        let said = !report.finished.is_empty() || !report.returned.is_empty();
        let changed = said || room(&report) != room(&heard.report);
        heard.report = report;
        self.measured(node);
        changed
    }

    /// An exchange has ended. The Node counts as heard until its lease period is over, but gets nothing new.
    pub fn closed(&mut self, node: NodeId, exchange: u64) {
        if let Some(heard) = self.nodes.get_mut(&node)
            && heard.exchange == exchange
        {
            heard.open = false;
        }
    }

    /// Nodes that lack something which a command job needs.
    pub fn without(&self, needs: &Needs) -> Vec<NodeId> {
        let lacking = self
            .nodes
            .iter()
            .filter(|(_, node)| !needs.fits(&node.hello));
        lacking.map(|(id, _)| *id).collect()
    }

    /// Nodes that say what they have and lack one of the encoders that work of a Class needs; `encoders` is asked once.
    pub fn lacking<'a>(
        &mut self,
        class: Class,
        encoders: impl FnOnce() -> Vec<&'a str>,
    ) -> Arc<BTreeSet<NodeId>> {
        if self.lacking.len() >= MOST_CLASSES {
            self.lacking.clear();
        }
        let lacking = self.lacking.entry(class).or_insert_with(|| {
            let encoders = encoders();
            let lacks = |node: &Heard| encoders.iter().any(|e| node.hello.lacks(e));
            let nodes = self.nodes.iter().filter(|(_, node)| lacks(node));
            Arc::new(nodes.map(|(id, _)| *id).collect())
        });
        Arc::clone(lacking)
    }

    /// Asks every Node, by its Offer, how fast it will be at a Class, unless that was done. Answers whether anybody knew.
    pub fn foretell(&mut self, class: Class, speed: impl Fn(&Offer) -> Option<f64>) -> bool {
        if self.foretold.len() >= MOST_CLASSES {
            self.foretold.clear();
        }
        if !self.foretold.insert(class) {
            return false;
        }
        let mut known = false;
        for (id, heard) in &self.nodes {
            if let Some(speed) = heard.offer.as_ref().and_then(&speed) {
                self.fleet.foretold(*id, class, speed);
                known = true;
            }
        }
        known
    }

    /// An Attempt was granted to a Node.
    pub fn granted(&mut self, node: NodeId, token: AttemptToken, held: Held, now: Instant) {
        if let Some(heard) = self.nodes.get_mut(&node) {
            heard.unseen.insert(token, held.heavy);
            let clock = now.saturating_duration_since(self.began);
            self.fleet.granted(node, token, held, clock);
        }
    }

    /// A Node holds an Attempt that it was granted before its exchange began.
    pub fn holds(&mut self, node: NodeId, token: AttemptToken, held: Held, now: Instant) {
        let clock = self.clock(now);
        if !self.fleet.holds(node, &token) {
            self.fleet.granted(node, token, held, clock);
        }
    }

    /// An Attempt has ended. `worked`: it did the work that was predicted, so it says how fast the Node is.
    pub fn ended(
        &mut self,
        node: NodeId,
        token: &AttemptToken,
        worked: Option<Duration>,
        now: Instant,
    ) {
        if let Some(heard) = self.nodes.get_mut(&node) {
            heard.unseen.remove(token);
        }
        let clock = self.clock(now);
        self.fleet.ended(node, token, worked, clock);
    }

    /// Most memory that a sample of an encoder took on any Node; `None`: nobody has measured it.
    pub fn peak(&self, encoder: &str) -> Option<u64> {
        let offers = self.nodes.values().filter_map(|node| node.offer.as_ref());
        let peaks = offers.filter_map(|offer| Some(offer.proof(encoder)?.peak_rss_bytes));
        peaks.max().filter(|peak| *peak > 0)
    }

    /// Memory that an Attempt which was granted to a Node is likely to need; `None`: that was but guessed.
    pub fn memory_for(&self, node: NodeId, token: &AttemptToken) -> Option<u64> {
        let held = self.fleet.held(node, token)?;
        let known = self.footprints.knows(token.task.job, held.class);
        (known && held.memory_bytes > 0).then_some(held.memory_bytes)
    }

    /// What each Node would take now.
    pub fn free(&self, now: Instant) -> Vec<FreeNode> {
        let (present, clock) = (LazyCell::new(|| self.present()), self.clock(now));
        let trusted = |node: NodeId| match self.trust.is_spotless() {
            true => Standing::Good,
            false => self.trust.standing(node, &present, clock),
        };
        let nodes = self.nodes.iter().filter(|(_, n)| n.takes_work());
        let room = nodes.filter_map(|(id, heard)| {
            let (heavy, light) = heard.room();
            match trusted(*id) {
                Standing::Good => Some((*id, heavy, light)),
                Standing::OnTrial if heard.is_idle() => Some((*id, heavy.min(1), light.min(1))),
                Standing::OnTrial => Some((*id, 0, 0)),
                Standing::Suspended { .. } => None,
            }
        });
        self.fleet.free(room, clock)
    }

    /// What should be taken from Nodes that are slow, since `nodes` that are idle have it done much earlier.
    pub fn relieve(&self, nodes: &[FreeNode], now: Instant) -> Vec<(NodeId, AttemptToken)> {
        schedule::relieve(&self.fleet.pending(nodes, self.clock(now)), nodes)
    }

    /// What a Node says it holds.
    pub fn held_by(&self, node: NodeId) -> BTreeSet<AttemptToken> {
        let running = self.nodes.get(&node).map(|n| n.report.running.iter());
        running.into_iter().flatten().map(token).collect()
    }

    /// Compares what a Node said last with the Leases that the log says it holds. `first`: this is the first report of
    /// an exchange, so what it does not list was lost on the way.
    pub fn compare(
        &self,
        node: NodeId,
        leased: &BTreeSet<AttemptToken>,
        first: bool,
    ) -> Difference {
        let Some(heard) = self.nodes.get(&node) else {
            return Difference::default();
        };
        let running: BTreeSet<_> = heard.report.running.iter().map(token).collect();
        let finished: BTreeSet<_> = heard.report.finished.iter().map(|f| f.token).collect();
        let given_back: BTreeSet<_> = heard.report.returned.iter().copied().collect();
        let (complete, mut acknowledge): (Vec<_>, Vec<_>) =
            finished.iter().partition(|t| leased.contains(t));
        let (returned, stale): (Vec<_>, Vec<_>) =
            given_back.iter().partition(|t| leased.contains(t));
        acknowledge.extend(stale);
        let known = |t: &AttemptToken| {
            running.contains(t) || finished.contains(t) || given_back.contains(t)
        };
        Difference {
            revoke: running.difference(leased).copied().collect(),
            grant_again: leased
                .iter()
                .filter(|t| first && !known(t))
                .copied()
                .collect(),
            complete,
            acknowledge,
            returned,
        }
    }

    /// Which of `known` have been silent for too long at `now`. To be asked every second or so: a Leader that was itself
    /// stopped for a while hears nobody in that time, and begins to count anew when it wakes.
    pub fn silent(&mut self, known: impl Iterator<Item = NodeId>, now: Instant) -> Vec<NodeId> {
        if now.saturating_duration_since(self.looked) > ABSENT {
            self.since = now;
        }
        self.looked = now;
        known
            .filter(|id| {
                let last = self
                    .nodes
                    .get(id)
                    .map_or(self.since, |n| n.last.max(self.since));
                now.saturating_duration_since(last) > LEASE + GRACE
            })
            .collect()
    }

    /// A Node is known no longer.
    pub fn forget(&mut self, node: NodeId) {
        self.nodes.remove(&node);
        self.fleet.left(node);
        self.trust.forget_node(node);
        self.said();
    }

    /// Nodes that have an exchange and do not leave.
    pub fn present(&self) -> BTreeSet<NodeId> {
        let nodes = self.nodes.iter().filter(|(_, n)| n.takes_work());
        nodes.map(|(id, _)| *id).collect()
    }

    /// The Nodes of each site that serve each other: those that have an exchange and do not leave.
    pub fn sites(&self) -> Sites {
        let mut sites = Sites::new();
        for (id, heard) in self.nodes.iter().filter(|(_, n)| n.takes_work()) {
            if let Some(site) = heard.hello.site() {
                let member = Member {
                    address: heard.hello.peer.clone(),
                    slots: heard.hello.heavy_slots,
                    worth: heard.worth(),
                };
                let site = sites.entry(site.to_owned()).or_default();
                site.insert(*id, member);
            }
        }
        sites
    }

    /// The site of a Node that serves one.
    pub fn site(&self, node: NodeId) -> Option<&str> {
        self.nodes.get(&node)?.hello.site()
    }

    /// What one of a Node's slots costs in an hour, and a gigabyte on its link, where its labels say.
    pub fn prices(&self, node: NodeId) -> (Option<f64>, Option<f64>) {
        let heard = self.nodes.get(&node);
        heard.map_or((None, None), Heard::prices)
    }

    /// Whether a Node said last that it leaves.
    pub fn is_leaving(&self, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|n| n.report.draining)
    }

    /// The exchange that counts for a Node.
    pub fn exchange(&self, node: NodeId) -> Option<u64> {
        self.nodes.get(&node).map(|n| n.exchange)
    }

    /// The sequence of its last report.
    pub fn sequence(&self, node: NodeId) -> u64 {
        self.nodes.get(&node).map_or(0, |n| n.report.sequence)
    }

    /// How an Attempt ended, as its Node said last.
    pub fn outcome(&self, node: NodeId, token: &AttemptToken) -> Option<AttemptOutcome> {
        let finished = &self.nodes.get(&node)?.report.finished;
        finished
            .iter()
            .find(|f| f.token == *token)
            .map(|f| f.outcome.clone())
    }

    /// The name a Node goes by.
    pub fn name(&self, node: NodeId) -> &str {
        self.nodes.get(&node).map_or("", |n| &n.hello.name)
    }

    /// What Nodes said last, for whoever asks.
    pub fn heard(&self, now: Instant) -> BTreeMap<NodeId, NodeHeard> {
        let (everybody, clock) = (self.present(), self.clock(now));
        let nodes = self.nodes.iter();
        nodes
            .map(|(id, heard)| {
                let present = heard.takes_work();
                let suspended = match self.trust.standing(*id, &everybody, clock) {
                    Standing::Suspended { failures, left } => Some(Suspended {
                        failures,
                        left_ms: left.as_millis() as u64,
                    }),
                    Standing::Good | Standing::OnTrial => None,
                };
                let takes = present && suspended.is_none();
                let (heavy, light) = if takes { heard.room() } else { (0, 0) };
                let said = NodeHeard {
                    hello: heard.hello.clone(),
                    present,
                    free_heavy: heavy,
                    free_light: light,
                    speed: self.fleet.speed(*id).unwrap_or(0.0),
                    running: heard.report.running.clone(),
                    leaving: heard.report.draining,
                    suspended,
                    offer: heard.offer.clone(),
                    load: heard.load,
                    traffic: heard.traffic,
                };
                (*id, said)
            })
            .collect()
    }

    /// What runs, by Job, as Nodes said last.
    pub fn running(&self) -> BTreeMap<JobId, Vec<AttemptProgress>> {
        let mut jobs: BTreeMap<JobId, Vec<AttemptProgress>> = BTreeMap::new();
        for running in self.nodes.values().flat_map(|n| &n.report.running) {
            jobs.entry(running.task.job)
                .or_default()
                .push(running.clone());
        }
        jobs
    }
}

fn token(running: &AttemptProgress) -> AttemptToken {
    AttemptToken {
        task: running.task,
        attempt: running.attempt,
    }
}

#[cfg(test)]
mod tests;
