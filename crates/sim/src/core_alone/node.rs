//! Make-believe Nodes, modelled after the reporter and the slots of the real one: they answer honestly, late, twice, never,
//! or with a lie.

use super::world::{Event, Place, World};
use crate::faults::Fault;
use crate::film;
use crate::schedule::NodeDraw;
use recode_types::task::{AttemptOutcome, FailureClass, TaskResult, Work};
use recode_types::{
    AttemptProgress, AttemptToken, Codec, Digest, FinishedAttempt, NodeHello, NodeOrders,
    NodeReport,
};
use std::collections::BTreeMap;

/// A dial that is not answered.
const DIAL_MS: u64 = 5_000;

#[derive(Debug)]
struct Running {
    work: Work,
    heavy: bool,
    started: bool,
    hung: bool,
}

/// One Node process.
#[derive(Debug)]
pub struct SimNode {
    pub draw: NodeDraw,
    pub up: bool,
    /// Counts its starts: each is another incarnation.
    pub life: u32,
    pub paused_until: u64,
    exchange: Option<usize>,
    /// When it dialled, while nobody has answered.
    dialled_at: Option<u64>,
    target: usize,
    running: BTreeMap<AttemptToken, Running>,
    finished: BTreeMap<AttemptToken, AttemptOutcome>,
    sequence: u64,
}

impl SimNode {
    pub fn new(draw: NodeDraw) -> Self {
        Self {
            draw,
            up: false,
            life: 0,
            paused_until: 0,
            exchange: None,
            dialled_at: None,
            target: 0,
            running: BTreeMap::new(),
            finished: BTreeMap::new(),
            sequence: 0,
        }
    }

    pub fn is_busy(&self) -> bool {
        !self.running.is_empty() || !self.finished.is_empty()
    }

    /// What it holds, for people.
    pub fn holds(&self) -> Vec<String> {
        let running = self.running.keys().map(|t| format!("{t} runs"));
        let finished = self.finished.keys().map(|t| format!("{t} has ended"));
        running.chain(finished).collect()
    }

    fn held(&self, heavy: bool) -> u32 {
        self.running.values().filter(|r| r.heavy == heavy).count() as u32
    }

    fn report(&mut self, index: usize, first: bool) -> NodeReport {
        self.sequence = if first { 1 } else { self.sequence + 1 };
        NodeReport {
            instance: format!("{index}.{}", self.life),
            sequence: self.sequence,
            hello: first.then(|| NodeHello {
                name: format!("host {index}"),
                heavy_slots: self.draw.heavy,
                light_slots: self.draw.light,
                ..NodeHello::default()
            }),
            running: self
                .running
                .keys()
                .map(|token| AttemptProgress {
                    task: token.task,
                    attempt: token.attempt,
                    frames: 0,
                    frames_total: 0,
                    media_us: 0,
                })
                .collect(),
            finished: self
                .finished
                .iter()
                .map(|(token, outcome)| FinishedAttempt {
                    token: *token,
                    outcome: outcome.clone(),
                })
                .collect(),
            // One heavy Attempt more than there are slots: its input is fetched meanwhile.
            free_heavy: (self.draw.heavy + 1).saturating_sub(self.held(true)),
            free_light: self.draw.light.saturating_sub(self.held(false)),
            draining: false,
        }
    }
}

impl World {
    fn lives(&self, node: usize, life: u32) -> bool {
        self.nodes[node].up && self.nodes[node].life == life
    }

    pub fn node_starts(&mut self, node: usize) {
        let one = &mut self.nodes[node];
        if one.up {
            return;
        }
        one.up = true;
        one.life += 1;
        let life = one.life;
        self.after(1, Event::Dial { node, life });
        self.after(1, Event::Tick { node, life });
    }

    pub fn node_dies(&mut self, node: usize) {
        let one = &mut self.nodes[node];
        one.up = false;
        one.running.clear();
        one.finished.clear();
        one.dialled_at = None;
        if let Some(exchange) = one.exchange.take() {
            self.break_exchange(exchange);
        }
    }

    pub fn on_dial(&mut self, node: usize, life: u32) {
        if !self.lives(node, life) || self.nodes[node].exchange.is_some() {
            return;
        }
        let to = self.nodes[node].target;
        let exchange = self.new_exchange(node, to);
        let one = &mut self.nodes[node];
        one.exchange = Some(exchange);
        one.dialled_at = Some(self.now);
        let report = Box::new(one.report(node, true));
        let event = Event::Open {
            to,
            exchange,
            report,
        };
        self.send(Place::Node(node), Place::Coordinator(to), event);
    }

    fn dial_another(&mut self, node: usize) {
        let count = self.coordinators.len();
        let one = &mut self.nodes[node];
        one.exchange = None;
        one.dialled_at = None;
        one.target = (one.target + 1) % count;
        let life = one.life;
        let wait = self.rng.within(100, 1_000);
        self.after(wait, Event::Dial { node, life });
    }

    pub fn on_hang_up(&mut self, exchange: usize) {
        let node = self.exchanges[exchange].node;
        if self.nodes[node].exchange == Some(exchange) && self.nodes[node].up {
            self.dial_another(node);
        }
    }

    pub fn on_tick(&mut self, node: usize, life: u32) {
        if !self.lives(node, life) {
            return;
        }
        let wait = 1_000_000 / self.nodes[node].draw.rate;
        self.after(wait, Event::Tick { node, life });
        match (self.nodes[node].exchange, self.nodes[node].dialled_at) {
            (Some(exchange), Some(at)) if self.now - at > DIAL_MS => {
                self.exchanges[exchange].broken = true;
                self.dial_another(node);
            }
            (Some(_), None) => self.node_says(node),
            _ => {}
        }
    }

    fn node_says(&mut self, node: usize) {
        let one = &mut self.nodes[node];
        let (Some(exchange), None) = (one.exchange, one.dialled_at) else {
            return;
        };
        let report = Box::new(one.report(node, false));
        self.say(exchange, true, Event::Report { exchange, report });
    }

    pub fn on_orders(&mut self, exchange: usize, orders: &NodeOrders) {
        let stream = &self.exchanges[exchange];
        let node = stream.node;
        let one = &mut self.nodes[node];
        if !one.up || one.life != stream.life || one.exchange != Some(exchange) || stream.broken {
            return;
        }
        one.dialled_at = None;
        self.trace.line(self.now, || {
            let granted = orders
                .grants
                .iter()
                .map(|g| format!("{}#{}", g.task, g.attempt));
            format!(
                "node {node} is granted {:?}, loses {:?}, is rid of {:?}",
                granted.collect::<Vec<_>>(),
                orders.revocations,
                orders.acknowledged
            )
        });
        for token in &orders.acknowledged {
            one.finished.remove(token);
        }
        for token in &orders.revocations {
            one.running.remove(token);
            one.finished.remove(token);
        }
        let mut owed = !orders.revocations.is_empty();
        for grant in &orders.grants {
            let token = AttemptToken {
                task: grant.task,
                attempt: grant.attempt,
            };
            if one.running.contains_key(&token) || one.finished.contains_key(&token) {
                continue;
            }
            owed = true;
            let running = Running {
                heavy: grant.work.is_heavy(),
                work: grant.work.clone(),
                started: false,
                hung: false,
            };
            one.running.insert(token, running);
        }
        self.begin(node);
        if owed {
            self.node_says(node);
        }
    }

    /// Starts what has a slot.
    fn begin(&mut self, node: usize) {
        let one = &self.nodes[node];
        let (slots, life) = (one.draw.heavy as usize, one.life);
        let busy = one
            .running
            .values()
            .filter(|r| r.heavy && r.started)
            .count();
        let mut room = slots.saturating_sub(busy);
        let mut start = Vec::new();
        for (token, running) in &one.running {
            if running.started || running.heavy && room == 0 {
                continue;
            }
            room -= usize::from(running.heavy);
            start.push(*token);
        }
        for token in start {
            let hangs = !self.calm && self.rng.chance(self.schedule.rates.hang);
            let slowness = self.nodes[node].draw.slowness;
            let running = self.nodes[node]
                .running
                .get_mut(&token)
                .expect("listed above");
            running.started = true;
            running.hung = hangs;
            let usual = match &running.work {
                Work::Probe { deep: false, .. } => (100, 800),
                Work::Probe { deep: true, .. } | Work::Whole { .. } => (1_000, 6_000),
                Work::Encode(_) => (500, 6_000),
                Work::Trial(_) => (200, 1_500),
                Work::Audio { .. } | Work::Command { .. } => (500, 4_000),
                Work::Stitch(_) => (200, 2_000),
            };
            if hangs {
                self.fired.add(Fault::AttemptHung);
            } else {
                let wait = self.rng.within(usual.0, usual.1) * slowness / 100;
                self.after(wait, Event::Ends { node, life, token });
            }
        }
    }

    /// The watchdogs of all Nodes: what has hung is killed.
    pub fn end_hung(&mut self) {
        for node in 0..self.nodes.len() {
            let life = self.nodes[node].life;
            let hung = self.nodes[node].running.iter().filter(|(_, r)| r.hung);
            for token in hung.map(|(t, _)| *t).collect::<Vec<_>>() {
                self.after(1, Event::Ends { node, life, token });
            }
        }
    }

    pub fn on_ends(&mut self, node: usize, life: u32, token: AttemptToken) {
        if !self.lives(node, life) {
            return;
        }
        let Some(running) = self.nodes[node].running.remove(&token) else {
            return;
        };
        let outcome = if running.hung {
            film::failed(FailureClass::Killed)
        } else {
            self.outcome(node, &running.work)
        };
        self.nodes[node].finished.insert(token, outcome);
        self.begin(node);
        self.node_says(node);
    }

    fn outcome(&mut self, node: usize, work: &Work) -> AttemptOutcome {
        let rates = self.schedule.rates;
        if self.nodes[node].draw.lacks_av1
            && let Work::Encode(work) | Work::Trial(work) = work
            && work
                .renditions
                .iter()
                .any(|r| r.rendition.codec == Codec::Av1)
        {
            return film::failed(FailureClass::MissingCapability);
        }
        if !self.calm && self.rng.chance(rates.fail) {
            self.fired.add(Fault::AttemptFailed);
            let class = self.rng.pick(&[
                FailureClass::Killed,
                FailureClass::Killed,
                FailureClass::Killed,
                FailureClass::OutOfResources,
                FailureClass::OutOfResources,
                FailureClass::Store,
                FailureClass::Store,
                FailureClass::Unknown,
                FailureClass::Unknown,
                FailureClass::IndexLied,
                FailureClass::MissingCapability,
                FailureClass::BadInput,
                FailureClass::SourceChanged,
                FailureClass::OutputExists,
            ]);
            return film::failed(class);
        }
        self.made += 1;
        let honest = match work {
            Work::Stitch(stitch) => {
                let request = self.template_of(stitch.facts.size_bytes);
                let list = &self.lists[stitch.chunks.size_bytes as usize];
                film::stitch(stitch, list, request)
            }
            work => self.library.honest(work, self.made),
        };
        if !self.calm
            && self.rng.chance(rates.lie)
            && let AttemptOutcome::Done { result, .. } = &honest
        {
            let lie = self.lie(work, result.clone());
            if lie != *result {
                self.fired.add(Fault::AttemptLied);
                return film::done(lie, 0);
            }
        }
        honest
    }

    fn template_of(&self, facts: u64) -> &recode_types::JobRequest {
        &self.library.templates[(facts >> 1) as usize].request
    }

    /// Something that was not asked for.
    fn lie(&mut self, work: &Work, mut result: TaskResult) -> TaskResult {
        let draw = self.rng.below(10);
        match &mut result {
            TaskResult::Encoded { chunks } if !chunks.is_empty() => {
                let which = self.rng.index(chunks.len());
                let other = Digest([9; 32]);
                match draw {
                    0 => chunks.clear(),
                    // The bytes of another Segment, under its own name and under this one's.
                    1 => chunks[which].segment += 1,
                    2 => {
                        chunks[which].signature_first += 1;
                        chunks[which].signature_last += 1;
                    }
                    3 => chunks[which].address = other,
                    4 => chunks[which].output += 1,
                    5 => chunks[which].params = other,
                    6 => {
                        chunks.remove(which);
                    }
                    // Twice, and not alike.
                    7 => {
                        let mut twin = chunks[which].clone();
                        twin.params = other;
                        chunks.push(twin);
                    }
                    8 => {
                        let mut twin = chunks[which].clone();
                        twin.artifact = film::artifact(self.made + 1_000_000);
                        chunks.push(twin);
                    }
                    _ => {
                        return TaskResult::Track {
                            artifact: film::artifact(self.made),
                            payload_bytes: 1,
                        };
                    }
                }
            }
            TaskResult::Tried { points } => match draw {
                0..3 => points.clear(),
                3..5 => points.push(vec![(1, 1)]),
                5..7 => points.iter_mut().for_each(Vec::clear),
                7..9 => points.iter_mut().flatten().for_each(|p| p.1 = 0),
                _ => return TaskResult::Encoded { chunks: Vec::new() },
            },
            TaskResult::Stitched { output } => match draw {
                0..3 => output.output += 1,
                3..5 => {
                    return TaskResult::Revise {
                        violations: Vec::new(),
                    };
                }
                5..7 => {
                    return TaskResult::Revise {
                        violations: vec![(4_000_000, 500, 1_000)],
                    };
                }
                7..9 if matches!(work, Work::Stitch(_)) => {
                    let violations = vec![(self.rng.below(4) as u32, 500, 1_000)];
                    return TaskResult::Revise { violations };
                }
                _ => {
                    return TaskResult::Probed {
                        facts: film::artifact(0),
                    };
                }
            },
            TaskResult::Probed { .. } | TaskResult::Track { .. } if draw < 5 => {
                return TaskResult::Tried { points: Vec::new() };
            }
            _ => {}
        }
        result
    }
}
