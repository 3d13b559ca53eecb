//! A Job ends once: an ended one never changes again, and a request id keeps its Job.

use crate::machine::State;

/// See the module.
/// # Errors
/// The Job that came back.
pub fn check(before: &State, after: &State) -> Result<(), String> {
    for (id, job) in &before.jobs {
        match after.jobs.get(id) {
            None if !job.state().is_terminal() => {
                return Err(format!("{id} was lost"));
            }
            Some(now) if job.state().is_terminal() && now != job => {
                return Err(format!("{id} changed after its end"));
            }
            _ => {}
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
