//! A real coordinator (gRPC, Raft log on disk) with a make-believe node that finishes everything it is granted.

use recode_coordinator::assembly::{Config, Running, start};
use recode_mesh::{Exchange, Jobs, Leader, Watched};
use recode_store::WorkStore;
use recode_types::rendition::Rendition;
use recode_types::table::FrameRow;
use recode_types::task::{
    AttemptOutcome, ChunkFacts, Failure, FailureClass, Grant, OutputFacts, TaskResult, Usage, Work,
};
use recode_types::{
    AttemptToken, Container, Digest, EventKind, FinishedAttempt, FrameTable, JobId, JobRequest,
    JobState, NodeHello, NodeReport, OutputRequest, Rational, TaskKey, TimeBase,
};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("recode-jobs-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn store(&self) -> String {
        format!("file://{}", self.0.join("store").display())
    }

    async fn coordinator(&self) -> (Running, Jobs, Leader) {
        let config = Config::embedded(self.0.join("raft"), self.store());
        let running = start(config).await.unwrap();
        let leader = Leader::at(&running.local_addr().to_string()).unwrap();
        (running, Jobs::new(leader.clone()), leader)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const FRAMES: usize = 1500;

fn request() -> JobRequest {
    let rendition: Rendition = serde_json::from_value(serde_json::json!({
        "codec": "h264", "encoder": "libx264", "profile": "quality", "scale": "source", "deinterlace": "off"
    }))
    .unwrap();
    JobRequest {
        source: "file:///made-up/in.mp4".into(),
        start_us: None,
        duration_us: None,
        outputs: vec![OutputRequest {
            url: "file:///made-up/out.mp4".into(),
            container: Container::Mp4,
            rendition,
            audio_codec: None,
            audio_bitrate_bps: None,
            tracks: recode_types::request::TrackSelection::All,
        }],
        segment_ms: Some(2000),
        score: Vec::new(),
        verify_full: false,
        strict: false,
        overwrite: true,
        labels: BTreeMap::new(),
        priority: 50,
    }
}

/// Every Attempt that the make-believe node was given.
type Ledger = Arc<Mutex<Vec<AttemptToken>>>;

/// How the node treats a grant.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Willing,
    /// Fails the first Attempt of every Segment.
    Clumsy,
    /// Takes grants and never finishes encodes after this many.
    StopsAfter(usize),
}

struct Node {
    store: WorkStore,
    ledger: Ledger,
    mood: Mood,
}

impl Node {
    fn spawn(leader: &Leader, folder: &Folder, ledger: &Ledger, mood: Mood) -> JoinHandle<()> {
        let (leader, url, ledger) = (leader.clone(), folder.store(), ledger.clone());
        tokio::spawn(async move {
            let store = WorkStore::open(&url).await.unwrap();
            Node {
                store,
                ledger,
                mood,
            }
            .run(&leader)
            .await;
        })
    }

    async fn run(self, leader: &Leader) {
        let instance = JobId::generate().to_string();
        let mut report = NodeReport {
            instance: instance.clone(),
            sequence: 1,
            hello: Some(NodeHello {
                // As a real one's, it differs from process to process.
                name: format!("make-believe:{instance}"),
                heavy_slots: 2,
                light_slots: 2,
                ..NodeHello::default()
            }),
            free_heavy: 3,
            free_light: 2,
            ..NodeReport::default()
        };
        let mut exchange = Exchange::open(leader, report.clone()).await.unwrap();
        report.hello = None;
        while let Ok(orders) = exchange.hear().await {
            report
                .finished
                .retain(|f| !orders.acknowledged.contains(&f.token));
            for grant in orders.grants {
                let token = AttemptToken {
                    task: grant.task,
                    attempt: grant.attempt,
                };
                self.ledger.lock().unwrap().push(token);
                if let Some(outcome) = self.outcome(&grant).await {
                    report.finished.push(FinishedAttempt { token, outcome });
                }
            }
            report.sequence += 1;
            if !report.finished.is_empty() && exchange.say(report.clone()).is_err() {
                return;
            }
        }
    }

    fn encodes(&self) -> usize {
        let ledger = self.ledger.lock().unwrap();
        ledger
            .iter()
            .filter(|t| matches!(t.task.key, TaskKey::Encode { .. }))
            .count()
    }

    async fn outcome(&self, grant: &Grant) -> Option<AttemptOutcome> {
        let usage = Usage {
            wall_ms: 10,
            cpu_ms: 10,
            ..Usage::default()
        };
        let heavy = grant.work.is_heavy();
        match self.mood {
            Mood::Clumsy if heavy && grant.attempt == 1 => {
                let failure = Failure {
                    class: FailureClass::Killed,
                    message: "signal 9".into(),
                    stderr_tail: None,
                };
                return Some(AttemptOutcome::Failed { failure, usage });
            }
            Mood::StopsAfter(count) if heavy && self.encodes() > count => return None,
            _ => {}
        }
        let result = self.result(grant).await;
        Some(AttemptOutcome::Done { result, usage })
    }

    async fn result(&self, grant: &Grant) -> TaskResult {
        let job = grant.task.job;
        match &grant.work {
            Work::Probe { source, .. } => TaskResult::Probed {
                facts: self.probe(grant, source).await,
            },
            Work::Encode(work) => {
                let bytes = format!("chunk {}", work.segment.index);
                let address = work.renditions[0].address;
                let key = recode_store::key::chunk(job, &address, 0, grant.attempt, "mp4");
                let artifact = self.store.put(&key, bytes).await.unwrap();
                TaskResult::Encoded {
                    chunks: vec![ChunkFacts {
                        output: 0,
                        segment: work.segment.index,
                        address,
                        artifact,
                        frames: work.segment.rows,
                        payload_bytes: 1000,
                        params: Digest([7; 32]),
                        signature_before: None,
                        signature_first: 0,
                        signature_last: 0,
                        signature_after: None,
                        score_frames: None,
                        scores: Vec::new(),
                        reused: false,
                    }],
                }
            }
            Work::Stitch(work) => {
                let chunks = self.store.get(&work.chunks).await.unwrap();
                let chunks: Vec<ChunkFacts> = serde_json::from_slice(&chunks).unwrap();
                assert!(
                    chunks
                        .iter()
                        .enumerate()
                        .all(|(i, c)| c.segment as usize == i)
                );
                TaskResult::Stitched {
                    output: OutputFacts {
                        output: work.output_index,
                        url: work.output.url.clone(),
                        size_bytes: 1,
                        frames: chunks.iter().map(|c| u64::from(c.frames)).sum(),
                        duration_us: 1,
                        video_bytes: 1,
                        scores: Vec::new(),
                        score_frames_url: None,
                        warnings: Vec::new(),
                    },
                }
            }
            other => panic!("unexpected work {other:?}"),
        }
    }

    async fn probe(&self, grant: &Grant, source: &str) -> recode_types::ArtifactRef {
        let table = FrameTable {
            time_base: TimeBase::new(1, 25),
            rows: (0..FRAMES)
                .map(|i| FrameRow {
                    pts: i as i64,
                    key: i % 50 == 0,
                    signature: None,
                })
                .collect(),
            last_duration: 1,
        };
        let key = |name| recode_store::key::of_attempt(&grant.task, grant.attempt, name);
        let table = self
            .store
            .put(&key("table.bin"), table.encode())
            .await
            .unwrap();
        let rational = |num, den| serde_json::to_value(Rational::new(num, den)).unwrap();
        let facts = serde_json::json!({
            "identity": {"url": source, "size_bytes": 1000, "version": "1"},
            "format": "mov", "start_us": 0, "duration_us": 60_000_000,
            "tracks": [{
                "index": 0, "kind": "video", "codec": "h264", "description": "", "dispositions": [],
                "attached_pic": false, "size": [320, 240], "tags": {}
            }],
            "chapters": 0, "tags": {},
            "video": {
                "track": 0, "codec": "h264", "time_base": rational(1, 25), "frames": FRAMES, "start_pts": 0,
                "end_pts": FRAMES, "width": 320, "height": 240, "pix_fmt": "yuv420p",
                "sample_aspect": rational(1, 1), "frame_rate": rational(25, 1), "hdr10_plus": false,
                "hdr10_static": false, "captions": false, "alpha": false
            },
            "read_mode": "clip", "deep": false, "table": table, "ffmpeg": "make-believe", "warnings": []
        });
        let json = serde_json::to_vec(&facts).unwrap();
        self.store.put(&key("facts.json"), json).await.unwrap()
    }
}

/// Watches to the end; asserts that indices have no gap.
async fn watch_to_end(jobs: &Jobs, job: JobId) -> Vec<EventKind> {
    let mut watch = jobs.watch(job, 0);
    let mut events = Vec::new();
    while let Some(watched) = watch.next().await.unwrap() {
        if let Watched::Event(event) = watched {
            assert_eq!(event.index, events.len() as u64);
            events.push(event.kind);
        }
    }
    events
}

fn segments_of(events: &[EventKind]) -> u32 {
    let planned = events.iter().find_map(|e| match e {
        EventKind::Planned { segments, .. } => Some(*segments),
        _ => None,
    });
    planned.expect("it was planned")
}

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
