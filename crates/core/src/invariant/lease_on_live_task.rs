//! A Lease is held by a known Node, on a Task of a Job that has not ended, by that Task's newest Attempt; and Node and Task
//! agree about it.

use crate::machine::State;
use recode_types::TaskId;

/// See the module.
/// # Errors
/// The Lease that should not be.
pub fn check(state: &State) -> Result<(), String> {
    let mut leases = 0;
    for (id, job) in &state.jobs {
        for (key, task) in job.tasks.iter() {
            let Some(lease) = task.lease else { continue };
            leases += 1;
            let at = format!("the lease on {key} of {id}");
            if job.state().is_terminal() {
                return Err(format!("{at} outlives its job"));
            }
            if lease.attempt != task.attempts {
                return Err(format!("{at} is not the newest attempt's"));
            }
            let held = state.nodes.get(&lease.node).is_some_and(|n| {
                n.leases.contains(&TaskId {
                    job: *id,
                    key: *key,
                })
            });
            if !held {
                return Err(format!("{at} is not known to {}", lease.node));
            }
        }
    }
    let held: usize = state.nodes.values().map(|n| n.leases.len()).sum();
    if held != leases {
        return Err(format!("nodes hold {held} leases, tasks {leases}"));
    }
    Ok(())
}
