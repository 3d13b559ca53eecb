//! The job API as typed calls.

use crate::retry::CALL_DEADLINE;
use crate::watch::{LogQuery, Logs, Watch};
use crate::{Error, Leader};
use recode_proto::convert::MAX_MESSAGE_BYTES;
use recode_proto::v1::{self, job_service_client::JobServiceClient};
use recode_types::report::JobReport;
use recode_types::{
    CommandRequest, Explanation, JobFilter, JobId, JobRequest, JobStatus, Progress,
};
use tonic::transport::Channel;
use tonic::{Response, Status};

/// Submits, watches, steers and ends Jobs. Cheap to clone.
///
/// Unary calls have a deadline ([`CALL_DEADLINE`]) and are not repeated here; use [`crate::retry::retry`]. Watches and
/// logs reconnect by themselves.
#[derive(Clone, Debug)]
pub struct Jobs {
    leader: Leader,
}

/// One Job, looked at.
#[derive(Clone, Debug)]
pub struct JobView {
    /// How it stands.
    pub status: JobStatus,
    /// What was asked for. Of a command job only what all kinds of Jobs have in common.
    pub request: JobRequest,
    /// The command, of a command job.
    pub command: Option<CommandRequest>,
    /// How far it is.
    pub progress: Progress,
}

/// Some Jobs of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobPage {
    /// The Jobs, oldest first.
    pub jobs: Vec<JobStatus>,
    /// There are more: ask for them with this, and the same filter.
    pub next: Option<String>,
}

/// The generated client on the way to the Leader.
pub(crate) fn client(leader: &Leader) -> JobServiceClient<Channel> {
    JobServiceClient::new(leader.channel())
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

fn missing(what: &str) -> Error {
    Error::Internal(format!("{what} is missing in its answer"))
}

fn status(status: Option<v1::JobStatus>) -> Result<JobStatus, Error> {
    Ok(status.ok_or_else(|| missing("status"))?.try_into()?)
}

impl Jobs {
    /// The job API of `leader`.
    pub fn new(leader: Leader) -> Self {
        Self { leader }
    }

    fn client(&self) -> JobServiceClient<Channel> {
        client(&self.leader)
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
        self.submit_as(request_id, None, request).await
    }

    /// As [`Jobs::submit`], under an id that the caller has chosen and nobody used before.
    /// # Errors
    /// [`Error::Invalid`]; [`Error::Precondition`]: the id was used.
    pub async fn submit_as(
        &self,
        request_id: &str,
        job: Option<JobId>,
        request: &JobRequest,
    ) -> Result<(JobId, bool), Error> {
        let message = v1::SubmitRequest {
            request_id: request_id.to_owned(),
            request: Some(request.clone().into()),
            job: job.map(|job| job.to_string()).unwrap_or_default(),
            command: None,
        };
        self.hand_in(message).await
    }

    /// Submits a command job. The same `request_id` gives the same Job; `true` says that it was known already.
    /// # Errors
    /// [`Error::Invalid`] names what is wrong with it, and where.
    pub async fn submit_command(
        &self,
        request_id: &str,
        request: &CommandRequest,
    ) -> Result<(JobId, bool), Error> {
        let message = v1::SubmitRequest {
            request_id: request_id.to_owned(),
            request: None,
            job: String::new(),
            command: Some(request.clone().into()),
        };
        self.hand_in(message).await
    }

    async fn hand_in(&self, message: v1::SubmitRequest) -> Result<(JobId, bool), Error> {
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
        let job = job.to_string();
        self.look(v1::GetRequest {
            job,
            ..v1::GetRequest::default()
        })
        .await
    }

    /// The Job that was submitted with `request_id`.
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn find(&self, request_id: &str) -> Result<JobView, Error> {
        let request_id = request_id.to_owned();
        self.look(v1::GetRequest {
            request_id,
            ..v1::GetRequest::default()
        })
        .await
    }

    async fn look(&self, message: v1::GetRequest) -> Result<JobView, Error> {
        let answer = self.within(self.client().get(message)).await?;
        let command: Option<CommandRequest> = answer.command.map(TryInto::try_into).transpose()?;
        let request = match (&command, answer.request) {
            (Some(command), _) => command.in_common(),
            (None, Some(request)) => request.try_into()?,
            (None, None) => return Err(missing("request")),
        };
        Ok(JobView {
            status: status(answer.status)?,
            request,
            command,
            progress: answer.progress.unwrap_or_default().try_into()?,
        })
    }

    /// Jobs that `filter` lets pass, oldest first: at most `limit` (0: as many as a page may hold) after the page that gave
    /// `token`; an empty one stands for the first page.
    /// # Errors
    /// [`Error::Invalid`]: the token belongs to another filter.
    pub async fn page(
        &self,
        filter: &JobFilter,
        limit: u32,
        token: &str,
    ) -> Result<JobPage, Error> {
        let message = v1::ListRequest {
            limit,
            page_token: token.to_owned(),
            ..filter.clone().into()
        };
        let answer = self.within(self.client().list(message)).await?;
        let jobs = answer.jobs.into_iter().map(TryInto::try_into);
        Ok(JobPage {
            jobs: jobs.collect::<Result<_, _>>()?,
            next: Some(answer.next_page_token).filter(|token| !token.is_empty()),
        })
    }

    /// All Jobs, oldest first, whatever number of calls it takes.
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn list(&self, live_only: bool) -> Result<Vec<JobStatus>, Error> {
        let filter = JobFilter {
            live_only,
            ..JobFilter::default()
        };
        let (mut jobs, mut token) = (Vec::new(), String::new());
        loop {
            let page = self.page(&filter, 0, &token).await?;
            jobs.extend(page.jobs);
            match page.next {
                Some(next) => token = next,
                None => return Ok(jobs),
            }
        }
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
        status(self.within(self.client().cancel(message)).await?.status)
    }

    /// Grants nothing of a Job until it is resumed; what runs goes on. With the same `request_id` it is done once, however
    /// often it is sent.
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Precondition`]: it has ended.
    pub async fn pause(&self, job: JobId, request_id: &str) -> Result<JobStatus, Error> {
        let message = v1::PauseRequest {
            job: job.to_string(),
            request_id: request_id.to_owned(),
        };
        status(self.within(self.client().pause(message)).await?.status)
    }

    /// Grants again.
    /// # Errors
    /// As [`Jobs::pause`].
    pub async fn resume(&self, job: JobId, request_id: &str) -> Result<JobStatus, Error> {
        let message = v1::ResumeRequest {
            job: job.to_string(),
            request_id: request_id.to_owned(),
        };
        status(self.within(self.client().resume(message)).await?.status)
    }

    /// Lets a failed Job live again; finished Chunks are kept.
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Precondition`]: it has not failed, or left the state.
    pub async fn retry(&self, job: JobId, request_id: &str) -> Result<JobStatus, Error> {
        let message = v1::RetryRequest {
            job: job.to_string(),
            request_id: request_id.to_owned(),
        };
        status(self.within(self.client().retry(message)).await?.status)
    }

    /// Why the Tasks of a Job wait.
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn explain(&self, job: JobId) -> Result<Explanation, Error> {
        let message = v1::ExplainRequest {
            job: job.to_string(),
        };
        Ok(self
            .within(self.client().explain(message))
            .await?
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
        Watch::new(self.leader.clone(), job, from_index)
    }

    /// What FFmpeg said last in failed Attempts of a Job.
    pub fn logs(&self, job: JobId, query: LogQuery) -> Logs {
        Logs::new(self.leader.clone(), job, query)
    }
}
