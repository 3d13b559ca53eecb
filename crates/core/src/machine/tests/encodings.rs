//! What is written into the log and into snapshots.

use super::*;

/// A log as the first builds wrote it, and the snapshot of version 1 it led to: still read by every later version.
const LOG_V1: &[u8] = include_bytes!("../../../fixtures/batch-v1.bin");
const STATE_V1: &[u8] = include_bytes!("../../../fixtures/state-v1.bin");
/// A log with everything that people may ask for, plain and packed, and the snapshot of version 2 it led to.
const LOG_V1_ASKS: &[u8] = include_bytes!("../../../fixtures/batch-v1-asks.bin");
const LOG_PACKED: &[u8] = include_bytes!("../../../fixtures/batch-packed.bin");
const STATE_V2: &[u8] = include_bytes!("../../../fixtures/state-v2.bin");
/// What feature level 1 brought to both.
const LOG_LEVEL_1: &[u8] = include_bytes!("../../../fixtures/batch-level-1.bin");
const STATE_V3: &[u8] = include_bytes!("../../../fixtures/state-v3.bin");

#[test]
fn encodings_of_version_1_still_read() {
    let log = Batch::decode(LOG_V1).expect("an old log reads");
    let mut state = State::default();
    state.apply_batch(&log);
    let status = state.status(JOB).expect("the job is in the log");
    assert_eq!(status.state, JobState::Done);
    assert_eq!((status.tasks, status.tasks_done), (8, 8));
    assert_eq!(state.jobs[&JOB].used.retries, 1);
    // What the builds of its time did not keep is all that a snapshot of theirs lacks.
    let job = state.jobs.get_mut(&JOB).expect("it is known");
    assert_eq!(job.logs.drain(..).count(), 1);
    assert_eq!(
        State::decode(STATE_V1).expect("an old snapshot reads"),
        state
    );
}

/// Two Jobs, of which one fails, is tried again, is done and archived, the other waits paused; and a drained Node.
fn whole_life() -> Bench {
    let mut bench = Bench::running(small_request());
    bench.apply(Command::SubmitJob {
        request_id: "two".to_owned(),
        job: JobId(9),
        request: Box::new(small_request()),
    });
    bench.apply(Command::Ask {
        job: JobId(9),
        request_id: "three".to_owned(),
        wish: Wish::Pause,
    });
    let attempt = bench.grant(encode(1));
    bench.fail(encode(1), attempt, FailureClass::BadInput);
    bench.ask("four", Wish::Retry);
    bench.ask("", Wish::Pause);
    bench.ask("", Wish::Resume);
    let attempt = bench.grant(encode(1));
    bench.fail(encode(1), attempt, FailureClass::Killed);
    while bench.step(&even_size) {}
    let other = bench.register();
    bench.apply(Command::DrainNode {
        node: other,
        draining: true,
    });
    bench.archive(JOB);
    bench
}

#[test]
fn encodings_of_this_version_are_as_they_were() {
    let bench = whole_life();
    if std::env::var_os("RECODE_WRITE_FIXTURES").is_some() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        let log = Batch(bench.log.clone()).encode();
        std::fs::write(folder.join("batch-packed.bin"), log).unwrap();
    }
    let log = Batch::decode(LOG_PACKED).expect("the log reads");
    assert_eq!(log.encode(), LOG_PACKED);
    assert_eq!(Batch::decode(LOG_V1_ASKS).expect("an old log reads"), log);
    let mut state = State::default();
    state.apply_batch(&log);
    assert_eq!(State::decode(STATE_V2).expect("the snapshot reads"), state);
    assert_eq!(state.archived[&JOB].state, JobState::Done);
    assert!(state.jobs[&JobId(9)].paused && state.nodes[&NodeId(2)].draining);
    assert_eq!(state.wishes.len(), 1, "wishes go with their job");
    // A build that does not know a format says so, and reads nothing.
    let mut newer = STATE_V2.to_vec();
    newer[3] = snapshot::STATE_VERSION + 1;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&newer[..4]);
    hasher.update(&newer[8..]);
    newer[4..8].copy_from_slice(&hasher.finalize().to_le_bytes());
    assert_eq!(
        State::decode(&newer),
        Err(snapshot::FormatError::Version {
            found: snapshot::STATE_VERSION + 1,
            known: snapshot::STATE_VERSION
        })
    );
}

#[test]
fn a_cluster_writes_what_its_slowest_member_reads() {
    let mut bench = whole_life();
    let knob = Knob {
        quality_milli: 23_500,
        peak: None,
        buffer_start_milli: 0,
    };
    let later = Command::TurnKnobs {
        job: JobId(9),
        deep: true,
        output: 1,
        round: 2,
        knobs: vec![(3, knob)],
        reason: "too large".to_owned(),
    };
    let version = |bytes: &[u8]| bytes[3];
    let batch = |command| {
        let entry = Entry { at_ms: 1, command };
        Batch(vec![entry])
    };
    let raise = Command::RaiseLevel { level: 1 };
    assert_eq!(
        version(&batch(raise.clone()).encode()),
        version(LOG_V1_ASKS)
    );
    assert_eq!(version(&bench.state.encode()), 2);
    assert_eq!(bench.apply(raise.clone()), Outcome::Accepted);
    assert_eq!(bench.apply(raise), Outcome::Rejected(Rejected::Outdated));
    let later = batch(later);
    if std::env::var_os("RECODE_WRITE_FIXTURES").is_some() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        std::fs::write(folder.join("batch-level-1.bin"), later.encode()).unwrap();
        std::fs::write(folder.join("state-v3.bin"), bench.state.encode()).unwrap();
    }
    assert_eq!(version(LOG_LEVEL_1), version(LOG_V1_ASKS) + 1);
    assert_eq!(Batch::decode(LOG_LEVEL_1), Ok(later));
    assert_eq!(version(STATE_V3), 3);
    assert_eq!(State::decode(STATE_V3), Ok(bench.state));
}

#[test]
fn knobs_are_turned_in_the_words_of_the_level_and_for_their_own_plan_only() {
    let rendition = rated(Codec::H264, RateControl::Bitrate(200_000));
    let mut bench = Bench::running(request(vec![output("a.mkv", rendition)]));
    while decide::next(&bench.state, JOB).is_empty() {
        assert!(bench.step(&even_size));
    }
    let due = decide::next(&bench.state, JOB);
    assert!(matches!(due[0], Command::SetKnobs { .. }), "{due:?}");
    bench.apply(Command::RaiseLevel { level: 1 });
    let due = decide::next(&bench.state, JOB).remove(0);
    let Command::TurnKnobs { deep: false, .. } = due else {
        panic!("{due:?}");
    };
    let mut other = due.clone();
    if let Command::TurnKnobs { deep, .. } = &mut other {
        *deep = true;
    }
    assert_eq!(bench.apply(other), Outcome::Rejected(Rejected::Outdated));
    assert_eq!(bench.apply(due), Outcome::Accepted);
}

#[test]
fn a_run_that_contradicts_its_plan_is_not_read() {
    let bench = Bench::running(small_request());
    let read_with = |change: fn(&mut run::Run)| {
        let mut state = bench.state.clone();
        let job = state.jobs.get_mut(&JOB).expect("it was submitted");
        let job::Phase::Running(run) = &mut job.phase else {
            panic!("it runs")
        };
        change(run);
        State::decode(&state.encode())
    };
    assert_eq!(read_with(|_| {}), Ok(bench.state.clone()));
    let changes: [fn(&mut run::Run); 9] = [
        |run| std::sync::Arc::make_mut(&mut run.plan).groups[0][0] = 64,
        |run| std::sync::Arc::make_mut(&mut run.plan).groups[0].push(0),
        |run| {
            std::sync::Arc::make_mut(&mut run.plan)
                .groups
                .push(Vec::new())
        },
        |run| std::sync::Arc::make_mut(&mut run.plan).segments[1].first_row += 1,
        |run| run.order = run.order.iter().map(|_| 0).collect(),
        |run| run.order = run.order[1..].into(),
        |run| run.outputs[0].knobs = run.outputs[0].knobs[1..].into(),
        |run| run.outputs[0].chunks = per_segment::PerSegment::empty(4),
        |run| run.outputs.clear(),
    ];
    for (i, change) in changes.into_iter().enumerate() {
        assert!(read_with(change).is_err(), "change {i}");
    }
}

#[test]
fn damaged_bytes_are_refused_whatever_the_bit() {
    for at in 0..LOG_V1.len() {
        let mut bytes = LOG_V1.to_vec();
        bytes[at] ^= 1 << (at % 8);
        assert!(Batch::decode(&bytes).is_err(), "byte {at}");
    }
    for length in 0..LOG_V1.len() {
        assert!(Batch::decode(&LOG_V1[..length]).is_err(), "{length} bytes");
    }
    assert_eq!(
        State::decode(LOG_V1),
        Err(snapshot::FormatError::Kind("snapshot"))
    );
}
