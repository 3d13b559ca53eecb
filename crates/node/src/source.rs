//! Sources as the node reads them: one open handle per URL, shared by all Attempts.

use crate::blocks::{Blocks, Held};
use crate::peer::{Near, Neighbours};
use crate::run::{Loaded, failure, from_store, resources};
use bytes::Bytes;
use recode_media::bytes::{BoxFuture, ByteSource, FileSource};
use recode_media::clip::ClipContext;
use recode_types::source::ReadMode;
use recode_types::task::{Failure, FailureClass};
use recode_types::{Segment, SourceIdentity};
use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;

/// How long a Source stays open that no Attempt uses: the next Attempt of its Job finds what was fetched.
const IDLE: Duration = Duration::from_secs(300);

/// The Sources a node has open.
#[derive(Debug)]
pub struct Sources {
    scratch: PathBuf,
    neighbours: Option<Neighbours>,
    open: Mutex<HashMap<String, Open>>,
}

/// One of them.
#[derive(Debug)]
struct Open {
    source: Arc<Source>,
    /// When somebody was last seen to use it.
    used: Instant,
}

impl Sources {
    /// `scratch`: for Sources that have to be fetched whole.
    pub fn new(scratch: &Path) -> Self {
        Self {
            scratch: scratch.to_owned(),
            neighbours: None,
            open: Mutex::default(),
        }
    }

    /// The same, shared with the nodes of a site.
    pub fn shared_with(self, neighbours: Option<Neighbours>) -> Self {
        Self { neighbours, ..self }
    }

    /// Those with whom they are shared.
    pub fn neighbours(&self) -> Option<&Neighbours> {
        self.neighbours.as_ref()
    }

    /// Opens `url`, or finds it open. A probe passes `None`, always opens anew and learns the identity; every other Attempt
    /// passes the identity that was probed.
    /// # Errors
    /// `SourceChanged` when the object is no longer what was probed; else what [`from_store`] makes of it.
    pub async fn open(
        &self,
        url: &str,
        identity: Option<&SourceIdentity>,
    ) -> Result<Arc<Source>, Failure> {
        if let Some(wanted) = identity
            && let Some(found) = self.known(url, wanted)
        {
            return Ok(found);
        }
        let source = recode_store::Source::open(url, &self.scratch)
            .await
            .map_err(from_store)?;
        if identity.is_some_and(|wanted| wanted != source.identity()) {
            return Err(changed(url));
        }
        // Another Attempt may have opened it meanwhile: what that one has fetched is not fetched again.
        if let Some(wanted) = identity
            && let Some(found) = self.known(url, wanted)
        {
            return Ok(found);
        }
        let source = Arc::new(Source::new(source, self.neighbours.clone(), &self.scratch)?);
        let open = Open {
            source: Arc::clone(&source),
            used: Instant::now(),
        };
        self.lock().insert(url.to_owned(), open);
        Ok(source)
    }

    /// What is open at `url`, if it is what is wanted: it may have been replaced since.
    fn known(&self, url: &str, wanted: &SourceIdentity) -> Option<Arc<Source>> {
        let mut open = self.lock();
        let known = open.get_mut(url)?;
        known.used = Instant::now();
        let found = &known.source;
        (found.identity() == wanted).then(|| Arc::clone(found))
    }

    /// Closes what nobody has used for a while, with everything that was fetched of it. To be called now and then.
    pub fn tidy(&self, now: Instant) {
        self.lock().retain(|_, open| {
            if Arc::strong_count(&open.source) > 1 {
                open.used = now;
            }
            now.saturating_duration_since(open.used) < IDLE
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn changed(url: &str) -> Failure {
    Failure {
        class: FailureClass::SourceChanged,
        message: format!(
            "the source {url} changed while it was being read; run again when it is complete"
        ),
        stderr_tail: None,
    }
}

/// One open Source.
pub struct Source {
    source: recode_store::Source,
    /// The same by way of the nodes of this site.
    near: Near,
    /// What was fetched of a remote Source.
    blocks: Option<Blocks>,
    /// All of a remote Source, where nothing less would do.
    whole: OnceCell<FileSource>,
    /// Where that is, or would be.
    copy: PathBuf,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Source")
            .field(&self.source.identity().url)
            .finish()
    }
}

impl Source {
    fn new(
        source: recode_store::Source,
        neighbours: Option<Neighbours>,
        scratch: &Path,
    ) -> Result<Self, Failure> {
        // Two handles of one URL, of which one may be older than the other, have a copy each.
        static OPENED: AtomicU64 = AtomicU64::new(0);
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        let near = Near::new(source.clone(), neighbours);
        let blocks = match source.local_path() {
            Some(_) => None,
            None => Some(Blocks::create(near.clone(), scratch)?),
        };
        Ok(Self {
            blocks,
            source,
            near,
            whole: OnceCell::new(),
            copy: scratch.join(format!("source-{}-{number}", std::process::id())),
        })
    }

    /// What makes it the same Source.
    pub fn identity(&self) -> &SourceIdentity {
        self.source.identity()
    }

    /// Bytes read so far by everyone.
    pub fn bytes_read(&self) -> u64 {
        self.source.bytes_read()
    }

    /// Where it is on this machine's own disks, if it is.
    pub fn local_path(&self) -> Option<&Path> {
        self.source.local_path()
    }

    /// Fails when the Source is no longer what was opened.
    pub async fn recheck(&self) -> Result<(), Failure> {
        self.source.recheck().await.map_err(from_store)
    }

    /// Keeps what a probe is about to read for the Segments that need it again.
    pub async fn hold_first(&self, ranges: &[Range<u64>]) -> Result<(), Failure> {
        match &self.blocks {
            Some(blocks) => blocks.hold_first(ranges).await,
            None => Ok(()),
        }
    }

    /// Fetches what the clip of a Segment needs, and what else lies there; `None` where reading costs nothing.
    pub async fn hold(
        &self,
        loaded: &Loaded,
        segment: &Segment,
        context: ClipContext,
    ) -> Result<Option<Arc<Held>>, Failure> {
        let Some((blocks, index, stream)) = self.by_regions(loaded) else {
            return Ok(None);
        };
        let held = blocks.hold(index, stream, &loaded.table, segment, context);
        held.await.map(|held| Some(Arc::new(held)))
    }

    /// Stages what lies beside the pictures of a held Segment, for [`Source::rest`].
    pub async fn stage(&self, loaded: &Loaded, held: &Held) -> Result<(), Failure> {
        match self.by_regions(loaded) {
            Some((blocks, index, stream)) => blocks.stage(held, index, stream).await,
            None => Ok(()),
        }
    }

    /// A path for everything but the main video: the file itself, or what was staged of a remote one.
    pub async fn rest(&self, loaded: &Loaded) -> Result<PathBuf, Failure> {
        match self.by_regions(loaded) {
            Some((blocks, index, stream)) => blocks.rest(&loaded.table, index, stream).await,
            None => self.whole().await,
        }
    }

    /// Whether this Source is read region by region, and by which index. One that was fetched whole is not.
    fn by_regions<'a>(
        &'a self,
        loaded: &'a Loaded,
    ) -> Option<(&'a Blocks, &'a recode_media::index::SourceIndex, u32)> {
        let facts = &loaded.facts;
        if facts.read_mode != ReadMode::Clip
            || facts.rewrapped.is_some()
            || self.fetched().is_some()
        {
            return None;
        }
        let video = facts.video.as_ref()?;
        Some((self.blocks.as_ref()?, loaded.index.as_deref()?, video.track))
    }

    /// A path with all of the Source's bytes: the file itself, or a copy in scratch that is fetched once and read from then
    /// on.
    pub async fn whole(&self) -> Result<PathBuf, Failure> {
        if let Some(path) = self.local_path() {
            return Ok(path.to_owned());
        }
        let fetched = self.whole.get_or_try_init(|| self.fetch(&self.copy));
        fetched.await?;
        Ok(self.copy.clone())
    }

    /// All of the Source where it has been fetched before.
    pub fn fetched(&self) -> Option<&FileSource> {
        self.whole.get()
    }

    async fn fetch(&self, path: &Path) -> Result<FileSource, Failure> {
        let mut file = tokio::fs::File::create(path).await.map_err(resources)?;
        let mut at = 0;
        while at < self.size() {
            let end = (at + 8 * 1024 * 1024).min(self.size());
            let bytes = self.near.read(at..end).await.map_err(from_store)?;
            tokio::io::AsyncWriteExt::write_all(&mut file, &bytes)
                .await
                .map_err(resources)?;
            at = end;
        }
        tokio::io::AsyncWriteExt::flush(&mut file)
            .await
            .map_err(resources)?;
        FileSource::open(path).map_err(resources)
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if self.whole.get().is_some() {
            // Best effort: the whole scratch directory is swept at the next start.
            let _ = std::fs::remove_file(&self.copy);
        }
    }
}

impl ByteSource for Source {
    fn size(&self) -> u64 {
        self.source.size()
    }

    fn read(&self, range: Range<u64>) -> BoxFuture<'_, io::Result<Bytes>> {
        // What was fetched whole is not fetched again.
        if let Some(copy) = self.fetched() {
            return copy.read(range);
        }
        match &self.blocks {
            Some(blocks) => blocks.read(range),
            None => {
                Box::pin(async move { self.source.read(range).await.map_err(io::Error::other) })
            }
        }
    }

    fn is_remote(&self) -> bool {
        self.local_path().is_none()
    }
}

/// A failure to read media, unpacked from the error the index or clip wraps it in: a changed Source must not look like a
/// disk that may recover.
pub fn from_read(error: impl std::error::Error + 'static) -> Failure {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(e) = cause {
        let found = e.downcast_ref::<recode_store::Error>().or_else(|| {
            let io = e.downcast_ref::<io::Error>()?;
            io.get_ref()?.downcast_ref::<recode_store::Error>()
        });
        if let Some(store) = found {
            let class = match store {
                recode_store::Error::Changed { .. } => FailureClass::SourceChanged,
                _ => FailureClass::Store,
            };
            return failure(class, error);
        }
        cause = e.source();
    }
    failure(FailureClass::BadInput, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_testkit::http::Server;

    /// What two versions of a Source hold.
    const FIRST: &[u8] = b"the first of two";
    const SECOND: &[u8] = b"the other of two";

    fn sources() -> (tempfile::TempDir, Sources, Server) {
        let scratch = tempfile::tempdir().unwrap();
        let sources = Sources::new(scratch.path());
        (scratch, sources, Server::start(FIRST).unwrap())
    }

    fn replace(server: &Server) {
        server.change(|behaviour| {
            behaviour.body = Bytes::from_static(SECOND);
            behaviour.etag = Some("\"two\"");
        });
    }

    #[tokio::test]
    async fn a_source_that_was_replaced_is_opened_anew_for_those_who_know_it_as_it_is() {
        let (_scratch, sources, server) = sources();
        let old = sources.open(&server.url(), None).await.unwrap();
        let same = sources.open(&server.url(), Some(old.identity())).await;
        assert!(Arc::ptr_eq(&same.unwrap(), &old));
        replace(&server);
        // Another node has probed it; this one has it open as it was.
        let elsewhere = tempfile::tempdir().unwrap();
        let new = Sources::new(elsewhere.path());
        let new = new.open(&server.url(), None).await.unwrap();
        let seen = sources.open(&server.url(), Some(new.identity())).await;
        assert_eq!(seen.unwrap().identity(), new.identity());
        let late = sources.open(&server.url(), Some(old.identity())).await;
        assert_eq!(late.unwrap_err().class, FailureClass::SourceChanged);
    }

    #[tokio::test]
    async fn copies_of_two_versions_do_not_meet() {
        let (_scratch, sources, server) = sources();
        let old = sources.open(&server.url(), None).await.unwrap();
        let copy = old.whole().await.unwrap();
        replace(&server);
        let new = sources.open(&server.url(), None).await.unwrap();
        assert_eq!(std::fs::read(new.whole().await.unwrap()).unwrap(), SECOND);
        assert_eq!(std::fs::read(&copy).unwrap(), FIRST);
        drop(old);
        assert!(!copy.exists(), "nobody reads it any more");
        assert_eq!(std::fs::read(new.whole().await.unwrap()).unwrap(), SECOND);
    }

    #[tokio::test]
    async fn what_nobody_uses_any_more_is_closed_with_all_that_was_fetched() {
        let (_scratch, sources, server) = sources();
        let source = sources.open(&server.url(), None).await.unwrap();
        let copy = source.whole().await.unwrap();
        let now = Instant::now();
        sources.tidy(now + 2 * IDLE);
        let identity = source.identity().clone();
        drop(source);
        sources.tidy(now + 3 * IDLE - Duration::from_secs(1));
        assert!(copy.exists(), "it was used not long ago");
        sources.tidy(now + 3 * IDLE);
        assert!(!copy.exists());
        let again = sources.open(&server.url(), Some(&identity)).await.unwrap();
        assert_eq!(std::fs::read(again.whole().await.unwrap()).unwrap(), FIRST);
    }
}
