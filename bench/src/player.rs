//! A stand-in for FFmpeg that plays back what FFmpeg did before.
//!
//! The first run with some arguments on some input is FFmpeg's own, and is recorded: what it wrote to its files, to
//! standard output, to standard error and as progress. Every later run with the same arguments on the same bytes takes a
//! moment and writes the same again. So a node sees real Chunks, real signatures and real Outputs, all its own checks hold,
//! and a hundred encodes cost the processor what one does.
//!
//! A node empties the environment of its children, so the program finds what it needs beside itself:
//!
//! ```text
//!   ffmpeg        the player       real   a link to FFmpeg       pace   "LEAST MOST": how long a run takes, in milliseconds
//!   recordings/   one folder per run: stdout, stderr, progress, and its files by number
//! ```

use anyhow::{Context as _, Result, bail};
use recode_types::Digest;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

/// Lays out `folder` with the player as `ffmpeg`; runs take between `least` and `most`.
/// # Errors
/// The player was not built, or the disk said no.
pub fn install(folder: &Path, real: &Path, least: Duration, most: Duration) -> Result<PathBuf> {
    let player = std::env::current_exe()?.with_file_name("recode-ffmpeg-player");
    let installed = folder.join("ffmpeg");
    fs::create_dir_all(folder.join("recordings"))?;
    // A copy, not a link: it must not lead back to where it was built.
    fs::copy(&player, &installed)
        .with_context(|| format!("no player at {}: run `make build`", player.display()))?;
    std::os::unix::fs::symlink(real, folder.join("real"))?;
    set_pace(folder, least, most)?;
    Ok(installed)
}

/// `RECODE_SANDBOX` for whoever runs `ffmpeg`: the player reads and writes beside itself, which no sandbox allows.
pub fn sandbox(ffmpeg: &Path) -> &'static str {
    match ffmpeg.with_file_name("recordings").is_dir() {
        true => "off",
        false => "require",
    }
}

/// How long runs take from now on.
/// # Errors
/// What the disk said.
pub fn set_pace(folder: &Path, least: Duration, most: Duration) -> Result<()> {
    let pace = format!("{} {}", least.as_millis(), most.as_millis());
    Ok(fs::write(folder.join("pace"), pace)?)
}

/// How many different runs are recorded.
pub fn recorded(folder: &Path) -> usize {
    fs::read_dir(folder.join("recordings")).map_or(0, Iterator::count)
}

/// The program.
/// # Errors
/// It cannot play what was asked for; FFmpeg's own failures are passed on as exit codes.
pub fn main() -> Result<ExitCode> {
    let home = std::env::current_exe()?
        .parent()
        .context("the player lies in no folder")?
        .to_owned();
    let asked = Asked::read(std::env::args_os().skip(1).collect());
    let mut input = Vec::new();
    if asked.reads_stdin {
        io::stdin().read_to_end(&mut input)?;
    }
    let recording = home.join("recordings").join(asked.name(&input)?);
    if !recording.is_dir() {
        return asked.record(&home, &recording, &input);
    }
    let pause = match asked.inputs.is_empty() {
        true => Duration::ZERO,
        false => pause(&fs::read_to_string(home.join("pace"))?)?,
    };
    asked.play(&recording, pause)?;
    Ok(ExitCode::SUCCESS)
}

/// A time between the two of `pace`, by chance.
fn pause(pace: &str) -> Result<Duration> {
    let bounds: Option<Vec<u64>> = pace.split_whitespace().map(|n| n.parse().ok()).collect();
    let Some(&[least, most]) = bounds.as_deref() else {
        bail!("the pace should be two numbers and is {pace:?}");
    };
    // The standard library seeds its hashers from the system's random source.
    let drawn = RandomState::new().hash_one(std::process::id());
    Ok(Duration::from_millis(
        least + drawn % (most.saturating_sub(least) + 1),
    ))
}

/// An argument list, looked through.
#[derive(Debug, PartialEq)]
struct Asked {
    /// All of it but where progress goes.
    args: Vec<OsString>,
    progress: Option<PathBuf>,
    /// Files read, in order.
    inputs: Vec<PathBuf>,
    /// Files written, in order.
    outputs: Vec<PathBuf>,
    reads_stdin: bool,
}

impl Asked {
    fn read(args: Vec<OsString>) -> Self {
        let mut asked = Self {
            reads_stdin: args.iter().any(|arg| arg == "pipe:0"),
            args: Vec::with_capacity(args.len()),
            progress: None,
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        let mut args = args.into_iter();
        let mut before = OsString::new();
        while let Some(arg) = args.next() {
            if arg == "-progress" {
                let to = args.next().unwrap_or_default();
                let pipe = to.to_str().and_then(|to| to.strip_prefix("pipe:"));
                asked.progress = pipe.map(|fd| PathBuf::from(format!("/proc/self/fd/{fd}")));
                continue;
            }
            if let Some(path) = file(&arg) {
                match before == "-i" {
                    true => asked.inputs.push(path.to_owned()),
                    false => asked.outputs.push(path.to_owned()),
                }
            }
            before.clone_from(&arg);
            asked.args.push(arg);
        }
        asked
    }

    /// What this run has in common with every other that gives the same.
    fn name(&self, stdin: &[u8]) -> Result<String> {
        let mut all = Vec::new();
        for arg in &self.args {
            all.extend_from_slice(match file(arg) {
                Some(_) => b"a file",
                None => arg.as_bytes(),
            });
            all.push(0);
        }
        for input in &self.inputs {
            let bytes = fs::read(input).with_context(|| format!("{}", input.display()))?;
            all.extend_from_slice(&Digest::of(&bytes).0);
        }
        all.extend_from_slice(&Digest::of(stdin).0);
        Ok(Digest::of(&all).to_string())
    }

    /// Runs FFmpeg, hands everything on, and keeps it where FFmpeg succeeded.
    fn record(&self, home: &Path, recording: &Path, stdin: &[u8]) -> Result<ExitCode> {
        let new = recording.with_extension(format!("{}.new", std::process::id()));
        fs::create_dir_all(&new)?;
        let progress = new.join("progress");
        let mut child = Command::new(home.join("real"))
            .arg("-progress")
            .arg(&progress)
            .args(&self.args)
            .stdin(match self.reads_stdin {
                true => Stdio::piped(),
                false => Stdio::null(),
            })
            .stdout(File::create(new.join("stdout"))?)
            .stderr(File::create(new.join("stderr"))?)
            .spawn()?;
        if let Some(mut pipe) = child.stdin.take() {
            // FFmpeg may have read all it wanted before the end.
            let _ = pipe.write_all(stdin);
        }
        let status = child.wait()?;
        if status.success() {
            for (number, output) in self.outputs.iter().enumerate() {
                fs::copy(output, new.join(number.to_string()))?;
            }
        }
        self.say(&new)?;
        if status.success() {
            // Somebody else may have recorded the same meanwhile.
            if fs::rename(&new, recording).is_ok() {
                return Ok(ExitCode::SUCCESS);
            }
        }
        fs::remove_dir_all(&new)?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Ok(ExitCode::from(code.unwrap_or(255)))
    }

    fn play(&self, recording: &Path, pause: Duration) -> Result<()> {
        let mut halves = Vec::new();
        for (number, output) in self.outputs.iter().enumerate() {
            let bytes = fs::read(recording.join(number.to_string()))?;
            let mut file = File::create(output)?;
            let half = bytes.len() / 2;
            file.write_all(&bytes[..half])?;
            halves.push((file, bytes, half));
        }
        // Whoever is killed meanwhile leaves half a file behind, as an encoder would.
        std::thread::sleep(pause);
        for (mut file, bytes, half) in halves {
            file.write_all(&bytes[half..])?;
        }
        self.say(recording)
    }

    /// Everything that is not in a file.
    fn say(&self, recording: &Path) -> Result<()> {
        io::stdout().write_all(&fs::read(recording.join("stdout"))?)?;
        io::stderr().write_all(&fs::read(recording.join("stderr"))?)?;
        if let Some(path) = &self.progress {
            let progress = fs::read(recording.join("progress")).unwrap_or_default();
            File::options()
                .write(true)
                .open(path)?
                .write_all(&progress)?;
        }
        Ok(())
    }
}

/// The path in an argument `file:PATH`.
fn file(arg: &OsStr) -> Option<&Path> {
    let path = arg.as_bytes().strip_prefix(b"file:")?;
    Some(Path::new(OsStr::from_bytes(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Asked {
        Asked::read(line.split(' ').map(OsString::from).collect())
    }

    #[test]
    fn files_are_told_from_options_and_progress_is_left_out() {
        let asked = asked("-progress pipe:7 -f mp4 -i file:/a/clip-0 -f mp4 file:/a/chunk-0.mp4");
        assert_eq!(asked.progress, Some("/proc/self/fd/7".into()));
        assert_eq!(asked.inputs, [PathBuf::from("/a/clip-0")]);
        assert_eq!(asked.outputs, [PathBuf::from("/a/chunk-0.mp4")]);
        assert!(!asked.reads_stdin);
        assert_eq!(asked.args.len(), 7);
    }

    #[test]
    fn a_run_is_known_by_arguments_and_bytes_but_not_by_the_names_of_its_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let name = |file: &str, bytes: &str, option: &str, stdin: &[u8]| {
            let path = folder.path().join(file);
            fs::write(&path, bytes).expect("written");
            let line = format!("-i file:{} -crf {option} file:/x/{file}", path.display());
            asked(&line).name(stdin).expect("readable")
        };
        let one = name("a", "clip", "20", b"");
        assert_eq!(name("b", "clip", "20", b""), one);
        assert_ne!(name("a", "other", "20", b""), one);
        assert_ne!(name("a", "clip", "21", b""), one);
        assert_ne!(name("a", "clip", "20", b"chunks"), one);
    }

    #[test]
    fn what_was_recorded_is_played_without_the_real_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path();
        fs::create_dir(home.join("recordings")).expect("made");
        let real = home.join("real");
        let script = "#!/bin/sh\necho first >\"$2\"\nshift 2\nfor last; do :; done\n\
                      cat >\"${last#file:}\"\necho made\n";
        fs::write(&real, script).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&real, mode).expect("set");
        let output = home.join("out.mp4");
        let said = home.join("progress");
        fs::write(&said, "").expect("written");
        let mut asked = asked(&format!("-i pipe:0 file:{}", output.display()));
        asked.progress = Some(said.clone());
        let recording = home.join("recordings").join("one");
        asked.record(home, &recording, b"chunks").expect("recorded");
        assert_eq!(fs::read(&output).expect("made"), b"chunks");
        fs::remove_file(&real).expect("gone");
        fs::remove_file(&output).expect("gone");
        asked.play(&recording, Duration::ZERO).expect("played");
        assert_eq!(fs::read(&output).expect("made"), b"chunks");
        assert_eq!(fs::read(&said).expect("said"), b"first\n");
    }

    #[test]
    fn a_pause_lies_within_the_pace() {
        for _ in 0..100 {
            let pause = pause("20 30").expect("two numbers").as_millis();
            assert!((20..=30).contains(&pause));
        }
        assert!(pause("20").is_err());
    }
}
