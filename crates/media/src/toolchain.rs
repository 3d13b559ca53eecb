//! Finding FFmpeg and learning what the build can do.
//!
//! Searched in this order: `RECODE_FFMPEG`, `.tools/bin/ffmpeg` (in the working directory, then in every directory above
//! our own executable), `PATH`. What a build showed is remembered in the state directory by path, size and modification
//! time, since asking costs three processes.

use crate::memory::Allowance;
use crate::sandbox::{self, Groups};
use recode_sandbox::{Policy, Sandbox};
use recode_types::Digest;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The environment variable that names FFmpeg.
pub const VARIABLE: &str = "RECODE_FFMPEG";
/// Where the set-up puts the static build, below the project.
pub const PROJECT_BUILD: &str = ".tools/bin/ffmpeg";
const REMEDY: &str = "run `make setup`, install ffmpeg 5.1 or later, or set RECODE_FFMPEG to one";

/// Why there is no usable FFmpeg. Every one is for the person who set up this machine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nowhere to be found.
    #[error("no ffmpeg found in RECODE_FFMPEG, .tools/bin or PATH: {REMEDY}")]
    Missing,
    /// `RECODE_FFMPEG` names something that is not there or cannot be executed.
    #[error("{} cannot be run as ffmpeg ({reason}): {REMEDY}", path.display())]
    NotExecutable {
        /// What was tried.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It runs, but is not FFmpeg.
    #[error("{} does not answer -version as ffmpeg does: {REMEDY}", path.display())]
    NotFfmpeg {
        /// What was tried.
        path: PathBuf,
    },
    /// Before 5.1.
    #[error("{} is ffmpeg {version}, older than 5.1: {REMEDY}", path.display())]
    TooOld {
        /// What was tried.
        path: PathBuf,
        /// As it names itself.
        version: String,
    },
    /// The build lacks an encoder.
    #[error("{} has no encoder {encoder}: choose another --encoder, or {REMEDY}", path.display())]
    NoEncoder {
        /// The build.
        path: PathBuf,
        /// The encoder.
        encoder: String,
    },
    /// It cannot be confined.
    #[error(transparent)]
    Sandbox(#[from] recode_sandbox::Error),
    /// The build lacks libvmaf.
    #[error("{} has no libvmaf filter, so it cannot score: run `make setup` for a build that has it, or leave --score out", path.display())]
    NoVmaf {
        /// The build.
        path: PathBuf,
    },
}

/// A usable FFmpeg build.
#[derive(Clone, Debug)]
pub struct Ffmpeg {
    /// The executable.
    pub path: PathBuf,
    /// What holds its runs back.
    pub sandbox: Sandbox,
    /// What the user should hear about a sandbox that is not whole.
    pub warning: Option<String>,
    /// Where its runs get control groups of their own. None, until [`Ffmpeg::within`] gives it some.
    pub groups: Groups,
    /// How much memory its runs may have in there.
    pub allowance: Allowance,
    shown: Shown,
    stamp: Stamp,
    memory: Option<PathBuf>,
    identity: OnceLock<Digest>,
}

/// What the build said about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Shown {
    version_line: String,
    /// Major and minor version of libavcodec; release numbers follow from it, also for builds between releases.
    avcodec: (u32, u32),
    encoders: BTreeSet<String>,
    filters: BTreeSet<String>,
}

/// What tells one file from another without reading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    path: PathBuf,
    size_bytes: u64,
    modified_ns: u128,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Memory {
    builds: Vec<(Stamp, Shown, Option<Digest>)>,
}

impl Ffmpeg {
    /// A program that nobody asked what it can do.
    #[cfg(test)]
    pub(crate) fn stand_in(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            sandbox: Sandbox::off(),
            warning: None,
            groups: Groups::off(),
            allowance: Allowance::default(),
            shown: Shown {
                version_line: String::new(),
                avcodec: (0, 0),
                encoders: BTreeSet::new(),
                filters: BTreeSet::new(),
            },
            stamp: Stamp {
                path: path.clone(),
                size_bytes: 0,
                modified_ns: 0,
            },
            path,
            memory: None,
            identity: OnceLock::new(),
        }
    }

    /// With a control group around each of its runs, in which that may have so much memory.
    pub fn within(self, groups: Groups, allowance: Allowance) -> Self {
        Self {
            groups,
            allowance,
            ..self
        }
    }

    /// For the second try of a run that had too little memory.
    pub fn roomier(&self) -> Self {
        Self {
            allowance: self.allowance.larger(),
            ..self.clone()
        }
    }

    /// First line of `-version`.
    pub fn version_line(&self) -> &str {
        &self.shown.version_line
    }

    /// Release series, such as 9 for every 9.x. Builds between two releases count as the older one.
    pub fn major(&self) -> u32 {
        // libavcodec 59 came with 5.0, and both have counted up together since.
        self.shown.avcodec.0.saturating_sub(54)
    }

    /// Whether the command line has `-dec`, which decodes what an encoder of the same process makes. Since 7.1.
    pub fn has_loopback_decoder(&self) -> bool {
        self.shown.avcodec >= (61, 19)
    }

    /// Whether there is a filter of this name.
    pub fn has_filter(&self, name: &str) -> bool {
        self.shown.filters.contains(name)
    }

    /// Whether there is an encoder of this name.
    pub fn has_encoder(&self, name: &str) -> bool {
        name == "copy" || self.shown.encoders.contains(name)
    }

    /// Says no where [`Ffmpeg::has_encoder`] does.
    /// # Errors
    /// [`Error::NoEncoder`]
    pub fn require_encoder(&self, name: &str) -> Result<(), Error> {
        if self.has_encoder(name) {
            return Ok(());
        }
        Err(Error::NoEncoder {
            path: self.path.clone(),
            encoder: name.to_owned(),
        })
    }

    /// Scoring needs libvmaf, which distributions leave out.
    /// # Errors
    /// [`Error::NoVmaf`]
    pub fn require_vmaf(&self) -> Result<(), Error> {
        if self.has_filter("libvmaf") {
            return Ok(());
        }
        Err(Error::NoVmaf {
            path: self.path.clone(),
        })
    }

    /// Names of all encoders.
    pub fn encoders(&self) -> impl Iterator<Item = &str> {
        self.shown.encoders.iter().map(String::as_str)
    }

    /// Digest of samples of the executable: what makes two builds the same. Reads 2 MiB the first time.
    /// # Errors
    /// [`Error::NotExecutable`] when the file can no longer be read.
    pub fn identity(&self) -> Result<Digest, Error> {
        if let Some(known) = self.identity.get() {
            return Ok(*known);
        }
        let digest = digest_of(&self.path).map_err(|e| Error::NotExecutable {
            path: self.path.clone(),
            reason: e.to_string(),
        })?;
        if let Some(memory) = &self.memory {
            remember(memory, &self.stamp, &self.shown, Some(digest));
        }
        Ok(*self.identity.get_or_init(|| digest))
    }
}

/// Finds FFmpeg and learns what it can do. Blocks for one to three short processes when the build is new, for none when
/// it is remembered in `state`. Runs are not confined: for tests.
/// # Errors
/// [`Error`]: there is none that can be used, and what to do about it.
pub fn find(state: Option<&Path>) -> Result<Ffmpeg, Error> {
    find_confined(state, Policy::Off)
}

/// As [`find`], with every run in the sandbox that `policy` asks for, which shows first that it holds.
/// # Errors
/// [`Error`]: there is no FFmpeg that can be used, or no sandbox.
pub fn find_confined(state: Option<&Path>, policy: Policy) -> Result<Ffmpeg, Error> {
    let path = locate(
        std::env::var_os(VARIABLE).as_deref(),
        std::env::current_dir().ok().as_deref(),
        std::env::current_exe().ok().as_deref(),
        std::env::var_os("PATH").as_deref(),
    )?;
    open_confined(&path, state, policy)
}

/// Learns what one build can do. Runs are not confined: for tests.
/// # Errors
/// [`Error`]: it cannot be used, and why.
pub fn open(path: &Path, state: Option<&Path>) -> Result<Ffmpeg, Error> {
    open_confined(path, state, Policy::Off)
}

fn open_confined(path: &Path, state: Option<&Path>, policy: Policy) -> Result<Ffmpeg, Error> {
    let not_executable = |reason: std::io::Error| Error::NotExecutable {
        path: path.to_owned(),
        reason: reason.to_string(),
    };
    let path = path.canonicalize().map_err(not_executable)?;
    let meta = std::fs::metadata(&path).map_err(not_executable)?;
    let room = state.map_or_else(std::env::temp_dir, Path::to_owned);
    let (sandbox, warning) = Sandbox::open(policy, &path, &room)?;
    let stamp = Stamp {
        path: path.clone(),
        size_bytes: meta.len(),
        modified_ns: meta
            .modified()
            .ok()
            .and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok())
            .map_or(0, |d| d.as_nanos()),
    };
    let memory = state.map(|dir| dir.join("ffmpeg.json"));
    let known = memory
        .as_deref()
        .map(recall)
        .unwrap_or_default()
        .builds
        .into_iter()
        .find(|(s, _, _)| *s == stamp);
    let identity = OnceLock::new();
    let shown = match known {
        Some((_, shown, digest)) => {
            if let Some(digest) = digest {
                identity.get_or_init(|| digest);
            }
            shown
        }
        None => {
            let shown = ask(&sandbox, &path)?;
            if let Some(memory) = &memory {
                remember(memory, &stamp, &shown, None);
            }
            shown
        }
    };
    if shown.avcodec < (59, 37) {
        return Err(Error::TooOld {
            path,
            version: release(&shown.version_line).to_owned(),
        });
    }
    Ok(Ffmpeg {
        path,
        sandbox,
        warning,
        groups: Groups::off(),
        allowance: Allowance::default(),
        shown,
        stamp,
        memory,
        identity,
    })
}

/// The order of the search, without asking the world for anything but whether a file is there.
fn locate(
    variable: Option<&OsStr>,
    cwd: Option<&Path>,
    executable: Option<&Path>,
    path: Option<&OsStr>,
) -> Result<PathBuf, Error> {
    if let Some(named) = variable.filter(|v| !v.is_empty()) {
        let named = PathBuf::from(named);
        let reason = match std::fs::metadata(&named).map(|meta| meta.is_file()) {
            Ok(true) => return Ok(named),
            // A folder on the way that may not be entered, most often.
            Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                format!("what RECODE_FFMPEG names cannot be looked at: {e}")
            }
            Ok(false) | Err(_) => "RECODE_FFMPEG names no file".to_owned(),
        };
        return Err(Error::NotExecutable {
            path: named,
            reason,
        });
    }
    let above = executable
        .into_iter()
        .flat_map(|exe| exe.ancestors().skip(1));
    let mut candidates: Vec<PathBuf> = cwd
        .into_iter()
        .chain(above)
        .map(|dir| dir.join(PROJECT_BUILD))
        .collect();
    if let Some(path) = path {
        candidates.extend(std::env::split_paths(path).map(|dir| dir.join("ffmpeg")));
    }
    candidates
        .into_iter()
        .find(|c| c.is_file())
        .ok_or(Error::Missing)
}

fn ask(sandbox: &Sandbox, path: &Path) -> Result<Shown, Error> {
    std::thread::scope(|scope| {
        let run = |arg: &'static str| scope.spawn(move || sandbox::output(sandbox, path, arg));
        let answers = [run("-version"), run("-encoders"), run("-filters")];
        let [version, encoders, filters] = answers.map(|a| {
            let out = a.join().expect("asking ffmpeg does not panic");
            out.map(|out| String::from_utf8_lossy(&out).into_owned())
                .map_err(|e| Error::NotExecutable {
                    path: path.to_owned(),
                    reason: e.to_string(),
                })
        });
        let version = version?;
        let not_ffmpeg = || Error::NotFfmpeg {
            path: path.to_owned(),
        };
        let version_line = version.lines().next().unwrap_or_default().to_owned();
        if !version_line.starts_with("ffmpeg version ") {
            return Err(not_ffmpeg());
        }
        Ok(Shown {
            avcodec: avcodec_version(&version).ok_or_else(not_ffmpeg)?,
            version_line,
            encoders: listed_names(&encoders?),
            filters: listed_names(&filters?),
        })
    })
}

/// `9.0.2` of `ffmpeg version n9.0.2-17-g2a571b6068 Copyright ...`.
fn release(version_line: &str) -> &str {
    version_line.split(' ').nth(2).unwrap_or(version_line)
}

fn avcodec_version(version: &str) -> Option<(u32, u32)> {
    let line = version.lines().find(|l| l.starts_with("libavcodec "))?;
    let mut numbers = line["libavcodec ".len()..].split('/').next()?.split('.');
    let mut next = || numbers.next()?.trim().parse().ok();
    Some((next()?, next()?))
}

/// Names in the lists that `-encoders` and `-filters` print: the second word of every line after the legend.
fn listed_names(list: &str) -> BTreeSet<String> {
    list.lines()
        .skip_while(|l| !l.trim_start().starts_with("---"))
        .skip(1)
        .filter_map(|l| l.split_whitespace().nth(1).map(str::to_owned))
        .collect()
}

/// Length and samples from all over the file. Two builds that are not the same differ in nearly every page, since one byte
/// more of code moves all that follows; reading all of a static build costs as much as encoding eight frames in 720p.
fn digest_of(path: &Path) -> std::io::Result<Digest> {
    use std::os::unix::fs::FileExt as _;
    const SAMPLES: u64 = 64;
    const SAMPLE_BYTES: u64 = 32 << 10;
    let file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    let mut hash = sha2::Sha256::new();
    hash.update(size.to_le_bytes());
    let step = (size / SAMPLES).max(SAMPLE_BYTES);
    let mut buffer = Vec::new();
    let mut at = 0;
    while at < size {
        // The last sample is the file's end.
        let last = at + step >= size;
        let from = if last {
            size.saturating_sub(SAMPLE_BYTES).max(at)
        } else {
            at
        };
        buffer.resize(SAMPLE_BYTES.min(size - from) as usize, 0);
        file.read_exact_at(&mut buffer, from)?;
        hash.update(&buffer);
        at += step;
    }
    Ok(Digest(hash.finalize().into()))
}

fn recall(memory: &Path) -> Memory {
    std::fs::read(memory)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

/// Best effort: without it the next start asks again. Written beside and renamed, since several processes may do it.
fn remember(memory: &Path, stamp: &Stamp, shown: &Shown, digest: Option<Digest>) {
    let mut all = recall(memory);
    all.builds.retain(|(s, _, _)| s.path != stamp.path);
    all.builds.push((stamp.clone(), shown.clone(), digest));
    let beside = memory.with_extension(format!("{}.new", std::process::id()));
    let written = serde_json::to_vec(&all)
        .map_err(std::io::Error::from)
        .and_then(|bytes| std::fs::write(&beside, bytes))
        .and_then(|()| std::fs::rename(&beside, memory));
    if let Err(e) = written {
        tracing::debug!(path = %memory.display(), error = %e, "the ffmpeg build is not remembered");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_releases_and_from_builds_between() {
        let nine = "ffmpeg version n9.0.2-17-g2a571b6068-20260930 Copyright (c) 2000-2026\nlibavutil      61.  1.102 / 61.  1.102\nlibavcodec     63.  1.102 / 63.  1.102\n";
        assert_eq!(avcodec_version(nine), Some((63, 1)));
        assert_eq!(
            avcodec_version("libavcodec     59. 37.100 / 59. 37.100"),
            Some((59, 37))
        );
        assert_eq!(avcodec_version("hello"), None);
    }

    #[test]
    fn names_are_listed_without_the_legend() {
        let list = "Encoders:\n V..... = Video\n ------\n V....D libx264              H.264\n A....D aac                  AAC\n";
        assert_eq!(
            listed_names(list),
            ["aac", "libx264"].map(String::from).into()
        );
    }

    #[test]
    fn the_search_follows_its_order() {
        let dir = tempfile::tempdir().unwrap();
        let put = |below: &str| {
            let at = dir.path().join(below);
            std::fs::create_dir_all(at.parent().unwrap()).unwrap();
            std::fs::write(&at, "").unwrap();
            at
        };
        let on_path = put("bin/ffmpeg");
        let path = dir.path().join("bin").into_os_string();
        let exe = dir.path().join("project/target/debug/recode");
        let found = |variable: Option<&Path>| {
            locate(variable.map(Path::as_os_str), None, Some(&exe), Some(&path))
        };
        assert_eq!(found(None).unwrap(), on_path);
        let project = put("project/.tools/bin/ffmpeg");
        assert_eq!(found(None).unwrap(), project);
        let named = put("named");
        assert_eq!(found(Some(&named)).unwrap(), named);
        let refused = |named: &Path| found(Some(named)).unwrap_err().to_string();
        let gone = refused(&dir.path().join("gone"));
        assert!(gone.contains("names no file"), "{gone}");
        // Stands for all that keeps one from looking.
        let unseen = refused(&dir.path().join("n".repeat(300)));
        assert!(unseen.contains("cannot be looked at: "), "{unseen}");
        assert!(matches!(
            locate(None, None, None, None),
            Err(Error::Missing)
        ));
    }

    #[test]
    fn something_else_is_not_taken_for_ffmpeg() {
        let echo = Path::new("/bin/echo");
        assert!(matches!(open(echo, None), Err(Error::NotFfmpeg { .. })));
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("text");
        std::fs::write(&text, "this is no program").unwrap();
        let opened = open(&text, None);
        assert!(matches!(opened, Err(Error::NotExecutable { .. })));
    }

    #[test]
    fn a_build_is_remembered_until_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let fake = dir.path().join("ffmpeg");
        let script = |version: u32| {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::write(
                &fake,
                format!("#!/bin/sh\necho 'ffmpeg version {version}'\necho 'libavcodec     {version}. 50.100 /'\n"),
            )
            .unwrap();
            std::fs::set_permissions(&fake, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        script(59);
        assert_eq!(open(&fake, Some(dir.path())).unwrap().major(), 5);
        let first = open(&fake, Some(dir.path())).unwrap();
        let identity = first.identity().unwrap();
        assert_eq!(
            recall(&dir.path().join("ffmpeg.json")).builds[0].2,
            Some(identity)
        );
        script(158);
        assert!(open(&fake, Some(dir.path())).unwrap().major() > 100);
        script(58);
        assert!(matches!(
            open(&fake, Some(dir.path())),
            Err(Error::TooOld { .. })
        ));
    }
}
