//! Outputs that are larger than what a node may use of scratch. A program of its own, because the S3 settings come from the
//! environment, which is set once, before anything reads it.

use recode_node::proof::Proofs;
use recode_node::run::{self, AttemptProgress, Context, Inputs};
use recode_node::scratch::{Scratch, used_bytes};
use recode_node::slots::Slots;
use recode_node::source::Sources;
use recode_node::toolchain::{self, Ffmpeg};
use recode_store::{WorkStore, key};
use recode_testkit::s3::{Fault, Kind, Server};
use recode_types::source::ReadMode;
use recode_types::task::{
    AttemptOutcome, ChunkFacts, EncodeRendition, EncodeWork, FailureClass, Grant, OutputFacts,
    StitchWork, TaskResult, Work,
};
use recode_types::{
    ArtifactRef, Codec, Digest, FrameTable, JobId, Knob, OutputRequest, Segment, SourceFacts,
    TaskId, TaskKey,
};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

const JOB: JobId = JobId(7);
const MIB: u64 = 1 << 20;
/// What the node may use.
const BUDGET: u64 = 112 * MIB;
/// Every Output here is larger than this, so one that is kept whole does not fit into the budget.
const LEAST_SIZE: u64 = BUDGET * 5 / 4;
/// The front, what is being sent and what waits for it, each part 8 MiB; and what [`paced`] writes in a third of a second, for
/// which a busy machine may forget to look: less than the whole in any case.
const MOST_USED: u64 = (1 + 4 + 2) * 8 * MIB + 48 * MIB;

/// The Output that is copied afterwards. The others go when they have been compared: at 150 MB each, all would need 2 GB.
const COPIED: &str = "mkv";

/// A node's inside, and the encoded Chunks of a film.
struct Bench {
    folder: tempfile::TempDir,
    ffmpeg: Arc<Ffmpeg>,
    /// What writes Outputs that are sent.
    paced: Arc<Ffmpeg>,
    store: WorkStore,
    facts: ArtifactRef,
    frames: u64,
    segments: ArtifactRef,
    chunks: ArtifactRef,
}

fn request(url: &str, container: &str) -> OutputRequest {
    recode_testkit::request::h264(url, container, 1000)
}

/// Noise, which nobody can make small, with sound and a subtitle.
fn film(ffmpeg: &Ffmpeg, folder: &Path) -> PathBuf {
    let line = |n: u32| format!("{n}\n00:00:{n:02},000 --> 00:00:{n:02},500\nLine {n}\n\n");
    let text: String = (1..16).map(line).collect();
    std::fs::write(folder.join("s.srt"), text).unwrap();
    let film = folder.join("film.mp4");
    let made = Command::new(&ffmpeg.path)
        .args("-v error -f lavfi -i color=gray:s=640x360:r=25:d=20,noise=alls=90:allf=t".split(' '))
        .args("-f lavfi -i sine=d=20 -i".split(' '))
        .arg(folder.join("s.srt"))
        .args(
            "-map 0 -map 1 -map 2 -c:v mpeg4 -q:v 3 -g 50 -bf 0 -c:a aac -c:s mov_text".split(' '),
        )
        .arg(&film)
        .status();
    assert!(made.unwrap().success());
    film
}

/// FFmpeg, reading no faster than 20 times the film's speed: some 150 MB/s. A copy at the speed of the disk would write most of the
/// film while a busy machine does not look.
fn paced(ffmpeg: &Ffmpeg, folder: &Path) -> Ffmpeg {
    let script = folder.join("paced");
    let text = format!(
        r#"#!/bin/sh
n=$#
while [ "$n" -gt 0 ]; do
    [ "$1" != -i ] || set -- "$@" -readrate 20
    set -- "$@" "$1"
    shift
    n=$((n - 1))
done
exec '{}' "$@"
"#,
        ffmpeg.path.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    toolchain::open(&script, None).unwrap()
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ffmpeg = Arc::new(toolchain::find(None).unwrap());
        let paced = Arc::new(paced(&ffmpeg, folder.path()));
        let film = film(&ffmpeg, folder.path());
        let url = format!("file://{}", folder.path().join("store").display());
        let store = WorkStore::open(&url).await.unwrap();
        let none = ArtifactRef {
            key: String::new(),
            size_bytes: 0,
            digest: Digest([0; 32]),
        };
        let mut bench = Self {
            folder,
            ffmpeg,
            paced,
            store,
            facts: none.clone(),
            frames: 0,
            segments: none.clone(),
            chunks: none,
        };
        let probe = Work::Probe {
            source: format!("file://{}", film.display()),
            deep: false,
            start_us: None,
            duration_us: None,
        };
        let (probed, _) = bench
            .run(&bench.ffmpeg, TaskKey::Probe { deep: false }, probe)
            .await;
        let TaskResult::Probed { facts } = done(probed) else {
            panic!("a probe");
        };
        let bytes = bench.store.get(&facts).await.unwrap();
        bench.facts = facts;
        let facts: SourceFacts = serde_json::from_slice(&bytes).unwrap();
        let table = bench.store.get(&facts.table.unwrap()).await.unwrap();
        let table = FrameTable::decode(&table).unwrap();
        let half = table.rows.len() as u32 / 2 / 50 * 50;
        let end = table.rows.len() as u32;
        let mut segments = Vec::new();
        for (first_row, last_row) in [(0, half), (half, end)] {
            let pts = |row: u32| table.rows.get(row as usize).map(|row| row.pts);
            segments.push(Segment {
                index: segments.len() as u32,
                first_row,
                rows: last_row - first_row,
                start_pts: pts(first_row).unwrap(),
                end_pts: pts(last_row).unwrap_or(table.end_pts()),
            });
        }
        let mut chunks: Vec<ChunkFacts> = Vec::new();
        for segment in &segments {
            let encoded = bench.encode(*segment).await;
            chunks.extend(encoded);
        }
        bench.frames = u64::from(end);
        let put = async |json: Vec<u8>| {
            let key = key::of_plan(JOB, &Digest::of(&json), "json");
            bench.store.put(&key, json).await.unwrap()
        };
        let put_segments = put(serde_json::to_vec(&segments).unwrap()).await;
        let put_chunks = put(serde_json::to_vec(&chunks).unwrap()).await;
        (bench.segments, bench.chunks) = (put_segments, put_chunks);
        bench
    }

    async fn encode(&self, segment: Segment) -> Vec<ChunkFacts> {
        let key = TaskKey::Encode {
            group: 0,
            segment: segment.index,
        };
        let work = EncodeWork {
            facts: self.facts.clone(),
            read_mode: ReadMode::Clip,
            params: vec![None],
            renditions: vec![EncodeRendition {
                output: 0,
                rendition: request("file:///out.mp4", "mp4").rendition,
                knob: Knob {
                    quality_milli: 1000,
                    peak: None,
                    buffer_start_milli: 900,
                },
                address: Digest::of(segment.index.to_string().as_bytes()),
            }],
            segment,
            start_us: None,
            score: Vec::new(),
            verify_full: false,
            split_tail: false,
        };
        let (encoded, _) = self
            .run_within(&self.ffmpeg, key, Work::Encode(work), None)
            .await;
        let TaskResult::Encoded { chunks } = done(encoded) else {
            panic!("an encode");
        };
        chunks
    }

    async fn run(&self, ffmpeg: &Arc<Ffmpeg>, key: TaskKey, work: Work) -> (AttemptOutcome, u64) {
        self.run_within(ffmpeg, key, work, Some(BUDGET)).await
    }

    /// What writes this Output.
    fn writer(&self, output: &OutputRequest) -> &Arc<Ffmpeg> {
        match output.url.starts_with("s3:") {
            true => &self.paced,
            false => &self.ffmpeg,
        }
    }

    /// Runs an Attempt on a node of its own. Returns the most that it had on the disk too.
    async fn run_within(
        &self,
        ffmpeg: &Arc<Ffmpeg>,
        key: TaskKey,
        work: Work,
        budget: Option<u64>,
    ) -> (AttemptOutcome, u64) {
        let folder = tempfile::tempdir_in(self.folder.path()).unwrap();
        let scratch = folder.path().join("scratch");
        let context = Arc::new(Context {
            ffmpeg: Arc::clone(ffmpeg),
            scratch: Scratch::open(&scratch).unwrap().with_budget(budget),
            sources: Sources::new(&scratch),
            inputs: Inputs::default(),
            cache: None,
            proofs: Proofs::default(),
        });
        let grant = Grant {
            task: TaskId { job: JOB, key },
            attempt: 1,
            work_store: self.store.url().to_owned(),
            work,
            memory_bytes: None,
        };
        let (progress, _follow) = watch::channel(AttemptProgress::default());
        let held = Slots::new(1, 1, 1).hold(true);
        let most = AtomicU64::new(0);
        let looks = async {
            loop {
                most.fetch_max(used_bytes(&scratch), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let ended = tokio::select! {
            ended = run::run(context, grant, held, progress) => ended,
            () = looks => unreachable!("it looks for ever"),
        };
        (ended.expect("nobody else is there"), most.into_inner())
    }

    async fn join(&self, output: OutputRequest) -> (AttemptOutcome, u64) {
        let writer = self.writer(&output);
        let work = StitchWork {
            facts: self.facts.clone(),
            output_index: 0,
            output,
            segments: self.segments.clone(),
            chunks: self.chunks.clone(),
            audio: None,
            audio_tracks: Vec::new(),
            whole: Vec::new(),
            overwrite: false,
            start_us: None,
            duration_us: None,
            score: Vec::new(),
        };
        self.run(writer, TaskKey::Stitch { output: 0 }, Work::Stitch(work))
            .await
    }
}

impl Bench {
    /// Turns a film in the bench's folder into one with its sound before its picture.
    fn sound_first(&self, name: &str) -> PathBuf {
        let film = self.folder.path().join("sound-first.mkv");
        let made = Command::new(&self.ffmpeg.path)
            .args(["-v", "error", "-i"])
            .arg(self.folder.path().join(name))
            .args("-map 0:a -map 0:v -c copy".split(' '))
            .arg(&film)
            .status();
        assert!(made.unwrap().success());
        std::fs::remove_file(self.folder.path().join(name)).unwrap();
        film
    }

    async fn copy(&self, film: &Path, mut output: OutputRequest) -> (AttemptOutcome, u64) {
        let writer = self.writer(&output);
        output.rendition.codec = Codec::Copy;
        output.rendition.encoder = "copy".into();
        let work = Work::Command {
            source: format!("file://{}", film.display()),
            output,
            overwrite: false,
            start_us: None,
            duration_us: None,
        };
        self.run(writer, TaskKey::Command { output: 0 }, work).await
    }
}

fn done(outcome: AttemptOutcome) -> TaskResult {
    match outcome {
        AttemptOutcome::Done { result, .. } => result,
        failed => panic!("{failed:?}"),
    }
}

fn stitched(outcome: AttemptOutcome) -> OutputFacts {
    match done(outcome) {
        TaskResult::Stitched { output } => output,
        other => panic!("{other:?}"),
    }
}

/// One test, as it is the environment of one server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_larger_than_scratch_is_sent_while_it_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).unwrap();
    server.create_bucket("films").unwrap();
    for (name, value) in server.env() {
        // SAFETY: the only test of this program, and the first thing it does; nothing reads the environment yet.
        unsafe { std::env::set_var(name, value) };
    }
    let bench = Bench::new().await;
    for container in ["mp4", "mov", "mkv", "ts"] {
        // What the ordinary way makes: it writes beside its target, and scratch does not matter.
        let local = bench.folder.path().join(format!("local.{container}"));
        let url = format!("file://{}", local.display());
        let (ordinary, _) = bench.join(request(&url, container)).await;
        let ordinary = stitched(ordinary);
        assert!(ordinary.size_bytes > LEAST_SIZE, "{}", ordinary.size_bytes);

        // Once the store refuses parts for a while: FFmpeg could write everything meanwhile.
        let refusals = if container == "mp4" { 0 } else { 24 };
        for _ in 0..refusals {
            server.inject(Kind::Part, Fault::Refuse(503));
        }
        let url = format!("s3://films/out.{container}");
        let (sent, most) = bench.join(request(&url, container)).await;
        let sent = stitched(sent);
        assert!(most <= MOST_USED, "{container}: {most} bytes of scratch");
        let wanted = OutputFacts {
            url: url.clone(),
            ..ordinary
        };
        assert_eq!(sent, wanted);
        assert_eq!(sent.frames, bench.frames);
        let there = server.path_of("films", &format!("out.{container}"));
        assert!(std::fs::read(&there).unwrap() == std::fs::read(&local).unwrap());
        std::fs::remove_file(&there).unwrap();
        if container != COPIED {
            std::fs::remove_file(&local).unwrap();
        }
        assert_eq!(server.open_uploads().unwrap(), 0);
    }

    // Copies of one of them. Its sound comes first, which is not to be counted.
    let film = bench.sound_first(&format!("local.{COPIED}"));
    for container in ["mp4", "mkv", "ts"] {
        let local = bench.folder.path().join(format!("copy.{container}"));
        let url = format!("file://{}", local.display());
        let (ordinary, _) = bench.copy(&film, request(&url, container)).await;
        let ordinary = stitched(ordinary);
        assert!(ordinary.size_bytes > LEAST_SIZE);
        assert_eq!(ordinary.frames, bench.frames, "{container}");
        let url = format!("s3://films/copy.{container}");
        let (sent, most) = bench.copy(&film, request(&url, container)).await;
        assert!(most <= MOST_USED, "{container}: {most} bytes of scratch");
        let wanted = OutputFacts {
            url: url.clone(),
            ..ordinary
        };
        assert_eq!(stitched(sent), wanted);
        let there = server.path_of("films", &format!("copy.{container}"));
        assert!(std::fs::read(&there).unwrap() == std::fs::read(&local).unwrap());
        std::fs::remove_file(&there).unwrap();
        std::fs::remove_file(&local).unwrap();
        assert_eq!(server.open_uploads().unwrap(), 0);
    }

    // Nothing gets the name, and nothing is left, when the store does not take it.
    server.add_rule("part:refuse=403:100%".parse().unwrap());
    for container in ["mp4", "mkv", "ts"] {
        let name = format!("refused.{container}");
        let output = request(&format!("s3://films/{name}"), container);
        let (refused, _) = bench.join(output).await;
        let AttemptOutcome::Failed { failure, .. } = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(failure.class, FailureClass::BadInput, "{failure:?}");
        assert!(!server.path_of("films", &name).exists());
        assert_eq!(server.open_uploads().unwrap(), 0);
    }
    server.clear_rules();
    let left = bench.store.list("jobs").await.unwrap();
    assert!(left.iter().all(|listed| !listed.key.ends_with(".upload")));
}
