//! `overhead`: what recode adds to a short clip, exec to exit, one worker, one Segment, one encoder thread on both sides.
//! The very first run, with nothing cached about the FFmpeg build, is a figure of its own.

use crate::figure::Sheet;
use crate::settings::{Settings, Threads};
use crate::tools::Tools;
use crate::{client, plain};
use anyhow::{Context as _, Result, ensure};
use std::path::Path;

/// x264 ultrafast: so fast that what is added shows.
const SETTINGS: Settings = Settings {
    name: "x264-ultrafast",
    codec: "h264",
    encoder: "libx264",
    preset: "ultrafast",
    crf: 23,
    curve: [23; 5],
};

/// Measures `pairs` pairs on the first 5 seconds of `clip`.
pub fn run(tools: &Tools, clip: &Path, pairs: usize, sheet: &mut Sheet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("clip.mp4");
    plain::head(tools, clip, 5.0, &source)?;
    let (plain_out, recode_out) = (
        folder.path().join("plain.mp4"),
        folder.path().join("recode.mp4"),
    );
    let plain_args = SETTINGS.plain_args(SETTINGS.crf, Threads::One, None);
    let mut recode_args = SETTINGS.recode_args(SETTINGS.crf);
    recode_args.extend(["--workers", "1", "--segment", "3600s"].map(str::to_owned));

    // What recode learns about an FFmpeg build is cached in the state folder, so this one is shared by all runs but the
    // first, which finds it empty. Chunks are not kept there: the report of every run says that none was reused.
    let state = tempfile::tempdir()?;
    let recode = || -> Result<client::Transcoded> {
        let done = client::transcode_in(
            tools,
            state.path(),
            client::path_text(&source)?,
            client::path_text(&recode_out)?,
            &recode_args,
        )?;
        let segments = done
            .report
            .outputs
            .first()
            .context("no output in the report")?;
        ensure!(segments.segments.len() == 1, "more than one Segment");
        Ok(done)
    };
    let first = recode()?.run;
    let first_plain = plain::encode(tools, &source, &plain_out, &plain_args)?;
    let (mut added, mut plain_walls, mut recode_walls) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..pairs {
        let run_plain = || plain::encode(tools, &source, &plain_out, &plain_args);
        let (plain, recode) = if pair % 2 == 0 {
            let plain = run_plain()?;
            (plain, recode()?.run)
        } else {
            let recode = recode()?.run;
            (run_plain()?, recode)
        };
        added.push((recode.wall - plain.wall) * 1000.0);
        plain_walls.push(plain.wall * 1000.0);
        recode_walls.push(recode.wall * 1000.0);
    }
    let case = "x264-ultrafast/5 s";
    let against = "plain FFmpeg, one encoder thread, interleaved";
    sheet.add(case, "plain_wall", "ms", &plain_walls, "");
    sheet.add(case, "recode_wall", "ms", &recode_walls, "");
    sheet.add(case, "overhead", "ms", &added, against);
    sheet.add(
        case,
        "first_run_overhead",
        "ms",
        &[(first.wall - first_plain.wall) * 1000.0],
        against,
    );
    sheet.add(case, "first_run_wall", "ms", &[first.wall * 1000.0], "");
    Ok(())
}
