//! Local disk: one directory per Attempt, removed when the Attempt ends however it ends; with a [`Budget`] where there is one.

use crate::budget::Budget;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Scratch could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory cannot be made or written.
    #[error("scratch directory {path} cannot be used; choose another with --state or --scratch")]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The node's scratch directory. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Scratch {
    root: Arc<PathBuf>,
    next: Arc<AtomicU64>,
    budget: Option<Budget>,
    /// Whoever runs the node frees the disk while it waits, rather than hear of it at once.
    waits: bool,
    /// The disk was full: nothing is begun before it has so many bytes; 0: anything may be.
    awaited: Arc<AtomicU64>,
}

/// A full disk that has so many bytes again has room for an Attempt.
const ROOM_AGAIN: u64 = 64 << 20;

/// What Attempts share: blocks and copies of remote Sources.
const SHARED: [&str; 2] = ["blocks-", "source-"];

/// What a file, or a directory with everything below it, takes on the disk. Blocks of remote Sources are files with holes, so
/// that lengths say nothing.
pub fn used_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => {
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| used_bytes(&entry.path())).sum()
        }
        Ok(meta) => meta.blocks() * 512,
        // It is gone.
        Err(_) => 0,
    }
}

impl Scratch {
    /// Opens `root`, empty: what an earlier process left there belongs to nobody.
    /// # Errors
    /// [`Error::Unusable`]: name another directory or free the disk.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let unusable = |source| Error::Unusable {
            path: root.to_owned(),
            source,
        };
        match std::fs::remove_dir_all(root) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(unusable(e)),
            _ => {}
        }
        std::fs::create_dir_all(root).map_err(unusable)?;
        Ok(Self {
            root: Arc::new(root.to_owned()),
            next: Arc::new(AtomicU64::new(0)),
            budget: None,
            waits: false,
            awaited: Arc::default(),
        })
    }

    /// The same, of which at most so many bytes are used.
    pub fn with_budget(self, bytes: Option<u64>) -> Self {
        Self {
            budget: bytes.map(Budget::new),
            ..self
        }
    }

    /// The same, of a node that begins nothing while the disk is full.
    pub fn waiting(self, waits: bool) -> Self {
        Self { waits, ..self }
    }

    /// Its budget, where it has one.
    pub fn budget(&self) -> Option<&Budget> {
        self.budget.as_ref()
    }

    /// Counts what Attempts share against the budget. To be called now and then.
    pub fn count_shared(&self) {
        let Some(budget) = &self.budget else { return };
        let entries = std::fs::read_dir(&*self.root)
            .into_iter()
            .flatten()
            .flatten();
        let shared = entries.filter(|entry| {
            let name = entry.file_name();
            SHARED
                .iter()
                .any(|kind| name.to_string_lossy().starts_with(kind))
        });
        budget.share(shared.map(|entry| used_bytes(&entry.path())).sum());
    }

    /// An Attempt failed for want of something: if that was the disk, nothing is begun before it has room again.
    pub fn was_short(&self) {
        if self.waits && self.disk_bytes().is_some_and(|free| free < ROOM_AGAIN) {
            tracing::warn!(path = %self.root.display(), "the disk is full: nothing is begun before it has room again");
            self.awaited.store(ROOM_AGAIN, Ordering::SeqCst);
        }
    }

    /// Whether Attempts may begin.
    pub fn has_room(&self) -> bool {
        let awaited = self.awaited.load(Ordering::SeqCst);
        if awaited == 0 {
            return true;
        }
        let has_room = self.disk_bytes().is_none_or(|free| free >= awaited);
        if has_room {
            tracing::info!(path = %self.root.display(), "the disk has room again");
            self.awaited.store(0, Ordering::SeqCst);
        }
        has_room
    }

    /// Free bytes of the disk; `None`: it does not say.
    fn disk_bytes(&self) -> Option<u64> {
        let disk = rustix::fs::statvfs(&*self.root).ok()?;
        Some(disk.f_bavail * disk.f_frsize)
    }

    /// A fresh directory for one piece of work, removed with everything in it when the value is dropped.
    /// # Errors
    /// [`Error::Unusable`].
    pub fn room(&self, name: &str) -> Result<Room, Error> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join(format!("{name}-{n}"));
        std::fs::create_dir(&path).map_err(|source| Error::Unusable {
            path: path.clone(),
            source,
        })?;
        Ok(Room { path })
    }
}

/// One Attempt's directory.
#[derive(Debug)]
pub struct Room {
    path: PathBuf,
}

impl Room {
    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// Name of the note that [`Room::note_publication`] leaves.
const NOTE: &str = "publishing";

impl Room {
    /// Notes which file is about to get an Output's name. Should the process die between that and the Attempt's end,
    /// [`was_published_from`] tells our file from somebody else's.
    /// # Errors
    /// The note cannot be written.
    pub fn note_publication(&self, part: &Path) -> std::io::Result<()> {
        std::fs::write(self.file(NOTE), identity(part)?)
    }
}

/// What a file keeps when it is renamed.
fn identity(path: &Path) -> std::io::Result<String> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = std::fs::metadata(path)?;
    Ok(format!("{}-{}", meta.dev(), meta.ino()))
}

/// Whether `output` was put in its place by an Attempt that worked in `scratch` and did not live to say so. Only of use
/// before [`Scratch::open`] empties the directory.
pub fn was_published_from(scratch: &Path, output: &Path) -> bool {
    let Ok(wanted) = identity(output) else {
        return false;
    };
    let rooms = std::fs::read_dir(scratch).into_iter().flatten().flatten();
    rooms
        .filter_map(|room| std::fs::read_to_string(room.path().join(NOTE)).ok())
        .any(|note| note == wanted)
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_dir_all(&self.path) {
            tracing::debug!(path = %self.path.display(), error = %e, "scratch was not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_of_an_attempt_that_died_is_known_again() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("scratch");
        let room = Scratch::open(&root).unwrap().room("stitch").unwrap();
        let (part, output) = (dir.path().join("part"), dir.path().join("out.mp4"));
        std::fs::write(&part, b"1").unwrap();
        room.note_publication(&part).unwrap();
        assert!(!was_published_from(&root, &output));
        std::fs::rename(&part, &output).unwrap();
        assert!(was_published_from(&root, &output));
        let other = dir.path().join("other.mp4");
        std::fs::write(&other, b"1").unwrap();
        assert!(!was_published_from(&root, &other));
        drop(room);
        assert!(
            !was_published_from(&root, &output),
            "it ended well and the log knows"
        );
    }

    #[test]
    fn a_room_goes_with_everything_in_it_and_leftovers_are_swept_at_start() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("scratch");
        let scratch = Scratch::open(&root).unwrap();
        let room = scratch.room("a").unwrap();
        std::fs::write(room.file("x"), b"1").unwrap();
        let path = room.path().to_owned();
        drop(room);
        assert!(!path.exists());
        std::fs::create_dir(root.join("left")).unwrap();
        Scratch::open(&root).unwrap();
        assert!(!root.join("left").exists());
    }

    #[tokio::test]
    async fn what_attempts_share_counts_and_what_is_theirs_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::open(&dir.path().join("scratch")).unwrap();
        let scratch = scratch.with_budget(Some(20 << 20));
        let budget = scratch.budget().unwrap();
        let all = budget.free_bytes();
        let room = scratch.room("encode.0.1").unwrap();
        std::fs::write(room.file("x"), vec![1; 2 << 20]).unwrap();
        let blocks = dir.path().join("scratch").join("blocks-1-0");
        std::fs::create_dir(&blocks).unwrap();
        // A hole of a terabyte is nothing.
        let sparse = std::fs::File::create(blocks.join("cache")).unwrap();
        sparse.set_len(1 << 40).unwrap();
        std::fs::write(blocks.join("part"), vec![1; 3 << 20]).unwrap();
        scratch.count_shared();
        let shared = all - budget.free_bytes();
        assert!((3 << 20..4 << 20).contains(&shared), "{shared}");
        std::fs::remove_dir_all(&blocks).unwrap();
        scratch.count_shared();
        assert_eq!(budget.free_bytes(), all);
        assert!(used_bytes(room.path()) >= 2 << 20);
    }

    #[test]
    fn a_disk_that_is_not_full_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::open(&dir.path().join("scratch")).unwrap();
        assert!(scratch.has_room());
        // As after a failure, on a disk that will not have so much for a while.
        scratch.awaited.store(u64::MAX, Ordering::SeqCst);
        assert!(!scratch.has_room());
        scratch.awaited.store(1, Ordering::SeqCst);
        assert!(scratch.has_room() && scratch.awaited.load(Ordering::SeqCst) == 0);
        scratch.was_short();
        let full = scratch.disk_bytes().unwrap() < ROOM_AGAIN;
        assert_eq!(scratch.has_room(), !full);
    }
}
