//! Nodes that die without a word, one every ten seconds or as often as is wished, while others join in their place. With `--split-tail` the others go on
//! where the dead ones ended.

use super::{Cluster, Wanted, accepted, flags, segments};
use crate::bench::versus::add_judgement;
use crate::client;
use crate::figure::Sheet;
use crate::plain;
use crate::seed::Seed;
use crate::tools::{self, Tools};
use anyhow::{Context as _, Result, ensure};
use recode_types::Digest;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const NODES: usize = 4;
/// Half a core each: two cores are full.
const CORES: f64 = 0.5;
/// Processor seconds of a Chunk.
const CHUNK: f64 = 4.0;
/// Seconds that a run takes where nobody dies.
const LASTS: f64 = 620.0;
/// Seconds of the film that show what it costs on this machine.
const SAMPLE: f64 = 24.0;
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
    let scale = Scale::of(pace(tools, &wanted.clip, gop)?);
    let seconds = wanted.seconds.unwrap_or(scale.film);
    let looped = plain::looped(tools, &wanted.clip, seconds, folder.path())?;
    let mut source = folder.path().join("source.mp4");
    plain::head(tools, &looped, seconds, &source)?;
    let mut case = format!(
        "{}, a node dies every {} s",
        tools::short_name(&wanted.clip),
        wanted.every.as_secs()
    );
    let segment = format!("{:.0}ms", scale.segment * 1000.0);
    let flags = [&flags(&segment), gop].concat();
    if wanted.split_tail {
        ensure!(
            tools.judge.is_some() && tools.ffprobe.is_some(),
            "the output of --split-tail is judged: set RECODE_JUDGE to the path of the judging program, and have ffprobe on PATH"
        );
        case += ", split tail";
        source = silent(tools, &source)?;
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
        let of = |name: &str| folder.path().join(format!("{run}-{name}"));
        let undisturbed = one(tools, &source, &of("undisturbed"), &flags, None)?;
        let disturbed = one(tools, &source, &of("disturbed"), &flags, Some(&mut deaths))?;
        if wanted.split_tail {
            add_judgement(tools, &source, &disturbed.file, &case, sheet)?;
        }
        all.push((undisturbed, disturbed));
    }
    if all.is_empty() {
        return Ok(());
    }
    let against = "the same cluster, undisturbed";
    let mut add = |metric, unit, of: fn(&(Seen, Seen)) -> f64| {
        let values: Vec<f64> = all.iter().map(of).collect();
        sheet.add(&case, metric, unit, &values, against);
    };
    add("cpu_ratio", "ratio", |(calm, hit)| hit.cpu / calm.cpu);
    add("chunk_cpu", "s", |(calm, _)| {
        calm.cpu / calm.segments as f64
    });
    if !wanted.split_tail {
        add("outputs_that_differ", "count", |(calm, hit)| {
            f64::from(u8::from(calm.output != hit.output))
        });
    }
    add("kills", "count", |(_, hit)| hit.kills as f64);
    add("wall", "s", |(_, hit)| hit.wall);
    Ok(())
}

/// Lengths that make a line the same on a slow machine and on a quick one, in seconds of the film.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scale {
    segment: f64,
    film: f64,
}

impl Scale {
    /// Of a film, a second of which takes so many processor seconds.
    fn of(pace: f64) -> Self {
        Self {
            segment: CHUNK / pace,
            film: LASTS * CORES * NODES as f64 / pace,
        }
    }
}

/// Processor seconds that a second of a film takes.
fn pace(tools: &Tools, clip: &Path, more: &[&str]) -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let looped = plain::looped(tools, clip, SAMPLE, folder.path())?;
    let duration = format!("{SAMPLE}s");
    let length = ["--duration", duration.as_str()];
    let args = [&flags("6s"), more, &length].concat();
    let args: Vec<String> = args.into_iter().map(str::to_owned).collect();
    let done = client::transcode(tools, &looped, &folder.path().join("sample.mp4"), &args)?;
    Ok(accepted(&done.report) / SAMPLE)
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
    wall: f64,
    segments: usize,
    kills: usize,
    output: Digest,
    file: PathBuf,
}

/// When nodes die, and which.
struct Deaths {
    every: Duration,
    seed: Seed,
}

fn one(
    tools: &Tools,
    source: &Path,
    folder: &Path,
    flags: &[&str],
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
    let job = cluster.submit(source, &output, flags)?;
    let first = deaths.as_deref().map_or(PATIENCE, |deaths| deaths.every);
    let (mut kills, mut next) = (0, started + first);
    while !cluster.is_done(job)? {
        ensure!(
            started.elapsed() < PATIENCE,
            "the job has not ended after {} s",
            PATIENCE.as_secs()
        );
        if let Some(deaths) = deaths.as_deref_mut()
            && Instant::now() >= next
        {
            next += deaths.every;
            let one = alive.swap_remove((deaths.seed.number() % alive.len() as u64) as usize);
            let process = cluster.site.process(one).context("it was started")?;
            ensure!(
                process.kill()?,
                "node {one} has ended by itself: {}",
                process.last_words()
            );
            kills += 1;
            alive.push(cluster.join(CORES)?);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let report = cluster.report(job)?;
    Ok(Seen {
        cpu: cluster.cpu_seconds()? - before,
        wall: report.wall_seconds,
        segments: segments(&report),
        kills,
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
}
