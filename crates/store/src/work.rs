//! The work store: where a Job keeps what its Attempts make until the Output is done.
//!
//! Artifacts are immutable. An [`ArtifactRef`] names key, size and digest, and bytes are compared with it on every use, so
//! a store that lies is noticed where it is read. On a local disk an artifact is durable when `put` returns; on S3 when
//! the store has confirmed it. Correctness never rests on listing.

mod part;

use crate::error::Error;
use crate::key;
use crate::local::{self, Content, blocking};
use crate::objects::{Objects, Written};
use crate::uploads::Ledger;
use crate::url::Location;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use recode_types::{ArtifactRef, Digest};
use sha2::Digest as _;
use std::collections::HashMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

/// Reads of an artifact that comes damaged: twice by bad luck on the way is rare, three times is how it lies there.
pub const MOST_READS: u32 = 3;

/// What happens to the file given to [`WorkStore::put_file`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// It is handed over: renamed into a local store on the same file system, else copied and removed.
    Move,
    /// It stays where it is.
    Copy,
}

/// One stored object, as listing sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// Its length.
    pub size_bytes: u64,
    /// When it was last written, by the store's clock.
    pub modified: SystemTime,
}

/// A store of artifacts. Cheap to clone; clones share what has been verified.
#[derive(Clone)]
pub struct WorkStore {
    shared: Arc<Shared>,
}

struct Shared {
    url: String,
    backend: Backend,
    /// Local artifacts whose bytes were compared with their digest by this process, with what the file looked like then.
    verified: Mutex<HashMap<PathBuf, (Digest, Stamp)>>,
    damaged_reads: AtomicU64,
}

enum Backend {
    Dir(PathBuf),
    Objects { objects: Objects, prefix: String },
}

/// Tells a file that has not been touched since it was verified.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size: u64,
    inode: u64,
    modified_ns: i128,
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let meta = std::fs::metadata(path)?;
        Ok(Self {
            size: meta.size(),
            inode: meta.ino(),
            modified_ns: i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()),
        })
    }
}

impl WorkStore {
    /// Opens the store rooted at `url`: a directory (created when missing), `s3://bucket/prefix`, or `memory://name`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a URL that cannot be written to, and what creating the directory may meet.
    pub async fn open(url: &str) -> Result<Self, Error> {
        let location = Location::parse(url)?;
        let url = location.to_url()?;
        let backend = match location {
            Location::File(_) => {
                let root = PathBuf::from(&url);
                let made = root.clone();
                blocking(move || local::create_dirs(&made)).await?;
                Backend::Dir(root)
            }
            Location::Http(_) => {
                return Err(Error::Invalid(format!(
                    "the work store {location} cannot be written to; use a directory or s3://bucket/prefix"
                )));
            }
            Location::S3 { .. } | Location::Memory(_) => {
                let (objects, key) = Objects::open(&location)?;
                let prefix = match key.trim_end_matches('/') {
                    "" => String::new(),
                    key => format!("{key}/"),
                };
                Backend::Objects { objects, prefix }
            }
        };
        Ok(Self {
            shared: Arc::new(Shared {
                url,
                backend,
                verified: Mutex::default(),
                damaged_reads: AtomicU64::new(0),
            }),
        })
    }

    /// Where the store's root is; [`WorkStore::open`] takes it back.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// Stores `bytes` under `key`. Storing the same bytes again is harmless.
    ///
    /// # Errors
    /// [`Error::Exists`] when other bytes are there already.
    pub async fn put(&self, key: &str, bytes: impl Into<Bytes>) -> Result<ArtifactRef, Error> {
        check_key(key)?;
        let bytes: Bytes = bytes.into();
        match &self.shared.backend {
            Backend::Dir(root) => {
                let path = root.join(key);
                let (size, digest) = blocking({
                    let path = path.clone();
                    move || local::store(&path, Content::Bytes(&bytes))
                })
                .await?;
                self.remember(&path, digest);
                Ok(artifact(key, size, digest))
            }
            Backend::Objects { objects, prefix } => {
                let digest = Digest::of(&bytes);
                let size = bytes.len() as u64;
                let at = format!("{prefix}{key}");
                let ledger = Ledger::new(self, key);
                let written = objects.put_new(&at, bytes, &digest, Some(&ledger)).await?;
                same_or_exists(written, objects, &at)?;
                Ok(artifact(key, size, digest))
            }
        }
    }

    /// Stores the content of a file under `key`. The file must not be written to any more. Storing the same bytes again
    /// is harmless.
    ///
    /// # Errors
    /// As [`WorkStore::put`].
    pub async fn put_file(&self, key: &str, from: &Path, take: Take) -> Result<ArtifactRef, Error> {
        check_key(key)?;
        let source = from.to_owned();
        match &self.shared.backend {
            Backend::Dir(root) => {
                let path = root.join(key);
                let (size, digest) = blocking({
                    let path = path.clone();
                    move || match take {
                        Take::Move => local::store(&path, Content::Move(&source)),
                        Take::Copy => local::store(&path, Content::Copy(&source)),
                    }
                })
                .await?;
                self.remember(&path, digest);
                Ok(artifact(key, size, digest))
            }
            Backend::Objects { objects, prefix } => {
                let (size, digest) = blocking(move || local::digest_of_file(&source)).await?;
                let at = format!("{prefix}{key}");
                let ledger = Ledger::new(self, key);
                let written = objects
                    .put_file(&at, from, &digest, true, Some(&ledger))
                    .await?;
                same_or_exists(written, objects, &at)?;
                if take == Take::Move {
                    tokio::fs::remove_file(from)
                        .await
                        .map_err(|e| Error::io("remove", from, e))?;
                }
                Ok(artifact(key, size, digest))
            }
        }
    }

    /// The bytes of an artifact, compared with its digest. Others than promised are read again: most often they were
    /// damaged on the way.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is gone, [`Error::Damaged`] when the bytes are others every time.
    pub async fn get(&self, artifact: &ArtifactRef) -> Result<Bytes, Error> {
        check_key(&artifact.key)?;
        let mut reads = 1;
        loop {
            match self.get_once(artifact).await {
                Err(e) => self.read_again(artifact, e, &mut reads)?,
                got => return got,
            }
        }
    }

    async fn get_once(&self, artifact: &ArtifactRef) -> Result<Bytes, Error> {
        let bytes = match &self.shared.backend {
            Backend::Dir(root) => {
                let path = root.join(&artifact.key);
                blocking(move || {
                    std::fs::read(&path)
                        .map(Bytes::from)
                        .map_err(|e| Error::io("read", &path, e))
                })
                .await?
            }
            Backend::Objects { objects, prefix } => {
                objects
                    .read(
                        &format!("{prefix}{}", artifact.key),
                        0..artifact.size_bytes,
                        None,
                    )
                    .await?
            }
        };
        check(
            artifact,
            bytes.len() as u64,
            || Digest::of(&bytes),
            self.url(),
        )?;
        Ok(bytes)
    }

    /// The bytes of something listed, of which no digest is known.
    pub(crate) async fn get_listed(&self, listed: &Listed) -> Result<Bytes, Error> {
        match &self.shared.backend {
            Backend::Dir(root) => {
                let path = root.join(&listed.key);
                tokio::fs::read(&path)
                    .await
                    .map(Bytes::from)
                    .map_err(|e| Error::io("read", &path, e))
            }
            Backend::Objects { objects, prefix } => {
                let at = format!("{prefix}{}", listed.key);
                objects.read(&at, 0..listed.size_bytes, None).await
            }
        }
    }

    /// Whether to read once more after `error`. A damaged file of this machine is damaged for good.
    fn read_again(
        &self,
        artifact: &ArtifactRef,
        error: Error,
        reads: &mut u32,
    ) -> Result<(), Error> {
        let error = self.never_changes(artifact, error);
        let remote = matches!(self.shared.backend, Backend::Objects { .. });
        if !matches!(error, Error::Damaged { .. }) {
            return Err(error);
        }
        self.shared.damaged_reads.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%error, read = *reads, "an artifact came damaged");
        if !remote || *reads >= MOST_READS {
            return Err(error);
        }
        *reads += 1;
        Ok(())
    }

    /// An artifact that is not what it was has been damaged: nobody replaces it.
    fn never_changes(&self, artifact: &ArtifactRef, error: Error) -> Error {
        match error {
            Error::Changed { detail, .. } => Error::Damaged {
                what: format!("artifact {} in {}", artifact.key, self.url()),
                detail,
            },
            error => error,
        }
    }

    /// How often bytes were not those that were promised, as seen by this store and its clones.
    pub fn damaged_reads(&self) -> u64 {
        self.shared.damaged_reads.load(Ordering::Relaxed)
    }

    /// Writes an artifact to a new file, in bounded memory. The file exists only when all of it was right.
    ///
    /// # Errors
    /// As [`WorkStore::get`], and what writing the file may meet.
    pub async fn get_to_file(&self, artifact: &ArtifactRef, to: &Path) -> Result<(), Error> {
        let mut reads = 1;
        loop {
            match self.copy_once(artifact, to).await {
                Err(e) => self.read_again(artifact, e, &mut reads)?,
                Ok(()) => return Ok(()),
            }
        }
    }

    async fn copy_once(&self, artifact: &ArtifactRef, to: &Path) -> Result<(), Error> {
        let mut stream = self.open_stream(artifact).await?;
        let mut file = std::fs::File::create_new(to).map_err(|e| Error::io("create", to, e))?;
        let copied = async {
            while let Some(block) = stream.next().await {
                file.write_all(&block?)
                    .map_err(|e| Error::io("write", to, e))?;
            }
            Ok(())
        };
        let copied = copied.await;
        if copied.is_err() {
            let _ = std::fs::remove_file(to);
        }
        copied
    }

    /// The artifact as a file of this machine, for the work that can use it in place: `None` when the store is elsewhere.
    /// The bytes are compared with the digest the first time this process asks, and again when the file was touched.
    ///
    /// # Errors
    /// As [`WorkStore::get`].
    pub async fn local_path(&self, artifact: &ArtifactRef) -> Result<Option<PathBuf>, Error> {
        check_key(&artifact.key)?;
        let Backend::Dir(root) = &self.shared.backend else {
            return Ok(None);
        };
        let path = root.join(&artifact.key);
        let stamp = Stamp::of(&path).map_err(|e| Error::io("read", &path, e))?;
        let known = self.lock().get(&path).copied();
        if known != Some((artifact.digest, stamp)) {
            let (size, digest) = blocking({
                let path = path.clone();
                move || local::digest_of_file(&path)
            })
            .await?;
            check(artifact, size, || digest, self.url())?;
            self.lock().insert(path.clone(), (digest, stamp));
        }
        Ok(Some(path))
    }

    /// The bytes of an artifact as they come. The last item is an error when they turn out to be others than promised:
    /// what was made of them before has to be thrown away then.
    ///
    /// # Errors
    /// As [`WorkStore::get`].
    pub async fn open_stream(
        &self,
        artifact: &ArtifactRef,
    ) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        check_key(&artifact.key)?;
        let blocks = match &self.shared.backend {
            Backend::Dir(root) => {
                let path = root.join(&artifact.key);
                local_blocks(path).await?
            }
            Backend::Objects { objects, prefix } => {
                objects.stream(format!("{prefix}{}", artifact.key), artifact.size_bytes)
            }
        };
        Ok(verified(blocks, artifact.clone(), self.url().to_owned()))
    }

    /// Removes an object. One that is gone already is no error.
    ///
    /// # Errors
    /// What the store says.
    pub async fn remove(&self, key: &str) -> Result<(), Error> {
        check_key(key)?;
        match &self.shared.backend {
            Backend::Dir(root) => {
                let path = root.join(key);
                self.lock().remove(&path);
                let removed = move || match local::remove_gently(&path) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => {
                        Err(Error::io("remove", &path, e))
                    }
                    _ => Ok(()),
                };
                blocking(removed).await
            }
            Backend::Objects { objects, prefix } => objects.remove(&format!("{prefix}{key}")).await,
        }
    }

    /// Everything below `prefix` (`jobs/`, or the start of a key of [`crate::key`] that ends in a slash), in order. For sweeping
    /// only: a listing may lag behind.
    ///
    /// # Errors
    /// What the store says.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Listed>, Error> {
        let folder = prefix.strip_suffix('/').unwrap_or(prefix);
        if folder != "jobs" {
            check_key(folder)?;
        }
        let mut found = match &self.shared.backend {
            Backend::Dir(root) => {
                let (root, folder) = (root.clone(), folder.to_owned());
                blocking(move || local::list(&root, &folder)).await?
            }
            Backend::Objects { objects, prefix } => {
                let mut found = objects.list(&format!("{prefix}{folder}")).await?;
                for listed in &mut found {
                    listed.key.drain(..prefix.len());
                }
                found
            }
        };
        found.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    fn remember(&self, path: &Path, digest: Digest) {
        if let Ok(stamp) = Stamp::of(path) {
            self.lock().insert(path.to_owned(), (digest, stamp));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, (Digest, Stamp)>> {
        self.shared
            .verified
            .lock()
            .expect("no one panics while holding it")
    }
}

fn artifact(key: &str, size_bytes: u64, digest: Digest) -> ArtifactRef {
    ArtifactRef {
        key: key.to_owned(),
        size_bytes,
        digest,
    }
}

fn check_key(key: &str) -> Result<(), Error> {
    if key::is_valid(key) {
        Ok(())
    } else {
        Err(Error::Invalid(format!(
            "\"{key}\" is not a key of the work store; the message that named it comes from something else"
        )))
    }
}

fn same_or_exists(written: Written, objects: &Objects, key: &str) -> Result<(), Error> {
    match written {
        Written::New | Written::SameAlready => Ok(()),
        Written::OtherAlready => Err(Error::Exists {
            what: format!("{} (with other content)", objects.name(key)),
        }),
    }
}

fn check(
    artifact: &ArtifactRef,
    size: u64,
    digest: impl FnOnce() -> Digest,
    store: &str,
) -> Result<(), Error> {
    let damaged = |detail: String| {
        Err(Error::Damaged {
            what: format!("artifact {} in {store}", artifact.key),
            detail,
        })
    };
    if size != artifact.size_bytes {
        return damaged(format!(
            "it has {size} bytes instead of {}",
            artifact.size_bytes
        ));
    }
    let found = digest();
    if found != artifact.digest {
        return damaged(format!(
            "its digest is {found} instead of {}",
            artifact.digest
        ));
    }
    Ok(())
}

async fn local_blocks(path: PathBuf) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
    const BLOCK: usize = 1 << 20;
    let file = tokio::fs::File::open(&path)
        .await
        .map_err(|e| Error::io("read", &path, e))?;
    let stream = futures::stream::try_unfold((file, path), |(mut file, path)| async move {
        use tokio::io::AsyncReadExt as _;
        let mut block = bytes::BytesMut::with_capacity(BLOCK);
        match file.read_buf(&mut block).await {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some((block.freeze(), (file, path)))),
            Err(e) => Err(Error::io("read", &path, e)),
        }
    });
    Ok(stream.boxed())
}

/// Passes blocks on and ends with an error when their sum is not what the artifact promises.
fn verified(
    blocks: BoxStream<'static, Result<Bytes, Error>>,
    artifact: ArtifactRef,
    store: String,
) -> BoxStream<'static, Result<Bytes, Error>> {
    let state = Some((blocks, sha2::Sha256::new(), 0u64, artifact, store));
    futures::stream::unfold(state, |state| async move {
        let (mut blocks, mut hasher, mut size, artifact, store) = state?;
        match blocks.next().await {
            Some(Ok(block)) => {
                hasher.update(&block);
                size += block.len() as u64;
                Some((Ok(block), Some((blocks, hasher, size, artifact, store))))
            }
            Some(Err(e)) => Some((Err(e), None)),
            None => {
                let digest = || Digest(hasher.finalize().into());
                check(&artifact, size, digest, &store)
                    .err()
                    .map(|e| (Err(e), None))
            }
        }
    })
    .boxed()
}
