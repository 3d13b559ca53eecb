//! The one thread that writes.

use super::scan::Position;
use super::{Done, Error, io_error, record, segment_path, sync_dir};
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

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
    dir: PathBuf,
    /// All segment files, oldest first; the last one is written to.
    paths: VecDeque<PathBuf>,
    file: File,
    /// Bytes of the newest file that are written.
    end: u64,
    next: Position,
    synced: u64,
    /// Encoded but not written.
    buffer: Vec<u8>,
    /// Wait for the next flush.
    waiting: Vec<Done>,
    failed: Option<String>,
}

impl Writer {
    /// Goes on in the newest file, whose first `end` bytes are sound; what follows is cut off.
    pub fn go_on(
        dir: &Path,
        path: &Path,
        paths: Vec<PathBuf>,
        end: usize,
        next: Position,
    ) -> Result<Self, Error> {
        let file = OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(io_error(path))?;
        let length = file.metadata().map_err(io_error(path))?.len();
        if length != end as u64 {
            tracing::warn!(
                file = %path.display(),
                bytes = length - end as u64,
                "dropping a torn tail that was never acknowledged"
            );
            file.set_len(end as u64).map_err(io_error(path))?;
        }
        // What was read may still be in memory only, if the process before us died between write and flush.
        file.sync_all().map_err(io_error(path))?;
        Ok(Self::new(dir, paths, file, end as u64, next))
    }

    /// Starts the very first file.
    pub fn found(dir: &Path, records: &[Vec<u8>]) -> Result<Self, Error> {
        let next = Position {
            sequence: 1,
            link: 0,
        };
        let path = segment_path(dir, next.sequence);
        let file = File::create_new(&path).map_err(io_error(&path))?;
        let mut writer = Self::new(dir, vec![path.clone()], file, 0, next);
        for body in records {
            writer.encode(body);
        }
        writer
            .write_buffer()
            .and_then(|()| writer.file.sync_all())
            .map_err(io_error(&path))?;
        sync_dir(dir)?;
        writer.synced = writer.next.sequence - 1;
        Ok(writer)
    }

    /// Writes to a file of the caller's choice.
    #[cfg(test)]
    pub fn on(dir: &Path, path: PathBuf, file: File, next: Position) -> Self {
        Self::new(dir, vec![path], file, 0, next)
    }

    fn new(dir: &Path, paths: Vec<PathBuf>, file: File, end: u64, next: Position) -> Self {
        Self {
            dir: dir.to_owned(),
            paths: paths.into(),
            file,
            end,
            next,
            synced: next.sequence - 1,
            buffer: Vec::new(),
            waiting: Vec::new(),
            failed: None,
        }
    }

    /// Until every handle is gone.
    pub fn run(mut self, inbox: &mpsc::Receiver<Job>) {
        while let Ok(job) = inbox.recv() {
            self.take(job);
            while self.buffer.len() < MOST_GATHERED
                && let Ok(job) = inbox.try_recv()
            {
                self.take(job);
            }
            self.carry_out();
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
                if self.failed.is_none()
                    && let Err(error) = self.remove_oldest(count)
                {
                    self.fail(&with_cause(&error));
                }
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
        if self.failed.is_none() {
            let written = self.write_buffer().and_then(|()| {
                if self.waiting.is_empty() {
                    return Ok(());
                }
                self.file.sync_data()?;
                self.synced = self.next.sequence - 1;
                Ok(())
            });
            if let Err(error) = written {
                self.fail(&error.to_string());
            }
        }
        if self.waiting.is_empty() {
            return;
        }
        for done in self.waiting.drain(..) {
            done(match &self.failed {
                None => Ok(()),
                Some(reason) => Err(io::Error::other(reason.clone())),
            });
        }
        // Says at once that the records before it are durable. Lost in a power cut, but not when only the process
        // dies; without it, damage to the very last record would look like a torn tail.
        if self.failed.is_none() {
            self.encode(&[]);
            if let Err(error) = self.write_buffer() {
                self.fail(&error.to_string());
            }
        }
    }

    fn rotate(&mut self, head: &[u8]) -> Result<(), Error> {
        let old = self.paths.back().expect("there is always one").clone();
        self.file.sync_all().map_err(io_error(&old))?;
        self.synced = self.next.sequence - 1;
        let path = segment_path(&self.dir, self.next.sequence);
        self.file = File::create_new(&path).map_err(io_error(&path))?;
        self.end = 0;
        self.encode(head);
        self.write_buffer()
            .and_then(|()| self.file.sync_all())
            .map_err(io_error(&path))?;
        sync_dir(&self.dir)?;
        self.synced = self.next.sequence - 1;
        self.paths.push_back(path);
        Ok(())
    }

    fn remove_oldest(&mut self, count: usize) -> Result<(), Error> {
        for _ in 0..count.min(self.paths.len() - 1) {
            let path = self.paths.pop_front().expect("more than one is left");
            fs::remove_file(&path).map_err(io_error(&path))?;
            // One at a time, so that files always vanish oldest first.
            sync_dir(&self.dir)?;
        }
        Ok(())
    }

    fn fail(&mut self, reason: &str) {
        tracing::error!(reason, "the log cannot be written; this coordinator stops");
        self.failed = Some(reason.to_owned());
    }
}

/// As callbacks carry it, in one line.
fn with_cause(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
