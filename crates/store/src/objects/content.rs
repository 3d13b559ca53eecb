//! What an object should hold, and whether it does.

use super::{Head, MARK};
use crate::error::Error;
use bytes::Bytes;
use futures::stream::{Stream, StreamExt as _};
use object_store::{Attribute, Attributes};
use recode_types::Digest;
use sha2::Digest as _;

/// What an object should hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Bytes with this digest, which the object's metadata says too.
    Whole(Digest),
    /// The bytes of an upload that began before its digest could be known.
    Parts {
        /// What the metadata of that upload says, and of no other.
        mark: String,
        /// Its bytes, piece by piece.
        parts: Vec<PartDigest>,
    },
}

/// Some bytes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PartDigest {
    pub(crate) size: u64,
    pub(crate) digest: Digest,
}

/// The metadata of an upload that is told from all others by `mark`.
pub(crate) fn marked(mark: &str) -> Attributes {
    Attributes::from_iter([(Attribute::Metadata(MARK.into()), mark.to_owned())])
}

impl Content {
    /// Whether an object is this, as far as a look at it tells.
    pub(crate) fn says(&self, found: &Head) -> Option<bool> {
        match self {
            Content::Whole(digest) => found.digest.map(|found| found == *digest),
            // Another upload may have brought the same bytes.
            Content::Parts { mark, .. } => (found.mark.as_ref() == Some(mark)).then_some(true),
        }
    }

    /// Whether these bytes are it.
    pub(crate) async fn is_in(
        &self,
        mut blocks: impl Stream<Item = Result<Bytes, Error>> + Unpin,
    ) -> Result<bool, Error> {
        let whole = |digest: &Digest| {
            let (size, digest) = (u64::MAX, *digest);
            vec![PartDigest { size, digest }]
        };
        let parts = match self {
            Content::Whole(digest) => whole(digest),
            Content::Parts { parts, .. } => parts.clone(),
        };
        let mut parts = parts.into_iter();
        let mut part = parts.next();
        let (mut hasher, mut hashed) = (sha2::Sha256::new(), 0);
        let same =
            |part: PartDigest, hasher| part.digest == Digest(sha2::Sha256::finalize(hasher).into());
        while let Some(block) = blocks.next().await {
            let mut block = block?;
            while !block.is_empty() {
                let Some(wanted) = part else {
                    return Ok(false);
                };
                let left = usize::try_from(wanted.size - hashed).unwrap_or(usize::MAX);
                let piece = block.split_to(left.min(block.len()));
                hasher.update(&piece);
                hashed += piece.len() as u64;
                if hashed == wanted.size {
                    if !same(wanted, std::mem::take(&mut hasher)) {
                        return Ok(false);
                    }
                    (part, hashed) = (parts.next(), 0);
                }
            }
        }
        Ok(match (self, part) {
            (Content::Whole(_), Some(wanted)) => same(wanted, hasher),
            (_, left) => left.is_none(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::FutureExt as _;

    fn is_in(content: &Content, blocks: &[&'static [u8]]) -> bool {
        let blocks = blocks.iter().map(|block| Ok(Bytes::from_static(block)));
        let blocks = futures::stream::iter(blocks.collect::<Vec<_>>());
        content.is_in(blocks).now_or_never().unwrap().unwrap()
    }

    #[test]
    fn bytes_are_compared_piece_by_piece_however_they_come() {
        let part = |bytes: &[u8]| PartDigest {
            size: bytes.len() as u64,
            digest: Digest::of(bytes),
        };
        let content = Content::Parts {
            mark: "a".into(),
            parts: vec![part(b"0123"), part(b"45"), part(b"678")],
        };
        assert!(is_in(&content, &[b"012345678"]));
        assert!(is_in(&content, &[b"0", b"1234", b"", b"567", b"8"]));
        assert!(!is_in(&content, &[b"012346678"]));
        assert!(!is_in(&content, &[b"01234567"]), "too short");
        assert!(!is_in(&content, &[b"0123456789"]), "too long");
        assert!(!is_in(&content, &[]));
        let whole = Content::Whole(Digest::of(b"012"));
        assert!(is_in(&whole, &[b"0", b"12"]) && !is_in(&whole, &[b"0", b"13"]));
    }

    #[test]
    fn a_look_tells_an_upload_by_its_mark_and_other_bytes_by_their_digest() {
        let head = |digest: Option<&[u8]>, mark: Option<&str>| Head {
            size: 3,
            etag: None,
            digest: digest.map(Digest::of),
            mark: mark.map(str::to_owned),
        };
        let whole = Content::Whole(Digest::of(b"012"));
        assert_eq!(whole.says(&head(Some(b"012"), None)), Some(true));
        assert_eq!(whole.says(&head(Some(b"013"), None)), Some(false));
        assert_eq!(whole.says(&head(None, Some("a"))), None);
        let parts = Content::Parts {
            mark: "a".into(),
            parts: Vec::new(),
        };
        assert_eq!(parts.says(&head(None, Some("a"))), Some(true));
        // The same bytes by another upload, perhaps.
        assert_eq!(parts.says(&head(None, Some("b"))), None);
        assert_eq!(parts.says(&head(Some(b"012"), None)), None);
    }
}
