//! `chaos`: three coordinators and several nodes as processes, twenty jobs and more, and while they run whatever can happen
//! to machines: kill -9, SIGSTOP, links that are cut, disks that are full. Afterwards a checker reads the log and the stored
//! objects, and nothing else.
//!
//! ```text
//!   faults.rs    what is broken when: follows from the seed        breaker.rs   breaks it, mends it, knows what has fired
//!   jobs.rs      what is asked for, and what must come out         clients.rs   who asks, is killed, and what each was told
//!   keeper.rs    a second name for every stored object             history.rs   a log dump, read
//!   check.rs     the promises, held against all of that
//! ```
//!
//! A run in which a planned fault did not fire is void: it counts for nothing but is told.

mod breaker;
pub(super) mod check;
pub(super) mod clients;
mod faults;
mod history;
pub(super) mod jobs;
pub(super) mod keeper;

use super::Deadline;
use crate::figure::Sheet;
use crate::player;
use crate::seed::Seed;
use crate::site::network::Member;
use crate::site::{self, COORDINATORS, Programs, Site};
use crate::tools::Tools;
use anyhow::{Context as _, Result};
use breaker::{Breaker, Fired};
use check::{Found, Stored};
use clients::Clients;
use faults::{CLASSES, Fault};
use jobs::Jobs;
use keeper::Keeper;
use recode_types::Digest;
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What is measured.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Runs that count.
    pub runs: u64,
    /// Runs at the same time.
    pub at_once: u32,
    /// Seed of the first run; each has the next.
    pub seed: u64,
    /// Encode with FFmpeg instead of playing back what it did.
    pub real: bool,
    /// Begin no run after this.
    pub deadline: Deadline,
}

/// While this lasts, things break.
const LENGTH: Duration = Duration::from_secs(20);
/// Jobs are submitted in this time.
const SUBMITTING: Duration = Duration::from_secs(19);
/// Jobs of a run.
const JOBS: usize = 24;
/// Nodes of a run.
const NODES: Member = 3;
/// Encoders on each.
const WORKERS: u32 = 2;
/// After everything is whole again, jobs get this long to end: a node that died is missed after 15 s.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a played encode takes: all slots are busy while things break, and no longer.
const PACE: (Duration, Duration) = (Duration::from_millis(300), Duration::from_millis(1000));
/// How often the run looks around.
const TICK: Duration = Duration::from_millis(5);

/// What one run showed.
struct Run {
    seconds: f64,
    fired: Fired,
    found: Found,
    /// Processes that ended though nobody ended them.
    crashed: Vec<String>,
}

impl Run {
    fn is_void(&self) -> bool {
        !self.fired.unfired.is_empty()
    }

    fn broken(&self) -> Vec<&String> {
        self.found.broken().chain(&self.crashed).collect()
    }
}

/// What all runs share.
struct Stage {
    folder: tempfile::TempDir,
    programs: Programs,
    jobs: Jobs,
}

/// Measures.
/// # Errors
/// The stage cannot be set. A run that cannot is void, as is one whose faults do not fire.
pub fn run(tools: &Tools, wanted: &Wanted, sheet: &mut Sheet) -> Result<()> {
    let stage = set(tools, wanted)?;
    let next = AtomicU64::new(wanted.seed);
    let all: Mutex<Vec<Run>> = Mutex::default();
    let valid = || {
        let all = all.lock().expect("no run panics while it adds itself");
        all.iter().filter(|run| !run.is_void()).count() as u64
    };
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..wanted.at_once.max(1) {
            scope.spawn(|| {
                while valid() < wanted.runs && !wanted.deadline.passed() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    match one(&stage, seed) {
                        Ok(run) => all.lock().expect("as above").push(run),
                        Err(error) => {
                            eprintln!("run {seed}: {error:#}");
                            let mut failures = failures.lock().expect("as above");
                            failures.push(error);
                            if failures.len() > 5 {
                                // It is not chance.
                                break;
                            }
                        }
                    }
                }
            });
        }
    });
    let all = all.into_inner().expect("as above");
    let failures = failures.into_inner().expect("as above");
    let case = match wanted.real {
        true => "real FFmpeg",
        false => "played FFmpeg",
    };
    add(sheet, case, &all, failures.len());
    match failures.into_iter().next() {
        Some(error) if all.is_empty() => Err(error),
        _ => Ok(()),
    }
}

fn set(tools: &Tools, wanted: &Wanted) -> Result<Stage> {
    let folder = tempfile::tempdir()?;
    let ffmpeg = match wanted.real {
        true => tools.ffmpeg.clone(),
        false => {
            let home = folder.path().join("player");
            player::install(&home, &tools.ffmpeg, Duration::ZERO, Duration::ZERO)?
        }
    };
    let jobs = Jobs::prepare(tools, &ffmpeg, folder.path())?;
    if !wanted.real {
        player::set_pace(&folder.path().join("player"), PACE.0, PACE.1)?;
    }
    Ok(Stage {
        programs: Programs::beside(tools, &ffmpeg)?,
        jobs,
        folder,
    })
}

fn one(stage: &Stage, number: u64) -> Result<Run> {
    let folder = stage.folder.path().join(format!("run-{number}"));
    let outputs = folder.join("outputs");
    fs::create_dir_all(&outputs)?;
    let mut seed = Seed::new(number);
    let plan = faults::plan(&mut seed, NODES, LENGTH);
    let mut fillable: Vec<Member> = plan
        .iter()
        .filter_map(|planned| match planned.fault {
            Fault::FillDisk(member) => Some(member),
            _ => None,
        })
        .collect();
    fillable.sort_unstable();
    fillable.dedup();
    let mut site = Site::start(
        site::Wanted {
            programs: stage.programs.clone(),
            nodes: NODES,
            workers: WORKERS,
            cuttable: true,
            fillable,
        },
        &folder,
    )?;
    let keeper = Keeper::start(site.store(), folder.join("kept"))?;
    let requests: Vec<jobs::Request> = (0..JOBS)
        .map(|job| {
            stage
                .jobs
                .request(job, &format!("run-{number}-job-{job}"), &outputs)
        })
        .collect::<Result<_>>()?;
    let started = Instant::now();
    let mut clients = Clients::new(requests, SUBMITTING, Seed::new(seed.number()));
    let mut breaker = Breaker::new(plan);
    while breaker.is_busy() || started.elapsed() < LENGTH {
        breaker.notice(&mut site)?;
        breaker.step(&mut site)?;
        clients.step(&site, &mut breaker)?;
        std::thread::sleep(TICK);
    }
    let crashed = breaker::ended_by_themselves(&mut site)?;
    while !clients.are_settled() && started.elapsed() < LENGTH + PATIENCE {
        clients.step(&site, &mut breaker)?;
        std::thread::sleep(TICK);
    }
    // Whether they have all ended is the checker's to say.
    site.drained(PATIENCE);
    let seconds = started.elapsed().as_secs_f64();
    site.stop()?;
    let kept = keeper.stop();
    let dumps: Vec<String> = (1..=COORDINATORS)
        .map(|coordinator| site.dump(coordinator))
        .collect::<Result<_>>()?;
    let found = check::check(
        &dumps,
        &clients.told(),
        &Stored {
            object: &|key| kept.object(key),
            output: &|url| {
                let bytes = fs::read(jobs::local(url)).ok()?;
                Some((bytes.len() as u64, Digest::of(&bytes)))
            },
        },
    )?;
    let run = Run {
        seconds,
        fired: breaker.finish(),
        found,
        crashed: crashed
            .into_iter()
            .map(|(member, words)| format!("member {member} has ended by itself: {words}"))
            .collect(),
    };
    drop(site);
    tell(number, &run);
    if run.broken().is_empty() {
        fs::remove_dir_all(&folder)?;
    } else {
        for (coordinator, dump) in (1..).zip(&dumps) {
            fs::write(folder.join(format!("dump-{coordinator}.jsonl")), dump)?;
        }
        keep(number, &folder)?;
    }
    Ok(run)
}

/// Moves what a broken run left to where it stays.
fn keep(number: u64, folder: &Path) -> Result<()> {
    let to = std::env::temp_dir().join(format!("recode-chaos-run-{number}"));
    let done = std::process::Command::new("cp")
        .args(["-a", "--no-target-directory"])
        .args([folder, &to])
        .status()
        .context("cannot run cp")?;
    if done.success() {
        eprintln!(
            "run {number}: logs, dumps and objects are in {}",
            to.display()
        );
    }
    Ok(fs::remove_dir_all(folder)?)
}

fn tell(number: u64, run: &Run) {
    let faults: Vec<&str> = run
        .fired
        .fired
        .iter()
        .map(|one| CLASSES[one.class()])
        .collect();
    eprintln!(
        "run {number}: {:.0} s, {} jobs, {} chunks, {} attempts repeated; {}",
        run.seconds,
        run.found.jobs,
        run.found.chunks,
        run.found.repeated,
        faults.join(", ")
    );
    for (fault, why) in &run.fired.unfired {
        eprintln!("run {number}: void, {fault:?} did not fire: {why}");
    }
    for broken in run.broken() {
        eprintln!("run {number}: BROKEN: {broken}");
    }
}

fn add(sheet: &mut Sheet, case: &str, all: &[Run], failures: usize) {
    let void = all.iter().filter(|run| run.is_void()).count() + failures;
    sheet.add(case, "void_runs", "count", &[void as f64], "");
    // A void run does not count, unless it shows something.
    let counted: Vec<&Run> = all
        .iter()
        .filter(|run| !run.is_void() || !run.broken().is_empty())
        .collect();
    if counted.is_empty() {
        return;
    }
    let mut count = |metric, of: &dyn Fn(&Run) -> usize| {
        let values: Vec<f64> = counted.iter().map(|run| of(run) as f64).collect();
        sheet.add(
            case,
            metric,
            "count",
            &values,
            "log dump and stored objects",
        );
    };
    count("jobs", &|run| run.found.jobs);
    count("faults_fired", &|run| run.fired.fired.len());
    count("chunks", &|run| run.found.chunks);
    count("attempts_repeated", &|run| run.found.repeated);
    count("jobs_lost", &|run| run.found.lost.len());
    count("segments_twice", &|run| run.found.twice.len());
    count("segments_missing", &|run| run.found.missing.len());
    count("objects_wrong", &|run| run.found.objects.len());
    count("objects_unseen", &|run| run.found.unseen);
    count("logs_apart", &|run| run.found.logs.len());
    count("crashes", &|run| run.crashed.len());
    for (class, name) in CLASSES.iter().enumerate() {
        count(name, &|run| {
            let fired = run.fired.fired.iter();
            fired.filter(|fault| fault.class() == class).count()
        });
    }
    let seconds: Vec<f64> = counted.iter().map(|run| run.seconds).collect();
    sheet.add(case, "seconds", "s", &seconds, "");
}
