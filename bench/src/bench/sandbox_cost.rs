//! `sandbox-cost`: what the sandbox adds to one start of FFmpeg, and to an encode.
//!
//! Both sides are the same command line; one is started by `recode-sandbox` with every layer this machine has, and in a control
//! group of its own where this user may have one, as a node would. Making the group and removing it count.

use crate::figure::Sheet;
use crate::measure::{self, Run};
use crate::tools::Tools;
use crate::{client, plain};
use anyhow::{Context as _, Result, ensure};
use recode_sandbox::cgroup::{Groups, Limits, RunGroup, Wish};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Wider than any run here needs: nothing is to be met.
const LIMITS: Limits = Limits {
    memory_bytes: 4_000_000_000,
    tasks: 1000,
};

/// The helper, and the layers it showed.
#[derive(Clone, Debug)]
pub struct Helper {
    program: PathBuf,
    /// As `--layer` takes them.
    pub layers: Vec<String>,
}

impl Helper {
    /// The one beside `recode-client`.
    /// # Errors
    /// There is none, or this machine lacks a layer that a node requires.
    pub fn find(tools: &Tools) -> Result<Self> {
        let program = tools.client.with_file_name("recode-sandbox");
        ensure!(
            program.is_file(),
            "no recode-sandbox at {}: run `make build`",
            program.display()
        );
        let room = tempfile::tempdir()?;
        let mut prove = Command::new(&program);
        prove.arg("prove").arg(room.path());
        let shown = measure::run(&mut prove)?.succeeded("recode-sandbox prove")?;
        let lines = shown.stdout.lines().filter_map(|l| l.strip_suffix(" ok"));
        let layers: Vec<String> = lines
            .filter(|name| *name != "together")
            .map(str::to_owned)
            .collect();
        for required in ["landlock", "seccomp"] {
            ensure!(
                layers.iter().any(|layer| layer == required),
                "this machine has no {required}: {}",
                shown.stdout.trim().replace('\n', ", ")
            );
        }
        Ok(Self { program, layers })
    }

    /// The program under all layers, allowed to read and to write some places; its arguments are still to be added.
    /// `group`: the folder of its control group, where the helper puts it there.
    pub fn command(
        &self,
        program: &Path,
        reads: &[&Path],
        writes: &[&Path],
        group: Option<i32>,
    ) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("run");
        for layer in &self.layers {
            command.args(["--layer", layer]);
        }
        for path in reads {
            command.arg("--read").arg(path);
        }
        for path in writes {
            command.arg("--write").arg(path);
        }
        if let Some(fd) = group {
            command.args(["--group", &fd.to_string()]);
        }
        command.args(["--descriptors", "256", "--"]).arg(program);
        command
    }
}

/// Measures `starts` pairs of starts and `encodes` pairs of encodes of the first `seconds` of `clip`.
/// # Errors
/// A run fails, or the sandbox cannot be had here.
pub fn run(
    tools: &Tools,
    clip: &Path,
    starts: usize,
    encodes: usize,
    seconds: f64,
    sheet: &mut Sheet,
) -> Result<()> {
    let helper = Helper::find(tools)?;
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("clip.mp4");
    plain::head(tools, clip, seconds, &source)?;
    let out = folder.path().join("out.mp4");
    let (groups, _) = Groups::open(&Wish::Auto)?;
    let against = format!(
        "the same command without sandbox, interleaved; layers {}; control groups {groups}",
        helper.layers.join(" ")
    );
    let source_text = client::path_text(&source)?;
    let out_text = client::path_text(&out)?;
    let pair = |args: &[&str], number: usize| -> Result<(Run, Run)> {
        let run = |mut command: Command| {
            command.args(["-nostdin", "-hide_banner", "-loglevel", "error"]);
            command.args(args).env_clear();
            measure::run(&mut command)?.succeeded("ffmpeg")
        };
        let confined = || {
            let begun = Instant::now();
            let group = groups.make(LIMITS)?;
            let fd = group.as_ref().and_then(RunGroup::unified);
            let mut command = helper.command(&tools.ffmpeg, &[&source], &[folder.path()], fd);
            if let Some(group) = &group {
                group.admit(&mut command, true);
            }
            let mut run = run(command)?;
            let short = group.and_then(RunGroup::end);
            ensure!(short.is_none(), "ffmpeg was short of something: {short:?}");
            run.wall = begun.elapsed().as_secs_f64();
            Ok(run)
        };
        let mut runs = Vec::with_capacity(2);
        for which in [number % 2, (number + 1) % 2] {
            let run = match which {
                0 => run(Command::new(&tools.ffmpeg)),
                _ => confined(),
            };
            runs.push((which, run?));
        }
        runs.sort_by_key(|(which, _)| *which);
        let mut runs = runs.into_iter().map(|(_, run)| run);
        runs.next().zip(runs.next()).context("two runs were made")
    };

    let one_frame = ["-i", source_text, "-frames:v", "1", "-f", "null", "-"];
    // The first pair brings the programs into memory and does not count.
    pair(&one_frame, 0)?;
    let (mut added, mut without) = (Vec::new(), Vec::new());
    for number in 0..starts {
        let (plain, confined) = pair(&one_frame, number)?;
        added.push((confined.wall - plain.wall) * 1000.0);
        without.push(plain.wall * 1000.0);
    }
    let case = "one frame decoded";
    sheet.add(case, "plain_wall", "ms", &without, "");
    sheet.add(case, "start_added", "ms", &added, &against);

    let encode = [
        "-y",
        "-i",
        source_text,
        "-map",
        "0:v:0",
        "-c:v",
        "libx264",
        "-preset",
        "medium",
        "-threads",
        "1",
        out_text,
    ];
    let (mut wall, mut cpu, mut without) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..encodes {
        let (plain, confined) = pair(&encode, number)?;
        wall.push(confined.wall / plain.wall);
        cpu.push(confined.cpu / plain.cpu);
        without.push(plain.wall);
    }
    if encodes > 0 {
        let case = "x264 medium, one thread";
        sheet.add(case, "plain_wall", "s", &without, "");
        sheet.add(case, "wall_ratio", "ratio", &wall, &against);
        sheet.add(case, "cpu_ratio", "ratio", &cpu, &against);
    }
    Ok(())
}
