//! Tells people who follow a Job why nothing of it runs.

use crate::explain::why;
use crate::remote::now_ms;
use recode_client::{Client, Error};
use recode_types::{Explanation, JobId, Wait};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// A pause of this length is worth a question.
const WORTH: Duration = Duration::from_secs(4);

/// See the module.
pub struct Waits {
    client: Client,
    job: JobId,
    /// When a question is worth it.
    due: Option<Instant>,
    asking: JoinSet<Result<Explanation, Error>>,
    said: String,
}

impl Waits {
    /// For one Job.
    pub fn new(client: Client, job: JobId) -> Self {
        Self {
            client: client.patience(Duration::ZERO),
            job,
            due: None,
            asking: JoinSet::new(),
            said: String::new(),
        }
    }

    /// What is to be said now, once.
    pub fn look(&mut self, idle: bool, now: Instant) -> Option<String> {
        if !idle {
            self.due = None;
            self.said.clear();
            self.asking.abort_all();
            return None;
        }
        let due = *self.due.get_or_insert(now + WORTH);
        if now >= due && self.asking.is_empty() {
            self.due = Some(now + WORTH);
            let (client, job) = (self.client.clone(), self.job);
            self.asking.spawn(async move { client.explain(job).await });
        }
        // One that is broken off, or that nobody answers, is asked again.
        let heard = self.asking.try_join_next()?.ok()?.ok()?;
        let why = first_reason(&heard, now_ms())?;
        (why != self.said).then(|| {
            self.said.clone_from(&why);
            why
        })
    }
}

/// The first reason that does not pass by itself.
fn first_reason(explanation: &Explanation, now_ms: u64) -> Option<String> {
    // Who leads since a moment ago has not heard from everybody, but knows from the log who works.
    if explanation.tasks_running > 0 {
        return None;
    }
    let mut reasons = explanation.waiting.iter().map(|waiting| &waiting.why);
    let lasting = reasons.find(|why| {
        !matches!(
            why,
            Wait::Probe | Wait::Plan | Wait::Tasks { .. } | Wait::Knobs { .. } | Wait::Nothing
        )
    })?;
    Some(why(lasting, now_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::{JobState, Waiting};

    #[test]
    fn what_passes_by_itself_is_not_said() {
        let of = |tasks_running, reasons: Vec<Wait>| {
            let waiting = |why| Waiting {
                why,
                count: 1,
                tasks: vec![],
            };
            let explanation = Explanation {
                job: JobId(1),
                state: JobState::Probing,
                tasks: 1,
                tasks_done: 0,
                tasks_running,
                waiting: reasons.into_iter().map(waiting).collect(),
            };
            first_reason(&explanation, 0)
        };
        assert_eq!(of(0, vec![Wait::Nothing, Wait::Plan]), None);
        assert_eq!(
            of(0, vec![Wait::NoNodes, Wait::Probe]).as_deref(),
            Some("no node reports: start one")
        );
        assert_eq!(of(1, vec![Wait::NoNodes]), None);
    }
}
