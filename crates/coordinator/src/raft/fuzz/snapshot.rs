//! Snapshots: the file around them, their description, and the state inside.

use super::super::snapshot::Snapshots;
use super::super::state_machine::StateMachine;
use super::super::type_config::alias::{LogId, Membership, SnapshotMeta};
use super::shelf::Shelf;
use super::{seal, states};
use fastrand::Rng;
use openraft::{BasicNode, CommittedLeaderId};
use recode_core::State;
use recode_testkit::fuzz::{self, Tally, Until, Verdict, bytes};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn meta() -> SnapshotMeta {
    let last = LogId::new(CommittedLeaderId::new(3, 2), 5001);
    let nodes: BTreeMap<u64, BasicNode> = (1..=3)
        .map(|id| (id, BasicNode::new(format!("10.0.0.{id}:7420"))))
        .collect();
    let voters = vec![BTreeSet::from([1, 2]), BTreeSet::from([1, 2, 3])];
    SnapshotMeta {
        last_log_id: Some(last),
        last_membership: Membership::new(Some(last), openraft::Membership::new(voters, nodes)),
        snapshot_id: last.to_string(),
    }
}

/// A file with the checksum that its content should have. See [`Snapshots`] for the layout.
fn file(meta: &[u8], state: &[u8], length: Option<u32>) -> Vec<u8> {
    let length = length.unwrap_or(meta.len() as u32);
    let rest = [&length.to_le_bytes(), meta, &7u64.to_le_bytes(), state].concat();
    let crc = crc32fast::hash(&rest).to_le_bytes();
    [b"RSNP".as_slice(), &crc, &rest].concat()
}

/// As a coordinator reads it at its start.
fn opens(file: Vec<u8>) -> Verdict {
    let dir = Path::new("/");
    let name = PathBuf::from("/00000000000000005001.snapshot");
    let shelf = Shelf::holding([(name, file)]);
    let opened = Snapshots::open(&shelf, dir).and_then(|s| StateMachine::open(s, None));
    match opened {
        Ok(machine) => {
            machine.shared().look(|state| {
                let again = State::decode(&state.encode());
                assert_eq!(again.as_ref(), Ok(state));
            });
            Verdict::Taken
        }
        Err(_) => Verdict::Refused,
    }
}

fn case(metas: &[Vec<u8>], states: &[Vec<u8>], rng: &mut Rng) -> Verdict {
    let mut meta = metas[rng.usize(..metas.len())].clone();
    let mut state = states[rng.usize(..states.len())].clone();
    match rng.u8(..8) {
        0 => {
            let mut whole = file(&meta, &state, None);
            bytes::mutate(&mut whole, states, rng);
            return opens(whole);
        }
        1 => {
            let length = bytes::edge(rng) as u32;
            return opens(file(&meta, &state, Some(length)));
        }
        2 => bytes::mutate(&mut meta, metas, rng),
        _ => {
            bytes::mutate(&mut state, states, rng);
            seal(&mut state);
        }
    }
    opens(file(&meta, &state, None))
}

pub fn fuzzed(seed: u64, until: Until) -> Tally {
    let states = states();
    let metas = [meta(), SnapshotMeta::default()]
        .map(|meta| postcard::to_allocvec(&meta).expect("plain data always serialises"));
    for state in &states {
        assert_eq!(opens(file(&metas[0], state, None)), Verdict::Taken);
    }
    fuzz::run(seed, until, |rng| case(&metas, &states, rng))
}
