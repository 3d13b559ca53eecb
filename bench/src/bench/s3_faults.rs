//! `s3-faults`: many jobs on a cluster whose Sources, work store and Outputs are all on an S3 server that misbehaves, against
//! the same jobs on its good day: every job done, no byte other, few requests more.
//!
//! The encodes are played back ([`crate::player`]): what is measured is everything around them.

use super::Deadline;
use crate::figure::Sheet;
use crate::site::{self, Elsewhere, Programs, Site};
use crate::tools::Tools;
use crate::{plain, player};
use anyhow::{Context as _, Result, ensure};
use recode_testkit::s3::{Server, bad_day};
use recode_types::report::JobReport;
use recode_types::{Digest, JobId, JobState};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is measured.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Source; its first seconds are used.
    pub clip: PathBuf,
    /// Jobs of each kind of day.
    pub jobs: usize,
    /// Jobs at the same time.
    pub at_once: usize,
    /// Seed of the faults.
    pub seed: u64,
    /// Begin no further jobs after this.
    pub deadline: Deadline,
}

/// How much of the clip is used.
const SECONDS: f64 = 8.0;
/// How long a played encode takes.
const PACE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(60));
/// How long the jobs of one round may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Nodes of one worker each.
const NODES: u8 = 2;
/// The flags of every job.
const FLAGS: [&str; 6] = [
    "--codec",
    "h264",
    "--preset",
    "ultrafast",
    "--segment",
    "1s",
];

/// What some jobs came to.
#[derive(Debug, Default)]
struct Day {
    /// Outputs by digest; `None`: the job did not end well.
    outputs: Vec<Option<Digest>>,
    requests: u64,
    retries: u32,
    seconds: f64,
    faults: u64,
}

/// Measures.
/// # Errors
/// The cluster does not come up, or an undisturbed job fails.
pub fn run(tools: &Tools, wanted: &Wanted, sheet: &mut Sheet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let source = folder.join("source.mp4");
    plain::head(tools, &wanted.clip, SECONDS, &source)?;
    let home = folder.join("player");
    let ffmpeg = player::install(&home, &tools.ffmpeg, PACE.0, PACE.1)?;
    fs::create_dir(folder.join("s3"))?;
    let server = Server::start(&folder.join("s3"))?;
    server.create_bucket("media")?;
    server.place("media", "source.mp4", &source)?;
    let site = start(Programs::beside(tools, &ffmpeg)?, &server, folder)?;
    let mut bench = Bench {
        site,
        server,
        number: 0,
    };
    // The one that is played back.
    let first = bench.day(1)?;
    let expected = first.outputs[0].context("the first job failed")?;
    let (mut calm, mut bad) = (Day::default(), Day::default());
    bench.server.seed(wanted.seed);
    while bad.outputs.len() < wanted.jobs && !wanted.deadline.passed() {
        let jobs = wanted.at_once.min(wanted.jobs - bad.outputs.len());
        calm.add(bench.day(jobs)?);
        for rule in bad_day("/media/jobs/") {
            bench.server.add_rule(rule);
        }
        bad.add(bench.day(jobs)?);
        bench.server.clear_rules();
    }
    ensure!(!bad.outputs.is_empty(), "there was no time for a job");
    ensure!(
        calm.outputs.iter().all(|output| *output == Some(expected)),
        "jobs differ on a good day"
    );
    let case = format!("{} jobs at a time", wanted.at_once);
    let case = case.as_str();
    let jobs = bad.outputs.len() as f64;
    let done = bad.outputs.iter().flatten();
    let wrong = done.clone().filter(|output| **output != expected).count();
    let lost = jobs - done.count() as f64;
    let mut add = |metric, unit, value: f64, against: &str| {
        sheet.add(case, metric, unit, &[value], against);
    };
    add("jobs", "count", jobs, "");
    add("jobs_not_done", "count", lost, "");
    add("outputs_wrong", "count", wrong as f64, "a good day");
    let ratio = bad.requests as f64 / calm.requests as f64;
    add("request_ratio", "ratio", ratio, "a good day");
    add("requests_per_job", "count", calm.requests as f64 / jobs, "");
    add("faults", "count", bad.faults as f64, "");
    add("attempts_repeated", "count", f64::from(bad.retries), "");
    add(
        "time_ratio",
        "ratio",
        bad.seconds / calm.seconds,
        "a good day",
    );
    Ok(())
}

fn start(programs: Programs, server: &Server, folder: &Path) -> Result<Site> {
    let wanted = site::Wanted {
        programs,
        nodes: NODES,
        workers: 1,
        cuttable: false,
        fillable: Vec::new(),
    };
    let elsewhere = Elsewhere {
        store: "s3://media/jobs".to_owned(),
        environment: server
            .env()
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
    };
    let folder = folder.join("site");
    fs::create_dir(&folder)?;
    Site::start_over(wanted, &folder, Some(elsewhere))
}

impl Day {
    fn add(&mut self, other: Day) {
        self.outputs.extend(other.outputs);
        self.requests += other.requests;
        self.retries += other.retries;
        self.seconds += other.seconds;
        self.faults += other.faults;
    }
}

struct Bench {
    site: Site,
    server: Server,
    /// Of the next job.
    number: usize,
}

impl Bench {
    /// So many jobs at once, to their ends.
    fn day(&mut self, jobs: usize) -> Result<Day> {
        let before = (self.server.requests(), self.faults());
        let started = Instant::now();
        let mut submitted = Vec::new();
        for _ in 0..jobs {
            self.number += 1;
            let output = format!("s3://media/out/{}.mp4", self.number);
            let mut arguments = vec!["submit", "s3://media/source.mp4", "-o", &output];
            arguments.extend(FLAGS);
            let asked = self.site.ask(&arguments)?;
            let said = String::from_utf8_lossy(&asked.stderr);
            ensure!(
                asked.status.success(),
                "a job was not taken: {}",
                said.trim()
            );
            let job: JobId = String::from_utf8(asked.stdout)?.trim().parse()?;
            submitted.push((self.number, job));
        }
        // One that does not end in time counts as not done.
        self.site.drained(PATIENCE);
        let seconds = started.elapsed().as_secs_f64();
        let mut day = Day {
            seconds,
            ..Day::default()
        };
        for (number, job) in submitted {
            let report: JobReport = self.site.told(&["report", &job.to_string(), "--json"])?;
            day.retries += report.retries;
            let done = report.state == JobState::Done.name();
            if !done {
                eprintln!(
                    "{job} ended as {}: {}",
                    report.state,
                    report.reason.unwrap_or_default()
                );
            }
            let path = self.server.path_of("media", &format!("out/{number}.mp4"));
            day.outputs.push(match done {
                true => Some(Digest::of(&fs::read(&path)?)),
                false => None,
            });
            let _ = fs::remove_file(&path);
        }
        day.requests = self.server.requests() - before.0;
        day.faults = self.faults() - before.1;
        Ok(day)
    }

    fn faults(&self) -> u64 {
        self.server.struck().values().sum()
    }
}
