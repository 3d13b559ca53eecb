//! The exchange with the Leader: says what runs and what ended, takes what is granted.
//!
//! Reporting never waits for free capacity: a fully busy node reports as often as an idle one. What ended is said again
//! until the Leader acknowledges it, over a new connection too; grants that are repeated are taken once. A node that leaves
//! says so, gives back what it cannot finish ([`crate::leaving`]), and is gone when the Leader has taken over everything.

use super::workers::{Ended, Workers};
use crate::leaving::judge::LAST_WORDS;
use crate::leaving::{Cause, Farewell, Habits, Leave};
use crate::run::GivenBack;
use crate::slots::{Free, Slots};
use recode_mesh::retry::Backoff;
use recode_mesh::{Exchange, Link};
use recode_types::task::{AttemptOutcome, Grant};
use recode_types::{AttemptToken, FinishedAttempt, NodeHello, NodeOrders, NodeReport};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// A report is sent at least this often, so that silence means something.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// Progress of running Attempts is refreshed this often.
const PROGRESS: Duration = Duration::from_millis(200);
/// A node that leaves and holds nothing waits so long to hear that nothing was granted to it meanwhile.
const CONFIRM: Duration = Duration::from_secs(3);

/// See the module.
pub struct Reporter {
    link: Link,
    hello: NodeHello,
    instance: String,
    workers: Workers,
    free: watch::Receiver<Free>,
    finished: BTreeMap<AttemptToken, AttemptOutcome>,
    /// Given back and not acknowledged.
    returned: BTreeSet<AttemptToken>,
    sequence: u64,
    habits: Habits,
    wishes: mpsc::Receiver<Leave>,
    leaving: Option<Leaving>,
    /// It has held nothing since then.
    idle_since: Instant,
}

/// A node on its way out.
struct Leaving {
    wish: Leave,
    /// The first report of this exchange that said so; 0: none did.
    said: u64,
    /// The Leader has confirmed that nothing is left.
    confirmed: bool,
    /// When it was asked: even one that must go at once says what it gives back.
    since: Instant,
    /// It has held nothing since then.
    empty_since: Option<Instant>,
}

enum Wake {
    Orders(Result<NodeOrders, recode_mesh::Error>),
    Ended(AttemptToken, Ended),
    Wish(Leave),
    SlotsChanged,
    Tick,
}

/// Why an exchange ended.
enum Over {
    Lost(recode_mesh::Error),
    Left(Farewell),
}

impl Reporter {
    /// `instance`: unique per process start. `wishes`: that the node leaves.
    pub fn new(
        link: Link,
        hello: NodeHello,
        instance: String,
        workers: Workers,
        slots: &Slots,
        (habits, wishes): (Habits, mpsc::Receiver<Leave>),
    ) -> Self {
        Self {
            link,
            hello,
            instance,
            workers,
            free: slots.watch(),
            finished: BTreeMap::new(),
            returned: BTreeSet::new(),
            sequence: 0,
            habits,
            wishes,
            leaving: None,
            idle_since: Instant::now(),
        }
    }

    /// Reports until told to stop, or until the node has left. Attempts that run keep running while no coordinator answers.
    pub async fn run(mut self, stop: CancellationToken) -> Farewell {
        let left = tokio::select! {
            () = stop.cancelled() => None,
            left = self.report_until_gone() => Some(left),
        };
        let farewell = left.unwrap_or(Farewell {
            cause: Cause::Asked,
            handed_over: self.holds_nothing(),
        });
        self.workers.stop().await;
        farewell
    }

    async fn report_until_gone(&mut self) -> Farewell {
        let mut backoff = Backoff::reconnect();
        loop {
            let link = self.link.clone();
            let first = self.report(true);
            let opened = match self.meanwhile(link.open(first)).await {
                Ok(opened) => opened,
                Err(farewell) => return farewell,
            };
            let error = match opened {
                Ok(exchange) => {
                    backoff.reset();
                    match self.converse(exchange).await {
                        Over::Left(farewell) => return farewell,
                        Over::Lost(error) => error,
                    }
                }
                Err(error) => error,
            };
            let wait = backoff.next_wait();
            tracing::info!(%error, ?wait, "no exchange with the coordinator; trying again");
            let mut bell = link.bell();
            if let Err(farewell) = self.meanwhile(bell.wait(wait)).await {
                return farewell;
            }
        }
    }

    /// Waits for something without an exchange. What ends meanwhile is kept for the next one. `Err`: the node has left.
    async fn meanwhile<T>(&mut self, what: impl Future<Output = T>) -> Result<T, Farewell> {
        let mut what = std::pin::pin!(what);
        let mut tick = tokio::time::interval(PROGRESS);
        loop {
            tokio::select! {
                done = &mut what => return Ok(done),
                (token, ended) = self.workers.next() => self.on_ended(token, ended),
                Some(wish) = self.wishes.recv() => self.on_wish(wish),
                _ = tick.tick() => {}
            }
            let now = Instant::now();
            self.look_at_the_clock(now);
            if let Some(farewell) = self.farewell(now) {
                return Err(farewell);
            }
        }
    }

    async fn converse(&mut self, mut exchange: Exchange) -> Over {
        let mut tick = tokio::time::interval(PROGRESS);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut last_said = Instant::now();
        let mut last_progress = self.workers.progress();
        // The first report may have been made before the node was asked to leave.
        let mut owed = self.leaving.is_some();
        loop {
            let wake = tokio::select! {
                orders = exchange.hear() => Wake::Orders(orders),
                (token, ended) = self.workers.next() => Wake::Ended(token, ended),
                Some(wish) = self.wishes.recv() => Wake::Wish(wish),
                Ok(()) = self.free.changed() => Wake::SlotsChanged,
                _ = tick.tick() => Wake::Tick,
            };
            match wake {
                Wake::Orders(Ok(orders)) => owed |= self.on_orders(orders),
                Wake::Orders(Err(error)) => return Over::Lost(error),
                Wake::Ended(token, ended) => {
                    self.on_ended(token, ended);
                    owed = true;
                }
                Wake::Wish(wish) => {
                    self.on_wish(wish);
                    owed = true;
                }
                Wake::SlotsChanged => owed = true,
                Wake::Tick => {
                    let progress = self.workers.progress();
                    owed |= progress != last_progress
                        || last_said.elapsed() >= KEEP_ALIVE
                        || self.workers.offers_other();
                    last_progress = progress;
                }
            }
            let now = Instant::now();
            owed |= self.look_at_the_clock(now);
            if let Some(farewell) = self.farewell(now) {
                return Over::Left(farewell);
            }
            // A report that finds no room is owed: the next wake, at the latest the next tick, says the newer state.
            if owed && exchange.has_room() {
                match exchange.say(self.report(false)) {
                    Ok(true) => {
                        owed = false;
                        last_said = now;
                    }
                    Ok(false) => {}
                    Err(error) => return Over::Lost(error),
                }
            }
        }
    }

    fn on_ended(&mut self, token: AttemptToken, ended: Ended) {
        match ended {
            Ok(outcome) => {
                self.finished.insert(token, outcome);
            }
            Err(GivenBack) => {
                self.returned.insert(token);
            }
        }
    }

    fn on_wish(&mut self, wish: Leave) {
        tracing::info!(cause = ?wish.cause, "leaving: nothing new is taken");
        // An idle one may still be given work, and then stays.
        if wish.cause != Cause::Idle {
            self.workers.measure_no_more();
        }
        match &mut self.leaving {
            Some(leaving) => leaving.wish = leaving.wish.and(wish),
            None => {
                self.leaving = Some(Leaving {
                    wish,
                    said: 0,
                    confirmed: false,
                    since: Instant::now(),
                    empty_since: None,
                });
            }
        }
    }

    fn holds_nothing(&self) -> bool {
        self.workers.is_empty() && self.finished.is_empty() && self.returned.is_empty()
    }

    /// Gives back what cannot be finished any more, and sees whether the node was idle for long enough. Returns whether a
    /// report is due at once.
    fn look_at_the_clock(&mut self, now: Instant) -> bool {
        let empty = self.holds_nothing();
        if !empty {
            self.idle_since = now;
        }
        let Some(leaving) = &mut self.leaving else {
            let idle = now.saturating_duration_since(self.idle_since);
            if self.habits.idle_exit.is_some_and(|most| idle >= most) {
                self.on_wish(Leave {
                    cause: Cause::Idle,
                    deadline: None,
                });
                return true;
            }
            return false;
        };
        leaving.empty_since = empty.then(|| leaving.empty_since.unwrap_or(now));
        let Some(deadline) = leaving.wish.deadline else {
            return false;
        };
        let given_up = self.workers.given_up(deadline, now);
        for token in &given_up {
            self.give_back(*token);
        }
        !given_up.is_empty()
    }

    fn give_back(&mut self, token: AttemptToken) {
        tracing::info!(attempt = %token, "given back: it would not be finished in time");
        self.workers.revoke(&token);
        self.returned.insert(token);
    }

    /// How the node has ended; `None`: it has not.
    fn farewell(&self, now: Instant) -> Option<Farewell> {
        let leaving = self.leaving.as_ref()?;
        let handed_over = self.holds_nothing();
        let unheard = leaving
            .empty_since
            .is_some_and(|since| now.saturating_duration_since(since) >= CONFIRM);
        let gone = handed_over && (leaving.confirmed || unheard);
        let last = leaving.since + LAST_WORDS;
        let too_late = leaving.wish.deadline.is_some_and(|at| now >= at.max(last));
        (gone || too_late).then_some(Farewell {
            cause: leaving.wish.cause,
            handed_over,
        })
    }

    /// Returns whether a report is due at once.
    fn on_orders(&mut self, orders: NodeOrders) -> bool {
        let mut settled = false;
        for token in orders.acknowledged.iter().chain(&orders.revocations) {
            settled |= self.finished.remove(token).is_some();
            settled |= self.returned.remove(token);
        }
        for token in &orders.revocations {
            tracing::info!(attempt = %token, "revoked");
            self.workers.revoke(token);
        }
        let mut granted = false;
        for grant in orders.grants {
            let token = token_of(&grant);
            if self.workers.holds(&token)
                || self.finished.contains_key(&token)
                || self.returned.contains(&token)
            {
                continue;
            }
            granted = true;
            self.on_grant(token, grant);
        }
        if let Some(site) = orders.peers {
            self.workers.site_is(site);
        }
        if orders.drained {
            self.on_drained(orders.sequence);
        }
        // One that leaves hears that nothing is left in answer to its next report.
        granted || !orders.revocations.is_empty() || settled && self.leaving.is_some()
    }

    fn on_grant(&mut self, token: AttemptToken, grant: Grant) {
        // Work has come after all.
        self.leaving
            .take_if(|leaving| leaving.wish.cause == Cause::Idle);
        if self.leaving.is_some() {
            self.give_back(token);
            return;
        }
        tracing::debug!(attempt = %token, "granted");
        self.workers.start(grant);
    }

    /// The Leader says that nothing is left, in answer to the report of this number.
    fn on_drained(&mut self, sequence: u64) {
        match &mut self.leaving {
            Some(leaving) => leaving.confirmed |= leaving.said > 0 && sequence >= leaving.said,
            None if self.habits.exit_when_drained => {
                self.on_wish(Leave {
                    cause: Cause::Drained,
                    deadline: None,
                });
                if let Some(leaving) = &mut self.leaving {
                    leaving.confirmed = true;
                }
            }
            None => {}
        }
    }

    fn report(&mut self, first: bool) -> NodeReport {
        self.sequence = if first { 1 } else { self.sequence + 1 };
        if let Some(leaving) = &mut self.leaving
            && (first || leaving.said == 0)
        {
            leaving.said = self.sequence;
        }
        let leaves = self.leaving.is_some();
        let takes_work = !leaves && self.workers.has_room();
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
            free_heavy: if takes_work { free.heavy } else { 0 },
            free_light: if takes_work { free.light } else { 0 },
            draining: leaves,
            returned: self.returned.iter().copied().collect(),
            offer: self.workers.offer(first),
            load: self.workers.load(),
            traffic: self.workers.traffic(),
        }
    }
}

fn token_of(grant: &Grant) -> AttemptToken {
    AttemptToken {
        task: grant.task,
        attempt: grant.attempt,
    }
}
