//! What one bucket may be asked by this process: requests per second, halved when the store says that it is too much, and
//! repeated requests, which have to be earned by others that succeed.
//!
//! Shared by everything in the process that talks to the bucket: pauses of single operations alone would let a hundred of
//! them keep a struggling store down.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Requests per second to begin with: what S3 promises for writes below one prefix.
const FASTEST: f64 = 3500.0;
/// And when everything is too much.
const SLOWEST: f64 = 8.0;
/// The rate grows by this factor in a second without complaints.
const RECOVERY: f64 = 1.5;
/// Complaints closer together than this are one: they are about requests that were sent before the first was heard.
const ONE_COMPLAINT: Duration = Duration::from_secs(1);

/// Repeated requests that may be owed at most.
const MOST_RETRIES: f64 = 50.0;
/// What a success earns: no more than one in five requests is a repeated one for long.
const EARNED: f64 = 0.2;
/// What a second earns: so that a store that comes back is noticed.
const EARNED_PER_SECOND: f64 = 2.0;

/// The budget of one bucket. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    pace: Arc<Mutex<Pace>>,
}

impl Budget {
    /// The budget of everything in this process that uses the same name.
    pub(crate) fn of(bucket: &str) -> Self {
        static BUDGETS: LazyLock<Mutex<HashMap<String, Budget>>> = LazyLock::new(Mutex::default);
        BUDGETS
            .lock()
            .expect("no one panics while holding it")
            .entry(bucket.to_owned())
            .or_insert_with(|| Budget {
                pace: Arc::new(Mutex::new(Pace::new(Instant::now()))),
            })
            .clone()
    }

    /// Returns when the next request may leave.
    pub(crate) async fn admit(&self) {
        let wait = self.lock().admit(Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// The store answered that it is asked too much.
    pub(crate) fn slow_down(&self) {
        let mut pace = self.lock();
        if pace.slow_down(Instant::now()) {
            tracing::warn!(
                requests_per_second = pace.rate,
                "the store asks to slow down"
            );
        }
    }

    /// A request was answered well.
    pub(crate) fn went_well(&self) {
        self.lock().went_well();
    }

    /// Takes one repeated request out of the budget. Returns how long it has to wait.
    pub(crate) fn retry(&self) -> Duration {
        self.lock().retry(Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().expect("no one panics while holding it")
    }
}

/// The decisions alone.
#[derive(Debug)]
struct Pace {
    /// Requests per second that may leave.
    rate: f64,
    /// Requests that may leave at once. Below zero: what has been promised already.
    ready: f64,
    /// Repeated requests that may be made at once, the same way.
    retries: f64,
    at: Instant,
    complained: Option<Instant>,
    /// Requests in the second before the current one, and in the current one.
    asked: (f64, f64),
    second: Instant,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self {
            rate: FASTEST,
            ready: FASTEST / 4.0,
            retries: MOST_RETRIES,
            at: now,
            complained: None,
            asked: (0.0, 0.0),
            second: now,
        }
    }

    fn pass(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.retries = (self.retries + seconds * EARNED_PER_SECOND).min(MOST_RETRIES);
        self.ready = (self.ready + seconds * self.rate).min(self.rate / 4.0);
        self.rate = (self.rate * RECOVERY.powf(seconds)).min(FASTEST);
        let since = now.saturating_duration_since(self.second).as_secs_f64();
        if since >= 1.0 {
            let before = if since < 2.0 { self.asked.1 } else { 0.0 };
            self.asked = (before, 0.0);
            self.second = now;
        }
    }

    fn admit(&mut self, now: Instant) -> Duration {
        self.pass(now);
        self.asked.1 += 1.0;
        self.ready -= 1.0;
        Duration::from_secs_f64((-self.ready / self.rate).max(0.0))
    }

    /// Whether the pace has changed.
    fn slow_down(&mut self, now: Instant) -> bool {
        self.pass(now);
        let heard = self
            .complained
            .is_some_and(|at| now.saturating_duration_since(at) < ONE_COMPLAINT);
        if heard {
            return false;
        }
        self.complained = Some(now);
        // Half of what was really asked: half of a rate that nobody uses would change nothing.
        let used = self.asked.0.max(self.asked.1);
        self.rate = (self.rate.min(used) / 2.0).max(SLOWEST);
        self.ready = self.ready.min(self.rate / 4.0);
        true
    }

    fn went_well(&mut self) {
        self.retries = (self.retries + EARNED).min(MOST_RETRIES);
    }

    fn retry(&mut self, now: Instant) -> Duration {
        self.pass(now);
        self.retries -= 1.0;
        Duration::from_secs_f64((-self.retries / EARNED_PER_SECOND).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_complaint_halves_what_was_asked_and_calm_brings_it_back() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for i in 0..400 {
            let wait = pace.admit(start + seconds(f64::from(i) / 400.0));
            assert!(wait.is_zero(), "nothing is slow before a complaint");
        }
        let now = start + seconds(0.99);
        assert!(pace.slow_down(now));
        assert!((199.0..=201.0).contains(&pace.rate), "{}", pace.rate);
        assert!(!pace.slow_down(now), "one burst is one complaint");
        // 300 at once: 50 of them may leave, the last of the others after a second and more.
        let waits: Vec<_> = (0..300).map(|_| pace.admit(now)).collect();
        assert!(waits[..49].iter().all(Duration::is_zero));
        assert!((1.2..1.3).contains(&waits[299].as_secs_f64()), "{waits:?}");
        pace.pass(now + seconds(10.0));
        assert_eq!(pace.rate, FASTEST);
        for i in 0..30 {
            pace.slow_down(now + seconds(10.0 + 1.5 * f64::from(i)));
        }
        assert!(pace.rate >= SLOWEST, "it never comes to a stop");
    }

    #[test]
    fn repeated_requests_are_earned() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        let mut at_once = || (0..1000).take_while(|_| pace.retry(now).is_zero()).count();
        assert_eq!(at_once(), 50);
        assert_eq!(at_once(), 0);
        let owed = pace.retry(now);
        assert!(owed > seconds(1.0), "{owed:?}");
        for _ in 0..100 {
            pace.went_well();
        }
        let earned = (0..1000).take_while(|_| pace.retry(now).is_zero()).count();
        assert!((14..=20).contains(&earned), "{earned}");
    }
}
