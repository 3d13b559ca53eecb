//! Uploads in parts that are under way, written down in the work store before their first part leaves.
//!
//! S3 keeps the parts of an upload that nobody completes, and no listing shows them. A process that dies in the middle leaves
//! its note, and whoever sweeps what the Attempt left finds the note and ends the upload.

use crate::error::Error;
use crate::objects::Objects;
use crate::url::Location;
use crate::work::{Listed, WorkStore};
use futures::future::BoxFuture;
use recode_types::Digest;
use serde::{Deserialize, Serialize};

/// What the key of a note ends in.
const ENDING: &str = ".upload";

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    /// What is being uploaded.
    url: String,
    /// The store's name of the upload.
    upload: String,
}

/// Where uploads of one object are written down.
#[derive(Clone)]
pub(crate) struct Ledger {
    store: WorkStore,
    /// What keys of notes begin with.
    prefix: String,
}

impl Ledger {
    pub(crate) fn new(store: &WorkStore, prefix: impl Into<String>) -> Self {
        Self {
            store: store.clone(),
            prefix: prefix.into(),
        }
    }

    /// Writes an upload down. Returns the key of the note.
    // Boxed: a note is an artifact, and those may be uploaded too.
    pub(crate) fn begun<'a>(
        &'a self,
        url: String,
        upload: &'a str,
    ) -> BoxFuture<'a, Result<String, Error>> {
        Box::pin(async move {
            let name = Digest::of(upload.as_bytes()).to_string();
            let key = format!("{}.{}{ENDING}", self.prefix, &name[..16]);
            let note = Note {
                url,
                upload: upload.to_owned(),
            };
            let text = serde_json::to_vec(&note).expect("two texts");
            self.store.put(&key, text).await?;
            Ok(key)
        })
    }

    /// An upload was completed or given up. A note that cannot be removed now is swept with everything else.
    pub(crate) fn ended<'a>(&'a self, note: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if let Err(error) = self.store.remove(note).await {
                tracing::debug!(%error, note, "left for the sweeper");
            }
        })
    }
}

/// Whether something listed is a note of an upload.
pub(crate) fn is_note(key: &str) -> bool {
    key.ends_with(ENDING)
}

/// Ends the upload that a note tells of, if there still is one.
pub(crate) async fn end(store: &WorkStore, note: &Listed) -> Result<(), Error> {
    let bytes = match store.get_listed(note).await {
        Ok(bytes) => bytes,
        Err(Error::NotFound { .. }) => return Ok(()),
        Err(e) => return Err(e),
    };
    let Ok(Note { url, upload }) = serde_json::from_slice(&bytes) else {
        return Err(Error::Damaged {
            what: format!("the note {} in {}", note.key, store.url()),
            detail: "it cannot be read".into(),
        });
    };
    let location = Location::parse(&url)?;
    if !matches!(location, Location::S3 { .. } | Location::Memory(_)) {
        return Ok(());
    }
    let (objects, key) = Objects::open(&location)?;
    objects.give_up(&key, &upload).await
}
