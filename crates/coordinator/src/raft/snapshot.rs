//! Snapshots on disk: `<index>.snapshot`, written under a temporary name, flushed, renamed, and the folder flushed.
//!
//! ```text
//!   0  magic "RSNP"   4  CRC-32 of the rest   8  length of the meta   12  meta (postcard)   …  state, sealed by core
//! ```

use super::type_config::alias::SnapshotMeta;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

const MAGIC: &[u8; 4] = b"RSNP";

/// The folder that holds the snapshots of one coordinator.
#[derive(Clone, Debug)]
pub struct Snapshots {
    dir: PathBuf,
}

impl Snapshots {
    /// Uses `dir`, which exists. Half-written snapshots of an earlier process are removed.
    /// # Errors
    /// What the disk said.
    pub fn open(dir: &Path) -> io::Result<Self> {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "tmp") {
                fs::remove_file(path)?;
            }
        }
        Ok(Self::at(dir))
    }

    /// Uses `dir` for looking at only, whoever else works there.
    pub fn at(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
        }
    }

    /// The newest snapshot, or `None` when there is none yet.
    /// # Errors
    /// A snapshot that does not read is damage: the entries it stands for are purged. Do not start.
    pub fn newest(&self) -> io::Result<Option<(SnapshotMeta, Vec<u8>)>> {
        let Some(path) = self.paths()?.pop() else {
            return Ok(None);
        };
        let bytes = fs::read(&path)?;
        decode(&bytes).map(Some).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{} is damaged, so this coordinator must not start; put the file back from a copy, or start with \
                     an empty data folder and submit unfinished jobs again",
                    path.display()
                ),
            )
        })
    }

    /// Writes a snapshot; when this returns it is durable and older ones are gone.
    /// # Errors
    /// What the disk said; nothing has changed then.
    pub fn write(&self, meta: &SnapshotMeta, state: &[u8]) -> io::Result<()> {
        let index = meta.last_log_id.map_or(0, |id| id.index);
        let path = self.dir.join(format!("{index:020}.snapshot"));
        let temporary = path.with_extension("tmp");
        let mut file = File::create(&temporary)?;
        file.write_all(&encode(meta, state))?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(&self.dir)?.sync_all()?;
        for older in self.paths()?.into_iter().filter(|p| *p < path) {
            fs::remove_file(older)?;
        }
        Ok(())
    }

    fn paths(&self) -> io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|e| e == "snapshot") {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }
}

fn encode(meta: &SnapshotMeta, state: &[u8]) -> Vec<u8> {
    let meta = postcard::to_allocvec(meta).expect("plain data always serialises");
    let mut out = Vec::with_capacity(12 + meta.len() + state.len());
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(meta.len() as u32).to_le_bytes());
    out.extend_from_slice(&meta);
    out.extend_from_slice(state);
    let crc = crc32fast::hash(&out[8..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out
}

fn decode(bytes: &[u8]) -> Option<(SnapshotMeta, Vec<u8>)> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    if bytes.get(..4)? != MAGIC || word(4)? != crc32fast::hash(&bytes[8..]) {
        return None;
    }
    let end = 12usize.checked_add(word(8)? as usize)?;
    let meta = postcard::from_bytes(bytes.get(12..end)?).ok()?;
    Some((meta, bytes[end..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_written_snapshot_is_ignored_and_a_damaged_one_refused() {
        let dir = std::env::temp_dir().join(format!("recode-snapshot-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let snapshots = Snapshots::open(&dir).unwrap();
        assert!(snapshots.newest().unwrap().is_none());
        let meta = SnapshotMeta::default();
        snapshots.write(&meta, b"state").unwrap();
        fs::write(dir.join("00000000000000000009.tmp"), b"half").unwrap();
        let snapshots = Snapshots::open(&dir).unwrap();
        assert_eq!(
            snapshots.newest().unwrap().unwrap(),
            (meta, b"state".to_vec())
        );
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        let path = dir.join("00000000000000000000.snapshot");
        let good = fs::read(&path).unwrap();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bad).unwrap();
            assert!(snapshots.newest().is_err(), "bit {bit}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
