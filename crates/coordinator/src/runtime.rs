//! Tasks, clocks and chance: the one place where this crate takes them from.
//!
//! They are tokio's and the system's. With the feature `simulated` several coordinators live in one thread, each as a
//! [`host::Host`] that can be stopped and killed like a process; whatever runs on none of them is as without the feature.

#[cfg(feature = "simulated")]
pub mod host;

use recode_types::JobId;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::time::Instant;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};

/// What openraft runs on.
#[cfg(not(feature = "simulated"))]
pub type Runtime = openraft::TokioRuntime;
#[cfg(feature = "simulated")]
pub use host::Runtime;

/// Runs a task beside the caller.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(task(future))
}

/// What is put into a `JoinSet` or a tracker of tasks, so that it belongs to the same coordinator as the caller.
#[cfg(not(feature = "simulated"))]
pub fn task<F: Future>(future: F) -> F {
    future
}

/// As above.
#[cfg(feature = "simulated")]
pub fn task<F: Future>(future: F) -> host::Hosted<F> {
    host::Hosted::here(future)
}

/// Runs what would keep other tasks waiting.
/// # Errors
/// It has panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    #[cfg(feature = "simulated")]
    if host::is_here() {
        // Time stands still while a simulated coordinator computes.
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await
}

/// How much less of a busy processor [`behind`] gets than the rest: a nice value, so about a tenth.
const BEHIND: i32 = 10;

/// Runs long work that nobody waits for in a thread of its own, which lets others go first.
/// # Errors
/// There is no room for a thread, or it has panicked.
pub async fn behind<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<T> {
    #[cfg(feature = "simulated")]
    if host::is_here() {
        return Ok(work());
    }
    let (tell, told) = oneshot::channel();
    // Who asked may be gone.
    thread_behind(move || drop(tell.send(work())))?;
    let panicked = || std::io::Error::other("work behind the others has panicked");
    told.await.map_err(|_| panicked())
}

/// As [`behind`], for whoever is no task, and never of a simulated coordinator.
/// # Errors
/// There is no room for a thread.
pub fn thread_behind<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<T>> {
    std::thread::Builder::new()
        .name("behind".into())
        .spawn(move || {
            // Of this thread alone, on Linux. A system that refuses keeps it as it is.
            let _ = rustix::process::setpriority_process(None, BEHIND);
            work()
        })
}

/// For the midst of long work: whoever runs, in a thread however unimportant, is not interrupted before its slice of some
/// milliseconds is over, and a commit passes through a dozen threads.
pub fn others_first() {
    std::thread::yield_now();
}

/// What is read while others go first.
#[derive(Debug)]
pub struct Polite<R>(pub R);

/// Bytes that take some tens of microseconds.
const POLITE: usize = 64 << 10;

impl<R: Read> Read for Polite<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        others_first();
        let most = into.len().min(POLITE);
        self.0.read(&mut into[..most])
    }
}

/// The monotonic clock that timers follow.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Milliseconds since 1970 by the wall clock, which may be wrong and jump.
pub fn wall_ms() -> u64 {
    #[cfg(feature = "simulated")]
    if let Some(wall) = host::wall_ms() {
        return wall;
    }
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as u64)
}

/// Chance: evenly in `0.0..1.0`.
pub fn fraction() -> f64 {
    let part = |bits: u64| (bits >> 11) as f64 / (1u64 << 53) as f64;
    #[cfg(feature = "simulated")]
    if host::is_here() {
        return part(host::draw());
    }
    // The standard library seeds its hashers from the system's random source, which is all we need.
    part(RandomState::new().hash_one(now()))
}

/// A number for a new Job, like no other.
pub fn new_job() -> JobId {
    #[cfg(feature = "simulated")]
    if let Some(wall) = host::wall_ms() {
        let chance = host::draw();
        return JobId(u128::from(wall) << 64 | u128::from(chance));
    }
    JobId::generate()
}
