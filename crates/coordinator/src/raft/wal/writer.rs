//! The one thread that writes.

use super::super::disk::{Disk, DiskFile, Pace};
use super::ahead::{self, Ahead};
use super::scan::Position;
use super::{Done, Error, Tail, io_error, record, segment_path, sync_dir};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;

/// The most bytes gathered before a flush, so that one does not take for ever.
const MOST_GATHERED: usize = 4 << 20;

pub enum Job {
    Append {
        records: Vec<Vec<u8>>,
        done: Option<Done>,
    },
    Rotate {
        head: Vec<u8>,
    },
    RemoveOldest {
        count: usize,
    },
}

pub struct Writer {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// All segment files, oldest first; the last one is written to.
    paths: VecDeque<PathBuf>,
    file: Box<dyn DiskFile>,
    /// Bytes of the newest file that are written.
    end: u64,
    next: Position,
    synced: u64,
    /// Encoded but not written.
    buffer: Vec<u8>,
    /// Wait for the next flush.
    waiting: Vec<Done>,
    /// So many of the oldest files may go.
    unneeded: usize,
    ahead: Option<Ahead>,
    failed: Option<String>,
}

impl Writer {
    /// Goes on at the end of the newest file; what is torn there is cut off.
    pub fn go_on(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        paths: Vec<PathBuf>,
        tail: Tail,
    ) -> Result<Self, Error> {
        let path = paths.last().expect("it has a tail").clone();
        let file = disk.open(&path).map_err(io_error(&path))?;
        let end = tail.end as u64;
        if tail.torn > 0 {
            tracing::warn!(
                file = %path.display(),
                bytes = tail.torn,
                "dropping a torn tail that was never acknowledged"
            );
            file.set_len(end).map_err(io_error(&path))?;
        }
        // What was read may still be in memory only, if the process before us died between write and flush.
        file.sync_all().map_err(io_error(&path))?;
        let mut writer = Self::new(disk, dir, paths, file, end, tail.next);
        writer.mark().map_err(io_error(&path))?;
        Ok(writer)
    }

    /// Has the files to come made before they are needed, of about so many bytes.
    pub fn ahead(mut self, segment_bytes: u64) -> Self {
        self.ahead = Some(Ahead::new(&self.disk, &self.dir, segment_bytes));
        self
    }

    /// Starts the very first file.
    pub fn found(disk: &Arc<dyn Disk>, dir: &Path, records: &[Vec<u8>]) -> Result<Self, Error> {
        let next = Position {
            sequence: 1,
            link: 0,
        };
        let path = segment_path(dir, next.sequence);
        let file = disk.create_new(&path).map_err(io_error(&path))?;
        let mut writer = Self::new(disk, dir, vec![path.clone()], file, 0, next);
        for body in records {
            writer.encode(body);
        }
        writer
            .write_buffer()
            .and_then(|()| writer.file.sync_all())
            .map_err(io_error(&path))?;
        sync_dir(&**disk, dir)?;
        writer.synced = writer.next.sequence - 1;
        Ok(writer)
    }

    /// Writes to a file of the caller's choice.
    #[cfg(test)]
    pub fn on(dir: &Path, path: PathBuf, file: std::fs::File, next: Position) -> Self {
        let disk = super::super::disk::Real::shared();
        Self::new(&disk, dir, vec![path], Box::new(file), 0, next)
    }

    fn new(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        paths: Vec<PathBuf>,
        file: Box<dyn DiskFile>,
        end: u64,
        next: Position,
    ) -> Self {
        Self {
            disk: disk.clone(),
            dir: dir.to_owned(),
            paths: paths.into(),
            file,
            end,
            next,
            synced: next.sequence - 1,
            buffer: Vec::new(),
            waiting: Vec::new(),
            unneeded: 0,
            ahead: None,
            failed: None,
        }
    }

    /// Until every handle is gone. Blocks.
    pub fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Job>) {
        loop {
            let job = match self.unneeded {
                0 => inbox.blocking_recv(),
                _ => inbox.try_recv().ok(),
            };
            match job {
                Some(job) => {
                    self.gather(job, &mut inbox);
                    self.carry_out();
                }
                None if self.unneeded == 0 => return,
                None => {}
            }
            self.remove_one();
        }
    }

    /// The same on a disk whose flushes are waited for.
    pub async fn run_at(mut self, mut inbox: mpsc::UnboundedReceiver<Job>, pace: Pace) {
        loop {
            let job = match self.unneeded {
                0 => inbox.recv().await,
                _ => inbox.try_recv().ok(),
            };
            match job {
                Some(job) => {
                    self.gather(job, &mut inbox);
                    self.write();
                    if !self.waiting.is_empty() {
                        pace().await;
                    }
                    self.flush();
                }
                None if self.unneeded == 0 => return,
                None => {}
            }
            self.remove_one();
        }
    }

    fn gather(&mut self, first: Job, inbox: &mut mpsc::UnboundedReceiver<Job>) {
        self.take(first);
        while self.buffer.len() < MOST_GATHERED
            && let Ok(job) = inbox.try_recv()
        {
            self.take(job);
        }
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Append { records, done } => {
                for body in &records {
                    self.encode(body);
                }
                self.waiting.extend(done);
            }
            Job::Rotate { head } => {
                self.carry_out();
                if self.failed.is_none()
                    && let Err(error) = self.rotate(&head)
                {
                    self.fail(&with_cause(&error));
                }
            }
            Job::RemoveOldest { count } => {
                self.carry_out();
                // Of those there are now, and never the newest.
                self.unneeded = (self.unneeded + count).min(self.paths.len() - 1);
            }
        }
    }

    fn encode(&mut self, body: &[u8]) {
        self.next.link = record::write(
            &mut self.buffer,
            self.next.sequence,
            self.synced,
            self.next.link,
            body,
        );
        self.next.sequence += 1;
    }

    fn write_buffer(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer, self.end)?;
        self.end += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what was gathered and, where anybody waits, flushes and tells them.
    fn carry_out(&mut self) {
        self.write();
        self.flush();
    }

    fn write(&mut self) {
        if self.failed.is_none()
            && let Err(error) = self.write_buffer()
        {
            self.fail(&error.to_string());
        }
    }

    /// Makes durable what is written and tells who waits for it.
    fn flush(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        if self.failed.is_none()
            && let Err(error) = self.sync()
        {
            self.fail(&error.to_string());
        }
        for done in self.waiting.drain(..) {
            done(match &self.failed {
                None => Ok(()),
                Some(reason) => Err(io::Error::other(reason.clone())),
            });
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        if !planted!(FlushForgotten) {
            self.file.sync_data()?;
        }
        self.synced = self.next.sequence - 1;
        if let Some(ahead) = &mut self.ahead {
            ahead.written(self.end);
        }
        self.mark()
    }

    /// Says that the records before it are durable, before anybody hears so. Lost in a power cut, but not when only the
    /// process dies; without it, damage to the very last record would look like a torn tail.
    fn mark(&mut self) -> io::Result<()> {
        self.encode(&[]);
        self.write_buffer()
    }

    fn rotate(&mut self, head: &[u8]) -> Result<(), Error> {
        let old = self.paths.back().expect("there is always one").clone();
        self.file.sync_all().map_err(io_error(&old))?;
        self.synced = self.next.sequence - 1;
        let path = segment_path(&self.dir, self.next.sequence);
        self.file = match self.ahead.as_mut().and_then(Ahead::take) {
            Some(file) => {
                self.disk
                    .rename(&ahead::path(&self.dir), &path)
                    .map_err(io_error(&path))?;
                file
            }
            None => self.disk.create_new(&path).map_err(io_error(&path))?,
        };
        self.end = 0;
        self.encode(head);
        self.write_buffer()
            .and_then(|()| self.file.sync_all())
            .map_err(io_error(&path))?;
        if !planted!(DirNotSynced) {
            sync_dir(&*self.disk, &self.dir)?;
        }
        self.synced = self.next.sequence - 1;
        self.paths.push_back(path);
        Ok(())
    }

    /// Removes the oldest file where it may go: one between two flushes, so that none of them waits long, and files always vanish
    /// oldest first.
    fn remove_one(&mut self) {
        if self.unneeded == 0 {
            return;
        }
        self.unneeded -= 1;
        if self.failed.is_none()
            && let Err(error) = self.remove_oldest()
        {
            self.fail(&with_cause(&error));
        }
    }

    fn remove_oldest(&mut self) -> Result<(), Error> {
        let path = self.paths.pop_front().expect("more than one is left");
        self.disk.remove(&path).map_err(io_error(&path))?;
        sync_dir(&*self.disk, &self.dir)
    }

    fn fail(&mut self, reason: &str) {
        let reason = format!(
            "the log in {} cannot be written: {reason}: make room on the disk, or replace it, and start again; nothing \
             acknowledged is lost",
            self.dir.display()
        );
        tracing::error!(reason, "this coordinator stops");
        self.failed = Some(reason);
    }
}

/// As callbacks carry it, in one line.
fn with_cause(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
