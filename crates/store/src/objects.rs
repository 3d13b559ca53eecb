//! The one adapter between `object_store` and the rest of this crate: what its errors mean, how long to insist, and how
//! to tell one's own lost success from somebody else's object.

mod content;
mod fault;
mod upload;

pub(crate) use content::{Content, PartDigest, marked};
pub(crate) use upload::{IN_FLIGHT as PARTS_IN_FLIGHT, MOST_PARTS, Upload, part_size};

use crate::budget::Budget;
use crate::error::Error;
use crate::ranges;
use crate::retry::{PATIENCE, Tries};
use crate::s3::{self, Use};
use crate::url::Location;
use crate::work::Listed;
use bytes::{Bytes, BytesMut};
use fault::chain;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::memory::InMemory;
use object_store::multipart::MultipartStore;
use object_store::path::Path as Key;
use object_store::{Attribute, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _};
use recode_types::Digest;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

/// Bytes per request, up and down. Large enough to fill a link, small enough that a lost one costs little.
pub(crate) const PART: u64 = 8 << 20;

/// Requests in flight for one read or upload.
const IN_FLIGHT: usize = 4;

/// Name of the user metadata that carries the digest.
const DIGEST: &str = "recode-sha256";

/// Name of the user metadata that tells one upload from all others, where the digest is not known when it begins.
const MARK: &str = "recode-upload";

/// What a create-only write found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    New,
    /// The same bytes were there: an earlier try of ours whose answer was lost, or a twin.
    SameAlready,
    OtherAlready,
}

/// What a look at an object tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) size: u64,
    pub(crate) etag: Option<String>,
    pub(crate) digest: Option<Digest>,
    /// See [`MARK`].
    pub(crate) mark: Option<String>,
}

/// As much of a range as has come.
struct Part {
    bytes: BytesMut,
    /// Of the version it is a part of, once that is known.
    etag: Option<String>,
}

/// One bucket, or one piece of memory.
#[derive(Clone)]
pub(crate) struct Objects {
    reader: Arc<dyn ObjectStore>,
    writer: Arc<dyn ObjectStore>,
    /// The writer again, for uploads in parts.
    parts: Arc<dyn MultipartStore>,
    /// Completes uploads where the key is free, and only there.
    creator: Arc<dyn MultipartStore>,
    budget: Budget,
    /// `s3://bucket/` or `memory://`, for messages.
    base: String,
}

impl Objects {
    /// The store that holds `location`, and the key there.
    pub(crate) fn open(location: &Location) -> Result<(Self, String), Error> {
        match location {
            Location::S3 { bucket, key } => {
                crate::http::use_ring();
                let base = format!("s3://{bucket}/");
                let budget = Budget::of(&base);
                let writer = Arc::new(s3::client(bucket, Use::Write, &budget)?);
                let objects = Self {
                    reader: Arc::new(s3::client(bucket, Use::Read, &budget)?),
                    writer: writer.clone(),
                    parts: writer,
                    creator: Arc::new(s3::client(bucket, Use::Create, &budget)?),
                    budget,
                    base,
                };
                Ok((objects, key.clone()))
            }
            Location::Memory(text) => {
                let (name, key) = text.split_once('/').unwrap_or((text, ""));
                let store = memory(name);
                let base = format!("memory://{name}/");
                let objects = Self {
                    reader: store.clone(),
                    writer: store.clone(),
                    parts: store.clone(),
                    creator: store,
                    budget: Budget::of(&base),
                    base,
                };
                Ok((objects, key.to_owned()))
            }
            Location::File(_) | Location::Http(_) => {
                unreachable!("files and web addresses are not objects")
            }
        }
    }

    /// The object's name for people.
    pub(crate) fn name(&self, key: &str) -> String {
        format!("{}{key}", self.base)
    }

    fn tries(&self, patience: Duration) -> Tries<'_> {
        Tries::new(patience, Some(&self.budget))
    }

    /// Looks at an object, for as long as `patience` where the store does not answer.
    pub(crate) async fn head(&self, key: &str, patience: Duration) -> Result<Head, Error> {
        let mut tries = self.tries(patience);
        loop {
            match self.head_once(key).await {
                Err(e) => tries.again(e).await?,
                head => return head,
            }
        }
    }

    async fn head_once(&self, key: &str) -> Result<Head, Error> {
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        let found = self
            .reader
            .get_opts(&self.key(key)?, options)
            .await
            .map_err(|e| self.error(key, &e))?;
        let said = |name: &'static str| found.attributes.get(&Attribute::Metadata(name.into()));
        Ok(Head {
            size: found.meta.size,
            digest: said(DIGEST).and_then(|v| v.parse().ok()),
            mark: said(MARK).map(|v| v.to_string()),
            etag: found.meta.e_tag,
        })
    }

    /// Tells a missing bucket, which a look at an object cannot: both are answered 404 without a body. Who may not list
    /// gets the benefit of the doubt.
    pub(crate) async fn expect_bucket(&self) -> Result<(), Error> {
        let probe = Key::from("recode-looks-for-the-bucket");
        match self.reader.list(Some(&probe)).next().await {
            Some(Err(e)) if chain(&e).contains("NoSuchBucket") => Err(Error::NotFound {
                what: format!("the bucket {}", self.base.trim_end_matches('/')),
                remedy: "check its name, AWS_REGION and AWS_ENDPOINT_URL".into(),
            }),
            _ => Ok(()),
        }
    }

    /// Exactly `range`, with several requests in flight when it is long. With `etag`, of that version and no other.
    pub(crate) async fn read(
        &self,
        key: &str,
        range: Range<u64>,
        etag: Option<&str>,
    ) -> Result<Bytes, Error> {
        let parts = ranges::split(range, PART);
        if let [part] = &parts[..] {
            return self.read_part(key, part.clone(), etag).await;
        }
        let total = parts.iter().map(|p| p.end - p.start).sum::<u64>();
        let mut blocks = futures::stream::iter(parts)
            .map(|part| self.read_part(key, part, etag))
            .buffered(IN_FLIGHT);
        let mut whole = bytes::BytesMut::with_capacity(total as usize);
        while let Some(block) = blocks.try_next().await? {
            whole.extend_from_slice(&block);
        }
        Ok(whole.freeze())
    }

    /// What broke off is taken up where it ended, as long as the object is the same.
    async fn read_part(
        &self,
        key: &str,
        range: Range<u64>,
        etag: Option<&str>,
    ) -> Result<Bytes, Error> {
        let wanted = range.end - range.start;
        let mut part = Part {
            bytes: BytesMut::with_capacity(wanted as usize),
            etag: etag.map(str::to_owned),
        };
        let mut tries = self.tries(PATIENCE);
        while (part.bytes.len() as u64) < wanted {
            let before = part.bytes.len();
            match self.read_on(key, &range, &mut part).await {
                Ok(()) => {}
                // Nobody said which version is wanted: the newer one then, from its start.
                Err(Error::Changed { .. }) if etag.is_none() && part.etag.is_some() => {
                    part.bytes.clear();
                    part.etag = None;
                    tries
                        .again(self.broken(key, "it was replaced meanwhile"))
                        .await?;
                }
                Err(e) => {
                    if part.bytes.len() > before {
                        tries.progressed();
                    }
                    tries.again(e).await?;
                }
            }
        }
        Ok(part.bytes.freeze())
    }

    async fn read_on(&self, key: &str, range: &Range<u64>, part: &mut Part) -> Result<(), Error> {
        let left = range.start + part.bytes.len() as u64..range.end;
        let options = GetOptions {
            range: Some(GetRange::Bounded(left.clone())),
            if_match: part.etag.clone(),
            ..GetOptions::default()
        };
        let changed = |detail: String| Error::Changed {
            what: self.name(key),
            detail,
        };
        let found = self
            .reader
            .get_opts(&self.key(key)?, options)
            .await
            .map_err(|e| self.error(key, &e))?;
        // Not every store heeds If-Match, so the answer is compared too.
        if let (Some(wanted), Some(found)) = (&part.etag, &found.meta.e_tag)
            && wanted != found
        {
            return Err(changed(format!("its ETag was {wanted} and is {found}")));
        }
        if found.range != left {
            return Err(changed(format!("it has {} bytes now", found.meta.size)));
        }
        part.etag = found.meta.e_tag.clone();
        let mut body = found.into_stream();
        while let Some(block) = body.next().await {
            let block = block.map_err(|e| self.error(key, &e))?;
            part.bytes.extend_from_slice(&block);
        }
        match range.end - range.start {
            wanted if wanted == part.bytes.len() as u64 => Ok(()),
            wanted => {
                let came = part.bytes.len() as u64;
                if came > wanted {
                    part.bytes.clear();
                }
                Err(self.broken(key, &format!("{came} bytes came instead of {wanted}")))
            }
        }
    }

    fn broken(&self, key: &str, detail: &str) -> Error {
        Error::Unreachable {
            what: self.name(key),
            detail: detail.to_owned(),
        }
    }

    /// The first `size` bytes as blocks, read ahead.
    pub(crate) fn stream(
        &self,
        key: String,
        size: u64,
    ) -> BoxStream<'static, Result<Bytes, Error>> {
        let this = self.clone();
        futures::stream::iter(ranges::split(0..size, PART))
            .map(move |part| {
                let (this, key) = (this.clone(), key.clone());
                async move { this.read_part(&key, part, None).await }
            })
            .buffered(2)
            .boxed()
    }

    pub(crate) async fn remove(&self, key: &str) -> Result<(), Error> {
        let at = self.key(key)?;
        let mut tries = self.tries(PATIENCE);
        loop {
            match self.writer.delete(&at).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => return Ok(()),
                Err(e) => tries.again(self.error(key, &e)).await?,
            }
        }
    }

    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<Listed>, Error> {
        let at = self.key(folder)?;
        let mut tries = self.tries(PATIENCE);
        loop {
            let listed = self.reader.list(Some(&at)).map_ok(|meta| Listed {
                key: meta.location.to_string(),
                size_bytes: meta.size,
                modified: meta.last_modified.into(),
            });
            match listed.try_collect().await {
                Ok(all) => return Ok(all),
                Err(e) => tries.again(self.error(folder, &e)).await?,
            }
        }
    }

    fn key(&self, key: &str) -> Result<Key, Error> {
        Key::parse(key)
            .map_err(|e| Error::Invalid(format!("{} is not a usable key: {e}", self.name(key))))
    }
}

/// Memory shared by everyone in this process who uses the same name.
fn memory(name: &str) -> Arc<InMemory> {
    static STORES: LazyLock<Mutex<HashMap<String, Arc<InMemory>>>> = LazyLock::new(Mutex::default);
    STORES
        .lock()
        .expect("no one panics while holding it")
        .entry(name.to_owned())
        .or_insert_with(|| Arc::new(InMemory::new()))
        .clone()
}
