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
}
