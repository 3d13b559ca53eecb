//! Runs of the core alone: the real [`recode_core::State`], the real scheduler, planner and decisions of the Leader, on
//! make-believe coordinators, log, Nodes and clients, with a clock that jumps from event to event.
//!
//! What is real: everything of `recode-core`, with what the Leader remembers of Nodes.
//! What is modelled after the coordinator, line by line where it can be, since there it is async code:
//!
//! | here | modelled after |
//! |---|---|
//! | [`leader`] | `actor/dispatcher.rs`, `actor/planner.rs`, `leader.rs`, `raft/effects.rs`, `raft/proposer.rs` |
//! | [`log`] | what Raft promises: one order; what a majority has on disk stays; of the rest a prefix may survive |
//! | [`node`] | `node/actor/reporter.rs`, `node/slots.rs` |
//! | [`client`] | `client`, and `service/job.rs` |
//!
//! The real openraft is not here: its runs are counted apart.

mod chaos;
mod client;
mod leader;
mod log;
mod node;
mod world;

use crate::film::Library;
use crate::report::Report;
use std::sync::Arc;

/// How long a run may take to end everything once the faults stop, in virtual time: a full back-off (64 s), silence found
/// out (15 s) and the work of all Jobs on the slowest Nodes.
pub const CALM_MS: u64 = 600_000;

/// Log entries of one run: more means that something goes round in circles.
pub const MOST_ENTRIES: usize = 6_000;

/// Runs one seed. `lines`: keep what happened last.
pub fn run(seed: u64, library: &Arc<Library>, lines: bool) -> Report {
    let mut world = world::World::new(seed, library.clone(), lines);
    let caught = crate::quiet::catch(std::panic::AssertUnwindSafe(|| world.run()));
    if let Err(panic) = caught {
        world.broke(format!("panic: {panic}"));
    }
    world.report(seed)
}
