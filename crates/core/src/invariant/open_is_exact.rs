//! Every Segment that lacks a Chunk is either open or leased, never both and never neither: nothing is forgotten and nothing
//! is encoded twice at once.

use crate::machine::{State, job::Phase};
use recode_types::TaskKey;

/// See the module.
/// # Errors
/// The Task that is forgotten or offered twice.
pub fn check(state: &State) -> Result<(), String> {
    for (id, job) in &state.jobs {
        let Phase::Running(run) = &job.phase else {
            continue;
        };
        let leased = |key| job.tasks.get(&key).is_some_and(|t| t.lease.is_some());
        for group in 0..run.plan.groups.len() as u16 {
            for segment in 0..run.plan.segments.len() as u32 {
                let key = TaskKey::Encode { group, segment };
                let missing = !run.missing(group, segment).is_empty();
                let waiting = run.is_waiting(key);
                if waiting && leased(key) {
                    return Err(format!("{key} of {id} is open and leased"));
                }
                if missing && !waiting && !leased(key) {
                    return Err(format!("{key} of {id} is forgotten"));
                }
                if !missing && waiting {
                    return Err(format!("{key} of {id} is open though finished"));
                }
            }
        }
    }
    Ok(())
}
