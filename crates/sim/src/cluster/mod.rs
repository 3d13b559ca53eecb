//! Runs of whole coordinators: three of them, with the real openraft, the real log files and snapshots, the real services,
//! seat, dispatcher, planner and announcer, as make-believe processes in one thread and in virtual time. Make-believe are
//! disks, network, work store, Nodes and clients. What is real and what is not: `docs/decisions/0023-simulated-coordinators.md`.
//!
//! | here | instead of |
//! |---|---|
//! | [`disk`] | the disk below the log and the snapshots |
//! | [`net`] | gRPC between coordinators, Nodes and clients |
//! | [`store`] | the work store |
//! | [`node`], [`client`] | `recode-node`, `recode-client` |
//! | [`machine`] | a coordinator's process |
//!
//! One seed is one run where tokio's `select!` can be seeded, that is under `--cfg tokio_unstable`; `make chaos` sets it.

mod book;
mod chaos;
mod client;
mod disk;
mod machine;
mod net;
mod node;
mod store;
mod world;

use crate::film::Library;
use crate::report::Report;
use std::sync::Arc;

/// How long a run may take to end everything once the faults stop, in virtual time.
pub const CALM_MS: u64 = 600_000;

/// Virtual time that a run lasts at least.
pub const LEAST_MS: u64 = 60_000;

/// Tasks that a run finishes at least, or it does not count.
pub const LEAST_TASKS: u64 = 50;

/// Log entries of one run: more means that something goes round in circles.
pub const MOST_ENTRIES: usize = 20_000;

/// Runs one seed. `lines`: keep what happened last.
pub fn run(seed: u64, library: &Arc<Library>, lines: bool) -> Report {
    world::run(seed, library, lines)
}
