//! Shows that control groups do what they are made for: a process enters one, starts others beyond their number, takes more
//! memory than it may have, and all of it is ended.

use super::folder::Limits;
use super::place::Use;
use super::run::RunGroup;
use rustix::event::{PollFd, PollFlags, poll};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// Enough for a process that only forks and takes memory, with what the kernel needs for it.
pub(super) const LIMITS: Limits = Limits {
    memory_bytes: 32 << 20,
    tasks: 4,
};

/// It tries to start so many.
const STARTED: u32 = 2 * LIMITS.tasks as u32;
/// It tries to take so much.
const TAKEN: usize = 4 * LIMITS.memory_bytes as usize;

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What each use showed; the reason is a part of a sentence.
pub(super) type Shown = BTreeMap<Use, Result<(), String>>;

/// Tries `group`, which has [`LIMITS`].
/// # Errors
/// No trial can be made: the group cannot be entered, or no process started; a part of a sentence.
pub(super) fn show(mut group: RunGroup, uses: &BTreeSet<Use>) -> Result<Shown, String> {
    let failed = |e: io::Error| format!("it cannot be tried ({e})");
    let (heard, told) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
    let entrances = group.entrances(false);
    // SAFETY: from here on the child makes system calls only, and none of those that take a lock another thread may hold.
    #[allow(unsafe_code)]
    let child = match unsafe { libc::fork() } {
        ..0 => return Err(failed(io::Error::last_os_error())),
        0 => act(&entrances, told.as_raw_fd(), uses),
        pid => pid,
    };
    drop(told);
    let said = listen(&heard);
    let (killed, refused) = (group.counted(Use::Memory), group.counted(Use::Tasks));
    let is_empty = group.remove();
    let mut status = 0;
    // SAFETY: the child is ours, and the pointer leads to a live value. It has ended, or was killed with its group; where that
    // failed it is killed here.
    #[allow(unsafe_code)]
    unsafe {
        if !is_empty {
            libc::kill(child, libc::SIGKILL);
        }
        libc::waitpid(child, &mut status, 0);
    }
    if said.starts_with(b"x") {
        return Err("it cannot be entered".to_owned());
    }
    let shown = uses.iter().map(|one| {
        let holds = match one {
            Use::Memory => killed.killed > 0 && killed.refused_memory > 0,
            Use::Tasks => said.contains(&b'f') && refused.refused_tasks > 0,
            Use::Kill => is_empty,
        };
        let why = match one {
            Use::Memory => "memory beyond the limit can be taken",
            Use::Tasks => "more processes than the limit can be started",
            Use::Kill => "processes outlive their group",
        };
        (*one, if holds { Ok(()) } else { Err(why.to_owned()) })
    });
    Ok(shown.collect())
}

/// What the child says until it is done or dead.
fn listen(heard: &OwnedFd) -> Vec<u8> {
    let begin = Instant::now();
    let mut said = Vec::new();
    while let Some(left) = PATIENCE.checked_sub(begin.elapsed()) {
        let mut fds = [PollFd::new(heard, PollFlags::IN)];
        let left = rustix::event::Timespec::try_from(left).expect("some seconds fit");
        if poll(&mut fds, Some(&left)).is_err() || fds[0].revents().is_empty() {
            continue;
        }
        let mut byte = [0];
        match rustix::io::read(heard, &mut byte) {
            Ok(1) => said.push(byte[0]),
            _ => break,
        }
        if said.ends_with(b"d") || said.ends_with(b"x") {
            break;
        }
    }
    said
}

/// In the child: enters, starts processes, takes memory. Says `x` when it cannot enter, `f` when no further process can be
/// started, `d` when it survived.
#[allow(unsafe_code)]
fn act(entrances: &[RawFd], told: RawFd, uses: &BTreeSet<Use>) -> ! {
    let say = |word: &[u8; 1]| {
        // SAFETY: the pointer leads to one live byte.
        unsafe { libc::write(told, word.as_ptr().cast(), 1) };
    };
    // SAFETY: system calls on values of this function, in a process with one thread.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        for entrance in entrances {
            if libc::write(*entrance, b"0".as_ptr().cast(), 1) != 1 {
                say(b"x");
                libc::_exit(1);
            }
        }
        for _ in 0..STARTED {
            match libc::fork() {
                ..0 => {
                    say(b"f");
                    break;
                }
                0 => {
                    // Neither its process group nor the pipe ends this one.
                    libc::close(told);
                    libc::setsid();
                    loop {
                        libc::pause();
                    }
                }
                _ => {}
            }
            if !uses.contains(&Use::Tasks) {
                break;
            }
        }
        if uses.contains(&Use::Memory) {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let taken = libc::mmap(std::ptr::null_mut(), TAKEN, access, flags, -1, 0);
            if taken != libc::MAP_FAILED {
                for at in (0..TAKEN).step_by(4096) {
                    taken.cast::<u8>().add(at).write_volatile(1);
                }
            }
        }
        say(b"d");
        loop {
            libc::pause();
        }
    }
}
