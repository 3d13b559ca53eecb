//! Beginning in a control group of the second version.
//!
//! A process that is there already and moves in makes the kernel wait until no process of the whole machine is between two
//! groups: 14 ms on an idle machine (Linux 6.18). One that is born there costs nothing, so the keeper of a PID namespace, which
//! starts the program anyway, starts it there.

use super::Error;
use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

/// From `linux/sched.h`; libc's constant is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Its folder.
pub(super) struct Group(OwnedFd);

impl Group {
    /// Takes the descriptor over; it does not reach the program.
    /// # Errors
    /// [`Error::System`]: it is not open.
    pub fn open(fd: RawFd) -> Result<Self, Error> {
        // SAFETY: the number came from whoever started the helper, which holds nothing else under it.
        #[allow(unsafe_code)]
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let closes = rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC);
        closes.map_err(|e| Error::system("--group is no open descriptor", e))?;
        Ok(Self(fd))
    }

    /// Moves the calling process in.
    /// # Errors
    /// [`Error::System`]: it may not.
    pub fn enter(&self) -> Result<(), Error> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let entered = rustix::fs::openat(&self.0, "cgroup.procs", flags, Mode::empty())
            .and_then(|members| rustix::io::write(&members, b"0"));
        entered.map_err(|e| Error::system("the control group cannot be entered", e))?;
        Ok(())
    }

    /// Forks, with the child in the group; `None` in the child.
    /// # Errors
    /// The kernel is older than 5.7, or somebody lets it do no such thing.
    pub fn fork(&self) -> io::Result<Option<Pid>> {
        // SAFETY: all zeroes is a valid value of this struct of numbers, and it lives until the call has returned. Without a
        // stack of its own the child goes on with a copy of ours, as after fork; the helper has one thread.
        #[allow(unsafe_code)]
        let pid = unsafe {
            let mut wish: libc::clone_args = std::mem::zeroed();
            wish.flags = CLONE_INTO_CGROUP;
            wish.exit_signal = libc::SIGCHLD as u64;
            wish.cgroup = self.0.as_raw_fd() as u64;
            libc::syscall(libc::SYS_clone3, &raw const wish, size_of_val(&wish))
        };
        match pid {
            ..0 => Err(io::Error::last_os_error()),
            0 => Ok(None),
            pid => Ok(Pid::from_raw(pid as i32)),
        }
    }
}
