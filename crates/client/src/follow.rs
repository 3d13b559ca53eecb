//! Submitting a Job and staying with it until it ends.

use crate::bars::{self, Bars};
use crate::fault::{Fault, Kind};
use crate::progress::Model;
use recode_client::{Client, End, Error, Watched};
use recode_types::report::JobReport;
use recode_types::{EventKind, JobId, JobRequest};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often the bars are drawn while nothing is heard.
const REDRAW: Duration = Duration::from_millis(500);

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

/// Submits `request` and calls back with what happens until the Job has ended.
/// # Errors
/// The coordinator does not answer or refuses the request. A Job that failed is no error here.
pub async fn run(
    client: &Client,
    request_id: &str,
    request: &JobRequest,
    quiet: bool,
    on_job: impl FnOnce(JobId),
) -> Result<Followed, Fault> {
    let job = client.submit(request_id, request).await.map_err(fault)?;
    on_job(job);
    to_the_end(client, job, quiet).await
}

/// Follows a Job that exists.
/// # Errors
/// There is none of this id, or nobody answers. A Job that failed is no error here.
pub async fn to_the_end(client: &Client, job: JobId, quiet: bool) -> Result<Followed, Fault> {
    let mut screen = Screen::new(quiet);
    let mut tick = tokio::time::interval(REDRAW);
    let end = {
        let screen = std::cell::RefCell::new(&mut screen);
        let follow = client.follow(job, |watched| screen.borrow_mut().see(watched));
        tokio::pin!(follow);
        loop {
            tokio::select! {
                end = &mut follow => break end.map_err(fault)?,
                _ = tick.tick(), if !quiet => screen.borrow_mut().draw(),
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
    quiet: bool,
    said: BTreeSet<String>,
}

impl Screen {
    fn new(quiet: bool) -> Self {
        Self {
            bars: Bars::new(quiet),
            model: Model::default(),
            since: Instant::now(),
            quiet,
            said: BTreeSet::new(),
        }
    }

    fn see(&mut self, watched: &Watched) {
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

/// A call that failed, as a fault.
pub fn fault(error: Error) -> Fault {
    let kind = match &error {
        Error::Address(_) | Error::Invalid(_) => Kind::Usage,
        Error::NotFound(_) | Error::Precondition(_) | Error::Internal(_) => Kind::Job,
        Error::Unavailable { .. } => Kind::Environment,
    };
    Fault::new(kind, error.to_string())
}
