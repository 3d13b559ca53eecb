//! Reading a Source: an immutable object somewhere, by byte range.
//!
//! A [`Source`] remembers what the object was when it was opened and refuses to mix versions: a change under way is
//! [`Error::Changed`]. Short faults of the network are waited out here.

use crate::error::Error;
use crate::http::{self, Remote};
use crate::local::{self, blocking};
use crate::objects::{self, Objects};
use crate::ranges;
use crate::retry::{FIRST_PATIENCE, PATIENCE};
use crate::url::Location;
use bytes::Bytes;
use futures::stream::{StreamExt as _, TryStreamExt as _};
use recode_types::SourceIdentity;
use std::fs::{File, Metadata};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Requests in flight for one read of a web server.
const IN_FLIGHT: usize = 4;

/// An open Source. Cheap to clone; clones share counters.
#[derive(Clone)]
pub struct Source {
    shared: Arc<Shared>,
}

struct Shared {
    identity: SourceIdentity,
    location: Location,
    origin: Origin,
    bytes_read: AtomicU64,
}

enum Origin {
    File {
        file: Arc<File>,
        path: PathBuf,
    },
    Object {
        objects: Objects,
        key: String,
        etag: Option<String>,
    },
    Http {
        remote: Remote,
        head: http::Head,
    },
    /// Came from a server without Range; the file goes when the Source does.
    Spooled {
        remote: Remote,
        head: http::Head,
        file: Arc<File>,
        path: PathBuf,
    },
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Origin::Spooled { path, .. } = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Source {
    /// Opens what `url` names. `scratch` is a directory for a Source whose server cannot serve parts: it is read once,
    /// whole.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`], [`Error::Unreachable`] (after about ten seconds), and
    /// [`Error::Invalid`] for a directory, device or pipe.
    pub async fn open(url: &str, scratch: &Path) -> Result<Self, Error> {
        let location = Location::parse(url)?;
        let url = location.to_url()?;
        match &location {
            Location::File(_) => {
                let path = PathBuf::from(&url);
                let (file, identity) = blocking(move || open_file(path, url)).await?;
                let path = PathBuf::from(&identity.url);
                Ok(Self::new(
                    identity,
                    location,
                    Origin::File {
                        file: Arc::new(file),
                        path,
                    },
                ))
            }
            Location::S3 { .. } | Location::Memory(_) => {
                let (objects, key) = Objects::open(&location)?;
                if key.is_empty() || key.ends_with('/') {
                    return Err(Error::Invalid(format!(
                        "{location} does not name an object; add its key"
                    )));
                }
                let head = objects.head(&key, FIRST_PATIENCE).await;
                if matches!(head, Err(Error::NotFound { .. })) {
                    objects.expect_bucket().await?;
                }
                let objects::Head { size, etag, .. } = head?;
                let identity = SourceIdentity {
                    url,
                    size_bytes: size,
                    version: etag.clone().unwrap_or_default(),
                };
                Ok(Self::new(
                    identity,
                    location,
                    Origin::Object { objects, key, etag },
                ))
            }
            Location::Http(address) => {
                let remote = Remote::new(address, location.to_string())?;
                let head = remote.head().await?;
                let mut identity = SourceIdentity {
                    url,
                    size_bytes: head.size,
                    version: head.version.clone(),
                };
                if head.ranges {
                    return Ok(Self::new(identity, location, Origin::Http { remote, head }));
                }
                let path = scratch.join(format!("source-{}", local::unique_suffix()));
                let origin = spool(remote, head, path).await?;
                if let Origin::Spooled { head, .. } = &origin {
                    identity.size_bytes = head.size;
                }
                let source = Self::new(identity, location, origin);
                source.count(source.size());
                Ok(source)
            }
        }
    }

    fn new(identity: SourceIdentity, location: Location, origin: Origin) -> Self {
        Self {
            shared: Arc::new(Shared {
                identity,
                location,
                origin,
                bytes_read: AtomicU64::new(0),
            }),
        }
    }

    /// What was opened.
    pub fn identity(&self) -> &SourceIdentity {
        &self.shared.identity
    }

    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.shared.location
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.shared.identity.size_bytes
    }

    /// The Source as a file of this machine, when it is one: FFmpeg and readers may use it directly.
    pub fn local_path(&self) -> Option<&Path> {
        match &self.shared.origin {
            Origin::File { path, .. } | Origin::Spooled { path, .. } => Some(path),
            Origin::Object { .. } | Origin::Http { .. } => None,
        }
    }

    /// Bytes that were fetched so far (for a remote Source, over the network; requests that failed are not counted).
    pub fn bytes_read(&self) -> u64 {
        self.shared.bytes_read.load(Ordering::Relaxed)
    }

    /// Exactly `range`. Long ranges are fetched in parts, several at a time; the result is held in memory.
    ///
    /// # Errors
    /// [`Error::Changed`] when the Source is no longer what was opened or `range` is beyond its end, [`Error::Unreachable`]
    /// when the other side stays silent for some twenty seconds.
    ///
    /// # Cancel safety
    /// Dropping the future stops the requests and counts nothing.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, Error> {
        if range.start > range.end || range.end > self.size() {
            return Err(self.changed(format!(
                "bytes {}..{} were asked for and it has {}",
                range.start,
                range.end,
                self.size()
            )));
        }
        let wanted = range.end - range.start;
        let bytes = match &self.shared.origin {
            Origin::File { file, .. } | Origin::Spooled { file, .. } => {
                let (file, this) = (file.clone(), self.clone());
                blocking(move || this.pread(&file, range)).await?
            }
            Origin::Object { objects, key, etag } => {
                objects.read(key, range, etag.as_deref()).await?
            }
            Origin::Http { remote, head } => read_http(remote, head, range).await?,
        };
        self.count(wanted);
        Ok(bytes)
    }

    /// Looks whether the Source is still what was opened. Asked at the end of a Job: reads alone cannot see a change
    /// that came after them.
    ///
    /// # Errors
    /// [`Error::Changed`], or what looking met.
    pub async fn recheck(&self) -> Result<(), Error> {
        let now = match &self.shared.origin {
            Origin::File { path, .. } => {
                let path = path.clone();
                let meta = blocking(move || {
                    std::fs::metadata(&path).map_err(|e| Error::io("read", &path, e))
                })
                .await;
                match meta {
                    Ok(meta) => (meta.len(), file_version(&meta)),
                    Err(Error::NotFound { .. }) => return Err(self.changed("it is gone".into())),
                    Err(e) => return Err(e),
                }
            }
            Origin::Object { objects, key, .. } => match objects.head(key, PATIENCE).await {
                Ok(head) => (head.size, head.etag.unwrap_or_default()),
                Err(Error::NotFound { .. }) => return Err(self.changed("it is gone".into())),
                Err(e) => return Err(e),
            },
            Origin::Http { remote, head } | Origin::Spooled { remote, head, .. } => {
                match remote.head().await {
                    // A server that never told the length has told no other one now.
                    Ok(now) if now.size == u64::MAX => (head.size, now.version),
                    Ok(now) => (now.size, now.version),
                    Err(Error::NotFound { .. }) => return Err(self.changed("it is gone".into())),
                    Err(e) => return Err(e),
                }
            }
        };
        let SourceIdentity {
            size_bytes,
            version,
            ..
        } = &self.shared.identity;
        match now.0 == *size_bytes && now.1 == *version {
            true => Ok(()),
            false if now.0 == *size_bytes => Err(self.changed("it was written again".into())),
            false => Err(self.changed(format!("it was {size_bytes} bytes and is {}", now.0))),
        }
    }

    fn pread(&self, file: &File, range: Range<u64>) -> Result<Bytes, Error> {
        let mut block = vec![0; (range.end - range.start) as usize];
        match file.read_exact_at(&mut block, range.start) {
            Ok(()) => Ok(block.into()),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(self.changed("it became shorter".into()))
            }
            Err(e) => Err(Error::io("read", Path::new(&self.shared.identity.url), e)),
        }
    }

    fn changed(&self, detail: String) -> Error {
        Error::Changed {
            what: match &self.shared.location {
                Location::File(path) => format!("\"{}\"", path.display()),
                other => other.to_string(),
            },
            detail,
        }
    }

    fn count(&self, bytes: u64) {
        self.shared.bytes_read.fetch_add(bytes, Ordering::Relaxed);
    }
}

fn open_file(path: PathBuf, url: String) -> Result<(File, SourceIdentity), Error> {
    // The kind is looked at before opening: opening a pipe would wait for its writer.
    let meta = std::fs::metadata(&path).map_err(|e| Error::io("read", &path, e))?;
    let shown = path.display();
    if meta.is_dir() {
        return Err(Error::Invalid(format!(
            "\"{shown}\" is a directory; name the file to read"
        )));
    }
    if !meta.is_file() {
        return Err(Error::Invalid(format!(
            "\"{shown}\" is a device or pipe, not a file; save it to a file first"
        )));
    }
    let opened = File::open(&path).and_then(|file| Ok((file.metadata()?, file)));
    let (meta, file) = opened.map_err(|e| Error::io("read", &path, e))?;
    let identity = SourceIdentity {
        url,
        size_bytes: meta.len(),
        version: file_version(&meta),
    };
    Ok((file, identity))
}

/// `mtime_ns-inode`.
fn file_version(meta: &Metadata) -> String {
    let ns = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
    format!("{ns}-{}", meta.ino())
}

async fn read_http(remote: &Remote, head: &http::Head, range: Range<u64>) -> Result<Bytes, Error> {
    let parts = ranges::split(range, objects::PART);
    if let [part] = &parts[..] {
        return remote.read(part.clone(), head).await;
    }
    let blocks: Vec<Bytes> = futures::stream::iter(parts)
        .map(|part| remote.read(part, head))
        .buffered(IN_FLIGHT)
        .try_collect()
        .await?;
    Ok(blocks.concat().into())
}

async fn spool(remote: Remote, mut head: http::Head, path: PathBuf) -> Result<Origin, Error> {
    let spooled = remote.spool(&path, &head).await;
    let opened = match spooled {
        Ok(size) => {
            head.size = size;
            File::open(&path).map_err(|e| Error::io("read", &path, e))
        }
        Err(e) => Err(e),
    };
    match opened {
        Ok(file) => Ok(Origin::Spooled {
            remote,
            head,
            file: Arc::new(file),
            path,
        }),
        Err(e) => {
            let _ = std::fs::remove_file(&path);
            Err(e)
        }
    }
}
