//! Elections when they are due. openraft looks at its election timer once in one and a half heartbeats only, which adds up to
//! 375 ms to every failover; here somebody wakes up when a Leader has been silent for long enough. Who votes still holds to
//! the lease, and openraft's own timer is behind this one.

use super::Timings;
use super::type_config::alias::Raft;
use crate::runtime;
use openraft::ServerState;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Elections that one stands for in one silence: where two stand at once, one may lack an entry while the other has a later
/// vote, and neither gets the other's.
const ELECTIONS: usize = 4;

/// By then all have answered who will; the next election begins after one to three times that.
const ANSWERED: Duration = Duration::from_millis(60);

/// When a Leader was heard last.
#[derive(Clone, Debug)]
pub struct Heard(watch::Sender<Option<Instant>>);

impl Heard {
    /// Starts to wait for silences; ends with Raft.
    pub fn start(raft: Raft, timings: Timings) -> Self {
        let heard = watch::Sender::new(None);
        runtime::spawn(run(raft, timings, heard.subscribe()));
        Self(heard)
    }

    /// A Leader has been heard, and taken for one.
    pub fn leader(&self) {
        self.0.send_replace(Some(runtime::now()));
    }
}

/// How long a silence is borne: the lease that a Leader has with each voter, and then what is drawn. `chance` is in `0.0..1.0`.
fn patience(timings: &Timings, chance: f64) -> Duration {
    let spread = timings.election_max - timings.election_min;
    timings.election_max + timings.election_min + spread.mul_f64(chance)
}

async fn run(raft: Raft, timings: Timings, mut heard: watch::Receiver<Option<Instant>>) {
    let mut metrics = raft.metrics();
    loop {
        let Some(last) = *heard.borrow_and_update() else {
            if heard.changed().await.is_err() {
                return;
            }
            continue;
        };
        let due = last + patience(&timings, runtime::fraction());
        // Asleep whatever is heard: that is hundreds of messages a second.
        tokio::time::sleep_until(due.into()).await;
        match heard.has_changed() {
            Ok(false) => {}
            Ok(true) => continue,
            Err(_) => return,
        }
        let mut stands = metrics.borrow_and_update().state == ServerState::Follower;
        for _ in 0..ELECTIONS {
            if !stands {
                break;
            }
            if raft.trigger().elect().await.is_err() {
                return;
            }
            tokio::time::sleep(ANSWERED.mul_f64(1.0 + 2.0 * runtime::fraction())).await;
            let undecided = metrics.borrow_and_update().state == ServerState::Candidate;
            stands = undecided && !heard.has_changed().unwrap_or(true);
        }
        // What comes after that is openraft's.
        if heard.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_stands_before_the_lease_and_the_shortest_timeout_are_over() {
        let timings = Timings::default();
        assert_eq!(patience(&timings, 0.0), Duration::from_millis(1750));
        assert_eq!(patience(&timings, 0.5), Duration::from_millis(1875));
        assert!(patience(&timings, 0.999_999) < Duration::from_millis(2000));
    }
}
