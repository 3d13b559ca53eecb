//! No Attempt of a paused Job begins, and none begins on a Node that is being drained; only what lives is paused, only what has
//! ended is to be archived.

use crate::machine::{MOST_TURNS, State};

/// See the module.
/// # Errors
/// The Attempt that should not have begun.
pub fn check(before: &State, after: &State) -> Result<(), String> {
    for (id, job) in &after.jobs {
        if job.paused && job.state().is_terminal() {
            return Err(format!("{id} has ended and is paused"));
        }
        if job.turns > MOST_TURNS {
            return Err(format!("{id} was paused, resumed and retried too often"));
        }
        if job.retiring && !job.state().is_terminal() {
            return Err(format!("{id} lives and is to be archived"));
        }
        let Some(old) = before.jobs.get(id) else {
            continue;
        };
        for (key, task) in job.tasks.iter() {
            let attempts = old.tasks.get(key).map_or(0, |t| t.attempts);
            if task.attempts == attempts {
                continue;
            }
            if old.paused {
                return Err(format!("{key} of {id} began while it was paused"));
            }
            if let Some(lease) = task.lease
                && before.nodes.get(&lease.node).is_some_and(|n| n.draining)
            {
                return Err(format!(
                    "{key} of {id} began on {}, which is draining",
                    lease.node
                ));
            }
        }
    }
    Ok(())
}
