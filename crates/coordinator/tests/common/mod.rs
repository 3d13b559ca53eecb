//! A coordinator in a folder of its own, and a make-believe node that finishes everything it is granted.
#![allow(dead_code, reason = "each test program uses a part of it")]

use recode_coordinator::assembly::{Config, Running, start};
use recode_mesh::nats;
use recode_mesh::retry::Backoff;
use recode_mesh::{Exchange, Jobs, Leader, Link, Watched};
use recode_store::WorkStore;
use recode_types::rendition::Rendition;
use recode_types::table::FrameRow;
use recode_types::task::{
    AttemptOutcome, ChunkFacts, Failure, FailureClass, Grant, OutputFacts, TaskResult, Usage, Work,
};
use recode_types::{
    AttemptToken, Container, Digest, EventKind, FinishedAttempt, FrameTable, JobId, JobRequest,
    NodeHello, NodeReport, OutputRequest, Rational, SegmentLength, TaskKey, TimeBase,
};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let dir =
            std::env::temp_dir().join(format!("recode-coordinator-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    pub fn store(&self) -> String {
        format!("file://{}", self.0.join("store").display())
    }

    pub async fn coordinator(&self) -> (Running, Jobs, Leader) {
        self.start(true).await
    }

    /// A coordinator that lives on its own, as in a cluster: it remembers nodes and sweeps what ended jobs leave.
    pub async fn lasting(&self) -> (Running, Jobs, Leader) {
        self.start(false).await
    }

    /// As above, for nodes on NATS too.
    pub async fn with_nats(&self, settings: nats::Settings) -> (Running, Jobs, Leader) {
        let config = Config {
            nats: Some(settings),
            ..Config::embedded(self.0.join("raft"), self.store())
        };
        Self::run(config).await
    }

    async fn start(&self, embedded: bool) -> (Running, Jobs, Leader) {
        let config = Config {
            embedded,
            ..Config::embedded(self.0.join("raft"), self.store())
        };
        Self::run(config).await
    }

    async fn run(config: Config) -> (Running, Jobs, Leader) {
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

pub const FRAMES: usize = 1500;

pub fn request() -> JobRequest {
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
        segment: SegmentLength::Millis(2000),
        score: Vec::new(),
        making: recode_types::Making::Usual,
        strict: false,
        overwrite: true,
        labels: BTreeMap::new(),
        priority: 50,
    }
}

/// Every Attempt that the make-believe node was given.
pub type Ledger = Arc<Mutex<Vec<AttemptToken>>>;

/// How the node treats a grant.
#[derive(Clone, Copy, PartialEq)]
pub enum Mood {
    Willing,
    /// Fails the first Attempt of every Segment.
    Clumsy,
    /// Takes grants and never finishes encodes after this many.
    StopsAfter(usize),
    /// Fails the first Attempt of this Segment for good.
    Spoils(u32),
    /// Fails whatever it encodes, at once.
    Breaks,
    /// Its encoder makes other parameter sets than others do.
    Apart,
    /// Its FFmpeg has this encoder alone.
    HasOnly(&'static str),
}

pub struct Node {
    store: WorkStore,
    ledger: Ledger,
    mood: Mood,
}

impl Node {
    pub fn spawn(leader: &Leader, folder: &Folder, ledger: &Ledger, mood: Mood) -> JoinHandle<()> {
        let (link, folder) = (Link::Grpc(leader.clone()), folder.store());
        let ledger = ledger.clone();
        tokio::spawn(async move {
            let node = Node::new(&folder, ledger, mood).await;
            let mut report = node.hello();
            let exchange = link.open(report.clone()).await.unwrap();
            node.converse(exchange, &mut report).await;
        })
    }

    /// One that opens an exchange again whenever it was lost.
    pub fn steadfast(link: Link, folder: &Folder, ledger: &Ledger) -> JoinHandle<()> {
        let (folder, ledger) = (folder.store(), ledger.clone());
        tokio::spawn(async move {
            let node = Node::new(&folder, ledger, Mood::Willing).await;
            let mut report = node.hello();
            let hello = report.hello.clone();
            let mut backoff = Backoff::reconnect();
            loop {
                report.hello.clone_from(&hello);
                if let Ok(exchange) = link.open(report.clone()).await {
                    backoff.reset();
                    node.converse(exchange, &mut report).await;
                }
                tokio::time::sleep(backoff.next_wait()).await;
            }
        })
    }

    async fn new(store: &str, ledger: Ledger, mood: Mood) -> Self {
        Self {
            store: WorkStore::open(store).await.unwrap(),
            ledger,
            mood,
        }
    }

    fn hello(&self) -> NodeReport {
        let instance = JobId::generate().to_string();
        NodeReport {
            instance: instance.clone(),
            sequence: 1,
            hello: Some(NodeHello {
                // As a real one's, it differs from process to process.
                name: format!("make-believe:{instance}"),
                heavy_slots: 2,
                light_slots: 2,
                capabilities: match self.mood {
                    Mood::HasOnly(encoder) => vec![encoder.to_owned()],
                    _ => Vec::new(),
                },
                ..NodeHello::default()
            }),
            free_heavy: 3,
            free_light: 2,
            ..NodeReport::default()
        }
    }

    /// Until the exchange ends. Says what it has once a second even if it is nothing new, as a node does.
    async fn converse(&self, mut exchange: Exchange, report: &mut NodeReport) {
        report.hello = None;
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            let orders = tokio::select! {
                orders = exchange.hear() => match orders {
                    Ok(orders) => orders,
                    Err(_) => return,
                },
                _ = tick.tick() => {
                    report.sequence += 1;
                    if exchange.say(report.clone()).is_err() {
                        return;
                    }
                    continue;
                }
            };
            report
                .finished
                .retain(|f| !orders.acknowledged.contains(&f.token));
            for grant in orders.grants {
                let token = AttemptToken {
                    task: grant.task,
                    attempt: grant.attempt,
                };
                if report.finished.iter().any(|f| f.token == token) {
                    continue;
                }
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
            Mood::Breaks if heavy => {
                let failure = Failure {
                    class: FailureClass::Unknown,
                    message: "ffmpeg exited with 1".into(),
                    stderr_tail: None,
                };
                return Some(AttemptOutcome::Failed { failure, usage });
            }
            Mood::Clumsy if heavy && grant.attempt == 1 => {
                let failure = Failure {
                    class: FailureClass::Killed,
                    message: "signal 9".into(),
                    stderr_tail: Some(format!("{} fell over", grant.task.key)),
                };
                return Some(AttemptOutcome::Failed { failure, usage });
            }
            Mood::Spoils(segment) if grant.attempt == 1 && of_segment(grant, segment) => {
                let failure = Failure {
                    class: FailureClass::BadInput,
                    message: "it does not decode".into(),
                    stderr_tail: Some("Invalid data found".into()),
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
                        params: Digest([if self.mood == Mood::Apart { 8 } else { 7 }; 32]),
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
                for chunk in &chunks {
                    self.store.get(&chunk.artifact).await.unwrap();
                }
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

fn of_segment(grant: &Grant, wanted: u32) -> bool {
    matches!(grant.task.key, TaskKey::Encode { segment, .. } if segment == wanted)
}

/// Watches to the end; asserts that indices have no gap.
pub async fn watch_to_end(jobs: &Jobs, job: JobId) -> Vec<EventKind> {
    let mut watch = jobs.watch(job, 0);
    let mut events = Vec::new();
    let watching = async {
        while let Some(watched) = watch.next().await.unwrap() {
            if let Watched::Event(event) = watched {
                assert_eq!(event.index, events.len() as u64);
                events.push(event.kind);
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), watching).await;
    assert!(ended.is_ok(), "{job} does not end: {events:?}");
    events
}

pub fn segments_of(events: &[EventKind]) -> u32 {
    let planned = events.iter().find_map(|e| match e {
        EventKind::Planned { segments, .. } => Some(*segments),
        _ => None,
    });
    planned.expect("it was planned")
}
