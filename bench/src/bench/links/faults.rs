//! Fifty jobs on nodes that reach only NATS, while its server is killed, started again and flooded.

use super::{Wanted, add_found, checked, submit};
use crate::bench::Deadline;
use crate::bench::chaos::clients::Told;
use crate::bench::chaos::jobs::Jobs;
use crate::bench::chaos::keeper::Keeper;
use crate::figure::Sheet;
use crate::player;
use crate::seed::Seed;
use crate::site::{self, Programs, Site};
use crate::tools::Tools;
use anyhow::{Result, ensure};
use recode_testkit::nats::{Flood, Server};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a played encode takes.
const PACE: (Duration, Duration) = (Duration::from_millis(300), Duration::from_millis(1000));
/// Jobs are submitted this far apart.
const APART: Duration = Duration::from_millis(800);
/// After the last fault, jobs get this long to end: what a node held that was not heard goes elsewhere after 15 s.
const PATIENCE: Duration = Duration::from_secs(180);
/// One server in so many stays away for longer than a lease lasts.
const LONG_IN: u64 = 4;
/// For so long.
const LONG: Duration = Duration::from_secs(18);

/// What was done to the server in one run.
#[derive(Default)]
struct Done {
    kills: usize,
    long_kills: usize,
    flood: u64,
}

/// Measures.
/// # Errors
/// The stage cannot be set, or jobs do not end.
pub fn run(tools: &Tools, wanted: &Wanted, deadline: Deadline, sheet: &mut Sheet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let home = folder.path().join("player");
    let ffmpeg = player::install(&home, &tools.ffmpeg, Duration::ZERO, Duration::ZERO)?;
    let jobs = Jobs::prepare(tools, &ffmpeg, folder.path())?;
    player::set_pace(&home, PACE.0, PACE.1)?;
    let programs = Programs::beside(tools, &ffmpeg)?;
    let (mut found, mut done) = (Vec::new(), Vec::new());
    for run in 0..wanted.runs {
        if deadline.passed() {
            break;
        }
        let folder = folder.path().join(format!("run-{run}"));
        fs::create_dir(&folder)?;
        let mut seed = Seed::new(wanted.seed + run as u64);
        let (one, broke) = one(&programs, &jobs, wanted.jobs, &folder, &mut seed)?;
        found.push(one);
        done.push(broke);
    }
    let case = "NATS killed and flooded";
    add_found(sheet, case, &found);
    let mut count = |metric, of: &dyn Fn(&Done) -> f64| {
        let values: Vec<f64> = done.iter().map(of).collect();
        sheet.add(case, metric, "count", &values, "");
    };
    count("kills", &|done| done.kills as f64);
    count("kills_beyond_a_lease", &|done| done.long_kills as f64);
    count("flood_messages", &|done| done.flood as f64);
    Ok(())
}

fn one(
    programs: &Programs,
    jobs: &Jobs,
    count: usize,
    folder: &Path,
    seed: &mut Seed,
) -> Result<(super::Found, Done)> {
    let outputs = folder.join("outputs");
    fs::create_dir(&outputs)?;
    let mut server = Server::start()?;
    let wanted = site::Wanted {
        programs: programs.clone(),
        nodes: 3,
        workers: 2,
        cuttable: false,
        fillable: Vec::new(),
    };
    let nodes = site::Nodes {
        nats: Some(server.url()),
        ahead: None,
    };
    let mut site = Site::start_with(wanted, nodes, folder)?;
    let keeper = Keeper::start(site.store(), folder.join("kept"))?;
    let mut done = Done::default();
    let mut told: Vec<Told> = Vec::new();
    let (mut next_job, mut next_fault) = (Instant::now(), Instant::now() + Duration::from_secs(3));
    let mut flood: Option<Flood> = None;
    while told.len() < count {
        let now = Instant::now();
        if now >= next_job {
            let number = told.len();
            let request = jobs.request(number, &format!("job-{number}"), &outputs)?;
            told.push(submit(&site, request)?);
            next_job = now + APART;
        }
        if now >= next_fault {
            match flood.take() {
                None => flood = Some(Flood::start(server.address(), "recode.main", seed.number())),
                Some(flood) => {
                    done.flood += flood.said();
                    drop(flood);
                    let long = done.kills as u64 % LONG_IN == LONG_IN - 1;
                    let away = match long {
                        true => LONG,
                        false => Duration::from_millis(100 + seed.number() % 2000),
                    };
                    server.kill()?;
                    done.kills += 1;
                    done.long_kills += usize::from(long);
                    std::thread::sleep(away);
                    server.restart()?;
                }
            }
            next_fault = Instant::now() + Duration::from_millis(1500 + seed.number() % 3000);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    done.flood += flood.as_ref().map_or(0, Flood::said);
    drop(flood);
    ensure!(
        site.drained(PATIENCE),
        "jobs have not ended {} s after the last fault",
        PATIENCE.as_secs()
    );
    site.stop()?;
    let found = checked(&site, &told, &keeper.stop())?;
    Ok((found, done))
}
