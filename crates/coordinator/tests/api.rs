//! Every call of the API over real gRPC: what it does, and that wrong, oversized, stale and repeated input is answered with
//! a typed status.

mod common;

use common::{Folder, Ledger, Mood, Node, request, segments_of, watch_to_end};
use futures::{Stream, StreamExt as _};
use recode_coordinator::assembly::Running;
use recode_mesh::{Exchange, Jobs, Leader};
use recode_proto::convert::status::reason;
use recode_proto::convert::{MAX_MESSAGE_BYTES, MAX_WATCHED};
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

/// Asserts that something called `name` was not found.
fn not_found<T: std::fmt::Debug>(answer: Result<T, Status>, kind: &str, name: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
    let found = status.get_details_resource_info().expect("it has details");
    assert_eq!((&*found.resource_type, &*found.resource_name), (kind, name));
}

/// Calls that are about one Job, by name.
async fn about_a_job(api: &Api, job: &str) -> BTreeMap<&'static str, Result<(), Status>> {
    fn drop_answer<T>(answer: Result<Response<T>, Status>) -> Result<(), Status> {
        answer.map(|_| ())
    }
    let mut client = api.job.clone();
    let job = || job.to_owned();
    let mut answers = BTreeMap::new();
    let get = v1::GetRequest {
        job: job(),
        ..Default::default()
    };
    answers.insert("get", drop_answer(client.get(get).await));
    let watch = v1::WatchRequest {
        job: job(),
        ..Default::default()
    };
    answers.insert("watch", drop_answer(client.watch(watch).await));
    let cancel = v1::CancelRequest {
        job: job(),
        ..Default::default()
    };
    answers.insert("cancel", drop_answer(client.cancel(cancel).await));
    answers.insert("pause", api.pause(&job(), "").await.map(|_| ()));
    answers.insert("resume", api.resume(&job(), "").await.map(|_| ()));
    answers.insert("retry", api.retry(&job(), "r").await.map(|_| ()));
    let explain = v1::ExplainRequest { job: job() };
    answers.insert("explain", drop_answer(client.explain(explain).await));
    let report = v1::ReportRequest { job: job() };
    answers.insert("report", drop_answer(client.report(report).await));
    let logs = v1::LogsRequest {
        job: job(),
        ..Default::default()
    };
    answers.insert("logs", drop_answer(client.logs(logs).await));
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_about_a_job_refuses_what_is_no_job_and_does_not_know_unknown_ones() {
    let folder = Folder::new("no-job");
    let api = Api::at(folder.coordinator().await).await;
    for wrong in ["", "job_12", "task_1", "\u{0}", &"x".repeat(1 << 20)] {
        for (call, answer) in about_a_job(&api, wrong).await {
            println!("{call} with a job of {} bytes", wrong.len());
            names(answer, "job");
        }
    }
    let unknown = JobId::generate().to_string();
    for (call, answer) in about_a_job(&api, &unknown).await {
        println!("{call}");
        assert_eq!(
            answer
                .as_ref()
                .unwrap_err()
                .get_details_error_info()
                .unwrap()
                .reason,
            "UNKNOWN_JOB"
        );
        not_found(answer, "job", &unknown);
    }
    api.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_about_a_node_refuses_what_is_no_node() {
    let folder = Folder::new("no-node");
    let api = Api::at(folder.coordinator().await).await;
    for node in [0, 77] {
        let mut client = api.node.clone();
        let answers = [
            client
                .get_node(v1::GetNodeRequest { node })
                .await
                .map(|_| ()),
            client.drain(v1::DrainRequest { node }).await.map(|_| ()),
            client
                .undrain(v1::UndrainRequest { node })
                .await
                .map(|_| ()),
        ];
        for answer in answers {
            match node {
                0 => names(answer, "node"),
                _ => not_found(answer, "node", "node_77"),
            }
        }
    }
    let list = v1::ListNodesRequest {
        limit: u32::MAX,
        after: u64::MAX,
    };
    let none = api
        .node
        .clone()
        .list_nodes(list)
        .await
        .unwrap()
        .into_inner();
    assert!(none.nodes.is_empty() && none.next_after == 0);
    api.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_wrong_or_too_large_is_refused_by_field() {
    let folder = Folder::new("wrong");
    let api = Api::at(folder.coordinator().await).await;
    let submit = |request_id: &str, change: fn(&mut v1::JobRequest)| {
        let mut wire = v1::JobRequest::from(request());
        change(&mut wire);
        let message = v1::SubmitRequest {
            request_id: request_id.to_owned(),
            request: Some(wire),
            ..v1::SubmitRequest::default()
        };
        let mut client = api.job.clone();
        async move { client.submit(message).await }
    };
    names(submit("", |_| {}).await, "request_id");
    names(submit(&"x".repeat(129), |_| {}).await, "request_id");
    names(submit("a", |r| r.source.clear()).await, "source");
    names(submit("a", |r| r.outputs.clear()).await, "outputs");
    names(submit("a", |r| r.priority = 101).await, "priority");
    names(
        submit("a", |r| r.outputs[0].container = 99).await,
        "container",
    );
    names(
        submit("a", |r| r.outputs = vec![r.outputs[0].clone(); 65]).await,
        "outputs",
    );
    names(submit("a", |r| r.source = "x".repeat(5000)).await, "source");
    names(
        submit("a", |r| {
            r.labels = (0..60).map(|i| (i.to_string(), "x".repeat(2000))).collect();
        })
        .await,
        "request",
    );
    let empty = v1::SubmitRequest {
        request_id: "a".to_owned(),
        request: None,
        ..v1::SubmitRequest::default()
    };
    names(api.job.clone().submit(empty).await, "request");
    // More than any message may have: refused by its length, before it is read.
    let huge = submit("a", |r| r.source = "x".repeat(MAX_MESSAGE_BYTES + 1)).await;
    let status = huge.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    assert_eq!(
        api.jobs.list(false).await.unwrap().len(),
        0,
        "nothing was accepted"
    );

    let job = api.submit("one", &request()).await;
    let long = "x".repeat(129);
    names(api.pause(&job, &long).await, "request_id");
    names(api.resume(&job, &long).await, "request_id");
    names(api.retry(&job, &long).await, "request_id");
    names(api.retry(&job, "").await, "request_id");
    let cancel = |request_id: &str, reason: &str| {
        let message = v1::CancelRequest {
            job: job.clone(),
            request_id: request_id.to_owned(),
            reason: reason.to_owned(),
        };
        let mut client = api.job.clone();
        async move { client.cancel(message).await }
    };
    names(cancel(&long, "").await, "request_id");
    names(cancel("", &"x".repeat(5000)).await, "reason");
    let logs = v1::LogsRequest {
        job: job.clone(),
        task: "encode.first".to_owned(),
        ..Default::default()
    };
    names(api.job.clone().logs(logs).await, "task");
    let watch = |message: v1::WatchRequest| {
        let mut client = api.job.clone();
        async move { client.watch(message).await }
    };
    let from = |job: &str| v1::WatchFrom {
        job: job.to_owned(),
        from_index: 0,
    };
    let several = |jobs| v1::WatchRequest {
        jobs,
        ..Default::default()
    };
    names(watch(several(vec![from(&job); 2])).await, "jobs");
    names(watch(several(vec![from("?")])).await, "jobs.job");
    names(
        watch(several(vec![from(&job); MAX_WATCHED + 1])).await,
        "jobs",
    );
    let both = v1::WatchRequest {
        job: job.clone(),
        from_index: 0,
        jobs: vec![from(&job)],
    };
    names(watch(both).await, "jobs");
    let unknown = JobId::generate().to_string();
    not_found(
        watch(several(vec![from(&job), from(&unknown)])).await,
        "job",
        &unknown,
    );
    api.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_filtered_and_their_pages_follow_each_other_while_jobs_come() {
    let folder = Folder::new("list");
    let api = Api::at(folder.coordinator().await).await;
    let mut ids = Vec::new();
    for i in 0..7u8 {
        let mut request = request();
        request.source = format!("file:///films/{}/{i}.mp4", i % 2);
        request.labels = [("show".to_owned(), (i % 3).to_string())].into();
        ids.push(api.submit(&format!("request {i}"), &request).await);
    }
    let list = |message: v1::ListRequest| {
        let mut client = api.job.clone();
        async move { client.list(message).await.map(Response::into_inner) }
    };
    let listed = |answer: v1::ListResponse| -> Vec<String> {
        answer.jobs.into_iter().map(|job| job.job).collect()
    };
    let labelled = v1::ListRequest {
        labels: [("show".to_owned(), "1".to_owned())].into(),
        ..Default::default()
    };
    assert_eq!(listed(list(labelled).await.unwrap()), [&*ids[1], &*ids[4]]);
    let sources = v1::ListRequest {
        source_prefix: "file:///films/1/".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        listed(list(sources).await.unwrap()),
        [&*ids[1], &*ids[3], &*ids[5]]
    );
    api.jobs.cancel(ids[2].parse().unwrap(), "").await.unwrap();
    let cancelled = v1::ListRequest {
        states: vec![v1::JobState::Cancelled.into()],
        ..Default::default()
    };
    assert_eq!(listed(list(cancelled).await.unwrap()), [&*ids[2]]);

    let mut seen = Vec::new();
    let mut page = v1::ListRequest {
        limit: 2,
        ..Default::default()
    };
    let mut count = 0;
    loop {
        let answer = list(page.clone()).await.unwrap();
        page.page_token = answer.next_page_token.clone();
        seen.extend(listed(answer));
        if page.page_token.is_empty() {
            break;
        }
        if count < 3 {
            ids.push(api.submit(&format!("later {count}"), &request()).await);
            count += 1;
        }
    }
    assert_eq!(seen, ids, "each once, in the order of submission");

    names(
        list(v1::ListRequest {
            page_token: "elsewhere".to_owned(),
            ..Default::default()
        })
        .await,
        "page_token",
    );
    let first = list(v1::ListRequest {
        limit: 1,
        ..Default::default()
    });
    let stale = v1::ListRequest {
        page_token: first.await.unwrap().next_page_token,
        live_only: true,
        ..Default::default()
    };
    names(list(stale).await, "page_token");
    names(
        list(v1::ListRequest {
            states: vec![77],
            ..Default::default()
        })
        .await,
        "states",
    );
    api.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_job_waits_and_goes_on_when_resumed() {
    let folder = Folder::new("pause");
    let api = Api::at(folder.coordinator().await).await;
    let job = api.submit("one", &request()).await;
    for _ in 0..2 {
        assert!(api.pause(&job, "p").await.unwrap().paused);
    }
    let ledger = Ledger::default();
    let node = Node::spawn(&api.leader, &folder, &ledger, Mood::Willing);
    // The node reports and has room, and yet:
    let mut nodes = api.node.clone();
    let present = async {
        loop {
            let list = nodes.list_nodes(v1::ListNodesRequest::default());
            let list = list.await.unwrap().into_inner().nodes;
            let has_room = |n: &v1::NodeStatus| n.heard.as_ref().is_some_and(|h| h.free_light > 0);
            if list.iter().any(has_room) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), present)
        .await
        .expect("the node reports");
    let explained = api.explain(&job).await;
    assert_eq!(explained.waiting[0].why, Wait::Paused);
    assert_eq!(explained.waiting[0].tasks, [TaskKey::Probe { deep: false }]);
    assert!(ledger.lock().unwrap().is_empty(), "nothing was granted");
    // The same id for something else, or the id of the submission.
    for id in ["p", "one"] {
        let answer = api.resume(&job, id).await;
        refused(answer, Code::FailedPrecondition, "REQUEST_ID_TAKEN");
    }
    assert!(!api.resume(&job, "r").await.unwrap().paused);
    // The pause once more, late: answered as before, and it does not pause again.
    assert!(!api.pause(&job, "p").await.unwrap().paused);
    let events = watch_to_end(&api.jobs, job.parse().unwrap()).await;
    let told = |kind: EventKind| events.iter().filter(|e| **e == kind).count();
    assert_eq!((told(EventKind::Paused), told(EventKind::Resumed)), (1, 1));
    assert!(ledger.lock().unwrap().len() > 10);
    // What comes after the end is stale.
    refused(
        api.pause(&job, "").await,
        Code::FailedPrecondition,
        "JOB_ENDED",
    );
    refused(
        api.resume(&job, "").await,
        Code::FailedPrecondition,
        "JOB_ENDED",
    );
    refused(
        api.retry(&job, "n").await,
        Code::FailedPrecondition,
        "NOT_FAILED",
    );
    assert!(api.explain(&job).await.waiting.is_empty());
    node.abort();
    api.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_job_is_retried_without_encoding_anything_again() {
    let folder = Folder::new("retry");
    // One that sweeps: what the failed job has made must stay.
    let api = Api::at(folder.lasting().await).await;
    let ledger = Ledger::default();
    let node = Node::spawn(&api.leader, &folder, &ledger, Mood::Spoils(4));
    let job = api.submit("one", &request()).await;
    refused(
        api.retry(&job, "soon").await,
        Code::FailedPrecondition,
        "NOT_FAILED",
    );
    let report = v1::ReportRequest { job: job.clone() };
    let early = api.job.clone().report(report.clone()).await;
    if let Err(status) = early {
        refused::<()>(Err(status), Code::FailedPrecondition, "JOB_RUNS");
    }
    let id: JobId = job.parse().unwrap();
    let events = watch_to_end(&api.jobs, id).await;
    assert!(
        matches!(
            events.last(),
            Some(EventKind::Ended {
                state: JobState::Failed,
                ..
            })
        ),
        "{events:?}"
    );
    let logs = api
        .logs(v1::LogsRequest {
            job: job.clone(),
            ..Default::default()
        })
        .await;
    let log = logs[0].log.as_ref().unwrap();
    assert_eq!((logs.len(), logs[0].dropped), (1, 0));
    assert_eq!((&*log.task, log.attempt), ("encode.0.4", 1));
    assert_eq!(log.stderr_tail, "Invalid data found");

    let known = events.len() as u64;
    let status = api.retry(&job, "again").await.unwrap();
    assert!(!status.state.is_terminal() || status.state == JobState::Done);
    let all = watch_to_end(&api.jobs, id).await;
    assert_eq!(&all[..events.len()], &events, "what was told stays");
    assert!(
        matches!(
            all.last(),
            Some(EventKind::Ended {
                state: JobState::Done,
                ..
            })
        ),
        "{all:?}"
    );
    let kept = events
        .iter()
        .filter(|e| {
            matches!(
                e,
                EventKind::TaskDone {
                    task: TaskKey::Encode { .. },
                    ..
                }
            )
        })
        .count() as u32;
    assert_eq!(all[events.len()], EventKind::Retried { chunks_kept: kept });
    let encoded = all
        .iter()
        .filter(|e| {
            matches!(
                e,
                EventKind::TaskDone {
                    task: TaskKey::Encode { .. },
                    ..
                }
            )
        })
        .count() as u32;
    assert_eq!(encoded, segments_of(&all), "each segment once");
    // Asked for twice it is one, and the id is no other request's.
    let again = api.retry(&job, "again").await.unwrap();
    assert_eq!(again.state, JobState::Done);
    refused(
        api.pause(&job, "again").await,
        Code::FailedPrecondition,
        "REQUEST_ID_TAKEN",
    );
    refused(
        api.retry(&job, "anew").await,
        Code::FailedPrecondition,
        "NOT_FAILED",
    );
    // Who saw the first end goes on behind it.
    let rest = api
        .watch(v1::WatchRequest {
            job: job.clone(),
            from_index: known,
            ..Default::default()
        })
        .await;
    let indices: Vec<u64> = rest.into_iter().filter_map(index).collect();
    assert_eq!(indices, (known..all.len() as u64).collect::<Vec<_>>());
    assert!(api.job.clone().report(report).await.is_ok());
    node.abort();
    api.running.stop().await;
}

fn index(said: v1::WatchResponse) -> Option<u64> {
    match said.what.unwrap() {
        v1::watch_response::What::Event(event) => Some(event.index),
        v1::watch_response::What::Progress(_) => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_jobs_are_watched_at_once_without_gap_or_duplicate() {
    let folder = Folder::new("many");
    let api = Api::at(folder.coordinator().await).await;
    let ledger = Ledger::default();
    let first = api.submit("first", &request()).await;
    let node = Node::spawn(&api.leader, &folder, &ledger, Mood::Clumsy);
    let done = watch_to_end(&api.jobs, first.parse().unwrap()).await;
    let mut jobs = vec![first.clone()];
    for i in 0..4 {
        jobs.push(api.submit(&format!("request {i}"), &request()).await);
    }
    // One that has ended is read from its middle, one from behind its end, the others from their beginning.
    let middle = done.len() as u64 / 2;
    let from = |job: &String| v1::WatchFrom {
        job: job.clone(),
        from_index: if *job == first { middle } else { 0 },
    };
    let said = api
        .watch(v1::WatchRequest {
            jobs: jobs.iter().map(from).collect(),
            ..Default::default()
        })
        .await;
    let mut indices: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for said in said {
        let job = said.job.clone();
        indices.entry(job).or_default().extend(index(said));
    }
    for job in &jobs {
        let status = api.jobs.get(job.parse().unwrap()).await.unwrap().status;
        assert_eq!(status.state, JobState::Done);
        let start = if *job == first { middle } else { 0 };
        assert_eq!(indices[job], (start..status.events).collect::<Vec<_>>());
    }
    // Behind the end there is nothing, and that is the end.
    let beyond = v1::WatchRequest {
        job: first,
        from_index: u64::MAX,
        ..Default::default()
    };
    assert!(api.watch(beyond).await.is_empty());
    node.abort();
    api.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_are_followed_to_the_end_and_what_was_dropped_is_said() {
    let folder = Folder::new("logs");
    let api = Api::at(folder.coordinator().await).await;
    let ledger = Ledger::default();
    let job = api.submit("one", &request()).await;
    let follow = v1::LogsRequest {
        job: job.clone(),
        follow: true,
        ..Default::default()
    };
    let following = api.job.clone().logs(follow).await.unwrap().into_inner();
    let node = Node::spawn(&api.leader, &folder, &ledger, Mood::Clumsy);
    let followed = all(following).await;
    let events = watch_to_end(&api.jobs, job.parse().unwrap()).await;
    let failures = segments_of(&events);
    assert!(failures > 20, "more than are kept");
    let mut next = 0;
    for said in &followed {
        let log = said.log.as_ref().unwrap();
        assert_eq!(
            log.number,
            next + said.dropped,
            "nothing is skipped in silence"
        );
        assert!(log.stderr_tail.ends_with("fell over"), "{log:?}");
        next = log.number + 1;
    }
    assert_eq!(next, u64::from(failures));
    let kept = api
        .logs(v1::LogsRequest {
            job: job.clone(),
            ..Default::default()
        })
        .await;
    assert_eq!(kept.len(), 16);
    assert_eq!(kept[0].dropped, u64::from(failures) - 16);
    // Of one Task, and from a number on.
    let last = kept[15].log.as_ref().unwrap().clone();
    let of_one = |from_number| v1::LogsRequest {
        job: job.clone(),
        task: last.task.clone(),
        from_number,
        follow: true,
    };
    assert_eq!(api.logs(of_one(last.number)).await.len(), 1);
    assert_eq!(api.logs(of_one(last.number + 1)).await.len(), 0);
    node.abort();
    api.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_node_gets_nothing_and_a_restart_does_not_forget_it() {
    let folder = Folder::new("drain");
    let api = Api::at(folder.lasting().await).await;
    let ledger = Ledger::default();
    let node = Node::spawn(&api.leader, &folder, &ledger, Mood::Willing);
    let id = tokio::time::timeout(Duration::from_secs(10), async {
        loop {
            let list = v1::ListNodesRequest::default();
            let list = api.node.clone().list_nodes(list).await.unwrap();
            if let Some(node) = list.into_inner().nodes.first() {
                return node.node;
            }
        }
    })
    .await
    .expect("the node registers");
    let get = |api: &Api| {
        let mut client = api.node.clone();
        async move {
            let got = client.get_node(v1::GetNodeRequest { node: id }).await;
            got.unwrap().into_inner().status.unwrap()
        }
    };
    let drain = v1::DrainRequest { node: id };
    for _ in 0..2 {
        let drained = api.node.clone().drain(drain).await.unwrap().into_inner();
        assert!(drained.status.unwrap().draining);
    }
    let job = api.submit("one", &request()).await;
    api.explained_as(&job, |why| *why == Wait::Draining).await;
    assert!(ledger.lock().unwrap().is_empty(), "nothing was granted");
    assert_eq!(get(&api).await.leases, 0);
    let heard = get(&api).await.heard.unwrap();
    assert!(heard.present && heard.hello.unwrap().name.starts_with("make-believe"));

    // Another Leader, which has heard of nobody yet.
    node.abort();
    api.running.stop().await;
    let api = Api::at(folder.lasting().await).await;
    assert!(get(&api).await.draining);
    let undrain = v1::UndrainRequest { node: id };
    for _ in 0..2 {
        let back = api
            .node
            .clone()
            .undrain(undrain)
            .await
            .unwrap()
            .into_inner();
        assert!(!back.status.unwrap().draining);
    }
    let node = Node::spawn(&api.leader, &folder, &ledger, Mood::Willing);
    let events = watch_to_end(&api.jobs, job.parse().unwrap()).await;
    assert!(matches!(
        events.last(),
        Some(EventKind::Ended {
            state: JobState::Done,
            ..
        })
    ));
    // Nodes are listed page by page.
    let page = v1::ListNodesRequest { limit: 1, after: 0 };
    let page = api
        .node
        .clone()
        .list_nodes(page)
        .await
        .unwrap()
        .into_inner();
    assert_eq!((page.nodes.len(), page.next_after), (1, id));
    let next = v1::ListNodesRequest {
        limit: 1,
        after: id,
    };
    let next = api
        .node
        .clone()
        .list_nodes(next)
        .await
        .unwrap()
        .into_inner();
    assert_eq!((next.nodes.len(), next.next_after), (1, 0));
    node.abort();
    api.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_explained() {
    let folder = Folder::new("explain");
    let api = Api::at(folder.coordinator().await).await;
    let job = api.submit("one", &request()).await;
    let explained = api.explain(&job).await;
    let why: Vec<_> = explained.waiting.iter().map(|w| w.why.clone()).collect();
    assert_eq!(why, [Wait::NoNodes, Wait::Probe]);
    let ledger = Ledger::default();
    let node = Node::spawn(&api.leader, &folder, &ledger, Mood::StopsAfter(0));
    let stuck = api.explained_as(&job, |why| *why == Wait::NoFreeSlot).await;
    assert!(stuck.tasks_running >= 2, "{stuck:?}");
    assert!(
        stuck.waiting.iter().any(
            |w| matches!(w.why, Wait::Tasks { encodes, .. } if encodes > 10)
                && w.tasks == [TaskKey::Stitch { output: 0 }]
        ),
        "{stuck:?}"
    );
    let waiting: u32 = stuck.waiting.iter().map(|w| w.count).sum();
    assert_eq!(
        stuck.tasks,
        stuck.tasks_done + stuck.tasks_running + waiting
    );
    node.abort();
    api.running.stop().await;
}

/// A call with a deadline.
fn within<T>(message: T, deadline: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlines_end_calls_and_streams() {
    let folder = Folder::new("deadline");
    let api = Api::at(folder.coordinator().await).await;
    let job = api.submit("one", &request()).await;
    let ended = |open: Result<Response<tonic::Streaming<v1::WatchResponse>>, Status>| async {
        let said: Vec<_> = open.unwrap().into_inner().collect().await;
        said.into_iter().next_back().unwrap().unwrap_err().code()
    };
    let watch = v1::WatchRequest {
        job: job.clone(),
        ..Default::default()
    };
    let short = Duration::from_millis(300);
    let open = api.job.clone().watch(within(watch, short)).await;
    assert_eq!(ended(open).await, Code::DeadlineExceeded);
    let logs = v1::LogsRequest {
        job: job.clone(),
        follow: true,
        ..Default::default()
    };
    let open = api.job.clone().logs(within(logs, short)).await.unwrap();
    let said: Vec<_> = open.into_inner().collect().await;
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].as_ref().unwrap_err().code(), Code::DeadlineExceeded);
    // A call that had no time at all: its outcome is not known, and asking again with the same id finds out.
    let submit = v1::SubmitRequest {
        request_id: "two".to_owned(),
        request: Some(request().into()),
        ..v1::SubmitRequest::default()
    };
    let late = within(submit.clone(), Duration::from_nanos(1));
    // A quick disk may answer before anybody has looked at the clock.
    if let Err(status) = api.job.clone().submit(late).await {
        let unknown = matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled);
        assert!(unknown, "{status:?}");
    }
    let first = api
        .job
        .clone()
        .submit(submit.clone())
        .await
        .unwrap()
        .into_inner();
    let again = api.job.clone().submit(submit).await.unwrap().into_inner();
    assert_eq!((again.known, again.job), (true, first.job));
    api.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_begins_with_a_hello_and_ends_with_what_was_wrong() {
    let folder = Folder::new("exchange");
    let api = Api::at(folder.coordinator().await).await;
    let open = |first: v1::NodeReport, next: Option<v1::NodeReport>| {
        let mut client = api.node.clone();
        async move {
            // Kept open behind what is said.
            let said = futures::stream::iter(std::iter::once(first).chain(next));
            let said = said.chain(futures::stream::pending());
            client.exchange(said).await
        }
    };
    let good = NodeReport {
        instance: "one".to_owned(),
        hello: Some(NodeHello {
            name: "made up".to_owned(),
            ..NodeHello::default()
        }),
        ..NodeReport::default()
    };
    let no_hello = NodeReport {
        hello: None,
        ..good.clone()
    };
    names(open(no_hello.into(), None).await, "hello");
    names(open(v1::NodeReport::default(), None).await, "instance");
    let opened = open(good.clone().into(), Some(v1::NodeReport::default())).await;
    let said: Vec<_> = opened.unwrap().into_inner().collect().await;
    assert!(
        said[0].as_ref().unwrap().node.is_some(),
        "it was welcome at first"
    );
    let last = said.into_iter().next_back().unwrap();
    names(last, "instance");
    // As our own nodes see it.
    let exchange = Exchange::open(&api.leader, good).await;
    assert!(exchange.is_ok());
    api.running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_job_stays_cancelled_whoever_asks() {
    let folder = Folder::new("cancelled");
    let api = Api::at(folder.coordinator().await).await;
    let job = api.submit("one", &request()).await;
    api.pause(&job, "").await.unwrap();
    let cancel = |request_id: &str, reason: &str| {
        let message = v1::CancelRequest {
            job: job.clone(),
            request_id: request_id.to_owned(),
            reason: reason.to_owned(),
        };
        let mut client = api.job.clone();
        async move {
            let answer = client.cancel(message).await?;
            JobStatus::try_from(answer.into_inner().status.unwrap()).map_err(Status::from)
        }
    };
    let status = cancel("c", "enough").await.unwrap();
    assert_eq!((status.state, status.paused), (JobState::Cancelled, false));
    for (id, reason) in [("c", "enough"), ("", "more"), ("d", "again")] {
        let status = cancel(id, reason).await.unwrap();
        assert_eq!(status.reason.as_deref(), Some("enough"), "{id}");
    }
    // Another request under the id of the first.
    let other = cancel("c", "something else").await;
    refused(other, Code::FailedPrecondition, "REQUEST_ID_TAKEN");
    refused(
        api.retry(&job, "n").await,
        Code::FailedPrecondition,
        "NOT_FAILED",
    );
    api.running.stop().await;
}
