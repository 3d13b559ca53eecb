//! `score-exact`: the scores of a job of many Segments against one whole-file libvmaf run on the same Output, every
//! frame, every printed digit, four metrics.

use crate::figure::Sheet;
use crate::score::{self, Scores};
use crate::tools::{self, Tools};
use crate::{client, plain};
use anyhow::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};

/// A metric in libvmaf's log, in recode's per-frame file, and the figure that counts frames where the two differ.
const METRICS: [(&str, &str, &str); 4] = [
    ("vmaf", "vmaf", "vmaf_differs"),
    ("psnr_y", "psnr", "psnr_differs"),
    ("float_ssim", "ssim", "ssim_differs"),
    ("float_ms_ssim", "ms-ssim", "ms_ssim_differs"),
];

/// Measures the first 24 s of each clip; the last one is also scaled.
pub fn run(tools: &Tools, clips: &[PathBuf], sheet: &mut Sheet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    for (number, clip) in clips.iter().enumerate() {
        let source = folder.path().join(format!("clip{number}.mp4"));
        plain::head(tools, clip, 24.0, &source)?;
        let scaled = number + 1 == clips.len();
        one(tools, &source, clip, scaled, folder.path(), sheet)?;
    }
    Ok(())
}

fn one(
    tools: &Tools,
    source: &Path,
    clip: &Path,
    scaled: bool,
    folder: &Path,
    sheet: &mut Sheet,
) -> Result<()> {
    let output = folder.join("scored.mp4");
    let mut args: Vec<String> = ["--codec", "h264", "--preset", "veryfast", "--crf", "26"]
        .into_iter()
        .chain(["--segment", "3s", "--score", "vmaf,psnr,ssim,ms-ssim"])
        .map(str::to_owned)
        .collect();
    let mut case = tools::short_name(clip);
    if scaled {
        args.extend(["--scale", "640x360"].map(str::to_owned));
        case.push_str(" to 640x360");
    }
    let done = client::transcode(tools, source, &output, &args)?;
    let report = done
        .report
        .outputs
        .first()
        .context("no output in the report")?;
    ensure!(
        report.segments.len() >= 6,
        "{case}: only {} Segments: the joints are not tested",
        report.segments.len()
    );
    let file = report
        .score_frames
        .as_ref()
        .context("the report does not say where the per-frame scores are")?;
    let path = file.strip_prefix("file://").unwrap_or(file);
    let text =
        std::fs::read_to_string(path).with_context(|| format!("no per-frame scores at {path}"))?;
    let merged = Scores::parse(&text)?;
    let (whole, _) = score::whole_file(tools, &output, source, score::ALL_FEATURES, 2)?;
    let against = "one libvmaf run over the whole Output";
    sheet.add(
        &case,
        "segments",
        "count",
        &[report.segments.len() as f64],
        "",
    );
    sheet.add(&case, "frames", "count", &[whole.len() as f64], "");
    let missing = whole.len().abs_diff(merged.len());
    sheet.add(&case, "frames_missing", "count", &[missing as f64], against);
    for (theirs, ours, metric) in METRICS {
        let differs = (0..whole.len())
            .filter(|&frame| {
                let expected = whole.printed(frame, theirs);
                expected.is_none() || expected != merged.printed(frame, ours)
            })
            .count();
        sheet.add(&case, metric, "count", &[differs as f64], against);
    }
    Ok(())
}
