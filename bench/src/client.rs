//! `recode-client transcode` as a measured child.

use crate::measure::{self, Run};
use crate::tools::Tools;
use anyhow::{Context as _, Result, bail};
use recode_types::report::JobReport;
use std::path::Path;
use std::process::Command;

/// A finished transcode.
#[derive(Debug)]
pub struct Transcoded {
    /// What the process cost.
    pub run: Run,
    /// What it says it did.
    pub report: JobReport,
}

/// The command for one transcode; the report lands at `report`.
pub fn command(
    tools: &Tools,
    source: &str,
    output: &str,
    args: &[String],
    state: &Path,
    report: &Path,
) -> Command {
    let mut command = Command::new(&tools.client);
    command.args(["transcode", source, "-o", output]).args(args);
    command.args(["--quiet", "--force", "--state"]).arg(state);
    command.arg("--report").arg(report);
    command.env("RECODE_FFMPEG", &tools.ffmpeg);
    command.env_remove("RECODE_ENDPOINT");
    command
}

/// Runs one transcode from an empty state folder and makes sure that it did all of the work itself.
/// # Errors
/// When it fails, writes no report, or reused a Chunk: then the measurement is worth nothing.
pub fn transcode(
    tools: &Tools,
    source: &Path,
    output: &Path,
    args: &[String],
) -> Result<Transcoded> {
    let folder = tempfile::tempdir().context("no room for a state folder")?;
    transcode_in(
        tools,
        folder.path(),
        path_text(source)?,
        path_text(output)?,
        args,
    )
}

/// As [`transcode`], with the empty folder and the source as given.
pub fn transcode_in(
    tools: &Tools,
    folder: &Path,
    source: &str,
    output: &str,
    args: &[String],
) -> Result<Transcoded> {
    let file = folder.join("report.json");
    let mut command = command(tools, source, output, args, &folder.join("state"), &file);
    let run = measure::run(&mut command)?.succeeded("recode-client")?;
    let report = read_report(&file)?;
    all_encoded(&report)?;
    Ok(Transcoded { run, report })
}

/// Reads a job report.
pub fn read_report(path: &Path) -> Result<JobReport> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("no job report at {}", path.display()))?;
    serde_json::from_str(&text).context("the job report is not of the documented form")
}

/// Fails when a Chunk came from an earlier run.
fn all_encoded(report: &JobReport) -> Result<()> {
    let reused = report
        .outputs
        .iter()
        .flat_map(|output| &output.segments)
        .filter(|segment| segment.reused)
        .count();
    if report.chunks_reused != 0 || reused != 0 {
        bail!(
            "the run reused {} chunks of an earlier one: its time means nothing",
            report
                .chunks_reused
                .max(u32::try_from(reused).unwrap_or(u32::MAX))
        );
    }
    Ok(())
}

/// A path as text; the benches make their own folders, so it always is.
pub fn path_text(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not readable text", path.display()))
}
