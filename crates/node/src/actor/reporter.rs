//! The exchange with the Leader: says what runs and what ended, takes what is granted.
//!
//! Reporting never waits for free capacity: a fully busy node reports as often as an idle one. What ended is said again
//! until the Leader acknowledges it, over a new connection too; grants that are repeated are taken once.

use super::workers::Workers;
use crate::slots::{Free, Slots};
use recode_mesh::retry::Backoff;
use recode_mesh::{Exchange, Leader};
use recode_types::task::{AttemptOutcome, Grant};
use recode_types::{AttemptToken, FinishedAttempt, NodeHello, NodeOrders, NodeReport};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A report is sent at least this often, so that silence means something.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// Progress of running Attempts is refreshed this often.
const PROGRESS: Duration = Duration::from_millis(200);

/// See the module.
pub struct Reporter {
    leader: Leader,
    hello: NodeHello,
    instance: String,
    workers: Workers,
    free: watch::Receiver<Free>,
    finished: BTreeMap<AttemptToken, AttemptOutcome>,
    sequence: u64,
}

enum Wake {
    Stop,
    Orders(Result<NodeOrders, recode_mesh::Error>),
    Ended(AttemptToken, AttemptOutcome),
    SlotsChanged,
    Tick,
}

impl Reporter {
    /// `instance`: unique per process start.
    pub fn new(
        leader: Leader,
        hello: NodeHello,
        instance: String,
        workers: Workers,
        slots: &Slots,
    ) -> Self {
        Self {
            leader,
            hello,
            instance,
            workers,
            free: slots.watch(),
            finished: BTreeMap::new(),
            sequence: 0,
        }
    }

    /// Reports until told to stop. Attempts that run keep running while no coordinator answers.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut backoff = Backoff::reconnect();
        while !stop.is_cancelled() {
            let first = self.report(true);
            let opened = tokio::select! {
                () = stop.cancelled() => break,
                opened = Exchange::open(&self.leader, first) => opened,
            };
            let error = match opened {
                Ok(exchange) => {
                    backoff.reset();
                    match self.converse(exchange, &stop).await {
                        Ok(()) => break,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            let wait = backoff.next_wait();
            tracing::info!(%error, ?wait, "no exchange with the coordinator; trying again");
            let until = tokio::time::Instant::now() + wait;
            loop {
                // What ends meanwhile is kept for the next exchange.
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep_until(until) => break,
                    (token, outcome) = self.workers.next() => { self.finished.insert(token, outcome); }
                }
            }
        }
        self.workers.stop().await;
    }

    async fn converse(
        &mut self,
        mut exchange: Exchange,
        stop: &CancellationToken,
    ) -> Result<(), recode_mesh::Error> {
        let mut tick = tokio::time::interval(PROGRESS);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut last_said = tokio::time::Instant::now();
        let mut last_progress = self.workers.progress();
        let mut owed = false;
        loop {
            let wake = tokio::select! {
                () = stop.cancelled() => Wake::Stop,
                orders = exchange.hear() => Wake::Orders(orders),
                (token, outcome) = self.workers.next() => Wake::Ended(token, outcome),
                Ok(()) = self.free.changed() => Wake::SlotsChanged,
                _ = tick.tick() => Wake::Tick,
            };
            match wake {
                Wake::Stop => return Ok(()),
                Wake::Orders(orders) => owed |= self.on_orders(orders?),
                Wake::Ended(token, outcome) => {
                    self.finished.insert(token, outcome);
                    owed = true;
                }
                Wake::SlotsChanged => owed = true,
                Wake::Tick => {
                    let progress = self.workers.progress();
                    owed |= progress != last_progress || last_said.elapsed() >= KEEP_ALIVE;
                    last_progress = progress;
                }
            }
            // A report that finds no room is owed: the next wake, at the latest the next tick, says the newer state.
            if owed && exchange.has_room() && exchange.say(self.report(false))? {
                owed = false;
                last_said = tokio::time::Instant::now();
            }
        }
    }

    /// Returns whether a report is due at once.
    fn on_orders(&mut self, orders: NodeOrders) -> bool {
        for token in &orders.acknowledged {
            self.finished.remove(token);
        }
        for token in &orders.revocations {
            tracing::info!(attempt = %token, "revoked");
            self.workers.revoke(token);
            self.finished.remove(token);
        }
        let mut started = false;
        for grant in orders.grants {
            let token = token_of(&grant);
            if !self.workers.holds(&token) && !self.finished.contains_key(&token) {
                tracing::debug!(attempt = %token, "granted");
                self.workers.start(grant);
                started = true;
            }
        }
        started || !orders.revocations.is_empty()
    }

    fn report(&mut self, first: bool) -> NodeReport {
        self.sequence = if first { 1 } else { self.sequence + 1 };
        let free = *self.free.borrow();
        NodeReport {
            instance: self.instance.clone(),
            sequence: self.sequence,
            hello: first.then(|| self.hello.clone()),
            running: self.workers.progress(),
            finished: self
                .finished
                .iter()
                .map(|(token, outcome)| FinishedAttempt {
                    token: *token,
                    outcome: outcome.clone(),
                })
                .collect(),
            free_heavy: free.heavy,
            free_light: free.light,
            draining: false,
        }
    }
}

fn token_of(grant: &Grant) -> AttemptToken {
    AttemptToken {
        task: grant.task,
        attempt: grant.attempt,
    }
}
