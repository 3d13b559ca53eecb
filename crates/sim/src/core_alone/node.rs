//! Make-believe Nodes: their exchanges, and when their Attempts end. What they hold is [`crate::slots`], how Attempts end
//! [`crate::fate`].

use super::world::{Event, Place, World};
use crate::fate::Fate;
use crate::film;
use crate::schedule::NodeDraw;
use crate::slots::Slots;
use recode_types::task::FailureClass;
use recode_types::{AttemptToken, NodeOrders, NodeReport};

/// A dial that is not answered.
const DIAL_MS: u64 = 5_000;

/// One Node process.
#[derive(Debug)]
pub struct SimNode {
    pub slots: Slots,
    pub up: bool,
    /// Counts its starts: each is another incarnation.
    pub life: u32,
    pub paused_until: u64,
    exchange: Option<usize>,
    /// When it dialled, while nobody has answered.
    dialled_at: Option<u64>,
    target: usize,
}

impl SimNode {
    pub fn new(draw: NodeDraw) -> Self {
        Self {
            slots: Slots::new(draw),
            up: false,
            life: 0,
            paused_until: 0,
            exchange: None,
            dialled_at: None,
            target: 0,
        }
    }

    fn report(&mut self, index: usize, first: bool) -> NodeReport {
        self.slots.report(index, self.life, first)
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
        one.slots.clear();
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
        let wait = 1_000_000 / self.nodes[node].slots.draw.rate;
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
        let owed = one.slots.take(orders);
        self.begin(node);
        if owed {
            self.node_says(node);
        }
    }

    fn fate(&mut self) -> Fate<'_> {
        Fate {
            rng: &mut self.rng,
            fired: &mut self.fired,
            rates: self.schedule.rates,
            calm: self.calm,
            library: &self.library,
            made: &mut self.made,
        }
    }

    /// Starts what has a slot.
    fn begin(&mut self, node: usize) {
        let life = self.nodes[node].life;
        for token in self.nodes[node].slots.start() {
            if self.fate().hangs() {
                if let Some(running) = self.nodes[node].slots.get(&token) {
                    running.hung = true;
                }
                continue;
            }
            let slots = &mut self.nodes[node].slots;
            let draw = slots.draw;
            let Some(work) = slots.get(&token).map(|r| r.work.clone()) else {
                continue;
            };
            let wait = self.fate().takes_ms(&work, &draw);
            self.after(wait, Event::Ends { node, life, token });
        }
    }

    /// The watchdogs of all Nodes: what has hung is killed.
    pub fn end_hung(&mut self) {
        for node in 0..self.nodes.len() {
            let life = self.nodes[node].life;
            for token in self.nodes[node].slots.hung() {
                self.after(1, Event::Ends { node, life, token });
            }
        }
    }

    pub fn on_ends(&mut self, node: usize, life: u32, token: AttemptToken) {
        if !self.lives(node, life) {
            return;
        }
        let slots = &mut self.nodes[node].slots;
        let draw = slots.draw;
        let Some(running) = slots.get(&token) else {
            return;
        };
        let (work, hung) = (running.work.clone(), running.hung);
        let outcome = if hung {
            film::failed(FailureClass::Killed)
        } else {
            let lists = self.lists.clone();
            self.fate()
                .outcome(&draw, &work, &|number| lists[number as usize].clone())
        };
        self.nodes[node].slots.end(token, outcome);
        self.begin(node);
        self.node_says(node);
    }
}
