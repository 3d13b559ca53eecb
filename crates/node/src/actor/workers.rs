//! The Attempts a node holds. Owned by the reporter; every one is a task of one `JoinSet`, so none outlives the node.

use crate::leaving::judge::{self, Paces, Standing};
use crate::peer::Neighbours;
use crate::proof::Meter;
use crate::run::{self, AttemptProgress, Context, GivenBack};
use crate::slots::Slots;
use recode_types::event;
use recode_types::task::{AttemptOutcome, Failure, FailureClass, Grant, Usage, Work};
use recode_types::{AttemptToken, NodeLoad, Offer, PeerTraffic};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// How an Attempt ended, if it came to an end.
pub type Ended = Result<AttemptOutcome, GivenBack>;

struct Running {
    abort: AbortHandle,
    progress: watch::Receiver<AttemptProgress>,
    frames_total: u64,
    heavy: bool,
    began: Arc<OnceLock<Instant>>,
}

/// See the module.
pub struct Workers {
    context: Arc<Context>,
    slots: Slots,
    tasks: JoinSet<(AttemptToken, Ended)>,
    running: BTreeMap<AttemptToken, Running>,
    paces: Paces,
    offer: Option<watch::Receiver<Offer>>,
    meter: Option<Meter>,
}

impl Workers {
    /// Holds nothing yet.
    pub fn new(context: Arc<Context>, slots: Slots) -> Self {
        Self {
            offer: context.proofs.watch(),
            context,
            slots,
            tasks: JoinSet::new(),
            running: BTreeMap::new(),
            paces: Paces::default(),
            meter: None,
        }
    }

    /// Says how busy the machine is.
    pub fn with_meter(mut self, meter: Option<Meter>) -> Self {
        self.meter = meter;
        self
    }

    /// Whether what is offered has changed since [`Workers::offer`] said it.
    pub fn offers_other(&self) -> bool {
        let offer = self.offer.as_ref();
        offer.is_some_and(|offer| offer.has_changed().unwrap_or(false))
    }

    /// What is offered, where that has changed or `all` is to be said.
    pub fn offer(&mut self, all: bool) -> Option<Offer> {
        let changed = self.offers_other();
        let offer = self.offer.as_mut()?;
        (all || changed).then(|| offer.borrow_and_update().clone())
    }

    /// How busy the machine is, where that was not said a moment ago.
    pub fn load(&mut self) -> Option<NodeLoad> {
        self.meter.as_mut()?.read(Instant::now())
    }

    /// The machine is for what is held, and nothing is measured any more.
    pub fn measure_no_more(&self) {
        self.context.proofs.enough();
    }

    /// What was moved, where this node serves its site.
    pub fn traffic(&self) -> Option<PeerTraffic> {
        let neighbours = self.context.sources.neighbours();
        neighbours.map(Neighbours::traffic)
    }

    /// The nodes of the site are these.
    pub fn site_is(&self, addresses: Vec<String>) {
        if let Some(neighbours) = self.context.sources.neighbours() {
            neighbours.site_is(addresses);
        }
    }

    /// Whether this Attempt is running.
    pub fn holds(&self, token: &AttemptToken) -> bool {
        self.running.contains_key(token)
    }

    /// Starts a granted Attempt.
    pub fn start(&mut self, grant: Grant) {
        let token = AttemptToken {
            task: grant.task,
            attempt: grant.attempt,
        };
        let heavy = grant.work.is_heavy();
        let held = self.slots.hold(heavy);
        let began = held.began();
        let frames_total = match &grant.work {
            Work::Encode(work) | Work::Trial(work) => u64::from(work.segment.rows),
            _ => 0,
        };
        let (progress, follow) = watch::channel(AttemptProgress::default());
        let context = Arc::clone(&self.context);
        let span = tracing::info_span!("attempt", task = %grant.task, attempt = grant.attempt);
        let abort = self.tasks.spawn(tracing::Instrument::instrument(
            async move {
                // A panic in a worker fails its Attempt, not the node.
                let run = tokio::spawn(run::run(context, grant, held, progress));
                let guard = AbortOnDrop(run.abort_handle());
                let outcome = run.await.unwrap_or_else(|panic| Ok(crashed(&panic)));
                drop(guard);
                (token, outcome)
            },
            span,
        ));
        self.running.insert(
            token,
            Running {
                abort,
                progress: follow,
                frames_total,
                heavy,
                began,
            },
        );
    }

    /// Nothing runs.
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether scratch has room for what is granted.
    pub fn has_room(&self) -> bool {
        self.context.scratch.has_room()
    }

    /// Attempts that cannot be finished before `deadline`.
    pub fn given_up(&self, deadline: Instant, now: Instant) -> Vec<AttemptToken> {
        let held: Vec<Standing> = self
            .running
            .iter()
            .map(|(token, running)| {
                let now = *running.progress.borrow();
                Standing {
                    token: *token,
                    heavy: running.heavy,
                    frames: now.frames.saturating_sub(now.found),
                    frames_total: running.frames_total.saturating_sub(now.found),
                    began: running.began.get().copied(),
                }
            })
            .collect();
        judge::given_up(&held, &self.paces, self.slots.heavy(), deadline, now)
    }

    /// Ends an Attempt: its child processes die with it.
    pub fn revoke(&mut self, token: &AttemptToken) {
        if let Some(running) = self.running.remove(token) {
            running.abort.abort();
        }
    }

    /// The next Attempt that ended by itself.
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> (AttemptToken, Ended) {
        loop {
            match self.tasks.join_next().await {
                Some(Ok((token, outcome))) => {
                    if let Some(running) = self.running.remove(&token) {
                        let began = running.began.get().filter(|_| is_done(&outcome));
                        if let Some(began) = began {
                            let found = running.progress.borrow().found;
                            let frames = running.frames_total.saturating_sub(found);
                            self.paces.learn(&token, frames, began.elapsed());
                        }
                        return (token, outcome);
                    }
                }
                // Revoked.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// What runs, and how far it is.
    pub fn progress(&self) -> Vec<event::AttemptProgress> {
        self.running
            .iter()
            .map(|(token, running)| {
                let now = *running.progress.borrow();
                event::AttemptProgress {
                    task: token.task,
                    attempt: token.attempt,
                    frames: now.frames,
                    frames_total: running.frames_total,
                    media_us: now.media_us,
                }
            })
            .collect()
    }

    /// Ends everything and waits until it has ended.
    pub async fn stop(&mut self) {
        self.tasks.shutdown().await;
        self.running.clear();
    }
}

fn is_done(outcome: &Ended) -> bool {
    matches!(outcome, Ok(AttemptOutcome::Done { .. }))
}

struct AbortOnDrop(AbortHandle);
impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn crashed(panic: &tokio::task::JoinError) -> AttemptOutcome {
    AttemptOutcome::Failed {
        failure: Failure {
            class: FailureClass::Unknown,
            message: format!(
                "the node's own code failed ({panic}); this is a defect of recode, please report it"
            ),
            stderr_tail: None,
        },
        usage: Usage::default(),
    }
}
