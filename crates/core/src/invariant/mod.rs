//! Properties that hold in every [`State`], one per file. Used by tests and by simulation after every step.

pub mod attempts_grow;
pub mod chunks_fit;
pub mod chunks_stay;
pub mod counted_right;
pub mod events_without_gap;
pub mod ids_lead_home;
pub mod lease_on_live_task;
pub mod open_is_exact;
pub mod paused_gets_nothing;
pub mod stitched_after_chunks;
pub mod terminal_once;

use crate::machine::State;

/// Checks every property of the state `after` a step, and of the step from `before` to it.
/// # Errors
/// A sentence naming the broken property and where.
pub fn check(before: &State, after: &State) -> Result<(), String> {
    attempts_grow::check(before, after)?;
    chunks_fit::check(after)?;
    chunks_stay::check(before, after)?;
    counted_right::check(after)?;
    events_without_gap::check(before, after)?;
    ids_lead_home::check(after)?;
    lease_on_live_task::check(after)?;
    open_is_exact::check(after)?;
    paused_gets_nothing::check(before, after)?;
    stitched_after_chunks::check(after)?;
    terminal_once::check(before, after)
}
