//! Writing: in one request where one can carry the object, else in parts; and what to believe when no answer came.
//!
//! A request that failed may have been carried out. So no error of a write is believed before the key was looked at: what
//! is there is ours when its size and digest are, whoever the store says was first.

use super::content::Content;
use super::{DIGEST, Objects, PART, Written};
use crate::error::Error;
use crate::local::blocking;
use crate::ranges;
use crate::retry::{PATIENCE, Tries};
use crate::uploads::Ledger;
use bytes::Bytes;
use futures::stream::{StreamExt as _, TryStreamExt as _};
use object_store::multipart::PartId;
use object_store::path::Path as Key;
use object_store::{
    Attribute, Attributes, MultipartId, ObjectStore as _, PutMode, PutMultipartOptions, PutOptions,
};
use recode_types::Digest;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Parts under way for one upload.
pub(crate) const IN_FLIGHT: usize = 4;

/// The most parts an upload may have in S3.
pub(crate) const MOST_PARTS: u64 = 10_000;

impl Objects {
    /// Creates an object, and only if there is none. One that takes several requests is written down in `ledger` meanwhile.
    pub(crate) async fn put_new(
        &self,
        key: &str,
        bytes: Bytes,
        digest: &Digest,
        ledger: Option<&Ledger>,
    ) -> Result<Written, Error> {
        if bytes.len() as u64 > 2 * PART {
            return self
                .put_large(key, Body::Bytes(bytes), digest, true, ledger)
                .await;
        }
        self.put_small(key, bytes, digest, true).await
    }

    /// Uploads a file. With `create_only` an object that is there is left alone.
    pub(crate) async fn put_file(
        &self,
        key: &str,
        from: &Path,
        digest: &Digest,
        create_only: bool,
        ledger: Option<&Ledger>,
    ) -> Result<Written, Error> {
        let failed = |e| Error::io("read", from, e);
        let size = std::fs::metadata(from).map_err(failed)?.len();
        if size > 2 * PART {
            let file = std::fs::File::open(from).map_err(failed)?;
            let body = Body::File(Arc::new(file), size);
            return self.put_large(key, body, digest, create_only, ledger).await;
        }
        let bytes = tokio::fs::read(from).await.map_err(failed)?;
        self.put_small(key, bytes.into(), digest, create_only).await
    }

    async fn put_small(
        &self,
        key: &str,
        bytes: Bytes,
        digest: &Digest,
        create_only: bool,
    ) -> Result<Written, Error> {
        let at = self.key(key)?;
        let mut tries = self.tries(PATIENCE);
        loop {
            let options = PutOptions {
                mode: match create_only {
                    true => PutMode::Create,
                    false => PutMode::Overwrite,
                },
                attributes: attributes(digest),
                ..PutOptions::default()
            };
            let put = self
                .writer
                .put_opts(&at, bytes.clone().into(), options)
                .await;
            let failed = match put {
                Ok(_) => return Ok(Written::New),
                // Said as well when an earlier request of ours was carried out unheard, and for "try again".
                Err(object_store::Error::AlreadyExists { .. }) => {
                    let content = Content::Whole(*digest);
                    match self.compare(key, bytes.len() as u64, &content).await? {
                        Some(written) => return Ok(written),
                        None => self.conflict(key),
                    }
                }
                Err(e) => self.error(key, &e),
            };
            tries.again(failed).await?;
        }
    }

    async fn put_large(
        &self,
        key: &str,
        body: Body,
        digest: &Digest,
        create_only: bool,
        ledger: Option<&Ledger>,
    ) -> Result<Written, Error> {
        let size = body.size();
        let content = Content::Whole(*digest);
        // Spares the bytes; what decides is the completion, which the store refuses where the key is taken by then.
        if create_only && let Some(written) = self.compare(key, size, &content).await? {
            return Ok(written);
        }
        let upload = self.begin_upload(key, attributes(digest), ledger).await?;
        match upload.send(body).await {
            Ok(parts) => upload.complete(parts, size, &content, create_only).await,
            Err(e) => {
                upload.abort().await;
                Err(e)
            }
        }
    }

    /// Gives an upload up. One that is completed or given up already is no error.
    pub(crate) async fn give_up(&self, key: &str, upload: &str) -> Result<(), Error> {
        let (at, id) = (self.key(key)?, upload.to_owned());
        let mut tries = self.tries(PATIENCE);
        loop {
            match self.parts.abort_multipart(&at, &id).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => return Ok(()),
                Err(e) => tries.again(self.error(key, &e)).await?,
            }
        }
    }

    /// Begins an upload in parts, written down in `ledger` for as long as it lasts.
    pub(crate) async fn begin_upload(
        &self,
        key: &str,
        attributes: Attributes,
        ledger: Option<&Ledger>,
    ) -> Result<Upload, Error> {
        let at = self.key(key)?;
        let mut tries = self.tries(PATIENCE);
        let id = loop {
            let options = PutMultipartOptions {
                attributes: attributes.clone(),
                ..PutMultipartOptions::default()
            };
            let begun = match self.parts.create_multipart_opts(&at, options).await {
                Err(object_store::Error::NotSupported { .. }) => {
                    self.parts.create_multipart(&at).await
                }
                begun => begun,
            };
            match begun {
                Ok(id) => break id,
                Err(e) => tries.again(self.error(key, &e)).await?,
            }
        };
        let mut upload = Upload {
            objects: self.clone(),
            key: key.to_owned(),
            at,
            id,
            note: None,
        };
        if let Some(ledger) = ledger {
            match ledger.begun(self.name(key), &upload.id).await {
                Ok(note) => upload.note = Some((ledger.clone(), note)),
                Err(e) => {
                    upload.abort().await;
                    return Err(e);
                }
            }
        }
        Ok(upload)
    }

    /// What is at `key`, compared with what should be there. `None`: nothing is.
    pub(crate) async fn compare(
        &self,
        key: &str,
        size: u64,
        content: &Content,
    ) -> Result<Option<Written>, Error> {
        let mut tries = self.tries(PATIENCE);
        let found = loop {
            match self.head(key, PATIENCE).await {
                // The same bytes of another length cannot be: the answer was damaged.
                Ok(found) if found.size != size && content.says(&found) == Some(true) => {
                    let said = format!("its length is said to be {}", found.size);
                    tries.again(self.broken(key, &said)).await?;
                }
                Ok(found) => break found,
                Err(Error::NotFound { .. }) => return Ok(None),
                Err(e) => return Err(e),
            }
        };
        let same = found.size == size
            && match content.says(&found) {
                Some(same) => same,
                // The store keeps no metadata, or nothing that could be compared: the bytes have to speak.
                None => content.is_in(self.stream(key.to_owned(), size)).await?,
            };
        Ok(Some(match same {
            true => Written::SameAlready,
            false => Written::OtherAlready,
        }))
    }

    /// The key was taken a moment ago and is free now, or the look at it was an old one.
    fn conflict(&self, key: &str) -> Error {
        self.broken(key, "the store reported a conflict")
    }
}

/// A multipart upload under way.
pub(crate) struct Upload {
    objects: Objects,
    key: String,
    at: Key,
    id: MultipartId,
    /// Where it is written down, and under which key.
    note: Option<(Ledger, String)>,
}

impl Upload {
    /// The object's name for people.
    pub(crate) fn name(&self) -> String {
        self.objects.name(&self.key)
    }

    /// All parts, some at a time.
    async fn send(&self, body: Body) -> Result<Vec<PartId>, Error> {
        let part = part_size(body.size());
        let body = &body;
        futures::stream::iter(ranges::split(0..body.size(), part).into_iter().enumerate())
            .map(|(number, range)| async move { self.put_part(number, body.read(range).await?).await })
            .buffered(IN_FLIGHT)
            .try_collect()
            .await
    }

    /// A part that is sent again takes the place of the first.
    pub(crate) async fn put_part(&self, number: usize, bytes: Bytes) -> Result<PartId, Error> {
        let mut tries = self.objects.tries(PATIENCE);
        loop {
            let put = self
                .objects
                .parts
                .put_part(&self.at, &self.id, number, bytes.clone().into())
                .await;
            match put {
                Ok(part) => return Ok(part),
                // Ended by a rule of the bucket, or by a sweep: nothing to wait for, but another upload may do.
                Err(object_store::Error::NotFound { .. }) => {
                    let detail = "the store no longer knows the upload";
                    return Err(self.objects.broken(&self.key, detail));
                }
                Err(e) => tries.again(self.error(&e)).await?,
            }
        }
    }

    /// Makes the parts an object, or throws them away.
    pub(crate) async fn complete(
        &self,
        parts: Vec<PartId>,
        size: u64,
        content: &Content,
        create_only: bool,
    ) -> Result<Written, Error> {
        let written = self.finish(parts, size, content, create_only).await;
        match written {
            Ok(Written::New) => self.ended().await,
            _ => self.abort().await,
        }
        written
    }

    /// Makes the parts an object and looks at it. An error of the request is believed only when the object is not there.
    async fn finish(
        &self,
        parts: Vec<PartId>,
        size: u64,
        content: &Content,
        create_only: bool,
    ) -> Result<Written, Error> {
        let store = match create_only {
            true => &self.objects.creator,
            false => &self.objects.parts,
        };
        let mut tries: Tries<'_> = self.objects.tries(PATIENCE);
        let mut completed = false;
        loop {
            let mut failed = None;
            if !completed {
                let done = store.complete_multipart(&self.at, &self.id, parts.clone());
                match done.await {
                    Ok(_) => completed = true,
                    Err(e) => failed = Some(self.error(&e)),
                }
            }
            let found = self.objects.compare(&self.key, size, content).await?;
            let failed = match (found, failed) {
                // Refused because of the same bytes, or done and not heard: then there is nothing to throw away.
                (Some(Written::SameAlready), Some(_)) => return Ok(Written::SameAlready),
                (Some(Written::SameAlready), None) => return Ok(Written::New),
                (Some(found), Some(_)) if create_only => return Ok(found),
                (Some(_), None) => {
                    return Err(Error::Damaged {
                        what: self.objects.name(&self.key),
                        detail: "its size or digest is not that of what was uploaded".into(),
                    });
                }
                (
                    _,
                    Some(Error::Forbidden {
                        what,
                        detail,
                        remedy,
                    }),
                ) => {
                    return Err(Error::Forbidden {
                        what,
                        detail,
                        remedy,
                    });
                }
                // An upload that is gone, or a conflict, with nothing to be seen: the look may have been an old one.
                (_, Some(e)) if e.retry() == crate::Retry::Never => {
                    self.objects.conflict(&self.key)
                }
                (_, Some(e)) => e,
                (None, None) => {
                    let detail = "it is missing after its upload";
                    self.objects.broken(&self.key, detail)
                }
            };
            tries.again(failed).await?;
        }
    }

    /// Throws the parts away. Where that fails, it is left to whoever reads the ledger, or to the bucket's own rule.
    pub(crate) async fn abort(&self) {
        match self.objects.give_up(&self.key, &self.id).await {
            Ok(()) => self.ended().await,
            Err(error) => {
                tracing::warn!(%error, upload = self.id, "an upload could not be given up");
            }
        }
    }

    async fn ended(&self) {
        if let Some((ledger, note)) = &self.note {
            ledger.ended(note).await;
        }
    }

    fn error(&self, error: &object_store::Error) -> Error {
        self.objects.error(&self.key, error)
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
pub(crate) fn part_size(size: u64) -> u64 {
    PART.max(size.div_ceil(MOST_PARTS).next_multiple_of(1 << 20))
}

fn attributes(digest: &Digest) -> Attributes {
    Attributes::from_iter([(Attribute::Metadata(DIGEST.into()), digest.to_string())])
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
