//! `many-chunks`: a job of thousands of tiny Chunks joins with few descriptors and little memory.

use crate::bench::versus;
use crate::client;
use crate::figure::Sheet;
use crate::measure;
use crate::tools::Tools;
use crate::watch::Watch;
use anyhow::{Context as _, Result, bail, ensure};
use std::path::Path;
use std::process::Stdio;

/// Frames of one Chunk and frames a second of the made-up source: a key frame every third frame: 120 ms a Chunk, near the
/// shortest that `--segment` takes.
const FRAMES_PER_CHUNK: u32 = 3;
const FRAME_RATE: u32 = 25;

/// Transcodes a made-up source into `chunks` Chunks with `workers` workers.
pub fn run(tools: &Tools, chunks: u32, workers: u32, sheet: &mut Sheet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("tiny.mp4");
    make_source(tools, chunks, &source)?;
    let (output, report) = (
        folder.path().join("joined.mp4"),
        folder.path().join("report.json"),
    );
    let segment_ms = FRAMES_PER_CHUNK * 1000 / FRAME_RATE;
    let args: Vec<String> = ["--codec", "h264", "--preset", "ultrafast", "--crf", "26"]
        .map(str::to_owned)
        .into_iter()
        .chain(["--segment".to_owned(), format!("{segment_ms}ms")])
        .chain(["--workers".to_owned(), workers.to_string()])
        .collect();
    let state = folder.path().join("state");
    let source_text = client::path_text(&source)?;
    let mut command = client::command(
        tools,
        source_text,
        client::path_text(&output)?,
        &args,
        &state,
        &report,
    );
    let started = std::time::Instant::now();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start recode-client")?;
    let watch = Watch::start(child.id());
    let ended = child.wait_with_output()?;
    let wall = started.elapsed().as_secs_f64();
    let peak = watch.stop();
    if !ended.status.success() {
        bail!(
            "recode-client failed: {}",
            String::from_utf8_lossy(&ended.stderr).trim()
        );
    }
    let told = client::read_report(&report)?;
    let made = told
        .outputs
        .first()
        .context("no output in the report")?
        .segments
        .len();
    ensure!(made as u32 >= chunks, "only {made} chunks of {chunks}");
    let case = format!("{chunks} chunks of {FRAMES_PER_CHUNK} frames");
    sheet.add(&case, "chunks", "count", &[made as f64], "");
    sheet.add(
        &case,
        "descriptors",
        "count",
        &[peak.descriptors as f64],
        "",
    );
    sheet.add(&case, "rss", "MB", &[peak.rss_bytes as f64 / 1e6], "");
    sheet.add(&case, "wall", "s", &[wall], "");
    sheet.add(
        &case,
        "wall_per_chunk",
        "ms",
        &[wall * 1000.0 / made as f64],
        "",
    );
    versus::add_judgement(tools, &source, &output, &case, sheet)?;
    Ok(())
}

fn make_source(tools: &Tools, chunks: u32, target: &Path) -> Result<()> {
    let frames = chunks * FRAMES_PER_CHUNK;
    let mut command = tools.ffmpeg();
    let picture = format!("testsrc2=size=192x108:rate={FRAME_RATE}");
    command.args([
        "-f",
        "lavfi",
        "-i",
        &picture,
        "-f",
        "lavfi",
        "-i",
        "sine=frequency=440",
    ]);
    command.args(["-frames:v", &frames.to_string(), "-shortest"]);
    command.args(["-c:v", "libx264", "-preset", "ultrafast", "-crf", "20"]);
    command.args([
        "-g",
        &FRAMES_PER_CHUNK.to_string(),
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "aac",
    ]);
    command.args([
        "-t",
        &(f64::from(frames) / f64::from(FRAME_RATE)).to_string(),
    ]);
    command.args(["-movflags", "+faststart"]).arg(target);
    measure::run(&mut command)?.succeeded("making the source")?;
    Ok(())
}
