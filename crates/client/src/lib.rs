//! The client library: submits Jobs to a coordinator, follows them, fetches their reports.
//!
//! ```no_run
//! # async fn demo(request: recode_types::JobRequest) -> Result<(), recode_client::Error> {
//! let client = recode_client::Client::at("http://127.0.0.1:7420")?;
//! let job = client.submit("my-own-id-1", &request).await?;
//! let end = client.follow(job, |watched| println!("{watched:?}")).await?;
//! println!("{:?}: {:?}", end.state, client.report(job).await?);
//! # Ok(())
//! # }
//! ```

use recode_mesh::retry::retry;
use recode_mesh::{Cluster, Jobs, Leader, Nodes};
use recode_types::cluster::ClusterStatus;
use recode_types::report::JobReport;
use recode_types::task::FailureClass;
use recode_types::{
    CommandRequest, EventKind, Explanation, JobFilter, JobId, JobRequest, JobState, JobStatus,
    NodeId, NodeStatus,
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub use recode_mesh::{Error, JobPage, JobView, LogQuery, Logged, Watched};

/// How long a call is repeated while nobody answers.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long nobody answers before [`Client::on_silence`] is told.
const SILENCE: Duration = Duration::from_secs(2);

/// How a Job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// `Done`, `Failed` or `Cancelled`.
    pub state: JobState,
    /// Class of the failure, where there was one.
    pub class: Option<FailureClass>,
    /// One sentence; empty where it is done.
    pub reason: String,
}

/// A connection to a coordinator. Cheap to clone. Calls that nobody answered are repeated for half a minute.
#[derive(Clone, Debug)]
pub struct Client {
    jobs: Jobs,
    nodes: Nodes,
    cluster: Cluster,
    patience: Duration,
    on_silence: Option<fn(&Error)>,
}

impl Client {
    /// Prepares to talk to the cluster of the coordinators at `endpoint`, such as `http://127.0.0.1:7420`; several with
    /// commas between. Connects on first use, and follows the Leader.
    /// # Errors
    /// [`Error::Address`].
    /// # Panics
    /// Outside a tokio runtime.
    pub fn at(endpoint: &str) -> Result<Self, Error> {
        let leader = Leader::at(endpoint)?;
        Ok(Self {
            jobs: Jobs::new(leader.clone()),
            nodes: Nodes::new(leader.clone()),
            cluster: Cluster::new(leader),
            patience: PATIENCE,
            on_silence: None,
        })
    }

    /// Gives up after this long without an answer.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Is told, once for each call, when nobody has answered for two seconds and it is tried on.
    pub fn on_silence(mut self, tell: Option<fn(&Error)>) -> Self {
        self.on_silence = tell;
        self
    }

    /// One call, repeated while nobody answers.
    async fn ask<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let (since, told) = (Instant::now(), AtomicBool::new(false));
        retry(self.patience, || {
            let (asked, told) = (call(), &told);
            async move {
                let answer = asked.await;
                if let Err(error) = &answer
                    && let Some(tell) = self.on_silence
                    && error.may_retry()
                    && since.elapsed() >= SILENCE
                    && !told.swap(true, Ordering::Relaxed)
                {
                    tell(error);
                }
                answer
            }
        })
        .await
    }

    /// Submits `request`. The same `request_id` gives the same Job, so repeating is safe.
    /// # Errors
    /// [`Error::Invalid`] names what is wrong with the request; [`Error::Unavailable`]: nobody answered.
    pub async fn submit(&self, request_id: &str, request: &JobRequest) -> Result<JobId, Error> {
        self.submit_as(request_id, None, request).await
    }

    /// As [`Client::submit`], under an id that nobody used before: for a Source that was put below `jobs/<job>/` of the work
    /// store, where everything goes when the Job is over.
    /// # Errors
    /// As [`Client::submit`]; [`Error::Precondition`]: the id was used.
    pub async fn submit_as(
        &self,
        request_id: &str,
        job: Option<JobId>,
        request: &JobRequest,
    ) -> Result<JobId, Error> {
        let submit = || self.jobs.submit_as(request_id, job, request);
        let (job, _known) = self.ask(submit).await?;
        Ok(job)
    }

    /// Submits a command job. The same `request_id` gives the same Job, so repeating is safe.
    /// # Errors
    /// [`Error::Invalid`] names what is wrong with it, and where; [`Error::Unavailable`]: nobody answered, or not all
    /// coordinators know this kind of Job.
    pub async fn submit_command(
        &self,
        request_id: &str,
        request: &CommandRequest,
    ) -> Result<JobId, Error> {
        let submit = || self.jobs.submit_command(request_id, request);
        let (job, _known) = self.ask(submit).await?;
        Ok(job)
    }

    /// One Job as it is now.
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unavailable`].
    pub async fn get(&self, job: JobId) -> Result<JobView, Error> {
        self.ask(|| self.jobs.get(job)).await
    }

    /// The Job that was submitted with `request_id`.
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unavailable`].
    pub async fn find(&self, request_id: &str) -> Result<JobView, Error> {
        self.ask(|| self.jobs.find(request_id)).await
    }

    /// All Jobs that `filter` lets pass, oldest first.
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn list(&self, filter: &JobFilter) -> Result<Vec<JobStatus>, Error> {
        let (mut jobs, mut token) = (Vec::new(), String::new());
        loop {
            let page = self.page(filter, 0, &token).await?;
            jobs.extend(page.jobs);
            match page.next {
                Some(next) => token = next,
                None => return Ok(jobs),
            }
        }
    }

    /// At most `limit` Jobs (0: a thousand) after the page that gave `token`; an empty one stands for the first page.
    /// # Errors
    /// [`Error::Invalid`]: the token belongs to another filter. [`Error::Unavailable`].
    pub async fn page(
        &self,
        filter: &JobFilter,
        limit: u32,
        token: &str,
    ) -> Result<JobPage, Error> {
        self.ask(|| self.jobs.page(filter, limit, token)).await
    }

    /// Follows a Job from its first event to its end; `see` gets every event once, and progress between them.
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unavailable`].
    /// # Cancel safety
    /// May be dropped and called again; events are then seen again from the first.
    pub async fn follow(&self, job: JobId, mut see: impl FnMut(&Watched)) -> Result<End, Error> {
        let mut watch = self.jobs.watch(job, 0).patience(self.patience);
        let mut end = None;
        while let Some(watched) = watch.next().await? {
            see(&watched);
            if let Watched::Event(event) = watched
                && let EventKind::Ended {
                    state,
                    class,
                    reason,
                } = event.kind
            {
                end = Some(End {
                    state,
                    class,
                    reason,
                });
            }
        }
        end.ok_or_else(|| Error::Internal("the events ended without an end".into()))
    }

    /// Ends a Job; one that has ended stays as it is.
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unavailable`].
    pub async fn cancel(&self, job: JobId, reason: &str) -> Result<JobStatus, Error> {
        self.ask(|| self.jobs.cancel(job, reason)).await
    }

    /// Grants nothing of a Job until it is resumed; what runs goes on.
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Precondition`]: it has ended.
    pub async fn pause(&self, job: JobId, request_id: &str) -> Result<JobStatus, Error> {
        self.ask(|| self.jobs.pause(job, request_id)).await
    }

    /// Grants again.
    /// # Errors
    /// As [`Client::pause`].
    pub async fn resume(&self, job: JobId, request_id: &str) -> Result<JobStatus, Error> {
        self.ask(|| self.jobs.resume(job, request_id)).await
    }

    /// Lets a failed Job live again; finished Chunks are kept.
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Precondition`]: it has not failed, or is archived.
    pub async fn retry(&self, job: JobId, request_id: &str) -> Result<JobStatus, Error> {
        self.ask(|| self.jobs.retry(job, request_id)).await
    }

    /// Why the Tasks of a Job wait.
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unavailable`].
    pub async fn explain(&self, job: JobId) -> Result<Explanation, Error> {
        self.ask(|| self.jobs.explain(job)).await
    }

    /// What FFmpeg said last in failed Attempts of a Job, one by one.
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unavailable`].
    pub async fn logs(
        &self,
        job: JobId,
        query: LogQuery,
        mut see: impl FnMut(&Logged),
    ) -> Result<(), Error> {
        let mut logs = self.jobs.logs(job, query).patience(self.patience);
        while let Some(logged) = logs.next().await? {
            see(&logged);
        }
        Ok(())
    }

    /// What an ended Job did.
    /// # Errors
    /// [`Error::Precondition`]: it has not ended.
    pub async fn report(&self, job: JobId) -> Result<JobReport, Error> {
        self.ask(|| self.jobs.report(job)).await
    }

    /// All Nodes, by number, without what they run.
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn nodes(&self) -> Result<Vec<NodeStatus>, Error> {
        let (mut nodes, mut after) = (Vec::new(), None);
        loop {
            let (page, next) = self.ask(|| self.nodes.page(after)).await?;
            nodes.extend(page);
            match next {
                Some(_) => after = next,
                None => return Ok(nodes),
            }
        }
    }

    /// One Node, with what it runs.
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unavailable`].
    pub async fn node(&self, node: NodeId) -> Result<NodeStatus, Error> {
        self.ask(|| self.nodes.get(node)).await
    }

    /// Gives a Node nothing new; what it runs goes on.
    /// # Errors
    /// As [`Client::node`].
    pub async fn drain(&self, node: NodeId) -> Result<NodeStatus, Error> {
        self.ask(|| self.nodes.drain(node)).await
    }

    /// Gives a Node work again.
    /// # Errors
    /// As [`Client::node`].
    pub async fn undrain(&self, node: NodeId) -> Result<NodeStatus, Error> {
        self.ask(|| self.nodes.undrain(node)).await
    }

    /// Where the cluster keeps what is on its way: a folder of a disk that its nodes share, or an `s3://` URL.
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn work_store(&self) -> Result<String, Error> {
        self.ask(|| self.cluster.work_store()).await
    }

    /// The coordinators, as whoever answers sees them.
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn cluster_status(&self) -> Result<ClusterStatus, Error> {
        self.ask(|| self.cluster.status()).await
    }

    /// Makes the coordinator that waits at `address` part of the cluster; gives its number.
    /// # Errors
    /// [`Error::Precondition`]: it does not wait, or not there.
    pub async fn add_coordinator(&self, address: &str) -> Result<u64, Error> {
        self.ask(|| self.cluster.add(address)).await
    }

    /// Removes a coordinator, living or lost.
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Precondition`]: it is the last one.
    pub async fn remove_coordinator(&self, coordinator: u64) -> Result<(), Error> {
        self.ask(|| self.cluster.remove(coordinator)).await
    }

    /// Writes a snapshot at whoever answers; gives the index of the last entry in it.
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn snapshot(&self) -> Result<u64, Error> {
        self.ask(|| self.cluster.snapshot()).await
    }
}
