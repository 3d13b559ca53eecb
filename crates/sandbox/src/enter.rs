//! Carrying out a [`Profile`], inside the helper and nowhere else: a process with one thread that becomes the program.
//!
//! ```text
//!  namespaces ─► limits ─► (PID namespace: a keeper stays outside and repeats the program's end as its own) ─► control group
//!            ─► capabilities ─► no new privileges ─► Landlock ─► seccomp ─► exec
//! ```
//!
//! The first thing that cannot be had ends it: a program never begins with less than its profile asks for.

mod capabilities;
mod files;
mod group;
mod keeper;
mod mounts;
mod namespaces;
mod syscalls;

use crate::Layer;
use crate::profile::{Order, Profile};
use crate::sandbox::Start;
use std::convert::Infallible;
use std::ffi::{CString, OsStr, OsString};
use std::io::{self, Write as _};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Why a program did not begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A layer cannot be had.
    #[error("{} cannot be had: {what}: {source}", layer.title())]
    Layer {
        /// Which.
        layer: Layer,
        /// The step that failed.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Something else than a layer.
    #[error("{what}: {source}")]
    System {
        /// The step that failed.
        what: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The program itself cannot be started.
    #[error("{0}")]
    Exec(#[source] io::Error),
    /// The parent died meanwhile.
    #[error("the process that asked for it is gone")]
    Orphan,
}

impl Error {
    fn layer(layer: Layer, what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Layer {
            layer,
            what: what.into(),
            source: source.into(),
        }
    }

    fn system(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System {
            what: what.into(),
            source: source.into(),
        }
    }
}

/// Whoever started the helper, to be told what became of it.
#[derive(Debug)]
pub struct Status(Option<OwnedFd>);

impl Status {
    /// Takes the descriptor over; it does not reach the program.
    /// # Errors
    /// It is not open.
    pub fn open(fd: Option<i32>) -> io::Result<Self> {
        let Some(fd) = fd else {
            return Ok(Self(None));
        };
        // SAFETY: the number came from whoever started the helper, which holds nothing else under it: descriptors of
        // its own are opened later.
        #[allow(unsafe_code)]
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
        Ok(Self(Some(fd)))
    }

    /// Tells what happened. Who does not listen any more is dead, and so soon are we.
    pub fn tell(&self, start: &Start) {
        match &self.0 {
            Some(fd) => {
                let mut file = io::LineWriter::new(Fd(fd));
                let _ = writeln!(file, "{start}");
            }
            None => {
                if !matches!(start, Start::Pid(_)) {
                    eprintln!("recode-sandbox: {start}");
                }
            }
        }
    }
}

struct Fd<'a>(&'a OwnedFd);

impl io::Write for Fd<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(self.0, bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Becomes the program. With a PID namespace the calling process stays behind as its keeper and ends as the program does.
/// # Errors
/// [`Error`]: the program has not begun.
pub fn run(order: &Order, status: &Status) -> Result<Infallible, Error> {
    let program = absolute(&order.program)?;
    confine(&order.profile, Some(&program), status)?;
    // The standard library ignores it for itself; a program that writes into a closed pipe should end.
    // SAFETY: setting a signal to its default involves no handler.
    #[allow(unsafe_code)]
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
    Err(Error::Exec(exec(
        &program,
        &order.args,
        &order.profile.environment,
    )))
}

/// Lays the profile on the calling process, or on a child that takes its place. `program`: what it may execute.
/// # Errors
/// [`Error`]; the process may be confined in part and should end.
pub fn confine(profile: &Profile, program: Option<&Path>, status: &Status) -> Result<(), Error> {
    let parent = rustix::process::getppid();
    let group = profile.group.map(group::Group::open).transpose()?;
    let has = |layer| profile.layers.contains(&layer);
    for path in &profile.writes {
        make(path)?;
    }
    namespaces::enter(&profile.layers)?;
    die_with_parent()?;
    if rustix::process::getppid() != parent {
        return Err(Error::Orphan);
    }
    if has(Layer::Mount) {
        mounts::close(&profile.writes)?;
    }
    let limits = profile.limits.apply();
    limits.map_err(|e| Error::system("resource limits cannot be set", e))?;
    match &group {
        group if has(Layer::Pid) => keeper::split(status, group.as_ref())?,
        Some(group) => group.enter()?,
        None => {}
    }
    if !profile.layers.is_empty() {
        let dropped = capabilities::drop_all_but_files();
        dropped.map_err(|e| Error::system("capabilities cannot be dropped", e))?;
    }
    let privileges = rustix::thread::set_no_new_privs(true);
    privileges.map_err(|e| Error::system("privileges cannot be given up", e))?;
    if has(Layer::Landlock) {
        files::close(profile, program)?;
    }
    if has(Layer::Seccomp) {
        syscalls::close(has(Layer::Pid))?;
    }
    Ok(())
}

/// Dies with the thread that started it. Entering a user namespace undoes this, so it is done again afterwards.
fn die_with_parent() -> Result<(), Error> {
    let armed =
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    armed.map_err(|e| Error::system("the end of the parent cannot be watched", e))
}

/// A rule needs something to hold on to, so a file that is about to be written is made first.
fn make(path: &Path) -> Result<(), Error> {
    use std::fs::OpenOptions;
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(Error::system(
            format!("{} cannot be made", path.display()),
            e,
        )),
    }
}

fn absolute(program: &Path) -> Result<std::path::PathBuf, Error> {
    program.canonicalize().map_err(Error::Exec)
}

fn exec(program: &Path, args: &[OsString], environment: &[OsString]) -> io::Error {
    let list = |items: &mut dyn Iterator<Item = &OsStr>| {
        items
            .map(|item| CString::new(item.as_bytes()).map_err(io::Error::from))
            .collect::<io::Result<Vec<_>>>()
    };
    let args = list(&mut std::iter::once(program.as_os_str()).chain(args.iter().map(|a| &**a)));
    let environment = list(&mut environment.iter().map(|e| &**e));
    let (args, environment) = match (args, environment) {
        (Ok(args), Ok(environment)) => (args, environment),
        (Err(e), _) | (_, Err(e)) => return e,
    };
    let pointers = |list: &[CString]| {
        let mut pointers: Vec<_> = list.iter().map(|item| item.as_ptr()).collect();
        pointers.push(std::ptr::null());
        pointers
    };
    let (argv, envp) = (pointers(&args), pointers(&environment));
    // SAFETY: both lists end with a null pointer and point into strings that live until the call has returned, if it does.
    #[allow(unsafe_code)]
    unsafe {
        libc::execve(args[0].as_ptr(), argv.as_ptr(), envp.as_ptr());
    }
    io::Error::last_os_error()
}
