//! Chunks of a piece of the sample on S3, and nodes' insides that join them.

use crate::ground::{self, sample};
use recode_node::peer::{Config, Neighbours, serve};
use recode_node::proof::Proofs;
use recode_node::run::{self, AttemptProgress, Context, Inputs};
use recode_node::scratch::{Scratch, used_bytes};
use recode_node::slots::Slots;
use recode_node::source::Sources;
use recode_node::toolchain;
use recode_store::WorkStore;
use recode_types::source::ReadMode;
use recode_types::task::{
    AttemptOutcome, ChunkFacts, EncodeRendition, EncodeWork, Failure, Grant, ListedChunk,
    OutputFacts, StitchWork, TaskResult, Work,
};
use recode_types::{
    ArtifactRef, AttemptNo, Digest, FrameTable, JobId, Knob, OutputRequest, Segment, SourceFacts,
    TaskId, TaskKey,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const JOB: JobId = JobId(7);
/// Where something moves.
const FIRST_ROW: u32 = 137;
/// Rows of each Segment.
const ROWS: u32 = 24;

/// The inside of a node.
pub struct Machine {
    pub scratch: PathBuf,
    context: Arc<Context>,
    pub neighbours: Option<Neighbours>,
    stop: CancellationToken,
}

impl Machine {
    /// One that knows no neighbours.
    pub fn alone(folder: &Path) -> Self {
        Self::with(folder, false)
    }

    /// One that serves its site.
    pub fn serving(folder: &Path) -> Self {
        Self::with(folder, true)
    }

    fn with(folder: &Path, serves: bool) -> Self {
        let scratch = tempfile::tempdir_in(folder).unwrap().keep();
        let opened = Scratch::open(&scratch).unwrap();
        let stop = CancellationToken::new();
        let neighbours = serves.then(|| {
            let config = Config {
                listen: ([127, 0, 0, 1], 0).into(),
                advertise: None,
                insecure: false,
                keep_bytes: 512 << 20,
            };
            let (listener, own) = serve::listen(&config).unwrap();
            let neighbours = Neighbours::new(own, &scratch, config.keep_bytes).unwrap();
            let serving = serve::serve(neighbours.clone(), listener, stop.clone());
            drop(tokio::spawn(serving));
            neighbours
        });
        let context = Arc::new(Context {
            ffmpeg: Arc::new(toolchain::find(None).unwrap()),
            scratch: opened,
            sources: Sources::new(&scratch).shared_with(neighbours.clone()),
            inputs: Inputs::default(),
            cache: None,
            proofs: Proofs::default(),
        });
        Self {
            scratch,
            context,
            neighbours,
            stop,
        }
    }

    /// Where it serves its site.
    pub fn address(&self) -> String {
        let neighbours = self.neighbours.as_ref().expect("it serves");
        neighbours.own().to_owned()
    }

    /// It is gone: nobody answers.
    pub fn end(self) {
        self.stop.cancel();
    }

    pub async fn run(
        &self,
        store: &WorkStore,
        key: TaskKey,
        attempt: AttemptNo,
        work: Work,
    ) -> AttemptOutcome {
        let grant = Grant {
            task: TaskId { job: JOB, key },
            attempt,
            work_store: store.url().to_owned(),
            work,
            memory_bytes: None,
        };
        let (progress, _follow) = watch::channel(AttemptProgress::default());
        let held = Slots::new(1, 1, 1).hold(true);
        let ended = run::run(Arc::clone(&self.context), grant, held, progress).await;
        ended.expect("it comes to an end")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn done(outcome: AttemptOutcome) -> TaskResult {
    match outcome {
        AttemptOutcome::Done { result, .. } => result,
        other => panic!("{other:?}"),
    }
}

/// Tells them of each other.
pub fn introduce(site: &[&Machine]) {
    let all: Vec<String> = site.iter().map(|one| one.address()).collect();
    for one in site {
        let neighbours = one.neighbours.as_ref().expect("it serves");
        neighbours.site_is(all.clone());
    }
}

/// See the module.
pub struct Film {
    pub folder: tempfile::TempDir,
    pub store: WorkStore,
    pub chunks: Vec<ChunkFacts>,
    facts: ArtifactRef,
    segments: Vec<Segment>,
    start_us: i64,
}

impl Film {
    /// Made by `maker`, in the store at `url`.
    pub async fn encoded(
        folder: tempfile::TempDir,
        url: &str,
        maker: &Machine,
        (chunks, crf): (u32, u32),
    ) -> Self {
        let store = WorkStore::open(url).await.unwrap();
        let source = sample().canonicalize().unwrap();
        let probe = Work::Probe {
            source: format!("file://{}", source.display()),
            deep: false,
            start_us: None,
            duration_us: None,
        };
        let probed = maker.run(&store, TaskKey::Probe { deep: false }, 1, probe);
        let TaskResult::Probed { facts } = done(probed.await) else {
            panic!("a probe");
        };
        let read: SourceFacts = serde_json::from_slice(&store.get(&facts).await.unwrap()).unwrap();
        let table = store.get(&read.table.unwrap()).await.unwrap();
        let table = FrameTable::decode(&table).unwrap();
        let pts = |row: u32| table.rows[row as usize].pts;
        let segments = (0..chunks).map(|index| {
            let first_row = FIRST_ROW + index * ROWS;
            Segment {
                index,
                first_row,
                rows: ROWS,
                start_pts: pts(first_row),
                end_pts: pts(first_row + ROWS),
            }
        });
        let seconds = table.time_base.as_f64() * pts(FIRST_ROW) as f64;
        let mut film = Self {
            folder,
            store,
            chunks: Vec::new(),
            facts,
            segments: segments.collect(),
            start_us: (seconds * 1e6) as i64,
        };
        for segment in film.segments.clone() {
            let made = film.encode(maker, segment, crf).await;
            film.chunks.push(made);
        }
        film
    }

    fn output(&self, path: &Path, crf: u32) -> OutputRequest {
        let mut outputs = ground::request("file:///x", path).outputs;
        outputs[0].rendition.rate = Some(recode_types::rendition::RateControl::Crf(crf * 1000));
        outputs.remove(0)
    }

    async fn encode(&self, maker: &Machine, segment: Segment, crf: u32) -> ChunkFacts {
        let rendition = self.output(Path::new("/x.mp4"), crf).rendition;
        let work = EncodeWork {
            facts: self.facts.clone(),
            segment,
            read_mode: ReadMode::Clip,
            params: vec![None],
            renditions: vec![EncodeRendition {
                output: 0,
                rendition,
                knob: Knob {
                    quality_milli: crf * 1000,
                    peak: None,
                    buffer_start_milli: 900,
                },
                address: Digest::of(format!("{}", segment.index).as_bytes()),
            }],
            start_us: Some(self.start_us),
            score: Vec::new(),
            verify_full: false,
            split_tail: false,
        };
        let key = TaskKey::Encode {
            group: 0,
            segment: segment.index,
        };
        let TaskResult::Encoded { mut chunks } =
            done(maker.run(&self.store, key, 1, Work::Encode(work)).await)
        else {
            panic!("an encode");
        };
        chunks.remove(0)
    }

    /// The same, of what is in another store too.
    pub fn stored_in(self, store: WorkStore) -> Self {
        Self { store, ..self }
    }

    /// Bytes of all Chunks.
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().map(|c| c.artifact.size_bytes).sum()
    }

    /// Part of the key that only one Chunk has.
    pub fn key(&self, number: usize) -> &str {
        &self.chunks[number].artifact.key
    }

    /// Where the stored bytes of a Chunk lie.
    pub fn path(&self, server: &recode_testkit::s3::Server, number: usize) -> PathBuf {
        server.path_of("chunks", &format!("w/{}", self.key(number)))
    }

    pub fn target(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Everything that a stitch of these Chunks is told. `makers`: where each was made.
    pub async fn work(&self, target: &Path, makers: impl Fn(u32) -> String) -> StitchWork {
        let listed: Vec<ListedChunk> = self
            .chunks
            .iter()
            .map(|facts| ListedChunk {
                facts: facts.clone(),
                maker: makers(facts.segment),
            })
            .collect();
        let stored = async |name: &str, json: Vec<u8>| {
            let key = format!("jobs/{JOB}/plan/{}-{name}.json", Digest::of(&json));
            self.store.put(&key, json).await.unwrap()
        };
        let rows = self.segments.len() as i64 * i64::from(ROWS);
        StitchWork {
            facts: self.facts.clone(),
            output_index: 0,
            output: self.output(target, 0),
            segments: stored("segments", serde_json::to_vec(&self.segments).unwrap()).await,
            chunks: stored("chunks", serde_json::to_vec(&listed).unwrap()).await,
            audio: None,
            audio_tracks: Vec::new(),
            whole: Vec::new(),
            overwrite: true,
            start_us: Some(self.start_us),
            duration_us: Some(rows * 1_000_000 / 24),
            score: Vec::new(),
        }
    }

    /// Joins them, and says how much of the scratch was in use at most.
    pub async fn join(
        &self,
        by: &Machine,
        attempt: AttemptNo,
        work: StitchWork,
    ) -> (Result<OutputFacts, Failure>, u64) {
        let key = TaskKey::Stitch { output: 0 };
        let mut joining = std::pin::pin!(by.run(&self.store, key, attempt, Work::Stitch(work)));
        let mut most = 0;
        let mut tick = tokio::time::interval(Duration::from_millis(2));
        let outcome = loop {
            tokio::select! {
                outcome = &mut joining => break outcome,
                _ = tick.tick() => most = most.max(used_bytes(&by.scratch)),
            }
        };
        let result = match outcome {
            AttemptOutcome::Done {
                result: TaskResult::Stitched { output },
                ..
            } => Ok(output),
            AttemptOutcome::Failed { failure, .. } => Err(failure),
            other => panic!("{other:?}"),
        };
        (result, most)
    }
}
