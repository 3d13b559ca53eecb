//! Single bits flip in what a killed process has left on disk.
//!
//! Not in what a loss of power has left before anybody has opened it: there the mark behind the very last record may be
//! lost, and a flipped bit in that record cannot be told from a torn write. Opening sets the mark again.

use super::super::CoordinatorId;
use super::super::disk::Real;
use super::super::log_store::{Founding, LogStore};
use super::super::snapshot::Snapshots;
use super::Counts;
use super::history::{History, SMALL, lay_out};
use super::ledger::{Found, Ledger};
use super::tape::Content;
use super::voters::{VOTERS, Wires};
use fastrand::Rng;
use openraft::RaftLogReader as _;
use recode_core::State;
use std::collections::BTreeMap;
use std::path::Path;

/// Flips tried on what is left at one moment.
const ON_ONE: usize = 50;

/// What is read from a folder.
#[derive(PartialEq)]
struct Readout {
    found: Found,
    /// The entries as they lie in memory.
    entries: Vec<Vec<u8>>,
    snapshot: Option<(Vec<u8>, State)>,
}

/// What came of a flip.
enum Outcome {
    Refused,
    Same,
    /// The end of the log is gone, of which nobody was told.
    Unpromised,
    Missed(String),
}

/// Tries `count` flips, in logs and snapshots in turn.
pub async fn try_some(
    history: &History,
    dir: &Path,
    count: usize,
    rng: &mut Rng,
    counts: &mut Counts,
) {
    let mut tried = 0;
    while tried < count {
        let voter = VOTERS[rng.usize(..3)];
        // Every second time what lies there when all is quiet.
        let moment = match rng.bool() {
            true => history.end(),
            false => rng.usize(history.begun()..=history.end()),
        };
        let content = history.replayed(voter, moment).whole();
        let ledger = history.ledger(voter, moment);
        lay_out(dir, &of(voter, &content)).expect("the disk takes it");
        let Ok(before) = read(&dir.join(voter.to_string())).await else {
            counts
                .missed
                .push(format!("what is left at {moment} is refused"));
            return;
        };
        for _ in 0..ON_ONE {
            let Some((name, bit)) = draw(&content, rng) else {
                break;
            };
            let flip = Flip {
                content: &content,
                name: &name,
                bit,
            };
            match judge(voter, flip, dir, &before, &ledger).await {
                Outcome::Refused => counts.refused += 1,
                Outcome::Same => counts.same += 1,
                Outcome::Unpromised => counts.unpromised += 1,
                Outcome::Missed(problem) => {
                    let problem = format!("bit {bit} of {name} at {moment}: {problem}");
                    counts.missed.push(problem);
                }
            }
            match name.ends_with(".wal") {
                true => counts.flips_in_log += 1,
                false => counts.flips_in_snapshot += 1,
            }
            tried += 1;
        }
        // A moment before the first file: try another.
        tried += usize::from(content.is_empty());
    }
}

fn of(voter: CoordinatorId, content: &Content) -> BTreeMap<CoordinatorId, Content> {
    BTreeMap::from([(voter, content.clone())])
}

/// A bit of a log or of a snapshot, as often of the one as of the other.
fn draw(content: &Content, rng: &mut Rng) -> Option<(String, usize)> {
    let ending = if rng.bool() { ".wal" } else { ".snapshot" };
    let of_kind = |(name, bytes): &(&String, &Vec<u8>)| name.ends_with(ending) && !bytes.is_empty();
    let mut files: Vec<(&String, &Vec<u8>)> = content.iter().filter(of_kind).collect();
    if files.is_empty() {
        files = content
            .iter()
            .filter(|(_, bytes)| !bytes.is_empty())
            .collect();
    }
    if files.is_empty() {
        return None;
    }
    let (name, bytes) = files[rng.usize(..files.len())];
    Some((name.clone(), rng.usize(..bytes.len() * 8)))
}

async fn read(folder: &Path) -> Result<Readout, String> {
    let disk = Real::shared();
    let mut log = LogStore::open(&disk, folder, Founding::default(), SMALL.segment_bytes)
        .map_err(|e| e.to_string())?;
    let snapshot = Snapshots::open(&disk, folder)
        .and_then(|snapshots| snapshots.newest())
        .map_err(|e| e.to_string())?;
    let entries = log.try_get_log_entries(..).await.expect("from memory");
    let last = snapshot.as_ref().and_then(|kept| kept.meta.last_log_id);
    let found = Found::of(&mut log, last).await;
    log.close();
    let state = |sealed: &[u8]| State::decode(&sealed[8..]).map_err(|e| e.to_string());
    Ok(Readout {
        found,
        entries: entries
            .iter()
            .map(|entry| postcard::to_allocvec(entry).expect("plain data always serialises"))
            .collect(),
        snapshot: match snapshot {
            Some(kept) => {
                let meta = postcard::to_allocvec(&kept.meta).expect("plain data always serialises");
                Some((meta, state(kept.state())?))
            }
            None => None,
        },
    })
}

/// One bit of what lies there.
#[derive(Clone, Copy)]
struct Flip<'a> {
    content: &'a Content,
    name: &'a str,
    bit: usize,
}

impl Flip<'_> {
    /// What lies there with the bit flipped.
    fn done(&self) -> Content {
        let mut content = self.content.clone();
        let bytes = content.get_mut(self.name).expect("it was drawn");
        bytes[self.bit / 8] ^= 1 << (self.bit % 8);
        content
    }

    /// What lies there without the record that the bit is in, and whatever follows that; `None`: it is in no record of a log.
    fn cut(&self) -> Option<Content> {
        let mut content = self.content.clone();
        let bytes = content.get_mut(self.name).expect("it was drawn");
        let mut start = 0;
        // See `wal/record.rs` for what a record looks like.
        while bytes.get(start..)?.starts_with(b"RWAL") {
            let body = bytes.get(start + 4..start + 8)?;
            let body = u32::from_le_bytes(body.try_into().expect("four bytes"));
            let next = start + 36 + body as usize;
            if self.bit / 8 < next {
                bytes[start..].fill(0);
                return Some(content);
            }
            start = next;
        }
        None
    }
}

async fn judge(
    voter: CoordinatorId,
    flip: Flip<'_>,
    dir: &Path,
    before: &Readout,
    ledger: &Ledger,
) -> Outcome {
    let flipped = flip.done();
    lay_out(dir, &of(voter, &flipped)).expect("the disk takes it");
    let folder = dir.join(voter.to_string());
    if let Ok(after) = read(&folder).await {
        if after == *before {
            return Outcome::Same;
        }
        if let Err(problem) = ledger.kept(&after.found) {
            return Outcome::Missed(problem);
        }
        // What nobody was told of may go as if it had never been written: entries, and as well that others are gone.
        let Some(cut) = flip.cut() else {
            return Outcome::Missed("something else is read".into());
        };
        lay_out(dir, &of(voter, &cut)).expect("the disk takes it");
        return match read(&folder).await {
            Ok(without) if without == after => Outcome::Unpromised,
            _ => Outcome::Missed("it is read otherwise than without its record".into()),
        };
    }
    lay_out(dir, &of(voter, &flipped)).expect("the disk takes it");
    let wires = Wires::default();
    match wires.start(voter, &folder, SMALL, &Real::shared()).await {
        Err(_) if wires.calls() == 0 => Outcome::Refused,
        Err(_) => Outcome::Missed("refused after it had spoken".into()),
        Ok(()) => {
            wires.stop(voter).await;
            Outcome::Missed("it was refused once, and started then".into())
        }
    }
}
