//! The next file of the log, full of zeros before it is needed.
//!
//! A flush of a file that grows is also a commit of the file system's own journal, some hundred a second on each coordinator: they
//! wait for whatever else is in it, and every few seconds for the journal to make room. In a file that has its blocks already, a
//! flush is of its bytes alone.

use super::super::disk::{Disk, DiskFile};
use crate::runtime;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Bytes that are written and flushed at once, so that others do not wait long for the disk.
const PIECE: usize = 256 << 10;

/// Where it is until it is needed. No file of the log, whatever is in it.
pub fn path(dir: &Path) -> PathBuf {
    dir.join("ahead")
}

/// Removes what an earlier process has left.
pub fn clear(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let path = path(dir);
    if disk.list(dir)?.contains(&path) {
        disk.remove(&path)?;
    }
    Ok(())
}

/// Makes files in a thread of its own. Where one is not ready in time, or there is little room, the log does without.
pub struct Ahead {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_bytes: u64,
    /// Once for each file.
    begun: bool,
    making: Option<JoinHandle<Option<Box<dyn DiskFile>>>>,
}

impl Ahead {
    /// For segment files of about so many bytes.
    pub fn new(disk: &Arc<dyn Disk>, dir: &Path, segment_bytes: u64) -> Self {
        Self {
            disk: disk.clone(),
            dir: dir.to_owned(),
            segment_bytes,
            begun: false,
            making: None,
        }
    }

    /// The file, at [`path`], where it is ready. Afterwards another may be made.
    pub fn take(&mut self) -> Option<Box<dyn DiskFile>> {
        let made = self.making.take_if(|making| making.is_finished());
        // One that is late serves later.
        self.begun = self.making.is_some();
        // A panic in it means no file, and is seen on stderr.
        made?.join().ok()?
    }

    /// Begins with the next file when the present one, which has so many bytes, is half full: short logs do without.
    pub fn written(&mut self, bytes: u64) {
        if self.begun || bytes < self.segment_bytes / 2 {
            return;
        }
        self.begun = true;
        // A file is left when it has become too large, and heads of records are not counted.
        let bytes = self.segment_bytes + self.segment_bytes / 8;
        if !self.disk.has_room_ahead(&self.dir, bytes) {
            return;
        }
        let (disk, dir) = (self.disk.clone(), self.dir.clone());
        let make = move || match make(&*disk, &dir, bytes) {
            Ok(file) => Some(file),
            Err(error) => {
                tracing::debug!(%error, "no file of the log is made ahead");
                let _ = clear(&*disk, &dir);
                None
            }
        };
        // Without a thread the log does without.
        self.making = runtime::thread_behind(make).ok();
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if let Some(making) = self.making.take() {
            let _ = making.join();
            let _ = clear(&*self.disk, &self.dir);
        }
    }
}

fn make(disk: &dyn Disk, dir: &Path, bytes: u64) -> io::Result<Box<dyn DiskFile>> {
    clear(disk, dir)?;
    let file = disk.create_new(&path(dir))?;
    let zeros = vec![0; PIECE];
    let mut at = 0;
    while at < bytes {
        let length = zeros.len().min((bytes - at) as usize);
        file.write_all_at(&zeros[..length], at)?;
        file.sync_data()?;
        at += length as u64;
    }
    file.sync_all()?;
    Ok(file)
}
