//! Every decision of recode, without IO: what to make of a request ([`plan`]), the replicated state of all Jobs
//! ([`machine`]), who gets which Task ([`schedule`]), what the Leader
//! remembers of Nodes ([`leader`]), what a Job did ([`report`]) and what stays
//! of it ([`archive`]).
//!
//! No clock, no randomness, no async: time and ids arrive as arguments or inside log entries, maps are ordered, ties are
//! broken by id. Every replica and every rerun gets the same answer.

#[macro_use]
pub mod planted;

pub mod archive;
#[cfg(test)]
mod fixture;
pub mod invariant;
pub mod leader;
pub mod machine;
pub mod plan;
pub mod report;
pub mod schedule;

pub use machine::{Batch, Command, Effect, Entry, Outcome, Rejected, State};
pub use plan::{Plan, PlanError, PlanPolicy, plan};
