//! Streams: events of many Jobs, logs, and their deadlines.

use super::*;

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
