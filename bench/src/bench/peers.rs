//! `peers`: two sites of four nodes, one source on S3, four Renditions as jobs of their own and a fifth that is scored: how often
//! the source leaves the store, with nodes that serve their site and without.
//!
//! The paid link is what lies between a site and everything else, so every byte that the S3 server sends or receives has crossed
//! it; nodes ask neighbours of their own site only.

use super::Deadline;
use crate::figure::Sheet;
use crate::measure;
use crate::site::{self, Elsewhere, Joined, Programs, Site};
use crate::tools::Tools;
use anyhow::{Context as _, Result, bail, ensure};
use recode_testkit::s3::Server;
use recode_types::report::JobReport;
use recode_types::{JobId, JobState, NodeStatus};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SITES: [&str; 2] = ["east", "west"];
const NODES_PER_SITE: usize = 4;

/// What is encoded over and over to make a source: the part of the clip with the most in it.
const PIECE_SECONDS: &str = "10";

/// The sizes of the four Renditions, and of the scored one.
const SIZES: [&str; 4] = ["320x180", "256x144", "192x108", "160x90"];
const SCORED: &str = "320x180";

/// What all jobs are told. Little comes out: the source is what is moved.
const FLAGS: [&str; 10] = [
    "--codec",
    "h264",
    "--preset",
    "ultrafast",
    "--crf",
    "45",
    "--segment",
    "2s",
    "--audio-codec",
    "none",
];

/// How long the jobs of a run may take.
const PATIENCE: Duration = Duration::from_secs(2400);
/// How long nodes may take to report.
const REPORTING: Duration = Duration::from_secs(60);

/// What is measured.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What the source is made of.
    pub clip: PathBuf,
    /// Its size.
    pub megabytes: u64,
    /// Begin no run after this.
    pub deadline: Deadline,
}

/// What one run came to.
struct Run {
    /// Of the source, from the store.
    source_bytes: u64,
    /// All that the store sent and received.
    paid_bytes: u64,
    /// In all Chunks.
    encoded_bytes: u64,
    /// Nodes that read the same Segment, on average.
    readers: f64,
    seconds: f64,
}

/// Measures with neighbours and without.
/// # Errors
/// The cluster does not come up, or a job fails.
pub fn run(tools: &Tools, wanted: &Wanted, sheet: &mut Sheet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let film = make_film(tools, wanted, folder.path())?;
    let size = film.metadata()?.len() as f64;
    let nodes = SITES.len() * NODES_PER_SITE;
    let case = format!(
        "{} MB, {nodes} nodes in {} sites",
        wanted.megabytes,
        SITES.len()
    );
    for peers in [true, false] {
        if wanted.deadline.passed() {
            break;
        }
        let place = folder.path().join(if peers { "on" } else { "off" });
        fs::create_dir(&place)?;
        let run = one(tools, &film, &place, peers)?;
        fs::remove_dir_all(&place)?;
        let mut add = |metric, unit, value: f64, against: &str| {
            sheet.add(&case, metric, unit, &[value], against);
        };
        let source = run.source_bytes as f64 / size;
        if !peers {
            add("source_ratio_off", "ratio", source, "the source's size");
            add("seconds_off", "s", run.seconds, "");
            continue;
        }
        let paid = run.paid_bytes as f64 / (size + run.encoded_bytes as f64);
        add("source_megabytes", "MB", size / 1e6, "");
        add(
            "encoded_megabytes",
            "MB",
            run.encoded_bytes as f64 / 1e6,
            "",
        );
        add("source_ratio", "ratio", source, "the source's size");
        add("paid_ratio", "ratio", paid, "source and Chunks");
        add("readers_of_a_segment", "count", run.readers, "5 jobs");
        add("seconds", "s", run.seconds, "");
    }
    Ok(())
}

/// A film of the wanted size: key frames only, so that every frame is as large.
fn make_film(tools: &Tools, wanted: &Wanted, folder: &Path) -> Result<PathBuf> {
    let piece = folder.join("piece.mov");
    let mut command = tools.ffmpeg();
    command
        .args(["-ss", "6", "-t", PIECE_SECONDS, "-i"])
        .arg(&wanted.clip);
    command.args([
        "-map",
        "0:v:0",
        "-vf",
        "noise=alls=20:allf=t",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
    ]);
    command.args(["-qp", "4", "-g", "1"]).arg(&piece);
    measure::run(&mut command)?.succeeded("making a piece of the source")?;
    let times = (wanted.megabytes * 1_000_000)
        .div_ceil(piece.metadata()?.len())
        .max(1);
    let film = folder.join("film.mov");
    let mut command = tools.ffmpeg();
    command
        .args(["-stream_loop", &(times - 1).to_string(), "-i"])
        .arg(&piece);
    command.args(["-c", "copy"]).arg(&film);
    measure::run(&mut command)?.succeeded("making the source")?;
    fs::remove_file(&piece)?;
    Ok(film)
}

fn one(tools: &Tools, film: &Path, folder: &Path, peers: bool) -> Result<Run> {
    let s3 = folder.join("s3");
    fs::create_dir(&s3)?;
    let server = Server::start(&s3).context("cannot start the S3 server")?;
    server.create_bucket("source")?;
    server.create_bucket("media")?;
    server.place("source", "film.mov", film)?;
    let wanted = site::Wanted {
        programs: Programs::beside(tools, &tools.ffmpeg)?,
        nodes: 0,
        workers: 1,
        cuttable: false,
        fillable: Vec::new(),
    };
    let environment = server.env().map(|(name, value)| (name.to_owned(), value));
    let elsewhere = Elsewhere {
        store: "s3://media/work".to_owned(),
        environment: environment.into(),
    };
    let place = folder.join("site");
    fs::create_dir(&place)?;
    let mut cluster = Site::start_over(wanted, &place, Some(elsewhere))?;
    for number in 0..SITES.len() * NODES_PER_SITE {
        let label = format!("site={}", SITES[number % SITES.len()]);
        let mut flags = vec!["--label".to_owned(), label];
        if peers {
            flags.extend(["--peer-listen", "127.0.0.1:0"].map(str::to_owned));
        }
        cluster.join(Joined {
            ffmpeg: tools.ffmpeg.clone(),
            workers: 1,
            flags,
        })?;
    }
    wait_for_nodes(&cluster)?;
    server.reset();
    let started = Instant::now();
    let mut jobs: Vec<JobId> = Vec::new();
    for (number, size) in SIZES.iter().enumerate() {
        jobs.push(submit(&cluster, &format!("{number}"), &["--scale", size])?);
    }
    jobs.push(submit(
        &cluster,
        "scored",
        &["--scale", SCORED, "--score", "psnr"],
    )?);
    ensure!(
        cluster.drained(PATIENCE),
        "the jobs are not done after {PATIENCE:?}"
    );
    let seconds = started.elapsed().as_secs_f64();
    let counts = server.counts();
    let paid_bytes = counts
        .values()
        .map(|c| c.bytes_sent + c.bytes_received)
        .sum();
    let source_bytes = server.bytes_sent_from("source");
    let (mut encoded_bytes, mut readers) = (0, BTreeMap::<u32, BTreeSet<String>>::new());
    for job in jobs {
        let report: JobReport = cluster.told(&["report", &job.to_string(), "--json"])?;
        if report.state != JobState::Done.name() {
            bail!(
                "{job} ended as {}: {}",
                report.state,
                report.reason.unwrap_or_default()
            );
        }
        for segment in report.outputs.iter().flat_map(|output| &output.segments) {
            encoded_bytes += segment.bytes;
            readers
                .entry(segment.segment)
                .or_default()
                .insert(segment.node.clone());
        }
    }
    cluster.stop()?;
    let segments = readers.len().max(1) as f64;
    Ok(Run {
        source_bytes,
        paid_bytes,
        encoded_bytes,
        readers: readers.values().map(BTreeSet::len).sum::<usize>() as f64 / segments,
        seconds,
    })
}

fn submit(cluster: &Site, name: &str, more: &[&str]) -> Result<JobId> {
    let output = format!("s3://media/out/{name}.mp4");
    let mut arguments = vec!["submit", "s3://source/film.mov", "-o", &output];
    arguments.extend(FLAGS);
    arguments.extend(more);
    let asked = cluster.ask(&arguments)?;
    let said = String::from_utf8_lossy(&asked.stderr);
    ensure!(
        asked.status.success(),
        "a job was not taken: {}",
        said.trim()
    );
    Ok(String::from_utf8(asked.stdout)?.trim().parse()?)
}

fn wait_for_nodes(cluster: &Site) -> Result<()> {
    let started = Instant::now();
    loop {
        let nodes: Vec<NodeStatus> = cluster.told(&["nodes", "--json"])?;
        let present = nodes.iter().filter_map(|node| node.heard.as_ref());
        if present.filter(|heard| heard.present).count() == SITES.len() * NODES_PER_SITE {
            return Ok(());
        }
        ensure!(started.elapsed() < REPORTING, "not all nodes report");
        std::thread::sleep(Duration::from_millis(100));
    }
}
