//! `JobService`.

use super::{deadline, not_proposed, rejected, stopping};
use crate::actor::announcer::{self, Announcer};
use crate::actor::tails::Tails;
use crate::actor::view::View;
use crate::raft::Consensus;
use crate::room::Door;
use crate::runtime;
use futures::Stream;
use recode_core::archive::Archive;
use recode_core::machine::{Stub, Wish, level};
use recode_core::{Command, Outcome, Rejected, State};
use recode_mesh::Watched;
use recode_proto::convert::list::ListQuery;
use recode_proto::convert::status::{bad_request, because};
use recode_proto::convert::{MAX_WATCHED, id, request_id, sentence};
use recode_proto::v1::{self, job_service_server::JobService};
use recode_types::{
    CommandRequest, Explanation, JobId, JobRequest, JobStatus, Making, Needs, NodeStatus, TaskKey,
};
use std::collections::BTreeSet;
use std::pin::Pin;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};

/// See the module.
pub struct Jobs {
    /// The log and the state.
    pub consensus: Consensus,
    /// What runs, what Nodes said, what was archived.
    pub running: View,
    /// Whether there is room for new Jobs.
    pub door: Door,
    /// Ends watches.
    pub stop: CancellationToken,
}

type Stream_<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Where a Job is.
enum Found {
    /// In the state.
    Here(Box<JobStatus>),
    /// In the work store.
    Archived(Stub),
}

fn unknown(job: JobId) -> Status {
    rejected(Rejected::UnknownJob, &job.to_string())
}

fn job_id(text: &str) -> Result<JobId, Status> {
    Ok(id("job", text)?)
}

fn unreadable(job: JobId, error: &str) -> Status {
    because(
        Code::Unavailable,
        "ARCHIVE_UNREADABLE",
        format!("{job} is archived, and its archive cannot be read now: {error}"),
        &[("job", job.to_string())],
    )
}

impl Jobs {
    fn find(&self, job: JobId) -> Result<Found, Status> {
        let found = self.consensus.shared().look(|state| {
            if let Some(stub) = state.archived.get(&job) {
                return Some(Found::Archived(stub.clone()));
            }
            state.status(job).map(|s| Found::Here(Box::new(s)))
        });
        found.ok_or_else(|| unknown(job))
    }

    /// The Job that a look is for.
    fn meant(&self, message: v1::GetRequest) -> Result<JobId, Status> {
        if message.request_id.is_empty() {
            return job_id(&message.job);
        }
        if !message.job.is_empty() {
            let problem = "request_id is not valid: name the job or its request_id, not both";
            return Err(bad_request("request_id", problem.to_owned()));
        }
        let request_id = request_id(message.request_id, true)?;
        let known = |state: &State| state.requests.get(&request_id).copied();
        let found = self.consensus.shared().look(known);
        found.ok_or_else(|| rejected(Rejected::UnknownJob, &request_id))
    }

    async fn archive(&self, job: JobId, stub: &Stub) -> Result<Archive, Status> {
        let archive = self.running.archive(stub).await;
        archive.map_err(|error| unreadable(job, &error))
    }

    /// Proposes one command about `name`.
    async fn propose(&self, command: Command, name: &str) -> Result<Outcome, Status> {
        let outcomes = self.consensus.propose(vec![command]).await;
        let outcomes = outcomes.map_err(|e| not_proposed(&e))?;
        match outcomes.into_iter().next() {
            Some(Outcome::Rejected(reason)) => Err(rejected(reason, name)),
            Some(outcome) => Ok(outcome),
            None => Err(Status::internal("the log gave no answer")),
        }
    }

    async fn ask(&self, job: JobId, request_id: String, wish: Wish) -> Result<(), Status> {
        let command = Command::Ask {
            job,
            request_id,
            wish,
        };
        self.propose(command, &job.to_string()).await.map(|_| ())
    }

    /// Refuses what a coordinator of an earlier build could not read in the log.
    fn known_to_all(&self, asked: &Asked) -> Result<(), Status> {
        let (needed, what) = match asked {
            Asked::Job(request) => (
                level::of_request(request),
                match request.making {
                    Making::SplitTail => "jobs with --split-tail",
                    _ => "segments of --spread",
                },
            ),
            Asked::Command { .. } => (level::COMMANDS, "command jobs"),
        };
        let level = self.consensus.shared().look(|state| state.level);
        if level >= needed {
            return Ok(());
        }
        Err(because(
            Code::Unavailable,
            "LEVEL_TOO_LOW",
            format!(
                "not all coordinators know {what} yet: try again, and upgrade those of earlier builds"
            ),
            &[("level", level.to_string())],
        ))
    }

    fn status(&self, job: JobId) -> Result<Option<v1::JobStatus>, Status> {
        let status = self.consensus.shared().look(|state| state.status(job));
        Ok(Some(status.ok_or_else(|| unknown(job))?.into()))
    }
}

/// The Jobs of a watch, each with the index of the first event wanted.
fn watched(message: v1::WatchRequest) -> Result<Vec<(JobId, u64)>, Status> {
    if message.jobs.is_empty() {
        return Ok(vec![(job_id(&message.job)?, message.from_index)]);
    }
    let bad = |problem: &str| bad_request("jobs", format!("jobs is not valid: {problem}"));
    if !message.job.is_empty() || message.from_index != 0 {
        return Err(bad(
            "name one job with its index, or several here, not both",
        ));
    }
    if message.jobs.len() > MAX_WATCHED {
        return Err(bad(&format!(
            "{} are too many, watch at most {MAX_WATCHED} at once",
            message.jobs.len()
        )));
    }
    let mut seen = BTreeSet::new();
    let mut jobs = Vec::with_capacity(message.jobs.len());
    for from in message.jobs {
        let job: JobId = id("jobs.job", &from.job)?;
        if !seen.insert(job) {
            return Err(bad(&format!("{job} is named twice")));
        }
        jobs.push((job, from.from_index));
    }
    Ok(jobs)
}

/// What is submitted.
enum Asked {
    Job(Box<JobRequest>),
    Command {
        request: Box<CommandRequest>,
        needs: Needs,
    },
}

/// Reads what is submitted. Commands are refused here where their grammar does not take them: nobody else has to wait for that.
fn asked(
    request: Option<v1::JobRequest>,
    command: Option<v1::CommandRequest>,
) -> Result<Asked, Status> {
    match (request, command) {
        (Some(request), None) => {
            let request = JobRequest::try_from(request).map_err(Status::from)?;
            Ok(Asked::Job(Box::new(request)))
        }
        (None, Some(command)) => {
            let request = CommandRequest::try_from(command).map_err(Status::from)?;
            let line = recode_command::parse(&request).map_err(|refused| {
                let problem = format!("command is not valid: {refused}");
                bad_request("command", problem)
            })?;
            let needs = line.needs(&request);
            let request = Box::new(request);
            Ok(Asked::Command { request, needs })
        }
        (None, None) => Err(bad_request("request", "request is missing".to_owned())),
        (Some(_), Some(_)) => {
            let problem = "command is not valid: submit either it or a request, not both";
            Err(bad_request("command", problem.to_owned()))
        }
    }
}

#[tonic::async_trait]
impl JobService for Jobs {
    async fn submit(
        &self,
        request: Request<v1::SubmitRequest>,
    ) -> Result<Response<v1::SubmitResponse>, Status> {
        let message = request.into_inner();
        let request_id = request_id(message.request_id, true)?;
        let asked = asked(message.request, message.command)?;
        let job = match message.job.as_str() {
            "" => runtime::new_job(),
            chosen => job_id(chosen)?,
        };
        let known = |state: &State| state.requests.contains_key(&request_id);
        if !self.consensus.shared().look(known) {
            self.door.pass()?;
        }
        let name = request_id.clone();
        self.known_to_all(&asked)?;
        let command = match asked {
            Asked::Job(request) => Command::SubmitJob {
                request_id,
                job,
                request,
            },
            Asked::Command { request, needs } => Command::SubmitCommand {
                request_id,
                job,
                request,
                needs,
            },
        };
        match self.propose(command, &name).await? {
            Outcome::Submitted { job, existing } => {
                if !existing {
                    tracing::info!(%job, "accepted");
                }
                Ok(Response::new(v1::SubmitResponse {
                    job: job.to_string(),
                    known: existing,
                }))
            }
            other => Err(Status::internal(format!("unexpected outcome {other:?}"))),
        }
    }

    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, Status> {
        let job = self.meant(request.into_inner())?;
        if let Found::Archived(stub) = self.find(job)? {
            let archive = self.archive(job, &stub).await?;
            let status = JobStatus {
                archive: Some(stub.archive.key),
                ..archive.status
            };
            return Ok(Response::new(v1::GetResponse {
                status: Some(status.into()),
                request: archive.command.is_none().then(|| archive.request.into()),
                progress: None,
                command: archive.command.map(Into::into),
            }));
        }
        let shared = self.consensus.shared();
        let (request, command) = shared.look(|state| {
            let known = state.jobs.get(&job);
            let command = known.and_then(|job| Some(job.command.as_ref()?.request.clone()));
            let request = known.filter(|job| job.command.is_none());
            (request.map(|job| job.request.clone()), command)
        });
        let progress = announcer::progress(shared, &self.running.running().borrow(), job);
        Ok(Response::new(v1::GetResponse {
            status: self.status(job)?,
            request: request.map(Into::into),
            progress: progress.map(Into::into),
            command: command.map(Into::into),
        }))
    }

    async fn list(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListResponse>, Status> {
        let query = ListQuery::try_from(request.into_inner())?;
        let shared = self.consensus.shared();
        let page = shared.look(|state| state.list(&query.filter, query.after, query.limit));
        Ok(Response::new(v1::ListResponse {
            jobs: page.jobs.into_iter().map(Into::into).collect(),
            next_page_token: page.next.map(|last| query.token(last)).unwrap_or_default(),
        }))
    }

    type WatchStream = Stream_<v1::WatchResponse>;

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let deadline = deadline::of(request.metadata());
        let jobs = watched(request.into_inner())?;
        for (job, _) in &jobs {
            self.find(*job)?;
        }
        let shared = self.consensus.shared().clone();
        let announcer = Announcer::new(shared, self.running.clone(), &jobs);
        let stop = self.stop.clone();
        let stream = futures::stream::unfold(Some((announcer, stop)), move |open| async move {
            let (mut announcer, stop) = open?;
            let said = tokio::select! {
                said = announcer.next() => said,
                () = stop.cancelled() => return Some((Err(stopping()), None)),
                () = deadline::passed(deadline) => return Some((Err(deadline::status()), None)),
            };
            let (job, watched) = match said {
                Ok(said) => said?,
                Err((job, error)) => return Some((Err(unreadable(job, &error)), None)),
            };
            let what = match watched {
                Watched::Event(event) => v1::watch_response::What::Event(event.into()),
                Watched::Progress(progress) => v1::watch_response::What::Progress(progress.into()),
            };
            let message = v1::WatchResponse {
                what: Some(what),
                job: job.to_string(),
            };
            Some((Ok(message), Some((announcer, stop))))
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn cancel(
        &self,
        request: Request<v1::CancelRequest>,
    ) -> Result<Response<v1::CancelResponse>, Status> {
        let message = request.into_inner();
        let job = job_id(&message.job)?;
        let request_id = request_id(message.request_id, false)?;
        let mut reason = sentence("reason", message.reason)?;
        if reason.is_empty() {
            reason = "cancelled".into();
        }
        let command = Command::Ask {
            job,
            request_id,
            wish: Wish::Cancel { reason },
        };
        let outcomes = match self.consensus.propose(vec![command]).await {
            Err(_) if planted!(UnknownIsSuccess) => Ok(vec![Outcome::Accepted]),
            outcomes => outcomes,
        };
        match outcomes.map_err(|e| not_proposed(&e))?.first() {
            // One that has ended stays as it is.
            Some(
                Outcome::Accepted | Outcome::Rejected(Rejected::JobEnded | Rejected::JobArchived),
            ) => {}
            Some(Outcome::Rejected(reason)) => return Err(rejected(*reason, &job.to_string())),
            other => return Err(Status::internal(format!("unexpected outcome {other:?}"))),
        }
        let status = self.status(job)?;
        Ok(Response::new(v1::CancelResponse { status }))
    }

    async fn pause(
        &self,
        request: Request<v1::PauseRequest>,
    ) -> Result<Response<v1::PauseResponse>, Status> {
        let message = request.into_inner();
        let job = job_id(&message.job)?;
        let request_id = request_id(message.request_id, false)?;
        self.ask(job, request_id, Wish::Pause).await?;
        let status = self.status(job)?;
        Ok(Response::new(v1::PauseResponse { status }))
    }

    async fn resume(
        &self,
        request: Request<v1::ResumeRequest>,
    ) -> Result<Response<v1::ResumeResponse>, Status> {
        let message = request.into_inner();
        let job = job_id(&message.job)?;
        let request_id = request_id(message.request_id, false)?;
        self.ask(job, request_id, Wish::Resume).await?;
        let status = self.status(job)?;
        Ok(Response::new(v1::ResumeResponse { status }))
    }

    async fn retry(
        &self,
        request: Request<v1::RetryRequest>,
    ) -> Result<Response<v1::RetryResponse>, Status> {
        let message = request.into_inner();
        let job = job_id(&message.job)?;
        let request_id = request_id(message.request_id, true)?;
        self.ask(job, request_id, Wish::Retry).await?;
        let status = self.status(job)?;
        Ok(Response::new(v1::RetryResponse { status }))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainResponse>, Status> {
        let job = job_id(&request.into_inner().job)?;
        if let Found::Archived(stub) = self.find(job)? {
            let explanation = Explanation {
                job,
                state: stub.state,
                tasks: 0,
                tasks_done: 0,
                tasks_running: 0,
                waiting: Vec::new(),
            };
            return Ok(Response::new(explanation.into()));
        }
        let mut heard = self.running.heard().await.ok_or_else(stopping)?;
        let now_ms = self.consensus.now_ms();
        let explanation = self.consensus.shared().look(|state| {
            let nodes: Vec<NodeStatus> = state
                .nodes
                .keys()
                .filter_map(|node| state.node_status(*node, heard.nodes.remove(node)))
                .collect();
            state.explain(job, &nodes, heard.short.get(&job).copied(), now_ms)
        });
        let explanation = explanation.ok_or_else(|| unknown(job))?;
        Ok(Response::new(explanation.into()))
    }

    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        let job = job_id(&request.into_inner().job)?;
        let report = match self.find(job)? {
            Found::Archived(stub) => self.archive(job, &stub).await?.report,
            Found::Here(status) if !status.state.is_terminal() => {
                return Err(because(
                    Code::FailedPrecondition,
                    "JOB_RUNS",
                    format!("{job} has not ended: watch it until it has"),
                    &[("about", job.to_string())],
                ));
            }
            Found::Here(_) => {
                let shared = self.consensus.shared();
                let report =
                    shared.look(|state| state.jobs.get(&job).map(recode_core::report::build));
                report.ok_or_else(|| unknown(job))?
            }
        };
        let json = serde_json::to_string(&report).expect("plain data always serialises");
        Ok(Response::new(v1::ReportResponse { json }))
    }

    type LogsStream = Stream_<v1::LogsResponse>;

    async fn logs(
        &self,
        request: Request<v1::LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let deadline = deadline::of(request.metadata());
        let message = request.into_inner();
        let job = job_id(&message.job)?;
        let task: Option<TaskKey> = match message.task.as_str() {
            "" => None,
            task => Some(id("task", task)?),
        };
        self.find(job)?;
        let tails = Tails::new(
            self.consensus.shared().clone(),
            self.running.clone(),
            job,
            task,
            message.from_number,
            message.follow,
        );
        let stop = self.stop.clone();
        let stream = futures::stream::unfold(Some((tails, stop)), move |open| async move {
            let (mut tails, stop) = open?;
            let read = tokio::select! {
                read = tails.next() => read,
                () = stop.cancelled() => return Some((Err(stopping()), None)),
                () = deadline::passed(deadline) => return Some((Err(deadline::status()), None)),
            };
            let (dropped, log) = match read {
                Ok(read) => read?,
                Err(error) => return Some((Err(unreadable(job, &error)), None)),
            };
            let message = v1::LogsResponse {
                log: Some(log.into()),
                dropped,
            };
            Some((Ok(message), Some((tails, stop))))
        });
        Ok(Response::new(Box::pin(stream)))
    }
}
