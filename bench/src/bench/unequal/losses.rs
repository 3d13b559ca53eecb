//! Nodes that die without a word, one in every ten seconds or as often as is wished, while others join in their place. With
//! `--split-tail` the others go on where the dead ones ended.
//!
//! A death comes at a random moment of its ten seconds. By the clock, it would always meet the node that joined last at the same
//! place of a Chunk: Chunks of eight or nine seconds beat with a clock of ten, and a few tenths of a second more or less of a
//! join decide whether a fifth of a Chunk is lost or two thirds.

use super::{Cluster, Wanted, flags, segments};
use crate::bench::versus::add_judgement;
use crate::figure::Sheet;
use crate::plain;
use crate::seed::Seed;
use crate::tools::{self, Tools};
use anyhow::{Context as _, Result, bail, ensure};
use recode_types::Digest;
use recode_types::report::JobReport;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const NODES: usize = 4;
/// Half a core each: two cores are full.
const CORES: f64 = 0.5;
/// Processor seconds of a Chunk.
const CHUNK: f64 = 4.0;
/// What it may be: other tenants of the machine make it quicker and slower while one looks.
const CHUNK_BETWEEN: std::ops::RangeInclusive<f64> = 3.2..=4.8;
/// Seconds that a run takes where nobody dies.
const LASTS: f64 = 640.0;
/// Seconds of the film that show what it costs on this machine.
const SAMPLE: f64 = 60.0;
/// How often an undisturbed run may be repeated because its Chunks were too large or too small.
const TRIES: usize = 3;
/// Frames of a group of pictures where the tail is split: about a second, so that something is finished when a node dies.
const GOP: &str = "30";
/// How long a run may take.
const PATIENCE: Duration = Duration::from_secs(2400);

/// Measures the processor time of a job whose nodes die against that of an undisturbed one, and compares the bytes, or has the
/// output judged where it need not have the same.
/// # Errors
/// A job fails, or the machine takes no control groups.
pub fn run(tools: &Tools, wanted: &Wanted, sheet: &mut Sheet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let gop: &[&str] = if wanted.split_tail {
        &["--split-tail", "--gop", GOP]
    } else {
        &[]
    };
    let mut case = format!(
        "{}, a node dies within every {} s",
        tools::short_name(&wanted.clip),
        wanted.every.as_secs()
    );
    if wanted.split_tail {
        ensure!(
            tools.judge.is_some() && tools.ffprobe.is_some(),
            "the output of --split-tail is judged: set RECODE_JUDGE to the path of the judging program, and have ffprobe on PATH"
        );
        case += ", split tail";
    }
    let mut deaths = Deaths {
        every: wanted.every,
        seed: Seed::new(wanted.seed),
    };
    let mut all = Vec::new();
    for run in 0..wanted.runs {
        if wanted.deadline.passed() {
            break;
        }
        let Calm {
            source,
            flags,
            seen: undisturbed,
        } = undisturbed(tools, wanted, gop, &folder.path().join(run.to_string()))?;
        let disturbed = one(
            tools,
            &source,
            &folder.path().join(format!("{run}-disturbed")),
            &flags,
            Some(&mut deaths),
        )?;
        let slower = slower(&made(&undisturbed.report), &made(&disturbed.report))
            .context("no Chunk was made at the first go in both runs")?;
        if wanted.split_tail {
            add_judgement(tools, &source, &disturbed.file, &case, sheet)?;
        }
        all.push((undisturbed, disturbed, slower));
    }
    if all.is_empty() {
        return Ok(());
    }
    let against = "the same cluster, undisturbed";
    let mut add = |metric, unit, of: fn(&(Seen, Seen, f64)) -> f64| {
        let values: Vec<f64> = all.iter().map(of).collect();
        sheet.add(&case, metric, unit, &values, against);
    };
    add("cpu_ratio", "ratio", |(calm, hit, slower)| {
        hit.cpu / (calm.cpu * slower)
    });
    add("slower", "ratio", |(.., slower)| *slower);
    add("chunk_cpu", "s", |(calm, ..)| calm.chunk());
    if !wanted.split_tail {
        add("outputs_that_differ", "count", |(calm, hit, _)| {
            f64::from(u8::from(calm.output != hit.output))
        });
    }
    add("kills", "count", |(_, hit, _)| f64::from(hit.kills));
    add("wall", "s", |(_, hit, _)| hit.report.wall_seconds);
    Ok(())
}

/// A run where nobody dies, and what the other has to repeat.
struct Calm {
    source: PathBuf,
    flags: Vec<String>,
    seen: Seen,
}

/// The run where nobody dies, with Chunks of the wanted size: a short one first that shows what the film costs.
fn undisturbed(tools: &Tools, wanted: &Wanted, more: &[&str], folder: &Path) -> Result<Calm> {
    fs::create_dir(folder)?;
    let mut scale = Scale::SAMPLE;
    for tries in 0..=TRIES {
        let folder = folder.join(tries.to_string());
        fs::create_dir(&folder)?;
        let is_sample = tries == 0;
        let seconds = wanted.seconds.filter(|_| !is_sample).unwrap_or(scale.film);
        let source = cut(tools, &wanted.clip, seconds, &folder)?;
        let segment = format!("{:.0}ms", scale.segment * 1000.0);
        let flags = [&flags(&segment), more].concat();
        let flags: Vec<String> = flags.into_iter().map(str::to_owned).collect();
        let seen = one(tools, &source, &folder.join("run"), &flags, None)?;
        if !is_sample && CHUNK_BETWEEN.contains(&seen.chunk()) {
            return Ok(Calm {
                source,
                flags,
                seen,
            });
        }
        scale = Scale::of(seen.cpu / seconds);
    }
    bail!(
        "the machine changes too much: in none of {TRIES} runs took Chunks about {CHUNK} processor seconds"
    )
}

/// Lengths that make a line the same on a slow machine and on a quick one, in seconds of the film.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scale {
    segment: f64,
    film: f64,
}

impl Scale {
    /// Of the run that shows what a film costs.
    const SAMPLE: Self = Self {
        segment: 6.0,
        film: SAMPLE,
    };

    /// Of a film, a second of which takes so many processor seconds.
    fn of(pace: f64) -> Self {
        Self {
            segment: CHUNK / pace,
            film: LASTS * CORES * NODES as f64 / pace,
        }
    }
}

/// So much of the clip as a film of its own, repeated where it is shorter, without sound: that of the output is no matter.
fn cut(tools: &Tools, clip: &Path, seconds: f64, folder: &Path) -> Result<PathBuf> {
    let looped = plain::looped(tools, clip, seconds, folder)?;
    let film = folder.join("source.mp4");
    plain::head(tools, &looped, seconds, &film)?;
    silent(tools, &film)
}

/// Attempt and processor seconds of all Chunks, in order.
fn made(report: &JobReport) -> Vec<(u32, f64)> {
    let segments = report.outputs.iter().flat_map(|output| &output.segments);
    segments.map(|one| (one.attempt, one.cpu_seconds)).collect()
}

/// What Chunks cost in `hit` that the same Attempt made in both runs, against what they cost in `calm`: how much slower the
/// machine itself became in between, where others use it too.
fn slower(calm: &[(u32, f64)], hit: &[(u32, f64)]) -> Option<f64> {
    let same = || calm.iter().zip(hit).filter(|(calm, hit)| calm.0 == hit.0);
    let before: f64 = same().map(|(calm, _)| calm.1).sum();
    let after: f64 = same().map(|(_, hit)| hit.1).sum();
    (before > 0.0).then(|| after / before)
}

/// The pictures of a film alone: an output without sound is no fault then.
fn silent(tools: &Tools, film: &Path) -> Result<PathBuf> {
    let out = film.with_file_name("silent.mp4");
    let mut command = tools.ffmpeg();
    command.arg("-i").arg(film);
    command.args(["-map", "0:v:0", "-c", "copy"]).arg(&out);
    ensure!(
        command.status()?.success(),
        "the sound cannot be left out of {}",
        film.display()
    );
    Ok(out)
}

/// What one job showed.
struct Seen {
    cpu: f64,
    kills: u32,
    report: JobReport,
    output: Digest,
    file: PathBuf,
}

impl Seen {
    /// Processor seconds of a Chunk.
    fn chunk(&self) -> f64 {
        self.cpu / segments(&self.report) as f64
    }
}

/// When nodes die, and which.
struct Deaths {
    every: Duration,
    seed: Seed,
}

impl Deaths {
    /// When the death of this interval comes, after the start of the job. The first interval is 0.
    fn moment(&mut self, interval: u32) -> Duration {
        self.every * interval + self.every.mul_f64(self.seed.fraction())
    }

    /// Which of so many nodes dies.
    fn whom(&mut self, alive: usize) -> usize {
        (self.seed.number() % alive as u64) as usize
    }
}

fn one(
    tools: &Tools,
    source: &Path,
    folder: &Path,
    flags: &[String],
    mut deaths: Option<&mut Deaths>,
) -> Result<Seen> {
    fs::create_dir(folder)?;
    let mut cluster = Cluster::start(tools, folder)?;
    let mut alive = Vec::new();
    for _ in 0..NODES {
        alive.push(cluster.join(CORES)?);
    }
    cluster.wait_for(NODES)?;
    let before = cluster.cpu_seconds()?;
    let output = folder.join("output.mp4");
    let started = Instant::now();
    let job = cluster.submit(
        source,
        &output,
        &flags.iter().map(String::as_str).collect::<Vec<_>>(),
    )?;
    let mut kills = 0;
    let mut next = deaths.as_deref_mut().map(|deaths| deaths.moment(kills));
    while !cluster.is_done(job)? {
        ensure!(
            started.elapsed() < PATIENCE,
            "the job has not ended after {} s",
            PATIENCE.as_secs()
        );
        if let Some(deaths) = deaths.as_deref_mut()
            && next.is_some_and(|moment| started.elapsed() >= moment)
        {
            let one = alive.swap_remove(deaths.whom(alive.len()));
            let process = cluster.site.process(one).context("it was started")?;
            ensure!(
                process.kill()?,
                "node {one} has ended by itself: {}",
                process.last_words()
            );
            kills += 1;
            next = Some(deaths.moment(kills));
            alive.push(cluster.join(CORES)?);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let report = cluster.report(job)?;
    Ok(Seen {
        cpu: cluster.cpu_seconds()? - before,
        kills,
        report,
        output: Digest::of(&fs::read(&output)?),
        file: output,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_takes_four_processor_seconds_and_a_run_ten_minutes_on_any_machine() {
        for pace in [0.2, 0.7, 3.0] {
            let scale = Scale::of(pace);
            assert!((scale.segment * pace - 4.0).abs() < 1e-9);
            assert!(scale.film * pace / (CORES * NODES as f64) >= 600.0);
        }
    }

    #[test]
    fn one_dies_in_every_interval_at_moments_that_are_spread_over_it() {
        let every = Duration::from_secs(10);
        let mut deaths = Deaths {
            every,
            seed: Seed::new(1),
        };
        let within: Vec<Duration> = (0..1000)
            .map(|interval| deaths.moment(interval) - every * interval)
            .collect();
        assert!(within.iter().all(|moment| *moment < every));
        for tenth in 0..10 {
            let hit = |moment: &&Duration| (moment.as_secs_f64() as usize) == tenth;
            assert!((60..=140).contains(&within.iter().filter(hit).count()));
        }
    }

    #[test]
    fn a_machine_that_becomes_slower_is_told_from_work_done_twice() {
        let calm = [(1, 4.0), (1, 2.0), (1, 3.0)];
        assert_eq!(slower(&calm, &[(1, 5.0), (2, 9.0), (1, 5.5)]), Some(1.5));
        assert_eq!(slower(&calm, &[(2, 5.0), (2, 9.0), (3, 5.5)]), None);
    }
}
