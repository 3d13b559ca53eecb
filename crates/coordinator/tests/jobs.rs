//! A real coordinator (gRPC, Raft log on disk) with a make-believe node that finishes everything it is granted.

mod common;

use common::{Folder, Ledger, Mood, Node, request, segments_of, watch_to_end};
use recode_coordinator::assembly::{Config, start};
use recode_mesh::{Nodes, Watched};
use recode_types::{EventKind, JobId, JobState, TaskKey};
use std::time::{Duration, Instant};
use tokio::sync::watch;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_runs_to_its_end_and_its_report_counts_every_chunk() {
    let folder = Folder::new("done");
    let (running, jobs, leader) = folder.coordinator().await;
    let ledger = Ledger::default();
    let node = Node::spawn(&leader, &folder, &ledger, Mood::Willing);
    let (job, known) = jobs.submit("one", &request()).await.unwrap();
    assert!(!known);
    let events = watch_to_end(&jobs, job).await;
    assert!(
        matches!(
            events.last(),
            Some(EventKind::Ended {
                state: JobState::Done,
                ..
            })
        ),
        "{events:?}"
    );
    let segments = segments_of(&events);
    assert!(segments >= 10, "{segments} segments of 60 s cut at 2 s");
    // A probe, each Segment once, one stitch.
    assert_eq!(ledger.lock().unwrap().len() as u32, segments + 2);
    let report = jobs.report(job).await.unwrap();
    assert_eq!(report.state, "done");
    assert_eq!(report.outputs[0].segments.len() as u32, segments);
    // The same request id is the same job, done as it is; the same id for something else is refused.
    assert_eq!(jobs.submit("one", &request()).await.unwrap(), (job, true));
    let mut other = request();
    other.priority = 1;
    assert!(matches!(
        jobs.submit("one", &other).await,
        Err(recode_mesh::Error::Precondition(_))
    ));
    assert_eq!(jobs.list(false).await.unwrap().len(), 1);
    assert!(jobs.list(true).await.unwrap().is_empty());
    node.abort();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_goes_on_where_it_stopped_and_runs_nothing_twice() {
    let folder = Folder::new("restart");
    let ledger = Ledger::default();
    let (running, jobs, leader) = folder.coordinator().await;
    let node = Node::spawn(&leader, &folder, &ledger, Mood::StopsAfter(5));
    let (job, _) = jobs.submit("one", &request()).await.unwrap();
    let mut watch = jobs.watch(job, 0);
    let mut done = Vec::new();
    while done.len() < 6 {
        if let Some(Watched::Event(event)) = watch.next().await.unwrap()
            && let EventKind::TaskDone { task, .. } = event.kind
        {
            done.push(task);
        }
    }
    drop(watch);
    running.stop().await;
    node.abort();
    let before = ledger.lock().unwrap().clone();
    let (running, jobs, leader) = folder.coordinator().await;
    assert_eq!(jobs.submit("one", &request()).await.unwrap(), (job, true));
    let node = Node::spawn(&leader, &folder, &ledger, Mood::Willing);
    let started = Instant::now();
    let events = watch_to_end(&jobs, job).await;
    assert!(
        matches!(
            events.last(),
            Some(EventKind::Ended {
                state: JobState::Done,
                ..
            })
        ),
        "{events:?}"
    );
    assert!(
        started.elapsed() < Duration::from_secs(9),
        "leases of the dead node were waited for"
    );
    let after = ledger.lock().unwrap()[before.len()..].to_vec();
    let again: Vec<_> = after
        .iter()
        .filter(|t| done.contains(&t.task.key))
        .collect();
    assert!(again.is_empty(), "ran again: {again:?}");
    let granted_twice = after.iter().filter(|t| before.contains(t)).count();
    assert_eq!(granted_twice, 0, "an attempt number was used twice");
    assert_eq!(segments_of(&events) as usize, {
        let mut keys: Vec<_> = before.iter().chain(&after).map(|t| t.task.key).collect();
        keys.retain(|k| matches!(k, TaskKey::Encode { .. }));
        keys.sort();
        keys.dedup();
        keys.len()
    });
    node.abort();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_attempts_are_tried_again_with_new_numbers() {
    let folder = Folder::new("clumsy");
    let (running, jobs, leader) = folder.coordinator().await;
    let ledger = Ledger::default();
    let node = Node::spawn(&leader, &folder, &ledger, Mood::Clumsy);
    let (job, _) = jobs.submit("one", &request()).await.unwrap();
    let events = watch_to_end(&jobs, job).await;
    let segments = segments_of(&events);
    let failed = events
        .iter()
        .filter(|e| matches!(e, EventKind::AttemptFailed { retried: true, .. }))
        .count();
    assert_eq!(failed as u32, segments);
    assert_eq!(jobs.report(job).await.unwrap().retries, segments);
    node.abort();
    running.stop().await;
}

/// Runs a Job on Nodes of these moods, all of which are known before it begins. Answers what it told, and what each Node was given
/// to encode.
async fn among(name: &str, moods: &[Mood]) -> (Vec<EventKind>, Vec<usize>) {
    let folder = Folder::new(name);
    let (running, jobs, leader) = folder.coordinator().await;
    let all = Nodes::new(leader.clone());
    let mut nodes = Vec::new();
    let mut ledgers = Vec::new();
    for mood in moods {
        let ledger = Ledger::default();
        nodes.push(Node::spawn(&leader, &folder, &ledger, *mood));
        ledgers.push(ledger);
        let known = async {
            while all.page(None).await.unwrap().0.len() < ledgers.len() {
                tokio::task::yield_now().await;
            }
        };
        let known = tokio::time::timeout(Duration::from_secs(10), known).await;
        known.expect("the node registers");
    }
    let (job, _) = jobs.submit("one", &request()).await.unwrap();
    let events = watch_to_end(&jobs, job).await;
    let last = events.last();
    let done = matches!(
        last,
        Some(EventKind::Ended {
            state: JobState::Done,
            ..
        })
    );
    assert!(done, "{events:?}");
    nodes.iter().for_each(|node| node.abort());
    running.stop().await;
    let encodes = ledgers.iter().map(|ledger| {
        let ledger = ledger.lock().unwrap();
        let encodes = ledger
            .iter()
            .filter(|t| matches!(t.task.key, TaskKey::Encode { .. }));
        encodes.count()
    });
    (events, encodes.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_fails_at_once_does_not_eat_the_work_of_the_others() {
    let (events, encodes) = among("breaks", &[Mood::Breaks, Mood::Willing]).await;
    let all = segments_of(&events) as usize;
    let failed = events
        .iter()
        .filter(|e| matches!(e, EventKind::AttemptFailed { .. }));
    assert_eq!(failed.count(), encodes[0]);
    // Three in a row, and what it held beside the third.
    assert!((1..=6).contains(&encodes[0]), "{encodes:?} of {all}");
    assert_eq!(encodes[1], all, "each was done by the other");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_whose_parameter_sets_differ_come_from_elsewhere_next_and_do_not_end_the_job() {
    let moods = [Mood::Apart, Mood::Willing, Mood::Willing];
    let (events, encodes) = among("apart", &moods).await;
    let failed = events
        .iter()
        .filter(|e| matches!(e, EventKind::AttemptFailed { .. }));
    // Whichever kind came too late, be it one Node or two, had at most all that one takes at once in hand, and got as much again
    // with its first result if that came together with the other kind's first.
    assert!(
        (1..=12).contains(&failed.count()),
        "{encodes:?}: {events:?}"
    );
    let said = events.iter().any(|event| match event {
        EventKind::Warning { text } => text.contains("other parameter sets"),
        _ => false,
    });
    assert!(said, "{events:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_lack_the_encoder_are_not_asked_while_another_has_it() {
    let lacks = Mood::HasOnly("libx265");
    let moods = [lacks, lacks, lacks, Mood::HasOnly("libx264")];
    let (events, encodes) = among("lacks", &moods).await;
    assert_eq!(encodes, [0, 0, 0, segments_of(&events) as usize]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_job_ends_and_its_attempts_are_revoked() {
    let folder = Folder::new("cancel");
    let (running, jobs, leader) = folder.coordinator().await;
    let ledger = Ledger::default();
    let node = Node::spawn(&leader, &folder, &ledger, Mood::StopsAfter(0));
    let (job, _) = jobs.submit("one", &request()).await.unwrap();
    let (seen, mut planned) = watch::channel(false);
    let watcher = {
        let jobs = jobs.clone();
        tokio::spawn(async move {
            let mut watch = jobs.watch(job, 0);
            let mut last = None;
            while let Some(watched) = watch.next().await.unwrap() {
                if let Watched::Event(event) = watched {
                    if matches!(event.kind, EventKind::Planned { .. }) {
                        seen.send_replace(true);
                    }
                    last = Some(event.kind);
                }
            }
            last
        })
    };
    planned.wait_for(|p| *p).await.unwrap();
    let status = jobs.cancel(job, "not needed").await.unwrap();
    assert_eq!(
        (status.state, status.reason.as_deref()),
        (JobState::Cancelled, Some("not needed"))
    );
    assert!(matches!(
        watcher.await.unwrap(),
        Some(EventKind::Ended {
            state: JobState::Cancelled,
            ..
        })
    ));
    // Cancelling again changes nothing and is no error.
    assert_eq!(
        jobs.cancel(job, "").await.unwrap().reason.as_deref(),
        Some("not needed")
    );
    assert!(matches!(
        jobs.get(JobId(5)).await,
        Err(recode_mesh::Error::NotFound(_))
    ));
    node.abort();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_loopback_is_listened_on_unless_told() {
    let folder = Folder::new("exposed");
    let mut config = Config::embedded(folder.0.join("raft"), folder.store());
    config.listen = "0.0.0.0:0".parse().unwrap();
    let error = start(config).await.unwrap_err().to_string();
    assert!(error.contains("--insecure"), "{error}");
}

/// `cargo test -p recode-coordinator --release -- --ignored --nocapture how_long`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn how_long_starting_and_granting_take() {
    for round in 0..5 {
        let folder = Folder::new(&format!("measure{round}"));
        let clock = Instant::now();
        let (running, jobs, leader) = folder.coordinator().await;
        let started = clock.elapsed();
        let ledger = Ledger::default();
        let node = Node::spawn(&leader, &folder, &ledger, Mood::Willing);
        let clock = Instant::now();
        let (job, _) = jobs.submit("one", &request()).await.unwrap();
        let submitted = clock.elapsed();
        let events = watch_to_end(&jobs, job).await;
        let done = clock.elapsed();
        node.abort();
        let clock = Instant::now();
        running.stop().await;
        println!(
            "start {started:?}, submit {submitted:?}, {} tasks {done:?}, stop {:?}",
            segments_of(&events) + 2,
            clock.elapsed()
        );
    }
}
