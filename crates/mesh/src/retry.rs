//! Backoff and deadlines, in one place.

use crate::Error;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// How long one unary call may take before its outcome counts as unknown.
pub const CALL_DEADLINE: Duration = Duration::from_secs(20);

/// Capped exponential backoff with full jitter: the n-th wait is uniform in `0..=min(longest, first * 2^n)`.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    tries: u32,
}

impl Backoff {
    /// Starts at `first`, never waits longer than `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            tries: 0,
        }
    }

    /// For a node that lost its Leader: a restarted coordinator is found at once, a herd spreads over seconds.
    pub fn reconnect() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(5))
    }

    /// It worked: the next failure starts from the beginning.
    pub fn reset(&mut self) {
        self.tries = 0;
    }

    /// How long to wait before the next try.
    pub fn next_wait(&mut self) -> Duration {
        let ceiling = ceiling(self.first, self.longest, self.tries);
        self.tries = self.tries.saturating_add(1);
        ceiling.mul_f64(jitter())
    }
}

fn ceiling(first: Duration, longest: Duration, tries: u32) -> Duration {
    first
        .saturating_mul(1u32.checked_shl(tries).unwrap_or(u32::MAX))
        .min(longest)
}

/// Uniform in `0..1`. The standard library seeds its hashers from the system's random source, which is all we need.
fn jitter() -> f64 {
    let bits = RandomState::new().hash_one(Instant::now());
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// Repeats `call` while its error may be retried and `within` has not passed.
/// # Errors
/// The last error of `call`.
pub async fn retry<T, F>(within: Duration, mut call: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let end = Instant::now() + within;
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
    loop {
        match call().await {
            Err(error) if error.may_retry() && Instant::now() < end => {
                let wait = backoff.next_wait();
                tracing::debug!(%error, ?wait, "trying again");
                tokio::time::sleep(wait).await;
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_never_overflow() {
        let (first, longest) = (Duration::from_millis(50), Duration::from_secs(5));
        assert_eq!(ceiling(first, longest, 0), first);
        assert_eq!(ceiling(first, longest, 3), Duration::from_millis(400));
        assert_eq!(ceiling(first, longest, 31), longest);
        assert_eq!(ceiling(first, longest, 400), longest);
    }

    #[test]
    fn jitter_spreads() {
        let seen: Vec<f64> = (0..64).map(|_| jitter()).collect();
        assert!(seen.iter().all(|j| (0.0..1.0).contains(j)));
        assert!(seen.iter().any(|j| *j < 0.5) && seen.iter().any(|j| *j > 0.5));
    }

    #[tokio::test]
    async fn a_final_error_is_not_repeated() {
        let mut calls = 0;
        let out: Result<(), _> = retry(Duration::from_secs(5), || {
            calls += 1;
            std::future::ready(Err(Error::Invalid("no".into())))
        })
        .await;
        assert_eq!((out, calls), (Err(Error::Invalid("no".into())), 1));
    }
}
