//! What is counted as it comes and goes, so that nobody has to count a hundred thousand Segments, is what there is.

use crate::machine::State;

/// See the module.
/// # Errors
/// The Job that is counted wrongly.
pub fn check(state: &State) -> Result<(), String> {
    match state.jobs.values().find(|job| !job.is_counted_right()) {
        Some(job) => Err(format!("{} is counted wrongly", job.id)),
        None => Ok(()),
    }
}
