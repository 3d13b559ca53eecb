//! Starting a child process: as the sandbox has it, or without one where the operator wants none.
//!
//! Either way its environment is emptied but for one tunable, it leads a process group of its own, it dies with its parent,
//! its resource limits hold, it enters its control group where it has one, it is the first to go where the machine runs out of
//! memory, and it gives its processor away less often.

use recode_sandbox::cgroup::RunGroup;
use recode_sandbox::sandbox::Start;
use recode_sandbox::{Profile, Sandbox};
use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub use recode_sandbox::cgroup::{Error as GroupError, Groups, Wish};
pub use recode_sandbox::{Limits, Policy};

/// Lets glibc ask for huge pages. Two x264 encodes side by side spend half the time in the kernel with it and end 6 %
/// sooner (3 s of 720p, FFmpeg 9, glibc 2.36); other C libraries do not look at it.
const HUGE_PAGES: &str = "GLIBC_TUNABLES=glibc.malloc.hugetlb=1";

/// How likely a child is to be ended before other processes where the machine runs out of memory, from -1000 to 1000 and beside its
/// size: before the daemon in any case.
const ENDED_FIRST: &[u8] = b"500";

/// How much less of a busy processor a run [`Prepared::behind`] others gets: a nice value, so about a tenth.
const BEHIND: i32 = 10;

/// How long a child's thread works before another gets its processor. Encodes that are scored beside each other need 4 % less of the
/// processor's time so than with what Linux takes, 3 ms or less, and with any thread that wakes going first: caches stay warm (24 s of 720p
/// with x264, two cores).
const SLICE: Duration = Duration::from_millis(40);

/// What is done to a child between fork and exec: system calls only.
#[derive(Clone, Copy, Debug)]
struct Entry {
    parent: rustix::process::Pid,
    /// `None`: the helper sets them.
    limits: Option<Limits>,
    /// Descriptors the child keeps besides the standard three.
    keep: [Option<RawFd>; 2],
}

/// A command, and who will tell what became of its start.
pub(crate) struct Prepared {
    /// The program or its helper; its own arguments are still to be added.
    pub command: Command,
    /// To be closed once the command was spawned.
    pub tells: Option<OwnedFd>,
    /// Where [`Start`]s can be read from, until it ends.
    pub told: Option<OwnedFd>,
}

impl Prepared {
    /// Has others go first where the processor is busy.
    pub fn behind(&mut self) {
        // SAFETY: one system call, as in `prepare`.
        #[allow(unsafe_code)]
        unsafe {
            self.command.pre_exec(|| {
                rustix::process::nice(BEHIND)?;
                Ok(())
            });
        }
    }
}

/// Prepares a run of `program`. `kept` and `group` must stay until the command has been spawned; the child enters the group.
/// # Errors
/// Out of descriptors.
pub(crate) fn prepare(
    sandbox: &Sandbox,
    program: &Path,
    mut profile: Profile,
    kept: Option<&OwnedFd>,
    group: Option<&RunGroup>,
) -> io::Result<Prepared> {
    let (told, tells) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    profile.environment.push(HUGE_PAGES.into());
    profile.status = Some(tells.as_raw_fd());
    profile.group = group.and_then(RunGroup::unified);
    let limits = profile.limits;
    let mut entry = Entry {
        parent: rustix::process::getpid(),
        limits: None,
        keep: [kept.map(|fd| fd.as_raw_fd()), Some(tells.as_raw_fd())],
    };
    let mut prepared = match sandbox.wrap(profile) {
        Some((helper, args)) => {
            let mut command = Command::new(helper);
            command.args(args).arg(program).env_clear();
            Prepared {
                command,
                tells: Some(tells),
                told: Some(told),
            }
        }
        None => {
            entry.limits = Some(limits);
            entry.keep[1] = None;
            let mut command = Command::new(program);
            let (name, value) = HUGE_PAGES.split_once('=').expect("it is an assignment");
            command.env_clear().env(name, value);
            Prepared {
                command,
                tells: None,
                told: None,
            }
        }
    };
    prepared.command.process_group(0);
    if let Some(group) = group {
        group.admit(&mut prepared.command, prepared.told.is_some());
    }
    // SAFETY: the closure runs in the child between fork and exec. It makes system calls only: no allocation, no lock,
    // nothing that another thread of the parent could have left half done.
    #[allow(unsafe_code)]
    unsafe {
        prepared.command.pre_exec(move || entry.enter());
    }
    Ok(prepared)
}

impl Entry {
    fn enter(self) -> io::Result<()> {
        // Dies with the thread that started it; `run` starts every child from one thread that never ends.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the line above took effect.
        if rustix::process::getppid() != Some(self.parent) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        end_first();
        work_in_long_slices();
        if let Some(limits) = self.limits {
            limits.apply()?;
        }
        for fd in self.keep.into_iter().flatten() {
            // SAFETY: the parent holds this descriptor open across the fork, see `prepare`.
            #[allow(unsafe_code)]
            let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
        }
        Ok(())
    }
}

/// Best effort: some systems have no such file, and nothing hangs on it while there is memory.
fn end_first() {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(c"/proc/self/oom_score_adj", flags, Mode::empty());
    let _ = file.and_then(|file| rustix::io::write(file, ENDED_FIRST));
}

/// Best effort: its threads do not interrupt each other, or others, as soon as they have something to do, and work for [`SLICE`] where
/// Linux is 6.12 or newer. What has to answer soon comes first all the same, as it asks for less.
fn work_in_long_slices() {
    let Ok(nice) = rustix::process::getpriority_process(None) else {
        return;
    };
    // SAFETY: a structure of numbers, and a system call that reads it.
    #[allow(unsafe_code)]
    unsafe {
        let mut wish: libc::sched_attr = std::mem::zeroed();
        wish.size = size_of::<libc::sched_attr>() as u32;
        wish.sched_policy = libc::SCHED_BATCH as u32;
        wish.sched_nice = nice;
        wish.sched_runtime = SLICE.as_nanos() as u64;
        libc::syscall(libc::SYS_sched_setattr, 0, &raw const wish, 0);
    }
}

/// What the words of a helper come to: the number of the process that became the program, where the helper is not it.
/// # Errors
/// The program did not begin.
pub(crate) fn began(words: &str) -> Result<Option<u32>, NotBegun> {
    let mut pid = None;
    for start in words.lines().filter_map(Start::parse) {
        match start {
            Start::Pid(number) => pid = Some(number),
            Start::Exec(errno) => return Err(NotBegun::Exec(io::Error::from_raw_os_error(errno))),
            Start::Refused(why) => return Err(NotBegun::Refused(why)),
        }
    }
    Ok(pid)
}

/// Why a program did not begin.
#[derive(Debug)]
pub(crate) enum NotBegun {
    /// It cannot be executed.
    Exec(io::Error),
    /// The sandbox could not be made.
    Refused(String),
}

/// Runs to the end and answers what was printed; for questions that take a moment. Blocks.
/// # Errors
/// It cannot be started.
pub(crate) fn output(sandbox: &Sandbox, program: &Path, arg: &str) -> io::Result<Vec<u8>> {
    let prepared = prepare(sandbox, program, Profile::default(), None, None)?;
    let Prepared {
        mut command,
        tells,
        told,
    } = prepared;
    let child = command
        .args(["-hide_banner", arg])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()?;
    drop(tells);
    let mut words = String::new();
    if let Some(told) = told {
        std::fs::File::from(told).read_to_string(&mut words)?;
    }
    let output = child.wait_with_output()?;
    match began(&words) {
        Ok(_) => Ok(output.stdout),
        Err(NotBegun::Exec(e)) => Err(e),
        Err(NotBegun::Refused(why)) => Err(io::Error::other(why)),
    }
}
