//! A make-believe disk. What was not flushed may be lost, torn or come in another order when its process dies; names that
//! were not flushed may be the old ones, as a journal cut anywhere would have them.

use super::world::World;
use crate::rng::Rng;
use futures::future::BoxFuture;
use recode_coordinator::simulated::{Disk, DiskFile, Lock, Pace};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

type Inode = u64;

/// A change of a file's bytes that is not yet durable.
#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

#[derive(Clone, Debug, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

/// A change of names that is not yet durable.
#[derive(Clone, Debug)]
enum Naming {
    Is(PathBuf, Inode),
    Gone(PathBuf),
    Renamed(PathBuf, PathBuf),
}

#[derive(Debug, Default)]
struct Platter {
    /// Handles of an earlier life do nothing any more.
    life: u64,
    next: Inode,
    contents: BTreeMap<Inode, Content>,
    names: BTreeMap<PathBuf, Inode>,
    durable: BTreeMap<PathBuf, Inode>,
    pending: Vec<Naming>,
    full: bool,
}

/// What a crash did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Something that was written is gone.
    pub lost: bool,
    /// A write arrived in part, or without one that came before it.
    pub torn: bool,
}

/// The disk of one machine; outlives its processes.
#[derive(Clone, Debug, Default)]
pub struct Drive(Arc<Mutex<Platter>>);

impl Content {
    fn apply(bytes: &mut Vec<u8>, change: &Change) {
        match change {
            Change::Write(at, new) => {
                let (start, end) = (*at as usize, *at as usize + new.len());
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[start..end].copy_from_slice(new);
            }
            Change::Length(len) => bytes.resize(*len as usize, 0),
        }
    }

    fn change(&mut self, change: Change) {
        Self::apply(&mut self.now, &change);
        self.pending.push(change);
    }

    fn flush(&mut self) {
        for change in self.pending.drain(..) {
            Self::apply(&mut self.durable, &change);
        }
    }

    fn crash(&mut self, rng: &mut Rng) -> Loss {
        let mut loss = Loss::default();
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Write(at, bytes) => match rng.below(4) {
                    0 => Self::apply(&mut self.durable, &Change::Write(at, bytes)),
                    1 | 2 => loss.lost = true,
                    _ => {
                        let kept = rng.index(bytes.len().max(1));
                        let mut part = bytes[..kept.min(bytes.len())].to_vec();
                        if rng.chance(500) {
                            // The file grew before its bytes arrived.
                            part.resize(bytes.len(), 0);
                        }
                        Self::apply(&mut self.durable, &Change::Write(at, part));
                        loss.torn = true;
                    }
                },
                Change::Length(len) => {
                    if rng.chance(500) {
                        Self::apply(&mut self.durable, &Change::Length(len));
                    }
                }
            }
        }
        self.now.clone_from(&self.durable);
        loss
    }
}

fn rename(names: &mut BTreeMap<PathBuf, Inode>, naming: &Naming) {
    match naming {
        Naming::Is(path, inode) => {
            names.insert(path.clone(), *inode);
        }
        Naming::Gone(path) => {
            names.remove(path);
        }
        Naming::Renamed(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
    }
}

impl Platter {
    fn name(&mut self, naming: Naming) {
        rename(&mut self.names, &naming);
        self.pending.push(naming);
    }

    fn content(&mut self, path: &Path) -> io::Result<&mut Content> {
        let inode = self.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.contents.get_mut(inode).expect("named files are kept"))
    }
}

impl Drive {
    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().expect("nothing panics with it")
    }

    /// The process that used it dies, and with it what was not durable.
    pub fn crash(&self, rng: &mut Rng) -> Loss {
        let mut platter = self.platter();
        let platter = &mut *platter;
        platter.life += 1;
        let kept = rng.below(platter.pending.len() as u64 + 1) as usize;
        let pending = std::mem::take(&mut platter.pending);
        for naming in &pending[..kept] {
            rename(&mut platter.durable, naming);
        }
        platter.names = platter.durable.clone();
        let mut loss = Loss::default();
        for content in platter.contents.values_mut() {
            let one = content.crash(rng);
            loss.lost |= one.lost;
            loss.torn |= one.torn;
        }
        let named: Vec<Inode> = platter.names.values().copied().collect();
        platter.contents.retain(|inode, _| named.contains(inode));
        loss
    }

    /// Takes no more bytes, or takes them again.
    pub fn fill(&self, full: bool) {
        self.platter().full = full;
    }

    /// For the process that starts now.
    pub fn mount(&self, world: &Arc<World>, machine: u64) -> Arc<dyn Disk> {
        Arc::new(Mounted {
            drive: self.clone(),
            life: self.platter().life,
            machine,
            world: Arc::downgrade(world),
        })
    }
}

/// A disk as one process sees it.
#[derive(Debug)]
struct Mounted {
    drive: Drive,
    life: u64,
    machine: u64,
    world: Weak<World>,
}

impl Mounted {
    fn platter(&self) -> io::Result<MutexGuard<'_, Platter>> {
        let platter = self.drive.platter();
        if platter.life == self.life {
            Ok(platter)
        } else {
            Err(io::Error::other("this process is dead"))
        }
    }

    fn no_space(&self) -> io::Error {
        if let Some(world) = self.world.upgrade() {
            world.no_space(self.machine);
        }
        io::Error::new(io::ErrorKind::StorageFull, "no space left on device")
    }

    /// Something has begun that takes more than one step: a good moment for a fault.
    fn moment(&self) {
        if let Some(world) = self.world.upgrade() {
            super::chaos::aim(&world, self.machine);
        }
    }

    fn file(&self, inode: Inode) -> Box<dyn DiskFile> {
        let world = self.world.clone();
        Box::new(Opened {
            mounted: Mounted {
                drive: self.drive.clone(),
                world,
                ..*self
            },
            inode,
        })
    }
}

impl Disk for Mounted {
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        self.platter().map(|_| ())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let platter = self.platter()?;
        let inside = platter.names.keys().filter(|p| p.parent() == Some(dir));
        Ok(inside.cloned().collect())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(self.platter()?.content(path)?.now.clone())
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut platter = self.platter()?;
        if platter.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if platter.full {
            drop(platter);
            return Err(self.no_space());
        }
        platter.next += 1;
        let inode = platter.next;
        platter.contents.insert(inode, Content::default());
        platter.name(Naming::Is(path.to_owned(), inode));
        drop(platter);
        self.moment();
        Ok(self.file(inode))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let platter = self.platter()?;
        let inode = platter.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.file(*inode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut platter = self.platter()?;
        platter.content(from)?;
        platter.name(Naming::Renamed(from.to_owned(), to.to_owned()));
        drop(platter);
        self.moment();
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut platter = self.platter()?;
        platter.content(path)?;
        platter.name(Naming::Gone(path.to_owned()));
        drop(platter);
        self.moment();
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        let mut platter = self.platter()?;
        platter.pending.clear();
        platter.durable = platter.names.clone();
        let named: Vec<Inode> = platter.names.values().copied().collect();
        platter.contents.retain(|inode, _| named.contains(inode));
        Ok(())
    }

    fn lock(&self, _: &Path) -> io::Result<Option<Lock>> {
        // One process at a time uses a drive.
        Ok(Some(Box::new(())))
    }

    fn pace(&self) -> Option<Pace> {
        let (world, machine) = (self.world.clone(), self.machine);
        Some(Box::new(move || -> BoxFuture<'static, ()> {
            let took = world.upgrade().map_or(1, |world| world.flush_ms(machine));
            Box::pin(tokio::time::sleep(Duration::from_millis(took)))
        }))
    }
}

#[derive(Debug)]
struct Opened {
    mounted: Mounted,
    inode: Inode,
}

impl Opened {
    fn with<T>(&self, f: impl FnOnce(&mut Content) -> T) -> io::Result<T> {
        let mut platter = self.mounted.platter()?;
        // A file that was removed while it was open is of no interest any more.
        Ok(f(platter.contents.entry(self.inode).or_default()))
    }
}

impl DiskFile for Opened {
    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        if self.mounted.platter()?.full && !bytes.is_empty() {
            // What there was room for.
            let part = bytes[..bytes.len() / 2].to_vec();
            self.with(|content| content.change(Change::Write(at, part)))?;
            return Err(self.mounted.no_space());
        }
        self.with(|content| content.change(Change::Write(at, bytes.to_vec())))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|content| content.change(Change::Length(len)))
    }

    fn length(&self) -> io::Result<u64> {
        self.with(|content| content.now.len() as u64)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(Content::flush)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.with(Content::flush)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounted(drive: &Drive) -> Mounted {
        Mounted {
            drive: drive.clone(),
            life: drive.platter().life,
            machine: 1,
            world: Weak::new(),
        }
    }

    #[test]
    fn what_was_flushed_survives_and_the_rest_survives_in_part() {
        let (dir, path) = (Path::new("/d"), Path::new("/d/f"));
        let (mut lost, mut torn) = (0, 0);
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let drive = Drive::default();
            let disk = mounted(&drive);
            let file = disk.create_new(path).unwrap();
            file.write_all_at(b"durable", 0).unwrap();
            file.sync_data().unwrap();
            disk.sync_dir(dir).unwrap();
            file.write_all_at(b" or not", 7).unwrap();
            let loss = drive.crash(&mut rng);
            assert!(file.sync_data().is_err(), "its process is dead");
            let found = mounted(&drive).read(path).unwrap();
            let written = found.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
            assert!(b"durable or not".starts_with(&found[..written]) && found.len() >= 7);
            lost += u32::from(loss.lost);
            torn += u32::from(loss.torn);
        }
        assert!(lost > 20 && torn > 20, "{lost} lost, {torn} torn");
    }

    #[test]
    fn names_that_were_not_flushed_may_be_the_old_ones() {
        let (dir, old, new) = (Path::new("/d"), Path::new("/d/old"), Path::new("/d/new"));
        let mut kept = 0;
        for seed in 0..50 {
            let drive = Drive::default();
            let disk = mounted(&drive);
            disk.create_new(old).unwrap();
            disk.sync_dir(dir).unwrap();
            disk.rename(old, new).unwrap();
            drive.crash(&mut Rng::new(seed));
            let names = mounted(&drive).list(dir).unwrap();
            assert_eq!(names.len(), 1);
            kept += u32::from(names[0] == new);
        }
        assert!(kept > 5 && kept < 45, "{kept}");
    }
}
