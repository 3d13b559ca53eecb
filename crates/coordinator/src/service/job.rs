//! `JobService`.

use super::{not_proposed, rejected};
use crate::actor::announcer::{self, Announcer};
use crate::actor::dispatcher::Running;
use crate::raft::Consensus;
use futures::Stream;
use recode_core::{Command, Outcome};
use recode_mesh::Watched;
use recode_proto::v1::{self, job_service_server::JobService};
use recode_types::{JobId, JobRequest, JobStatus};
use std::pin::Pin;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// Most Jobs of one answer, where the caller names no limit.
const LIST_LIMIT: usize = 1000;

/// See the module.
pub struct Jobs {
    /// The log and the state.
    pub consensus: Consensus,
    /// What runs.
    pub running: watch::Receiver<Running>,
    /// Ends watches.
    pub stop: CancellationToken,
}

type Stream_<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Jobs {
    fn status(&self, job: JobId) -> Result<JobStatus, Status> {
        let status = self.consensus.shared().look(|state| state.status(job));
        status.ok_or_else(|| unknown(job))
    }
}

fn unknown(job: JobId) -> Status {
    Status::not_found(format!("there is no job {job}: it may have been removed"))
}

fn job_id(text: &str) -> Result<JobId, Status> {
    text.parse()
        .map_err(|e: recode_types::id::ParseIdError| Status::invalid_argument(e.to_string()))
}

#[tonic::async_trait]
impl JobService for Jobs {
    async fn submit(
        &self,
        request: Request<v1::SubmitRequest>,
    ) -> Result<Response<v1::SubmitResponse>, Status> {
        let message = request.into_inner();
        let id = message.request_id;
        if id.is_empty() || id.len() > 128 {
            return Err(Status::invalid_argument(
                "request_id is not valid: it needs 1 to 128 characters",
            ));
        }
        let request: JobRequest = message
            .request
            .ok_or_else(|| Status::invalid_argument("request is missing"))?
            .try_into()
            .map_err(Status::from)?;
        let command = Command::SubmitJob {
            request_id: id,
            job: JobId::generate(),
            request: Box::new(request),
        };
        let outcomes = self
            .consensus
            .propose(vec![command])
            .await
            .map_err(|e| not_proposed(&e))?;
        match outcomes.into_iter().next() {
            Some(Outcome::Submitted { job, existing }) => {
                if !existing {
                    tracing::info!(%job, "accepted");
                }
                Ok(Response::new(v1::SubmitResponse {
                    job: job.to_string(),
                    known: existing,
                }))
            }
            Some(Outcome::Rejected(reason)) => Err(rejected(reason)),
            other => Err(Status::internal(format!("unexpected outcome {other:?}"))),
        }
    }

    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, Status> {
        let job = job_id(&request.into_inner().job)?;
        let status = self.status(job)?;
        let shared = self.consensus.shared();
        let request = shared.look(|state| state.jobs.get(&job).map(|job| job.request.clone()));
        let progress = announcer::progress(shared, &self.running.borrow(), job);
        Ok(Response::new(v1::GetResponse {
            status: Some(status.into()),
            request: request.map(Into::into),
            progress: progress.map(Into::into),
        }))
    }

    async fn list(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListResponse>, Status> {
        let message = request.into_inner();
        let limit = match message.limit {
            0 => LIST_LIMIT,
            limit => limit as usize,
        };
        let jobs = self.consensus.shared().look(|state| {
            let jobs = state.jobs.values();
            jobs.filter(|job| !message.live_only || !job.state().is_terminal())
                .take(limit)
                .map(|job| job.status().into())
                .collect()
        });
        Ok(Response::new(v1::ListResponse { jobs }))
    }

    type WatchStream = Stream_<v1::WatchResponse>;

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let message = request.into_inner();
        let job = job_id(&message.job)?;
        self.status(job)?;
        let shared = self.consensus.shared().clone();
        let announcer = Announcer::new(shared, self.running.clone(), job, message.from_index);
        let stop = self.stop.clone();
        let stream = futures::stream::unfold((announcer, stop), |(mut announcer, stop)| async {
            let said = tokio::select! {
                said = announcer.next() => said,
                () = stop.cancelled() => None,
            };
            let what = match said? {
                Watched::Event(event) => v1::watch_response::What::Event(event.into()),
                Watched::Progress(progress) => v1::watch_response::What::Progress(progress.into()),
            };
            let message = v1::WatchResponse { what: Some(what) };
            Some((Ok(message), (announcer, stop)))
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn cancel(
        &self,
        request: Request<v1::CancelRequest>,
    ) -> Result<Response<v1::CancelResponse>, Status> {
        let message = request.into_inner();
        let job = job_id(&message.job)?;
        let mut reason = message.reason;
        if reason.is_empty() {
            reason = "cancelled".into();
        }
        let command = Command::CancelJob { job, reason };
        let outcomes = self
            .consensus
            .propose(vec![command])
            .await
            .map_err(|e| not_proposed(&e))?;
        match outcomes.first() {
            // One that has ended stays as it is.
            Some(Outcome::Accepted | Outcome::Rejected(recode_core::Rejected::JobEnded)) => {}
            Some(Outcome::Rejected(reason)) => return Err(rejected(*reason)),
            other => return Err(Status::internal(format!("unexpected outcome {other:?}"))),
        }
        Ok(Response::new(v1::CancelResponse {
            status: Some(self.status(job)?.into()),
        }))
    }

    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        let job = job_id(&request.into_inner().job)?;
        let report = self.consensus.shared().look(|state| {
            let known = state.jobs.get(&job).ok_or_else(|| unknown(job))?;
            if !known.state().is_terminal() {
                return Err(Status::failed_precondition(format!(
                    "{job} has not ended: watch it until it has"
                )));
            }
            Ok(recode_core::report::build(known))
        })?;
        let json = serde_json::to_string(&report).expect("plain data always serialises");
        Ok(Response::new(v1::ReportResponse { json }))
    }
}
