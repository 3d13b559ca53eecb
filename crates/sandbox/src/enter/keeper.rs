//! Who stays outside a PID namespace.
//!
//! ```text
//!  keeper (the helper) ─┬─► init      number 1 of the namespace: reaps, and takes all with it when it goes
//!                       └─► program   number 2: as number 1 it could not be ended by its own signals
//! ```
//!
//! The keeper waits for the program, ends the namespace, and then ends as the program did: with its exit code, or by its
//! signal. It holds no pipe of the program, and both children die with it.

use super::group::Group;
use super::{Error, Status, die_with_parent};
use crate::sandbox::Start;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, waitpid};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

/// Returns in the process that becomes the program, which begins in `group`.
/// # Errors
/// [`Error::System`]: out of processes or descriptors, or the group cannot be entered.
pub(super) fn split(status: &Status, group: Option<&Group>) -> Result<(), Error> {
    let refused = |e: io::Error| Error::system("no process can be started", e);
    // Closed by the keeper's end, whoever brings it about.
    let (heard, held) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| refused(e.into()))?;
    let Some(init) = fork().map_err(refused)? else {
        drop(held);
        reap_for_ever(&heard)
    };
    let (program, outside) = fork_into(group).map_err(refused)?;
    let Some(program) = program else {
        drop(held);
        die_with_parent()?;
        if let Some(group) = outside {
            group.enter()?;
        }
        return match is_closed(&heard) {
            true => Err(Error::Orphan),
            false => Ok(()),
        };
    };
    status.tell(&Start::Pid(program.as_raw_nonzero().get().unsigned_abs()));
    close_all_but(Some(&held));
    keep(init, program)
}

/// `None` in the child.
fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: the helper has one thread, so the child finds nothing half done.
    #[allow(unsafe_code)]
    match unsafe { libc::fork() } {
        ..0 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// As [`fork`], with the child in `group`; or not yet, where this kernel cannot do both at once: then the second value is the
/// group that it still has to enter.
fn fork_into(group: Option<&Group>) -> io::Result<(Option<Pid>, Option<&Group>)> {
    match group.map(Group::fork) {
        Some(Ok(child)) => Ok((child, None)),
        _ => Ok((fork()?, group)),
    }
}

fn is_closed(heard: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(heard, PollFlags::IN)];
    let now = rustix::event::Timespec::default();
    poll(&mut fds, Some(&now)).is_ok_and(|_| fds[0].revents().contains(PollFlags::HUP))
}

fn reap_for_ever(heard: &OwnedFd) -> ! {
    let armed = die_with_parent();
    if armed.is_err() || is_closed(heard) {
        exit(1);
    }
    close_all_but(None);
    loop {
        // The program is the keeper's child; ours are those it would have left behind.
        match waitpid(None, WaitOptions::empty()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => pause(),
        }
    }
}

fn keep(init: Pid, program: Pid) -> ! {
    let ended = wait(program);
    let _ = rustix::process::kill_process(init, Signal::KILL);
    let _ = wait(init);
    let Some(ended) = ended else { exit(1) };
    if let Some(signal) = ended.terminating_signal() {
        // SAFETY: setting a signal to its default and sending it to ourselves involves no handler.
        #[allow(unsafe_code)]
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::kill(libc::getpid(), signal);
        }
        exit(128 + signal);
    }
    exit(ended.exit_status().unwrap_or(1))
}

fn wait(pid: Pid) -> Option<WaitStatus> {
    loop {
        match waitpid(Some(pid), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Some(status),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

/// Leaves no pipe of the program open here: their ends are for the program alone to hold.
fn close_all_but(kept: Option<&OwnedFd>) {
    let kept = kept.map(|fd| fd.as_raw_fd().unsigned_abs());
    let ranges = match kept {
        Some(fd) => [(0, fd.checked_sub(1)), (fd + 1, Some(u32::MAX))],
        None => [(0, Some(u32::MAX)), (0, None)],
    };
    for (first, last) in ranges {
        if let Some(last) = last {
            // SAFETY: nothing of this process uses one of these descriptors from here on.
            #[allow(unsafe_code)]
            unsafe {
                libc::syscall(libc::SYS_close_range, first, last, 0);
            }
        }
    }
}

fn pause() {
    // SAFETY: it waits for a signal and touches nothing.
    #[allow(unsafe_code)]
    unsafe {
        libc::pause();
    }
}

/// Without destructors: they would close what is closed.
fn exit(code: i32) -> ! {
    // SAFETY: it does not return.
    #[allow(unsafe_code)]
    unsafe {
        libc::_exit(code)
    }
}
