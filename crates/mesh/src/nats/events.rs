//! The loudspeaker: events of Jobs as JSON, for anybody on the NATS server; and the bell.
//!
//! An event has an index among those of its Job, from 0 without gaps. So a listener knows what it missed, and takes what comes
//! twice once. Nothing else is promised: who needs every event watches by gRPC, from any index.

use super::{Nats, Settings};
use crate::Error;
use async_nats::Subscriber;
use bytes::Bytes;
use futures::StreamExt as _;
use recode_types::{Event, JobId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a listener waits for its server.
const PATIENCE: Duration = Duration::from_secs(10);

/// Jobs of which a listener knows what came last; those that were silent longest are forgotten first.
const MOST_JOBS: usize = 10_000;

/// What is said of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// Of which Job, as in `job_0191...`.
    pub job: JobId,
    /// What happened, with its index.
    #[serde(flatten)]
    pub event: Event,
}

impl Nats {
    /// Says an event to whoever listens. `false`: no server is there.
    pub async fn announce(&self, job: JobId, event: &Event) -> bool {
        let said = Announced {
            job,
            event: event.clone(),
        };
        let json = serde_json::to_vec(&said).expect("plain data always serialises");
        if json.len() > self.client.max_payload() {
            tracing::warn!(%job, index = event.index, "an event is too long for the NATS server");
            return true;
        }
        self.say(self.subjects.events(Some(job)), None, json.into())
            .await
    }

    /// Rings the bell: there is work of `job`. A hint; nobody depends on it. `false`: no server is there.
    pub async fn ring(&self, job: JobId) -> bool {
        let json = serde_json::json!({ "job": job.to_string() }).to_string();
        self.say(self.subjects.bell(), None, Bytes::from(json))
            .await
    }

    /// Resolves when a server is there.
    pub async fn connected(&self) {
        let mut connected = self.connected.clone();
        // Ends with the client, and then there is nobody to wait.
        let _ = connected.wait_for(|connected| *connected).await;
    }
}

/// What a listener hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The next event of a Job, or the first one heard of it.
    Event(Announced),
    /// Events of a Job that did not come: from this index to before that one.
    Missed {
        /// Of which Job.
        job: JobId,
        /// Index of the first one.
        from: u64,
        /// Index after the last one.
        to: u64,
    },
}

/// Listens to the events of a cluster, whatever coordinator leads.
#[derive(Debug)]
pub struct Listener {
    incoming: Subscriber,
    known: Known,
    next: Option<Announced>,
    // Keeps the connection.
    nats: Nats,
}

impl Listener {
    /// Listens from now on to the events of `job`, or of all.
    /// # Errors
    /// [`Error::Unavailable`]: no server is reached within ten seconds.
    pub async fn start(settings: &Settings, job: Option<JobId>) -> Result<Self, Error> {
        let nats = Nats::connect(settings, "recode-client events").await?;
        let connected = tokio::time::timeout(PATIENCE, nats.connected()).await;
        if connected.is_err() {
            return Err(nats.unavailable(super::UNREACHED));
        }
        let failed = |error: String| nats.unavailable(error);
        let subject = nats.subjects.events(job);
        let subscribed = nats.client.subscribe(subject).await;
        let incoming = subscribed.map_err(|error| failed(error.to_string()))?;
        // From here on the server knows of it.
        let flushed = nats.client.flush().await;
        flushed.map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            incoming,
            known: Known::default(),
            next: None,
            nats,
        })
    }

    /// What is heard next. A server that goes away is waited for.
    /// # Errors
    /// [`Error::Unavailable`]: the connection was closed for good.
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Told, Error> {
        if let Some(event) = self.next.take() {
            return Ok(Told::Event(event));
        }
        loop {
            let message = self.incoming.next().await;
            let message = message.ok_or_else(|| self.nats.unavailable("the subscription ended"))?;
            // What is no event is not ours.
            let Ok(announced) = serde_json::from_slice::<Announced>(&message.payload) else {
                continue;
            };
            let (job, to) = (announced.job, announced.event.index);
            match self.known.take(job, to) {
                Heard::Before => {}
                Heard::Next => return Ok(Told::Event(announced)),
                Heard::After { from } => {
                    self.next = Some(announced);
                    return Ok(Told::Missed { job, from, to });
                }
            }
        }
    }
}

/// What was heard of which Job. Pure.
#[derive(Debug, Default)]
struct Known {
    /// Index of the next event, and when the last one came, counted in events.
    next: BTreeMap<JobId, (u64, u64)>,
    count: u64,
}

#[derive(Debug, PartialEq)]
enum Heard {
    Before,
    Next,
    After { from: u64 },
}

impl Known {
    fn take(&mut self, job: JobId, index: u64) -> Heard {
        self.count += 1;
        let heard = match self.next.get(&job) {
            Some((next, _)) if index < *next => return Heard::Before,
            Some((next, _)) if index > *next => Heard::After { from: *next },
            _ => Heard::Next,
        };
        self.next.insert(job, (index + 1, self.count));
        if self.next.len() > MOST_JOBS {
            let longest = self.next.iter().min_by_key(|(_, (_, at))| *at);
            let longest = longest.map(|(job, _)| *job);
            longest.map(|job| self.next.remove(&job));
        }
        heard
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::EventKind;

    #[test]
    fn an_announcement_is_the_event_with_its_job() {
        let announced = Announced {
            job: JobId(7),
            event: Event {
                index: 3,
                at_ms: 12,
                kind: EventKind::Warning { text: "w".into() },
            },
        };
        let json = serde_json::to_string(&announced).unwrap();
        let expected = "{\"job\":\"job_00000000000000000000000000000007\",\"index\":3,\"at_ms\":12,\
                        \"kind\":{\"Warning\":{\"text\":\"w\"}}}";
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_str::<Announced>(&json).unwrap(), announced);
    }

    #[test]
    fn gaps_are_noticed_and_copies_are_left_out() {
        let mut known = Known::default();
        let mut take = |job, index| known.take(JobId(job), index);
        assert_eq!(take(1, 5), Heard::Next, "it came late");
        assert_eq!(take(1, 6), Heard::Next);
        assert_eq!(take(1, 5), Heard::Before);
        assert_eq!(take(2, 0), Heard::Next);
        assert_eq!(take(1, 9), Heard::After { from: 7 });
        assert_eq!(take(1, 8), Heard::Before, "it counts as missed");
        assert_eq!(take(1, 10), Heard::Next);
        assert_eq!(take(2, 1), Heard::Next);
    }

    #[test]
    fn only_so_many_jobs_are_known() {
        let mut known = Known::default();
        for job in 0..=MOST_JOBS as u128 {
            known.take(JobId(job), 0);
            known.take(JobId(1), job as u64);
        }
        assert_eq!(known.next.len(), MOST_JOBS);
        assert!(known.next.contains_key(&JobId(1)), "it was heard just now");
        assert!(!known.next.contains_key(&JobId(0)));
    }
}
