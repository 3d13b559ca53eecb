//! Running FFmpeg: one child process as a typed stream of progress, with its end explained.
//!
//! Promises: the child and everything it started are gone when its [`Child`] is dropped, when it hangs, and within
//! moments when this process dies, however it dies. Bounded memory whatever the child prints. Knows nothing of what the
//! arguments mean.

use crate::memory;
use crate::parse::progress::{Progress, Reader};
use crate::sandbox::{self, Limits, NotBegun, Prepared};
use crate::toolchain::Ffmpeg;
use recode_sandbox::Profile;
use recode_sandbox::cgroup::{self, RunGroup};
use recode_types::Engine;
use recode_types::task::{Failure, FailureClass};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};

mod brake;
mod cards;
mod device;
mod failure;
mod process;
mod watchdog;

pub use brake::Brake;
pub use device::{Trouble, trouble};
pub use failure::classify;
pub(crate) use failure::without_prefix;
use process::{End, Kill, start};
use watchdog::Watchdog;

/// Lines of stderr that are kept.
const TAIL_LINES: usize = 100;
/// Bytes of one line of stderr that are kept.
const LINE_BYTES: usize = 2_000;

/// No run that anyone waits for takes longer, and no slot is to be lost for ever.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// Arguments. What `run` needs itself (`-progress`, `-nostdin`, `-hide_banner`) is put before them.
    pub args: Vec<OsString>,
    /// Stdin is a pipe that the caller writes into.
    pub stdin: bool,
    /// Stdout is a pipe that the caller reads.
    pub stdout: bool,
    /// Files and folders it reads; in the sandbox it can read no others.
    pub reads: Vec<PathBuf>,
    /// Files it writes, and folders in which it makes files; in the sandbox it can write no others.
    pub writes: Vec<PathBuf>,
    /// Devices it uses; in the sandbox it can open no others.
    pub devices: Vec<PathBuf>,
    /// Resource limits.
    pub limits: Limits,
    /// Working directory.
    pub directory: Option<PathBuf>,
    /// Killed when it has shown no progress for this long, or for ten times its usual step where that is longer.
    pub patience: Duration,
    /// Killed when it has run this long.
    pub wall: Option<Duration>,
    /// Memory that it is likely to need at most, in bytes; see [`crate::memory`].
    pub need_bytes: u64,
    /// Keep the first bytes of stderr up to this length as well; see [`Finished::stderr`].
    pub stderr_bytes: usize,
    /// Others go first where the processor is busy.
    pub behind: bool,
}

impl Invocation {
    /// With no file, no pipe but stderr, default limits, the usual patience of 30 s, and a week.
    pub fn new(args: Vec<OsString>) -> Self {
        Self {
            args,
            stdin: false,
            stdout: false,
            reads: Vec::new(),
            writes: Vec::new(),
            devices: Vec::new(),
            limits: Limits::default(),
            directory: None,
            patience: Duration::from_secs(30),
            wall: Some(LONGEST),
            need_bytes: crate::memory::UNKNOWN,
            stderr_bytes: 0,
            behind: false,
        }
    }

    /// It reads this file, or files of this folder.
    pub fn reading(mut self, path: impl Into<PathBuf>) -> Self {
        self.reads.push(path.into());
        self
    }

    /// It writes this file, or files of this folder, and may read them.
    pub fn writing(mut self, path: impl Into<PathBuf>) -> Self {
        self.writes.push(path.into());
        self
    }

    /// It works on the cards that this machine has for these engines.
    pub fn on_cards(mut self, engines: impl IntoIterator<Item = Engine>) -> Self {
        self.devices.extend(cards::devices(engines));
        self
    }

    /// The caller will write into stdin.
    pub fn with_stdin(mut self) -> Self {
        self.stdin = true;
        self
    }

    /// The caller will read stdout.
    pub fn with_stdout(mut self) -> Self {
        self.stdout = true;
        self
    }

    /// Keeps the first bytes of stderr, for parsing.
    pub fn with_stderr(mut self, bytes: usize) -> Self {
        self.stderr_bytes = bytes;
        self
    }
}

/// What a child process used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChildUsage {
    /// User and system time.
    pub cpu: Duration,
    /// From start to end.
    pub wall: Duration,
    /// Peak resident set in bytes.
    pub peak_rss_bytes: u64,
}

/// A run that ended well.
#[derive(Clone, Debug)]
pub struct Finished {
    /// What it used.
    pub usage: ChildUsage,
    /// The last report.
    pub progress: Progress,
    /// Last lines of stderr.
    pub stderr_tail: String,
    /// First bytes of stderr, as many as [`Invocation::stderr_bytes`] asked for.
    pub stderr: String,
}

/// A run that did not.
#[derive(Debug, thiserror::Error)]
#[error("{}", failure.message)]
pub struct Error {
    /// Class, sentence and the last lines of stderr.
    pub failure: Failure,
    /// The argument list.
    pub args: Vec<OsString>,
    /// How the process ended, where it ran at all.
    pub status: Option<ExitStatus>,
    /// What it used.
    pub usage: ChildUsage,
    /// First bytes of stderr, as many as [`Invocation::stderr_bytes`] asked for.
    pub stderr: String,
}

/// A running FFmpeg.
/// # Cancel safety
/// Dropping it, or the future of [`Child::wait`], kills the process group at once.
#[derive(Debug)]
pub struct Child {
    /// Where to write, when asked for. Close it to end the input.
    pub stdin: Option<ChildStdin>,
    /// What to read, when asked for. Read it while waiting, or the child stalls.
    pub stdout: Option<ChildStdout>,
    stderr: ChildStderr,
    progress: tokio::net::unix::pipe::Receiver,
    end: tokio::task::JoinHandle<std::io::Result<End>>,
    group: Kill,
    /// FFmpeg itself; in a PID namespace its helper leads the group.
    pid: rustix::process::Pid,
    started: Instant,
    args: Vec<OsString>,
    patience: Duration,
    wall: Option<Duration>,
    /// It has the larger class of memory.
    is_larger: bool,
    stderr_bytes: usize,
    brake: Brake,
}

/// Starts FFmpeg, in its sandbox.
/// # Errors
/// It cannot be started: the executable is gone, the system is out of processes or descriptors, or the sandbox cannot be
/// made.
/// # Cancel safety
/// Dropping the future kills what was started.
pub async fn spawn(ffmpeg: &Ffmpeg, invocation: Invocation) -> Result<Child, Error> {
    let Invocation {
        args,
        stdin,
        stdout,
        reads,
        writes,
        devices,
        limits,
        directory,
        patience,
        wall,
        need_bytes,
        stderr_bytes,
        behind,
    } = invocation;
    let with = |failure| Error {
        failure,
        args: args.clone(),
        status: None,
        usage: ChildUsage::default(),
        stderr: String::new(),
    };
    let refused = |e: &std::io::Error| with(failure::not_started(&ffmpeg.path, e));
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|e| refused(&e.into()))?;
    let within = confine(ffmpeg, need_bytes, &writes).await;
    let within = within.map_err(|e| with(failure::not_confined(&e)))?;
    let profile = Profile {
        reads,
        writes,
        devices,
        limits,
        ..Profile::default()
    };
    let mut prepared = sandbox::prepare(
        &ffmpeg.sandbox,
        &ffmpeg.path,
        profile,
        Some(&write),
        within.as_ref(),
    )
    .map_err(|e| refused(&e))?;
    if behind {
        prepared.behind();
    }
    let Prepared {
        mut command,
        tells,
        told,
    } = prepared;
    command.arg("-hide_banner");
    if !stdin {
        command.arg("-nostdin");
    }
    command
        .args(["-nostats", "-progress"])
        .arg(format!("pipe:{}", write.as_raw_fd()))
        .args(&args)
        .stdin(if stdin { Stdio::piped() } else { Stdio::null() })
        .stdout(if stdout {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stderr(Stdio::piped());
    if let Some(directory) = &directory {
        command.current_dir(directory);
    }
    tracing::debug!(args = ?command.get_args().collect::<Vec<_>>(), "starting ffmpeg");
    let (mut child, group) = start(command, [Some(write), tells], within)
        .await
        .map_err(|e| refused(&e))?;
    let reaper = group.0.clone();
    let end = tokio::task::spawn_blocking(move || reaper.reap());
    let pid = match told {
        None => group.0.pid,
        Some(told) => {
            let words = listen(told).await.map_err(|e| refused(&e))?;
            match sandbox::began(&words) {
                Ok(pid) => pid
                    .and_then(|pid| rustix::process::Pid::from_raw(pid.try_into().ok()?))
                    .unwrap_or(group.0.pid),
                Err(NotBegun::Exec(e)) => return Err(refused(&e)),
                Err(NotBegun::Refused(why)) => return Err(with(failure::not_confined(&why))),
            }
        }
    };
    let stdin = child.stdin.take().map(ChildStdin::from_std).transpose();
    let stdout = child.stdout.take().map(ChildStdout::from_std).transpose();
    let stderr = ChildStderr::from_std(child.stderr.take().expect("stderr is a pipe"));
    let progress = tokio::net::unix::pipe::Receiver::from_owned_fd(read);
    let brake = Brake::on(group.0.clone());
    let stdin = stdin.map_err(|e| refused(&e))?;
    let stdout = stdout.map_err(|e| refused(&e))?;
    let stderr = stderr.map_err(|e| refused(&e))?;
    let progress = progress.map_err(|e| refused(&e))?;
    Ok(Child {
        stdin,
        stdout,
        stderr,
        progress,
        end,
        group,
        pid,
        started: Instant::now(),
        args,
        patience,
        wall,
        is_larger: ffmpeg.allowance.is_larger(),
        stderr_bytes,
        brake,
    })
}

/// A control group for a run, where there are any.
/// # Errors
/// Why there is none, as a part of a sentence.
async fn confine(
    ffmpeg: &Ffmpeg,
    need_bytes: u64,
    writes: &[PathBuf],
) -> Result<Option<RunGroup>, String> {
    let memory_bytes = ffmpeg
        .allowance
        .limit(need_bytes)
        .saturating_add(memory::of_files(writes));
    let limits = cgroup::Limits {
        memory_bytes,
        tasks: memory::tasks(),
    };
    let groups = ffmpeg.groups.clone();
    // The kernel may make one wait while others move.
    let made = tokio::task::spawn_blocking(move || groups.make(limits)).await;
    let made = made
        .map_err(std::io::Error::other)
        .and_then(std::convert::identity);
    made.map_err(|e| format!("its control group: {e}"))
}

/// Everything the helper says before its program begins.
async fn listen(told: OwnedFd) -> std::io::Result<String> {
    let mut words = String::new();
    let mut told = tokio::net::unix::pipe::Receiver::from_owned_fd(told)?;
    told.read_to_string(&mut words).await?;
    Ok(words)
}

impl Child {
    /// FFmpeg's process number, for tests and logs.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// For whoever has to let it stand still.
    pub fn brake(&self) -> Brake {
        self.brake.clone()
    }

    /// Waits for the end. `on_progress` sees every report.
    /// # Errors
    /// [`Error`] with its class: it ended badly, hung, or ran too long.
    pub async fn wait(self, mut on_progress: impl FnMut(Progress)) -> Result<Finished, Error> {
        let Self {
            stdin,
            stdout,
            stderr,
            progress,
            mut end,
            group,
            pid,
            started,
            args,
            patience,
            wall,
            is_larger,
            stderr_bytes,
            brake,
        } = self;
        // Unless the caller took them, nobody will use these: an open pipe would keep the child waiting.
        drop((stdin, stdout));
        let last = Mutex::new(Progress::default());
        let steps = AtomicU64::new(0);
        let lines = Mutex::new(Lines::new(stderr_bytes));
        let read_progress = async {
            let mut reader = Reader::default();
            let mut input = BufReader::new(progress).lines();
            while let Ok(Some(line)) = input.next_line().await {
                if let Some(report) = reader.line(&line) {
                    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                    if (report.frames, report.bytes, report.time)
                        != (last.frames, last.bytes, last.time)
                    {
                        steps.fetch_add(1, Ordering::Relaxed);
                    }
                    *last = report;
                    on_progress(report);
                }
            }
        };
        let read_stderr = async {
            let mut input = BufReader::new(stderr);
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(n @ 1..) = input.read(&mut buffer).await {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                lines.push(&buffer[..n]);
            }
        };
        let pumps = async { tokio::join!(read_progress, read_stderr) };
        tokio::pin!(pumps);
        let mut pumped = false;
        let mut watchdog = Watchdog::new(pid, patience, wall);
        let mut tick = tokio::time::interval(watchdog.period());
        let mut stopped: Option<Failure> = None;
        let ended = loop {
            tokio::select! {
                ended = &mut end => break ended,
                _ = &mut pumps, if !pumped => pumped = true,
                _ = tick.tick(), if stopped.is_none() => {
                    let steps = steps.load(Ordering::Relaxed) + brake.looks();
                    stopped = watchdog.check(started.elapsed(), steps);
                    if stopped.is_some() {
                        group.0.kill();
                    }
                }
            }
        };
        if !pumped {
            // Everything is in the pipes already, unless someone inherited them: then it is not worth waiting for.
            let _ = tokio::time::timeout(Duration::from_secs(1), &mut pumps).await;
        }
        drop(group);
        let ended = ended
            .map_err(std::io::Error::other)
            .and_then(std::convert::identity);
        let lines = std::mem::take(&mut *lines.lock().unwrap_or_else(PoisonError::into_inner));
        let (stderr_tail, stderr) = lines.finish();
        let failed = |failure, status, usage, stderr| Error {
            failure,
            args,
            status,
            usage,
            stderr,
        };
        let End {
            status,
            mut usage,
            shortage,
        } = match ended {
            Ok(end) => end,
            Err(e) => {
                return Err(failed(
                    failure::lost(&e),
                    None,
                    ChildUsage::default(),
                    stderr,
                ));
            }
        };
        usage.wall = started.elapsed();
        if let Some(mut failure) = stopped {
            failure.stderr_tail = Some(stderr_tail);
            return Err(failed(failure, Some(status), usage, stderr));
        }
        // FFmpeg 5 ends with success where the last bytes found no room.
        if !status.success() || failure::tells_full(&stderr_tail) {
            let mut failure = classify(status, &stderr_tail);
            if let Some(shortage) = shortage {
                failure::explain(&mut failure, shortage, is_larger);
            }
            return Err(failed(failure, Some(status), usage, stderr));
        }
        let progress = *last.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Finished {
            usage,
            progress,
            stderr_tail,
            stderr,
        })
    }

    /// Waits for the end while handing every line of stdout to `on_line`; the invocation must have asked for stdout.
    /// # Errors
    /// As [`Child::wait`].
    /// # Panics
    /// When stdout is not a pipe, or was taken.
    pub async fn wait_lines(
        mut self,
        mut on_line: impl FnMut(&str),
        on_progress: impl FnMut(Progress),
    ) -> Result<Finished, Error> {
        let stdout = self.stdout.take().expect("stdout was asked for");
        let read = async {
            let mut lines = BufReader::with_capacity(64 * 1024, stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                on_line(&line);
            }
        };
        let (finished, ()) = tokio::join!(self.wait(on_progress), read);
        finished
    }
}

/// Runs to the end and forgets progress.
/// # Errors
/// As [`spawn`] and [`Child::wait`].
pub async fn run(ffmpeg: &Ffmpeg, invocation: Invocation) -> Result<Finished, Error> {
    spawn(ffmpeg, invocation).await?.wait(|_| {}).await
}

/// Bounded memory of what was printed.
#[derive(Default)]
struct Lines {
    first: Vec<u8>,
    first_bytes: usize,
    open: Vec<u8>,
    tail: VecDeque<String>,
}

impl Lines {
    fn new(first_bytes: usize) -> Self {
        Self {
            first_bytes,
            ..Self::default()
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        let room = self.first_bytes - self.first.len();
        self.first
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
        for &byte in bytes {
            if byte == b'\n' || byte == b'\r' {
                self.close();
            } else if self.open.len() < LINE_BYTES {
                self.open.push(byte);
            }
        }
    }

    fn close(&mut self) {
        if self.open.is_empty() {
            return;
        }
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail
            .push_back(String::from_utf8_lossy(&self.open).into_owned());
        self.open.clear();
    }

    fn finish(mut self) -> (String, String) {
        self.close();
        let tail: Vec<String> = self.tail.into();
        (
            tail.join("\n"),
            String::from_utf8_lossy(&self.first).into_owned(),
        )
    }
}

/// The failure of a run that could not be told apart otherwise.
fn plain(class: FailureClass, message: String) -> Failure {
    Failure {
        class,
        message,
        stderr_tail: None,
    }
}

#[cfg(test)]
mod tests;
