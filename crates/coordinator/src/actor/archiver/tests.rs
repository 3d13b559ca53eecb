use super::*;
use crate::actor::dispatcher;
use crate::actor::dispatcher::Running;
use crate::actor::planner;
use crate::actor::sweeper::SweeperHandle;
use crate::actor::view::View;
use crate::raft::Setup;
use crate::service::job::Jobs;
use recode_core::{PlanPolicy, machine::Wish};
use recode_proto::convert::status::reason;
use recode_proto::v1::{self, job_service_server::JobService};
use recode_store::WorkStore;
use recode_types::JobRequest;
use std::sync::Arc;
use tokio::sync::watch;
use tonic::{Code, Request};

fn request() -> JobRequest {
    serde_json::from_value(serde_json::json!({
        "source": "file:///made-up/in.mp4",
        "outputs": [{
            "url": "file:///made-up/out.mp4",
            "container": "mp4",
            "rendition": {
                "codec": "h264", "encoder": "libx264", "profile": "quality", "scale": "source",
                "deinterlace": "off"
            },
            "tracks": "all"
        }],
        "score": [], "verify_full": false, "strict": false, "overwrite": true, "labels": {}, "priority": 50
    }))
    .unwrap()
}

/// A Job that is cancelled, leaves the state, and can be asked for all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archived_job_answers_from_its_archive() {
    let dir = std::env::temp_dir().join(format!("recode-archiver-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let folder = dir.join("raft");
    let consensus = Consensus::open(&folder, Setup::alone()).await.unwrap();
    consensus.barrier().await.unwrap();
    let url = format!("file://{}", dir.join("store").display());
    let store: Store = Arc::new(WorkStore::open(&url).await.unwrap());
    let stop = CancellationToken::new();
    let (planner, _) = planner::new(
        consensus.clone(),
        store.clone(),
        PlanPolicy::default(),
        stop.clone(),
    );
    let running = watch::Sender::new(Running::default());
    let parts = dispatcher::Parts {
        consensus: consensus.clone(),
        store: store.clone(),
        planner,
        sweeper: SweeperHandle::idle(),
        archiver: ArchiverHandle::default(),
        running: running.clone(),
    };
    let (dispatcher, _life) = dispatcher::new(parts, stop.clone());
    let jobs = Jobs {
        consensus: consensus.clone(),
        running: View::new(
            watch::channel(Some(dispatcher)).1,
            running.subscribe(),
            store.clone(),
        ),
        door: crate::room::Door::open(),
        stop: stop.clone(),
    };

    let job = JobId::generate();
    let submit = Command::SubmitJob {
        request_id: "one".to_owned(),
        job,
        request: Box::new(request()),
    };
    let cancel = Command::Ask {
        job,
        request_id: String::new(),
        wish: Wish::Cancel {
            reason: "enough".to_owned(),
        },
    };
    consensus.propose(vec![submit, cancel]).await.unwrap();
    // A watcher who has seen the first event when the Job leaves.
    let watch = |from_index| {
        Request::new(v1::WatchRequest {
            job: job.to_string(),
            from_index,
            ..v1::WatchRequest::default()
        })
    };
    let none = Retention {
        keep_ms: 0,
        most_ended: 0,
        most_stubs: 10,
    };
    let wanted = ArchiverHandle::default();
    retire(&consensus, &none, &wanted).await;
    assert_eq!(wanted.jobs.next().await, job);
    store_and_leave(&consensus, &store, job).await.unwrap();
    // Asked for once more, as a new Leader would: nothing happens.
    store_and_leave(&consensus, &store, job).await.unwrap();
    assert!(consensus.shared().look(|state| state.jobs.is_empty()));

    let id = job.to_string();
    let get = v1::GetRequest {
        job: id.clone(),
        ..v1::GetRequest::default()
    };
    let got = jobs.get(Request::new(get)).await.unwrap().into_inner();
    let status = got.status.unwrap();
    assert_eq!(status.source, "file:///made-up/in.mp4");
    assert_eq!(status.reason.as_deref(), Some("enough"));
    assert!(status.archive.unwrap().starts_with("archive/"));
    assert_eq!(
        JobRequest::try_from(got.request.unwrap()).unwrap(),
        request()
    );
    let report = v1::ReportRequest { job: id.clone() };
    let report = jobs
        .report(Request::new(report))
        .await
        .unwrap()
        .into_inner();
    assert!(report.json.contains("\"cancelled\""), "{}", report.json);
    for (from, count) in [(0, 2), (1, 1), (2, 0)] {
        let stream = jobs.watch(watch(from)).await.unwrap().into_inner();
        let said: Vec<_> = futures::StreamExt::collect(stream).await;
        let indices: Vec<u64> = said
            .into_iter()
            .map(|said| match said.unwrap().what.unwrap() {
                v1::watch_response::What::Event(event) => event.index,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(indices, (from..from + count).collect::<Vec<_>>());
    }
    let list = |archived| {
        let request = v1::ListRequest {
            archived,
            ..v1::ListRequest::default()
        };
        jobs.list(Request::new(request))
    };
    assert_eq!(list(false).await.unwrap().into_inner().jobs.len(), 0);
    assert_eq!(list(true).await.unwrap().into_inner().jobs.len(), 1);
    let explain = v1::ExplainRequest { job: id.clone() };
    let explained = jobs.explain(Request::new(explain)).await.unwrap();
    assert!(explained.into_inner().waiting.is_empty());
    // Ending it again is no error; another try is one.
    let cancel = v1::CancelRequest {
        job: id.clone(),
        ..v1::CancelRequest::default()
    };
    jobs.cancel(Request::new(cancel)).await.unwrap();
    let retry = v1::RetryRequest {
        job: id.clone(),
        request_id: "again".to_owned(),
    };
    let refused = jobs.retry(Request::new(retry)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(reason(&refused).as_deref(), Some("JOB_ARCHIVED"));
    let resubmit = v1::SubmitRequest {
        request_id: "one".to_owned(),
        request: Some(request().into()),
        ..v1::SubmitRequest::default()
    };
    let known = jobs.submit(Request::new(resubmit)).await.unwrap();
    assert_eq!((known.get_ref().known, &known.get_ref().job), (true, &id));

    // An archive that is gone is said to be.
    std::fs::remove_dir_all(dir.join("store/archive")).unwrap();
    let get = v1::GetRequest {
        job: id.clone(),
        ..v1::GetRequest::default()
    };
    let lost = jobs.get(Request::new(get)).await.unwrap_err();
    assert_eq!(lost.code(), Code::Unavailable);
    assert_eq!(reason(&lost).as_deref(), Some("ARCHIVE_UNREADABLE"));
    stop.cancel();
    consensus.stop().await;
    std::fs::remove_dir_all(&dir).unwrap();
}
