//! Runs of the core alone: the real [`recode_core::State`], the real scheduler, planner and decisions of the Leader, on
//! make-believe coordinators, log, Nodes and clients, with a clock that jumps from event to event.
//!
//! What is real: everything of `recode-core`, and the coordinator's `Registry` (its very source file, since it is pure).
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
// The real one. Joined by path, so that this crate need not build openraft and gRPC for it.
#[path = "../../../coordinator/src/actor/registry.rs"]
#[allow(dead_code, reason = "a run needs no names and no progress")]
mod registry;
mod world;

use crate::faults::Fired;
use crate::film::Library;
use crate::schedule::LEAST_FAULTS;
use std::rc::Rc;

/// How long a run may take to end everything once the faults stop, in virtual time: a full back-off (64 s), silence found
/// out (15 s) and the work of all Jobs on the slowest Nodes.
pub const CALM_MS: u64 = 600_000;

/// Log entries of one run: more means that something goes round in circles.
pub const MOST_ENTRIES: usize = 6_000;

/// What became of one run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// The invariant that was broken.
    pub broken: Option<String>,
    /// What happened last, where lines were asked for.
    pub last: Vec<String>,
    /// Faults that fired.
    pub fired: Fired,
    /// Equal for equal runs.
    pub digest: u64,
    /// Commands in the log.
    pub commands: u64,
    /// Attempts that were granted.
    pub attempts: u64,
    /// Virtual time until everything had ended.
    pub virtual_ms: u64,
    /// Virtual time from the end of the faults on.
    pub calm_ms: u64,
    /// Jobs done, failed and cancelled.
    pub ends: [u64; 3],
}

impl Report {
    /// Too few faults fired for the run to count.
    pub fn is_void(&self) -> bool {
        self.broken.is_none() && self.fired.total() < LEAST_FAULTS
    }
}

/// Runs one seed. `lines`: keep what happened last.
pub fn run(seed: u64, library: &Rc<Library>, lines: bool) -> Report {
    let mut world = world::World::new(seed, library.clone(), lines);
    let caught = crate::quiet::catch(std::panic::AssertUnwindSafe(|| world.run()));
    if let Err(panic) = caught {
        world.broke(format!("panic: {panic}"));
    }
    world.report(seed)
}
