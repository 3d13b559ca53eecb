//! What a make-believe Node holds, modelled after the reporter and the slots of the real one. Pure.

use crate::schedule::NodeDraw;
use recode_types::task::{AttemptOutcome, Work};
use recode_types::{
    AttemptProgress, AttemptToken, FinishedAttempt, NodeHello, NodeOrders, NodeReport,
};
use std::collections::BTreeMap;

/// An Attempt that was granted and has not ended.
#[derive(Debug)]
pub struct Running {
    /// What is to be done.
    pub work: Work,
    /// It never ends by itself.
    pub hung: bool,
    heavy: bool,
    started: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Slots {
    /// What the Node is like.
    pub draw: NodeDraw,
    running: BTreeMap<AttemptToken, Running>,
    finished: BTreeMap<AttemptToken, AttemptOutcome>,
    sequence: u64,
}

impl Slots {
    /// Empty ones.
    pub fn new(draw: NodeDraw) -> Self {
        Self {
            draw,
            running: BTreeMap::new(),
            finished: BTreeMap::new(),
            sequence: 0,
        }
    }

    /// It holds something.
    pub fn is_busy(&self) -> bool {
        !self.running.is_empty() || !self.finished.is_empty()
    }

    /// What it holds, for people.
    pub fn holds(&self) -> Vec<String> {
        let running = self.running.keys().map(|t| format!("{t} runs"));
        let finished = self.finished.keys().map(|t| format!("{t} has ended"));
        running.chain(finished).collect()
    }

    /// As after the death of the process.
    pub fn clear(&mut self) {
        self.running.clear();
        self.finished.clear();
    }

    fn held(&self, heavy: bool) -> u32 {
        self.running.values().filter(|r| r.heavy == heavy).count() as u32
    }

    /// What the Node says. `index` and `life`: which Node this is, and its which process.
    pub fn report(&mut self, index: usize, life: u32, first: bool) -> NodeReport {
        self.sequence = if first { 1 } else { self.sequence + 1 };
        NodeReport {
            instance: format!("{index}.{life}"),
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
            returned: Vec::new(),
            offer: None,
            load: None,
            traffic: None,
        }
    }

    /// Takes orders. `true`: the Node answers with a report.
    pub fn take(&mut self, orders: &NodeOrders) -> bool {
        for token in &orders.acknowledged {
            self.finished.remove(token);
        }
        for token in &orders.revocations {
            self.running.remove(token);
            self.finished.remove(token);
        }
        let mut owed = !orders.revocations.is_empty();
        for grant in &orders.grants {
            let token = AttemptToken {
                task: grant.task,
                attempt: grant.attempt,
            };
            if self.running.contains_key(&token) || self.finished.contains_key(&token) {
                continue;
            }
            owed = true;
            let running = Running {
                heavy: grant.work.is_heavy(),
                work: grant.work.clone(),
                started: false,
                hung: false,
            };
            self.running.insert(token, running);
        }
        owed
    }

    /// Starts what has a slot.
    pub fn start(&mut self) -> Vec<AttemptToken> {
        let busy = self.running.values().filter(|r| r.heavy && r.started);
        let mut room = (self.draw.heavy as usize).saturating_sub(busy.count());
        let mut start = Vec::new();
        for (token, running) in &mut self.running {
            if running.started || running.heavy && room == 0 {
                continue;
            }
            room -= usize::from(running.heavy);
            running.started = true;
            start.push(*token);
        }
        start
    }

    /// What runs under this number.
    pub fn get(&mut self, token: &AttemptToken) -> Option<&mut Running> {
        self.running.get_mut(token)
    }

    /// What would never end by itself.
    pub fn hung(&self) -> Vec<AttemptToken> {
        let hung = self.running.iter().filter(|(_, r)| r.hung);
        hung.map(|(token, _)| *token).collect()
    }

    /// An Attempt has ended; it is reported until it is acknowledged.
    pub fn end(&mut self, token: AttemptToken, outcome: AttemptOutcome) {
        self.running.remove(&token);
        self.finished.insert(token, outcome);
    }
}
