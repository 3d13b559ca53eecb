//! What this machine has, shown by trial: for each layer a process enters it alone and tries what it is there to prevent,
//! having done the same a moment before without it. Then one process with all of them tries everything.
//!
//! ```text
//!  recode-sandbox prove DIR ─► mount ok
//!                              network no EPERM ...
//!                              together ok
//! ```

use crate::enter::{self, Status};
use crate::{Layer, Layers, Profile};
use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

/// The first argument of a helper that shows what it can do.
pub const PROVE: &str = "prove";

/// What one machine showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    layers: BTreeMap<Layer, Result<(), String>>,
    together: Option<Result<(), String>>,
}

impl Proof {
    /// Reads what [`prove`] printed; `None` where it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut proof = Self::default();
        for line in text.lines() {
            let (name, verdict) = line.split_once(' ')?;
            let verdict = match verdict.split_once(' ') {
                None if verdict == "ok" => Ok(()),
                Some(("no", reason)) => Err(reason.to_owned()),
                _ => return None,
            };
            match name {
                "together" => proof.together = Some(verdict),
                _ => {
                    proof.layers.insert(name.parse().ok()?, verdict);
                }
            }
        }
        (proof.layers.len() == Layer::ALL.len() && proof.together.is_some()).then_some(proof)
    }

    /// The layers that hold.
    pub fn layers(&self) -> Layers {
        let held = self.layers.iter().filter(|(_, verdict)| verdict.is_ok());
        held.map(|(layer, _)| *layer).collect()
    }

    /// Which of `required` do not hold, and why, as a part of a sentence; or what all together let pass.
    pub fn lacks(&self, required: &[Layer]) -> Option<String> {
        let missing: Vec<String> = required
            .iter()
            .filter_map(|layer| {
                let reason = self.layers[layer].as_ref().err()?;
                Some(format!("{} ({reason})", layer.title()))
            })
            .collect();
        if !missing.is_empty() {
            return Some(format!("this machine lacks {}", missing.join(" and ")));
        }
        let hit = self.together.as_ref()?.as_ref().err()?;
        Some(format!("in the sandbox {hit}"))
    }
}

/// Has the helper show what it can do.
/// # Errors
/// It cannot be run or says something else; as a sentence without its end.
pub fn ask(helper: &Path, dir: &Path) -> Result<Proof, String> {
    let failed = |why: String| format!("{} cannot be used ({why})", helper.display());
    let said = Command::new(helper)
        .arg(PROVE)
        .arg(dir)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .map_err(|e| failed(e.to_string()))?;
    Proof::parse(&String::from_utf8_lossy(&said.stdout)).ok_or_else(|| {
        let words = String::from_utf8_lossy(&said.stderr);
        failed(format!("{}: {}", said.status, words.trim()))
    })
}

/// Shows it, inside the helper: one line for each layer and one for all together. `dir` is a folder that can be written.
/// # Errors
/// No trial can be made at all: the folder cannot be written, or no process started.
pub fn prove(dir: &Path) -> io::Result<String> {
    let canary = dir.join(format!(".recode-sandbox-{}", std::process::id()));
    let mut file = std::fs::File::options()
        .write(true)
        .create_new(true)
        .open(&canary)?;
    let _remove = Remove(&canary);
    file.write_all(b"canary")?;
    drop(file);
    let listener = TcpListener::bind("127.0.0.1:0").ok();
    let place = Place {
        canary: &canary,
        listener: listener.as_ref().and_then(|l| l.local_addr().ok()),
    };
    let mut trials = Vec::new();
    for layer in Layer::ALL {
        trials.push((layer, start(&place, [layer].into())?));
    }
    let mut said = String::new();
    let mut held = Layers::new();
    for (layer, trial) in trials {
        let verdict = end(trial)?;
        if verdict == "ok" {
            held.insert(layer);
        }
        said += &format!("{layer} {verdict}\n");
    }
    let together = end(start(&place, held)?)?;
    said += &format!("together {together}\n");
    Ok(said)
}

struct Remove<'a>(&'a Path);

impl Drop for Remove<'_> {
    fn drop(&mut self) {
        // Nobody but us knows its name.
        let _ = std::fs::remove_file(self.0);
    }
}

/// What trials try.
struct Place<'a> {
    canary: &'a Path,
    listener: Option<SocketAddr>,
}

/// A trial under way: where its verdict will come from.
type Trial = OwnedFd;

fn start(place: &Place<'_>, layers: Layers) -> io::Result<Trial> {
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // SAFETY: the helper has one thread, so the child finds nothing half done.
    #[allow(unsafe_code)]
    match unsafe { libc::fork() } {
        ..0 => Err(io::Error::last_os_error()),
        0 => {
            drop(read);
            let verdict = match trial(place, &layers) {
                Ok(()) => "ok".to_owned(),
                Err(why) => format!("no {}", why.replace('\n', " ")),
            };
            let _ = rustix::io::write(&write, verdict.as_bytes());
            // SAFETY: it does not return, and runs none of the parent's destructors.
            unsafe { libc::_exit(0) }
        }
        _ => Ok(read),
    }
}

/// Its verdict, when it has one. The process is reaped by the end of ours, which is near.
fn end(trial: Trial) -> io::Result<String> {
    let mut verdict = String::new();
    std::fs::File::from(trial).read_to_string(&mut verdict)?;
    Ok(match verdict.is_empty() {
        true => "no its trial was killed".to_owned(),
        false => verdict,
    })
}

/// Enters `layers` and tries what they prevent.
fn trial(place: &Place<'_>, layers: &Layers) -> Result<(), String> {
    let wanted: Vec<&Act> = ACTS
        .iter()
        .filter(|act| act.prevented_by.iter().any(|layer| layers.contains(layer)))
        .collect();
    // What cannot be done anyway shows nothing about the layer; then entering it must be enough.
    let open: Vec<&Act> = wanted.into_iter().filter(|a| (a.tries)(place)).collect();
    let profile = Profile {
        layers: layers.clone(),
        ..Profile::default()
    };
    let nobody = Status::open(None).map_err(|e| e.to_string())?;
    enter::confine(&profile, None, &nobody).map_err(|e| e.to_string())?;
    if layers.contains(&Layer::Pid) && rustix::process::getpid().as_raw_nonzero().get() != 2 {
        return Err("processes outside can be seen".to_owned());
    }
    match open.into_iter().find(|act| (act.tries)(place)) {
        Some(act) => Err(act.title.to_owned()),
        None => Ok(()),
    }
}

/// Something a program might try.
struct Act {
    title: &'static str,
    prevented_by: &'static [Layer],
    /// Whether it worked.
    tries: fn(&Place<'_>) -> bool,
}

const ACTS: &[Act] = &[
    Act {
        title: "a file can be read",
        prevented_by: &[Layer::Landlock],
        tries: |place| std::fs::read(place.canary).is_ok(),
    },
    Act {
        title: "a file can be written",
        prevented_by: &[Layer::Landlock, Layer::Mount],
        tries: |place| {
            let opened = std::fs::OpenOptions::new().write(true).open(place.canary);
            opened.is_ok()
        },
    },
    Act {
        title: "a TCP connection can be made",
        prevented_by: &[Layer::Network, Layer::Seccomp],
        tries: |place| {
            place
                .listener
                .is_some_and(|at| TcpStream::connect(at).is_ok())
        },
    },
    Act {
        title: "a UDP packet can be sent",
        prevented_by: &[Layer::Network, Layer::Seccomp],
        tries: |place| {
            let sent = |to| UdpSocket::bind("127.0.0.1:0")?.send_to(b"canary", to);
            place.listener.is_some_and(|at| sent(at).is_ok())
        },
    },
    Act {
        title: "a Unix socket can be made",
        prevented_by: &[Layer::Seccomp],
        tries: |_| std::os::unix::net::UnixDatagram::unbound().is_ok(),
    },
    Act {
        title: "a process can be started",
        prevented_by: &[Layer::Seccomp],
        tries: |_| {
            // SAFETY: the process has one thread, and the child ends at once.
            #[allow(unsafe_code)]
            unsafe {
                match libc::fork() {
                    0 => libc::_exit(0),
                    pid => pid > 0,
                }
            }
        },
    },
];
