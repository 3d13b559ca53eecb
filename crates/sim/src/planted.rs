//! Looks for every planted bug; see PLANTED.md beside the crate.

use crate::core_alone;
use crate::film::Library;
use recode_core::planted::{Planted, plant};
use serde_json::json;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How one bug was found, or not.
#[derive(Clone, Debug)]
pub struct Found {
    /// The bug.
    pub bug: Planted,
    /// Seed and broken invariant.
    pub by: Option<(u64, String)>,
    /// Runs that were needed.
    pub runs: u64,
    /// CPU time that was needed: of this thread alone, which does nothing else and waits for nothing.
    pub cpu: Duration,
}

/// Runs seeds from `first` on until a bug shows or the budget is used up.
pub fn find(bug: Planted, first: u64, budget: Duration) -> Found {
    // Made without the bug: what a Job must come to is not to be asked of a broken core.
    plant(None);
    let library = Rc::new(Library::new());
    plant(Some(bug));
    let began = cpu();
    let (mut runs, mut by) = (0, None);
    while by.is_none() && cpu().saturating_sub(began) < budget {
        let report = core_alone::run(first + runs, &library, false);
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
    let bugs: Vec<Planted> = Planted::ALL
        .iter()
        .copied()
        .filter(|bug| only.is_none_or(|name| format!("{bug:?}") == name))
        .collect();
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
    all.sort_by_key(|one| one.bug as usize);
    let missed = all.iter().filter(|one| one.by.is_none()).count();
    let slowest = all.iter().map(|one| one.cpu).max().unwrap_or_default();
    if json {
        let bugs: Vec<_> = all
            .iter()
            .map(|one| {
                json!({
                    "bug": format!("{:?}", one.bug),
                    "text": one.bug.text(),
                    "seed": one.by.as_ref().map(|b| b.0),
                    "broken": one.by.as_ref().map(|b| &b.1),
                    "runs": one.runs,
                    "cpu_seconds": one.cpu.as_secs_f64(),
                })
            })
            .collect();
        println!("{}", json!({"bugs": bugs, "found": all.len() - missed}));
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
    let name = format!("{:?}", one.bug);
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
