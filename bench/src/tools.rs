//! Which programs and files are measured.

use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The programs in use. Paths are absolute, since children work in folders of their own.
#[derive(Clone, Debug)]
pub struct Tools {
    /// The FFmpeg of both sides.
    pub ffmpeg: PathBuf,
    /// `recode-client`.
    pub client: PathBuf,
    /// The judging program, when `RECODE_JUDGE` names one.
    pub judge: Option<PathBuf>,
    /// `ffprobe` for the judge.
    pub ffprobe: Option<PathBuf>,
}

impl Tools {
    /// Looks for everything.
    ///
    /// FFmpeg: `RECODE_FFMPEG`, `.tools/bin/ffmpeg`, PATH. Client: `RECODE_CLIENT`, else beside this program.
    /// # Errors
    /// One sentence naming what is missing and what to do.
    pub fn find() -> Result<Self> {
        let ffmpeg = from_environment("RECODE_FFMPEG")?
            .or_else(|| Path::new(".tools/bin/ffmpeg").canonicalize().ok())
            .or_else(|| on_path("ffmpeg"))
            .context("no FFmpeg: run `make setup` or set RECODE_FFMPEG")?;
        let client = match from_environment("RECODE_CLIENT")? {
            Some(client) => client,
            None => {
                let beside = std::env::current_exe()?.with_file_name("recode-client");
                if !beside.is_file() {
                    bail!(
                        "no recode-client at {}: run `make build` or set RECODE_CLIENT",
                        beside.display()
                    );
                }
                beside
            }
        };
        Ok(Self {
            ffmpeg,
            client,
            judge: from_environment("RECODE_JUDGE")?,
            ffprobe: from_environment("RECODE_FFPROBE")?.or_else(|| on_path("ffprobe")),
        })
    }

    /// A command for FFmpeg that answers nothing but errors and asks nothing.
    pub fn ffmpeg(&self) -> Command {
        let mut command = Command::new(&self.ffmpeg);
        command.args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y"]);
        command
    }
}

/// The file a variable names, absolute; `None` when it is unset or empty.
fn from_environment(name: &str) -> Result<Option<PathBuf>> {
    match std::env::var_os(name).filter(|value| !value.is_empty()) {
        None => Ok(None),
        Some(value) => Path::new(&value)
            .canonicalize()
            .map(Some)
            .with_context(|| format!("{name}={} does not exist", value.to_string_lossy())),
    }
}

fn on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// A media file to measure with: a path, or a name inside `RECODE_MEDIA`.
/// # Errors
/// When it is in neither place.
pub fn media(name: &str) -> Result<PathBuf> {
    if let Ok(path) = Path::new(name).canonicalize() {
        return Ok(path);
    }
    let folder = std::env::var_os("RECODE_MEDIA")
        .with_context(|| format!("{name} is no file here, and RECODE_MEDIA names no folder"))?;
    Path::new(&folder)
        .join(name)
        .canonicalize()
        .with_context(|| {
            format!(
                "{name} is not in RECODE_MEDIA={}",
                Path::new(&folder).display()
            )
        })
}

/// The clips measured where a bench names none: animation, camera with cuts, screen.
pub const CLIPS: [&str; 3] = [
    "bench_animation_720p24.mp4",
    "bench_camera_cuts_720p2997.mp4",
    "bench_screen_1080p60.mp4",
];

/// `bench_camera_cuts_720p2997.mp4` as `camera_cuts_720p2997` in the names of cases.
pub fn short_name(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.strip_prefix("bench_").unwrap_or(&stem).to_owned()
}
