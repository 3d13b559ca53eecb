//! Following one Job: its events, and the logs of its failed Attempts.

use crate::feed::{Feed, Source};
use crate::{Error, Leader, jobs};
use recode_proto::v1;
use recode_types::{AttemptLog, Event, EventKind, JobId, Progress, TaskKey};
use std::time::Duration;
use tonic::{Response, Status, Streaming};

/// What a watch yields.
#[derive(Clone, Debug, PartialEq)]
pub enum Watched {
    /// The next event; indices have no gap.
    Event(Event),
    /// How far the Job is; replaces what was said before.
    Progress(Progress),
}

/// A running watch. It reconnects by itself and goes on at the right index.
#[derive(Debug)]
pub struct Watch(Feed<Events>);

#[derive(Debug)]
struct Events {
    job: JobId,
    /// Index of the next event.
    next: u64,
    /// The last event seen ended the Job; another try may follow.
    at_end: bool,
}

impl Source for Events {
    type Message = v1::WatchResponse;
    type Item = Watched;

    async fn open(
        &self,
        leader: &Leader,
    ) -> Result<Response<Streaming<v1::WatchResponse>>, Status> {
        let message = v1::WatchRequest {
            job: self.job.to_string(),
            from_index: self.next,
            ..v1::WatchRequest::default()
        };
        jobs::client(leader).watch(message).await
    }

    fn take(&mut self, message: v1::WatchResponse) -> Result<Option<Watched>, Error> {
        match message.what {
            None => Ok(None),
            Some(v1::watch_response::What::Progress(progress)) => {
                Ok(Some(Watched::Progress(progress.try_into()?)))
            }
            Some(v1::watch_response::What::Event(event)) => {
                let event = Event::try_from(event)?;
                if event.index < self.next {
                    return Ok(None);
                }
                self.next = event.index + 1;
                self.at_end = matches!(event.kind, EventKind::Ended { .. });
                Ok(Some(Watched::Event(event)))
            }
        }
    }

    fn may_end(&self) -> bool {
        // Streams end after the last event only; any other end is a coordinator that stops.
        self.at_end
    }

    fn is_enough(&self) -> bool {
        // Whether another try follows cannot be learnt from a coordinator that is gone: its end is the last word.
        self.at_end
    }
}

impl Watch {
    pub(crate) fn new(leader: Leader, job: JobId, from_index: u64) -> Self {
        let events = Events {
            job,
            next: from_index,
            at_end: false,
        };
        Self(Feed::new(leader, events))
    }

    /// Gives up when nobody answers for this long; a minute unless told.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.0.patience = patience;
        self
    }

    /// The next event or progress; `None` after the event that ended the Job.
    /// # Errors
    /// [`Error::NotFound`], or [`Error::Unavailable`] when nobody answered for [`Watch::patience`].
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<Watched>, Error> {
        self.0.next().await
    }
}

/// Which logs of a Job are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Only of this Task.
    pub task: Option<TaskKey>,
    /// Number of the first one.
    pub from_number: u64,
    /// Go on with those that come, until the Job has ended.
    pub follow: bool,
}

/// A log, and how many before it were asked for and are not kept any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// The log.
    pub log: AttemptLog,
    /// Lost before it.
    pub dropped: u64,
}

/// Logs of failed Attempts as they come. Reconnects as a [`Watch`] does.
#[derive(Debug)]
pub struct Logs(Feed<Tails>);

#[derive(Debug)]
struct Tails {
    job: JobId,
    query: LogQuery,
}

impl Source for Tails {
    type Message = v1::LogsResponse;
    type Item = Logged;

    async fn open(&self, leader: &Leader) -> Result<Response<Streaming<v1::LogsResponse>>, Status> {
        let task = self.query.task.map(|task| task.to_string());
        let message = v1::LogsRequest {
            job: self.job.to_string(),
            task: task.unwrap_or_default(),
            from_number: self.query.from_number,
            follow: self.query.follow,
        };
        jobs::client(leader).logs(message).await
    }

    fn take(&mut self, message: v1::LogsResponse) -> Result<Option<Logged>, Error> {
        let log = message
            .log
            .ok_or_else(|| Error::Internal("log is missing in its answer".into()))?;
        let log = AttemptLog::try_from(log)?;
        if log.number < self.query.from_number {
            return Ok(None);
        }
        self.query.from_number = log.number + 1;
        Ok(Some(Logged {
            log,
            dropped: message.dropped,
        }))
    }

    fn may_end(&self) -> bool {
        // A coordinator that stops says so.
        true
    }

    fn is_enough(&self) -> bool {
        false
    }
}

impl Logs {
    pub(crate) fn new(leader: Leader, job: JobId, query: LogQuery) -> Self {
        Self(Feed::new(leader, Tails { job, query }))
    }

    /// Gives up when nobody answers for this long; a minute unless told.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.0.patience = patience;
        self
    }

    /// The next one; `None` after the last.
    /// # Errors
    /// As [`Watch::next`].
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<Logged>, Error> {
        self.0.next().await
    }
}
