//! Chunks that several Attempts make: what one has finished is not encoded again, and nothing of it is lost, doubled or moved.

use recode_media::mp4::{ChunkIndex, read_chunk};
use recode_media::verify::{self, Depth};
use recode_node::proof::Proofs;
use recode_node::run::{self, AttemptProgress, Context, Inputs};
use recode_node::scratch::Scratch;
use recode_node::slots::Slots;
use recode_node::source::Sources;
use recode_node::toolchain::{self, Ffmpeg};
use recode_store::{WorkStore, key};
use recode_types::source::ReadMode;
use recode_types::task::{
    AttemptOutcome, ChunkFacts, EncodeRendition, EncodeWork, Grant, TaskResult, Work,
};
use recode_types::{
    ArtifactRef, AttemptNo, Digest, FrameTable, JobId, Knob, Rendition, Segment, SourceFacts,
    TaskId, TaskKey,
};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const JOB: JobId = JobId(7);
/// In the middle of a group of pictures of the source, where much moves.
const FIRST_ROW: u32 = 137;
const ROWS: u32 = 192;
const GOP: u32 = 24;

/// A node's inside, a source that was probed, and a store.
struct Bench {
    folder: tempfile::TempDir,
    ffmpeg: Arc<Ffmpeg>,
    store: WorkStore,
    facts: ArtifactRef,
    table: FrameTable,
}

fn rendition(height: Option<u32>) -> Rendition {
    let scale = match height {
        Some(height) => {
            serde_json::json!({ "exact": { "width": height * 16 / 9, "height": height } })
        }
        None => serde_json::json!("source"),
    };
    serde_json::from_value(serde_json::json!({
        "codec": "h264", "encoder": "libx264", "rate": { "crf": 23000 }, "preset": "faster",
        "profile": "quality", "scale": scale, "deinterlace": "off", "gop": GOP
    }))
    .unwrap()
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ffmpeg = Arc::new(toolchain::find(None).unwrap());
        let url = format!("file://{}", folder.path().join("store").display());
        let store = WorkStore::open(&url).await.unwrap();
        let sample = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../samples/sintel_trailer_720p24.mp4")
            .canonicalize()
            .unwrap();
        let mut bench = Self {
            folder,
            ffmpeg,
            store,
            facts: ArtifactRef {
                key: String::new(),
                size_bytes: 0,
                digest: Digest([0; 32]),
            },
            table: FrameTable {
                time_base: recode_types::TimeBase::new(1, 1),
                rows: Vec::new(),
                last_duration: 1,
            },
        };
        let probe = Work::Probe {
            source: format!("file://{}", sample.display()),
            deep: false,
            start_us: None,
            duration_us: None,
        };
        let (running, _) = bench.start(TaskKey::Probe { deep: false }, 1, probe);
        let TaskResult::Probed { facts } = done(running.await.unwrap()) else {
            panic!("a probe");
        };
        let read: SourceFacts =
            serde_json::from_slice(&bench.store.get(&facts).await.unwrap()).unwrap();
        let table = bench.store.get(&read.table.unwrap()).await.unwrap();
        bench.table = FrameTable::decode(&table).unwrap();
        bench.facts = facts;
        bench
    }

    /// Begins an Attempt, each on a node of its own.
    fn start(
        &self,
        key: TaskKey,
        attempt: AttemptNo,
        work: Work,
    ) -> (
        tokio::task::JoinHandle<Result<AttemptOutcome, run::GivenBack>>,
        watch::Receiver<AttemptProgress>,
    ) {
        let scratch = tempfile::tempdir_in(self.folder.path()).unwrap().keep();
        let context = Arc::new(Context {
            ffmpeg: Arc::clone(&self.ffmpeg),
            scratch: Scratch::open(&scratch).unwrap(),
            sources: Sources::new(&scratch),
            inputs: Inputs::default(),
            cache: None,
            proofs: Proofs::default(),
        });
        let grant = Grant {
            task: TaskId { job: JOB, key },
            attempt,
            work_store: self.store.url().to_owned(),
            work,
            memory_bytes: None,
        };
        let (progress, follow) = watch::channel(AttemptProgress::default());
        let held = Slots::new(1, 1, 1).hold(true);
        (
            tokio::spawn(run::run(context, grant, held, progress)),
            follow,
        )
    }

    fn work(&self, address: &str, renditions: &[Rendition], split_tail: bool) -> EncodeWork {
        let rows = &self.table.rows;
        let segment = Segment {
            index: 3,
            first_row: FIRST_ROW,
            rows: ROWS,
            start_pts: rows[FIRST_ROW as usize].pts,
            end_pts: rows[(FIRST_ROW + ROWS) as usize].pts,
        };
        let renditions = renditions.iter().enumerate();
        let renditions: Vec<EncodeRendition> = renditions
            .map(|(output, rendition)| EncodeRendition {
                output: output as u16,
                rendition: rendition.clone(),
                knob: Knob {
                    quality_milli: 23_000,
                    peak: None,
                    buffer_start_milli: 900,
                },
                address: Digest::of(format!("{address} {output}").as_bytes()),
            })
            .collect();
        EncodeWork {
            facts: self.facts.clone(),
            segment,
            read_mode: ReadMode::Clip,
            params: vec![None; renditions.len()],
            renditions,
            start_us: None,
            score: Vec::new(),
            verify_full: false,
            split_tail,
        }
    }

    /// Runs an Attempt to its end.
    async fn finish(
        &self,
        work: &EncodeWork,
        attempt: AttemptNo,
    ) -> (Vec<ChunkFacts>, AttemptProgress) {
        let (running, follow) = self.start(KEY, attempt, Work::Encode(work.clone()));
        let TaskResult::Encoded { chunks } = done(running.await.unwrap()) else {
            panic!("an encode");
        };
        let progress = *follow.borrow();
        (chunks, progress)
    }

    /// Parts of the Chunk of an Output, in the order of their rows.
    async fn parts(&self, work: &EncodeWork, output: usize) -> Vec<(key::Part, PathBuf)> {
        let prefix = key::parts(JOB, &work.renditions[output].address);
        let listed = self.store.list(&prefix).await.unwrap();
        let mut parts: Vec<(key::Part, PathBuf)> = listed
            .iter()
            .map(|listed| {
                let part = key::part_of(&listed.key, &prefix).expect("nothing else lies there");
                (part, Path::new(self.store.url()).join(&listed.key))
            })
            .collect();
        parts.sort();
        parts
    }

    /// Ends an Attempt in the middle, when it has put so many parts away.
    async fn cut_off(&self, work: &EncodeWork, parts: usize) {
        let (running, _follow) = self.start(KEY, 1, Work::Encode(work.clone()));
        let last = work.renditions.len() - 1;
        let there = async {
            while self.parts(work, last).await.len() < parts {
                assert!(!running.is_finished(), "it ended before it was cut off");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let there = tokio::time::timeout(Duration::from_secs(120), there).await;
        there.expect("something is finished");
        assert!(!running.is_finished(), "it ended before it was cut off");
        running.abort();
        assert!(running.await.is_err_and(|ended| ended.is_cancelled()));
    }

    async fn file(&self, chunk: &ChunkFacts) -> PathBuf {
        let path = self.store.local_path(&chunk.artifact).await.unwrap();
        path.expect("the store is a folder")
    }
}

const KEY: TaskKey = TaskKey::Encode {
    group: 0,
    segment: 3,
};

fn done(outcome: Result<AttemptOutcome, run::GivenBack>) -> TaskResult {
    match outcome {
        Ok(AttemptOutcome::Done { result, .. }) => result,
        other => panic!("{other:?}"),
    }
}

/// The packets of a Chunk, one after another.
fn payload(path: &Path, index: &ChunkIndex) -> Vec<u8> {
    let file = std::fs::read(path).unwrap();
    let sample =
        |s: &recode_media::mp4::ChunkSample| file[s.offset as usize..][..s.size as usize].to_vec();
    index.samples.iter().flat_map(sample).collect()
}

/// The least likeness of pictures with the same number, in dB, and how many were compared.
fn likeness(ffmpeg: &Ffmpeg, one: &Path, two: &Path, folder: &Path) -> (f64, usize) {
    let log = folder.join("psnr.log");
    let filter = format!(
        "[0:v]settb=1/1000,setpts=N[a];[1:v]settb=1/1000,setpts=N[b];[a][b]psnr=stats_file={}",
        log.display()
    );
    let ended = Command::new(&ffmpeg.path)
        .args(["-v", "error", "-i"])
        .arg(one)
        .arg("-i")
        .arg(two)
        .args(["-lavfi", &filter, "-f", "null", "-"])
        .status();
    assert!(ended.unwrap().success());
    let text = std::fs::read_to_string(log).unwrap();
    let each = text
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("psnr_y:"));
    let each: Vec<f64> = each.map(|db| db.parse().unwrap_or(f64::INFINITY)).collect();
    (
        each.iter().copied().fold(f64::INFINITY, f64::min),
        each.len(),
    )
}

/// A Chunk has all frames of the Segment, at their times, in their order, and shows what another one of them shows.
async fn is_like(bench: &Bench, chunk: &ChunkFacts, other: &ChunkFacts) {
    let (path, of_other) = (bench.file(chunk).await, bench.file(other).await);
    let index = read_chunk(&path).unwrap();
    assert_eq!((chunk.frames, index.samples.len()), (ROWS, ROWS as usize));
    let rows = &bench.table.rows[FIRST_ROW as usize..][..ROWS as usize];
    let wanted: Vec<i64> = rows.iter().map(|row| row.pts - rows[0].pts).collect();
    let times: Vec<i64> = index.presented();
    let shown: Vec<i64> = times
        .iter()
        .map(|pts| {
            index
                .time_base
                .rescale(pts - times[0], bench.table.time_base)
        })
        .collect();
    assert_eq!(shown, wanted);
    assert_eq!(chunk.payload_bytes, index.payload_bytes());
    assert_eq!(chunk.params, other.params);
    let signatures = |c: &ChunkFacts| {
        (
            c.signature_before,
            c.signature_first,
            c.signature_last,
            c.signature_after,
        )
    };
    assert_eq!(signatures(chunk), signatures(other));
    let decoded = verify::decode(&bench.ffmpeg, &path, u64::from(ROWS), Depth::Full).await;
    assert_eq!(decoded.unwrap().frames.len(), ROWS as usize);
    let (least, compared) = likeness(&bench.ffmpeg, &path, &of_other, bench.folder.path());
    assert_eq!(compared, ROWS as usize);
    assert!(least > 30.0, "a picture is like another by {least} dB only");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_attempt_has_finished_is_not_encoded_again() {
    let bench = Bench::new().await;
    let renditions = [rendition(None)];
    let (plain, _) = bench
        .finish(&bench.work("plain", &renditions, false), 1)
        .await;

    // Of an Attempt that nobody ends, it makes no difference.
    let calm = bench.work("calm", &renditions, true);
    let (undisturbed, progress) = bench.finish(&calm, 1).await;
    assert_eq!((progress.found, progress.frames), (0, u64::from(ROWS)));
    is_like(&bench, &undisturbed[0], &plain[0]).await;
    let packets = async |chunk: &ChunkFacts| {
        let path = bench.file(chunk).await;
        payload(&path, &read_chunk(&path).unwrap())
    };
    assert!(packets(&undisturbed[0]).await == packets(&plain[0]).await);

    let work = bench.work("cut off", &renditions, true);
    bench.cut_off(&work, 2).await;
    let parts = bench.parts(&work, 0).await;
    let finished: u32 = parts.iter().map(|(part, _)| part.rows).sum();
    assert_eq!(finished % GOP, 0);
    let (chunks, progress) = bench.finish(&work, 2).await;
    assert_eq!(progress.found, u64::from(finished));
    assert_eq!(
        progress.frames,
        u64::from(ROWS),
        "only the rest was encoded"
    );
    is_like(&bench, &chunks[0], &plain[0]).await;
    // Up to where the first Attempt came, it is the same.
    let (all, head) = (packets(&chunks[0]).await, packets(&plain[0]).await);
    let first = read_chunk(&parts[0].1).unwrap();
    let bytes = first.payload_bytes() as usize;
    assert!(all[..bytes] == head[..bytes]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_is_damaged_ends_what_is_taken_over() {
    let bench = Bench::new().await;
    let renditions = [rendition(None)];
    let (plain, _) = bench
        .finish(&bench.work("plain", &renditions, false), 1)
        .await;
    let work = bench.work("cut off", &renditions, true);
    bench.cut_off(&work, 2).await;
    let parts = bench.parts(&work, 0).await;
    let damage = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    let cut_short = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        std::fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
    };
    damage(&parts[1].1);
    let (chunks, progress) = bench.finish(&work, 2).await;
    assert_eq!(progress.found, u64::from(parts[0].0.rows));
    is_like(&bench, &chunks[0], &plain[0]).await;
    for (_, path) in bench.parts(&work, 0).await {
        cut_short(&path);
    }
    let (chunks, progress) = bench.finish(&work, 3).await;
    assert_eq!(progress.found, 0);
    is_like(&bench, &chunks[0], &plain[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_renditions_of_a_group_go_on_from_one_row() {
    let bench = Bench::new().await;
    let renditions = [rendition(None), rendition(Some(360))];
    let (plain, _) = bench
        .finish(&bench.work("plain", &renditions, false), 1)
        .await;
    let work = bench.work("cut off", &renditions, true);
    bench.cut_off(&work, 2).await;
    // The last part of one of them is lost.
    let of_second = bench.parts(&work, 1).await;
    std::fs::remove_file(&of_second.last().unwrap().1).unwrap();
    let left: u32 = of_second[..of_second.len() - 1]
        .iter()
        .map(|(part, _)| part.rows)
        .sum();
    let (chunks, progress) = bench.finish(&work, 2).await;
    assert_eq!(progress.found, u64::from(left));
    for (chunk, other) in chunks.iter().zip(&plain) {
        is_like(&bench, chunk, other).await;
    }
}
