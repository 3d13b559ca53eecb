//! Nodes that reach only a NATS server, with a real server that is broken in every way: `make setup` fetches it.

mod common;

use common::{Folder, Ledger, Node, request, segments_of, watch_to_end};
use recode_mesh::nats::events::{Listener, Told};
use recode_mesh::{Jobs, Leader, Link, nats};
use recode_testkit::nats::{Flood, Mischief, Plain, Proxy, Server};
use recode_types::task::{AttemptOutcome, Failure, FailureClass, Usage};
use recode_types::{
    AttemptToken, EventKind, FinishedAttempt, JobId, JobState, NodeHello, NodeReport, TaskId,
    TaskKey,
};
use std::collections::BTreeSet;
use std::time::Duration;

fn settings(url: &str) -> nats::Settings {
    nats::Settings::new(&[url.to_owned()], "test").unwrap()
}

fn link(url: &str) -> Link {
    Link::nats(settings(url), "a node of a test".into())
}

/// Runs a job to its end; every Task must have been done, and given out, once.
async fn runs_once(jobs: &Jobs, name: &str, ledger: &Ledger) {
    let before = ledger.lock().unwrap().len();
    let (job, _) = jobs.submit(name, &request()).await.unwrap();
    let events = watch_to_end(jobs, job).await;
    let state = jobs.get(job).await.unwrap().status.state;
    assert_eq!(state, JobState::Done, "{events:?}");
    let given = ledger.lock().unwrap()[before..].to_vec();
    let tasks: BTreeSet<TaskKey> = given.iter().map(|token| token.task.key).collect();
    assert_eq!(tasks.len() as u32, segments_of(&events) + 2);
    assert_eq!(
        given.len(),
        tasks.len(),
        "some work was given out twice: {given:?}"
    );
    let done = |event: &&EventKind| matches!(event, EventKind::TaskDone { .. });
    assert_eq!(events.iter().filter(done).count(), tasks.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_reaches_only_nats_does_a_job() {
    let server = Server::start().unwrap();
    let folder = Folder::new("nats-job");
    let (running, jobs, _) = folder.with_nats(settings(&server.url())).await;
    let ledger = Ledger::default();
    let node = Node::steadfast(link(&server.url()), &folder, &ledger);
    runs_once(&jobs, "one", &ledger).await;
    node.abort();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_are_lost_doubled_and_overtaken_change_nothing() {
    let server = Server::start().unwrap();
    let mischief = Mischief {
        lost: 10,
        twice: 10,
        late: 10,
    };
    let node_side = Proxy::start(server.address(), mischief, 1).unwrap();
    let our_side = Proxy::start(server.address(), mischief, 2).unwrap();
    let folder = Folder::new("nats-mischief");
    let (running, jobs, _) = folder.with_nats(settings(&our_side.url())).await;
    let ledger = Ledger::default();
    let node = Node::steadfast(link(&node_side.url()), &folder, &ledger);
    for name in ["one", "two", "three"] {
        runs_once(&jobs, name, &ledger).await;
    }
    assert!(node_side.done() > 10, "{}", node_side.done());
    assert!(our_side.done() > 10, "{}", our_side.done());
    node.abort();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_copies_and_garbage_changes_nothing() {
    let server = Server::start().unwrap();
    let folder = Folder::new("nats-flood");
    let (running, jobs, _) = folder.with_nats(settings(&server.url())).await;
    let flood = Flood::start(server.address(), "recode.test", 1);
    let ledger = Ledger::default();
    let node = Node::steadfast(link(&server.url()), &folder, &ledger);
    for name in ["one", "two", "three"] {
        runs_once(&jobs, name, &ledger).await;
    }
    let said = flood.said();
    assert!(said > 1000, "a flood of {said}");
    let heard = jobs_nodes(&running).await;
    assert_eq!(heard, 1, "copies of an opening report open nothing");
    node.abort();
    drop(flood);
    running.stop().await;
}

async fn jobs_nodes(running: &recode_coordinator::assembly::Running) -> usize {
    let leader = Leader::at(&running.local_addr().to_string()).unwrap();
    let nodes = recode_mesh::Nodes::new(leader);
    nodes.page(None).await.unwrap().0.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_and_comes_back_changes_nothing() {
    let mut server = Server::start().unwrap();
    let folder = Folder::new("nats-restart");
    let (running, jobs, _) = folder.with_nats(settings(&server.url())).await;
    let ledger = Ledger::default();
    let node = Node::steadfast(link(&server.url()), &folder, &ledger);
    runs_once(&jobs, "before", &ledger).await;
    server.kill().unwrap();
    let (job, _) = jobs.submit("meanwhile", &request()).await.unwrap();
    server.restart().unwrap();
    let events = watch_to_end(&jobs, job).await;
    let state = jobs.get(job).await.unwrap().status.state;
    assert_eq!(state, JobState::Done, "{events:?}");
    server.restart().unwrap();
    runs_once(&jobs, "after", &ledger).await;
    node.abort();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_starts_and_works_although_its_nats_server_is_not_there() {
    let mut server = Server::start().unwrap();
    server.kill().unwrap();
    let folder = Folder::new("nats-none");
    let (running, jobs, leader) = folder.with_nats(settings(&server.url())).await;
    let ledger = Ledger::default();
    let by_grpc = Node::steadfast(Link::Grpc(leader), &folder, &ledger);
    runs_once(&jobs, "by grpc", &ledger).await;
    by_grpc.abort();
    server.restart().unwrap();
    let ledger = Ledger::default();
    let by_nats = Node::steadfast(link(&server.url()), &folder, &ledger);
    let (job, _) = jobs.submit("by nats", &request()).await.unwrap();
    watch_to_end(&jobs, job).await;
    assert!(!ledger.lock().unwrap().is_empty());
    by_nats.abort();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_beyond_the_payload_cap_of_the_server_arrives_whole() {
    let server = Server::start().unwrap();
    let folder = Folder::new("nats-large");
    let (running, jobs, _) = folder.with_nats(settings(&server.url())).await;
    // Words about attempts that nobody asked for: all of them are acknowledged, each by its name.
    let words = "x".repeat(4000);
    let finished: Vec<FinishedAttempt> = (0..1000)
        .map(|segment| FinishedAttempt {
            token: AttemptToken {
                task: TaskId {
                    job: JobId(7),
                    key: TaskKey::Encode { group: 0, segment },
                },
                attempt: 1,
            },
            outcome: AttemptOutcome::Failed {
                failure: Failure {
                    class: FailureClass::Unknown,
                    message: words.clone(),
                    stderr_tail: None,
                },
                usage: Usage::default(),
            },
        })
        .collect();
    let report = NodeReport {
        instance: "large".into(),
        sequence: 1,
        hello: Some(NodeHello {
            name: "large".into(),
            ..NodeHello::default()
        }),
        finished: finished.clone(),
        ..NodeReport::default()
    };
    let hearing = async {
        let mut exchange = open_soon(&link(&server.url()), &report).await;
        let mut acknowledged = BTreeSet::new();
        while acknowledged.len() < finished.len() {
            acknowledged.extend(exchange.hear().await.unwrap().acknowledged);
        }
        acknowledged
    };
    let acknowledged = tokio::time::timeout(Duration::from_secs(30), hearing).await;
    let all: BTreeSet<AttemptToken> = finished.iter().map(|one| one.token).collect();
    assert_eq!(acknowledged.expect("all are acknowledged"), all);
    drop(jobs);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_hears_at_once_that_its_coordinator_stops_or_that_nobody_leads() {
    let server = Server::start().unwrap();
    let folder = Folder::new("nats-stop");
    let (running, _jobs, _) = folder.with_nats(settings(&server.url())).await;
    let report = NodeReport {
        instance: "one".into(),
        hello: Some(NodeHello {
            name: "one".into(),
            ..NodeHello::default()
        }),
        ..NodeReport::default()
    };
    let link = link(&server.url());
    let mut exchange = open_soon(&link, &report).await;
    exchange.hear().await.expect("its number");
    running.stop().await;
    let ended = async { while exchange.hear().await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(3), ended)
        .await
        .expect("it is told, or finds out");
    let refused = link.open(report).await.unwrap_err();
    assert!(
        refused.to_string().contains("no coordinator that leads"),
        "{refused}"
    );
}

/// The connection with the server is being made while it is asked for.
async fn open_soon(link: &Link, report: &NodeReport) -> recode_mesh::Exchange {
    let opening = recode_mesh::retry::retry(Duration::from_secs(20), || link.open(report.clone()));
    opening.await.expect("it opens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_asks_for_a_password_is_told_that_of_the_url() {
    let server = Server::start_with(&["--user", "me", "--pass", "a/b"]).unwrap();
    let with = |login: &str| format!("nats://{login}@{}", server.address());
    let folder = Folder::new("nats-login");
    let (running, jobs, _) = folder.with_nats(settings(&with("me:a%2Fb"))).await;
    let ledger = Ledger::default();
    let node = Node::steadfast(link(&with("me:a%2Fb")), &folder, &ledger);
    runs_once(&jobs, "one", &ledger).await;
    let report = NodeReport {
        instance: "other".into(),
        ..NodeReport::default()
    };
    let refused = link(&with("me:wrong")).open(report).await.unwrap_err();
    assert!(refused.to_string().contains("password"), "{refused}");
    assert!(!refused.to_string().contains("wrong"), "{refused}");
    node.abort();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_in_place_of_the_leader_is_not_believed() {
    let server = Server::start().unwrap();
    let address = server.address();
    let (tell, told) = std::sync::mpsc::channel();
    let impostor = std::thread::spawn(move || {
        let mut impostor = Plain::connect(address).unwrap();
        impostor.subscribe("recode.test.hello").unwrap();
        tell.send(()).unwrap();
        let hello = impostor
            .next(Duration::from_secs(20))
            .unwrap()
            .expect("a hello");
        impostor
            .publish(&hello.reply.expect("it wants an answer"), b"come here")
            .unwrap();
    });
    told.recv().unwrap();
    let link = link(&server.url());
    let said = loop {
        let report = NodeReport {
            instance: "one".into(),
            ..NodeReport::default()
        };
        let said = link.open(report).await.unwrap_err().to_string();
        if !said.contains("no NATS server is reached") {
            break said;
        }
        tokio::task::yield_now().await;
    };
    assert!(said.contains("what answers is no coordinator"), "{said}");
    impostor.join().unwrap();
}

/// What a plain subscriber has heard of one job, as (index, kind).
fn heard_of(plain: &mut Plain, job: JobId, until_index: u64) -> Vec<(u64, serde_json::Value)> {
    let mut heard = Vec::new();
    while heard.last().is_none_or(|(index, _)| *index < until_index) {
        let next = plain.next(Duration::from_secs(30)).unwrap();
        let next = next.unwrap_or_else(|| panic!("no event {until_index}: {heard:?}"));
        assert_eq!(next.subject, format!("recode.test.events.{job}"));
        let json: serde_json::Value = serde_json::from_slice(&next.payload).unwrap();
        assert_eq!(json["job"], job.to_string());
        heard.push((json["index"].as_u64().unwrap(), json["kind"].clone()));
    }
    heard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_subscriber_hears_every_event_and_the_bell() {
    let mut server = Server::start().unwrap();
    let folder = Folder::new("nats-events");
    let (running, jobs, leader) = folder.with_nats(settings(&server.url())).await;
    let mut plain = Plain::connect(server.address()).unwrap();
    plain.subscribe("recode.test.events.>").unwrap();
    let mut bell = Plain::connect(server.address()).unwrap();
    bell.subscribe("recode.test.bell").unwrap();
    // The node is on gRPC: the feed does not depend on how nodes come.
    let ledger = Ledger::default();
    let node = Node::steadfast(Link::Grpc(leader), &folder, &ledger);
    let (job, _) = jobs.submit("one", &request()).await.unwrap();
    let events = watch_to_end(&jobs, job).await;
    let heard = heard_of(&mut plain, job, events.len() as u64 - 1);
    let expected: Vec<_> = (0..)
        .zip(&events)
        .map(|(index, kind)| (index, serde_json::to_value(kind).unwrap()))
        .collect();
    assert_eq!(heard, expected);
    let rung = bell
        .next(Duration::from_secs(5))
        .unwrap()
        .expect("it rings");
    let rung: serde_json::Value = serde_json::from_slice(&rung.payload).unwrap();
    assert_eq!(rung, serde_json::json!({ "job": job.to_string() }));
    // What happens while there is no server is said when it is back.
    server.kill().unwrap();
    let (job, _) = jobs.submit("two", &request()).await.unwrap();
    server.restart().unwrap();
    let mut plain = Plain::connect(server.address()).unwrap();
    plain
        .subscribe(&format!("recode.test.events.{job}"))
        .unwrap();
    let events = watch_to_end(&jobs, job).await;
    let heard = heard_of(&mut plain, job, events.len() as u64 - 1);
    let indices: BTreeSet<u64> = heard.iter().map(|(index, _)| *index).collect();
    // It may have been back, and heard, before the subscriber was.
    let first = *indices.first().expect("some were heard");
    assert!(
        indices.into_iter().eq(first..events.len() as u64),
        "{heard:?}"
    );
    node.abort();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_loses_and_repeats_messages_knows_what_it_missed() {
    let server = Server::start().unwrap();
    let mischief = Mischief {
        lost: 20,
        twice: 20,
        late: 0,
    };
    let proxy = Proxy::start(server.address(), mischief, 7).unwrap();
    let folder = Folder::new("nats-listener");
    let (running, jobs, leader) = folder.with_nats(settings(&server.url())).await;
    let mut listener = Listener::start(&settings(&proxy.url()), None)
        .await
        .unwrap();
    let ledger = Ledger::default();
    let node = Node::steadfast(Link::Grpc(leader), &folder, &ledger);
    let (job, _) = jobs.submit("one", &request()).await.unwrap();
    watch_to_end(&jobs, job).await;
    let listening = async {
        let (mut next, mut missed, mut heard) = (None, 0, 0);
        // Some of the last ones may be lost too.
        while next.is_none_or(|next| next < 20) {
            match listener.next().await.unwrap() {
                Told::Missed { from, to, .. } => {
                    assert_eq!(Some(from), next);
                    assert!(from < to);
                    missed += to - from;
                    next = Some(to);
                }
                Told::Event(announced) => {
                    let index = announced.event.index;
                    assert_eq!(index, next.unwrap_or(index), "each once, in order");
                    heard += 1;
                    next = Some(index + 1);
                }
            }
        }
        (missed, heard)
    };
    let (missed, heard) = tokio::time::timeout(Duration::from_secs(30), listening)
        .await
        .expect("more is heard");
    assert!(missed > 0 && heard > 0, "{missed} missed, {heard} heard");
    node.abort();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_waits_hears_the_bell() {
    let server = Server::start().unwrap();
    let link = link(&server.url());
    let report = NodeReport {
        instance: "one".into(),
        ..NodeReport::default()
    };
    // Nobody leads yet; it waits.
    let refused = link.open(report).await.unwrap_err().to_string();
    assert!(refused.contains("no coordinator that leads"), "{refused}");
    let mut bell = link.bell();
    assert!(futures::poll!(std::pin::pin!(bell.rung())).is_pending());
    let folder = Folder::new("nats-bell");
    let (running, jobs, _) = folder.with_nats(settings(&server.url())).await;
    jobs.submit("one", &request()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), bell.rung())
        .await
        .expect("it rings");
    running.stop().await;
}
