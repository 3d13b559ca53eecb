//! `score-cost`: CPU seconds of an encode with scores against the sum of an encode and a libvmaf run of its own.

use crate::figure::Sheet;
use crate::settings::{self, Threads};
use crate::tools::{self, Tools};
use crate::{client, plain, score};
use anyhow::Result;
use std::path::Path;

/// Measures `pairs` times on the first 24 s of `clip`.
pub fn run(tools: &Tools, clip: &Path, pairs: usize, sheet: &mut Sheet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("clip.mp4");
    plain::head(tools, clip, 24.0, &source)?;
    let settings = settings::by_name("x264-medium")?;
    let plain_args = settings.plain_args(settings.crf, Threads::One, None);
    let mut recode_args = settings.recode_args(settings.crf);
    recode_args.extend(["--score", "vmaf", "--workers", "2"].map(str::to_owned));
    let (plain_out, recode_out) = (
        folder.path().join("plain.mp4"),
        folder.path().join("recode.mp4"),
    );
    let mut ratios = Vec::new();
    let (mut sums, mut fused) = (Vec::new(), Vec::new());
    for _ in 0..pairs {
        let encode = plain::encode(tools, &source, &plain_out, &plain_args)?;
        let recode = client::transcode(tools, &source, &recode_out, &recode_args)?;
        let (_, scoring) = score::whole_file(tools, &plain_out, &source, "", 1)?;
        ratios.push(recode.run.cpu / (encode.cpu + scoring.cpu));
        sums.push(encode.cpu + scoring.cpu);
        fused.push(recode.run.cpu);
    }
    let case = format!("x264-medium/{}", tools::short_name(clip));
    let against = "CPU of plain encode (one thread) + libvmaf (one thread)";
    sheet.add(&case, "separate_cpu", "s", &sums, "");
    sheet.add(&case, "scored_cpu", "s", &fused, "");
    sheet.add(&case, "cpu_ratio", "ratio", &ratios, against);
    Ok(())
}
