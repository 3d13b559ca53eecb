//! `s3-bytes`: how many bytes an S3 server sends for a source with sound, and how much scratch a job needs at most.

use crate::client;
use crate::figure::Sheet;
use crate::packets;
use crate::tools::{self, Tools};
use crate::{measure, plain};
use anyhow::{Context as _, Result, bail, ensure};
use recode_testkit::s3::{Kind, Server};
use recode_types::report::OutputReport;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

const WORKERS: u32 = 2;
/// How often the scratch folder is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Measures an MP4 and an MKV made of `clip`, in about `segments` Segments.
pub fn run(tools: &Tools, clip: &Path, segments: u32, sheet: &mut Sheet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mp4 = folder.path().join("source.mp4");
    let seconds = f64::from(segments * 2);
    make_source(tools, clip, seconds, &mp4)?;
    let mkv = folder.path().join("source.mkv");
    let mut command = tools.ffmpeg();
    command.arg("-i").arg(&mp4).args(["-c", "copy"]).arg(&mkv);
    measure::run(&mut command)?.succeeded("making the Matroska source")?;
    for source in [&mp4, &mkv] {
        one(tools, clip, source, segments, sheet)?;
    }
    Ok(())
}

/// `seconds` of the clip with a key frame every 2 s and sound.
fn make_source(tools: &Tools, clip: &Path, seconds: f64, target: &Path) -> Result<()> {
    let times = (seconds / plain::duration(tools, clip)?).ceil() as u32;
    let mut command = tools.ffmpeg();
    command
        .args(["-stream_loop", &times.to_string(), "-i"])
        .arg(clip);
    command.args(["-t", &seconds.to_string(), "-map", "0:v:0", "-map", "0:a:0"]);
    command.args(["-c:v", "libx264", "-preset", "superfast", "-crf", "18"]);
    command.args([
        "-force_key_frames",
        "expr:gte(t,n_forced*2)",
        "-c:a",
        "aac",
        "-b:a",
        "192k",
    ]);
    command.args(["-movflags", "+faststart"]).arg(target);
    measure::run(&mut command)?.succeeded("making the source")?;
    Ok(())
}

fn one(tools: &Tools, clip: &Path, source: &Path, segments: u32, sheet: &mut Sheet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let bucket = folder.path().join("s3");
    fs::create_dir(&bucket)?;
    let server = Server::start(&bucket).context("cannot start the S3 server")?;
    server.create_bucket("media")?;
    let name = client::path_text(source)?
        .rsplit('/')
        .next()
        .unwrap_or_default();
    server.place("media", name, source)?;
    let ending = name.rsplit('.').next().unwrap_or_default();
    let output = folder.path().join(format!("output.{ending}"));
    let (state, report) = (
        folder.path().join("state"),
        folder.path().join("report.json"),
    );
    let args: Vec<String> = ["--codec", "h264", "--preset", "veryfast", "--crf", "26"]
        .into_iter()
        .chain(["--segment", "2s", "--workers", "2"])
        .map(str::to_owned)
        .collect();
    let url = format!("s3://media/{name}");
    let mut command = client::command(
        tools,
        &url,
        client::path_text(&output)?,
        &args,
        &state,
        &report,
    );
    command.envs(server.env());
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start recode-client")?;
    let mut scratch_peak = 0;
    while child.try_wait()?.is_none() {
        scratch_peak = scratch_peak.max(scratch_bytes(&state));
        std::thread::sleep(LOOK);
    }
    let ended = child.wait_with_output()?;
    if !ended.status.success() {
        bail!(
            "recode-client failed: {}",
            String::from_utf8_lossy(&ended.stderr).trim()
        );
    }
    let told = client::read_report(&report)?;
    let made = told.outputs.first().context("no output in the report")?;
    ensure!(
        made.segments.len() as u32 >= segments,
        "only {} Segments",
        made.segments.len()
    );
    let size = source.metadata()?.len() as f64;
    let read = server.count(Kind::Get).bytes_sent as f64;
    let case = format!(
        "{}.{ending}, {} Segments",
        tools::short_name(clip),
        made.segments.len()
    );
    sheet.add(
        &case,
        "bytes_read_ratio",
        "ratio",
        &[read / size],
        "the source's size",
    );
    let requests = server.count(Kind::Get).requests as f64;
    sheet.add(
        &case,
        "requests_per_gib",
        "count",
        &[requests / size * f64::from(1u32 << 30)],
        "",
    );
    let bound = f64::from(WORKERS)
        * (2.0 * largest_segment(tools, source, made)? + 2.0 * largest_chunk(made));
    let against = "2 Segments and 2 Chunks per slot";
    sheet.add(
        &case,
        "scratch_ratio",
        "ratio",
        &[scratch_peak as f64 / bound],
        against,
    );
    sheet.add(
        &case,
        "scratch_peak",
        "MB",
        &[scratch_peak as f64 / 1e6],
        "",
    );
    super::versus::add_judgement(tools, source, &output, &case, sheet)?;
    Ok(())
}

fn largest_chunk(made: &OutputReport) -> f64 {
    made.segments
        .iter()
        .map(|segment| segment.bytes)
        .max()
        .unwrap_or(0) as f64
}

/// Bytes of the Source between two Segment starts, at most: its video packets, and sound in proportion.
fn largest_segment(tools: &Tools, source: &Path, made: &OutputReport) -> Result<f64> {
    let packets = packets::of(tools, source)?;
    let share = source.metadata()?.len() as f64 / packets::payload(&packets) as f64;
    let first = packets
        .iter()
        .map(|packet| packet.pts)
        .fold(f64::INFINITY, f64::min);
    let mut sums = vec![0u64; made.segments.len()];
    for packet in &packets {
        let at = packet.pts - first + 1e-6;
        let segment = made
            .segments
            .partition_point(|segment| segment.start_seconds <= at);
        sums[segment.max(1) - 1] += packet.bytes;
    }
    Ok(sums.into_iter().max().unwrap_or(0) as f64 * share)
}

/// Disk space in use below every folder named `scratch`.
fn scratch_bytes(state: &Path) -> u64 {
    fn below(folder: &Path, inside: bool) -> u64 {
        fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| match entry.metadata() {
                Ok(meta) if meta.is_dir() => {
                    below(&entry.path(), inside || entry.file_name() == "scratch")
                }
                // Blocks, not lengths: sparse files hold less than they are long.
                Ok(meta) if inside => meta.blocks() * 512,
                _ => 0,
            })
            .sum()
    }
    below(state, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scratch_folders_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let job = folder.path().join("jobs/a");
        fs::create_dir_all(job.join("scratch/deep")).expect("made");
        fs::create_dir_all(job.join("store")).expect("made");
        fs::write(job.join("store/chunk"), [0; 50_000]).expect("written");
        assert_eq!(scratch_bytes(folder.path()), 0);
        fs::write(job.join("scratch/deep/clip"), [1; 50_000]).expect("written");
        let seen = scratch_bytes(folder.path());
        assert!((50_000..100_000).contains(&seen), "{seen}");
    }
}
