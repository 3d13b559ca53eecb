use super::super::reader::Reader;
use super::*;
use crate::peer::Neighbours;
use recode_media::mp4::{ChunkSample, Part, Shown, Stitched, Stitcher, join};
use recode_store::{MOST_READS, WorkStore};
use recode_types::{Digest, TimeBase};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

const TICKS: TimeBase = TimeBase::new(1, 1000);
/// Frames of each Chunk.
const FRAMES: usize = 3;

/// A box of these bytes.
fn boxed(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = (8 + body.len() as u32).to_be_bytes();
    [&length[..], kind, &body].concat()
}

/// A Chunk of frames of so many bytes, that say which Chunk they are of: its bytes, and those of its frames.
fn chunk(dir: &Path, number: u32, frame_bytes: usize) -> (Vec<u8>, Vec<u8>) {
    let frames: Vec<u8> = (0..FRAMES * frame_bytes)
        .map(|at| (at as u32 / 3).wrapping_mul(7).wrapping_add(number) as u8)
        .collect();
    let source = dir.join("frames");
    std::fs::write(&source, &frames).unwrap();
    let samples = (0..FRAMES).map(|n| ChunkSample {
        offset: (n * frame_bytes) as u64,
        size: frame_bytes as u32,
        dts: n as i64,
        pts: n as i64,
        key: n == 0,
    });
    let full = [0; 4];
    let index = ChunkIndex {
        ftyp: boxed(b"ftyp", &[b"isom\0\0\0\0"]),
        sample_description: boxed(
            b"stsd",
            &[&full, &1u32.to_be_bytes(), &boxed(b"avc1", &[&[0; 78]])],
        ),
        tkhd: boxed(
            b"tkhd",
            &[&[0, 0, 0, 3], &[0; 8], &1u32.to_be_bytes(), &[0; 68]],
        ),
        time_base: TICKS,
        samples: samples.collect(),
    };
    let shown = Shown {
        pts: &[0, 40, 80],
        last_duration: 40,
        time_base: TICKS,
    };
    let out = dir.join("chunk");
    join(&[(&source, &index)], shown, &out).unwrap();
    (std::fs::read(out).unwrap(), frames)
}

/// What the log says of a Chunk.
fn facts(number: u32, bytes: &[u8], artifact: recode_types::ArtifactRef) -> ChunkFacts {
    let index = Part::Start(bytes).index(bytes.len() as u64, b"").unwrap();
    ChunkFacts {
        output: 0,
        segment: number,
        address: Digest([0; 32]),
        artifact,
        frames: index.samples.len() as u32,
        payload_bytes: index.payload_bytes(),
        params: crate::run::chunk::params(&index, false),
        signature_before: None,
        signature_first: 0,
        signature_last: 0,
        signature_after: None,
        score_frames: None,
        scores: Vec::new(),
        reused: false,
    }
}

/// Chunks in a store that is not on a disk of this machine.
struct Film {
    dir: tempfile::TempDir,
    store: WorkStore,
    neighbours: Neighbours,
    wanted: Vec<Wanted>,
    /// All frames, one after another.
    frames: Vec<u8>,
}

impl Film {
    async fn new(name: &str, frame_bytes: &[usize]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = WorkStore::open(&format!("memory://{name}")).await.unwrap();
        let (mut wanted, mut all) = (Vec::new(), Vec::new());
        for (number, frame_bytes) in (0..).zip(frame_bytes) {
            let (bytes, frames) = chunk(dir.path(), number, *frame_bytes);
            let artifact = store.put(&key(number), bytes.clone()).await.unwrap();
            wanted.push(Wanted {
                facts: facts(number, &bytes, artifact),
                maker: String::new(),
            });
            all.extend(frames);
        }
        let neighbours = Neighbours::new("127.0.0.1:1".into(), dir.path(), 64 << 20).unwrap();
        Self {
            dir,
            store,
            neighbours,
            wanted,
            frames: all,
        }
    }

    fn room(&self) -> std::path::PathBuf {
        self.dir.path().join("room")
    }

    async fn look(&self) -> Result<Away, Failure> {
        std::fs::create_dir_all(self.room()).unwrap();
        let reader = Reader::with(
            self.store.clone(),
            Some(self.neighbours.clone()),
            self.room(),
        );
        Away::of(reader, self.wanted.clone()).await
    }

    /// Puts other bytes in the place of a Chunk.
    async fn replace(&self, number: u32, bytes: Vec<u8>) {
        self.store.remove(&key(number)).await.unwrap();
        self.store.put(&key(number), bytes).await.unwrap();
    }

    async fn bytes(&self, number: usize) -> Vec<u8> {
        let artifact = &self.wanted[number].facts.artifact;
        self.store.get(artifact).await.unwrap().to_vec()
    }

    fn bytes_read(&self) -> u64 {
        self.neighbours.traffic().from_store
    }
}

fn key(number: u32) -> String {
    format!("jobs/job_1/chunks/x/{number}.1.mp4")
}

fn stitched(away: &Away) -> Stitched {
    let mut stitcher = Stitcher::new(TICKS);
    for number in 0..away.chunks.len() {
        let index = away.index(number).unwrap();
        let start = 120 * number as i64;
        let pts: Vec<i64> = (0..FRAMES as i64).map(|n| start + 40 * n).collect();
        stitcher.push(&index, &pts).unwrap();
    }
    stitcher.finish(40).unwrap()
}

/// What comes out of the frames of all Chunks, and what was written until then.
async fn fed(away: Away) -> (Result<std::io::Result<()>, Failure>, Vec<u8>) {
    let spans = Spans::new(stitched(&away).spans);
    let mut out = Vec::new();
    let fed = away.feed(spans, &mut out).await;
    (fed, out)
}

const MB: usize = 1 << 20;

#[tokio::test]
async fn frames_come_in_order_once_each_whatever_the_sizes_of_their_chunks() {
    // Small ones that are read whole at first, ordinary ones, one of several requests, and two that go through scratch.
    let mut sizes = vec![1000, 2 * MB, 10, 70_000];
    sizes.extend((0..40).map(|n| 20_000 + n));
    sizes.extend([3 * MB, 6 * MB, 5, 6 * MB + 1, 30_000]);
    let film = Film::new("in-order", &sizes).await;
    let away = film.look().await.unwrap();
    let (fed, out) = fed(away).await;
    fed.unwrap().unwrap();
    assert!(out == film.frames, "others, or in another order");
    let sizes = film.wanted.iter().map(Wanted::size);
    assert_eq!(film.bytes_read(), sizes.sum::<u64>(), "read once");
    let left = std::fs::read_dir(film.room()).unwrap().count();
    assert_eq!(left, 0, "files are left in scratch");
}

/// A pipe that nobody reads.
struct Stuck;

impl AsyncWrite for Stuck {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Pending
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Pending
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Pending
    }
}

/// How many bytes are read for a pipe that nobody reads.
async fn read_ahead(film: &Film) -> u64 {
    let away = film.look().await.unwrap();
    let spans = Spans::new(stitched(&away).spans);
    let before = film.bytes_read();
    let mut stuck = Stuck;
    let mut feeding = std::pin::pin!(away.feed(spans, &mut stuck));
    // The store answers at once: when nothing is read for long, nothing will be.
    let (mut seen, mut quiet) = (0, 0);
    while quiet < 1000 {
        assert!(futures::poll!(&mut feeding).is_pending());
        tokio::task::yield_now().await;
        let now = film.bytes_read() - before;
        quiet = if now == seen { quiet + 1 } else { 0 };
        seen = now;
    }
    seen
}

#[tokio::test]
async fn no_more_is_read_ahead_than_there_is_room_for() {
    let film = Film::new("ahead", &[MB; 30]).await;
    let seen = read_ahead(&film).await;
    assert!(seen <= AHEAD_BYTES, "{seen} bytes were read ahead");
    assert!(seen >= AHEAD_BYTES / 2, "only {seen} bytes were read ahead");
    // Two of those that go through scratch, which is all that is claimed of it.
    let large = Film::new("ahead-large", &[6 * MB; 5]).await;
    let seen = read_ahead(&large).await;
    let claimed = on_disk(large.wanted.iter().map(Wanted::size));
    assert!(seen <= claimed, "{seen} bytes of {claimed}");
    assert_eq!(claimed, 2 * large.wanted[0].size());
}

#[tokio::test]
async fn a_chunk_that_lies_there_damaged_is_named_and_none_of_it_is_written() {
    let film = Film::new("damaged", &[3 * MB, 30_000, 30_000, 30_000]).await;
    let mut damaged = film.bytes(2).await;
    *damaged.last_mut().unwrap() ^= 4;
    film.replace(2, damaged).await;
    let away = film.look().await.unwrap();
    let (fed, out) = fed(away).await;
    let failure = fed.unwrap_err();
    assert_eq!(failure.class, FailureClass::Store);
    assert!(
        failure.message.starts_with("chunk 2: "),
        "{}",
        failure.message
    );
    assert!(
        failure.message.contains("is damaged"),
        "{}",
        failure.message
    );
    assert_eq!(film.store.damaged_reads(), u64::from(MOST_READS));
    assert!(out == film.frames[..out.len()] && out.len() <= 9 * MB + 90_000);
}

#[tokio::test]
async fn a_chunk_that_is_shorter_than_it_was_is_named() {
    let film = Film::new("short", &[3 * MB, 30_000, 30_000]).await;
    let away = film.look().await.unwrap();
    let mut short = film.bytes(1).await;
    short.pop();
    film.replace(1, short).await;
    let failure = fed(away).await.0.unwrap_err();
    assert_eq!(failure.class, FailureClass::Store);
    assert!(
        failure.message.starts_with("chunk 1: "),
        "{}",
        failure.message
    );
}

#[tokio::test]
async fn an_index_that_is_not_what_the_log_says_is_read_again_and_then_named() {
    let film = Film::new("index", &[3 * MB, 30_000, 30_000]).await;
    let mut other = film.bytes(1).await;
    let sizes = other.windows(4).position(|kind| kind == b"stsz").unwrap();
    // The size that all frames have.
    other[sizes + 11] ^= 1;
    film.replace(1, other).await;
    let failure = film.look().await.err().expect("it is noticed");
    assert_eq!(failure.class, FailureClass::Store);
    assert!(
        failure.message.starts_with("chunk 1: "),
        "{}",
        failure.message
    );
    assert_eq!(film.store.damaged_reads(), u64::from(MOST_READS));
}

#[tokio::test]
async fn frames_of_another_chunk_than_the_index_was_of_are_noticed() {
    let film = Film::new("swapped", &[3 * MB, 30_000, 30_000]).await;
    let away = film.look().await.unwrap();
    // As good a Chunk, with the same index.
    let (other, _) = chunk(film.dir.path(), 9, 30_000);
    film.replace(1, other).await;
    let failure = fed(away).await.0.unwrap_err();
    assert!(
        failure.message.starts_with("chunk 1: "),
        "{}",
        failure.message
    );
    assert!(
        failure.message.contains("its digest is"),
        "{}",
        failure.message
    );
}

#[tokio::test]
async fn an_index_that_came_damaged_unnoticed_ends_the_join_before_its_chunk_is_used() {
    let film = Film::new("unnoticed", &[3 * MB, 30_000, 30_000]).await;
    let mut away = film.look().await.unwrap();
    let Held::Start(held) = &away.chunks[1].1 else {
        panic!("it begins with its index");
    };
    // Something that nobody looks at: when the track was made.
    let mut damaged = held.to_vec();
    let track = damaged.windows(4).position(|kind| kind == b"tkhd").unwrap();
    damaged[track + 10] ^= 1;
    away.chunks[1].1 = Held::Start(damaged.into());
    let (fed, out) = fed(away).await;
    let failure = fed.unwrap_err();
    assert_eq!(failure.class, FailureClass::Store);
    assert!(
        failure.message.starts_with("chunk 1: "),
        "{}",
        failure.message
    );
    assert!(
        failure.message.contains("index came damaged"),
        "{}",
        failure.message
    );
    assert!(out.len() <= 9 * MB, "its frames were written");
}
