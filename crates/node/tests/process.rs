//! The binary as a process: it works for a coordinator, its children die with it, and what it held is made elsewhere.

mod ground;

use ground::{Ground, Node, PATIENCE};
use recode_testkit::metadata::Metadata;
use recode_types::{
    EventKind, JobId, JobRequest, JobState, Making, NodeStatus, SegmentLength, TaskKey,
};
use rustix::process::Signal;
use std::process::Command;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_survives_the_death_of_its_node() {
    let ground = Ground::new().await;
    let job = ground.submit(&ground.request()).await;
    let first = ground.node("scratch-1", &[]);
    let (mut done, mut second) = (0, None);
    let each = |event: &EventKind| {
        done += u32::from(matches!(event, EventKind::TaskDone { .. }));
        if done == 3 && second.is_none() {
            first.signal(Signal::KILL);
            second = Some(ground.node("scratch-2", &[]));
        }
        false
    };
    ground.watch(job, each).await;
    assert_eq!(ground.state(job).await, JobState::Done);
    assert!(ground.output().metadata().unwrap().len() > 100_000);
    let second = second.expect("the first node was killed");
    second.signal(Signal::TERM);
    assert_eq!(second.exit_code().await, 0);
    ground.stop().await;
}

/// A coordinator with a job that one node has begun: it holds something, and there is much left.
struct Begun {
    ground: Ground,
    job: JobId,
}

impl Begun {
    async fn with(flags: &[&str]) -> (Self, Node) {
        Self::by(ground::node(), flags, |wanted| {
            wanted.duration_us = Some(30_000_000);
        })
        .await
    }

    async fn by(node: Command, flags: &[&str], want: impl FnOnce(&mut JobRequest)) -> (Self, Node) {
        let ground = Ground::new().await;
        let mut wanted = ground.request();
        want(&mut wanted);
        let job = ground.submit(&wanted).await;
        let node = ground.run(node, "scratch-1", flags);
        let begun = Self { ground, job };
        begun.events(3).await;
        (begun, node)
    }

    /// Events until so many Tasks are done, or all.
    async fn events(&self, tasks: usize) -> Vec<EventKind> {
        let (mut events, mut done) = (Vec::new(), 0);
        let each = |event: &EventKind| {
            events.push(event.clone());
            done += usize::from(matches!(event, EventKind::TaskDone { .. }));
            done >= tasks
        };
        self.ground.watch(self.job, each).await;
        events
    }

    /// The node has left: nothing waits for its silence. Another one does the rest. Attempts that made something.
    async fn done_by_another(self) -> Vec<u32> {
        let (left, _) = self.ground.nodes.page(None).await.unwrap();
        assert_eq!(left.iter().map(|node| node.leases).sum::<u32>(), 0);
        let _other = self.ground.node("scratch-2", &[]);
        let events = self.events(usize::MAX).await;
        let failed = |e: &EventKind| matches!(e, EventKind::AttemptFailed { .. });
        assert!(!events.iter().any(failed), "nobody is to blame: {events:?}");
        assert_eq!(self.ground.state(self.job).await, JobState::Done);
        self.ground.stop().await;
        let made = events.iter().filter_map(|event| match event {
            EventKind::TaskDone { attempt, .. } => Some(*attempt),
            _ => None,
        });
        made.collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_time_gives_back_what_it_holds_and_another_has_it_at_once() {
    let (begun, node) = Begun::with(&["--grace", "0s"]).await;
    node.signal(Signal::TERM);
    assert_eq!(node.exit_code().await, 0);
    let attempts = begun.done_by_another().await;
    assert!(attempts.contains(&2), "it held something: {attempts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_that_two_nodes_make_one_after_the_other_is_whole() {
    let ground = Ground::new().await;
    let mut wanted = JobRequest {
        making: Making::SplitTail,
        segment: SegmentLength::Millis(12_000),
        duration_us: Some(12_000_000),
        ..ground.request()
    };
    let rendition = &mut wanted.outputs[0].rendition;
    (rendition.preset, rendition.gop) = (Some("slow".to_owned()), Some(24));
    let job = ground.submit(&wanted).await;
    let first = ground.node("scratch-1", &["--grace", "0s"]);
    let chunks = ground.path(&format!("store/jobs/{job}/chunks"));
    let finished = async {
        let part = |chunk: std::fs::DirEntry| chunk.path().join("parts").is_dir();
        while !std::fs::read_dir(&chunks).is_ok_and(|all| all.flatten().any(part)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let finished = tokio::time::timeout(PATIENCE, finished).await;
    finished.expect("it finishes something");
    first.signal(Signal::TERM);
    assert_eq!(first.exit_code().await, 0);
    let _second = ground.node("scratch-2", &[]);
    let mut encoded = Vec::new();
    let each = |event: &EventKind| {
        if let EventKind::TaskDone {
            task: TaskKey::Encode { .. },
            attempt,
            ..
        } = event
        {
            encoded.push(*attempt);
        }
        false
    };
    ground.watch(job, each).await;
    assert_eq!(ground.state(job).await, JobState::Done);
    assert_eq!(encoded, [2], "one Chunk, by two Attempts");
    let ffmpeg = recode_node::toolchain::find(None).unwrap();
    let all = recode_media::verify::Depth::Full;
    let decoded = recode_media::verify::decode(&ffmpeg, &ground.output(), 12 * 24, all).await;
    assert_eq!(decoded.unwrap().frames.len(), 12 * 24);
    ground.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_time_finishes_what_it_holds() {
    let (begun, node) = Begun::with(&["--grace", "5m"]).await;
    node.signal(Signal::INT);
    assert_eq!(node.exit_code().await, 0);
    let attempts = begun.done_by_another().await;
    assert!(
        attempts.iter().all(|a| *a == 1),
        "nothing was begun again: {attempts:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_a_node_at_once() {
    let (begun, node) = Begun::with(&["--grace", "5m"]).await;
    node.signal(Signal::TERM);
    node.signal(Signal::INT);
    assert_eq!(
        node.exit_code().await,
        6,
        "it says that it gave nothing back"
    );
    begun.ground.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_leaves_of_its_own_accord_when_it_is_idle_or_drained() {
    let ground = Ground::new().await;
    let idle = ground.node("1", &["--idle-exit", "500ms"]);
    assert_eq!(idle.exit_code().await, 3);
    let mut alone = ground::node();
    alone.args(["--coordinator", "http://127.0.0.1:1", "--idle-exit", "0s"]);
    let alone = Node::spawn(alone.arg("--scratch").arg(ground.path("2")));
    assert_eq!(alone.exit_code().await, 3, "nobody can confirm it");
    let drained = ground.node("3", &["--exit-when-drained"]);
    let present = async {
        loop {
            let (all, _) = ground.nodes.page(None).await.unwrap();
            let present = |n: &&NodeStatus| n.heard.as_ref().is_some_and(|heard| heard.present);
            if let Some(node) = all.iter().find(present) {
                return node.node;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let present = tokio::time::timeout(PATIENCE, present).await;
    let present = present.expect("it registers");
    ground.nodes.drain(present).await.unwrap();
    assert_eq!(drained.exit_code().await, 4);
    ground.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_reaches_only_nats_encodes_and_a_server_that_is_killed_costs_no_chunk() {
    let mut server = recode_testkit::nats::Server::start().unwrap();
    let settings = recode_mesh::nats::Settings::new(&[server.url()], "main").unwrap();
    let ground = Ground::with(Some(settings)).await;
    let job = ground.submit(&ground.request()).await;
    let mut node = ground::node();
    node.args(["--link", "nats", "--nats", &server.url()]);
    // Nothing listens where it would dial a coordinator.
    node.args(["--coordinator", "127.0.0.1:9", "--scratch"]);
    let _node = Node::spawn(node.arg(ground.path("scratch")));
    let (mut done, mut others) = (0, Vec::new());
    let each = |event: &EventKind| {
        match event {
            EventKind::TaskDone { .. } => {
                done += 1;
                if done == 3 {
                    server.restart().unwrap();
                }
            }
            EventKind::AttemptFailed { .. } | EventKind::Warning { .. } => {
                others.push(event.clone());
            }
            _ => {}
        }
        false
    };
    ground.watch(job, each).await;
    assert_eq!(ground.state(job).await, JobState::Done);
    assert!(others.is_empty(), "{others:?}");
    assert_eq!(ground.jobs.report(job).await.unwrap().retries, 0);
    assert!(ground.output().metadata().unwrap().len() > 100_000);
    ground.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_on_a_machine_that_is_taken_back_leaves_before_it_ends() {
    let machine = Metadata::start().unwrap();
    let url = machine.url();
    let (begun, node) = Begun::with(&["--metadata", &url, "--metadata-poll", "50ms"]).await;
    let left = Duration::from_secs(3);
    let given = std::time::Instant::now();
    machine.notice("terminate", left);
    assert_eq!(node.exit_code().await, 5);
    // The service names whole seconds.
    assert!(given.elapsed() < left + Duration::from_secs(1));
    begun.done_by_another().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_may_be_taken_back_finishes_what_it_has_and_begins_nothing() {
    let machine = Metadata::start().unwrap();
    let url = machine.url();
    let flags = ["--metadata", &url, "--metadata-poll", "50ms"];
    // A Chunk takes far longer than a sample of the measurement: there is work in hand when that has to end.
    let (begun, node) = Begun::by(ground::measuring(), &flags, |wanted| {
        wanted.duration_us = Some(12_000_000);
        wanted.outputs[0].rendition.preset = Some("slow".to_owned());
    })
    .await;
    let samples = begun.ground.path("scratch-1").join("samples");
    assert!(samples.exists(), "there is much to measure");
    machine.hint();
    assert_eq!(node.exit_code().await, 5);
    // It was removed while there was work in hand; what a process that ends leaves is not.
    assert!(!samples.exists(), "nothing is measured by one that leaves");
    let attempts = begun.done_by_another().await;
    assert!(
        attempts.iter().all(|a| *a == 1),
        "nothing was begun again: {attempts:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_needs_more_scratch_than_all_nodes_may_use_says_so() {
    let ground = Ground::new().await;
    let mut large = ground.request();
    // Without loss, and in pieces that are larger than the budget.
    large.segment = SegmentLength::Millis(20_000);
    large.outputs[0].rendition.rate = serde_json::from_str(r#"{"crf": 0}"#).unwrap();
    let job = ground.submit(&large).await;
    let _node = ground.node("scratch", &["--scratch-budget", "32MB"]);
    ground.watch(job, |_| false).await;
    let status = ground.jobs.get(job).await.unwrap().status;
    assert_eq!(status.state, JobState::Failed);
    let reason = status.reason.unwrap();
    assert!(reason.contains("--scratch-budget"), "{reason}");
    ground.stop().await;
}

#[test]
fn what_cannot_work_is_said_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let said = |args: &[&str], ffmpeg: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_recode-node"));
        command.args(args).env("PATH", "/nowhere");
        if !ffmpeg.is_empty() {
            command.env("RECODE_FFMPEG", ffmpeg);
        }
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let scratch = folder.path().join("s");
    let scratch = scratch.to_str().unwrap();
    let text = said(&["--scratch", scratch], "/nowhere/ffmpeg");
    assert!(
        text.starts_with("recode-node: ") && text.contains("/nowhere/ffmpeg"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");
    for (flag, bad) in [
        ("--workers", "0"),
        ("--grace", "soon"),
        ("--idle-exit", "-1s"),
        ("--metadata", "somewhere"),
        ("--metadata-poll", "0s"),
        ("--scratch-budget", "1kB"),
    ] {
        let text = said(&["--scratch", scratch, &format!("{flag}={bad}")], "");
        assert!(text.contains(flag) && text.contains(bad), "{text}");
    }
    for (link, named) in [
        (&["--nats", "nats://a:1"][..], "--link nats"),
        (&["--link", "nats"], "--nats is missing"),
        (
            &["--link", "nats", "--nats", "http://a:1"],
            "nats://HOST:PORT",
        ),
    ] {
        let text = said(&[&["--scratch", scratch][..], link].concat(), "");
        assert!(text.contains(named) && text.lines().count() == 1, "{text}");
    }
    let text = said(&["--scratch", scratch, "--sandbox", "on"], "");
    assert!(text.contains("choose require, prefer or off"), "{text}");
    let program = folder.path().join("ffmpeg");
    std::fs::write(&program, "#!/bin/sh\n").unwrap();
    let text = said(&["--scratch", scratch], program.to_str().unwrap());
    assert!(
        text.starts_with("recode-node: FFmpeg cannot be confined: ")
            && text.contains("--sandbox prefer"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");
}
