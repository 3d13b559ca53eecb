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
use recode_mesh::{Cluster, Jobs, Leader};
use recode_types::cluster::ClusterStatus;
use recode_types::report::JobReport;
use recode_types::task::FailureClass;
use recode_types::{EventKind, JobId, JobRequest, JobState, JobStatus};
use std::time::Duration;

pub use recode_mesh::{Error, JobView, Watched};

/// How long a call is repeated while nobody answers.
const PATIENCE: Duration = Duration::from_secs(30);

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
    cluster: Cluster,
    patience: Duration,
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
            cluster: Cluster::new(leader),
            patience: PATIENCE,
        })
    }

    /// Gives up after this long without an answer.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Submits `request`. The same `request_id` gives the same Job, so repeating is safe.
    /// # Errors
    /// [`Error::Invalid`] names what is wrong with the request; [`Error::Unavailable`]: nobody answered.
    pub async fn submit(&self, request_id: &str, request: &JobRequest) -> Result<JobId, Error> {
        let (job, _known) = retry(self.patience, || self.jobs.submit(request_id, request)).await?;
        Ok(job)
    }

    /// One Job as it is now.
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unavailable`].
    pub async fn get(&self, job: JobId) -> Result<JobView, Error> {
        retry(self.patience, || self.jobs.get(job)).await
    }

    /// All Jobs, oldest first.
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn list(&self, live_only: bool) -> Result<Vec<JobStatus>, Error> {
        retry(self.patience, || self.jobs.list(live_only)).await
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
        retry(self.patience, || self.jobs.cancel(job, reason)).await
    }

    /// What an ended Job did.
    /// # Errors
    /// [`Error::Precondition`]: it has not ended.
    pub async fn report(&self, job: JobId) -> Result<JobReport, Error> {
        retry(self.patience, || self.jobs.report(job)).await
    }

    /// The coordinators, as whoever answers sees them.
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn cluster_status(&self) -> Result<ClusterStatus, Error> {
        retry(self.patience, || self.cluster.status()).await
    }

    /// Makes the coordinator that waits at `address` part of the cluster; gives its number.
    /// # Errors
    /// [`Error::Precondition`]: it does not wait, or not there.
    pub async fn add_coordinator(&self, address: &str) -> Result<u64, Error> {
        retry(self.patience, || self.cluster.add(address)).await
    }

    /// Removes a coordinator, living or lost.
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Precondition`]: it is the last one.
    pub async fn remove_coordinator(&self, coordinator: u64) -> Result<(), Error> {
        retry(self.patience, || self.cluster.remove(coordinator)).await
    }

    /// Writes a snapshot at whoever answers; gives the index of the last entry in it.
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn snapshot(&self) -> Result<u64, Error> {
        retry(self.patience, || self.cluster.snapshot()).await
    }
}
