//! `mixed-versions`: one cluster of two builds, of which the later has one command more, through whole jobs with either one
//! leading; then the earlier ones are upgraded under a job. What the earlier build does not know must not be in the log
//! before all know it, and must be used afterwards. No job is lost, no finished Chunk encoded again for it.

use super::Deadline;
use crate::figure::Sheet;
use crate::plain;
use crate::site::network::Member;
use crate::site::{self, COORDINATORS, Programs, Site};
use crate::tools::{self, Tools};
use anyhow::{Context as _, Result, ensure};
use recode_types::report::JobReport;
use recode_types::{JobId, JobState, JobStatus};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is measured.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Source; its first seconds are used.
    pub clip: PathBuf,
    /// `recode-coordinator` of the earlier build.
    pub earlier: PathBuf,
    /// Clusters of each kind.
    pub runs: usize,
    /// Begin no run after this.
    pub deadline: Deadline,
}

/// How much of the clip is used.
const SECONDS: f64 = 10.0;
/// How long a job may take.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often the one that leads is killed until one of the wanted build does.
const MOST_KILLS: usize = 30;

/// A promised bit rate takes decisions while the job runs: those the later build has a new command for.
const FLAGS: [&str; 8] = [
    "--codec",
    "h264",
    "--preset",
    "veryfast",
    "--bitrate",
    "400k",
    "--segment",
    "1s",
];

/// The names of both commands in a dump.
const OLD: &str = "\"SetKnobs\"";
const NEW: &str = "\"TurnKnobs\"";

/// What one cluster showed.
struct Seen {
    lost: usize,
    encoded_again: u32,
    old_while_mixed: usize,
    new_while_mixed: usize,
    new_afterwards: usize,
}

/// Measures.
/// # Errors
/// The cluster does not come up, or the wanted build never leads.
pub fn run(tools: &Tools, wanted: &Wanted, sheet: &mut Sheet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("source.mp4");
    plain::head(tools, &wanted.clip, SECONDS, &source)?;
    let later = Programs::beside(tools, &tools.ffmpeg)?;
    for (case, earlier, leads) in [
        ("the earlier build leads", &[1, 2][..], &[1, 2][..]),
        ("the later build leads", &[1][..], &[2, 3][..]),
    ] {
        let mut all = Vec::new();
        for run in 0..wanted.runs {
            if wanted.deadline.passed() {
                break;
            }
            let folder = folder.path().join(format!("{run}-{}", earlier.len()));
            fs::create_dir(&folder)?;
            let mut programs = later.clone();
            for member in earlier {
                programs.coordinators[usize::from(*member) - 1].clone_from(&wanted.earlier);
            }
            let mut mixed = Mixed {
                site: start(programs, &folder)?,
                source: &source,
                folder: &folder,
                earlier,
            };
            all.push(mixed.run(leads, &later.coordinators[0])?);
        }
        add(
            sheet,
            &format!("{}, {case}", tools::short_name(&wanted.clip)),
            &all,
        );
    }
    Ok(())
}

fn start(programs: Programs, folder: &Path) -> Result<Site> {
    let wanted = site::Wanted {
        programs,
        nodes: 2,
        workers: 1,
        cuttable: false,
        fillable: Vec::new(),
    };
    Site::start(wanted, folder)
}

fn add(sheet: &mut Sheet, case: &str, all: &[Seen]) {
    if all.is_empty() {
        return;
    }
    let mut count = |metric, of: fn(&Seen) -> f64| {
        let values: Vec<f64> = all.iter().map(of).collect();
        sheet.add(case, metric, "count", &values, "");
    };
    count("jobs_lost", |seen| seen.lost as f64);
    count("encoded_again", |seen| f64::from(seen.encoded_again));
    count("old_while_mixed", |seen| seen.old_while_mixed as f64);
    count("new_while_mixed", |seen| seen.new_while_mixed as f64);
    count("new_afterwards", |seen| seen.new_afterwards as f64);
}

struct Mixed<'a> {
    site: Site,
    source: &'a Path,
    folder: &'a Path,
    /// Coordinators of the earlier build.
    earlier: &'a [Member],
}

impl Mixed<'_> {
    fn run(&mut self, leads: &[Member], later: &Path) -> Result<Seen> {
        // One job from beginning to end under one Leader of the wanted build, one whose Leader dies in the middle.
        self.led_by(leads)?;
        let first = self.submit("first")?;
        self.wait_for(first, |status| status.state.is_terminal())?;
        self.led_by(leads)?;
        let second = self.submit("second")?;
        self.wait_for(second, |status| status.tasks_done >= 4)?;
        self.kill_leader()?;
        self.wait_for(second, |status| status.state.is_terminal())?;
        let mixed = self.dump()?;
        // The upgrade, under a job.
        let third = self.submit("third")?;
        for member in self.earlier {
            self.wait_for(third, |status| status.tasks_done >= 2)?;
            let process = self.site.process(*member).context("it was started")?;
            process.stop(Duration::from_secs(5))?;
            self.site.replace(*member, later);
            self.site.run(*member)?;
        }
        self.wait_for(third, |status| status.state.is_terminal())?;
        self.wait_until("the level is raised", |one| {
            Ok(one.dump()?.contains("\"RaiseLevel\""))
        })?;
        let last = self.submit("last")?;
        self.wait_for(last, |status| status.state.is_terminal())?;
        let (mut lost, mut encoded_again) = (0, 0);
        for job in [first, second, third, last] {
            let report: JobReport = self.site.told(&["report", &job.to_string(), "--json"])?;
            lost += usize::from(report.state != JobState::Done.name());
            encoded_again += report.retries;
        }
        self.site.stop()?;
        let all = self.dump()?;
        Ok(Seen {
            lost,
            encoded_again,
            old_while_mixed: mixed.matches(OLD).count(),
            // Also until the last one was upgraded.
            new_while_mixed: before_the_raise(&all).matches(NEW).count(),
            new_afterwards: all.matches(NEW).count(),
        })
    }

    /// The log of a coordinator of the later build.
    fn dump(&self) -> Result<String> {
        self.site.dump(COORDINATORS)
    }

    fn submit(&self, name: &str) -> Result<JobId> {
        let output = self.folder.join(name).with_extension("mkv");
        let urls = [self.source, &output].map(|path| format!("file://{}", path.display()));
        let mut arguments = vec!["submit", &urls[0], "-o", &urls[1], "--json"];
        arguments.extend(FLAGS);
        #[derive(serde::Deserialize)]
        struct Submitted {
            job: JobId,
        }
        Ok(self.site.told::<Submitted>(&arguments)?.job)
    }

    fn wait_for(&mut self, job: JobId, until: impl Fn(&JobStatus) -> bool) -> Result<()> {
        #[derive(serde::Deserialize)]
        struct Shown {
            status: JobStatus,
        }
        self.wait_until("the job gets on", |one| {
            // Between two Leaders nobody answers.
            let shown: Result<Shown> = one.site.told(&["show", &job.to_string(), "--json"]);
            Ok(shown.is_ok_and(|shown| until(&shown.status)))
        })
    }

    fn wait_until(&mut self, what: &str, until: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let since = Instant::now();
        while !until(self)? {
            ensure!(
                since.elapsed() < PATIENCE,
                "{what}: not after {} s",
                PATIENCE.as_secs()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn kill_leader(&mut self) -> Result<()> {
        self.wait_until("a coordinator leads", |one| Ok(one.site.leader().is_some()))?;
        let Some(leader) = self.site.leader() else {
            return Ok(());
        };
        self.site
            .process(leader)
            .context("it was started")?
            .kill()?;
        self.wait_until("another leads", |one| {
            Ok(one.site.leader().is_some_and(|now| now != leader))
        })?;
        self.site.run(leader)
    }

    fn led_by(&mut self, wanted: &[Member]) -> Result<()> {
        for _ in 0..MOST_KILLS {
            self.wait_until("a coordinator leads", |one| Ok(one.site.leader().is_some()))?;
            if self
                .site
                .leader()
                .is_some_and(|leader| wanted.contains(&leader))
            {
                return Ok(());
            }
            self.kill_leader()?;
        }
        anyhow::bail!("none of {wanted:?} leads after {MOST_KILLS} elections")
    }
}

/// The part of a dump before the level is raised.
fn before_the_raise(dump: &str) -> &str {
    dump.split("\"RaiseLevel\"").next().unwrap_or(dump)
}
