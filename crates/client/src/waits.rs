//! Tells people who follow a Job why nothing of it runs, or why nothing is heard.

use crate::explain::why;
use crate::remote::now_ms;
use recode_client::{Client, Error};
use recode_types::{Explanation, JobId, Wait};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// A pause of this length is worth a question.
const WORTH: Duration = Duration::from_secs(4);

/// Who does not answer for this long is said not to: an election may be on.
const PATIENCE: Duration = Duration::from_secs(4);

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
            client: client.patience(PATIENCE).on_silence(None),
            job,
            due: None,
            asking: JoinSet::new(),
            said: String::new(),
        }
    }

    /// What is to be said now, once. `silent`: nothing of the Job runs, or nothing was heard of it for a while.
    pub fn look(&mut self, silent: bool, now: Instant) -> Option<String> {
        if !silent {
            self.due = None;
            self.said.clear();
            // An answer on its way is about what was.
            self.asking = JoinSet::new();
            return None;
        }
        let due = *self.due.get_or_insert(now + WORTH);
        if now >= due && self.asking.is_empty() {
            self.due = Some(now + WORTH);
            let (client, job) = (self.client.clone(), self.job);
            self.asking.spawn(async move { client.explain(job).await });
        }
        let said = match self.asking.try_join_next()?.ok()? {
            Ok(explanation) => format!("the job waits: {}", first_reason(&explanation, now_ms())?),
            Err(error) if error.may_retry() => {
                "no coordinator answers now; the job goes on meanwhile, and they are asked again"
                    .to_owned()
            }
            Err(_) => return None,
        };
        (said != self.said).then(|| {
            self.said.clone_from(&said);
            said
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
