//! Events of Jobs for whoever listens on NATS, and the bell: "work is waiting".
//!
//! Pull, as for watchers: it looks at the state whenever that has moved, and says what was not said. Nothing is queued for a
//! server that is not there. A listener that missed something sees it by the index, and asks a coordinator.

use crate::raft::{Consensus, Shared};
use recode_core::State;
use recode_mesh::Nats;
use recode_types::{Event, EventKind, JobId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How far back a new Leader, and one whose connection broke, begins: what was said just before may not have arrived, or never
/// been said.
const ONCE_MORE_MS: u64 = 10_000;

/// The state is looked at this often at most: many changes share one look.
const QUIET: Duration = Duration::from_millis(100);

/// Events taken at one look.
const AT_ONCE: usize = 1024;

/// Says them whenever there is a server, until told to stop.
pub async fn run(nats: &Nats, consensus: &Consensus, stop: &CancellationToken) {
    let speaking = async {
        let shared = consensus.shared();
        loop {
            nats.connected().await;
            let since_ms = consensus.now_ms().saturating_sub(ONCE_MORE_MS);
            speak(nats, shared, since_ms).await;
            // It broke. What is said from here on is said again.
            tokio::time::sleep(QUIET).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = speaking => {}
    }
}

/// Until the connection breaks.
async fn speak(nats: &Nats, shared: &Arc<Shared>, since_ms: u64) {
    let mut changes = shared.changes();
    let (mut feed, waiting) = shared.look(|state| (Feed::since(state, since_ms), waits(state)));
    // Nodes that wait before they look for a Leader again need not.
    if let Some(job) = waiting
        && !nats.ring(job).await
    {
        return;
    }
    loop {
        // Marked before looking: whatever moves afterwards wakes again.
        changes.borrow_and_update();
        let due = shared.look(|state| feed.due(state, AT_ONCE));
        let all = due.len() < AT_ONCE;
        for (job, event) in due {
            if brings_work(&event.kind) && !nats.ring(job).await {
                return;
            }
            if !nats.announce(job, &event).await {
                return;
            }
        }
        if all {
            tokio::time::sleep(QUIET).await;
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

/// A Job that may have something to do.
fn waits(state: &State) -> Option<JobId> {
    let live = state.jobs.values().find(|job| !job.state().is_terminal());
    live.map(|job| job.id)
}

fn brings_work(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::Submitted
            | EventKind::Planned { .. }
            | EventKind::Replanning { .. }
            | EventKind::Reopened { .. }
            | EventKind::Resumed
            | EventKind::Retried { .. }
    )
}

/// Which events were said. Pure.
#[derive(Debug, Default)]
struct Feed {
    /// Index of the next event of each Job of the state.
    next: BTreeMap<JobId, u64>,
}

impl Feed {
    /// One that begins with the events of this time on.
    fn since(state: &State, at_ms: u64) -> Self {
        let next = state.jobs.iter().map(|(job, known)| {
            let older = known.events.iter().rposition(|event| event.at_ms < at_ms);
            (*job, older.map_or(0, |at| at as u64 + 1))
        });
        Self {
            next: next.collect(),
        }
    }

    /// What was not said, by Job and in order; it counts as said.
    fn due(&mut self, state: &State, most: usize) -> Vec<(JobId, Event)> {
        let mut due = Vec::new();
        for (job, known) in &state.jobs {
            let next = self.next.entry(*job).or_default();
            let new = known.events.get(*next as usize..).unwrap_or_default();
            let new = &new[..new.len().min(most - due.len())];
            *next += new.len() as u64;
            due.extend(new.iter().map(|event| (*job, event.clone())));
            if due.len() == most {
                break;
            }
        }
        if self.next.len() > state.jobs.len() {
            // Archived, or forgotten.
            self.next.retain(|job, _| state.jobs.contains_key(job));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_core::{Command, Entry};

    fn state(jobs: u128) -> State {
        let mut state = State::default();
        for job in 1..=jobs {
            submit(&mut state, job);
        }
        state
    }

    fn submit(state: &mut State, job: u128) {
        let request = serde_json::json!({
            "source": "file:///in.mp4", "outputs": [], "score": [], "verify_full": false, "strict": false,
            "overwrite": false, "labels": {}, "priority": 50
        });
        let command = Command::SubmitJob {
            request_id: format!("request {job}"),
            job: JobId(job),
            request: Box::new(serde_json::from_value(request).unwrap()),
        };
        state.apply(&Entry {
            at_ms: job as u64 * 1000,
            command,
        });
    }

    fn said(due: Vec<(JobId, Event)>) -> Vec<(u128, u64)> {
        due.into_iter()
            .map(|(job, event)| (job.0, event.index))
            .collect()
    }

    #[test]
    fn every_event_is_said_once_and_a_few_at_a_time() {
        let mut state = state(3);
        let mut feed = Feed::default();
        assert_eq!(said(feed.due(&state, 2)), [(1, 0), (2, 0)]);
        assert_eq!(said(feed.due(&state, 2)), [(3, 0)]);
        assert_eq!(said(feed.due(&state, 2)), []);
        submit(&mut state, 4);
        state.apply(&Entry {
            at_ms: 9000,
            command: Command::CancelJob {
                job: JobId(2),
                reason: "enough".into(),
            },
        });
        assert_eq!(said(feed.due(&state, 9)), [(2, 1), (4, 0)]);
        state.jobs.clear();
        assert_eq!(said(feed.due(&state, 9)), []);
        assert!(feed.next.is_empty());
    }

    #[test]
    fn a_new_leader_begins_with_what_is_recent() {
        let state = state(3);
        assert_eq!(
            said(Feed::since(&state, 2000).due(&state, 9)),
            [(2, 0), (3, 0)]
        );
        assert_eq!(said(Feed::since(&state, 9000).due(&state, 9)), []);
    }
}
