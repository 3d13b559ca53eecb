//! Many seeds on all cores, and what they add up to.

use crate::faults::Fired;
use crate::film::Library;
use crate::report::{Kind, Report};
use serde_json::{Value, json};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Broken runs that are told in full.
const TOLD: usize = 5;

/// What many runs add up to.
#[derive(Clone, Debug)]
pub struct Totals {
    /// Of what.
    pub kind: Kind,
    /// Runs that counted.
    pub runs: u64,
    /// Runs in which too few faults fired.
    pub void: u64,
    /// Seeds of broken runs, with the sentence.
    pub broken: Vec<(u64, String)>,
    /// Faults of the runs that counted.
    pub fired: Fired,
    /// Commands applied.
    pub commands: u64,
    /// Attempts granted.
    pub attempts: u64,
    /// Tasks finished.
    pub tasks: u64,
    /// How often a coordinator came to lead.
    pub terms: u64,
    /// Virtual time.
    pub virtual_ms: u64,
    /// The longest that a run took to end everything once the faults had stopped.
    pub longest_calm_ms: u64,
    /// Jobs done, failed, cancelled.
    pub ends: [u64; 3],
    /// The first seed that was not run.
    pub next: u64,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Over the digests of all runs, whatever their order.
    pub digest: u64,
}

impl Totals {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            runs: 0,
            void: 0,
            broken: Vec::new(),
            fired: Fired::default(),
            commands: 0,
            attempts: 0,
            tasks: 0,
            terms: 0,
            virtual_ms: 0,
            longest_calm_ms: 0,
            ends: [0; 3],
            next: 0,
            seconds: 0.0,
            digest: 0,
        }
    }

    /// Classes of faults that never fired.
    pub fn silent(&self) -> Vec<&'static str> {
        let faults = self.kind.faults().into_iter();
        let silent = faults.filter(|fault| self.fired.of(*fault) == 0);
        silent.map(crate::faults::Fault::name).collect()
    }

    fn add(&mut self, report: &Report) {
        if let Some(what) = &report.broken {
            self.broken.push((report.seed, what.clone()));
            return;
        }
        if report.void {
            self.void += 1;
            return;
        }
        self.runs += 1;
        self.fired.merge(&report.fired);
        self.commands += report.commands;
        self.attempts += report.attempts;
        self.tasks += report.tasks;
        self.terms += report.terms;
        self.virtual_ms += report.virtual_ms;
        self.longest_calm_ms = self.longest_calm_ms.max(report.calm_ms);
        for (mine, theirs) in self.ends.iter_mut().zip(report.ends) {
            *mine += theirs;
        }
        self.digest ^= report.digest;
    }

    fn merge(&mut self, other: Self) {
        self.runs += other.runs;
        self.void += other.void;
        self.broken.extend(other.broken);
        self.fired.merge(&other.fired);
        self.commands += other.commands;
        self.attempts += other.attempts;
        self.tasks += other.tasks;
        self.terms += other.terms;
        self.virtual_ms += other.virtual_ms;
        self.longest_calm_ms = self.longest_calm_ms.max(other.longest_calm_ms);
        for (mine, theirs) in self.ends.iter_mut().zip(other.ends) {
            *mine += theirs;
        }
        self.digest ^= other.digest;
    }

    /// Nothing was broken and something was tried.
    pub fn is_good(&self) -> bool {
        self.broken.is_empty() && self.runs > 0
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let faults = self.kind.faults();
        let faults: serde_json::Map<String, Value> = faults
            .iter()
            .map(|f| (f.name().to_owned(), self.fired.of(*f).into()))
            .collect();
        json!({
            "kind": self.kind.name(),
            "runs": self.runs,
            "next": self.next,
            "void": self.void,
            "broken": self.broken.iter().map(|(seed, what)| json!({"seed": seed, "what": what})).collect::<Vec<_>>(),
            "bound_95": 3.0 / self.runs.max(1) as f64,
            "faults": faults,
            "unfired": self.silent(),
            "commands": self.commands,
            "attempts": self.attempts,
            "tasks": self.tasks,
            "terms": self.terms,
            "virtual_hours": self.virtual_ms as f64 / 3.6e6,
            "jobs": {"done": self.ends[0], "failed": self.ends[1], "cancelled": self.ends[2]},
            "longest_calm_seconds": self.longest_calm_ms as f64 / 1000.0,
            "seconds": self.seconds,
            "runs_per_second": self.runs as f64 / self.seconds.max(1e-9),
            "digest": format!("{:016x}", self.digest),
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for fault in self.kind.faults() {
            text += &format!("{:>12}  {}\n", self.fired.of(fault), fault.name());
        }
        let [done, failed, cancelled] = self.ends;
        let runs = self.runs.max(1);
        text += &format!(
            "{} runs in {:.1} s ({:.0}/s), {} void; {:.1} virtual hours, {} commands, {} attempts\n\
             jobs: {done} done, {failed} failed, {cancelled} cancelled; {:.1} faults a run; without faults all ended within {:.0} s\n\
             broken: {} (none broken would bound the rate at {:.1e} with 95 %)\n\
             {} tasks finished, {} times somebody came to lead\n\
             digest {:016x}\n",
            self.runs,
            self.seconds,
            self.runs as f64 / self.seconds.max(1e-9),
            self.void,
            self.virtual_ms as f64 / 3.6e6,
            self.commands,
            self.attempts,
            self.fired.total() as f64 / runs as f64,
            self.longest_calm_ms as f64 / 1000.0,
            self.broken.len(),
            3.0 / runs as f64,
            self.tasks,
            self.terms,
            self.digest,
        );
        text
    }
}

/// Runs `seeds` on so many threads, in order, and begins no more after `within`. `tell` hears of broken runs as they come,
/// with what happened last.
pub fn run(
    kind: Kind,
    seeds: Range<u64>,
    threads: usize,
    within: Option<Duration>,
    tell: &(dyn Fn(&Report) + Sync),
) -> Totals {
    let began = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let told = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let work = || {
        let library = Arc::new(Library::new());
        let mut totals = Totals::new(kind);
        while !stop.load(Ordering::Relaxed) && within.is_none_or(|most| began.elapsed() < most) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            let report = kind.run(seed, &library, false);
            totals.add(&report);
            if report.broken.is_some() {
                let count = told.fetch_add(1, Ordering::Relaxed);
                if count < TOLD as u64 {
                    tell(&kind.run(seed, &library, true));
                }
                // So much is broken that more seeds say no more.
                stop.store(count >= 200, Ordering::Relaxed);
            }
        }
        totals
    };
    let mut totals = Totals::new(kind);
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        for one in all {
            totals.merge(one.join().expect("panics of runs are caught inside"));
        }
    });
    totals.next = next.into_inner().min(seeds.end);
    totals.broken.sort_unstable();
    totals.seconds = began.elapsed().as_secs_f64();
    totals
}
