//! Raft's log and vote over [`super::wal`].
//!
//! Every change is one record; the entries since the last purge are kept in memory too, since openraft reads each of
//! them back to apply it. Each segment file begins with a head that repeats the vote and the bounds of the log, so that
//! older files can go when all their entries are purged.

use super::disk::Disk;
use super::type_config::TypeConfig;
use super::type_config::alias::{Entry, LogId, StorageError, Vote};
use super::wal::{self, Segment, Wal};
use crate::runtime;
use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader, StorageIOError};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::{Arc, RwLock};
use tokio::sync::{oneshot, watch};

/// One record of the log file. New variants go to the end: the position is the encoding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Record {
    Head(Head),
    Entry(Entry),
    Vote(Vote),
    Committed(Option<LogId>),
    /// Entries from here on are gone.
    Truncate(u64),
    /// Entries up to here are gone.
    Purge(LogId),
}

impl Record {
    /// The entries that it names.
    fn ids(&self) -> impl Iterator<Item = LogId> {
        let (first, second) = match self {
            Self::Head(head) => (head.committed, head.purged),
            Self::Entry(entry) => (Some(entry.log_id), None),
            Self::Committed(id) => (*id, None),
            Self::Purge(id) => (Some(*id), None),
            Self::Vote(_) | Self::Truncate(_) => (None, None),
        };
        first.into_iter().chain(second)
    }
}

/// What a segment file needs to know of those before it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Head {
    /// Layout of the records that follow.
    version: u32,
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    /// Index that the next entry will have.
    next_index: u64,
}

/// Layout written now.
const VERSION: u32 = 1;

fn encode(record: &Record) -> Vec<u8> {
    postcard::to_allocvec(record).expect("plain data always serialises")
}

/// The log as it is in memory.
#[derive(Debug, Default)]
struct Log {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    /// Consecutive, directly after `purged` unless a file was left out while reading.
    entries: VecDeque<Entry>,
    /// For each segment file, the index below which all entries must be purged before it may go.
    files: VecDeque<u64>,
    /// Bytes in the newest file.
    bytes: usize,
    /// Bytes written since this process began.
    written: u64,
}

impl Log {
    fn last(&self) -> Option<LogId> {
        self.entries.back().map(|e| e.log_id).or(self.purged)
    }

    fn next_index(&self) -> u64 {
        self.last().map_or(0, |id| id.index + 1)
    }

    fn first_index(&self) -> u64 {
        self.entries
            .front()
            .map_or(self.next_index(), |e| e.log_id.index)
    }

    fn head(&self) -> Head {
        Head {
            version: VERSION,
            vote: self.vote,
            committed: self.committed,
            purged: self.purged,
            next_index: self.next_index(),
        }
    }

    fn push(&mut self, entry: Entry) {
        if let Some(file) = self.files.back_mut() {
            *file = (*file).max(entry.log_id.index + 1);
        }
        self.entries.push_back(entry);
    }

    fn truncate(&mut self, from: u64) {
        let keep = from.saturating_sub(self.first_index()) as usize;
        self.entries.truncate(keep);
    }

    /// Answers what is not needed any more.
    fn purge(&mut self, upto: LogId) -> VecDeque<Entry> {
        self.purged = Some(upto);
        let kept = self
            .entries
            .partition_point(|e| e.log_id.index <= upto.index);
        let kept = self.entries.split_off(kept);
        std::mem::replace(&mut self.entries, kept)
    }

    /// How many of the oldest files hold nothing that is needed.
    fn unneeded(&mut self) -> usize {
        let bound = self.purged.map_or(0, |id| id.index + 1);
        let mut count = 0;
        while self.files.len() > 1 && self.files[0] <= bound {
            self.files.pop_front();
            count += 1;
        }
        count
    }

    fn range(&self, range: impl RangeBounds<u64>) -> Vec<Entry> {
        let base = self.first_index();
        let at = |bound: Bound<&u64>, inclusive: u64, open: u64| match bound {
            Bound::Included(i) => i.saturating_add(inclusive),
            Bound::Excluded(i) => i.saturating_add(1 - inclusive),
            Bound::Unbounded => open,
        };
        let start = at(range.start_bound(), 0, base).max(base) - base;
        let end = at(range.end_bound(), 1, u64::MAX).max(base) - base;
        let end = (end as usize).min(self.entries.len());
        let start = (start as usize).min(end);
        self.entries.range(start..end).cloned().collect()
    }

    /// Rebuilds it from what the files hold.
    fn replay(segments: &[Segment]) -> Result<Self, String> {
        let mut log = Self::default();
        for segment in segments {
            log.bytes = 0;
            for (i, body) in segment.records.iter().enumerate() {
                log.bytes += body.len();
                if body.is_empty() {
                    continue;
                }
                let record: Record = postcard::from_bytes(body).map_err(|e| e.to_string())?;
                if record.ids().any(|id| id.index == u64::MAX) {
                    return Err("no log is that long".into());
                }
                match record {
                    Record::Head(head) if i == 0 => {
                        if head.version != VERSION {
                            return Err(format!(
                                "written in layout {}, this build reads {VERSION}: use the newer build",
                                head.version
                            ));
                        }
                        if log.files.is_empty() {
                            log.vote = head.vote;
                            log.committed = head.committed;
                            log.purged = head.purged;
                        }
                        log.files.push_back(head.next_index);
                    }
                    _ if i == 0 => return Err("a file does not begin with a head".into()),
                    Record::Head(_) => return Err("a head stands inside a file".into()),
                    Record::Entry(entry) => {
                        let expected = log.entries.back().map(|e| e.log_id.index + 1);
                        if expected.is_some_and(|index| index != entry.log_id.index) {
                            return Err(format!("entry {} is missing", expected.unwrap_or(0)));
                        }
                        log.push(entry);
                    }
                    Record::Vote(vote) => log.vote = Some(vote),
                    Record::Committed(id) => log.committed = id,
                    Record::Truncate(from) => log.truncate(from),
                    Record::Purge(upto) => drop(log.purge(upto)),
                }
            }
        }
        let purged_next = log.purged.map_or(0, |id| id.index + 1);
        if log.first_index() > purged_next {
            return Err(format!("entry {purged_next} is missing"));
        }
        Ok(log)
    }
}

fn contradicts(dir: &Path, reason: String) -> wal::Error {
    wal::Error::Io {
        path: dir.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, reason),
    }
}

/// What a log says.
#[derive(Debug)]
pub struct Contents {
    /// The newest vote.
    pub vote: Option<Vote>,
    /// The last entry known to be committed; written lazily, so more may be.
    pub committed: Option<LogId>,
    /// The last entry that is gone since a snapshot holds it.
    pub purged: Option<LogId>,
    /// All others, consecutive.
    pub entries: Vec<Entry>,
}

/// Looks at the log in `dir`, and changes nothing.
/// # Errors
/// As [`LogStore::open`].
pub fn read(dir: &Path) -> Result<Contents, wal::Error> {
    let log = Log::replay(&wal::read(dir)?).map_err(|reason| contradicts(dir, reason))?;
    Ok(Contents {
        vote: log.vote,
        committed: log.committed,
        purged: log.purged,
        entries: log.entries.into(),
    })
}

/// The log and vote of this coordinator. Cheap to clone; all clones are the same log.
#[derive(Clone, Debug)]
pub struct LogStore {
    log: Arc<RwLock<Log>>,
    wal: Arc<Wal>,
    /// A new segment file is begun when the newest holds this much.
    segment_bytes: usize,
    /// How far snapshots on disk reach; `None`: there are none beside this log.
    snapshots: Option<watch::Receiver<Option<u64>>>,
}

/// What an empty folder starts with.
#[derive(Clone, Debug, Default)]
pub struct Founding {
    /// The first vote, where there is only one voter and thus nobody to ask.
    pub vote: Option<Vote>,
    /// What a snapshot beside it holds already.
    pub purged: Option<LogId>,
    /// The first entries.
    pub entries: Vec<Entry>,
}

impl LogStore {
    /// Opens the log in `dir`, which exists.
    /// # Errors
    /// [`wal::Error`]: do not start.
    pub fn open(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        founding: Founding,
        segment_bytes: usize,
    ) -> Result<Self, wal::Error> {
        let (wal, segments) = Wal::open(disk, dir, segment_bytes, || {
            let head = Head {
                version: VERSION,
                purged: founding.purged,
                next_index: founding.purged.map_or(0, |id| id.index + 1),
                ..Head::default()
            };
            let vote = founding.vote.map(Record::Vote);
            let entries = founding.entries.into_iter().map(Record::Entry);
            std::iter::once(Record::Head(head))
                .chain(entries)
                .chain(vote)
                .map(|record| encode(&record))
                .collect()
        })?;
        let log = Log::replay(&segments).map_err(|reason| contradicts(dir, reason))?;
        Ok(Self {
            log: Arc::new(RwLock::new(log)),
            wal: Arc::new(wal),
            segment_bytes,
            snapshots: None,
        })
    }

    /// Entries are purged only when a snapshot that holds them is durable: `durable` says how far the newest reaches.
    pub fn beside(self, durable: watch::Receiver<Option<u64>>) -> Self {
        Self {
            snapshots: Some(durable),
            ..self
        }
    }

    /// Bytes written since this process began.
    pub fn written(&self) -> u64 {
        self.read(|log| log.written)
    }

    /// What the first file of a log holds that begins with these entries.
    #[cfg(test)]
    pub fn records_of(entries: &[Entry], vote: Vote) -> Vec<Vec<u8>> {
        let last = entries.last().map(|entry| entry.log_id);
        let head = Head {
            version: VERSION,
            ..Head::default()
        };
        [Record::Head(head), Record::Vote(vote)]
            .into_iter()
            .chain(entries.iter().cloned().map(Record::Entry))
            .chain([Record::Committed(last)])
            .map(|record| encode(&record))
            .collect()
    }

    /// Writes what was sent, and gives the folder back. Blocks for as long as that takes.
    pub fn close(&self) {
        self.wal.close();
    }

    fn read<T>(&self, f: impl FnOnce(&Log) -> T) -> T {
        f(&self
            .log
            .read()
            .expect("no code panics while it holds this lock"))
    }

    /// Changes memory and queues the records, in one step, so that their order in the file is the order in memory.
    fn change(&self, records: &[Record], done: Option<wal::Done>, change: impl FnOnce(&mut Log)) {
        let bodies: Vec<Vec<u8>> = records.iter().map(encode).collect();
        let mut log = self
            .log
            .write()
            .expect("no code panics while it holds this lock");
        if log.bytes > self.segment_bytes {
            let mut head = log.head();
            if planted!(VoteLostInRotation) {
                head.vote = None;
            }
            log.files.push_back(head.next_index);
            log.bytes = 0;
            self.wal.rotate(encode(&Record::Head(head)));
        }
        let length = bodies.iter().map(Vec::len).sum::<usize>();
        log.bytes += length;
        log.written += length as u64;
        change(&mut log);
        match done {
            Some(done) => self.wal.append(bodies, done),
            None => bodies
                .into_iter()
                .for_each(|body| self.wal.append_lazily(body)),
        }
    }

    /// As [`LogStore::change`], and waits until it is durable.
    async fn change_durably(
        &self,
        record: Record,
        change: impl FnOnce(&mut Log),
    ) -> Result<(), io::Error> {
        let (tx, rx) = oneshot::channel();
        let done: wal::Done = Box::new(move |result| {
            // Nobody listens when the caller was dropped; the record is written all the same.
            let _ = tx.send(result);
        });
        self.change(&[record], Some(done), change);
        rx.await
            .unwrap_or_else(|_| Err(io::Error::other("the log's writer has ended")))
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        Ok(self.read(|log| log.range(range)))
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        Ok(self.read(|log| LogState {
            last_purged_log_id: log.purged,
            last_log_id: log.last(),
        }))
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let vote = *vote;
        if planted!(VoteNotSynced) {
            self.change(&[Record::Vote(vote)], None, |log| log.vote = Some(vote));
            return Ok(());
        }
        self.change_durably(Record::Vote(vote), |log| log.vote = Some(vote))
            .await
            .map_err(|e| StorageIOError::write_vote(&e).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.read(|log| log.vote))
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        // A hint: a restart that misses it learns of the commit again.
        self.change(&[Record::Committed(committed)], None, |log| {
            log.committed = committed;
        });
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        // It may be newer than the log after a crash: lazily written records are not ordered with a power cut.
        Ok(self.read(|log| log.committed.filter(|id| Some(*id) <= log.last())))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<TypeConfig>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let mut records: Vec<Record> = entries.iter().cloned().map(Record::Entry).collect();
        if planted!(AppendReordered) {
            records.reverse();
        }
        if planted!(AppendNotSynced) {
            self.change(&records, None, |log| {
                entries.into_iter().for_each(|entry| log.push(entry));
            });
            callback.log_io_completed(Ok(()));
            return Ok(());
        }
        let done: wal::Done = Box::new(move |result| callback.log_io_completed(result));
        self.change(&records, Some(done), |log| {
            entries.into_iter().for_each(|entry| log.push(entry));
        });
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        if planted!(TruncateNotWritten) {
            let mut log = self.log.write().expect("nothing panics with it");
            log.truncate(log_id.index);
            return Ok(());
        }
        self.change_durably(Record::Truncate(log_id.index), |log| {
            log.truncate(log_id.index);
        })
        .await
        .map_err(|e| StorageIOError::write_logs(&e).into())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        // A follower that receives a snapshot is told to purge while that is still being written, and would take and confirm
        // later entries meanwhile. Openraft does nothing else until this returns.
        if let Some(snapshots) = &mut self.snapshots {
            let covered = snapshots.wait_for(|last| *last >= Some(log_id.index)).await;
            covered.map_err(|e| StorageError::from(StorageIOError::write_logs(&e)))?;
        }
        let mut gone = VecDeque::new();
        self.change_durably(Record::Purge(log_id), |log| gone = log.purge(log_id))
            .await
            .map_err(|e| StorageError::from(StorageIOError::write_logs(&e)))?;
        // Tens of megabytes in small pieces take as many milliseconds.
        runtime::spawn(runtime::behind(move || drop(gone)));
        let unneeded = self
            .log
            .write()
            .expect("no code panics while it holds this lock")
            .unneeded();
        if unneeded > 0 {
            self.wal.remove_oldest(unneeded);
        }
        Ok(())
    }
}
