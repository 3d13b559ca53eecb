//! What the calls of the API do, over real gRPC. What they refuse, and how, is the table of `api_table`.

#[path = "../common/mod.rs"]
mod common;
mod look;
mod node;
mod steer;
mod watch;

use common::{Folder, Ledger, Mood, Node, request, segments_of, watch_to_end};
use futures::{Stream, StreamExt as _};
use recode_coordinator::assembly::Running;
use recode_mesh::{Exchange, Jobs, Leader};
use recode_proto::convert::MAX_MESSAGE_BYTES;
use recode_proto::convert::status::reason;
use recode_proto::v1;
use recode_proto::v1::job_service_client::JobServiceClient;
use recode_proto::v1::node_service_client::NodeServiceClient;
use recode_types::{
    EventKind, Explanation, JobId, JobRequest, JobState, JobStatus, NodeHello, NodeReport, TaskKey,
    Wait,
};
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;

struct Api {
    running: Running,
    /// As our own programs speak it.
    jobs: Jobs,
    leader: Leader,
    /// As anybody may speak it.
    job: JobServiceClient<Channel>,
    node: NodeServiceClient<Channel>,
}

impl Api {
    async fn at((running, jobs, leader): (Running, Jobs, Leader)) -> Self {
        let address = format!("http://{}", running.local_addr());
        let channel = Endpoint::from_shared(address).unwrap().connect_lazy();
        Self {
            running,
            jobs,
            leader,
            job: JobServiceClient::new(channel.clone())
                .max_encoding_message_size(2 * MAX_MESSAGE_BYTES),
            node: NodeServiceClient::new(channel),
        }
    }

    async fn submit(&self, name: &str, request: &JobRequest) -> String {
        self.jobs.submit(name, request).await.unwrap().0.to_string()
    }

    async fn pause(&self, job: &str, request_id: &str) -> Result<JobStatus, Status> {
        let message = v1::PauseRequest {
            job: job.to_owned(),
            request_id: request_id.to_owned(),
        };
        let answer = self.job.clone().pause(message).await?;
        Ok(answer.into_inner().status.unwrap().try_into()?)
    }

    async fn resume(&self, job: &str, request_id: &str) -> Result<JobStatus, Status> {
        let message = v1::ResumeRequest {
            job: job.to_owned(),
            request_id: request_id.to_owned(),
        };
        let answer = self.job.clone().resume(message).await?;
        Ok(answer.into_inner().status.unwrap().try_into()?)
    }

    async fn retry(&self, job: &str, request_id: &str) -> Result<JobStatus, Status> {
        let message = v1::RetryRequest {
            job: job.to_owned(),
            request_id: request_id.to_owned(),
        };
        let answer = self.job.clone().retry(message).await?;
        Ok(answer.into_inner().status.unwrap().try_into()?)
    }

    async fn explain(&self, job: &str) -> Explanation {
        let message = v1::ExplainRequest {
            job: job.to_owned(),
        };
        let answer = self.job.clone().explain(message).await.unwrap();
        answer.into_inner().try_into().unwrap()
    }

    /// Explains until `found` is among the reasons.
    async fn explained_as(&self, job: &str, found: impl Fn(&Wait) -> bool) -> Explanation {
        tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                let explanation = self.explain(job).await;
                if explanation.waiting.iter().any(|w| found(&w.why)) {
                    return explanation;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("it waits for that sooner or later")
    }

    async fn logs(&self, message: v1::LogsRequest) -> Vec<v1::LogsResponse> {
        let stream = self.job.clone().logs(message).await.unwrap();
        all(stream.into_inner()).await
    }

    async fn watch(&self, message: v1::WatchRequest) -> Vec<v1::WatchResponse> {
        let stream = self.job.clone().watch(message).await.unwrap();
        all(stream.into_inner()).await
    }
}

/// Everything a stream says until it ends well.
async fn all<T>(stream: impl Stream<Item = Result<T, Status>>) -> Vec<T> {
    let said: Vec<_> = stream.collect().await;
    said.into_iter().map(Result::unwrap).collect()
}

/// Asserts a refusal that names a field.
fn names<T: std::fmt::Debug>(answer: Result<T, Status>, field: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status.get_details_bad_request().expect("it has details");
    assert_eq!(details.field_violations[0].field, field, "{status:?}");
    assert!(status.message().contains(field), "{status:?}");
}

/// Asserts a refusal for a reason.
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, why: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), code, "{status:?}");
    assert_eq!(reason(&status).as_deref(), Some(why), "{status:?}");
}

fn index(said: v1::WatchResponse) -> Option<u64> {
    match said.what.unwrap() {
        v1::watch_response::What::Event(event) => Some(event.index),
        v1::watch_response::What::Progress(_) => None,
    }
}
