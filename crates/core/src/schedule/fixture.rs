//! What the tests of loads and of fleets speak of.

use super::Held;
use recode_types::{AttemptToken, JobId, TaskId, TaskKey};
use std::time::Duration;

/// The first Attempt at encoding a Segment.
pub(super) fn token(segment: u32) -> AttemptToken {
    let key = TaskKey::Encode { group: 0, segment };
    let task = TaskId { job: JobId(1), key };
    AttemptToken { task, attempt: 1 }
}

/// An encode of so much work.
pub(super) fn held(cost: u64) -> Held {
    Held {
        heavy: true,
        cost,
        ..Held::default()
    }
}

/// Seconds since the beginning.
pub(super) fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
