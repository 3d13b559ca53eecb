//! Snapshots on disk: `<index>.snapshot`, written under a temporary name, flushed, renamed, and the folder flushed.
//!
//! ```text
//!   0  magic "RSNP"   4  CRC-32 of the rest   8  length of the meta   12  meta (postcard)   …  state, sealed by core
//! ```

use super::disk::{Disk, DiskFile};
use super::type_config::alias::SnapshotMeta;
use crate::runtime::{self, Polite};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use tokio::sync::watch;

const MAGIC: &[u8; 4] = b"RSNP";
/// What is written is flushed after so many bytes: the log has the same disk, and its flushes wait for whatever comes before
/// them.
const SYNC_EVERY: usize = 512 << 10;
/// Bytes in front of the meta.
const FRONT: usize = 12;

/// The folder that holds the snapshots of one coordinator.
#[derive(Clone, Debug)]
pub struct Snapshots {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// Index of the last entry in the newest one.
    durable: watch::Sender<Option<u64>>,
    writers: Arc<Writers>,
}

/// Who writes: one snapshot may be received while another is built, even of the same entries.
#[derive(Debug, Default)]
struct Writers {
    writing: Mutex<Writing>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Writing {
    now: usize,
    so_far: u64,
    closed: bool,
}

/// One that writes, until it is dropped.
struct Turn<'a> {
    writers: &'a Writers,
    /// None before it had the same.
    number: u64,
}

impl Writers {
    fn begin(&self) -> io::Result<Turn<'_>> {
        let mut writing = self.writing.lock().expect("nothing panics with it");
        if writing.closed {
            return Err(io::Error::other("this coordinator has stopped"));
        }
        writing.now += 1;
        writing.so_far += 1;
        Ok(Turn {
            writers: self,
            number: writing.so_far,
        })
    }

    fn close(&self) {
        let mut writing = self.writing.lock().expect("nothing panics with it");
        writing.closed = true;
        let _writing = self
            .ended
            .wait_while(writing, |writing| writing.now > 0)
            .expect("nothing panics with it");
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut writing = self.writers.writing.lock().expect("nothing panics with it");
        writing.now -= 1;
        self.writers.ended.notify_all();
    }
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
            writers: Arc::default(),
        }
    }

    /// Waits for whoever still writes, and lets nobody begin again: the folder is another's from now on. Blocks.
    pub fn close(&self) {
        self.writers.close();
    }

    /// Index of the last entry in the newest snapshot that is durable.
    pub fn durable(&self) -> watch::Receiver<Option<u64>> {
        self.durable.subscribe()
    }

    /// The newest snapshot, or `None` when there is none yet.
    /// # Errors
    /// A snapshot that does not read is damage: the entries it stands for are purged. Do not start.
    pub fn newest(&self) -> io::Result<Option<Kept>> {
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
        match Kept::read(bytes) {
            Some(kept) => Ok(Some(kept)),
            // A newer one was written meanwhile and this one shrinks.
            None if self.paths()?.pop() != Some(path.clone()) => self.newest(),
            None => Err(damaged(&path)),
        }
    }

    /// The newest snapshot under a second name, for reading while newer ones take its place; `None` when there is none yet. On
    /// the disk of this machine. Blocks.
    /// # Errors
    /// As [`Snapshots::newest`].
    pub fn lend(&self) -> io::Result<Option<Lent>> {
        let (newest, path, index) = loop {
            let Some(newest) = self.paths()?.pop() else {
                return Ok(None);
            };
            let index = index_of(&newest).unwrap_or(0);
            // Cleared away with what is half written, should this process end before it does that.
            let lent = newest.with_extension("lent.tmp");
            match fs::hard_link(&newest, &lent) {
                Ok(()) => break (newest, lent, index),
                // A newer one was written meanwhile and this one removed.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                // Of a removal that failed: one is lent at a time.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => fs::remove_file(&lent)?,
                Err(e) => return Err(e),
            }
        };
        let lent = Lent { index, path };
        match is_whole(&mut Polite(File::open(&lent.path)?))? {
            true => Ok(Some(lent)),
            false => Err(damaged(&newest)),
        }
    }

    /// Writes a snapshot; when this returns it is durable and older ones are gone.
    /// # Errors
    /// What the disk said; nothing has changed then.
    pub fn write(&self, meta: &SnapshotMeta, state: &[u8]) -> io::Result<()> {
        self.write_in_pieces(meta, |sink| sink.write_all(state).map(|()| []))
    }

    /// As [`Snapshots::write`], of a state that is nowhere as a whole: `state` writes all of it but its head, which is known
    /// last and answered.
    /// # Errors
    /// What the disk said; nothing has changed then.
    pub fn write_in_pieces<const HEAD: usize>(
        &self,
        meta: &SnapshotMeta,
        state: impl FnOnce(&mut dyn io::Write) -> io::Result<[u8; HEAD]>,
    ) -> io::Result<()> {
        let index = meta.last_log_id.map_or(0, |id| id.index);
        let path = self.dir.join(format!("{index:020}.snapshot"));
        let turn = self.writers.begin()?;
        let temporary = path.with_extension(format!("{}.tmp", turn.number));
        let file = self.disk.create_new(&temporary)?;
        let mut front = vec![0; FRONT];
        front.extend(postcard::to_allocvec(meta).expect("plain data always serialises"));
        let length = (front.len() - FRONT) as u32;
        let mut content = Content {
            file: file.as_ref(),
            at: (front.len() + HEAD) as u64,
            crc: crc32fast::Hasher::new(),
            unsynced: 0,
        };
        front.extend(state(&mut content)?);
        front[..4].copy_from_slice(MAGIC);
        front[8..FRONT].copy_from_slice(&length.to_le_bytes());
        let mut crc = crc32fast::Hasher::new();
        crc.update(&front[8..]);
        crc.combine(&content.crc);
        front[4..8].copy_from_slice(&crc.finalize().to_le_bytes());
        file.write_all_at(&front, 0)?;
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

/// A snapshot that stays on disk until this is dropped.
#[derive(Debug)]
pub struct Lent {
    /// Index of the last entry in it.
    pub index: u64,
    /// Where it is.
    pub path: PathBuf,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Err(error) = recode_store::remove_gently(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a lent snapshot stays until the next start");
        }
    }
}

fn damaged(path: &Path) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!(
            "{} is damaged, so this coordinator must not start; put the file back from a copy, or start with an empty data \
             folder and submit unfinished jobs again",
            path.display()
        ),
    )
}

/// Whether the checksum of a file is right, which is read a piece at a time.
fn is_whole(file: &mut impl Read) -> io::Result<bool> {
    let mut head = [0; 8];
    if file.read_exact(&mut head).is_err() {
        return Ok(false);
    }
    let mut crc = crc32fast::Hasher::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            length => crc.update(&piece[..length]),
        }
    }
    Ok(head[..4] == *MAGIC && head[4..] == crc.finalize().to_le_bytes())
}

fn index_of(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.parse().ok()
}

/// What follows the heads of a file that is being written.
struct Content<'a> {
    file: &'a dyn DiskFile,
    at: u64,
    crc: crc32fast::Hasher,
    unsynced: usize,
}

impl io::Write for Content<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        self.crc.update(bytes);
        self.unsynced += bytes.len();
        if self.unsynced >= SYNC_EVERY {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        runtime::others_first();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A snapshot that was read from disk, and is whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// Its description.
    pub meta: SnapshotMeta,
    file: Vec<u8>,
    /// Where its state begins.
    state: usize,
}

impl Kept {
    /// Takes the bytes of a file; `None`: it is damaged, or no snapshot.
    pub fn read(file: Vec<u8>) -> Option<Self> {
        let word = |at: usize| Some(u32::from_le_bytes(file.get(at..at + 4)?.try_into().ok()?));
        if file.get(..4)? != MAGIC || word(4)? != crc32fast::hash(file.get(8..)?) {
            return None;
        }
        let state = FRONT.checked_add(word(8)? as usize)?;
        let meta = postcard::from_bytes(file.get(FRONT..state)?).ok()?;
        Some(Self { meta, file, state })
    }

    /// The state in it.
    pub fn state(&self) -> &[u8] {
        &self.file[self.state..]
    }

    /// The state in it, alone.
    pub fn into_state(mut self) -> Vec<u8> {
        self.file.drain(..self.state);
        self.file
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::Real;
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn two_that_write_the_same_do_not_meet() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(&Real::shared(), dir.path()).unwrap();
        let meta = SnapshotMeta::default();
        // The second begins and ends in the midst of the first.
        let first = |sink: &mut dyn io::Write| {
            sink.write_all(b"at")?;
            snapshots.write(&meta, b"state")?;
            sink.write_all(b"e").map(|()| *b"st")
        };
        snapshots.write_in_pieces(&meta, first).unwrap();
        assert_eq!(snapshots.newest().unwrap().unwrap().state(), b"state");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn closing_waits_for_whoever_writes_and_nobody_writes_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(&Real::shared(), dir.path()).unwrap();
        let (begun, has_begun) = mpsc::channel();
        let (go, may_go) = mpsc::channel();
        let writes = snapshots.clone();
        let writing = std::thread::spawn(move || {
            writes.write_in_pieces(&SnapshotMeta::default(), |sink| {
                begun.send(()).unwrap();
                may_go.recv().unwrap();
                sink.write_all(b"e").map(|()| *b"stat")
            })
        });
        has_begun.recv().unwrap();
        let closes = snapshots.clone();
        let closing = std::thread::spawn(move || {
            closes.close();
            closes.newest().unwrap().map(Kept::into_state)
        });
        while !snapshots.writers.writing.lock().unwrap().closed {
            std::thread::yield_now();
        }
        assert!(snapshots.write(&SnapshotMeta::default(), b"late").is_err());
        go.send(()).unwrap();
        writing.join().unwrap().unwrap();
        assert_eq!(closing.join().unwrap().as_deref(), Some(&b"state"[..]));
    }

    #[test]
    fn a_half_written_snapshot_is_ignored_and_a_damaged_one_refused() {
        let dir = std::env::temp_dir().join(format!("recode-snapshot-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let snapshots = Snapshots::open(&Real::shared(), &dir).unwrap();
        assert!(snapshots.newest().unwrap().is_none());
        let meta = SnapshotMeta::default();
        assert!(snapshots.lend().unwrap().is_none());
        snapshots.write(&meta, b"state").unwrap();
        let path = dir.join("00000000000000000000.snapshot");
        let good = fs::read(&path).unwrap();
        fs::write(dir.join("00000000000000000009.tmp"), b"half").unwrap();
        let lent = snapshots.lend().unwrap().unwrap();
        assert_eq!(lent.index, 0);
        assert_eq!(fs::read(&lent.path).unwrap(), good);
        drop(lent);
        let snapshots = Snapshots::open(&Real::shared(), &dir).unwrap();
        let kept = snapshots.newest().unwrap().unwrap();
        assert_eq!((&kept.meta, kept.state()), (&meta, &b"state"[..]));
        assert_eq!(kept.into_state(), b"state");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        let in_pieces = |sink: &mut dyn io::Write| {
            sink.write_all(b"at")?;
            sink.write_all(b"e").map(|()| *b"st")
        };
        snapshots.write_in_pieces(&meta, in_pieces).unwrap();
        assert_eq!(fs::read(&path).unwrap(), good);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bad).unwrap();
            assert!(snapshots.newest().is_err(), "bit {bit}");
            assert!(snapshots.lend().is_err(), "bit {bit}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }
}
