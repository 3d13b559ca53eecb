//! A Job ends once: a done or cancelled one never changes again, a failed one only by another try that an event tells; one
//! that lives is never lost; and a request id keeps its Job.

use crate::machine::{Job, State};
use recode_types::event::{EventKind, JobState};

/// See the module.
/// # Errors
/// The Job that came back.
pub fn check(before: &State, after: &State) -> Result<(), String> {
    for (id, job) in &before.jobs {
        match after.jobs.get(id) {
            None if !job.state().is_terminal() => {
                return Err(format!("{id} was lost"));
            }
            Some(now) if job.state().is_terminal() && !is_same(job, now) => {
                return Err(format!("{id} changed after its end"));
            }
            _ => {}
        }
    }
    for (id, stub) in &after.archived {
        if !before.archived.contains_key(id) {
            let ended = before.jobs.get(id).is_some_and(|job| {
                job.state() == stub.state && job.events.len() as u64 == stub.events
            });
            if !ended {
                return Err(format!("{id} was archived as something else"));
            }
        }
    }
    for (request, job) in &before.requests {
        if let Some(now) = after.requests.get(request)
            && now != job
        {
            return Err(format!("request {request} changed from {job} to {now}"));
        }
    }
    Ok(())
}

/// An ended Job may be marked for its archive; a failed one may be tried again.
fn is_same(job: &Job, now: &Job) -> bool {
    let next = now.events.get(job.events.len()).map(|event| &event.kind);
    if job.state() == JobState::Failed && matches!(next, Some(EventKind::Retried { .. })) {
        return true;
    }
    let mut now = now.clone();
    now.retiring = job.retiring;
    now == *job
}
