//! `quality`: what Segments cost in bits. BD-rate by VMAF of recode against the same encoder over the whole file with one
//! thread, and beside it the spread of plain FFmpeg against itself: all threads against one.

use super::Deadline;
use crate::bdrate::{Point, bd_rate};
use crate::figure::Sheet;
use crate::packets;
use crate::settings::{Settings, Threads};
use crate::tools::{self, Tools};
use crate::{client, plain, score};
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// What is measured.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Clips of 20 s and more.
    pub clips: Vec<PathBuf>,
    /// Encoders.
    pub settings: Vec<Settings>,
    /// Segment lengths; empty text is recode's own choice, `spread` that for very many workers.
    pub segments: Vec<String>,
    /// Fixed distance of key frames in seconds, on both sides; `None`: the encoder's choice.
    pub gop_seconds: Option<f64>,
    /// At most this many seconds of each clip.
    pub seconds: f64,
    /// No new curve after this.
    pub deadline: Deadline,
}

/// Measures every clip with every encoder and Segment length.
pub fn run(tools: &Tools, wanted: &Wanted, sheet: &mut Sheet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    for clip in &wanted.clips {
        let source = folder.path().join("clip.mp4");
        plain::head(tools, clip, wanted.seconds, &source)?;
        let gop = wanted
            .gop_seconds
            .map(|seconds| gop_frames(tools, &source, seconds))
            .transpose()?;
        for settings in &wanted.settings {
            if wanted.deadline.passed() {
                return Ok(());
            }
            cell(tools, wanted, clip, &source, settings, gop, sheet)?;
        }
    }
    Ok(())
}

/// Frames in `seconds` of the clip, from its own packets.
fn gop_frames(tools: &Tools, source: &Path, seconds: f64) -> Result<u32> {
    let packets = packets::of(tools, source)?;
    let rate = packets.len() as f64 / packets::shown_seconds(&packets);
    Ok((rate * seconds).round().max(1.0) as u32)
}

fn cell(
    tools: &Tools,
    wanted: &Wanted,
    clip: &Path,
    source: &Path,
    settings: &Settings,
    gop: Option<u32>,
    sheet: &mut Sheet,
) -> Result<()> {
    let plain_curve = |threads| {
        curve(tools, source, settings, |crf, output| {
            let args = settings.plain_args(crf, threads, gop);
            plain::encode(tools, source, output, &args).map(drop)
        })
    };
    let name = format!("{}/{}", settings.name, tools::short_name(clip));
    let keys = if gop.is_some() { ", fixed GOP" } else { "" };
    let reference = plain_curve(Threads::One)?;
    let threaded = plain_curve(Threads::All)?;
    let against = "the whole file, one thread";
    let uncomparable = || format!("{name}: the two curves cannot be compared");
    let spread = bd_rate(&reference, &threaded).with_context(uncomparable)?;
    let case = format!("{name}{keys}");
    sheet.add(&case, "plain_bd_rate", "%", &[spread], against);
    for segment in &wanted.segments {
        let recode = curve(tools, source, settings, |crf, output| {
            let mut args = settings.recode_args(crf);
            if let Some(gop) = gop {
                args.extend(["--gop".to_owned(), gop.to_string()]);
            }
            match segment.as_str() {
                "" => {}
                "spread" => args.push("--spread".to_owned()),
                length => args.extend(["--segment".to_owned(), length.to_owned()]),
            }
            client::transcode(tools, source, output, &args).map(drop)
        })?;
        let rate = bd_rate(&reference, &recode).with_context(uncomparable)?;
        let label = if segment.is_empty() {
            "default"
        } else {
            segment
        };
        let case = format!("{name}{keys}, {label} Segments");
        sheet.add(&case, "bd_rate", "%", &[rate], against);
    }
    Ok(())
}

fn curve(
    tools: &Tools,
    source: &Path,
    settings: &Settings,
    encode: impl Fn(u32, &Path) -> Result<()>,
) -> Result<Vec<Point>> {
    let folder = tempfile::tempdir()?;
    let output = folder.path().join("point.mp4");
    settings
        .curve
        .iter()
        .map(|&crf| {
            encode(crf, &output)?;
            let bytes = packets::payload(&packets::of(tools, &output)?);
            let (scores, _) = score::whole_file(tools, &output, source, "", 2)?;
            Ok(Point {
                rate: bytes as f64,
                quality: scores.mean("vmaf")?,
            })
        })
        .collect()
}
