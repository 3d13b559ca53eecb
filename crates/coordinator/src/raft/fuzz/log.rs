//! Files of the log, the records and entries inside, and what coordinators send each other.

use super::super::log_store::{Founding, LogStore};
use super::super::network;
use super::super::type_config::alias::{Entry, LogId, Vote};
use super::super::type_config::{Proposal, TypeConfig};
use super::super::wal::record;
use super::shelf::Shelf;
use super::{batches, seal};
use fastrand::Rng;
use openraft::raft::{AppendEntriesRequest, InstallSnapshotRequest, VoteRequest};
use openraft::{BasicNode, CommittedLeaderId, EntryPayload, Membership};
use recode_core::Batch;
use recode_testkit::fuzz::{self, Tally, Until, Verdict, bytes};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What cases begin with.
struct Corpus {
    /// Sealed batches.
    batches: Vec<Vec<u8>>,
    /// Records of a log, in an order that makes one.
    records: Vec<Vec<u8>>,
    appends: Vec<Vec<u8>>,
    votes: Vec<Vec<u8>>,
    snapshots: Vec<Vec<u8>>,
}

fn id(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(3, 2), index)
}

fn entries(batches: &[Vec<u8>]) -> Vec<Entry> {
    let nodes: BTreeMap<u64, BasicNode> = (1..=3)
        .map(|id| (id, BasicNode::new(format!("10.0.0.{id}:7420"))))
        .collect();
    let voters = vec![BTreeSet::from([1, 2, 3])];
    let proposals = batches
        .iter()
        .cloned()
        .map(Proposal)
        .map(EntryPayload::Normal);
    let founding = EntryPayload::Membership(Membership::new(voters, nodes));
    (0..)
        .zip([founding, EntryPayload::Blank].into_iter().chain(proposals))
        .map(|(index, payload)| Entry {
            log_id: id(index),
            payload,
        })
        .collect()
}

impl Corpus {
    fn new() -> Self {
        let batches: Vec<Vec<u8>> = batches().iter().map(Batch::encode).collect();
        let entries = entries(&batches);
        let append = |entries: &[Entry]| {
            network::encode(&AppendEntriesRequest::<TypeConfig> {
                vote: Vote::new_committed(3, 2),
                prev_log_id: entries[0].log_id.index.checked_sub(1).map(id),
                entries: entries.to_vec(),
                leader_commit: Some(id(1)),
            })
        };
        let snapshot = InstallSnapshotRequest::<TypeConfig> {
            vote: Vote::new(3, 2),
            meta: openraft::SnapshotMeta {
                last_log_id: Some(id(9)),
                last_membership: openraft::StoredMembership::default(),
                snapshot_id: "3-2-9".into(),
            },
            offset: 4096,
            data: vec![7; 100],
            done: true,
        };
        Self {
            records: LogStore::records_of(&entries, Vote::new(3, 2)),
            appends: entries.chunks(3).map(append).collect(),
            votes: vec![network::encode(&VoteRequest::<u64>::new(
                Vote::new(3, 2),
                Some(id(9)),
            ))],
            snapshots: vec![network::encode(&snapshot)],
            batches,
        }
    }
}

/// A file of the log with these bodies, each known durable by the next.
fn file(bodies: &[Vec<u8>]) -> Vec<u8> {
    let (mut out, mut link) = (Vec::new(), 0);
    for (sequence, body) in (1..).zip(bodies) {
        link = record::write(&mut out, sequence, sequence - 1, link, body);
    }
    out
}

/// As a coordinator reads it at its start.
fn opens(file: Vec<u8>) -> Verdict {
    let name = PathBuf::from("/00000000000000000001.wal");
    let shelf = Shelf::holding([(name, file)]);
    match LogStore::open(&shelf, Path::new("/"), Founding::default(), 8 << 20) {
        Ok(log) => {
            log.close();
            Verdict::Taken
        }
        Err(_) => Verdict::Refused,
    }
}

fn batch(sealed: &[u8]) -> Verdict {
    match Batch::decode(sealed) {
        Ok(batch) => {
            let again = Batch::decode(&batch.encode()).expect("we wrote it");
            assert_eq!(format!("{again:?}"), format!("{batch:?}"));
            Verdict::Taken
        }
        Err(_) => Verdict::Refused,
    }
}

fn message<T: serde::de::DeserializeOwned>(sound: &[Vec<u8>], rng: &mut Rng) -> Verdict {
    let mut payload = sound[rng.usize(..sound.len())].clone();
    bytes::mutate(&mut payload, sound, rng);
    match network::decode::<T>(&payload) {
        Ok(_) => Verdict::Taken,
        Err(_) => Verdict::Refused,
    }
}

fn case(corpus: &Corpus, rng: &mut Rng) -> Verdict {
    match rng.u8(..8) {
        0 => {
            let count = rng.usize(1..=corpus.records.len().min(30));
            let mut whole = file(&corpus.records[..count]);
            bytes::mutate(&mut whole, &corpus.records, rng);
            opens(whole)
        }
        1 | 2 => {
            // Records that are sound by themselves, of other kinds, in another order.
            let count = rng.usize(1..=corpus.records.len().min(30));
            let mut bodies = corpus.records[..count].to_vec();
            for _ in 0..rng.usize(1..4) {
                let at = rng.usize(..count);
                match rng.u8(..3) {
                    0 => bodies.swap(0, at),
                    1 => bodies[at] = corpus.records[rng.usize(..corpus.records.len())].clone(),
                    _ => bytes::mutate(&mut bodies[at], &corpus.records, rng),
                }
            }
            opens(file(&bodies))
        }
        3 => message::<AppendEntriesRequest<TypeConfig>>(&corpus.appends, rng),
        4 => match rng.bool() {
            true => message::<VoteRequest<u64>>(&corpus.votes, rng),
            false => message::<InstallSnapshotRequest<TypeConfig>>(&corpus.snapshots, rng),
        },
        _ => {
            let mut sealed = corpus.batches[rng.usize(..corpus.batches.len())].clone();
            bytes::mutate(&mut sealed, &corpus.batches, rng);
            if rng.u8(..8) != 0 {
                seal(&mut sealed);
            }
            batch(&sealed)
        }
    }
}

pub fn fuzzed(seed: u64, until: Until) -> Tally {
    let corpus = Corpus::new();
    assert_eq!(opens(file(&corpus.records)), Verdict::Taken);
    assert!(corpus.batches.iter().all(|b| batch(b) == Verdict::Taken));
    fuzz::run(seed, until, |rng| case(&corpus, rng))
}

/// Found by [`fuzzed`].
#[test]
fn an_entry_behind_which_there_can_be_none_is_refused() {
    let last = Entry {
        log_id: id(u64::MAX),
        payload: EntryPayload::Blank,
    };
    let records = LogStore::records_of(&[last], Vote::new(3, 2));
    assert_eq!(opens(file(&records)), Verdict::Refused);
}
