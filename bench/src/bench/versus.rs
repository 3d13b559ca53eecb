//! `versus-ffmpeg`: wall time, CPU, size and quality against one plain FFmpeg process with the same settings and all
//! threads. Runs are interleaved: plain, recode, recode, plain, ...

use super::Deadline;
use crate::figure::{Sheet, median};
use crate::settings::{Settings, Threads};
use crate::tools::{self, Tools};
use crate::{client, plain, score};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Source clips; each is repeated to `seconds`.
    pub clips: Vec<PathBuf>,
    /// Encoders.
    pub settings: Vec<Settings>,
    /// Pairs per clip and encoder.
    pub pairs: usize,
    /// Least length of a looped clip.
    pub seconds: f64,
    /// `--workers` of recode.
    pub workers: u32,
    /// Compare size and VMAF, and let the judge look at recode's Output where there is one.
    pub quality: bool,
    /// No new pair after this.
    pub deadline: Deadline,
}

/// Measures every clip with every encoder.
pub fn run(tools: &Tools, wanted: &Wanted, sheet: &mut Sheet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    for clip in &wanted.clips {
        for settings in &wanted.settings {
            if wanted.deadline.passed() {
                return Ok(());
            }
            let source = plain::looped(tools, clip, wanted.seconds, folder.path())?;
            cell(tools, wanted, clip, &source, settings, folder.path(), sheet)?;
        }
    }
    Ok(())
}

fn cell(
    tools: &Tools,
    wanted: &Wanted,
    clip: &Path,
    source: &Path,
    settings: &Settings,
    folder: &Path,
    sheet: &mut Sheet,
) -> Result<()> {
    let case = format!("{}/{}", settings.name, tools::short_name(clip));
    let (plain_out, recode_out) = (folder.join("plain.mp4"), folder.join("recode.mp4"));
    let plain_args = settings.plain_args(settings.crf, Threads::All, None);
    let mut recode_args = settings.recode_args(settings.crf);
    recode_args.extend(["--workers".to_owned(), wanted.workers.to_string()]);

    let (mut plain_walls, mut recode_walls) = (Vec::new(), Vec::new());
    let (mut wall_ratios, mut cpu_ratios) = (Vec::new(), Vec::new());
    let mut recode_bytes = None;
    for pair in 0..wanted.pairs {
        if pair > 0 && wanted.deadline.passed() {
            break;
        }
        let run_plain = || plain::encode(tools, source, &plain_out, &plain_args);
        let run_recode = || client::transcode(tools, source, &recode_out, &recode_args);
        let (plain, recode) = if pair % 2 == 0 {
            let plain = run_plain()?;
            (plain, run_recode()?)
        } else {
            let recode = run_recode()?;
            (run_plain()?, recode)
        };
        plain_walls.push(plain.wall);
        recode_walls.push(recode.run.wall);
        wall_ratios.push(recode.run.wall / plain.wall);
        cpu_ratios.push(recode.run.cpu / plain.cpu);
        let bytes = recode_out.metadata()?.len();
        if *recode_bytes.get_or_insert(bytes) != bytes && settings.encoder == "libx264" {
            bail!("{case}: two runs of recode gave {bytes} and another number of bytes");
        }
    }
    let against = "plain FFmpeg, all threads, interleaved";
    sheet.add(&case, "plain_wall", "s", &plain_walls, "");
    sheet.add(&case, "recode_wall", "s", &recode_walls, "");
    sheet.add(&case, "wall_ratio", "ratio", &wall_ratios, against);
    sheet.add(&case, "cpu_ratio", "ratio", &cpu_ratios, against);
    if wanted.quality {
        // What `workers` encodes of one thread each would take that do nothing else and are never idle: the bound for recode on
        // this machine, since threads cost an encoder more CPU and leave some of it idle.
        let alone = settings.plain_args(settings.crf, Threads::One, None);
        let alone = plain::encode(tools, source, &folder.join("alone.mp4"), &alone)?;
        let floor = alone.cpu / f64::from(wanted.workers) / median(&plain_walls);
        sheet.add(&case, "floor_ratio", "ratio", &[floor], against);
        let sizes = recode_out.metadata()?.len() as f64 / plain_out.metadata()?.len() as f64;
        sheet.add(&case, "size_ratio", "ratio", &[sizes], against);
        let (of_plain, _) = score::whole_file(tools, &plain_out, source, "", 2)?;
        let (of_recode, _) = score::whole_file(tools, &recode_out, source, "", 2)?;
        let difference = of_recode.mean("vmaf")? - of_plain.mean("vmaf")?;
        sheet.add(&case, "vmaf_difference", "VMAF", &[difference], against);
        add_judgement(tools, source, &recode_out, &case, sheet)?;
    }
    Ok(())
}

/// Adds whether the judge passes an Output, where there is a judge.
pub fn add_judgement(
    tools: &Tools,
    source: &Path,
    output: &Path,
    case: &str,
    sheet: &mut Sheet,
) -> Result<()> {
    if let Some(passed) = judged(tools, source, output)? {
        sheet.add(
            case,
            "judge_passes",
            "count",
            &[f64::from(u8::from(passed))],
            "",
        );
    }
    Ok(())
}

/// Whether the judge finds `output` faithful; `None` without a judge.
fn judged(tools: &Tools, source: &Path, output: &Path) -> Result<Option<bool>> {
    let (Some(judge), Some(ffprobe)) = (&tools.judge, &tools.ffprobe) else {
        return Ok(None);
    };
    let mut command = Command::new("python3");
    command.arg(judge).arg(source).arg(output);
    command
        .arg("--ffmpeg")
        .arg(&tools.ffmpeg)
        .arg("--ffprobe")
        .arg(ffprobe);
    let run = crate::measure::run(&mut command)?;
    match run.code {
        Some(0) => Ok(Some(true)),
        Some(1) => {
            eprintln!("{}", run.stdout.trim_end());
            Ok(Some(false))
        }
        _ => bail!("the judge could not judge: {}", run.last_words()),
    }
}
