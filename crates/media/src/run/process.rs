//! The processes of a child: started from one thread, ended together, reaped with what they used.

use super::ChildUsage;
use recode_sandbox::cgroup::{RunGroup, Shortage};
use rustix::process::{Pid, Signal};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::time::Duration;
use tokio::sync::oneshot;

/// Whoever panicked left it whole: each is changed in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The process group of a child. Kills never race with the reuse of its number: it is reaped under the same lock.
#[derive(Debug)]
pub(super) struct Group {
    pub pid: Pid,
    reaped: Mutex<bool>,
    /// The control group around it, where there is one.
    held: Mutex<Option<RunGroup>>,
}

/// How a child ended.
#[derive(Debug)]
pub(super) struct End {
    pub status: ExitStatus,
    pub usage: ChildUsage,
    /// What its control group had too little of.
    pub shortage: Option<Shortage>,
}

impl Group {
    pub fn kill(&self) {
        let reaped = lock(&self.reaped);
        if !*reaped {
            self.end();
            if let Some(held) = &*lock(&self.held) {
                held.kill();
            }
        }
    }

    /// To the group, as long as there is one.
    pub fn signal(&self, signal: Signal) {
        let reaped = lock(&self.reaped);
        if !*reaped {
            let _ = rustix::process::kill_process_group(self.pid, signal);
        }
    }

    /// To the group, and to the child itself, which may have left it. Only "no such process" is possible here, and then there
    /// is nothing left to kill.
    fn end(&self) {
        let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        let _ = rustix::process::kill_process(self.pid, Signal::KILL);
    }

    /// Blocks until the child has ended and nothing of it is left.
    pub fn reap(&self) -> io::Result<End> {
        let (status, usage) = self.wait()?;
        // Outside of the lock: somebody may be about to kill it.
        let held = lock(&self.held).take();
        Ok(End {
            status,
            usage,
            shortage: held.and_then(RunGroup::end),
        })
    }

    fn wait(&self) -> io::Result<(ExitStatus, ChildUsage)> {
        use rustix::process::{WaitId, WaitIdOptions};
        loop {
            match rustix::process::waitid(
                WaitId::Pid(self.pid),
                WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
            ) {
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
                Ok(_) => break,
            }
        }
        let mut reaped = lock(&self.reaped);
        self.end();
        *reaped = true;
        let mut status = 0;
        // SAFETY: all zeroes is a valid rusage, and wait4 writes through two pointers to live values of the right type.
        #[allow(unsafe_code)]
        let (pid, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            let pid = libc::wait4(self.pid.as_raw_nonzero().get(), &mut status, 0, &mut usage);
            (pid, usage)
        };
        if pid < 0 {
            return Err(io::Error::last_os_error());
        }
        let time = |t: libc::timeval| {
            Duration::from_secs(t.tv_sec.unsigned_abs())
                + Duration::from_micros(t.tv_usec.unsigned_abs())
        };
        let usage = ChildUsage {
            cpu: time(usage.ru_utime) + time(usage.ru_stime),
            wall: Duration::ZERO,
            peak_rss_bytes: usage.ru_maxrss.unsigned_abs() * 1024,
        };
        Ok((ExitStatus::from_raw(status), usage))
    }
}

/// Kills its group when dropped.
#[derive(Debug)]
pub(super) struct Kill(pub Arc<Group>);

impl Drop for Kill {
    fn drop(&mut self) {
        self.0.kill();
    }
}

type Start = Box<dyn FnOnce() + Send>;

/// The thread that starts every child. A child dies with the thread that started it (that is how Linux counts), so that
/// thread must be one that lives as long as the process.
fn starter() -> &'static mpsc::Sender<Start> {
    static STARTER: OnceLock<mpsc::Sender<Start>> = OnceLock::new();
    STARTER.get_or_init(|| {
        let (tx, rx) = mpsc::channel::<Start>();
        std::thread::Builder::new()
            .name("ffmpeg-starter".to_owned())
            .spawn(move || {
                for start in rx {
                    start();
                }
            })
            .expect("a thread can be started at the first use of ffmpeg");
        tx
    })
}

/// Spawns a command on the starter's thread. `held`: descriptors that are the child's alone from then on. `within`: the
/// control group that it enters by itself.
pub(super) async fn start(
    mut command: std::process::Command,
    held: [Option<OwnedFd>; 2],
    within: Option<RunGroup>,
) -> io::Result<(std::process::Child, Kill)> {
    let (tx, rx) = oneshot::channel();
    starter()
        .send(Box::new(move || {
            let child = command.spawn().map(|child| {
                let group = Group {
                    pid: Pid::from_child(&child),
                    reaped: Mutex::new(false),
                    held: Mutex::new(within),
                };
                (child, Kill(Arc::new(group)))
            });
            drop(held);
            if let Err(Ok((_, group))) = tx.send(child) {
                // Nobody waits any more.
                group.0.kill();
                let _ = group.0.reap();
            }
        }))
        .expect("the starter lives as long as the process");
    rx.await.expect("the starter answers every request")
}
