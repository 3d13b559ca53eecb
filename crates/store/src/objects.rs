//! The one adapter between `object_store` and the rest of this crate: what its errors mean, how long to insist, and how
//! to tell one's own lost success from somebody else's object.

use crate::error::Error;
use crate::http::insist;
use crate::local::blocking;
use crate::ranges;
use crate::s3::{self, Use};
use crate::url::Location;
use crate::work::Listed;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::path::Path as Key;
use object_store::{
    Attribute, Attributes, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutMode,
    PutMultipartOptions, PutOptions,
};
use recode_types::Digest;
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

/// Bytes per request, up and down. Large enough to fill a link, small enough that a lost one costs little.
pub(crate) const PART: u64 = 8 << 20;

/// Requests in flight for one read or upload.
const IN_FLIGHT: usize = 4;

/// How long a read that worked before is tried again when the store stops answering.
const PATIENCE: Duration = Duration::from_secs(20);

/// Name of the user metadata that carries the digest.
const DIGEST: &str = "recode-sha256";

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
}

/// One bucket, or one piece of memory.
#[derive(Clone)]
pub(crate) struct Objects {
    reader: Arc<dyn ObjectStore>,
    writer: Arc<dyn ObjectStore>,
    /// `s3://bucket/` or `memory://`, for messages.
    base: String,
}

impl Objects {
    /// The store that holds `location`, and the key there.
    pub(crate) fn open(location: &Location) -> Result<(Self, String), Error> {
        match location {
            Location::S3 { bucket, key } => {
                crate::http::use_ring();
                let objects = Self {
                    reader: Arc::new(s3::client(bucket, Use::Read)?),
                    writer: Arc::new(s3::client(bucket, Use::Write)?),
                    base: format!("s3://{bucket}/"),
                };
                Ok((objects, key.clone()))
            }
            Location::Memory(text) => {
                let (name, key) = text.split_once('/').unwrap_or((text, ""));
                let store = memory(name);
                let objects = Self {
                    reader: store.clone(),
                    writer: store,
                    base: format!("memory://{name}/"),
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

    pub(crate) async fn head(&self, key: &str) -> Result<Head, Error> {
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        let found = self
            .reader
            .get_opts(&self.key(key)?, options)
            .await
            .map_err(|e| self.error(key, &e))?;
        Ok(Head {
            size: found.meta.size,
            digest: found
                .attributes
                .get(&Attribute::Metadata(DIGEST.into()))
                .and_then(|v| v.parse().ok()),
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

    async fn read_part(
        &self,
        key: &str,
        range: Range<u64>,
        etag: Option<&str>,
    ) -> Result<Bytes, Error> {
        insist(PATIENCE, || self.read_once(key, range.clone(), etag)).await
    }

    async fn read_once(
        &self,
        key: &str,
        range: Range<u64>,
        etag: Option<&str>,
    ) -> Result<Bytes, Error> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let options = GetOptions {
            range: Some(GetRange::Bounded(range.clone())),
            if_match: etag.map(str::to_owned),
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
        if let (Some(wanted), Some(found)) = (etag, &found.meta.e_tag)
            && wanted != found
        {
            return Err(changed(format!("its ETag was {wanted} and is {found}")));
        }
        if found.range != range {
            return Err(changed(format!("it has {} bytes now", found.meta.size)));
        }
        let bytes = found.bytes().await.map_err(|e| self.error(key, &e))?;
        if bytes.len() as u64 != range.end - range.start {
            return Err(Error::Unreachable {
                what: self.name(key),
                detail: format!(
                    "{} bytes came instead of {}",
                    bytes.len(),
                    range.end - range.start
                ),
            });
        }
        Ok(bytes)
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

    /// Creates an object in one request, and only if there is none.
    pub(crate) async fn put_new(
        &self,
        key: &str,
        bytes: Bytes,
        digest: &Digest,
    ) -> Result<Written, Error> {
        if bytes.len() as u64 > 2 * PART {
            return self.put_large(key, Body::Bytes(bytes), digest, true).await;
        }
        let at = self.key(key)?;
        let write = || async {
            let options = PutOptions {
                mode: PutMode::Create,
                attributes: attributes(digest),
                ..PutOptions::default()
            };
            let put = self
                .writer
                .put_opts(&at, bytes.clone().into(), options)
                .await;
            match put {
                Ok(_) => Ok(Written::New),
                // The crate says so as well when it repeated a request whose answer was lost, and for "try again".
                Err(object_store::Error::AlreadyExists { .. }) => {
                    match self.compare(key, bytes.len() as u64, digest).await? {
                        Some(written) => Ok(written),
                        None => Err(Error::Unreachable {
                            what: self.name(key),
                            detail: "the store reported a conflict".into(),
                        }),
                    }
                }
                Err(e) => Err(self.error(key, &e)),
            }
        };
        insist(PATIENCE, write).await
    }

    /// Uploads a file. With `create_only` an object that is there is left alone: surely when one request can carry the
    /// file, and after a look at the key when it takes several, which leaves a moment for a race.
    pub(crate) async fn put_file(
        &self,
        key: &str,
        from: &Path,
        size: u64,
        digest: &Digest,
        create_only: bool,
    ) -> Result<Written, Error> {
        if size > 2 * PART || !create_only {
            let file = std::fs::File::open(from).map_err(|e| Error::io("read", from, e))?;
            return self
                .put_large(key, Body::File(Arc::new(file), size), digest, create_only)
                .await;
        }
        let bytes = tokio::fs::read(from)
            .await
            .map_err(|e| Error::io("read", from, e))?;
        self.put_new(key, bytes.into(), digest).await
    }

    async fn put_large(
        &self,
        key: &str,
        body: Body,
        digest: &Digest,
        create_only: bool,
    ) -> Result<Written, Error> {
        let size = body.size();
        if create_only && let Some(written) = self.compare(key, size, digest).await? {
            return Ok(written);
        }
        let at = self.key(key)?;
        let options = PutMultipartOptions {
            attributes: attributes(digest),
            ..PutMultipartOptions::default()
        };
        let mut upload = self
            .writer
            .put_multipart_opts(&at, options)
            .await
            .map_err(|e| self.error(key, &e))?;
        let sent = self.send_parts(key, upload.as_mut(), body).await;
        let completed = match sent {
            Ok(()) => {
                let late = match create_only {
                    true => self.compare(key, size, digest).await.ok().flatten(),
                    false => None,
                };
                match late {
                    Some(written) => {
                        let _ = upload.abort().await;
                        return Ok(written);
                    }
                    None => upload.complete().await.map_err(|e| self.error(key, &e)),
                }
            }
            Err(e) => Err(e),
        };
        let failure = match completed {
            Ok(_) => None,
            Err(e) => {
                // Whether it was completed is open until somebody looks; only then may the parts be thrown away.
                if self.compare(key, size, digest).await? == Some(Written::SameAlready) {
                    return Ok(Written::New);
                }
                let _ = upload.abort().await;
                Some(e)
            }
        };
        if let Some(e) = failure {
            return Err(e);
        }
        match self.compare(key, size, digest).await? {
            Some(Written::SameAlready) => Ok(Written::New),
            found => Err(Error::Damaged {
                what: self.name(key),
                detail: match found {
                    None => "it is missing after its upload".into(),
                    _ => "its size or digest is not that of the file".into(),
                },
            }),
        }
    }

    async fn send_parts(
        &self,
        key: &str,
        upload: &mut dyn object_store::MultipartUpload,
        body: Body,
    ) -> Result<(), Error> {
        let part = part_size(body.size());
        let mut flying = futures::stream::FuturesUnordered::new();
        for range in ranges::split(0..body.size(), part) {
            if flying.len() >= IN_FLIGHT {
                flying
                    .next()
                    .await
                    .transpose()
                    .map_err(|e| self.error(key, &e))?;
            }
            let bytes = body.read(range).await?;
            flying.push(upload.put_part(bytes.into()));
        }
        while let Some(done) = flying.next().await {
            done.map_err(|e| self.error(key, &e))?;
        }
        Ok(())
    }

    /// What is at `key`, compared with what should be there. `None`: nothing is.
    async fn compare(
        &self,
        key: &str,
        size: u64,
        digest: &Digest,
    ) -> Result<Option<Written>, Error> {
        let found = match self.head(key).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(e) => return Err(e),
        };
        let same = found.size == size && found.digest.is_none_or(|found| found == *digest);
        if same && found.digest.is_none() && size <= 2 * PART {
            // The store keeps no metadata: the bytes have to speak.
            let bytes = self.read(key, 0..size, None).await?;
            if Digest::of(&bytes) != *digest {
                return Ok(Some(Written::OtherAlready));
            }
        }
        Ok(Some(if same {
            Written::SameAlready
        } else {
            Written::OtherAlready
        }))
    }

    pub(crate) async fn remove(&self, key: &str) -> Result<(), Error> {
        match self.writer.delete(&self.key(key)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(e) => Err(self.error(key, &e)),
        }
    }

    pub(crate) async fn list(&self, folder: &str) -> Result<Vec<Listed>, Error> {
        self.reader
            .list(Some(&self.key(folder)?))
            .map_ok(|meta| Listed {
                key: meta.location.to_string(),
                size_bytes: meta.size,
                modified: meta.last_modified.into(),
            })
            .try_collect()
            .await
            .map_err(|e| self.error(folder, &e))
    }

    fn key(&self, key: &str) -> Result<Key, Error> {
        Key::parse(key)
            .map_err(|e| Error::Invalid(format!("{} is not a usable key: {e}", self.name(key))))
    }

    /// Translates an error about the object at `key`.
    fn error(&self, key: &str, error: &object_store::Error) -> Error {
        use object_store::Error as E;
        let what = self.name(key);
        let text = chain(error);
        match error {
            E::NotFound { .. } => Error::NotFound {
                what,
                remedy: "check bucket and key".into(),
            },
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => self.forbidden(what, &text),
            _ if text.contains("ExpiredToken") || text.contains("InvalidToken") => {
                self.forbidden(what, &text)
            }
            _ if text.contains("169.254.169.254") || text.contains("latest/api/token") => {
                Error::Forbidden {
                    what,
                    detail: ": no credentials were found".into(),
                    remedy: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws, or AWS_SKIP_SIGNATURE=true for a public bucket".into(),
                }
            }
            E::Precondition { .. } => Error::Changed {
                what,
                detail: "its ETag is another".into(),
            },
            E::AlreadyExists { .. } => Error::Exists { what },
            E::InvalidPath { .. } => Error::Invalid(format!("{what} is not a usable key: {}", cause(error))),
            E::NotSupported { .. } | E::NotImplemented { .. } => Error::Other {
                what,
                detail: format!("the store does not support this ({})", cause(error)),
            },
            _ => Error::Unreachable {
                what,
                detail: cause(error),
            },
        }
    }

    fn forbidden(&self, what: String, text: &str) -> Error {
        let said = [
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "RequestTimeTooSkewed",
            "ExpiredToken",
            "InvalidToken",
            "AccessDenied",
        ]
        .iter()
        .find(|code| text.contains(**code));
        let remedy = match said {
            Some(&"RequestTimeTooSkewed") => "set this machine's clock",
            Some(&"ExpiredToken") => "renew the session token",
            _ if !s3::has_credentials() => {
                "no credentials are set: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a profile in ~/.aws"
            }
            _ => "check the AWS keys or profile in use and the rights of the bucket",
        };
        Error::Forbidden {
            what,
            detail: said.map(|code| format!(" ({code})")).unwrap_or_default(),
            remedy: remedy.into(),
        }
    }
}

/// Where an upload's bytes come from.
enum Body {
    Bytes(Bytes),
    File(Arc<std::fs::File>, u64),
}

impl Body {
    fn size(&self) -> u64 {
        match self {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File(_, size) => *size,
        }
    }

    async fn read(&self, range: Range<u64>) -> Result<Bytes, Error> {
        match self {
            Body::Bytes(bytes) => Ok(bytes.slice(range.start as usize..range.end as usize)),
            Body::File(file, _) => {
                let file = file.clone();
                blocking(move || {
                    use std::os::unix::fs::FileExt as _;
                    let mut block = vec![0; (range.end - range.start) as usize];
                    file.read_exact_at(&mut block, range.start)
                        .map_err(|e| Error::io("read", Path::new("the file to upload"), e))?;
                    Ok(block.into())
                })
                .await
            }
        }
    }
}

/// Parts of 8 MiB, larger when the object would need more than the 10,000 parts S3 allows.
fn part_size(size: u64) -> u64 {
    const MOST_PARTS: u64 = 10_000;
    PART.max(size.div_ceil(MOST_PARTS).next_multiple_of(1 << 20))
}

fn attributes(digest: &Digest) -> Attributes {
    Attributes::from_iter([(Attribute::Metadata(DIGEST.into()), digest.to_string())])
}

/// Everything an error and its causes say, for looking things up in.
fn chain(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    let mut at: &dyn std::error::Error = error;
    while let Some(cause) = at.source() {
        text = format!("{text}: {cause}");
        at = cause;
    }
    text
}

/// What really happened, for people: the last cause, on one line of bearable length.
fn cause(error: &object_store::Error) -> String {
    let mut at: &dyn std::error::Error = error;
    while let Some(cause) = at.source() {
        at = cause;
    }
    let text = at.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(200) {
        line.truncate(end);
        line.push('…');
    }
    line
}

/// Memory shared by everyone in this process who uses the same name.
fn memory(name: &str) -> Arc<dyn ObjectStore> {
    static STORES: LazyLock<Mutex<HashMap<String, Arc<dyn ObjectStore>>>> =
        LazyLock::new(Mutex::default);
    STORES
        .lock()
        .expect("no one panics while holding it")
        .entry(name.to_owned())
        .or_insert_with(|| Arc::new(object_store::memory::InMemory::new()))
        .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_upload_needs_more_parts_than_s3_allows() {
        for size in [0, 1, PART, 80_000_000_000, 1 << 40, 5 << 40] {
            let part = part_size(size);
            assert!(size.div_ceil(part) <= 10_000 && part >= 5 << 20, "{size}");
        }
    }
}
