//! What a child process may do. FFmpeg is treated as hostile code running on hostile input.
//!
//! Now: an emptied environment, its own process group, death with the parent, resource limits. Namespaces, Landlock and
//! seccomp belong here too, in [`Confinement::apply`].

use rustix::process::{Resource, Rlimit, Signal};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Resource limits of one child process. `None`: as the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest file it may write, in bytes.
    pub file_bytes: Option<u64>,
    /// Address space in bytes. FFmpeg reserves far more than it uses, so leave ample room.
    pub memory_bytes: Option<u64>,
    /// CPU seconds, user and system.
    pub cpu_seconds: Option<u64>,
    /// Open descriptors.
    pub descriptors: Option<u64>,
}

impl Default for Limits {
    /// Descriptors only: FFmpeg needs few.
    fn default() -> Self {
        Self {
            file_bytes: None,
            memory_bytes: None,
            cpu_seconds: None,
            descriptors: Some(256),
        }
    }
}

/// Everything that is done to a child between fork and exec.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Confinement {
    /// Resource limits.
    pub limits: Limits,
    /// A descriptor the child keeps besides the standard three.
    pub keep: Option<RawFd>,
}

/// Lets glibc ask for huge pages. Two x264 encodes side by side spend half the time in the kernel with it and end 6 %
/// sooner (3 s of 720p, FFmpeg 9, glibc 2.36); other C libraries do not look at it.
const HUGE_PAGES: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");

impl Confinement {
    /// Prepares `command`: emptied environment but for one tunable, own process group, and the rest between fork and exec. `kept` must stay
    /// open until the command has been spawned.
    pub(crate) fn apply(limits: Limits, kept: Option<&OwnedFd>, command: &mut Command) {
        let confinement = Self {
            limits,
            keep: kept.map(|fd| fd.as_raw_fd()),
        };
        command.env_clear().process_group(0);
        let (name, value) = HUGE_PAGES;
        command.env(name, value);
        let parent = rustix::process::getpid();
        // SAFETY: the closure runs in the child between fork and exec. It makes system calls only: no allocation, no
        // lock, nothing that another thread of the parent could have left half done.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(move || confinement.enter(parent));
        }
    }

    fn enter(self, parent: rustix::process::Pid) -> std::io::Result<()> {
        // Dies with the thread that started it; `run` starts every child from one thread that never ends.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the line above took effect.
        if rustix::process::getppid() != Some(parent) {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        let limits = [
            (Resource::Core, Some(0)),
            (Resource::Fsize, self.limits.file_bytes),
            (Resource::As, self.limits.memory_bytes),
            (Resource::Cpu, self.limits.cpu_seconds),
            (Resource::Nofile, self.limits.descriptors),
        ];
        for (resource, limit) in limits {
            if let Some(limit) = limit {
                // Never above what the parent itself was given.
                let most = rustix::process::getrlimit(resource).maximum;
                let limit = most.map_or(limit, |most| limit.min(most));
                rustix::process::setrlimit(
                    resource,
                    Rlimit {
                        current: Some(limit),
                        maximum: Some(limit),
                    },
                )?;
            }
        }
        if let Some(fd) = self.keep {
            // SAFETY: the parent holds this descriptor open across the fork, see `apply`.
            #[allow(unsafe_code)]
            let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
        }
        Ok(())
    }
}
