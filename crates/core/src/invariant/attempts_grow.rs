//! Attempt numbers of a Task never go back: `(task, attempt)` names one try for ever.

use crate::machine::State;

/// See the module.
/// # Errors
/// The Task whose numbers went back.
pub fn check(before: &State, after: &State) -> Result<(), String> {
    for (id, job) in &before.jobs {
        let Some(now) = after.jobs.get(id) else {
            continue;
        };
        for (key, task) in job.tasks.iter() {
            let attempts = now.tasks.get(key).map_or(0, |t| t.attempts);
            if attempts < task.attempts {
                return Err(format!(
                    "attempts of {id} {key} went from {} to {attempts}",
                    task.attempts
                ));
            }
        }
    }
    Ok(())
}
