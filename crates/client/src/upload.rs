//! `--upload`: a Source that only this machine sees is sent to the cluster's work store before its Job is submitted.
//!
//! ```text
//! jobs/<job>/source/<name>      below the Job's own prefix, so that it goes when the Job is over, and stays as long as a
//!                               Job that failed may be retried
//! ```
//!
//! The id of the Job is chosen here, and nothing else ever has this key: what an earlier try left is never met. An upload
//! that is broken off is taken back; one whose process is killed leaves a file that no Job names.

use crate::bars::{self, Bar};
use crate::fault::Fault;
use crate::place::Place;
use crate::preflight;
use crate::remote::fault;
use recode_client::Client;
use recode_store::{Location, Retry, Take, WorkStore};
use recode_types::JobId;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use url::Url;

/// How often the bar is drawn.
const REDRAW: Duration = Duration::from_millis(200);

/// A Source on its way to the work store, or there.
pub struct Upload {
    job: JobId,
    store: WorkStore,
    key: String,
    /// Where it lies, once it is there.
    pub url: String,
}

impl Upload {
    /// Prepares to send `place` for the Job that is to be `job`.
    /// # Errors
    /// It cannot be read, or this machine does not reach the work store.
    pub async fn prepare(client: &Client, place: &Place, job: JobId) -> Result<Self, Fault> {
        preflight::source(place)?;
        let url = client.work_store().await.map_err(fault)?;
        let location = Location::parse(&url).map_err(|e| Fault::environment(e.to_string()))?;
        if let Some(folder) = location.local_path()
            && !folder.is_dir()
        {
            return Err(Fault::environment(format!(
                "{} cannot be sent, since the cluster's work store {} is a folder that this machine does not see; copy it to a \
                 disk that the nodes share and name it with file://, or to s3://",
                place.typed,
                folder.display()
            )));
        }
        let store = WorkStore::open(&url).await.map_err(said)?;
        let name = place.path.as_deref().and_then(Path::file_name);
        let name = plain_name(&name.unwrap_or_default().to_string_lossy());
        let key = format!("{}source/{name}", recode_store::key::job(job));
        let url = match location.local_path() {
            Some(folder) => Url::from_file_path(folder.join(&key))
                .map_err(|()| {
                    Fault::environment(format!(
                        "the cluster's work store {} is no absolute path; start its coordinators with one",
                        folder.display()
                    ))
                })?
                .to_string(),
            None => format!("{}/{key}", store.url().trim_end_matches('/')),
        };
        Ok(Self {
            job,
            store,
            key,
            url,
        })
    }

    /// Sends it; its bytes are compared with their digest on the way.
    /// # Errors
    /// The store does not take it, or the file changed meanwhile.
    pub async fn send(&self, place: &Place, quiet: bool) -> Result<(), Fault> {
        let path = place.path.as_deref().expect("only local places are sent");
        let before = looked_at(place, path)?;
        // A store elsewhere is given the digest first: the file is read twice.
        let passes = if self.folder().is_some() { 1 } else { 2 };
        let mut bar = Bar::bytes("upload", quiet);
        let begun = read_so_far();
        let mut tick = tokio::time::interval(REDRAW);
        let sending = self.store.put_file(&self.key, path, Take::Copy);
        tokio::pin!(sending);
        let sent = loop {
            tokio::select! {
                sent = &mut sending => break sent,
                _ = tick.tick() => {
                    if let (Some(bar), Some(begun), Some(now)) = (&mut bar, begun, read_so_far()) {
                        let done = now.saturating_sub(begun) / passes;
                        bar.show(done.min(before.len()), before.len());
                    }
                }
            }
        };
        let sent = sent.map_err(said)?;
        let after = looked_at(place, path)?;
        let stamp = |m: &Metadata| (m.len(), m.mtime(), m.mtime_nsec(), m.ino());
        if stamp(&before) != stamp(&after) || sent.size_bytes != before.len() {
            return Err(Fault::input(format!(
                "{} changed while it was being sent; start again when it is complete",
                place.typed
            )));
        }
        Ok(())
    }

    /// Takes it back: nobody will ask for it.
    pub async fn withdraw(&self) {
        let removed = match self.folder() {
            // With what a copy under way has written so far.
            Some(folder) => match std::fs::remove_dir_all(&folder) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.to_string()),
                _ => Ok(()),
            },
            None => self
                .store
                .remove(&self.key)
                .await
                .map_err(|e| e.to_string()),
        };
        if let Err(error) = removed {
            bars::line(&format!(
                "recode-client: warning: {} is left in the work store ({error}); remove it by hand",
                self.url
            ));
        }
    }

    /// The Job's folder, where the work store is one.
    fn folder(&self) -> Option<PathBuf> {
        let location = Location::parse(self.store.url()).ok()?;
        let root = location.local_path()?;
        Some(root.join(recode_store::key::job(self.job)))
    }
}

fn looked_at(place: &Place, path: &Path) -> Result<Metadata, Fault> {
    std::fs::metadata(path)
        .map_err(|e| Fault::input(format!("{} cannot be looked at ({e})", place.typed)))
}

/// What the work store said; its errors name thing and remedy.
fn said(error: recode_store::Error) -> Fault {
    let message = match error.retry() {
        Retry::Backoff => format!("nothing was submitted: {error}"),
        Retry::Never => error.to_string(),
    };
    Fault::environment(message)
}

/// A name that keys take: letters and digits of ASCII, and `. - _`. Its ending stays, for people and for FFmpeg.
fn plain_name(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| match c {
            c if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') => c,
            _ => '_',
        })
        .collect();
    let start = plain.len().saturating_sub(100);
    let plain = plain[start..].trim_start_matches('.');
    if plain.is_empty() {
        "source".to_owned()
    } else {
        plain.to_owned()
    }
}

/// Bytes that this process has read from files. The store takes a file whole and does not tell how far it is; what was read
/// of the file does, as nothing else is read meanwhile.
fn read_so_far() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/io").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("rchar: "))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_keys_and_keep_their_ending() {
        for (name, expected) in [
            ("film.mov", "film.mov"),
            ("a b/ü#1.mov", "a_b___1.mov"),
            ("..hidden.mov", "hidden.mov"),
            ("...", "source"),
            ("", "source"),
        ] {
            assert_eq!(plain_name(name), expected, "{name}");
        }
        let long = plain_name(&format!("{}.mov", "x".repeat(300)));
        assert!(long.len() == 100 && long.ends_with("x.mov"), "{long}");
        assert!(recode_store::key::is_valid(&format!(
            "{}source/{long}",
            recode_store::key::job(JobId(1))
        )));
    }

    /// A store that is no folder, as S3 is none.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_was_sent_elsewhere_is_there_and_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("film.mov");
        std::fs::write(&path, [7; 100_000]).unwrap();
        let place = Place::parse("film.mov", dir.path(), crate::place::Use::Read).unwrap();
        let job = JobId(1);
        let store = WorkStore::open("memory://uploads").await.unwrap();
        let upload = Upload {
            job,
            store: store.clone(),
            key: format!("{}source/film.mov", recode_store::key::job(job)),
            url: String::new(),
        };
        upload.send(&place, true).await.unwrap();
        let listed = store.list("jobs").await.unwrap();
        assert_eq!(
            (&listed[0].key, listed[0].size_bytes),
            (&upload.key, 100_000)
        );
        // The same bytes again are no other file.
        upload.send(&place, true).await.unwrap();
        std::fs::write(&path, [8; 100_000]).unwrap();
        let refused = upload.send(&place, true).await.unwrap_err();
        assert!(refused.message.contains("other content"), "{refused}");
        upload.withdraw().await;
        assert!(store.list("jobs").await.unwrap().is_empty());
    }
}
