//! The block cache over real files and over S3.

#![allow(
    clippy::single_range_in_vec_init,
    reason = "lists of ranges, some of one"
)]

use crate::{block_on, film, names, s3};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use recode_store::ranges::{Cache, Fetch, Options};
use recode_store::{Error, Source};
use recode_testkit::s3::Kind;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tokio::sync::Semaphore;

const KEEP_NOTHING: Options = Options {
    keep_bytes: 0,
    edge_bytes: 0,
};

/// Hands out bytes when a test lets it, and fails when it is told to.
struct Gate {
    film: Vec<u8>,
    open: Arc<Semaphore>,
    failures: Arc<AtomicUsize>,
    fetched: Arc<AtomicU64>,
}

impl Fetch for Gate {
    fn size(&self) -> u64 {
        self.film.len() as u64
    }
    fn fetch(&self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, Error>> {
        Box::pin(async move {
            self.open.acquire().await.unwrap().forget();
            let left = self.failures.load(Ordering::SeqCst);
            if left > 0 {
                self.failures.store(left - 1, Ordering::SeqCst);
                return Err(Error::Invalid("the test wanted this".into()));
            }
            self.fetched
                .fetch_add(range.end - range.start, Ordering::SeqCst);
            Ok(self.film[range.start as usize..range.end as usize]
                .to_vec()
                .into())
        })
    }
}

struct Bench {
    cache: Cache,
    open: Arc<Semaphore>,
    failures: Arc<AtomicUsize>,
    fetched: Arc<AtomicU64>,
    dir: tempfile::TempDir,
}

fn bench(size: usize, open: usize, options: Options) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let (gate, failures, fetched) = (
        Arc::new(Semaphore::new(open)),
        Arc::<AtomicUsize>::default(),
        Arc::<AtomicU64>::default(),
    );
    let source = Gate {
        film: film(size),
        open: gate.clone(),
        failures: failures.clone(),
        fetched: fetched.clone(),
    };
    Bench {
        cache: Cache::create(&dir.path().join("blocks"), source, options).unwrap(),
        open: gate,
        failures,
        fetched,
        dir,
    }
}

/// Bytes a file really takes.
fn on_disk(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().blocks() * 512
}

#[test]
fn two_who_want_the_same_bytes_fetch_them_once() {
    let size = 1 << 20;
    let b = bench(size, 0, KEEP_NOTHING);
    block_on(async {
        let all = [0..size as u64];
        let mut first = Box::pin(b.cache.acquire(&all));
        let mut second = Box::pin(b.cache.acquire(&all));
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        b.open.add_permits(1);
        let (first, second) = futures::join!(first, second);
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(second.read(10..500).await.unwrap(), film(size)[10..500]);
        drop(first);
        assert_eq!(second.read(0..size as u64).await.unwrap(), film(size));
        assert_eq!(b.fetched.load(Ordering::SeqCst), size as u64);
        assert!(on_disk(second.path()) >= size as u64);
        let path = second.path().to_owned();
        drop(second);
        assert_eq!(b.cache.stats().held_bytes, 0);
        assert!(on_disk(&path) < 8192, "the hole is punched");
        drop(b.cache);
        assert_eq!(names(b.dir.path()), Vec::<String>::new());
    });
}

#[test]
fn who_gives_up_or_fails_leaves_the_bytes_to_the_others() {
    let b = bench(1000, 0, KEEP_NOTHING);
    block_on(async {
        let all = [0..1000];
        let mut waiting = std::pin::pin!(b.cache.acquire(&all));
        {
            let mut given_up = std::pin::pin!(b.cache.acquire(&all));
            assert!(given_up.as_mut().now_or_never().is_none());
            assert!(waiting.as_mut().now_or_never().is_none());
        }
        b.failures.store(1, Ordering::SeqCst);
        b.open.add_permits(1);
        assert!(waiting.await.is_err());
        assert_eq!(b.cache.stats().held_bytes, 0);
        b.open.add_permits(1);
        let guard = b.cache.acquire(&all).await.unwrap();
        assert_eq!(guard.read(0..1000).await.unwrap(), film(1000));
        let beyond = b.cache.acquire(std::slice::from_ref(&(900..1001))).await;
        assert!(matches!(beyond, Err(Error::Invalid(_))));
    });
}

#[test]
fn a_neighbour_finds_the_edge() {
    let options = Options {
        keep_bytes: 300,
        edge_bytes: 200,
    };
    let b = bench(10_000, 100, options);
    block_on(async {
        for k in 0..10u64 {
            // Each wants a little of its neighbours, too.
            let range = (k * 1000).saturating_sub(90)..(k * 1000 + 1090).min(10_000);
            let guard = b.cache.acquire(std::slice::from_ref(&range)).await.unwrap();
            let wanted = &film(10_000)[range.start as usize..range.end as usize];
            assert_eq!(guard.read(range).await.unwrap(), *wanted);
        }
        let stats = b.cache.stats();
        assert_eq!(stats.fetched_bytes, 10_000);
        assert!(stats.peak_bytes <= 1180 + 300, "{stats:?}");
        b.cache.drain();
        assert_eq!(b.cache.stats().held_bytes, 0);
    });
}

#[test]
fn many_at_once_over_s3_fetch_every_byte_once_and_hold_little() {
    const SIZE: u64 = 40 << 20;
    const SEGMENT: u64 = SIZE / 20;
    let server = s3();
    let dir = tempfile::tempdir().unwrap();
    let bytes = Arc::new(film(SIZE as usize));
    let file = dir.path().join("film");
    std::fs::write(&file, &*bytes).unwrap();
    server.place("films", "in.mp4", &file).unwrap();
    block_on(async {
        let source = Source::open("s3://films/in.mp4", dir.path()).await.unwrap();
        let options = Options {
            keep_bytes: SEGMENT,
            edge_bytes: SEGMENT / 10,
        };
        let cache = Cache::create(&dir.path().join("blocks"), source.clone(), options).unwrap();
        let slots = Arc::new(Semaphore::new(2));
        let mut running = tokio::task::JoinSet::new();
        for k in 0..20 {
            let slot = slots.clone().acquire_owned().await.unwrap();
            let (cache, bytes) = (cache.clone(), bytes.clone());
            running.spawn(async move {
                let overlap = SEGMENT / 20;
                let range =
                    (k * SEGMENT).saturating_sub(overlap)..((k + 1) * SEGMENT + overlap).min(SIZE);
                let guard = cache.acquire(std::slice::from_ref(&range)).await.unwrap();
                let found = guard.read(range.clone()).await.unwrap();
                assert!(found == bytes[range.start as usize..range.end as usize]);
                drop(slot);
            });
        }
        running.join_all().await;
        let stats = cache.stats();
        assert_eq!((stats.fetched_bytes, source.bytes_read()), (SIZE, SIZE));
        assert_eq!(server.count(Kind::Get).bytes_sent, SIZE);
        assert!(stats.peak_bytes <= 5 * SEGMENT, "{stats:?}");
    });
}
