//! A Job is in the state or archived, never both; every request id leads to its Job, and what is remembered of requests and
//! logs is bounded.

use crate::machine::job::MOST_LOGS;
use crate::machine::{MOST_WISHES, State};

/// See the module.
/// # Errors
/// The id that leads astray, or the list that is too long.
pub fn check(state: &State) -> Result<(), String> {
    let live = state.jobs.values().map(|j| (&j.request_id, j.id));
    let stubs = state.archived.iter().map(|(id, s)| (&s.request_id, *id));
    for (request, id) in live.chain(stubs) {
        if state.requests.get(request) != Some(&id) {
            return Err(format!("request {request} does not lead to {id}"));
        }
    }
    if state.requests.len() != state.jobs.len() + state.archived.len() {
        return Err("a job is archived and not, or a request leads to none".to_owned());
    }
    let mut wishes = 0;
    for (id, job) in &state.jobs {
        wishes += job.wishes.len();
        if job.wishes.len() > MOST_WISHES || job.logs.len() > MOST_LOGS {
            return Err(format!("too much is remembered of {id}"));
        }
        let known = |wish: &String| state.wishes.get(wish).is_some_and(|(job, _)| job == id);
        if !job.wishes.iter().all(known) {
            return Err(format!("a wish of {id} is not known"));
        }
        if (job.logs.iter().zip(job.logs.iter().skip(1))).any(|(a, b)| a.number + 1 != b.number) {
            return Err(format!("the logs of {id} do not follow each other"));
        }
    }
    if wishes != state.wishes.len() {
        return Err(format!(
            "{} wishes are known and jobs have {wishes}",
            state.wishes.len()
        ));
    }
    Ok(())
}
