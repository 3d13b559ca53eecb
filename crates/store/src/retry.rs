//! How long an operation is tried again: a little longer each time, never in step with others, and never more often than
//! the store can bear ([`Budget`]).

use crate::budget::Budget;
use crate::error::Error;
use std::time::{Duration, Instant};

/// How long the other side is asked again when it worked before and stops answering. Counted from the last byte that came.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The same for the first request: whoever mistyped an address should hear of it soon.
pub(crate) const FIRST_PATIENCE: Duration = Duration::from_secs(5);

/// The first pause is drawn from zero to this.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Later ones from zero to twice the one before, and to no more than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);
/// Tries of one operation, whatever its patience says.
const MOST_TRIES: u32 = 12;

/// The tries of one operation.
pub(crate) struct Tries<'a> {
    budget: Option<&'a Budget>,
    patience: Duration,
    since: Instant,
    made: u32,
}

impl<'a> Tries<'a> {
    pub(crate) fn new(patience: Duration, budget: Option<&'a Budget>) -> Self {
        Self {
            budget,
            patience,
            since: Instant::now(),
            made: 1,
        }
    }

    /// Something came: patience begins anew.
    pub(crate) fn progressed(&mut self) {
        self.since = Instant::now();
        self.made = 1;
    }

    /// Returns when it is time to try again.
    ///
    /// # Errors
    /// `error`, when trying again cannot help or has gone on for long enough.
    pub(crate) async fn again(&mut self, error: Error) -> Result<(), Error> {
        let Error::Unreachable { what, detail } = &error else {
            return Err(error);
        };
        let drawn = pause(self.made, fastrand::f64());
        let owed = self.budget.map_or(Duration::ZERO, Budget::retry);
        let pause = drawn.max(owed);
        if self.made >= MOST_TRIES || self.since.elapsed() + pause >= self.patience {
            return Err(error);
        }
        tracing::debug!(what, detail, ?pause, "trying again");
        self.made += 1;
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// The pause before the try after `made` tries: any part of a span that doubles ("full jitter"), so that those who failed
/// together do not come back together.
fn pause(made: u32, fraction: f64) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << made.saturating_sub(1).min(16));
    doubled.min(LONGEST_PAUSE).mul_f64(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_are_drawn_and_have_an_end() {
        assert_eq!(pause(1, 1.0), Duration::from_millis(100));
        assert_eq!(pause(1, 0.0), Duration::ZERO);
        assert_eq!(pause(3, 0.5), Duration::from_millis(200));
        assert_eq!(pause(100, 1.0), LONGEST_PAUSE);
    }
}
