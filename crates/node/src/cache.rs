//! Finished Chunks kept beyond their Job, found again by content address. A byte budget, oldest use goes first.
//!
//! One file per Chunk, named `<address>-<build>.chunk`: first a line of JSON with the [`ChunkFacts`], then the Chunk's
//! bytes. The address covers what was asked, the build is the identity of the FFmpeg that made it and of how it is told.
//! Several processes may share one directory: files appear by rename and a missing file is a miss.

use recode_types::Digest;
use recode_types::task::ChunkFacts;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// A directory of kept Chunks.
#[derive(Clone, Debug)]
pub struct ChunkCache {
    dir: PathBuf,
    budget_bytes: u64,
}

impl ChunkCache {
    /// Keeps at most `budget_bytes` in `dir`, which is made on first use.
    pub fn new(dir: PathBuf, budget_bytes: u64) -> Self {
        Self { dir, budget_bytes }
    }

    fn file(&self, address: &Digest, build: &Digest) -> PathBuf {
        self.dir.join(format!("{address}-{build}.chunk"))
    }

    /// A kept Chunk, copied to `to` and verified. Anything odd is a miss.
    pub fn find(&self, address: &Digest, build: &Digest, to: &Path) -> Option<ChunkFacts> {
        let path = self.file(address, build);
        let mut reader = BufReader::new(std::fs::File::open(&path).ok()?);
        let mut head = String::new();
        reader.read_line(&mut head).ok()?;
        let facts: ChunkFacts = serde_json::from_str(&head).ok()?;
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).ok()?;
        if Digest::of(&bytes) != facts.artifact.digest {
            tracing::warn!(path = %path.display(), "a kept chunk is damaged; it is made again");
            let _ = std::fs::remove_file(&path);
            return None;
        }
        std::fs::write(to, &bytes).ok()?;
        // The time of last use orders eviction.
        let _ =
            std::fs::File::open(&path).and_then(|f| f.set_modified(std::time::SystemTime::now()));
        Some(facts)
    }

    /// Keeps a Chunk. Failing to is no failure of the Attempt.
    pub fn keep(&self, build: &Digest, facts: &ChunkFacts, bytes: &Path) {
        if let Err(error) = self.try_keep(build, facts, bytes) {
            tracing::warn!(%error, dir = %self.dir.display(), "a chunk could not be kept in the cache");
        }
    }

    fn try_keep(&self, build: &Digest, facts: &ChunkFacts, bytes: &Path) -> std::io::Result<()> {
        let size = std::fs::metadata(bytes)?.len();
        if size > self.budget_bytes {
            return Ok(());
        }
        std::fs::create_dir_all(&self.dir)?;
        let to = self.file(&facts.address, build);
        let part = to.with_extension(format!("part{}", std::process::id()));
        let mut file = std::fs::File::create(&part)?;
        serde_json::to_writer(&mut file, facts)?;
        file.write_all(b"\n")?;
        std::io::copy(&mut std::fs::File::open(bytes)?, &mut file)?;
        std::fs::rename(&part, &to)?;
        self.evict()
    }

    fn evict(&self) -> std::io::Result<()> {
        let mut kept = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let entry = entry?;
            let Ok(meta) = entry.metadata() else { continue };
            if entry.path().extension().is_some_and(|e| e == "chunk") {
                kept.push((meta.modified()?, meta.len(), entry.path()));
            }
        }
        let mut total: u64 = kept.iter().map(|k| k.1).sum();
        kept.sort();
        for (_, size, path) in kept {
            if total <= self.budget_bytes {
                break;
            }
            match std::fs::remove_file(&path) {
                Ok(()) => total -= size,
                // Another process was first.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => total -= size,
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::ArtifactRef;

    fn facts(address: u8, bytes: &[u8]) -> ChunkFacts {
        ChunkFacts {
            output: 0,
            segment: 0,
            address: Digest([address; 32]),
            artifact: ArtifactRef {
                key: "k".into(),
                size_bytes: bytes.len() as u64,
                digest: Digest::of(bytes),
            },
            frames: 1,
            payload_bytes: 1,
            params: Digest([0; 32]),
            signature_before: None,
            signature_first: 1,
            signature_last: 1,
            signature_after: None,
            score_frames: None,
            scores: Vec::new(),
            reused: false,
        }
    }

    #[test]
    fn chunks_come_back_whole_or_not_at_all_and_the_oldest_goes_first() {
        let dir = tempfile::tempdir().unwrap();
        let build = Digest([9; 32]);
        let bytes = dir.path().join("made");
        std::fs::write(&bytes, vec![7; 4000]).unwrap();
        let cache = ChunkCache::new(dir.path().join("cache"), 10_000);
        let out = dir.path().join("out");
        for n in 0..3 {
            cache.keep(&build, &facts(n, &[7; 4000]), &bytes);
            let old =
                std::time::SystemTime::now() - std::time::Duration::from_secs(100 - u64::from(n));
            if n < 2 {
                let file = std::fs::File::open(cache.file(&Digest([n; 32]), &build)).unwrap();
                file.set_modified(old).unwrap();
            }
        }
        assert!(
            cache.find(&Digest([0; 32]), &build, &out).is_none(),
            "the oldest was evicted"
        );
        assert_eq!(
            cache.find(&Digest([2; 32]), &build, &out).unwrap().address,
            Digest([2; 32])
        );
        assert_eq!(std::fs::read(&out).unwrap(), vec![7; 4000]);
        assert!(
            cache
                .find(&Digest([2; 32]), &Digest([8; 32]), &out)
                .is_none(),
            "another build"
        );
        let path = cache.file(&Digest([1; 32]), &build);
        let mut damaged = std::fs::read(&path).unwrap();
        *damaged.last_mut().unwrap() ^= 1;
        std::fs::write(&path, damaged).unwrap();
        assert!(
            cache.find(&Digest([1; 32]), &build, &out).is_none(),
            "a damaged chunk is a miss"
        );
        assert!(!path.exists());
    }
}
