//! The coordinator: replicated job state, planning, dispatch. Decisions are `recode-core`'s; this crate reads the world,
//! asks for them, puts them into the log and carries them out.
//!
//! [`assembly::start`] runs one; the binary `recode-coordinator` and an embedding client both call it.

#[macro_use]
pub mod planted;

mod actor;
mod artifacts;
pub mod assembly;
mod leader;
mod nats;
mod raft;
pub mod restore;
mod room;
mod runtime;
mod seat;
mod service;
#[cfg(feature = "simulated")]
pub mod simulated;
mod wait;

pub use actor::copier::Copies;
pub use raft::{Change, Line, Timings, dump};
