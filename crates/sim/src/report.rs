//! What became of one run, of either kind.

use crate::faults::{Fault, Fired};
use crate::film::Library;
use crate::{cluster, core_alone};
use std::sync::Arc;

/// What a run is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The core alone.
    Core,
    /// Whole coordinators.
    Cluster,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// The invariant that was broken.
    pub broken: Option<String>,
    /// What happened last, where lines were asked for.
    pub last: Vec<String>,
    /// Faults that fired.
    pub fired: Fired,
    /// Too little happened for the run to count.
    pub void: bool,
    /// Equal for equal runs.
    pub digest: u64,
    /// Commands in the log.
    pub commands: u64,
    /// Attempts that were granted.
    pub attempts: u64,
    /// Tasks that were finished.
    pub tasks: u64,
    /// How often a coordinator came to lead.
    pub terms: u64,
    /// Virtual time until everything had ended.
    pub virtual_ms: u64,
    /// Virtual time from the end of the faults on.
    pub calm_ms: u64,
    /// Jobs done, failed and cancelled.
    pub ends: [u64; 3],
}

impl Kind {
    /// The subcommand.
    pub fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Cluster => "cluster",
        }
    }

    /// Runs one seed. `lines`: keep what happened last.
    pub fn run(self, seed: u64, library: &Arc<Library>, lines: bool) -> Report {
        match self {
            Self::Core => core_alone::run(seed, library, lines),
            Self::Cluster => cluster::run(seed, library, lines),
        }
    }

    /// What may go wrong in such runs.
    pub fn faults(self) -> Vec<Fault> {
        match self {
            Self::Core => Fault::of_core().collect(),
            Self::Cluster => Fault::of_cluster().collect(),
        }
    }

    /// Whether one seed is one run in this build.
    pub fn is_repeatable(self) -> bool {
        self == Self::Core || cfg!(tokio_unstable)
    }
}
