//! Parts of artifacts, for whoever has no use for all of one at once: what comes is compared with nothing until all of it was
//! seen.

use super::{Backend, WorkStore, check_key};
use crate::error::Error;
use crate::local::blocking;
use bytes::Bytes;
use recode_types::{ArtifactRef, Digest};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::Ordering;

impl WorkStore {
    /// Whether artifacts are files of this machine.
    pub fn is_local(&self) -> bool {
        matches!(self.shared.backend, Backend::Dir(_))
    }

    /// Exactly `range` of an artifact, in one request where it is no longer than 8 MiB. The bytes may be damaged: whoever has
    /// all of them asks [`WorkStore::compare`].
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is gone, [`Error::Damaged`] when it is shorter or longer than promised, and what the store
    /// says.
    pub async fn get_part(
        &self,
        artifact: &ArtifactRef,
        range: Range<u64>,
    ) -> Result<Bytes, Error> {
        check_key(&artifact.key)?;
        if range.start >= range.end || range.end > artifact.size_bytes {
            return Err(Error::Invalid(format!(
                "bytes {}..{} of {} were asked for, which has {}",
                range.start, range.end, artifact.key, artifact.size_bytes
            )));
        }
        match &self.shared.backend {
            Backend::Dir(root) => {
                let path = root.join(&artifact.key);
                blocking(move || {
                    let mut bytes = vec![0; (range.end - range.start) as usize];
                    let file = std::fs::File::open(&path);
                    file.and_then(|file| file.read_exact_at(&mut bytes, range.start))
                        .map_err(|e| Error::io("read", &path, e))?;
                    Ok(bytes.into())
                })
                .await
            }
            Backend::Objects { objects, prefix } => {
                let at = format!("{prefix}{}", artifact.key);
                match objects.read(&at, range, None).await {
                    // What never changes has been damaged.
                    Err(Error::Changed { detail, .. }) => Err(self.damaged(artifact, detail)),
                    read => read,
                }
            }
        }
    }

    /// Holds what was read of an artifact against it, when all of it was read. `found`: the digest of all its bytes.
    ///
    /// # Errors
    /// [`Error::Damaged`]: it is worth reading it again, [`super::MOST_READS`] times in all.
    pub fn compare(&self, artifact: &ArtifactRef, found: Digest) -> Result<(), Error> {
        if found == artifact.digest {
            return Ok(());
        }
        let detail = format!("its digest is {found} instead of {}", artifact.digest);
        Err(self.damaged(artifact, detail))
    }

    /// The bytes of an artifact make no sense, whatever their digest. Counted and logged.
    pub fn damaged(&self, artifact: &ArtifactRef, detail: String) -> Error {
        let error = Error::Damaged {
            what: format!("artifact {} in {}", artifact.key, self.url()),
            detail,
        };
        self.shared.damaged_reads.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%error, "an artifact came damaged");
        error
    }
}
