//! What is wanted of Jobs: pausing, resuming, trying again, cancelling.

use super::*;

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
