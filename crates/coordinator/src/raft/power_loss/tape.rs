//! What three coordinators did to their disks, what they said to each other, and what clients were told, in one order.

use super::super::disk::{Disk, DiskFile, Lock, Real};
use super::super::type_config::CoordinatorId;
use super::ledger::Said;
use recode_types::NodeId;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// Position on the tape.
pub type Moment = usize;

/// A file under whatever name.
pub type Inode = u64;

/// A change of a disk. Writes are on the tape before they begin, flushes after they are through.
#[derive(Clone, Debug)]
pub enum Change {
    Create {
        name: String,
        inode: Inode,
    },
    Write {
        inode: Inode,
        offset: u64,
        bytes: Vec<u8>,
    },
    SetLen {
        inode: Inode,
        len: u64,
    },
    /// What was done to the file before `begun` is durable.
    Synced {
        inode: Inode,
        begun: Moment,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove {
        name: String,
    },
    /// What was done to names before `begun` is durable.
    NamesSynced {
        begun: Moment,
    },
}

#[derive(Clone, Debug)]
pub enum Event {
    Changed(CoordinatorId, Change),
    Said(CoordinatorId, Said),
    /// A client was told that its command is done.
    Answered(String, NodeId),
}

/// Cheap to clone; all clones are one tape.
#[derive(Clone, Debug, Default)]
pub struct Tape(Arc<Mutex<Vec<Event>>>);

impl Tape {
    pub fn record(&self, event: Event) {
        self.events().push(event);
    }

    pub fn now(&self) -> Moment {
        self.events().len()
    }

    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.events())
    }

    fn events(&self) -> MutexGuard<'_, Vec<Event>> {
        self.0.lock().expect("nothing panics with it")
    }
}

/// Files of one folder with their content.
pub type Content = BTreeMap<String, Vec<u8>>;

/// The disk of this machine, with everything that is done to one folder on a tape.
#[derive(Clone, Debug)]
pub struct RecordingDisk {
    voter: CoordinatorId,
    tape: Tape,
    names: Arc<Mutex<Names>>,
}

#[derive(Debug, Default)]
struct Names {
    inodes: BTreeMap<String, Inode>,
    next: Inode,
}

impl RecordingDisk {
    /// For a folder that holds `content` when recording begins; its files have the inodes 0, 1, ... in order.
    pub fn new(voter: CoordinatorId, tape: &Tape, content: &Content) -> Self {
        let inodes: BTreeMap<String, Inode> = content.keys().cloned().zip(0..).collect();
        Self {
            voter,
            tape: tape.clone(),
            names: Arc::new(Mutex::new(Names {
                next: inodes.len() as Inode,
                inodes,
            })),
        }
    }

    fn changed(&self, change: Change) {
        self.tape.record(Event::Changed(self.voter, change));
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().expect("nothing panics with it")
    }

    fn file(&self, inode: Inode, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(RecordingFile {
            disk: self.clone(),
            inode,
            file,
        })
    }
}

fn name(path: &Path) -> String {
    let name = path.file_name().expect("files have names");
    name.to_string_lossy().into_owned()
}

impl Disk for RecordingDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        Real.create_dir_all(dir)
    }

    fn lock(&self, dir: &Path) -> io::Result<Option<Lock>> {
        Real.lock(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        Real.list(dir)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Real.read(path)
    }

    fn create_new(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let name = name(path);
        let inode = {
            let mut names = self.names();
            let inode = names.next;
            names.next += 1;
            names.inodes.insert(name.clone(), inode);
            inode
        };
        self.changed(Change::Create { name, inode });
        Ok(self.file(inode, Real.create_new(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let inode = self.names().inodes[&name(path)];
        Ok(self.file(inode, Real.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (old, new) = (name(from), name(to));
        {
            let mut names = self.names();
            let inode = names.inodes.remove(&old).expect("it was created");
            names.inodes.insert(new.clone(), inode);
        }
        self.changed(Change::Rename { from: old, to: new });
        Real.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let name = name(path);
        self.names().inodes.remove(&name);
        self.changed(Change::Remove { name });
        Real.remove(path)
    }

    fn has_room_ahead(&self, _: &Path, _: u64) -> bool {
        true
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let begun = self.tape.now();
        Real.sync_dir(dir)?;
        self.changed(Change::NamesSynced { begun });
        Ok(())
    }
}

#[derive(Debug)]
struct RecordingFile {
    disk: RecordingDisk,
    inode: Inode,
    file: Box<dyn DiskFile>,
}

impl RecordingFile {
    fn synced(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let begun = self.disk.tape.now();
        sync()?;
        self.disk.changed(Change::Synced {
            inode: self.inode,
            begun,
        });
        Ok(())
    }
}

impl DiskFile for RecordingFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.disk.changed(Change::Write {
            inode: self.inode,
            offset: at,
            bytes: bytes.to_vec(),
        });
        self.file.write_all_at(bytes, at)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.changed(Change::SetLen {
            inode: self.inode,
            len,
        });
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.synced(|| self.file.sync_data())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.synced(|| self.file.sync_all())
    }
}
