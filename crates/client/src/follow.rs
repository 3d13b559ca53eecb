//! Submitting a Job and staying with it until it ends.

use crate::bars::{self, Bars};
use crate::fault::{Fault, Kind};
use crate::progress::Model;
use crate::remote::{about, detached, fault};
use crate::waits::Waits;
use recode_client::{Client, End, Watched};
use recode_types::report::JobReport;
use recode_types::{CommandRequest, EventKind, JobId, JobRequest};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often the bars are drawn while nothing is heard.
const REDRAW: Duration = Duration::from_millis(500);

/// After this long without a word of a Job that runs, somebody is asked.
const SILENCE: Duration = Duration::from_secs(3);

/// How long coordinators that have answered before are waited for.
const LONG_PATIENCE: Duration = Duration::from_secs(120);

/// A Job that was followed to its end.
pub struct Followed {
    /// How it ended.
    pub end: End,
    /// What it did.
    pub report: JobReport,
}

/// Ctrl-C and its relatives. A second one ends the process at once.
pub struct Interrupt {
    int: Signal,
    term: Signal,
}

impl Interrupt {
    /// Listens from now on.
    /// # Errors
    /// [`Kind::Environment`].
    pub fn listen() -> Result<Self, Fault> {
        let listen = |kind| {
            signal(kind).map_err(|e| Fault::environment(format!("signals cannot be heard ({e})")))
        };
        Ok(Self {
            int: listen(SignalKind::interrupt())?,
            term: listen(SignalKind::terminate())?,
        })
    }

    /// Waits for the first one.
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn heard(&mut self) {
        tokio::select! {
            _ = self.int.recv() => {}
            _ = self.term.recv() => {}
        }
    }

    /// From now on the next one ends the process at once.
    pub fn end_on_next(mut self) {
        tokio::spawn(async move {
            self.heard().await;
            std::process::exit(Kind::Interrupted.code().into());
        });
    }
}

/// Submits `request` and follows the Job until it has ended.
/// # Errors
/// The coordinator does not answer or refuses the request. A Job that failed is no error here.
pub async fn run(
    client: &Client,
    request_id: &str,
    request: &JobRequest,
    quiet: bool,
) -> Result<Followed, Fault> {
    let job = client.submit(request_id, request).await.map_err(fault)?;
    to_the_end(client, job, quiet, None).await
}

/// As [`run`], of a command job.
/// # Errors
/// As [`run`].
pub async fn run_command(
    client: &Client,
    request_id: &str,
    request: &CommandRequest,
    quiet: bool,
) -> Result<Followed, Fault> {
    let submitted = client.submit_command(request_id, request).await;
    to_the_end(client, submitted.map_err(fault)?, quiet, None).await
}

/// Follows a Job of a cluster until it has ended or Ctrl-C is heard, which leaves it alone.
/// # Errors
/// As [`run`]; where the Job goes on, they say how to come back.
pub async fn until_interrupted(
    client: &Client,
    job: JobId,
    endpoint: &str,
    quiet: bool,
    interrupt: &mut Interrupt,
) -> Result<Followed, Fault> {
    let following = async {
        // Whoever is not there at all is told so soon; who has answered once is waited for longer.
        client.get(job).await.map_err(about(job))?;
        let patient = client.clone().patience(LONG_PATIENCE);
        let waits = Waits::new(client.clone(), job);
        to_the_end(&patient, job, quiet, Some(waits)).await
    };
    let followed = tokio::select! {
        followed = following => followed,
        () = interrupt.heard() => Err(Fault::new(Kind::Interrupted, detached(job, endpoint))),
    };
    followed.map_err(|mut fault| {
        if fault.kind == Kind::Environment {
            fault.message += &format!("; {}", detached(job, endpoint));
        }
        fault
    })
}

/// Follows a Job that exists. `waits` says what it waits for, where nothing of it runs for a while.
async fn to_the_end(
    client: &Client,
    job: JobId,
    quiet: bool,
    mut waits: Option<Waits>,
) -> Result<Followed, Fault> {
    let mut tick = tokio::time::interval(REDRAW);
    let screen = RefCell::new(Screen::new(quiet));
    let end = {
        let follow = client.follow(job, |watched| screen.borrow_mut().see(watched));
        tokio::pin!(follow);
        loop {
            tokio::select! {
                end = &mut follow => break end.map_err(fault)?,
                _ = tick.tick(), if !quiet => {
                    let mut screen = screen.borrow_mut();
                    screen.draw();
                    let now = Instant::now();
                    let silent = screen.model.is_idle() || now - screen.heard >= SILENCE;
                    if let Some(said) = waits.as_mut().and_then(|waits| waits.look(silent, now)) {
                        bars::line(&format!("recode-client: {said}"));
                    }
                }
            }
        }
    };
    drop(screen);
    let report = client.report(job).await.map_err(fault)?;
    Ok(Followed { end, report })
}

/// What people see while a Job runs: bars on a terminal, warnings once.
struct Screen {
    bars: Option<Bars>,
    model: Model,
    since: Instant,
    /// When something was heard last.
    heard: Instant,
    quiet: bool,
    said: BTreeSet<String>,
}

impl Screen {
    fn new(quiet: bool) -> Self {
        Self {
            bars: Bars::new(quiet),
            model: Model::default(),
            since: Instant::now(),
            heard: Instant::now(),
            quiet,
            said: BTreeSet::new(),
        }
    }

    fn see(&mut self, watched: &Watched) {
        self.heard = Instant::now();
        match watched {
            Watched::Progress(progress) => {
                let now_ms = self.since.elapsed().as_millis() as u64;
                self.model.progress(progress, now_ms);
            }
            Watched::Event(event) => {
                self.model.event(event);
                tracing::debug!(index = event.index, event = ?event.kind, "event");
                match &event.kind {
                    EventKind::Planned { warnings, .. } => {
                        warnings.iter().for_each(|text| self.warn(text));
                    }
                    EventKind::Warning { text } => self.warn(text),
                    EventKind::AttemptFailed {
                        task,
                        attempt,
                        message,
                        retried: true,
                        ..
                    } => {
                        tracing::warn!(%task, attempt, "{message}; it is tried again");
                    }
                    EventKind::Replanning { reason } => {
                        tracing::info!(
                            "the source is looked at again by decoding all of it: {reason}"
                        );
                    }
                    EventKind::Reopened { chunks, reason } => {
                        tracing::info!("{chunks} chunks are encoded again: {reason}");
                    }
                    _ => {}
                }
            }
        }
        self.draw();
    }

    fn warn(&mut self, text: &str) {
        if !self.quiet && self.said.insert(text.to_owned()) {
            bars::line(&format!("recode-client: warning: {text}"));
        }
    }

    fn draw(&mut self) {
        if let Some(bars) = &mut self.bars {
            bars.show(&self.model);
        }
    }
}
