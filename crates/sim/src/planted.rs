//! Looks for every planted bug; see PLANTED.md beside the crate.

use crate::film::Library;
use crate::report::Kind;
use recode_coordinator::planted as coordinator;
use recode_core::planted as core;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A planted bug, by where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Looked for in runs of the core alone.
    Core(core::Planted),
    /// Looked for in runs of whole coordinators.
    Cluster(coordinator::Planted),
}

impl Bug {
    /// All of them.
    pub fn all() -> Vec<Self> {
        let core = core::Planted::ALL.iter().copied().map(Self::Core);
        let cluster = coordinator::Planted::ALL.iter().copied().map(Self::Cluster);
        core.chain(cluster).collect()
    }

    /// Its name in the list.
    pub fn name(self) -> String {
        match self {
            Self::Core(bug) => format!("{bug:?}"),
            Self::Cluster(bug) => format!("{bug:?}"),
        }
    }

    /// What is wrong.
    pub fn text(self) -> &'static str {
        match self {
            Self::Core(bug) => bug.text(),
            Self::Cluster(bug) => bug.text(),
        }
    }

    /// What is run to find it.
    pub fn kind(self) -> Kind {
        match self {
            Self::Core(_) => Kind::Core,
            Self::Cluster(_) => Kind::Cluster,
        }
    }
}

/// Switches a bug on for this thread, or all off.
fn plant(bug: Option<Bug>) {
    core::plant(match bug {
        Some(Bug::Core(bug)) => Some(bug),
        _ => None,
    });
    coordinator::plant(match bug {
        Some(Bug::Cluster(bug)) => Some(bug),
        _ => None,
    });
}

/// How one bug was found, or not.
#[derive(Clone, Debug)]
pub struct Found {
    /// The bug.
    pub bug: Bug,
    /// Seed and broken invariant.
    pub by: Option<(u64, String)>,
    /// Runs that were needed.
    pub runs: u64,
    /// CPU time that was needed: of this thread alone, which does nothing else and waits for nothing.
    pub cpu: Duration,
}

/// Runs seeds from `first` on until a bug shows or the budget is used up.
pub fn find(bug: Bug, first: u64, budget: Duration) -> Found {
    // Made without the bug: what a Job must come to is not to be asked of a broken core.
    plant(None);
    let library = Arc::new(Library::new());
    plant(Some(bug));
    let began = cpu();
    let (mut runs, mut by) = (0, None);
    while by.is_none() && cpu().saturating_sub(began) < budget {
        let report = bug.kind().run(first + runs, &library, false);
        by = report.broken.map(|what| (report.seed, what));
        runs += 1;
    }
    plant(None);
    Found {
        bug,
        by,
        runs,
        cpu: cpu().saturating_sub(began),
    }
}

/// CPU time of this thread.
fn cpu() -> Duration {
    // In nanoseconds, the first number of the line. Where there is no such file the wall clock must do.
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|n| n.parse().ok());
    nanos.map_or_else(
        || {
            thread_local!(static BEGAN: Instant = Instant::now());
            BEGAN.with(Instant::elapsed)
        },
        Duration::from_nanos,
    )
}

/// Looks for all bugs, or the one of that name, on two threads, and prints what was found. `false`: some were not.
pub fn find_all(seconds: u64, only: Option<&str>, json: bool) -> bool {
    let mut bugs = Bug::all();
    bugs.retain(|bug| only.is_none_or(|name| bug.name() == name || bug.kind().name() == name));
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found = Vec::new();
        while let Some(&bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let one = find(bug, 0, Duration::from_secs(seconds));
            if !json {
                println!("{}", line(&one));
            }
            found.push(one);
        }
        found
    };
    let mut all: Vec<Found> = std::thread::scope(|scope| {
        let both: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        both.into_iter()
            .flat_map(|one| one.join().expect("panics of runs are caught inside"))
            .collect()
    });
    let order = |bug: Bug| bugs.iter().position(|one| *one == bug);
    all.sort_by_key(|one| order(one.bug));
    let missed = all.iter().filter(|one| one.by.is_none()).count();
    let slowest = all.iter().map(|one| one.cpu).max().unwrap_or_default();
    if json {
        let bugs: Vec<_> = all
            .iter()
            .map(|one| {
                json!({
                    "bug": one.bug.name(),
                    "kind": one.bug.kind().name(),
                    "text": one.bug.text(),
                    "seed": one.by.as_ref().map(|b| b.0),
                    "broken": one.by.as_ref().map(|b| &b.1),
                    "runs": one.runs,
                    "cpu_seconds": one.cpu.as_secs_f64(),
                })
            })
            .collect();
        println!(
            "{}",
            json!({"bugs": bugs, "planted": all.len(), "found": all.len() - missed})
        );
    } else {
        println!(
            "{} of {} planted bugs found within {seconds} CPU seconds each; slowest {:.1} s",
            all.len() - missed,
            all.len(),
            slowest.as_secs_f64()
        );
    }
    missed == 0 && !all.is_empty()
}

fn line(one: &Found) -> String {
    let name = one.bug.name();
    let how = match &one.by {
        Some((seed, what)) => {
            let short: String = what.chars().take(110).collect();
            format!("seed {seed}: {short}")
        }
        None => "NOT FOUND".to_owned(),
    };
    format!(
        "{name:22} {:7.2} s {:6} runs  {how}",
        one.cpu.as_secs_f64(),
        one.runs
    )
}
