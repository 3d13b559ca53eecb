//! `predict`: how long Chunks take, as foretold from what a node measured of itself before it had seen the film.
//!
//! A node measures itself as at any join. Then films are encoded, one Chunk after the other, and each Chunk's time is foretold
//! before it is known: frames over the speed that the node's samples give for encoder, preset and size, times what the Chunks of this
//! job that have ended took over what was foretold of them. A Chunk's time is the CPU time of its processes, which is what it takes on
//! a core of its own: other work on the machine does not lengthen it. Chunks are as long as the usual cut makes them: pieces of a few
//! seconds differ threefold where a scene stands still, which no speed of a node can tell.

use crate::bench::Deadline;
use crate::client;
use crate::figure::{Sheet, median};
use crate::tools::{Tools, short_name};
use anyhow::{Context as _, Result, ensure};
use recode_types::Offer;
use recode_types::report::SegmentReport;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What is encoded: encoder and preset, among them presets and sizes that no sample has.
const SETTINGS: [(&str, &str, &str); 6] = [
    ("h264", "libx264", "medium"),
    ("h264", "libx264", "faster"),
    ("h265", "libx265", "veryfast"),
    ("av1", "libsvtav1", "8"),
    ("av1", "libsvtav1", "9"),
    ("vp9", "libvpx-vp9", "5"),
];
/// Heights that films are scaled to; 0: as they are.
const HEIGHTS: [u32; 2] = [0, 480];
/// How long a node may take to measure itself.
const PATIENCE: Duration = Duration::from_secs(900);
/// How much of what the Chunks before took counts on when the next has ended.
const KEPT: f64 = 0.7;

/// Foretells every Chunk of every clip.
/// # Errors
/// A program fails, or a job does.
pub fn run(
    tools: &Tools,
    clips: &[PathBuf],
    seconds: f64,
    deadline: Deadline,
    sheet: &mut Sheet,
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let started = Instant::now();
    let offer = measure(tools, folder.path())?;
    sheet.add(
        "node",
        "measured_in",
        "s",
        &[started.elapsed().as_secs_f64()],
        "",
    );
    let (mut all, mut first) = (Vec::new(), Vec::new());
    for clip in clips {
        for (codec, encoder, preset) in SETTINGS {
            for height in HEIGHTS {
                if deadline.passed() {
                    break;
                }
                let made = encode(tools, clip, seconds, (codec, encoder, preset), height)?;
                let size = made.size;
                let speed = offer
                    .predict(encoder, Some(preset), size)
                    .with_context(|| format!("the node has not measured {encoder}"))?;
                let errors = errors(&made.segments, speed);
                let case = format!("{}/{encoder}-{preset}/{}", short_name(clip), size.1);
                let pairs = "foretold before the Chunk was encoded";
                sheet.add(&case, "error", "%", &errors, pairs);
                first.push(errors[0]);
                all.extend(errors);
            }
        }
    }
    ensure!(!all.is_empty(), "there was no time for a single clip");
    sheet.add(
        "all",
        "median_error",
        "%",
        &[median(&all)],
        "all Chunks of all cases",
    );
    sheet.add(
        "all",
        "first_chunk_error",
        "%",
        &[median(&first)],
        "nothing learned of the film yet",
    );
    sheet.add("all", "chunks", "", &[all.len() as f64], "");
    Ok(())
}

/// Errors in percent of the real time, Chunk by Chunk.
fn errors(segments: &[SegmentReport], speed: f64) -> Vec<f64> {
    let (mut real, mut foretold) = (0.0, 0.0);
    let mut errors = Vec::new();
    for segment in segments {
        let prior = f64::from(segment.frames) / speed;
        let factor = if foretold > 0.0 { real / foretold } else { 1.0 };
        let error = prior * factor / segment.cpu_seconds - 1.0;
        errors.push(error.abs() * 100.0);
        real = real * KEPT + segment.cpu_seconds;
        foretold = foretold * KEPT + prior;
    }
    errors
}

struct Made {
    segments: Vec<SegmentReport>,
    size: (u32, u32),
}

fn encode(
    tools: &Tools,
    clip: &Path,
    seconds: f64,
    (codec, encoder, preset): (&str, &str, &str),
    height: u32,
) -> Result<Made> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out.mp4");
    let mut args: Vec<String> = [
        "--codec",
        codec,
        "--encoder",
        encoder,
        "--preset",
        preset,
        "--workers",
        "1",
        "--audio-codec",
        "none",
    ]
    .map(str::to_owned)
    .to_vec();
    args.extend(["--duration".to_owned(), format!("{seconds}s")]);
    if height > 0 {
        args.extend(["--scale".to_owned(), format!("{height}p")]);
    }
    let done = client::transcode(tools, clip, &out, &args)?;
    let output = done
        .report
        .outputs
        .first()
        .context("no output in the report")?;
    let probed = Command::new(&tools.client)
        .args(["probe", "--json", client::path_text(&out)?])
        .env("RECODE_FFMPEG", &tools.ffmpeg)
        .output()?;
    let facts: serde_json::Value = serde_json::from_slice(&probed.stdout)?;
    let side = |name: &str| {
        facts["source"]["video"][name]
            .as_u64()
            .context("no size in the probe")
    };
    Ok(Made {
        segments: output.segments.clone(),
        size: (side("width")? as u32, side("height")? as u32),
    })
}

/// A node that nobody employs; ended when dropped.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a node finds out about itself.
fn measure(tools: &Tools, folder: &Path) -> Result<Offer> {
    let program = tools.client.with_file_name("recode-node");
    let scratch = folder.join("scratch");
    let child = Command::new(&program)
        .args([
            "--coordinator",
            "http://127.0.0.1:9",
            "--log",
            "off",
            "--scratch",
        ])
        .arg(&scratch)
        .env("RECODE_FFMPEG", &tools.ffmpeg)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let _node = Node(child);
    let memory = folder.join("scratch.measured.json");
    let started = Instant::now();
    loop {
        let known = std::fs::read(&memory).ok();
        let offer: Option<Offer> = known.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        if let Some(offer) = offer.filter(|offer| offer.complete) {
            return Ok(offer);
        }
        ensure!(
            started.elapsed() < PATIENCE,
            "the node has not measured itself in {PATIENCE:?}"
        );
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(frames: u32, cpu_seconds: f64) -> SegmentReport {
        SegmentReport {
            segment: 0,
            start_seconds: 0.0,
            frames,
            node: String::new(),
            attempt: 1,
            seconds: cpu_seconds,
            cpu_seconds,
            bytes: 0,
            quality: 0.0,
            scores: Vec::new(),
            reused: false,
        }
    }

    #[test]
    fn a_film_that_is_twice_as_hard_is_known_for_that_from_its_second_chunk() {
        let segments = [segment(100, 20.0), segment(50, 10.0), segment(100, 22.0)];
        let errors = errors(&segments, 10.0);
        let rounded: Vec<i64> = errors.iter().map(|e| e.round() as i64).collect();
        assert_eq!(rounded, [50, 0, 9]);
    }
}
