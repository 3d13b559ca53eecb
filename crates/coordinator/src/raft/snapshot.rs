//! Snapshots on disk: `<index>.snapshot`, written under a temporary name, flushed, renamed, and the folder flushed.
//!
//! ```text
//!   0  magic "RSNP"   4  CRC-32 of the rest   8  length of the meta   12  meta (postcard)   …  state, sealed by core
//! ```

use super::disk::Disk;
use super::type_config::alias::SnapshotMeta;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::watch;

const MAGIC: &[u8; 4] = b"RSNP";

/// The folder that holds the snapshots of one coordinator.
#[derive(Clone, Debug)]
pub struct Snapshots {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Index of the last entry in the newest one.
    durable: watch::Sender<Option<u64>>,
}

impl Snapshots {
    /// Uses `dir`, which exists. Half-written snapshots of an earlier process are removed.
    /// # Errors
    /// What the disk said.
    pub fn open(disk: &Arc<dyn Disk>, dir: &Path) -> io::Result<Self> {
        for path in disk.list(dir)? {
            if path.extension().is_some_and(|e| e == "tmp") {
                disk.remove(&path)?;
            }
        }
        let this = Self::at(disk.clone(), dir);
        // One that does not read stops whoever reads it.
        let newest = this.paths()?.pop();
        this.durable
            .send_replace(newest.as_deref().and_then(index_of));
        Ok(this)
    }

    /// Uses `dir` for looking at only, whoever else works there.
    pub fn at(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        Self {
            disk,
            dir: dir.to_owned(),
            durable: watch::Sender::new(None),
        }
    }

    /// Index of the last entry in the newest snapshot that is durable.
    pub fn durable(&self) -> watch::Receiver<Option<u64>> {
        self.durable.subscribe()
    }

    /// The newest snapshot, or `None` when there is none yet.
    /// # Errors
    /// A snapshot that does not read is damage: the entries it stands for are purged. Do not start.
    pub fn newest(&self) -> io::Result<Option<(SnapshotMeta, Vec<u8>)>> {
        let found = self.read_newest()?;
        Ok(found.map(|(_, snapshot)| snapshot))
    }

    /// The whole file of the newest snapshot, which reads, and the index of the last entry in it.
    /// # Errors
    /// As [`Snapshots::newest`].
    pub fn newest_file(&self) -> io::Result<Option<(u64, Vec<u8>)>> {
        let found = self.read_newest()?;
        Ok(found.map(|(file, (meta, _))| (meta.last_log_id.map_or(0, |id| id.index), file)))
    }

    #[expect(clippy::type_complexity, reason = "a file and what it says")]
    fn read_newest(&self) -> io::Result<Option<(Vec<u8>, (SnapshotMeta, Vec<u8>))>> {
        let (path, bytes) = loop {
            let Some(path) = self.paths()?.pop() else {
                return Ok(None);
            };
            match self.disk.read(&path) {
                Ok(bytes) => break (path, bytes),
                // A newer one was written meanwhile and this one removed.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        };
        let Some(snapshot) = decode(&bytes) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{} is damaged, so this coordinator must not start; put the file back from a copy, or start with \
                     an empty data folder and submit unfinished jobs again",
                    path.display()
                ),
            ));
        };
        Ok(Some((bytes, snapshot)))
    }

    /// Writes a snapshot; when this returns it is durable and older ones are gone.
    /// # Errors
    /// What the disk said; nothing has changed then.
    pub fn write(&self, meta: &SnapshotMeta, state: &[u8]) -> io::Result<()> {
        let index = meta.last_log_id.map_or(0, |id| id.index);
        let path = self.dir.join(format!("{index:020}.snapshot"));
        let temporary = path.with_extension("tmp");
        if self.disk.list(&self.dir)?.contains(&temporary) {
            // Of a write that failed.
            self.disk.remove(&temporary)?;
        }
        let file = self.disk.create_new(&temporary)?;
        file.write_all_at(&encode(meta, state), 0)?;
        if !planted!(SnapshotNotSynced) {
            file.sync_all()?;
        }
        self.disk.rename(&temporary, &path)?;
        self.disk.sync_dir(&self.dir)?;
        self.durable
            .send_modify(|known| *known = (*known).max(Some(index)));
        for older in self.paths()?.into_iter().filter(|p| *p < path) {
            match self.disk.remove(&older) {
                // One that was received while another was built: both clean up.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
        Ok(())
    }

    fn paths(&self) -> io::Result<Vec<PathBuf>> {
        let mut paths = self.disk.list(&self.dir)?;
        paths.retain(|path| path.extension().is_some_and(|e| e == "snapshot"));
        paths.sort();
        Ok(paths)
    }
}

fn index_of(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.parse().ok()
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

/// What a file holds; `None`: it is damaged, or no snapshot.
pub fn decode(bytes: &[u8]) -> Option<(SnapshotMeta, Vec<u8>)> {
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
    use super::super::disk::Real;
    use super::*;
    use std::fs;

    #[test]
    fn a_half_written_snapshot_is_ignored_and_a_damaged_one_refused() {
        let dir = std::env::temp_dir().join(format!("recode-snapshot-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let snapshots = Snapshots::open(&Real::shared(), &dir).unwrap();
        assert!(snapshots.newest().unwrap().is_none());
        let meta = SnapshotMeta::default();
        snapshots.write(&meta, b"state").unwrap();
        fs::write(dir.join("00000000000000000009.tmp"), b"half").unwrap();
        let snapshots = Snapshots::open(&Real::shared(), &dir).unwrap();
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
