//! Who leads, as far as this coordinator knows, and how fresh that is.

use super::network::Peer;
use super::type_config::alias::Raft;
use crate::runtime;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// This coordinator, in this term of Raft.
    Leads {
        /// The term.
        term: u64,
    },
    /// Another, where one is known.
    Follows {
        /// It.
        leader: Option<Peer>,
    },
}

/// Whether a Leader may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quorum {
    /// A quorum has confirmed it.
    Fresh,
    /// Too long ago, or never: another may lead by now.
    Stale {
        /// Milliseconds since.
        age_ms: u64,
    },
}

/// When a quorum had confirmed this Leader at the latest, as far as that is sure. Raft tells how long ago that was when it
/// said so, but not when it said so: the process may have stood still since. It had not said so yet at `before`, when its
/// metrics were looked at the last time. What was sure already stays sure.
fn confirmed(known: Option<Instant>, before: Instant, age_ms: Option<u64>) -> Option<Instant> {
    let age = Duration::from_millis(age_ms?);
    before.checked_sub(age).max(known)
}

/// What is read off Raft's metrics as they change.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    changes: watch::Receiver<Leadership>,
    acknowledged: Arc<Mutex<Option<Instant>>>,
    alone: Arc<std::sync::atomic::AtomicBool>,
}

impl Observed {
    pub fn start(raft: &Raft) -> Self {
        let mut metrics = raft.metrics();
        let acknowledged = Arc::new(Mutex::new(None));
        let alone = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let look = {
            let (acknowledged, alone) = (acknowledged.clone(), alone.clone());
            move |before: Instant, m: &openraft::RaftMetrics<u64, openraft::BasicNode>| {
                let mut known = acknowledged.lock().expect("nothing panics with it");
                *known = confirmed(*known, before, m.millis_since_quorum_ack);
                drop(known);
                let members = m.membership_config.membership();
                // Its own vote is the quorum: there is nobody to hear from.
                let only = members.voter_ids().eq([m.id]);
                alone.store(only, std::sync::atomic::Ordering::Relaxed);
                if m.state == openraft::ServerState::Leader {
                    return Leadership::Leads {
                        term: m.current_term,
                    };
                }
                // A hint: it may name a coordinator that was removed or has lost its office.
                let leader = m
                    .current_leader
                    .filter(|id| *id != m.id)
                    .and_then(|id| members.get_node(&id).map(|node| (id, node)))
                    .map(|(id, node)| Peer {
                        id,
                        address: node.addr.clone(),
                    });
                Leadership::Follows { leader }
            }
        };
        let mut before = runtime::now();
        let first = look(before, &metrics.borrow_and_update());
        let (tell, changes) = watch::channel(first);
        // Ends with Raft.
        runtime::spawn(async move {
            while metrics.changed().await.is_ok() {
                let seen = runtime::now();
                let now = look(before, &metrics.borrow_and_update());
                before = seen;
                tell.send_if_modified(|known| {
                    let changed = *known != now;
                    *known = now;
                    changed
                });
            }
        });
        Self {
            changes,
            acknowledged,
            alone,
        }
    }

    pub fn changes(&self) -> watch::Receiver<Leadership> {
        self.changes.clone()
    }

    pub fn quorum(&self, longest: Duration) -> Quorum {
        if self.alone.load(std::sync::atomic::Ordering::Relaxed) {
            return Quorum::Fresh;
        }
        let at = *self.acknowledged.lock().expect("nothing panics with it");
        match at.map(|at| runtime::now().saturating_duration_since(at)) {
            Some(age) if age < longest => Quorum::Fresh,
            age => Quorum::Stale {
                age_ms: age.map_or(u64::MAX, |age| age.as_millis() as u64),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_stood_still_before_it_looked_is_not_fresh() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        // Raft said at 1,010 that a quorum was heard 10 ms ago. Whether that is looked at soon or 20 seconds later, it is
        // sure only that it was said after the look before, at 1,005.
        let sure = confirmed(Some(at(700)), at(1_005), Some(10));
        assert_eq!(sure, Some(at(995)));
        // What is less sure than what is known changes nothing.
        assert_eq!(confirmed(sure, at(1_005), Some(400)), sure);
        assert_eq!(confirmed(sure, at(1_005), None), None, "it leads no more");
    }
}
