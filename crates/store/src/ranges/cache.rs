//! A sparse scratch file of the Source's size: ranges are fetched into their own offsets, each byte once, and holes are
//! punched where nobody needs them any more.

use super::map::{Map, Next};
use crate::error::Error;
use crate::local::blocking;
use crate::source::Source;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{StreamExt as _, TryStreamExt as _};
use rustix::fs::FallocateFlags;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::{Notify, Semaphore};

/// Bytes per fetch.
const PART: u64 = 8 << 20;
/// What a file system frees at once.
const BLOCK: u64 = 4 << 10;
/// Fetches under way in one cache: bounds its memory to this many parts.
const IN_FLIGHT: usize = 6;

/// Where missing bytes come from.
pub trait Fetch: Send + Sync + 'static {
    /// Length of the whole.
    fn size(&self) -> u64;
    /// Exactly `range`.
    fn fetch(&self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, Error>>;
}

impl Fetch for Source {
    fn size(&self) -> u64 {
        Source::size(self)
    }
    fn fetch(&self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, Error>> {
        Box::pin(self.read(range))
    }
}

/// How long released bytes linger for a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes that may stay although nobody holds them.
    pub keep_bytes: u64,
    /// How much at either end of a released range is kept longer than its middle: about one group of pictures.
    pub edge_bytes: u64,
}

/// What a cache has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes fetched, some perhaps twice.
    pub fetched_bytes: u64,
    /// Bytes in the file now.
    pub held_bytes: u64,
    /// The most that was ever in the file.
    pub peak_bytes: u64,
}

/// Fetched blocks of one Source. Cheap to clone; the file goes with the last clone and guard.
pub struct Cache {
    shared: Arc<Shared>,
}

impl Clone for Cache {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

struct Shared {
    fetch: Box<dyn Fetch>,
    file: Arc<File>,
    path: PathBuf,
    options: Mutex<Options>,
    map: Mutex<Map>,
    /// Rung whenever a fetch came to an end.
    settled: Notify,
    flights: Semaphore,
    fetched: AtomicU64,
    peak: AtomicU64,
}

impl Cache {
    /// A cache in a new file at `path`.
    ///
    /// # Errors
    /// What creating a file may meet.
    pub fn create(path: &Path, fetch: impl Fetch, options: Options) -> Result<Self, Error> {
        let failed = |e| Error::io("create", path, e);
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(failed)?;
        file.set_len(fetch.size()).map_err(failed)?;
        Ok(Self {
            shared: Arc::new(Shared {
                fetch: Box::new(fetch),
                file: Arc::new(file),
                path: path.to_owned(),
                options: Mutex::new(options),
                map: Mutex::default(),
                settled: Notify::new(),
                flights: Semaphore::new(IN_FLIGHT),
                fetched: AtomicU64::new(0),
                peak: AtomicU64::new(0),
            }),
        })
    }

    /// Length of the Source.
    pub fn size(&self) -> u64 {
        self.shared.fetch.size()
    }

    /// Waits until all of `ranges` is in the file, fetching what nobody else is fetching already, and keeps it there for
    /// as long as the guard lives.
    ///
    /// # Errors
    /// What fetching met; [`Error::NoSpace`] and the like for the file; [`Error::Invalid`] for a range beyond the end.
    ///
    /// # Cancel safety
    /// Dropping the future gives back what it held; others who wait for the same bytes fetch them.
    pub async fn acquire(&self, ranges: &[Range<u64>]) -> Result<Guard, Error> {
        let ranges = super::coalesce(ranges.iter().cloned(), 0);
        if let Some(last) = ranges.last()
            && last.end > self.size()
        {
            return Err(Error::Invalid(format!(
                "bytes up to {} were asked for of a source of {}; its index does not fit it",
                last.end,
                self.size()
            )));
        }
        let guard = {
            let mut map = self.shared.lock();
            ranges.iter().for_each(|range| map.pin(range));
            Guard {
                shared: self.shared.clone(),
                ranges,
            }
        };
        for range in &guard.ranges {
            loop {
                // Registered before looking, so that a fetch that ends in between is not missed.
                let mut settled = std::pin::pin!(self.shared.settled.notified());
                settled.as_mut().enable();
                let next = self.shared.lock().next(range);
                match next {
                    Next::Ready => break,
                    Next::Wait => settled.await,
                    Next::Fetch(claimed) => self.shared.fetch_all(claimed).await?,
                }
            }
        }
        Ok(guard)
    }

    /// Bytes of a small range that is not worth holding: an index, a header. They linger like anything released.
    ///
    /// # Errors
    /// As [`Cache::acquire`].
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, Error> {
        self.acquire(std::slice::from_ref(&range))
            .await?
            .read(range)
            .await
    }

    /// Changes how long released bytes linger, from the next release on.
    pub fn linger(&self, options: Options) {
        *self.shared.options() = options;
    }

    /// Changes how many bytes may stay although nobody holds them, and frees what is too much.
    pub fn keep(&self, bytes: u64) {
        self.shared.options().keep_bytes = bytes;
        self.shared.evict(bytes);
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        Stats {
            fetched_bytes: self.shared.fetched.load(Ordering::Relaxed),
            held_bytes: self.shared.lock().held(),
            peak_bytes: self.shared.peak.load(Ordering::Relaxed),
        }
    }

    /// Frees everything nobody holds, edges included.
    pub fn drain(&self) {
        self.shared.evict(0);
    }
}

/// Bytes that stay in the file for as long as this lives.
pub struct Guard {
    shared: Arc<Shared>,
    ranges: Vec<Range<u64>>,
}

impl Guard {
    /// The sparse file; only the held ranges have bytes in it.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// What is held: sorted and disjoint.
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.ranges
    }

    /// Whether all of `range` is held.
    pub fn holds(&self, range: &Range<u64>) -> bool {
        range.is_empty()
            || self
                .ranges
                .iter()
                .any(|r| r.start <= range.start && range.end <= r.end)
    }

    /// Bytes out of the held ranges.
    ///
    /// # Errors
    /// What reading the file may meet.
    ///
    /// # Panics
    /// When `range` is not held: that is a fault of the caller, and the file has zeros there.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, Error> {
        assert!(self.holds(&range), "bytes {range:?} are read but not held");
        let (file, path) = (self.shared.file.clone(), self.shared.path.clone());
        blocking(move || {
            let mut block = vec![0; (range.end - range.start) as usize];
            file.read_exact_at(&mut block, range.start)
                .map_err(|e| Error::io("read", &path, e))?;
            Ok(block.into())
        })
        .await
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let options = *self.shared.options();
        {
            let mut map = self.shared.lock();
            for range in &self.ranges {
                map.unpin(range, options.edge_bytes);
            }
        }
        self.shared.evict(options.keep_bytes);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Map> {
        self.map.lock().expect("no one panics while holding it")
    }

    fn options(&self) -> MutexGuard<'_, Options> {
        self.options.lock().expect("no one panics while holding it")
    }

    /// Fetches claimed ranges into the file. Whatever happens, every part is settled.
    async fn fetch_all(self: &Arc<Self>, claimed: Vec<Range<u64>>) -> Result<(), Error> {
        let held = self.lock().held();
        self.peak.fetch_max(held, Ordering::Relaxed);
        let claims: Vec<_> = claimed
            .into_iter()
            .flat_map(|range| super::split(range, PART))
            .map(|range| Claim {
                shared: self.clone(),
                range,
                arrived: false,
            })
            .collect();
        futures::stream::iter(claims)
            .map(|claim| self.fetch_part(claim))
            .buffer_unordered(IN_FLIGHT)
            .try_collect()
            .await
    }

    async fn fetch_part(&self, claim: Claim) -> Result<(), Error> {
        let _flight = self.flights.acquire().await.expect("never closed");
        let range = claim.range.clone();
        let bytes = self.fetch.fetch(range.clone()).await?;
        assert_eq!(
            bytes.len() as u64,
            range.end - range.start,
            "a fetch brings what was asked for"
        );
        self.fetched
            .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        // The claim travels with the write, which goes on when this future is dropped: a part that is given back while
        // it is still being written could be fetched anew, used, and then be overwritten or punched under its user.
        let (file, path) = (self.file.clone(), self.path.clone());
        blocking(move || {
            file.write_all_at(&bytes, range.start)
                .map_err(|e| Error::io("write", &path, e))?;
            claim.arrived();
            Ok(())
        })
        .await
    }

    /// Frees lingering bytes beyond `keep`. The lock is held while holes are punched, so that nobody can claim a byte and
    /// write it between the decision and the punch.
    fn evict(&self, keep: u64) {
        let mut map = self.lock();
        for range in map.evict(keep) {
            // Only whole blocks leave a hole: with what was freed before, this may be one.
            let range = map.with_absent(&range, BLOCK);
            let punched = rustix::fs::fallocate(
                &*self.file,
                FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
                range.start,
                range.end - range.start,
            );
            if let Err(e) = punched {
                // The space comes back with the file; nothing is wrong otherwise.
                tracing::debug!(error = %e, "this file system cannot punch holes");
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// One part on its way; settled when dropped, arrived or not.
struct Claim {
    shared: Arc<Shared>,
    range: Range<u64>,
    arrived: bool,
}

impl Claim {
    /// The bytes are in the file.
    fn arrived(mut self) {
        self.arrived = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.shared.lock().settle(&self.range, self.arrived);
        self.shared.settled.notify_waiters();
    }
}
