//! The little that log and snapshots ask of a disk, so that a simulation can have one that forgets, tears and fills up.

use futures::future::BoxFuture;
use std::any::Any;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Held while a folder is in use.
pub type Lock = Box<dyn Any + Send>;

/// How long the flush that comes next takes; waited for instead of blocking.
pub type Pace = Box<dyn Fn() -> BoxFuture<'static, ()> + Send>;

/// Files and folders.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Makes a folder where it is missing.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// The files of a folder, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// A whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// A new file; an error where there is one.
    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// A file that is there, for writing.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Gives a file another name, which may be taken.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes a folder for one owner; `None`: it has one.
    fn lock(&self, dir: &Path) -> io::Result<Option<Lock>>;
    /// Whether there is room for files of so many bytes before they are needed, and a thread may write them. Asks a lot, so that
    /// a small disk is never full for that.
    fn has_room_ahead(&self, _dir: &Path, _bytes: u64) -> bool {
        false
    }
    /// `None`: flushes block, so whoever flushes often has a thread of its own.
    fn pace(&self) -> Option<Pace> {
        None
    }
}

/// A file that is written to.
pub trait DiskFile: Debug + Send {
    /// Writes all of `bytes` at a place.
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    /// Cuts it, or fills it up with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Its length.
    fn length(&self) -> io::Result<u64>;
    /// Makes its bytes durable, and what is needed to read them.
    fn sync_data(&self) -> io::Result<()>;
    /// Makes everything about it durable.
    fn sync_all(&self) -> io::Result<()>;
}

/// The disk of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Real;

impl Real {
    /// As users of a [`Disk`] keep it.
    pub fn shared() -> Arc<dyn Disk> {
        Arc::new(Self)
    }
}

impl Disk for Real {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(dir)?.map(|e| e.map(|e| e.path())).collect()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::create_new(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().write(true).open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        recode_store::remove_gently(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn has_room_ahead(&self, dir: &Path, bytes: u64) -> bool {
        let free = rustix::fs::statvfs(dir).map(|found| found.f_bavail * found.f_frsize);
        free.is_ok_and(|free| free > 32 * bytes)
    }

    fn lock(&self, dir: &Path) -> io::Result<Option<Lock>> {
        let file = File::create(dir.join("LOCK"))?;
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl DiskFile for File {
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, at)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn sync_all(&self) -> io::Result<()> {
        File::sync_all(self)
    }
}
