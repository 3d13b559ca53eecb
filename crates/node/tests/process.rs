//! The binary as a process: it works for a coordinator, its children die with it, and what it held is made elsewhere.

use recode_coordinator::assembly;
use recode_mesh::{Jobs, Leader, Nodes};
use recode_testkit::metadata::Metadata;
use recode_types::{
    EventKind, JobId, JobRequest, JobState, Making, NodeStatus, SegmentLength, TaskKey,
};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A node process; killed when the test is over.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Node {
    fn start(coordinator: &str, scratch: &Path, more: &[&str]) -> Self {
        Self::start_with(&["--coordinator", coordinator], scratch, more)
    }

    fn start_with(link: &[&str], scratch: &Path, more: &[&str]) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_recode-node"));
        let mut command = Command::new(program);
        if !program.with_file_name("recode-sandbox").is_file() {
            eprintln!("NOT TESTED: the sandbox, since recode-sandbox is not built");
            command.args(["--sandbox", "off"]);
        }
        let child = command
            .args(link)
            .args([
                "--measure",
                "false",
                "--workers",
                "1",
                "--log",
                "error",
                "--scratch",
            ])
            .arg(scratch)
            .args(more)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    async fn exit_code(mut self) -> i32 {
        let ended = async {
            loop {
                match self.0.try_wait().unwrap() {
                    Some(status) => return status,
                    None => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(60), ended).await;
        ended.expect("it ends").code().expect("it ends by itself")
    }
}

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples/sintel_trailer_720p24.mp4")
}

fn request(output: &Path) -> JobRequest {
    serde_json::from_value(serde_json::json!({
        "source": format!("file://{}", sample().canonicalize().unwrap().display()),
        "segment_ms": 2000,
        "outputs": [{
            "url": format!("file://{}", output.display()), "container": "mp4", "tracks": "all",
            "rendition": {
                "codec": "h264", "encoder": "libx264", "rate": { "crf": 30000 }, "preset": "ultrafast",
                "profile": "quality", "scale": "source", "deinterlace": "off"
            }
        }],
        "score": [], "verify_full": false, "strict": false, "overwrite": true, "labels": {}, "priority": 50
    }))
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_survives_the_death_of_its_node() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("file://{}", folder.path().join("store").display());
    let coordinator = assembly::start(assembly::Config {
        embedded: false,
        ..assembly::Config::embedded(folder.path().join("raft"), store)
    })
    .await
    .unwrap();
    let address = format!("http://{}", coordinator.local_addr());
    let jobs = Jobs::new(Leader::at(&address).unwrap());
    let output = folder.path().join("out.mp4");
    let (job, _) = jobs.submit("a request", &request(&output)).await.unwrap();
    let first = Node::start(&address, &folder.path().join("scratch-1"), &[]);
    let mut watch = jobs.watch(job, 0);
    let (mut done, mut second) = (0, None);
    let ended = async {
        while let Some(seen) = watch.next().await.unwrap() {
            let recode_mesh::Watched::Event(event) = seen else {
                continue;
            };
            if let EventKind::TaskDone { .. } = event.kind {
                done += 1;
            }
            if done == 3 && second.is_none() {
                first.signal(rustix::process::Signal::KILL);
                second = Some(Node::start(&address, &folder.path().join("scratch-2"), &[]));
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), ended)
        .await
        .expect("the job ends");
    let view = jobs.get(job).await.unwrap();
    assert_eq!(view.status.state, JobState::Done);
    assert!(output.metadata().unwrap().len() > 100_000);
    let second = second.expect("the first node was killed");
    second.signal(rustix::process::Signal::TERM);
    assert_eq!(second.exit_code().await, 0);
    coordinator.stop().await;
}

/// A coordinator with a job that one node has begun: it holds something, and there is much left.
struct Begun {
    folder: tempfile::TempDir,
    coordinator: assembly::Running,
    address: String,
    jobs: Jobs,
    nodes: Nodes,
    job: JobId,
}

impl Begun {
    async fn with(flags: &[&str]) -> (Self, Node) {
        let folder = tempfile::tempdir().unwrap();
        let store = format!("file://{}", folder.path().join("store").display());
        let coordinator = assembly::start(assembly::Config {
            embedded: false,
            ..assembly::Config::embedded(folder.path().join("raft"), store)
        })
        .await
        .unwrap();
        let address = format!("http://{}", coordinator.local_addr());
        let leader = Leader::at(&address).unwrap();
        let (jobs, nodes) = (Jobs::new(leader.clone()), Nodes::new(leader));
        let request = JobRequest {
            duration_us: Some(30_000_000),
            ..request(&folder.path().join("out.mp4"))
        };
        let (job, _) = jobs.submit("a request", &request).await.unwrap();
        let node = Node::start(&address, &folder.path().join("scratch-1"), flags);
        let begun = Self {
            folder,
            coordinator,
            address,
            jobs,
            nodes,
            job,
        };
        begun.events(3).await;
        (begun, node)
    }

    /// Events until so many Tasks are done, or all.
    async fn events(&self, tasks: usize) -> Vec<EventKind> {
        let mut watch = self.jobs.watch(self.job, 0);
        let mut events = Vec::new();
        let seen = async {
            while let Some(seen) = watch.next().await.unwrap() {
                if let recode_mesh::Watched::Event(event) = seen {
                    events.push(event.kind);
                }
                let done = |e: &&EventKind| matches!(e, EventKind::TaskDone { .. });
                if events.iter().filter(done).count() >= tasks {
                    break;
                }
            }
        };
        let seen = tokio::time::timeout(Duration::from_secs(120), seen).await;
        assert!(seen.is_ok(), "no end: {events:?}");
        events
    }

    /// The node has left: nothing waits for its silence. Another one does the rest. Attempts that made something.
    async fn done_by_another(self) -> Vec<u32> {
        let (left, _) = self.nodes.page(None).await.unwrap();
        assert_eq!(left.iter().map(|node| node.leases).sum::<u32>(), 0);
        let scratch = self.folder.path().join("scratch-2");
        let _other = Node::start(&self.address, &scratch, &[]);
        let events = self.events(usize::MAX).await;
        let failed = |e: &EventKind| matches!(e, EventKind::AttemptFailed { .. });
        assert!(!events.iter().any(failed), "nobody is to blame: {events:?}");
        assert_eq!(
            self.jobs.get(self.job).await.unwrap().status.state,
            JobState::Done
        );
        self.coordinator.stop().await;
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
    node.signal(rustix::process::Signal::TERM);
    assert_eq!(node.exit_code().await, 0);
    let attempts = begun.done_by_another().await;
    assert!(attempts.contains(&2), "it held something: {attempts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_that_two_nodes_make_one_after_the_other_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let coordinator = assembly::start(assembly::Config {
        embedded: false,
        ..assembly::Config::embedded(
            folder.path().join("raft"),
            format!("file://{}", store.display()),
        )
    })
    .await
    .unwrap();
    let address = format!("http://{}", coordinator.local_addr());
    let jobs = Jobs::new(Leader::at(&address).unwrap());
    let output = folder.path().join("out.mp4");
    let mut wanted = JobRequest {
        making: Making::SplitTail,
        segment: SegmentLength::Millis(12_000),
        duration_us: Some(12_000_000),
        ..request(&output)
    };
    let rendition = &mut wanted.outputs[0].rendition;
    (rendition.preset, rendition.gop) = (Some("slow".to_owned()), Some(24));
    let submitted = async {
        loop {
            match jobs.submit("a request", &wanted).await {
                Ok((job, _)) => return job,
                // A cluster learns what all its members know a moment after its start.
                Err(recode_mesh::Error::Unavailable { .. }) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(other) => panic!("{other}"),
            }
        }
    };
    let submitted = tokio::time::timeout(Duration::from_secs(60), submitted).await;
    let job = submitted.expect("it is taken");
    let scratch = |name| folder.path().join(name);
    let first = Node::start(&address, &scratch("1"), &["--grace", "0s"]);
    let finished = async {
        let chunks = store.join("jobs").join(job.to_string()).join("chunks");
        let part = |chunk: std::fs::DirEntry| chunk.path().join("parts").is_dir();
        while !std::fs::read_dir(&chunks).is_ok_and(|all| all.flatten().any(part)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let finished = tokio::time::timeout(Duration::from_secs(60), finished).await;
    finished.expect("it finishes something");
    first.signal(rustix::process::Signal::TERM);
    assert_eq!(first.exit_code().await, 0);
    let _second = Node::start(&address, &scratch("2"), &[]);
    let mut watch = jobs.watch(job, 0);
    let mut encoded = Vec::new();
    let ended = async {
        while let Some(seen) = watch.next().await.unwrap() {
            if let recode_mesh::Watched::Event(event) = seen
                && let EventKind::TaskDone {
                    task: TaskKey::Encode { .. },
                    attempt,
                    ..
                } = event.kind
            {
                encoded.push(attempt);
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(120), ended).await;
    ended.expect("the job ends");
    let view = jobs.get(job).await.unwrap();
    assert_eq!(view.status.state, JobState::Done, "{:?}", view.status);
    assert_eq!(encoded, [2], "one Chunk, by two Attempts");
    let ffmpeg = recode_node::toolchain::find(None).unwrap();
    let all = recode_media::verify::Depth::Full;
    let decoded = recode_media::verify::decode(&ffmpeg, &output, 12 * 24, all).await;
    assert_eq!(decoded.unwrap().frames.len(), 12 * 24);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_time_finishes_what_it_holds() {
    let (begun, node) = Begun::with(&["--grace", "5m"]).await;
    node.signal(rustix::process::Signal::INT);
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
    node.signal(rustix::process::Signal::TERM);
    node.signal(rustix::process::Signal::INT);
    assert_eq!(
        node.exit_code().await,
        6,
        "it says that it gave nothing back"
    );
    begun.coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_leaves_of_its_own_accord_when_it_is_idle_or_drained() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("file://{}", folder.path().join("store").display());
    let coordinator = assembly::start(assembly::Config {
        embedded: false,
        ..assembly::Config::embedded(folder.path().join("raft"), store)
    })
    .await
    .unwrap();
    let address = format!("http://{}", coordinator.local_addr());
    let nodes = Nodes::new(Leader::at(&address).unwrap());
    let scratch = |name| folder.path().join(name);
    let idle = Node::start(&address, &scratch("1"), &["--idle-exit", "500ms"]);
    assert_eq!(idle.exit_code().await, 3);
    let alone = Node::start("http://127.0.0.1:1", &scratch("2"), &["--idle-exit", "0s"]);
    assert_eq!(alone.exit_code().await, 3, "nobody can confirm it");
    let drained = Node::start(&address, &scratch("3"), &["--exit-when-drained"]);
    let present = async {
        loop {
            let (all, _) = nodes.page(None).await.unwrap();
            let present = |n: &&NodeStatus| n.heard.as_ref().is_some_and(|heard| heard.present);
            if let Some(node) = all.iter().find(present) {
                return node.node;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let present = tokio::time::timeout(Duration::from_secs(30), present).await;
    nodes.drain(present.expect("it registers")).await.unwrap();
    assert_eq!(drained.exit_code().await, 4);
    coordinator.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_reaches_only_nats_encodes_and_a_server_that_is_killed_costs_no_chunk() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = recode_testkit::nats::Server::start().unwrap();
    let store = format!("file://{}", folder.path().join("store").display());
    let settings = recode_mesh::nats::Settings::new(&[server.url()], "main").unwrap();
    let coordinator = assembly::start(assembly::Config {
        embedded: false,
        nats: Some(settings),
        ..assembly::Config::embedded(folder.path().join("raft"), store)
    })
    .await
    .unwrap();
    let address = format!("http://{}", coordinator.local_addr());
    let jobs = Jobs::new(Leader::at(&address).unwrap());
    let output = folder.path().join("out.mp4");
    let (job, _) = jobs.submit("a request", &request(&output)).await.unwrap();
    // Nothing listens where it would dial a coordinator.
    let link = [
        "--link",
        "nats",
        "--nats",
        &server.url(),
        "--coordinator",
        "127.0.0.1:9",
    ];
    let _node = Node::start_with(&link, &folder.path().join("scratch"), &[]);
    let mut watch = jobs.watch(job, 0);
    let (mut done, mut others) = (0, Vec::new());
    let ended = async {
        while let Some(seen) = watch.next().await.unwrap() {
            let recode_mesh::Watched::Event(event) = seen else {
                continue;
            };
            match event.kind {
                EventKind::TaskDone { .. } => {
                    done += 1;
                    if done == 3 {
                        server.restart().unwrap();
                    }
                }
                EventKind::AttemptFailed { .. } | EventKind::Warning { .. } => {
                    others.push(event.kind);
                }
                _ => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), ended)
        .await
        .expect("the job ends");
    let view = jobs.get(job).await.unwrap();
    assert_eq!(view.status.state, JobState::Done);
    assert!(others.is_empty(), "{others:?}");
    assert_eq!(jobs.report(job).await.unwrap().retries, 0);
    assert!(output.metadata().unwrap().len() > 100_000);
    coordinator.stop().await;
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
    let (begun, node) = Begun::with(&["--metadata", &url, "--metadata-poll", "50ms"]).await;
    machine.hint();
    assert_eq!(node.exit_code().await, 5);
    let attempts = begun.done_by_another().await;
    assert!(
        attempts.iter().all(|a| *a == 1),
        "nothing was begun again: {attempts:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_needs_more_scratch_than_all_nodes_may_use_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("file://{}", folder.path().join("store").display());
    let coordinator = assembly::start(assembly::Config {
        embedded: false,
        ..assembly::Config::embedded(folder.path().join("raft"), store)
    })
    .await
    .unwrap();
    let address = format!("http://{}", coordinator.local_addr());
    let jobs = Jobs::new(Leader::at(&address).unwrap());
    let mut large = request(&folder.path().join("out.mp4"));
    // Without loss, and in pieces that are larger than the budget.
    large.segment = SegmentLength::Millis(20_000);
    large.outputs[0].rendition.rate = serde_json::from_str(r#"{"crf": 0}"#).unwrap();
    let (job, _) = jobs.submit("a request", &large).await.unwrap();
    let scratch = folder.path().join("scratch");
    let _node = Node::start(&address, &scratch, &["--scratch-budget", "32MB"]);
    let ended = async {
        let mut watch = jobs.watch(job, 0);
        while watch.next().await.unwrap().is_some() {}
    };
    let ended = tokio::time::timeout(Duration::from_secs(120), ended).await;
    ended.expect("the job ends");
    let status = jobs.get(job).await.unwrap().status;
    assert_eq!(status.state, JobState::Failed);
    let reason = status.reason.unwrap();
    assert!(reason.contains("--scratch-budget"), "{reason}");
    coordinator.stop().await;
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
