//! What this node has fetched of remote Sources for its site: every byte once, for itself and for its neighbours alike. And the
//! Chunks that it made.
//!
//! Half of its room is for what lingers, shared by the Sources that are open, and all Chunks together count as one more; the other
//! half for what is being served, so that the number of transfers at once follows from it. What was not used for a while goes.

use super::made::Fresh;
use super::{Traffic, lock};
use crate::scratch;
use bytes::Bytes;
use futures::future::BoxFuture;
use recode_store::ranges::{Cache, Fetch, Guard, Options};
use recode_store::{Error, Location, Source};
use recode_types::{ArtifactRef, SourceIdentity};
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use super::home::STRIPE_BYTES;

/// Transfers at once, where there is room for so many.
const MOST_TRANSFERS: u64 = 32;

/// Sources open at once; the one that was not used for longest makes room.
const MOST_SOURCES: usize = 16;

/// A Source that nobody has asked about for so long is closed.
const UNUSED: Duration = Duration::from_secs(600);

/// The least room that is of use.
pub const LEAST_ROOM_BYTES: u64 = 8 * STRIPE_BYTES;

/// See the module.
pub struct Shelf {
    dir: PathBuf,
    keep_bytes: u64,
    transfers: Arc<Semaphore>,
    next: AtomicU64,
    open: Mutex<HashMap<SourceIdentity, Arc<Slot>>>,
    made: Fresh,
    traffic: Arc<Traffic>,
}

struct Slot {
    cache: OnceCell<Cache>,
    used: Mutex<Instant>,
}

/// A Source whose bytes are counted.
struct Counted {
    source: Source,
    traffic: Arc<Traffic>,
}

impl Fetch for Counted {
    fn size(&self) -> u64 {
        self.source.size()
    }

    fn fetch(&self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, Error>> {
        Box::pin(async move {
            let bytes = self.source.read(range).await?;
            Traffic::add(&self.traffic.from_store, bytes.len() as u64);
            Ok(bytes)
        })
    }
}

/// One transfer; it makes room for the next when it is dropped.
pub struct Admission {
    _permit: OwnedSemaphorePermit,
}

impl Shelf {
    /// An empty one in `scratch`, with room for so many bytes.
    /// # Errors
    /// Scratch cannot be used.
    pub fn create(
        scratch: &Path,
        room_bytes: u64,
        traffic: Arc<Traffic>,
    ) -> Result<Self, scratch::Error> {
        let dir = scratch.join("shelf");
        std::fs::create_dir_all(&dir).map_err(|source| scratch::Error::Unusable {
            path: dir.clone(),
            source,
        })?;
        let made = Fresh::create(&dir.join("made"))?;
        let transfers = (room_bytes / 2 / STRIPE_BYTES).clamp(1, MOST_TRANSFERS);
        Ok(Self {
            dir,
            keep_bytes: room_bytes / 2,
            transfers: Arc::new(Semaphore::new(transfers as usize)),
            next: AtomicU64::new(0),
            open: Mutex::default(),
            made,
            traffic,
        })
    }

    /// Lets a neighbour in, unless there are as many as can be served: nobody waits in line, since the store is there too.
    pub fn admit(&self) -> Option<Admission> {
        let permit = Arc::clone(&self.transfers).try_acquire_owned().ok()?;
        Some(Admission { _permit: permit })
    }

    /// Reads for this node itself, which waits its turn.
    /// # Errors
    /// What fetching met.
    pub async fn read(&self, source: &Source, range: Range<u64>) -> Result<Bytes, Error> {
        let turn = Arc::clone(&self.transfers).acquire_owned().await;
        let _turn = turn.expect("it is never closed");
        let slot = self.slot(source.identity());
        let opened = slot
            .cache
            .get_or_try_init(|| async { self.cache(source.clone()) });
        let guard = opened.await?.acquire(std::slice::from_ref(&range)).await?;
        guard.read(range).await
    }

    /// Holds a part of a Source that a neighbour asks for, fetching what is not there.
    /// # Errors
    /// [`Error::Forbidden`]: it is no remote Source; [`Error::Changed`]: this node sees another version of it; what fetching met.
    pub async fn hold(&self, wanted: &SourceIdentity, range: Range<u64>) -> Result<Guard, Error> {
        // Before anything is kept for it.
        if !matches!(
            Location::parse(&wanted.url)?,
            Location::S3 { .. } | Location::Http(_)
        ) {
            return Err(Error::Forbidden {
                what: "what is not on s3:// or http(s)://".to_owned(),
                detail: String::new(),
                remedy: "neighbours are served remote sources only".to_owned(),
            });
        }
        let slot = self.slot(wanted);
        let opened = slot.cache.get_or_try_init(|| async {
            let source = Source::open(&wanted.url, &self.dir).await?;
            match source.identity() == wanted && source.local_path().is_none() {
                true => self.cache(source),
                false => Err(Error::Changed {
                    what: source.location().to_string(),
                    detail: "the neighbour that asks has seen another".to_owned(),
                }),
            }
        });
        opened.await?.acquire(std::slice::from_ref(&range)).await
    }

    /// The Chunks that this node made.
    pub fn made(&self) -> &Fresh {
        &self.made
    }

    /// Keeps a Chunk that this node made, the file at `path`, for a while; what was kept for longest makes room.
    /// # Errors
    /// What the operating system says: it is not kept, and the file is where it was or gone.
    pub fn keep_made(&self, chunk: &ArtifactRef, path: &Path) -> std::io::Result<()> {
        let open = lock(&self.open);
        let most = self.keep_bytes / (open.len() as u64 + 1);
        self.made.keep(chunk, path, most, Instant::now())?;
        self.share_out(&open);
        Ok(())
    }

    fn cache(&self, source: Source) -> Result<Cache, Error> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let options = Options {
            keep_bytes: self.keep_bytes,
            edge_bytes: 0,
        };
        let traffic = Arc::clone(&self.traffic);
        let path = self.dir.join(number.to_string());
        let cache = Cache::create(&path, Counted { source, traffic }, options)?;
        Ok(cache)
    }

    fn slot(&self, identity: &SourceIdentity) -> Arc<Slot> {
        let now = Instant::now();
        let mut open = lock(&self.open);
        let found = open.get(identity).map(Arc::clone);
        let slot = found.unwrap_or_else(|| {
            if open.len() >= MOST_SOURCES {
                let oldest = open.iter().min_by_key(|(_, slot)| *lock(&slot.used));
                let oldest = oldest.map(|(identity, _)| identity.clone());
                oldest.and_then(|identity| open.remove(&identity));
            }
            let slot = Arc::new(Slot {
                cache: OnceCell::new(),
                used: Mutex::new(now),
            });
            open.insert(identity.clone(), Arc::clone(&slot));
            slot
        });
        *lock(&slot.used) = now;
        self.share_out(&open);
        slot
    }

    /// Closes what nobody has asked about for long. To be called now and then.
    pub fn tidy(&self, now: Instant) {
        let mut open = lock(&self.open);
        open.retain(|_, slot| now.saturating_duration_since(*lock(&slot.used)) < UNUSED);
        self.made.tidy(now);
        self.share_out(&open);
    }

    /// Each Source has an equal part of the room, and so have the Chunks where there are any.
    fn share_out(&self, open: &HashMap<SourceIdentity, Arc<Slot>>) {
        let sharers = open.len() as u64 + u64::from(!self.made.is_empty());
        let each = self.keep_bytes / sharers.max(1);
        self.made.shrink(each);
        for cache in open.values().filter_map(|slot| slot.cache.get()) {
            cache.keep(each);
        }
    }
}
