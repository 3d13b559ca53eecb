//! The same request as one plain FFmpeg process, and source clips for both sides.

use crate::measure::{self, Run};
use crate::tools::Tools;
use anyhow::{Result, ensure};
use std::path::{Path, PathBuf};

/// One plain encode of the whole file: the first video and audio track, audio copied, every frame at its own time, fast
/// start where the container knows it. What recode does by default.
pub fn encode(tools: &Tools, source: &Path, output: &Path, video: &[String]) -> Result<Run> {
    let mut command = tools.ffmpeg();
    command.arg("-i").arg(source);
    command.args(["-map", "0:v:0", "-map", "0:a:0?", "-c:a", "copy"]);
    command.args(["-fps_mode", "passthrough"]);
    command.args(video);
    if output.extension().is_some_and(|ending| ending == "mp4") {
        command.args(["-movflags", "+faststart"]);
    }
    command.arg(output);
    measure::run(&mut command)?.succeeded("plain FFmpeg")
}

/// A copy of `source` repeated until it is at least `seconds` long; made once per folder.
/// # Errors
/// When FFmpeg fails, or says no duration.
pub fn looped(tools: &Tools, source: &Path, seconds: f64, folder: &Path) -> Result<PathBuf> {
    let length = duration(tools, source)?;
    let times = (seconds / length).ceil().max(1.0) as u32;
    if times == 1 {
        return Ok(source.to_owned());
    }
    let target = folder.join(format!("{}.mp4", crate::tools::short_name(source)));
    if target.exists() {
        return Ok(target);
    }
    let mut command = tools.ffmpeg();
    command.args(["-stream_loop", &(times - 1).to_string()]);
    command.arg("-i").arg(source);
    command.args(["-map", "0:v:0", "-map", "0:a:0?", "-c", "copy"]);
    command.args(["-movflags", "+faststart"]).arg(&target);
    measure::run(&mut command)?.succeeded("looping the clip")?;
    Ok(target)
}

/// The first `seconds` of `source`, copied.
pub fn head(tools: &Tools, source: &Path, seconds: f64, target: &Path) -> Result<()> {
    let mut command = tools.ffmpeg();
    command.arg("-i").arg(source);
    command.args(["-map", "0:v:0", "-map", "0:a:0?", "-c", "copy"]);
    command.args(["-t", &seconds.to_string()]);
    command.args(["-movflags", "+faststart"]).arg(target);
    measure::run(&mut command)?.succeeded("cutting the clip")?;
    Ok(())
}

/// Seconds of a file, as FFmpeg's banner says.
pub fn duration(tools: &Tools, path: &Path) -> Result<f64> {
    let mut command = std::process::Command::new(&tools.ffmpeg);
    command.args(["-nostdin", "-hide_banner", "-i"]).arg(path);
    // Without an output FFmpeg exits 1 after it has shown what it found.
    let shown = measure::run(&mut command)?.stderr;
    let seconds = parse_duration(&shown);
    ensure!(
        seconds.is_some(),
        "FFmpeg shows no duration of {}",
        path.display()
    );
    Ok(seconds.unwrap_or_default())
}

fn parse_duration(banner: &str) -> Option<f64> {
    let text = banner.split_once("Duration: ")?.1.split_once(',')?.0;
    let mut seconds = 0.0;
    for part in text.trim().split(':') {
        seconds = seconds * 60.0 + part.parse::<f64>().ok()?;
    }
    Some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_names_the_duration() {
        let banner = "Input #0\n  Duration: 01:02:03.50, start: 0.000000, bitrate: 1 kb/s\n";
        assert_eq!(parse_duration(banner), Some(3723.5));
        assert_eq!(parse_duration("  Duration: N/A, bitrate: N/A"), None);
    }
}
