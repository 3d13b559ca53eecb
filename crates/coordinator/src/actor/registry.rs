//! What the Leader's memory holds of Nodes: who was heard when, what is free, what runs, how fast. Pure: time is an
//! argument, and [`super::dispatcher`] owns the one instance.
//!
//! Silence has its one home here. A Node that was not heard for a lease and a grace period loses its Leases; a new Leader
//! waits one such period first, since it has heard from no one yet.

use recode_core::schedule::{self, Class, Fleet, FreeNode, Held, Standing, Trust};
use recode_types::task::{AttemptOutcome, FailureClass};
use recode_types::{
    AttemptProgress, AttemptToken, JobId, Needs, NodeHeard, NodeHello, NodeId, NodeLoad,
    NodeReport, Offer, PeerTraffic, Suspended,
};
use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long a Lease outlives the last report of its holder.
pub const LEASE: Duration = Duration::from_secs(10);

/// What is added for clocks that run at different rates and reports that were under way.
pub const GRACE: Duration = Duration::from_secs(5);

/// A Leader that has not looked for so long was itself not there: what Nodes said meanwhile has not reached it yet.
const ABSENT: Duration = Duration::from_secs(5);

/// Sites by name, with the Nodes that serve each other there.
pub type Sites = BTreeMap<String, BTreeMap<NodeId, Member>>;

/// A Node that serves its site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where the others reach it.
    pub address: String,
    /// Heavy Attempts it runs at once.
    pub slots: u32,
}

/// One Node that has an open exchange.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Number of the exchange: what comes late from an older one is ignored.
    pub exchange: u64,
    hello: NodeHello,
    /// What its FFmpeg lists; `hello` names what of it is offered.
    listed: Vec<String>,
    offer: Option<Offer>,
    load: Option<NodeLoad>,
    traffic: Option<PeerTraffic>,
    last: Instant,
    /// The exchange is open. What still comes from one that has ended says nothing of what the Node would take.
    open: bool,
    report: NodeReport,
    /// Granted, but in no report yet: what the Node said was free does not know of them. With whether each is heavy.
    unseen: BTreeMap<AttemptToken, bool>,
}

/// All Nodes that were heard of.
#[derive(Debug)]
pub struct Registry {
    began: Instant,
    /// Nobody is silent for longer than since then.
    since: Instant,
    /// When silence was looked for last.
    looked: Instant,
    nodes: BTreeMap<NodeId, Heard>,
    fleet: Fleet,
    /// Who has failed at what.
    pub trust: Trust,
    /// Nodes that lack an encoder of a Class, as long as no Node says anything else of itself.
    lacking: BTreeMap<Class, BTreeSet<NodeId>>,
}

/// Classes whose lacking Nodes are remembered.
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

impl Heard {
    fn takes_work(&self) -> bool {
        self.open && !self.report.draining
    }
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
            trust: Trust::default(),
            lacking: BTreeMap::new(),
        }
    }

    fn clock(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    /// A Node has opened an exchange.
    pub fn opened(&mut self, node: NodeId, exchange: u64, report: NodeReport, now: Instant) {
        let hello = report.hello.clone().unwrap_or_default();
        self.lacking.clear();
        self.fleet.came(node, hello.heavy_slots);
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
            self.lacking.clear();
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
    ) -> &BTreeSet<NodeId> {
        if self.lacking.len() >= MOST_CLASSES {
            self.lacking.clear();
        }
        self.lacking.entry(class).or_insert_with(|| {
            let encoders = encoders();
            let lacks = |node: &Heard| encoders.iter().any(|e| node.hello.lacks(e));
            let nodes = self.nodes.iter().filter(|(_, node)| lacks(node));
            nodes.map(|(id, _)| *id).collect()
        })
    }

    /// Nodes whose Chunks of an Output would not fit the others: those that were seen to make such, and those that use the
    /// same FFmpeg as one of them.
    pub fn apart(&self, job: JobId, output: u16) -> BTreeSet<NodeId> {
        let Some(seen) = self.trust.apart(job, output) else {
            return BTreeSet::new();
        };
        let known: Vec<&Heard> = seen.iter().filter_map(|id| self.nodes.get(id)).collect();
        let alike = |node: &Heard| known.iter().any(|other| node.is_like(other));
        let nodes = self.nodes.iter().filter(|(_, node)| alike(node));
        nodes
            .map(|(id, _)| *id)
            .chain(seen.iter().copied())
            .collect()
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

    /// An Attempt has failed on a Node. Answers for how long the Node gets nothing because of that.
    pub fn failed(
        &mut self,
        node: NodeId,
        token: &AttemptToken,
        class: FailureClass,
        now: Instant,
    ) -> Option<Duration> {
        let (clock, present) = (self.clock(now), self.present());
        let before = self.trust.standing(node, &present, clock);
        self.trust.failed(node, token.task, class, clock);
        match self.trust.standing(node, &present, clock) {
            Standing::Suspended { left, .. } if !matches!(before, Standing::Suspended { .. }) => {
                Some(left)
            }
            _ => None,
        }
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
        self.lacking.clear();
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
                };
                let site = sites.entry(site.to_owned()).or_default();
                site.insert(*id, member);
            }
        }
        sites
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

impl Heard {
    /// It holds nothing, and nothing is on its way.
    fn is_idle(&self) -> bool {
        self.report.running.is_empty() && self.unseen.is_empty()
    }

    /// Its encoders make what those of another make: the same build of FFmpeg.
    fn is_like(&self, other: &Self) -> bool {
        fn build(heard: &Heard) -> Option<&str> {
            heard.offer.as_ref().map(|offer| offer.build.as_str())
        }
        self.hello.same_ffmpeg(&other.hello) && build(self) == build(other)
    }

    /// Heavy and light Attempts the Node would take now.
    fn room(&self) -> (u32, u32) {
        let unseen = |heavy| self.unseen.values().filter(|h| **h == heavy).count() as u32;
        (
            self.report.free_heavy.saturating_sub(unseen(true)),
            self.report.free_light.saturating_sub(unseen(false)),
        )
    }
}

fn token(running: &AttemptProgress) -> AttemptToken {
    AttemptToken {
        task: running.task,
        attempt: running.attempt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::task::{Failure, Usage};
    use recode_types::{FinishedAttempt, TaskId, TaskKey};

    const NODE: NodeId = NodeId(1);

    fn of(segment: u32) -> AttemptToken {
        let key = TaskKey::Encode { group: 0, segment };
        AttemptToken {
            task: TaskId { job: JobId(1), key },
            attempt: 1,
        }
    }

    fn report(running: &[u32], finished: &[u32], free_heavy: u32) -> NodeReport {
        NodeReport {
            running: running
                .iter()
                .map(|s| AttemptProgress {
                    task: of(*s).task,
                    attempt: 1,
                    frames: 0,
                    frames_total: 0,
                    media_us: 0,
                })
                .collect(),
            finished: finished
                .iter()
                .map(|s| FinishedAttempt {
                    token: of(*s),
                    outcome: AttemptOutcome::Failed {
                        failure: Failure {
                            class: FailureClass::Killed,
                            message: "m".into(),
                            stderr_tail: None,
                        },
                        usage: Usage::default(),
                    },
                })
                .collect(),
            free_heavy,
            ..NodeReport::default()
        }
    }

    fn held() -> Held {
        Held {
            heavy: true,
            cost: 100,
            ..Held::default()
        }
    }

    fn room(registry: &Registry, now: Instant) -> u32 {
        registry.free(now)[0].heavy
    }

    #[test]
    fn a_report_made_before_a_grant_arrived_does_not_free_the_slot_again() {
        let now = Instant::now();
        let mut registry = Registry::new(now);
        registry.opened(NODE, 1, report(&[], &[], 2), now);
        assert_eq!(room(&registry, now), 2);
        registry.granted(NODE, of(0), held(), now);
        registry.granted(NODE, of(1), held(), now);
        assert_eq!(room(&registry, now), 0);
        registry.reported(NODE, report(&[], &[], 2), now);
        assert_eq!(room(&registry, now), 0, "it was on its way");
        registry.reported(NODE, report(&[0], &[], 1), now);
        assert_eq!(room(&registry, now), 0, "one is seen, one is not");
        registry.reported(NODE, report(&[0, 1], &[], 0), now);
        assert_eq!(room(&registry, now), 0);
        registry.reported(NODE, report(&[1], &[0], 1), now);
        assert_eq!(room(&registry, now), 1);
        let speed = |registry: &Registry| registry.heard(now)[&NODE].speed;
        registry.ended(NODE, &of(0), Some(Duration::from_secs(2)), now);
        assert_eq!(speed(&registry), 50.0);
        assert_eq!(registry.free(now)[0].busy, [2.0], "the other one runs");
    }

    #[test]
    fn what_the_node_holds_is_compared_with_its_leases() {
        let now = Instant::now();
        let mut registry = Registry::new(now);
        registry.opened(NODE, 1, report(&[1, 2], &[3, 4], 0), now);
        let leased = BTreeSet::from([of(2), of(4), of(5)]);
        let mut expected = Difference {
            revoke: vec![of(1)],
            grant_again: vec![of(5)],
            complete: vec![of(4)],
            acknowledge: vec![of(3)],
            returned: Vec::new(),
        };
        assert_eq!(registry.compare(NODE, &leased, true), expected);
        expected.grant_again.clear();
        assert_eq!(registry.compare(NODE, &leased, false), expected);
    }

    #[test]
    fn silence_counts_from_the_last_report_and_not_in_a_leaders_first_period() {
        let start = Instant::now();
        let mut registry = Registry::new(start);
        let other = NodeId(2);
        let silent = |r: &mut Registry, s| {
            r.silent([NODE, other].into_iter(), start + Duration::from_secs(s))
        };
        let looks = |r: &mut Registry, from, until| {
            for second in from..until {
                assert_eq!(silent(r, second), []);
            }
        };
        registry.opened(NODE, 1, report(&[], &[], 1), start + Duration::from_secs(8));
        looks(&mut registry, 1, 16);
        assert_eq!(
            silent(&mut registry, 16),
            [other],
            "never heard since this one leads"
        );
        assert_eq!(silent(&mut registry, 20), [other]);
        assert_eq!(silent(&mut registry, 24), [NODE, other]);
        registry.reported(NODE, report(&[], &[], 1), start + Duration::from_secs(20));
        assert_eq!(silent(&mut registry, 24), [other]);
    }

    #[test]
    fn a_leader_that_was_stopped_itself_takes_nobody_for_silent_when_it_wakes() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut registry = Registry::new(start);
        registry.opened(NODE, 1, report(&[], &[], 1), start);
        let mut silent = |s| registry.silent([NODE].into_iter(), at(s));
        (1..=5).for_each(|s| assert_eq!(silent(s), []));
        assert_eq!(silent(65), [], "it was stopped for a minute");
        for s in 66..=80 {
            assert_eq!(silent(s), [], "one lease and grace are waited for anew");
        }
        assert_eq!(silent(81), [NODE]);
    }

    #[test]
    fn what_a_node_withholds_is_none_of_its_capabilities_until_it_offers_it_again() {
        let now = Instant::now();
        let mut registry = Registry::new(now);
        let listed = ["aac", "h264_nvenc", "libx264"].map(str::to_owned).to_vec();
        let hello = NodeHello {
            capabilities: listed.clone(),
            ..NodeHello::default()
        };
        let mut first = report(&[], &[], 1);
        first.hello = Some(hello);
        first.offer = Some(Offer::default());
        first.load = Some(NodeLoad {
            busy_milli: 7,
            ..NodeLoad::default()
        });
        registry.opened(NODE, 1, first, now);
        let seen = |registry: &Registry| registry.heard(now)[&NODE].clone();
        assert_eq!(seen(&registry).hello.capabilities, ["aac", "libx264"]);
        let mut passed = report(&[], &[], 1);
        let mut offer = Offer::default();
        offer.put(recode_types::Proof {
            encoder: "h264_nvenc".to_owned(),
            ..Default::default()
        });
        passed.offer = Some(offer.clone());
        registry.reported(NODE, passed, now);
        registry.reported(NODE, report(&[], &[], 1), now);
        let heard = seen(&registry);
        assert_eq!(heard.hello.capabilities, listed);
        assert_eq!(heard.offer, Some(offer), "said once, and remembered");
        assert_eq!(heard.load.unwrap().busy_milli, 7);
    }

    #[test]
    fn a_closed_exchange_gets_nothing_new_and_an_older_one_closes_nothing() {
        let now = Instant::now();
        let mut registry = Registry::new(now);
        registry.opened(NODE, 2, report(&[], &[], 1), now);
        registry.closed(NODE, 1);
        assert_eq!(registry.free(now).len(), 1);
        registry.closed(NODE, 2);
        assert!(registry.free(now).is_empty() && registry.present().is_empty());
    }

    #[test]
    fn what_still_comes_over_a_closed_exchange_frees_nothing() {
        let now = Instant::now();
        let mut registry = Registry::new(now);
        registry.opened(NODE, 1, report(&[], &[], 1), now);
        registry.closed(NODE, 1);
        registry.reported(NODE, report(&[], &[], 1), now);
        assert!(registry.free(now).is_empty() && registry.present().is_empty());
        assert!(!registry.heard(now)[&NODE].present && !registry.is_leaving(NODE));
        registry.opened(NODE, 2, report(&[], &[], 1), now);
        assert_eq!(registry.free(now).len(), 1);
    }

    #[test]
    fn what_a_leaving_node_gives_back_is_not_granted_to_it_again() {
        let now = Instant::now();
        let mut registry = Registry::new(now);
        let said = |returned: &[u32]| NodeReport {
            returned: returned.iter().map(|s| of(*s)).collect(),
            draining: true,
            ..report(&[1], &[], 0)
        };
        registry.opened(NODE, 1, said(&[2, 3]), now);
        let leased = BTreeSet::from([of(1), of(2), of(4)]);
        let expected = Difference {
            grant_again: vec![of(4)],
            acknowledge: vec![of(3)],
            returned: vec![of(2)],
            ..Difference::default()
        };
        assert_eq!(registry.compare(NODE, &leased, true), expected);
        assert!(registry.free(now).is_empty() && registry.is_leaving(NODE));
        assert!(registry.heard(now)[&NODE].leaving);
        registry.granted(NODE, of(5), held(), now);
        registry.reported(NODE, said(&[5]), now);
        registry.reported(NODE, report(&[], &[], 2), now);
        assert_eq!(room(&registry, now), 2, "what was returned is seen");
    }

    const OTHER: NodeId = NodeId(2);

    /// Two Nodes, the first of which has failed three times.
    fn suspended(now: Instant) -> Registry {
        let mut registry = Registry::new(now);
        for node in [NODE, OTHER] {
            registry.opened(node, node.0, report(&[], &[], 2), now);
        }
        for segment in 0..2 {
            assert_eq!(
                registry.failed(NODE, &of(segment), FailureClass::Unknown, now),
                None
            );
        }
        let pause = registry.failed(NODE, &of(2), FailureClass::Unknown, now);
        assert_eq!(pause, Some(Duration::from_secs(15)));
        registry
    }

    fn asked(registry: &Registry, now: Instant) -> Vec<(NodeId, u32)> {
        let free = registry.free(now).into_iter();
        free.map(|n| (n.node, n.heavy)).collect()
    }

    #[test]
    fn a_node_that_fails_again_and_again_gets_nothing_for_a_while_and_then_one_attempt() {
        let now = Instant::now();
        let mut registry = suspended(now);
        assert_eq!(asked(&registry, now), [(OTHER, 2)]);
        let heard = &registry.heard(now)[&NODE];
        assert_eq!(
            (heard.suspended.map(|s| s.failures), heard.free_heavy),
            (Some(3), 0)
        );
        assert_eq!(registry.heard(now)[&OTHER].suspended, None);
        let later = now + Duration::from_secs(15);
        assert_eq!(asked(&registry, later), [(NODE, 1), (OTHER, 2)]);
        assert_eq!(registry.heard(later)[&NODE].suspended, None);
        registry.granted(NODE, of(3), held(), later);
        assert_eq!(
            asked(&registry, later),
            [(NODE, 0), (OTHER, 2)],
            "one shows it"
        );
        registry.trust.worked(NODE, of(3).task);
        assert_eq!(asked(&registry, later), [(NODE, 1), (OTHER, 2)]);
    }

    #[test]
    fn where_nobody_else_is_left_the_one_that_fails_gets_work() {
        let now = Instant::now();
        let mut registry = suspended(now);
        registry.closed(OTHER, OTHER.0);
        assert_eq!(asked(&registry, now), [(NODE, 2)]);
    }

    #[test]
    fn who_lacks_an_encoder_is_known_until_a_node_says_otherwise() {
        let now = Instant::now();
        let mut registry = Registry::new(now);
        let says = |encoders: &[&str]| {
            let mut said = report(&[], &[], 2);
            let capabilities = encoders.iter().map(|e| (*e).to_owned()).collect();
            said.hello = Some(NodeHello {
                capabilities,
                ..NodeHello::default()
            });
            said
        };
        registry.opened(NODE, 1, says(&["libx264"]), now);
        registry.opened(OTHER, 2, says(&["libx264", "libx265"]), now);
        registry.opened(NodeId(3), 3, says(&[]), now);
        let class = Class::default();
        let x265 = || vec!["libx264", "libx265"];
        assert_eq!(
            *registry.lacking(class, x265),
            [NODE].into(),
            "who says nothing may have it"
        );
        registry.lacking(class, || panic!("it is remembered"));
        registry.opened(NODE, 4, says(&["libx264", "libx265"]), now);
        assert_eq!(*registry.lacking(class, x265), BTreeSet::new());
    }

    #[test]
    fn those_with_the_ffmpeg_of_one_that_is_set_apart_are_so_too() {
        let now = Instant::now();
        let mut registry = Registry::new(now);
        for (node, ffmpeg) in [
            (NODE, "9.0"),
            (OTHER, "8.1"),
            (NodeId(3), "9.0"),
            (NodeId(4), ""),
        ] {
            let mut said = report(&[], &[], 2);
            let ffmpeg = ffmpeg.to_owned();
            said.hello = Some(NodeHello {
                ffmpeg,
                ..NodeHello::default()
            });
            registry.opened(node, node.0, said, now);
        }
        let job = JobId(1);
        registry.trust.set_apart(job, 0, NODE);
        assert_eq!(registry.apart(job, 0), [NODE, NodeId(3)].into());
        assert_eq!(registry.apart(job, 1), BTreeSet::new());
        registry.trust.set_apart(job, 1, NodeId(4));
        assert_eq!(
            registry.apart(job, 1),
            [NodeId(4)].into(),
            "of others it is not known"
        );
    }
}
