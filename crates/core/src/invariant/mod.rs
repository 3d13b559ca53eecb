//! Properties that hold in every [`State`], one per file. Used by tests and by simulation after every step.

pub mod attempts_grow;
pub mod chunks_fit;
pub mod events_without_gap;
pub mod lease_on_live_task;
pub mod open_is_exact;
pub mod stitched_after_chunks;
pub mod terminal_once;

use crate::machine::State;

/// Checks every property of the state `after` a step, and of the step from `before` to it.
/// # Errors
/// A sentence naming the broken property and where.
pub fn check(before: &State, after: &State) -> Result<(), String> {
    attempts_grow::check(before, after)?;
    chunks_fit::check(after)?;
    events_without_gap::check(before, after)?;
    lease_on_live_task::check(after)?;
    open_is_exact::check(after)?;
    stitched_after_chunks::check(after)?;
    terminal_once::check(before, after)
}
