//! Messages between the places: late, lost, twice, out of order.

use super::{Event, Place, World};
use crate::faults::Fault;

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

impl World {
    /// A message can go this way.
    pub fn passes(&self, from: Place, to: Place) -> bool {
        !self.cuts.contains(&(from, to))
    }

    pub(super) fn delay(&mut self) -> u64 {
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
}
