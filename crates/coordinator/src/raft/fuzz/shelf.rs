//! A disk that holds what it is given, and forgets what is written to it.

use super::super::disk::{Disk, DiskFile, Lock};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files by path.
#[derive(Clone, Debug, Default)]
pub struct Shelf(BTreeMap<PathBuf, Vec<u8>>);

/// What becomes of a file that is written to.
#[derive(Debug)]
struct Void {
    len: u64,
}

impl Shelf {
    /// Holds these files.
    pub fn holding(files: impl IntoIterator<Item = (PathBuf, Vec<u8>)>) -> Arc<dyn Disk> {
        Arc::new(Self(files.into_iter().collect()))
    }
}

impl Disk for Shelf {
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.0.keys().cloned().collect())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let found = self.0.get(path).cloned();
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn create_new(&self, _: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(Void { len: 0 }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let len = self.read(path)?.len() as u64;
        Ok(Box::new(Void { len }))
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _: &Path) -> io::Result<Option<Lock>> {
        Ok(Some(Box::new(())))
    }
}

impl DiskFile for Void {
    fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }
}
