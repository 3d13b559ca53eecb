//! Looks for every planted bug; see PLANTED.md beside the crate.

use crate::film::Library;
use crate::report::Kind;
use recode_coordinator::planted as coordinator;
use recode_core::planted as core;
use serde_json::{Value, json};
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
    let mut spent = Duration::ZERO;
    while by.is_none() && spent < budget {
        let report = bug.kind().run(first + runs, &library, false);
        runs += 1;
        spent = cpu().saturating_sub(began);
        // What shows after the last moment does not count.
        let broken = report.broken.filter(|_| spent <= budget);
        by = broken.map(|what| (report.seed, what));
    }
    plant(None);
    Found {
        bug,
        by,
        runs,
        cpu: spent,
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

/// Which bugs are looked for, and for how long.
#[derive(Clone, Debug)]
pub struct Search {
    /// CPU time for each.
    pub budget: Duration,
    /// This one, or those of this kind.
    pub only: Option<String>,
    /// Not these.
    pub except: Vec<String>,
    /// Looked for at once.
    pub threads: usize,
    /// None is begun after that.
    pub within: Option<Duration>,
}

/// Looks for planted bugs; `tell` hears of each as its search ends.
pub fn find_all(search: &Search, tell: &(dyn Fn(&Found) + Sync)) -> Vec<Found> {
    let began = Instant::now();
    let mut bugs = Bug::all();
    let named = |bug: Bug, name: &str| bug.name() == name || bug.kind().name() == name;
    bugs.retain(|bug| search.only.as_ref().is_none_or(|name| named(*bug, name)));
    bugs.retain(|bug| !search.except.contains(&bug.name()));
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found = Vec::new();
        while search.within.is_none_or(|most| began.elapsed() < most)
            && let Some(&bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed))
        {
            let one = find(bug, 0, search.budget);
            tell(&one);
            found.push(one);
        }
        found
    };
    std::thread::scope(|scope| {
        let threads = 0..search.threads.max(1);
        let all: Vec<_> = threads.map(|_| scope.spawn(work)).collect();
        all.into_iter()
            .flat_map(|one| one.join().expect("panics of runs are caught inside"))
            .collect()
    })
}

impl Found {
    /// For programs: one line. `planted`: how many bugs there are.
    pub fn json(&self, planted: usize) -> Value {
        json!({
            "bug": self.bug.name(),
            "kind": self.bug.kind().name(),
            "text": self.bug.text(),
            "found": self.by.is_some(),
            "seed": self.by.as_ref().map(|b| b.0),
            "broken": self.by.as_ref().map(|b| &b.1),
            "runs": self.runs,
            "cpu_seconds": self.cpu.as_secs_f64(),
            "planted": planted,
        })
    }

    /// For people: one line.
    pub fn text(&self) -> String {
        let how = match &self.by {
            Some((seed, what)) => {
                let short: String = what.chars().take(110).collect();
                format!("seed {seed}: {short}")
            }
            None => "NOT FOUND".to_owned(),
        };
        let (name, cpu) = (self.bug.name(), self.cpu.as_secs_f64());
        format!("{name:22} {cpu:7.2} s {:6} runs  {how}", self.runs)
    }
}
