//! `same-bytes`: the Output of a cluster, whatever dies meanwhile and however many nodes there are, is to the byte that of an
//! undisturbed process. Cuts follow from the source, encoders run with one thread, and nothing of who worked when may show.

use super::Deadline;
use crate::figure::Sheet;
use crate::seed::Seed;
use crate::site::network::Member;
use crate::site::{self, COORDINATORS, Programs, Site};
use crate::tools::{self, Tools};
use crate::{client, plain};
use anyhow::{Context as _, Result, bail, ensure};
use recode_types::{Digest, JobId, JobState, JobStatus};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is measured.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Source; its first seconds are used.
    pub clip: PathBuf,
    /// How much of it.
    pub seconds: f64,
    /// Runs with each number of nodes.
    pub runs: usize,
    /// Numbers of nodes.
    pub nodes: Vec<Member>,
    /// Seed of who dies when.
    pub seed: u64,
    /// Begin no run after this.
    pub deadline: Deadline,
}

/// Processes that die in one run.
const KILLS: u64 = 3;
/// How long a dead process stays away, at most, in milliseconds.
const AWAY: u64 = 1500;
/// How long a run may take: what a dead node held is given to another after 15 s.
const PATIENCE: Duration = Duration::from_secs(180);

/// Something of everything that could let chance in: B-frames, adaptive quantisation, look-ahead; short Segments.
const FLAGS: [&str; 10] = [
    "--codec",
    "h264",
    "--preset",
    "medium",
    "--crf",
    "26",
    "--segment",
    "2s",
    "--audio-codec",
    "aac",
];

/// Measures.
/// # Errors
/// A job fails, or the cluster does not come up.
pub fn run(tools: &Tools, wanted: &Wanted, sheet: &mut Sheet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("source.mp4");
    plain::head(tools, &wanted.clip, wanted.seconds, &source)?;
    let undisturbed = folder.path().join("undisturbed.mp4");
    let flags = FLAGS.map(str::to_owned);
    let alone = client::transcode(tools, &source, &undisturbed, &flags)?;
    let expected = Digest::of(&fs::read(&undisturbed)?);
    let mut seed = Seed::new(wanted.seed);
    let name = tools::short_name(&wanted.clip);
    for nodes in &wanted.nodes {
        let (mut differ, mut kills) = (Vec::new(), Vec::new());
        for run in 0..wanted.runs {
            if wanted.deadline.passed() {
                break;
            }
            let folder = folder.path().join(format!("{nodes}-{run}"));
            fs::create_dir(&folder)?;
            let disturbed = Disturbed {
                source: &source,
                folder: &folder,
                nodes: *nodes,
                // Two nodes of two workers have this machine to themselves about as the one process had.
                seconds: alone.run.wall,
            };
            let (digest, killed) = disturbed.run(tools, &mut seed)?;
            differ.push(f64::from(u8::from(digest != expected)));
            kills.push(killed as f64);
            fs::remove_dir_all(&folder)?;
        }
        if differ.is_empty() {
            continue;
        }
        let case = format!("{name}, {nodes} node{}", if *nodes == 1 { "" } else { "s" });
        let against = "an undisturbed process";
        sheet.add(&case, "outputs_that_differ", "count", &differ, against);
        sheet.add(&case, "kills", "count", &kills, "");
    }
    Ok(())
}

/// One job on one cluster.
struct Disturbed<'a> {
    source: &'a Path,
    folder: &'a Path,
    nodes: Member,
    seconds: f64,
}

impl Disturbed<'_> {
    /// The digest of what comes out, and how many processes were killed before it did.
    fn run(&self, tools: &Tools, seed: &mut Seed) -> Result<(Digest, usize)> {
        let wanted = site::Wanted {
            programs: Programs::beside(tools, &tools.ffmpeg)?,
            nodes: self.nodes,
            workers: 2,
            cuttable: false,
            fillable: Vec::new(),
        };
        let mut site = Site::start(wanted, self.folder)?;
        let output = self.folder.join("output.mp4");
        let urls = [self.source, &output].map(|path| format!("file://{}", path.display()));
        let mut arguments = vec!["submit", &urls[0], "-o", &urls[1]];
        arguments.extend(FLAGS);
        let submitted = site.ask(&arguments)?;
        ensure!(
            submitted.status.success(),
            "the job was not taken: {}",
            String::from_utf8_lossy(&submitted.stderr).trim()
        );
        let job: JobId = String::from_utf8(submitted.stdout)?.trim().parse()?;
        let mut moments: Vec<f64> = (0..KILLS)
            .map(|_| self.seconds * (0.05 + 0.9 * seed.fraction()))
            .collect();
        moments.sort_by(f64::total_cmp);
        let started = Instant::now();
        let mut dead: Vec<(Instant, Member)> = Vec::new();
        let mut killed = 0;
        let mut next_look = started;
        loop {
            let now = Instant::now();
            let (back, still): (Vec<_>, Vec<_>) = dead.into_iter().partition(|(at, _)| *at <= now);
            dead = still;
            for (_, member) in back {
                site.run(member)?;
            }
            if moments
                .first()
                .is_some_and(|at| started.elapsed().as_secs_f64() >= *at)
            {
                moments.remove(0);
                let member = 1 + (seed.number() % u64::from(COORDINATORS + self.nodes)) as Member;
                let is_dead = dead.iter().any(|(_, one)| *one == member);
                if !is_dead && site.process(member).context("it was started")?.kill()? {
                    killed += 1;
                    let away = Duration::from_millis(100 + seed.number() % AWAY);
                    dead.push((now + away, member));
                }
            }
            if now >= next_look && dead.is_empty() {
                next_look = now + Duration::from_millis(200);
                if self.has_ended(&site, job)? {
                    return Ok((Digest::of(&fs::read(&output)?), killed));
                }
            }
            ensure!(
                started.elapsed() < PATIENCE,
                "the job has not ended after {} s",
                PATIENCE.as_secs()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn has_ended(&self, site: &Site, job: JobId) -> Result<bool> {
        #[derive(serde::Deserialize)]
        struct Shown {
            status: JobStatus,
        }
        // Between two Leaders nobody answers.
        let Ok(Shown { status }) = site.told(&["show", &job.to_string(), "--json"]) else {
            return Ok(false);
        };
        match status.state {
            JobState::Done => Ok(true),
            state if state.is_terminal() => bail!(
                "the job ended as {}: {}",
                state.name(),
                status.reason.unwrap_or_default()
            ),
            _ => Ok(false),
        }
    }
}
