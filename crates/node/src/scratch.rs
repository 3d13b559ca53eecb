//! Local disk with a budget: one directory per Attempt, removed when the Attempt ends however it ends.

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
        })
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
}
