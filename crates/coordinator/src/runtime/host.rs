//! A make-believe process: the tasks of one coordinator, which stand still together and die together.
//!
//! All hosts of a run share one thread, one tokio runtime and its clock, which stands still while anybody computes. A task
//! belongs to the host whose task started it. A host can be stopped between any two polls of its tasks, not only where
//! time passes.

use openraft::AsyncRuntime;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::task::JoinHandle;

/// What a host takes from the world around it.
pub trait World: Send + Sync {
    /// Milliseconds since 1970, as its wall clock has it.
    fn wall_ms(&self) -> u64;
    /// Any number.
    fn draw(&self) -> u64;
    /// A task of the host has panicked, or its fuse has burnt down and it stands still.
    fn tell(&self, what: News);
}

/// What a host tells its world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// See [`Host::light`].
    Stopped,
    /// What was said is with the panic hook.
    Panicked,
}

thread_local! {
    static HERE: RefCell<Option<Arc<Host>>> = const { RefCell::new(None) };
}

/// See the module.
pub struct Host {
    world: Box<dyn World>,
    tasks: Mutex<Tasks>,
}

#[derive(Default)]
struct Tasks {
    dead: bool,
    stopped: bool,
    /// Polls until it stops by itself.
    fuse: Option<u32>,
    next: u64,
    /// Who waits to be polled, by number, so that the order of waking is always the same.
    wakers: BTreeMap<u64, Option<Waker>>,
}

enum Turn {
    Go,
    Wait,
    Never,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

impl Host {
    /// A process that runs.
    pub fn new(world: impl World + 'static) -> Arc<Self> {
        Arc::new(Self {
            world: Box::new(world),
            tasks: Mutex::default(),
        })
    }

    /// Starts a task on it.
    pub fn spawn<F>(self: &Arc<Self>, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        tokio::spawn(Hosted::on(Some(self.clone()), future))
    }

    /// It stands still, as under SIGSTOP. Time goes on.
    pub fn stop(&self) {
        self.tasks().stopped = true;
    }

    /// It stands still after so many more polls of its tasks; `None`: not any more.
    pub fn light(&self, polls: Option<u32>) {
        self.tasks().fuse = polls;
    }

    /// It goes on as if nothing had been.
    pub fn go_on(&self) {
        self.tasks().stopped = false;
        self.wake();
    }

    /// It is gone, as under SIGKILL: no task of it is ever polled again.
    pub fn kill(&self) {
        self.tasks().dead = true;
        self.wake();
    }

    /// Neither dead nor stopped.
    pub fn runs(&self) -> bool {
        let tasks = self.tasks();
        !tasks.dead && !tasks.stopped
    }

    fn wake(&self) {
        let wakers: Vec<Waker> = self.tasks().wakers.values().flatten().cloned().collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock().expect("nothing panics with it")
    }

    fn enrol(&self) -> u64 {
        let mut tasks = self.tasks();
        tasks.next += 1;
        let number = tasks.next;
        tasks.wakers.insert(number, None);
        number
    }

    /// Whether a task may be polled now.
    fn turn(&self, number: u64, waker: &Waker) -> Turn {
        let mut tasks = self.tasks();
        if tasks.dead {
            return Turn::Never;
        }
        if let Some(known) = tasks.wakers.get_mut(&number)
            && known.as_ref().is_none_or(|known| !known.will_wake(waker))
        {
            *known = Some(waker.clone());
        }
        if tasks.stopped {
            return Turn::Wait;
        }
        match tasks.fuse {
            None => {}
            Some(0) => {
                tasks.fuse = None;
                tasks.stopped = true;
                drop(tasks);
                self.world.tell(News::Stopped);
                return Turn::Wait;
            }
            Some(polls) => tasks.fuse = Some(polls - 1),
        }
        Turn::Go
    }
}

/// While it lives, the thread runs a task of this host.
struct Entered(Option<Arc<Host>>);

impl Entered {
    fn new(host: Option<Arc<Host>>) -> Self {
        Self(HERE.replace(host))
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        HERE.set(self.0.take());
    }
}

/// Whether a task of some host runs now.
pub fn is_here() -> bool {
    HERE.with_borrow(Option::is_some)
}

/// The wall clock of the host whose task runs now.
pub fn wall_ms() -> Option<u64> {
    HERE.with_borrow(|host| host.as_ref().map(|host| host.world.wall_ms()))
}

/// A number from the world of the host whose task runs now; elsewhere from the system.
pub fn draw() -> u64 {
    let drawn = HERE.with_borrow(|host| host.as_ref().map(|host| host.world.draw()));
    drawn.unwrap_or_else(|| rand::RngCore::next_u64(&mut rand::thread_rng()))
}

/// A task, and the host it belongs to.
pub struct Hosted<F> {
    host: Option<(Arc<Host>, u64)>,
    /// `None`: it has ended, or its host is dead.
    future: Option<Pin<Box<F>>>,
}

impl<F: Future> Hosted<F> {
    /// A task of the host whose task runs now, where there is one.
    pub fn here(future: F) -> Self {
        Self::on(HERE.with_borrow(Clone::clone), future)
    }

    fn on(host: Option<Arc<Host>>, future: F) -> Self {
        let host = host.map(|host| {
            let number = host.enrol();
            (host, number)
        });
        Self {
            host,
            future: Some(Box::pin(future)),
        }
    }
}

impl<F: Future> Future for Hosted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let host = match &this.host {
            None => None,
            Some((host, number)) => match host.turn(*number, cx.waker()) {
                Turn::Go => Some(host.clone()),
                Turn::Wait => return Poll::Pending,
                Turn::Never => {
                    // What it held to speak with others closes; what it would have done at its end is not done.
                    let _nowhere = Entered::new(None);
                    this.future = None;
                    return Poll::Pending;
                }
            },
        };
        let Some(future) = &mut this.future else {
            return Poll::Pending;
        };
        let Some(host) = host else {
            return future.as_mut().poll(cx);
        };
        let entered = Entered::new(Some(host.clone()));
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
        drop(entered);
        match polled {
            Ok(Poll::Ready(done)) => {
                this.future = None;
                Poll::Ready(done)
            }
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => {
                host.world.tell(News::Panicked);
                resume_unwind(panic)
            }
        }
    }
}

impl<F> Drop for Hosted<F> {
    fn drop(&mut self) {
        if let Some((host, number)) = &self.host {
            host.tasks().wakers.remove(number);
        }
    }
}

/// tokio, with tasks that belong to hosts and chance from their world.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Runtime;

type Tokio = openraft::TokioRuntime;

impl AsyncRuntime for Runtime {
    type JoinError = <Tokio as AsyncRuntime>::JoinError;
    type JoinHandle<T: openraft::OptionalSend + 'static> = JoinHandle<T>;
    type Sleep = tokio::time::Sleep;
    type Instant = openraft::TokioInstant;
    type TimeoutError = <Tokio as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + openraft::OptionalSend> = tokio::time::Timeout<T>;
    type ThreadLocalRng = Chance;
    type OneshotSender<T: openraft::OptionalSend> = <Tokio as AsyncRuntime>::OneshotSender<T>;
    type OneshotReceiver<T: openraft::OptionalSend> = <Tokio as AsyncRuntime>::OneshotReceiver<T>;
    type OneshotReceiverError = <Tokio as AsyncRuntime>::OneshotReceiverError;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + openraft::OptionalSend + 'static,
        T::Output: openraft::OptionalSend + 'static,
    {
        super::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        tokio::time::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        tokio::time::sleep_until(deadline)
    }

    fn timeout<R, F: Future<Output = R> + openraft::OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        tokio::time::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + openraft::OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        tokio::time::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        join_error.is_panic()
    }

    fn thread_rng() -> Chance {
        Chance
    }

    fn oneshot<T>() -> (Self::OneshotSender<T>, Self::OneshotReceiver<T>)
    where
        T: openraft::OptionalSend,
    {
        Tokio::oneshot()
    }
}

/// [`draw`] as openraft wants it.
#[derive(Clone, Copy, Debug)]
pub struct Chance;

impl rand::RngCore for Chance {
    fn next_u32(&mut self) -> u32 {
        draw() as u32
    }

    fn next_u64(&mut self) -> u64 {
        draw()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = draw().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}
