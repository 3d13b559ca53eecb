//! An append-only log of opaque records in segment files, for one writer.
//!
//! Promises: records are durable when their callback fires, in order; one flush serves everything that waits (group
//! commit); what was acknowledged is either read back on opening or the opening is refused. After the first failed
//! write or flush nothing is written any more, since Linux may have marked unwritten pages clean.
//!
//! It knows nothing of Raft: see [`super::log_store`]. Why not a library: `docs/decisions/0014-raft-log.md`.

mod ahead;
pub(super) mod record;
mod scan;
mod writer;

use super::disk::{Disk, Lock, Real};
use scan::Position;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio::sync::mpsc;

/// Called once, from the writer's thread or task, when the records are durable or never will be.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// A log that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk said no.
    #[error("the log at {path} cannot be read or written")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Another process, or another part of this one, writes to it.
    #[error("{0} is in use by another coordinator: stop that one, or choose another folder")]
    InUse(PathBuf),
    /// Acknowledged records are broken or missing.
    #[error(
        "{path} is damaged at byte {at}: acknowledged records cannot be read, so this coordinator must not start; \
         put the file back from a copy, or start with an empty data folder and submit unfinished jobs again"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        at: usize,
    },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
    move |source| Error::Io {
        path: path.to_owned(),
        source,
    }
}

/// One segment file as found.
#[derive(Debug)]
pub struct Segment {
    /// Bodies of its records.
    pub records: Vec<Vec<u8>>,
}

/// Handle to the writer's thread. Closing or dropping it lets the thread finish what it has and waits for it.
///
/// On a disk whose flushes are waited for, the writer is a task instead, for which nobody waits.
#[derive(Debug)]
pub struct Wal {
    open: Mutex<Option<Open>>,
}

struct Open {
    // Unbounded, but its users wait for the flush of what they sent before they send more.
    jobs: mpsc::UnboundedSender<writer::Job>,
    thread: Option<JoinHandle<()>>,
    /// Given back only when the thread has ended: a second writer would write between its last records.
    lock: Lock,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").finish_non_exhaustive()
    }
}

impl Wal {
    /// Opens the log in `dir`, which exists. Where it is empty, `first` makes the records that found it, durable when
    /// this returns. Files are begun anew at about `segment_bytes`. Returns what each segment file holds, oldest first; at least one.
    /// # Errors
    /// [`Error::Damaged`]: do not start.
    pub fn open(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        segment_bytes: usize,
        first: impl FnOnce() -> Vec<Vec<u8>>,
    ) -> Result<(Self, Vec<Segment>), Error> {
        let lock = disk.lock(dir).map_err(io_error(dir))?;
        let lock = lock.ok_or_else(|| Error::InUse(dir.to_owned()))?;
        ahead::clear(&**disk, dir).map_err(io_error(dir))?;
        let Found {
            mut segments,
            paths,
            tail,
            headless,
        } = find(&**disk, dir)?;
        if let Some(path) = headless {
            disk.remove(&path).map_err(io_error(&path))?;
            sync_dir(&**disk, dir)?;
        }
        let writer = match (paths.last(), tail) {
            (Some(_), Some(tail)) => writer::Writer::go_on(disk, dir, paths, tail)?,
            _ => {
                let records = first();
                let writer = writer::Writer::found(disk, dir, &records)?;
                segments.push(Segment { records });
                writer
            }
        };
        let writer = writer.ahead(segment_bytes as u64);
        let (jobs, inbox) = mpsc::unbounded_channel();
        let thread = match disk.pace() {
            Some(pace) => {
                crate::runtime::spawn(writer.run_at(inbox, pace));
                None
            }
            None => {
                let thread = std::thread::Builder::new().name("raft-log".into());
                let thread = thread.spawn(move || writer.run(inbox));
                Some(thread.map_err(io_error(dir))?)
            }
        };
        Ok((Self::with(jobs, thread, lock), segments))
    }

    fn with(
        jobs: mpsc::UnboundedSender<writer::Job>,
        thread: Option<JoinHandle<()>>,
        lock: Lock,
    ) -> Self {
        Self {
            open: Mutex::new(Some(Open { jobs, thread, lock })),
        }
    }

    /// Writes what was sent, and gives the folder back. Blocks for as long as that takes; later records are refused.
    pub fn close(&self) {
        let open = self
            .open
            .lock()
            .expect("no code panics while it holds this lock")
            .take();
        if let Some(Open { jobs, thread, lock }) = open {
            drop(jobs);
            // A panic in the writer was seen by everybody whose callback it dropped.
            let _ = thread.map(JoinHandle::join);
            drop(lock);
        }
    }

    /// Appends records and calls `done` when they are durable.
    pub fn append(&self, records: Vec<Vec<u8>>, done: Done) {
        self.send(writer::Job::Append {
            records,
            done: Some(done),
        });
    }

    /// Appends a record that may be lost in a crash; it becomes durable with the next one that matters.
    pub fn append_lazily(&self, record: Vec<u8>) {
        self.send(writer::Job::Append {
            records: vec![record],
            done: None,
        });
    }

    /// Starts a new segment file whose first record is `head`.
    pub fn rotate(&self, head: Vec<u8>) {
        self.send(writer::Job::Rotate { head });
    }

    /// Removes the `count` oldest segment files, never the newest.
    pub fn remove_oldest(&self, count: usize) {
        self.send(writer::Job::RemoveOldest { count });
    }

    fn send(&self, job: writer::Job) {
        let open = self
            .open
            .lock()
            .expect("no code panics while it holds this lock");
        let refused = match &*open {
            Some(open) => {
                let sent = open.jobs.send(job);
                sent.err().map(|mpsc::error::SendError(job)| job)
            }
            None => Some(job),
        };
        drop(open);
        if let Some(writer::Job::Append {
            done: Some(done), ..
        }) = refused
        {
            done(Err(io::Error::other("the log is closed")));
        }
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.close();
    }
}

/// What each segment file in `dir` holds, oldest first, for looking at only: nothing is locked, cut off or removed. A
/// coordinator that runs there may be in the middle of a record, which then looks like a torn tail.
/// # Errors
/// As [`Wal::open`].
pub fn read(dir: &Path) -> Result<Vec<Segment>, Error> {
    find(&Real, dir).map(|found| found.segments)
}

/// The end of a file.
struct Tail {
    /// Bytes that are sound.
    end: usize,
    /// Where writing goes on.
    next: Position,
    /// Bytes behind the sound ones up to the last that is not zero.
    torn: usize,
}

/// The sound part of a log.
struct Found {
    segments: Vec<Segment>,
    /// Their files.
    paths: Vec<PathBuf>,
    /// The end of the newest file; `None`: there is no file.
    tail: Option<Tail>,
    /// A newest file whose head never became durable: nothing in it was acknowledged.
    headless: Option<PathBuf>,
}

fn find(disk: &dyn Disk, dir: &Path) -> Result<Found, Error> {
    let mut found = Found {
        segments: Vec::new(),
        paths: segment_paths(disk, dir)?,
        tail: None,
        headless: None,
    };
    for (i, path) in found.paths.clone().into_iter().enumerate() {
        let newest = i + 1 == found.paths.len();
        let bytes = disk.read(&path).map_err(io_error(&path))?;
        let expected = found.tail.as_ref().map(|tail| tail.next);
        let scan = scan::scan(&bytes, expected, newest).map_err(|damage| Error::Damaged {
            path: path.clone(),
            at: damage.at,
        })?;
        if scan.bodies.is_empty() {
            // Its head never became durable. Not the newest: records are missing.
            if !newest {
                return Err(Error::Damaged { path, at: 0 });
            }
            found.paths.pop();
            found.headless = Some(path);
            break;
        }
        let bodies = scan.bodies.into_iter();
        found.segments.push(Segment {
            records: bodies.map(|range| bytes[range].to_vec()).collect(),
        });
        let torn = bytes[scan.end..].iter().rposition(|byte| *byte != 0);
        found.tail = Some(Tail {
            end: scan.end,
            next: scan.next,
            torn: torn.map_or(0, |last| last + 1),
        });
    }
    Ok(found)
}

/// Segment files by first sequence.
fn segment_paths(disk: &dyn Disk, dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut paths = disk.list(dir).map_err(io_error(dir))?;
    paths.retain(|path| path.extension().is_some_and(|e| e == "wal"));
    // Names are zero-padded, so their order is that of the sequences.
    paths.sort();
    Ok(paths)
}

fn segment_path(dir: &Path, sequence: u64) -> PathBuf {
    dir.join(format!("{sequence:020}.wal"))
}

fn sync_dir(disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
    disk.sync_dir(dir).map_err(io_error(dir))
}

#[cfg(test)]
mod tests;
