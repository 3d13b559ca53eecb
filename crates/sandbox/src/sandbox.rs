//! The sandbox as the starter of children holds it: which helper, which layers.

use crate::trial::{self, Proof};
use crate::{HELPER, Layers, Policy, Profile};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Names the helper, where it does not lie beside the program in use.
pub const VARIABLE: &str = "RECODE_SANDBOX_HELPER";

/// The sandbox cannot be had as the policy wants it; the text names what is missing and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

/// How children are confined. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Sandbox(Option<Arc<Shown>>);

#[derive(Debug)]
struct Shown {
    helper: PathBuf,
    layers: Layers,
}

impl fmt::Display for Sandbox {
    /// Its layers, for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layers: Vec<&str> = self.layers().into_iter().map(crate::Layer::name).collect();
        match layers.is_empty() {
            true => f.write_str("none"),
            false => f.write_str(&layers.join(" ")),
        }
    }
}

impl Sandbox {
    /// None: children are started as they are.
    pub fn off() -> Self {
        Self::default()
    }

    /// Finds the helper, has it show what it can do, and decides. Blocks for a moment. The second value is what to tell the
    /// user, once. `program`: what will be run; `dir`: a folder for a file or two meanwhile.
    /// # Errors
    /// [`Error`]: the policy requires what cannot be had.
    pub fn open(
        policy: Policy,
        program: &Path,
        dir: &Path,
    ) -> Result<(Self, Option<String>), Error> {
        if policy == Policy::Off {
            return Ok((Self::off(), None));
        }
        let helper = locate(
            std::env::var_os(VARIABLE).as_deref(),
            std::env::current_exe().ok().as_deref(),
        );
        let shown = helper
            .clone()
            .and_then(|helper| prove(&helper, program, dir));
        let decision = policy.decide(&shown).map_err(Error)?;
        let sandbox = match helper {
            Ok(helper) if !decision.layers.is_empty() => Self(Some(Arc::new(Shown {
                helper,
                layers: decision.layers,
            }))),
            _ => Self::off(),
        };
        Ok((sandbox, decision.warning))
    }

    /// What holds every child back.
    pub fn layers(&self) -> Layers {
        let shown = self.0.as_ref();
        shown.map(|shown| shown.layers.clone()).unwrap_or_default()
    }

    /// The helper and its arguments up to the program; `None`: start the program itself. The layers of `profile` are set here.
    pub fn wrap(&self, mut profile: Profile) -> Option<(&Path, Vec<OsString>)> {
        let shown = self.0.as_ref()?;
        profile.layers.clone_from(&shown.layers);
        Some((&shown.helper, profile.to_args()))
    }
}

fn prove(helper: &Path, program: &Path, dir: &Path) -> Result<Proof, String> {
    // It needs a shell and starts other programs, so every layer would have to be left open for it.
    if is_script(program) {
        return Err(format!(
            "{} is a script, and only a program can be; name the program itself in RECODE_FFMPEG",
            program.display()
        ));
    }
    trial::ask(helper, dir)
}

fn is_script(program: &Path) -> bool {
    let mut first = [0; 2];
    let read = std::fs::File::open(program).and_then(|mut file| file.read_exact(&mut first));
    read.is_ok() && &first == b"#!"
}

/// The variable, then beside the executable, or above it where that is a test.
fn locate(variable: Option<&OsStr>, executable: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(named) = variable.filter(|v| !v.is_empty()) {
        let named = PathBuf::from(named);
        return match named.is_file() {
            true => Ok(named),
            false => Err(format!("{VARIABLE}={} names no file", named.display())),
        };
    }
    let folder = executable.and_then(Path::parent);
    let above = folder
        .filter(|folder| folder.ends_with("deps"))
        .and_then(Path::parent);
    let mut beside = folder.into_iter().chain(above).map(|dir| dir.join(HELPER));
    beside.find(|path| path.is_file()).ok_or_else(|| {
        let folder = folder.unwrap_or(Path::new(".")).display();
        format!("there is no program {HELPER} in {folder}")
    })
}

/// What a helper tells about the start of its program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// It begins as this process, which is not the helper.
    Pid(u32),
    /// It cannot be executed, by the system's number.
    Exec(i32),
    /// The sandbox could not be made.
    Refused(String),
}

impl From<&crate::enter::Error> for Start {
    fn from(error: &crate::enter::Error) -> Self {
        match error {
            crate::enter::Error::Exec(e) => Self::Exec(e.raw_os_error().unwrap_or(libc::EINVAL)),
            other => Self::Refused(other.to_string()),
        }
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pid(pid) => write!(f, "pid {pid}"),
            Self::Exec(errno) => write!(f, "exec {errno}"),
            Self::Refused(why) => write!(f, "refused {}", why.replace('\n', " ")),
        }
    }
}

impl Start {
    /// Reads a line.
    pub fn parse(line: &str) -> Option<Self> {
        let (word, rest) = line.split_once(' ')?;
        match word {
            "pid" => rest.parse().ok().map(Self::Pid),
            "exec" => rest.parse().ok().map(Self::Exec),
            "refused" => Some(Self::Refused(rest.to_owned())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read() {
        let refused = Start::Refused("Landlock cannot\nbe had".into());
        for start in [Start::Pid(7), Start::Exec(2), refused] {
            let line = start.to_string();
            assert_eq!(Start::parse(&line).unwrap().to_string(), line);
            assert!(!line.contains('\n'));
        }
        assert_eq!(Start::parse("hello"), None);
        assert_eq!(Start::parse("pid x"), None);
    }

    #[test]
    fn the_helper_lies_beside_the_program_or_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let deps = dir.path().join("deps");
        std::fs::create_dir(&deps).unwrap();
        let test = deps.join("test-0123");
        assert!(locate(None, Some(&test)).is_err());
        let above = dir.path().join(HELPER);
        std::fs::write(&above, "").unwrap();
        assert_eq!(locate(None, Some(&test)), Ok(above.clone()));
        let program = dir.path().join("recode-node");
        assert_eq!(locate(None, Some(&program)), Ok(above));
        let other = dir.path().join("other/recode-node");
        assert!(locate(None, Some(&other)).unwrap_err().contains("other"));
        let gone = dir.path().join("gone");
        let named = locate(Some(gone.as_os_str()), Some(&program));
        assert!(named.unwrap_err().contains("names no file"));
    }

    #[test]
    fn a_script_is_not_confined_by_half() {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("ffmpeg");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        let said = prove(Path::new("/nowhere"), &script, dir.path()).unwrap_err();
        assert!(said.contains("is a script"), "{said}");
    }
}
