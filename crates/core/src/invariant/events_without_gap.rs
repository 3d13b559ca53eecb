//! Events of a Job are numbered from 0 without gaps, and none is ever taken back or changed.

use crate::machine::State;

/// See the module.
/// # Errors
/// The Job whose events do not follow.
pub fn check(before: &State, after: &State) -> Result<(), String> {
    for (id, job) in &after.jobs {
        if let Some((i, e)) = (0u64..).zip(job.events.iter()).find(|(i, e)| *i != e.index) {
            return Err(format!("event {i} of {id} is numbered {}", e.index));
        }
        if let Some(old) = before.jobs.get(id)
            && !job.events.starts_with(&old.events)
        {
            return Err(format!("events of {id} were changed"));
        }
    }
    Ok(())
}
