//! The job API as typed calls.

use crate::retry::{Backoff, CALL_DEADLINE};
use crate::{Error, Leader};
use recode_proto::convert::MAX_MESSAGE_BYTES;
use recode_proto::v1::{self, job_service_client::JobServiceClient};
use recode_types::report::JobReport;
use recode_types::{Event, EventKind, JobId, JobRequest, JobStatus, Progress};
use std::time::{Duration, Instant};
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

/// Submits, watches and ends Jobs. Cheap to clone.
///
/// Unary calls have a deadline ([`CALL_DEADLINE`]) and are not repeated here; use [`crate::retry::retry`]. A watch
/// reconnects by itself.
#[derive(Clone, Debug)]
pub struct Jobs {
    leader: Leader,
}

/// One Job, looked at.
#[derive(Clone, Debug)]
pub struct JobView {
    /// How it stands.
    pub status: JobStatus,
    /// What was asked for.
    pub request: JobRequest,
    /// How far it is.
    pub progress: Progress,
}

/// What a watch yields.
#[derive(Clone, Debug, PartialEq)]
pub enum Watched {
    /// The next event; indices have no gap.
    Event(Event),
    /// How far the Job is; replaces what was said before.
    Progress(Progress),
}

impl Jobs {
    /// The job API of `leader`.
    pub fn new(leader: Leader) -> Self {
        Self { leader }
    }

    fn client(&self) -> JobServiceClient<Channel> {
        JobServiceClient::new(self.leader.channel())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    async fn within<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Error> {
        self.leader.within(CALL_DEADLINE, call).await
    }

    /// Submits `request`. The same `request_id` gives the same Job; `true` says that it was known already.
    /// # Errors
    /// [`Error::Invalid`] names what is wrong with the request.
    pub async fn submit(
        &self,
        request_id: &str,
        request: &JobRequest,
    ) -> Result<(JobId, bool), Error> {
        let message = v1::SubmitRequest {
            request_id: request_id.to_owned(),
            request: Some(request.clone().into()),
        };
        let answer = self.within(self.client().submit(message)).await?;
        let job = answer
            .job
            .parse()
            .map_err(|e: recode_types::id::ParseIdError| Error::Internal(e.to_string()))?;
        Ok((job, answer.known))
    }

    /// One Job.
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn get(&self, job: JobId) -> Result<JobView, Error> {
        let message = v1::GetRequest {
            job: job.to_string(),
        };
        let answer = self.within(self.client().get(message)).await?;
        let missing = |what: &str| Error::Internal(format!("{what} is missing in its answer"));
        Ok(JobView {
            status: answer.status.ok_or_else(|| missing("status"))?.try_into()?,
            request: answer
                .request
                .ok_or_else(|| missing("request"))?
                .try_into()?,
            progress: answer.progress.unwrap_or_default().try_into()?,
        })
    }

    /// All Jobs, oldest first.
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn list(&self, live_only: bool) -> Result<Vec<JobStatus>, Error> {
        let message = v1::ListRequest {
            live_only,
            ..v1::ListRequest::default()
        };
        let answer = self.within(self.client().list(message)).await?;
        Ok(answer
            .jobs
            .into_iter()
            .map(TryInto::try_into)
            .collect::<Result<_, _>>()?)
    }

    /// Ends a Job; one that has ended stays as it is.
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn cancel(&self, job: JobId, reason: &str) -> Result<JobStatus, Error> {
        let message = v1::CancelRequest {
            job: job.to_string(),
            reason: reason.to_owned(),
            ..v1::CancelRequest::default()
        };
        let answer = self.within(self.client().cancel(message)).await?;
        Ok(answer
            .status
            .ok_or_else(|| Error::Internal("status is missing in its answer".into()))?
            .try_into()?)
    }

    /// What an ended Job did.
    /// # Errors
    /// [`Error::Precondition`]: it has not ended.
    pub async fn report(&self, job: JobId) -> Result<JobReport, Error> {
        let message = v1::ReportRequest {
            job: job.to_string(),
        };
        let answer = self.within(self.client().report(message)).await?;
        serde_json::from_str(&answer.json).map_err(|e| Error::Internal(e.to_string()))
    }

    /// Watches a Job from the event at `from_index` on.
    pub fn watch(&self, job: JobId, from_index: u64) -> Watch {
        Watch {
            jobs: self.clone(),
            job,
            next: from_index,
            stream: None,
            asked: String::new(),
            at_end: false,
            ended: false,
            backoff: Backoff::reconnect(),
            broken_since: None,
            patience: Duration::from_secs(60),
        }
    }
}

/// A running watch. It reconnects by itself and goes on at the right index.
#[derive(Debug)]
pub struct Watch {
    jobs: Jobs,
    job: JobId,
    next: u64,
    stream: Option<Streaming<v1::WatchResponse>>,
    /// Who serves the stream.
    asked: String,
    /// The last event seen ended the Job; another try may follow.
    at_end: bool,
    ended: bool,
    backoff: Backoff,
    broken_since: Option<Instant>,
    patience: Duration,
}

impl Watch {
    /// Gives up when nobody answers for this long; a minute unless told.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The next event or progress; `None` after the event that ended the Job.
    /// # Errors
    /// [`Error::NotFound`], or [`Error::Unavailable`] when nobody answered for [`Watch::patience`].
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<Watched>, Error> {
        while !self.ended {
            match self.step().await {
                Ok(Some(watched)) => return Ok(Some(watched)),
                Ok(None) => {}
                // Whether another try follows cannot be learnt from a coordinator that is gone: its end is the last word.
                Err(error) if error.may_retry() && self.at_end => self.ended = true,
                Err(error) if error.may_retry() => {
                    self.stream = None;
                    let since = *self.broken_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= self.patience {
                        return Err(error);
                    }
                    tokio::time::sleep(self.backoff.next_wait()).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// One message; `None` for one that was seen before.
    async fn step(&mut self) -> Result<Option<Watched>, Error> {
        let leader = self.jobs.leader.clone();
        if self.stream.is_none() {
            self.asked = leader.endpoint();
        }
        let asked = self.asked.clone();
        let broken = |status| leader.heard(&asked, status);
        if self.stream.is_none() {
            let message = v1::WatchRequest {
                job: self.job.to_string(),
                from_index: self.next,
                ..v1::WatchRequest::default()
            };
            let opened = self.jobs.client().watch(Request::new(message)).await;
            self.stream = Some(opened.map_err(broken)?.into_inner());
        }
        let stream = self.stream.as_mut().expect("it was just opened");
        let message = stream.message().await.map_err(broken)?;
        let Some(message) = message else {
            // Streams end after the last event only; any other end is a coordinator that stops.
            if self.at_end {
                self.ended = true;
                return Ok(None);
            }
            return Err(leader.lost(&asked, "the stream of events ended early"));
        };
        self.broken_since = None;
        self.backoff.reset();
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
}
