//! Everything that is read from disk or from other coordinators, changed in all kinds of ways: it is taken or refused, and
//! nothing panics. Checksums are made right again in most cases, since behind them the decoders have to hold by themselves.
//!
//! A few cases run with all tests; `make evidence LINE=2.11` runs `log_for_long` and `snapshot_for_long`.

mod log;
mod shelf;
mod snapshot;

use recode_core::{Batch, State};
use recode_testkit::fuzz::{self, Until};

/// Entries of every kind, each by itself, from builds of all formats.
fn batches() -> Vec<Batch> {
    let stored: [&[u8]; 6] = [
        include_bytes!("../../../../core/fixtures/batch-level-3.bin"),
        include_bytes!("../../../../core/fixtures/batch-level-3-split.bin"),
        include_bytes!("../../../../core/fixtures/batch-level-2.bin"),
        include_bytes!("../../../../core/fixtures/batch-level-1.bin"),
        include_bytes!("../../../../core/fixtures/batch-v1.bin"),
        include_bytes!("../../../../core/fixtures/batch-v1-asks.bin"),
    ];
    stored
        .into_iter()
        .flat_map(|bytes| Batch::decode(bytes).expect("old formats read").0)
        .map(|entry| Batch(vec![entry]))
        .collect()
}

/// States as sealed by builds of all formats, and by this one.
fn states() -> Vec<Vec<u8>> {
    let stored: [&[u8]; 6] = [
        include_bytes!("../../../../core/fixtures/state-v5.bin"),
        include_bytes!("../../../../core/fixtures/state-v5-split.bin"),
        include_bytes!("../../../../core/fixtures/state-v4.bin"),
        include_bytes!("../../../../core/fixtures/state-v1.bin"),
        include_bytes!("../../../../core/fixtures/state-v2.bin"),
        include_bytes!("../../../../core/fixtures/state-v3.bin"),
    ];
    let mut all: Vec<Vec<u8>> = stored.map(<[u8]>::to_vec).into();
    let now = stored.map(|bytes| State::decode(bytes).expect("old formats read").encode());
    all.extend(now);
    all
}

/// Makes the checksum right of what `recode_core` seals: 3 bytes of magic, a version, a CRC of all but itself.
fn seal(sealed: &mut [u8]) {
    if sealed.len() >= 8 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&sealed[..4]);
        crc.update(&sealed[8..]);
        sealed[4..8].copy_from_slice(&crc.finalize().to_le_bytes());
    }
}

#[test]
fn no_log_and_no_message_panics() {
    let tally = log::fuzzed(1, Until::Cases(2000));
    assert!(tally.panics.is_empty(), "{:#?}", tally.panics);
    assert!(tally.taken > 100 && tally.taken < tally.cases, "{tally:?}");
}

#[test]
fn no_snapshot_panics() {
    let tally = snapshot::fuzzed(1, Until::Cases(1000));
    assert!(tally.panics.is_empty(), "{:#?}", tally.panics);
    assert!(tally.taken > 10 && tally.taken < tally.cases, "{tally:?}");
}

/// `RECODE_MINUTES=30 cargo test --profile sim -p recode-coordinator --lib -- --ignored --nocapture fuzz::log_for_long`
#[test]
#[ignore = "a measurement"]
fn log_for_long() {
    let (seed, until) = fuzz::wanted();
    log::fuzzed(seed, until).print("log");
}

/// As above.
#[test]
#[ignore = "a measurement"]
fn snapshot_for_long() {
    let (seed, until) = fuzz::wanted();
    snapshot::fuzzed(seed, until).print("snapshot");
}
