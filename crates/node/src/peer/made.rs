//! The Chunks that this node made lately, for whichever node of its site joins them.
//!
//! They are in the store too, so that whatever is missing here costs bytes and nothing else. Found by digest alone: nobody reads
//! anything of which it does not know what it is.

use super::lock;
use crate::scratch;
use bytes::Bytes;
use recode_types::{ArtifactRef, Digest};
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// A Chunk that nobody has joined after so long belongs to a Job that is over, or in no hurry.
const LONGEST: Duration = Duration::from_secs(6 * 3600);

/// See the module.
pub struct Fresh {
    dir: PathBuf,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    sizes: HashMap<Digest, u64>,
    /// The oldest first.
    order: VecDeque<(Digest, Instant)>,
    bytes: u64,
}

impl Fresh {
    /// None yet, in a directory of its own.
    /// # Errors
    /// Scratch cannot be used.
    pub fn create(dir: &Path) -> Result<Self, scratch::Error> {
        std::fs::create_dir_all(dir).map_err(|source| scratch::Error::Unusable {
            path: dir.to_owned(),
            source,
        })?;
        Ok(Self {
            dir: dir.to_owned(),
            kept: Mutex::default(),
        })
    }

    /// Takes the file at `path`, within `most` bytes in all: the oldest make room, and one that is larger than that is removed.
    /// # Errors
    /// What the operating system says.
    pub fn keep(
        &self,
        chunk: &ArtifactRef,
        path: &Path,
        most: u64,
        now: Instant,
    ) -> std::io::Result<()> {
        let mut kept = lock(&self.kept);
        if chunk.size_bytes > most || kept.sizes.contains_key(&chunk.digest) {
            return std::fs::remove_file(path);
        }
        self.make_room(&mut kept, most - chunk.size_bytes);
        std::fs::rename(path, self.file(&chunk.digest))?;
        kept.sizes.insert(chunk.digest, chunk.size_bytes);
        kept.order.push_back((chunk.digest, now));
        kept.bytes += chunk.size_bytes;
        Ok(())
    }

    /// A Chunk, for as long as the answer is held; `None`: it is not here.
    pub fn open(&self, digest: &Digest, size_bytes: u64) -> Option<Made> {
        let kept = lock(&self.kept);
        (kept.sizes.get(digest) == Some(&size_bytes)).then_some(())?;
        let file = File::open(self.file(digest)).ok()?;
        Some(Made { file })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        lock(&self.kept).sizes.is_empty()
    }

    /// Keeps no more than so many bytes.
    pub fn shrink(&self, most: u64) {
        self.make_room(&mut lock(&self.kept), most);
    }

    /// Removes what nobody will ask for any more.
    pub fn tidy(&self, now: Instant) {
        let mut kept = lock(&self.kept);
        let old = |(_, since): &(Digest, Instant)| now.saturating_duration_since(*since) >= LONGEST;
        while kept.order.front().is_some_and(old) {
            self.remove_oldest(&mut kept);
        }
    }

    fn make_room(&self, kept: &mut Kept, most: u64) {
        while kept.bytes > most && !kept.order.is_empty() {
            self.remove_oldest(kept);
        }
    }

    fn remove_oldest(&self, kept: &mut Kept) {
        let Some((digest, _)) = kept.order.pop_front() else {
            return;
        };
        kept.bytes -= kept.sizes.remove(&digest).unwrap_or(0);
        // One that is being read is there until that is over.
        if let Err(error) = std::fs::remove_file(self.file(&digest)) {
            tracing::debug!(%error, %digest, "a chunk that was kept is gone");
        }
    }

    fn file(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.to_string())
    }
}

/// A Chunk that is here.
pub struct Made {
    file: File,
}

impl Made {
    /// Exactly these bytes of it.
    /// # Errors
    /// What the operating system says.
    pub fn read(&self, range: Range<u64>) -> std::io::Result<Bytes> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        self.file.read_exact_at(&mut bytes, range.start)?;
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(dir: &Path, number: u8, bytes: usize) -> (ArtifactRef, PathBuf) {
        let path = dir.join(format!("made-{number}"));
        let content = vec![number; bytes];
        std::fs::write(&path, &content).unwrap();
        let chunk = ArtifactRef {
            key: format!("chunk-{number}"),
            size_bytes: bytes as u64,
            digest: Digest::of(&content),
        };
        (chunk, path)
    }

    #[test]
    fn the_oldest_make_room_and_what_is_being_read_is_read_to_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let fresh = Fresh::create(&dir.path().join("kept")).unwrap();
        let now = Instant::now();
        let all: Vec<_> = (0..4).map(|n| made(dir.path(), n, 1000)).collect();
        let open = |n: usize| fresh.open(&all[n].0.digest, 1000);
        for (chunk, path) in &all[..3] {
            fresh.keep(chunk, path, 3000, now).unwrap();
            assert!(!path.exists());
        }
        let reading = open(0).expect("it is kept");
        assert!(fresh.open(&all[0].0.digest, 999).is_none());
        fresh.keep(&all[3].0, &all[3].1, 3000, now).unwrap();
        assert!(open(0).is_none() && open(1).is_some() && open(3).is_some());
        assert_eq!(reading.read(990..1000).unwrap(), [0; 10][..]);
        assert!(reading.read(990..1001).is_err());
        fresh.shrink(1500);
        assert!(open(2).is_none() && open(3).is_some());
        let (large, path) = made(dir.path(), 9, 5000);
        fresh.keep(&large, &path, 3000, now).unwrap();
        assert!(!path.exists() && open(3).is_some(), "no room for it");
        fresh.tidy(now + LONGEST);
        assert!(fresh.is_empty());
        let left = std::fs::read_dir(dir.path().join("kept")).unwrap().count();
        assert_eq!(left, 0);
    }
}
