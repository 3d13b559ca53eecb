//! The life of a Job, command by command; every step is checked against all invariants by [`Bench::apply`].

use super::*;
use crate::fixture::*;
use recode_types::event::EventKind;
use recode_types::rendition::RateControl;
use recode_types::task::{FailureClass, TaskResult, Work};
use recode_types::{Codec, TaskKey};

const PROBE: TaskKey = TaskKey::Probe { deep: false };
const STITCH: TaskKey = TaskKey::Stitch { output: 0 };

fn encode(segment: u32) -> TaskKey {
    TaskKey::Encode { group: 0, segment }
}

#[test]
fn a_job_goes_from_probe_to_done() {
    let mut bench = Bench::submitted(small_request());
    assert_eq!(bench.ready(), [PROBE]);
    bench.probe(false);
    assert_eq!(bench.job_state(), JobState::Planning);
    assert_eq!(bench.ready(), []);
    bench.plan(small_plan(&small_request()), false);
    assert_eq!(
        bench.ready(),
        [
            TaskKey::Audio { output: 0 },
            encode(0),
            encode(1),
            encode(2),
            encode(3),
            encode(4)
        ]
    );
    for _ in 0..6 {
        assert!(bench.step(&even_size));
    }
    assert_eq!(bench.ready(), [STITCH]);
    assert!(bench.step(&even_size));
    assert_eq!(bench.job_state(), JobState::Done);
    assert_eq!(bench.ready(), []);

    let report = crate::report::build(&bench.state.jobs[&JOB]);
    assert_eq!(report.state, "done");
    assert_eq!(report.outputs[0].segments.len(), 5);
    assert_eq!(report.outputs[0].segments[2].start_seconds, 4.0);
    assert_eq!(report.outputs[0].segments[2].bytes, 1_000);
    assert_eq!(report.cpu_seconds, 8.0 * 0.9);
    assert_eq!(report.retries, 0);
    let status = bench.state.status(JOB).unwrap();
    assert_eq!((status.tasks, status.tasks_done), (8, 8));
}

#[test]
fn sound_of_a_remote_source_waits_for_the_segments() {
    let mut bench = Bench::submitted(small_request());
    bench.probe(false);
    let mut plan = small_plan(&small_request());
    plan.source.url = "s3://films/film.mp4".to_owned();
    bench.plan(plan, false);
    assert_eq!(bench.ready(), (0..5).map(encode).collect::<Vec<_>>());
    for _ in 0..5 {
        assert!(bench.step(&even_size));
    }
    assert_eq!(bench.ready(), [TaskKey::Audio { output: 0 }]);
    assert!(bench.step(&even_size));
    assert!(bench.step(&even_size));
    assert_eq!(bench.job_state(), JobState::Done);
}

#[test]
fn the_same_request_id_gives_the_same_job() {
    let mut bench = Bench::submitted(small_request());
    let again = |job, request| Command::SubmitJob {
        request_id: "one".to_owned(),
        job: JobId(job),
        request: Box::new(request),
    };
    assert_eq!(
        bench.apply(again(8, small_request())),
        Outcome::Submitted {
            job: JOB,
            existing: true
        }
    );
    let mut other = small_request();
    other.priority = 3;
    assert_eq!(
        bench.apply(again(8, other)),
        Outcome::Rejected(Rejected::RequestIdTaken)
    );
}

#[test]
fn a_stale_completion_is_rejected() {
    let mut bench = Bench::running(small_request());
    let first = bench.grant(encode(0));
    let result = bench.result(encode(0), &even_size);
    bench.apply(Command::ExpireLeases {
        leases: vec![(
            TaskId {
                job: JOB,
                key: encode(0),
            },
            first,
        )],
    });
    let second = bench.grant(encode(0));
    assert_eq!(
        bench.done(encode(0), first, result.clone()),
        Outcome::Rejected(Rejected::StaleAttempt)
    );
    assert_eq!(
        bench.done(encode(0), second, result.clone()),
        Outcome::Accepted
    );
    assert_eq!(
        bench.done(encode(0), second, result),
        Outcome::Rejected(Rejected::StaleAttempt)
    );
}

#[test]
fn only_ready_tasks_are_granted_and_only_as_the_next_attempt() {
    let mut bench = Bench::running(small_request());
    let not_ready = Outcome::Granted {
        results: vec![Err(Rejected::NotReady)],
    };
    assert_eq!(bench.try_grant(STITCH), not_ready);
    assert_eq!(bench.try_grant(encode(99)), not_ready);
    assert_eq!(bench.try_grant(TaskKey::Audio { output: 9 }), not_ready);
    bench.grant(encode(1));
    assert_eq!(bench.try_grant(encode(1)), not_ready);
    let wrong_number = Command::GrantLeases {
        grants: vec![LeaseGrant {
            task: TaskId {
                job: JOB,
                key: encode(2),
            },
            attempt: 5,
            node: NODE,
        }],
    };
    assert_eq!(bench.apply(wrong_number), not_ready);
}

#[test]
fn a_node_that_starts_again_loses_its_leases_at_once() {
    let mut bench = Bench::running(small_request());
    bench.grant(encode(0));
    assert!(!bench.ready().contains(&encode(0)));
    let again = bench.apply(Command::RegisterNode {
        name: "host 1".to_owned(),
        incarnation: "another start".to_owned(),
    });
    assert_eq!(again, Outcome::Registered { node: NodeId(2) });
    assert!(bench.ready().contains(&encode(0)));
    assert!(!bench.state.nodes.contains_key(&NODE));
    let repeated = bench.apply(Command::RegisterNode {
        name: "host 1".to_owned(),
        incarnation: "another start".to_owned(),
    });
    assert_eq!(repeated, Outcome::Registered { node: NodeId(2) });
}

#[test]
fn twenty_lost_leases_do_not_fail_a_job_but_three_failures_do() {
    let mut bench = Bench::running(small_request());
    for _ in 0..20 {
        let attempt = bench.grant(encode(0));
        let task = TaskId {
            job: JOB,
            key: encode(0),
        };
        bench.apply(Command::ExpireLeases {
            leases: vec![(task, attempt)],
        });
    }
    assert_eq!(bench.job_state(), JobState::Running);
    for left in [2, 1, 0] {
        let attempt = bench.grant(encode(0));
        bench.fail(encode(0), attempt, FailureClass::Killed);
        let running = bench.job_state() == JobState::Running;
        assert_eq!(running, left > 0);
    }
    let status = bench.state.status(JOB).unwrap();
    assert_eq!(status.reason.as_deref(), Some("Killed it was (last line)"));
    assert_eq!(status.class, Some(FailureClass::Killed));
}

#[test]
fn failures_that_no_retry_can_mend_end_the_job_at_once() {
    for class in [
        FailureClass::BadInput,
        FailureClass::SourceChanged,
        FailureClass::OutputExists,
    ] {
        let mut bench = Bench::running(small_request());
        let attempt = bench.grant(encode(3));
        bench.grant(encode(4));
        bench.fail(encode(3), attempt, class);
        assert_eq!(bench.job_state(), JobState::Failed);
        assert!(bench.state.nodes[&NODE].leases.is_empty());
    }
}

#[test]
fn a_store_that_does_not_answer_is_asked_again_later() {
    let mut bench = Bench::running(small_request());
    let attempt = bench.grant(encode(0));
    bench.fail(encode(0), attempt, FailureClass::Store);
    assert!(!bench.ready().contains(&encode(0)));
    let at = bench.state.next_retry_ms(bench.now_ms).unwrap();
    assert_eq!(at, bench.now_ms + 1_000);
    bench.now_ms = at;
    assert!(bench.ready().contains(&encode(0)));
}

#[test]
fn what_every_node_refuses_ends_the_job() {
    let mut bench = Bench::running(small_request());
    let attempt = bench.grant(encode(0));
    bench.fail(encode(0), attempt, FailureClass::MissingCapability);
    let job = &bench.state.jobs[&JOB];
    assert_eq!(decide::stuck(job, &[NODE, NodeId(2)], bench.now_ms), None);
    let end = decide::stuck(job, &[NODE], bench.now_ms);
    assert!(
        matches!(end, Some(Command::FailJob { class: FailureClass::MissingCapability, message, .. })
            if message == "MissingCapability it was")
    );
}

#[test]
fn an_index_that_lied_leads_to_a_deep_probe_once() {
    let mut bench = Bench::running(small_request());
    let attempt = bench.grant(encode(0));
    let other = bench.grant(encode(1));
    let result = bench.result(encode(1), &even_size);
    bench.fail(encode(0), attempt, FailureClass::IndexLied);
    assert_eq!(bench.ready(), [TaskKey::Probe { deep: true }]);
    assert_eq!(
        bench.done(encode(1), other, result),
        Outcome::Rejected(Rejected::StaleAttempt)
    );
    // A plan for the shallow probe comes too late.
    let late = small_plan(&small_request()).into_commands(JOB, false, artifact("segments"));
    for command in late {
        assert_eq!(bench.apply(command), Outcome::Rejected(Rejected::Outdated));
    }
    bench.probe(true);
    bench.plan(small_plan(&small_request()), true);
    // Attempts go on counting, and under a deep table the lie is a failure like any other.
    let attempt = bench.grant(encode(0));
    assert_eq!(attempt, 2);
    bench.fail(encode(0), attempt, FailureClass::IndexLied);
    assert_eq!(bench.job_state(), JobState::Running);
    while bench.step(&even_size) {}
    assert_eq!(bench.job_state(), JobState::Done);
}

#[test]
fn chunks_that_saw_different_frames_at_their_joint_are_not_believed() {
    let mut bench = Bench::running(small_request());
    let attempt = bench.grant(encode(0));
    let result = bench.result(encode(0), &even_size);
    bench.done(encode(0), attempt, result);
    let attempt = bench.grant(encode(1));
    let TaskResult::Encoded { mut chunks } = bench.result(encode(1), &even_size) else {
        panic!("an encode task encodes");
    };
    chunks[0].signature_first += 1;
    bench.done(encode(1), attempt, TaskResult::Encoded { chunks });
    assert_eq!(bench.ready(), [TaskKey::Probe { deep: true }]);
    let events = bench.state.events(JOB, 0).unwrap();
    assert!(events.iter().any(
        |e| matches!(&e.kind, EventKind::Replanning { reason } if reason.contains("segment 1"))
    ));
}

#[test]
fn pictures_that_no_two_decodes_show_alike_are_told_once() {
    let mut bench = Bench::running(small_request());
    for segment in 0..2 {
        let attempt = bench.grant(encode(segment));
        let TaskResult::Encoded { chunks } = bench.result(encode(segment), &even_size) else {
            panic!("an encode task encodes");
        };
        bench.done(
            encode(segment),
            attempt,
            TaskResult::EncodedUnsteady { chunks },
        );
    }
    assert!(!bench.ready().contains(&encode(0)) && !bench.ready().contains(&encode(1)));
    let events = bench.state.events(JOB, 0).unwrap();
    let told = |e: &&_| matches!(e, EventKind::Warning { text } if text.contains("damaged"));
    assert_eq!(events.iter().map(|e| &e.kind).filter(told).count(), 1);
}

#[test]
fn a_result_that_was_not_asked_for_is_a_failed_attempt() {
    let mut bench = Bench::running(small_request());
    let attempt = bench.grant(encode(0));
    let other = bench.result(encode(1), &even_size);
    assert_eq!(bench.done(encode(0), attempt, other), Outcome::Accepted);
    assert!(bench.ready().contains(&encode(0)));
    let attempt = bench.grant(encode(0));
    let TaskResult::Encoded { mut chunks } = bench.result(encode(0), &even_size) else {
        panic!("an encode task encodes");
    };
    chunks[0].address = recode_types::Digest::of(b"another");
    bench.done(encode(0), attempt, TaskResult::Encoded { chunks });
    assert_eq!(bench.state.jobs[&JOB].tasks[&encode(0)].failures, 2);
}

#[test]
fn chunks_with_other_parameter_sets_are_refused() {
    let mut bench = Bench::running(small_request());
    let attempt = bench.grant(encode(0));
    let result = bench.result(encode(0), &even_size);
    bench.done(encode(0), attempt, result);
    let attempt = bench.grant(encode(1));
    let TaskResult::Encoded { mut chunks } = bench.result(encode(1), &even_size) else {
        panic!("an encode task encodes");
    };
    chunks[0].params = recode_types::Digest::of(b"another");
    bench.done(encode(1), attempt, TaskResult::Encoded { chunks });
    let last = bench.state.events(JOB, 0).unwrap().last().unwrap().clone();
    assert!(
        matches!(last.kind, EventKind::AttemptFailed { message, .. } if message.contains("parameter sets"))
    );
}

#[test]
fn a_chunk_that_comes_twice_in_one_result_is_refused() {
    let mut bench = Bench::running(small_request());
    let attempt = bench.grant(encode(0));
    let TaskResult::Encoded { mut chunks } = bench.result(encode(0), &even_size) else {
        panic!("an encode task encodes");
    };
    // The first of its output: there is nothing yet that its parameter sets could differ from, but its twin.
    let mut twin = chunks[0].clone();
    twin.params = recode_types::Digest::of(b"another");
    chunks.push(twin);
    bench.done(encode(0), attempt, TaskResult::Encoded { chunks });
    let last = bench.state.events(JOB, 0).unwrap().last().unwrap().clone();
    assert!(
        matches!(last.kind, EventKind::AttemptFailed { message, .. } if message.contains("not what was asked"))
    );
}

#[test]
fn several_renditions_come_from_one_task_per_segment() {
    let request = request(vec![
        output("a.mp4", rendition(Codec::H264)),
        output("b.mkv", rendition(Codec::H265)),
    ]);
    let mut bench = Bench::running(request);
    let task = TaskId {
        job: JOB,
        key: encode(0),
    };
    let Some(Order::Work(work)) = bench.state.work_for(task) else {
        panic!("an encode is ready");
    };
    let Work::Encode(work) = *work else {
        panic!("an encode is ready");
    };
    assert_eq!(work.renditions.len(), 2);
    assert_ne!(work.renditions[0].address, work.renditions[1].address);
    // The matroska output copies the sound, so there is one audio task.
    while bench.step(&even_size) {}
    assert_eq!(bench.job_state(), JobState::Done);
    assert_eq!(bench.state.status(JOB).unwrap().tasks, 1 + 5 + 1 + 2);
}

#[test]
fn a_stream_copy_runs_unsplit() {
    let mut bench = Bench::running(request(vec![output("a.mkv", rendition(Codec::Copy))]));
    assert_eq!(bench.ready(), [TaskKey::Command { output: 0 }]);
    assert!(bench.step(&even_size));
    assert_eq!(bench.job_state(), JobState::Done);
}

#[test]
fn a_cancelled_job_takes_nothing_more() {
    let mut bench = Bench::running(small_request());
    let attempt = bench.grant(encode(0));
    let result = bench.result(encode(0), &even_size);
    bench.apply(Command::CancelJob {
        job: JOB,
        reason: "not wanted".to_owned(),
    });
    assert_eq!(bench.job_state(), JobState::Cancelled);
    assert_eq!(
        bench.done(encode(0), attempt, result),
        Outcome::Rejected(Rejected::StaleAttempt)
    );
    assert_eq!(
        bench.apply(Command::CancelJob {
            job: JOB,
            reason: String::new()
        }),
        Outcome::Rejected(Rejected::JobEnded)
    );
    assert_eq!(
        bench.apply(Command::ForgetJob { job: JOB }),
        Outcome::Accepted
    );
    assert!(bench.state.requests.is_empty());
}

#[test]
fn a_plan_with_a_missing_part_is_refused() {
    let mut bench = Bench::submitted(small_request());
    bench.probe(false);
    let commands = small_plan(&small_request()).into_commands(JOB, false, artifact("segments"));
    let ready = commands.last().unwrap().clone();
    assert_eq!(bench.apply(ready), Outcome::Rejected(Rejected::BadPlan));
    // A Leader that lost the office starts over with part 0.
    for command in commands.iter().take(1).chain(&commands) {
        assert_eq!(bench.apply(command.clone()), Outcome::Accepted);
    }
    assert_eq!(bench.job_state(), JobState::Running);
}

#[test]
fn a_broken_peak_limit_reopens_chunks_until_it_holds() {
    let mut rendition = rated(Codec::H264, RateControl::Crf(20_000));
    rendition.peak = Some(recode_types::rendition::PeakLimit {
        maxrate_bps: 1_000_000,
        bufsize_bits: 0,
    });
    let mut bench = Bench::running(request(vec![output("a.mp4", rendition)]));
    while bench.ready() != [STITCH] {
        assert!(bench.step(&even_size));
    }
    let attempt = bench.grant(STITCH);
    bench.done(
        STITCH,
        attempt,
        TaskResult::Revise {
            violations: vec![(2, 400, 5_000)],
        },
    );
    assert_eq!(bench.ready(), []);
    let commands = decide::next(&bench.state, JOB);
    assert_eq!(commands, decide::next(&bench.state, JOB));
    for command in &commands {
        assert_eq!(bench.apply(command.clone()), Outcome::Accepted);
        assert_eq!(
            bench.apply(command.clone()),
            Outcome::Rejected(Rejected::Outdated)
        );
    }
    assert_eq!(bench.ready(), [encode(2)]);
    let run = bench.state.jobs[&JOB].run().unwrap();
    assert_eq!(
        run.outputs[0].knobs[2].unwrap().buffer_start_milli,
        350,
        "told how full the buffer is"
    );
    while bench.step(&even_size) {}
    assert_eq!(bench.job_state(), JobState::Done);
}

#[test]
fn a_promised_bitrate_is_kept_by_rounds_of_knobs() {
    for (codec, bps) in [
        (Codec::H264, 200_000),
        (Codec::Av1, 300_000),
        (Codec::Mpeg2, 900_000),
    ] {
        let rendition = rated(codec, RateControl::Bitrate(bps));
        let mut bench = Bench::running(request(vec![output("a.mkv", rendition)]));
        // Twice as hard to encode in the middle; the trial preset is a third off.
        let size = |r: &Rendition, segment: u32, milli: u32| {
            let hard = if segment == 2 { 2.0 } else { 1.0 };
            let off = if r.preset.is_some() { 1.33 } else { 1.0 };
            let knob = f64::from(milli) / 1000.0;
            // MPEG-2's knob is a quantiser: its ratio counts.
            let falls = if r.codec == Codec::Mpeg2 {
                knob.powf(-0.8)
            } else {
                (-0.11 * knob).exp()
            };
            (400_000.0 * hard * off * falls) as u64
        };
        for _ in 0..20 {
            while bench.step(&size) {}
            for command in decide::next(&bench.state, JOB) {
                assert_eq!(bench.apply(command), Outcome::Accepted);
            }
        }
        assert_eq!(bench.job_state(), JobState::Done, "{codec}");
        let run = bench.state.jobs[&JOB].run().unwrap();
        let sum: u64 = run.outputs[0]
            .chunks
            .iter()
            .flatten()
            .map(|c| c.facts.payload_bytes)
            .sum();
        let target = bps * 10 / 8;
        assert!(
            sum.abs_diff(target) * 50 <= target,
            "{codec}: {sum} of {target}"
        );
    }
}

/// SVT-AV1 takes the limit as a hint: quality gives way, and the other Segments make up for what that takes from the promise.
#[test]
fn a_peak_limit_and_a_bitrate_are_kept_together() {
    let bps = 300_000;
    let mut rendition = rated(Codec::Av1, RateControl::Bitrate(bps));
    rendition.peak = Some(recode_types::rendition::PeakLimit {
        maxrate_bps: 450_000,
        bufsize_bits: 600_000,
    });
    let mut bench = Bench::running(request(vec![output("a.mkv", rendition)]));
    let size = |_: &Rendition, segment: u32, milli: u32| {
        let hard = if segment == 2 { 2.0 } else { 1.0 };
        (400_000.0 * hard * (-0.08 * f64::from(milli) / 1000.0).exp()) as u64
    };
    let chunk = |bench: &Bench, segment: usize| {
        let run = bench.state.jobs[&JOB].run().unwrap();
        run.outputs[0].chunks[segment].clone().unwrap()
    };
    let mut rounds = 0;
    let mut before = None;
    while bench.job_state() == JobState::Running {
        if bench.ready() == [STITCH] {
            let limit = *before.get_or_insert(chunk(&bench, 2).facts.payload_bytes * 9 / 10);
            if chunk(&bench, 2).facts.payload_bytes > limit {
                let attempt = bench.grant(STITCH);
                let violations = vec![(2, 500, 100_000)];
                bench.done(STITCH, attempt, TaskResult::Revise { violations });
            }
        }
        bench.step(&size);
        for command in decide::next(&bench.state, JOB) {
            assert!(!matches!(command, Command::FailJob { .. }), "{command:?}");
            assert_eq!(bench.apply(command), Outcome::Accepted);
        }
        rounds += 1;
        assert!(rounds < 200, "it ends");
    }
    assert_eq!(bench.job_state(), JobState::Done);
    let sum: u64 = (0..bench.state.jobs[&JOB].run().unwrap().plan.segments.len())
        .map(|segment| chunk(&bench, segment).facts.payload_bytes)
        .sum();
    let target = bps * 10 / 8;
    assert!(chunk(&bench, 2).facts.payload_bytes <= before.unwrap());
    assert!(sum.abs_diff(target) * 50 <= target, "{sum} of {target}");
}

use recode_types::Rendition;

/// A log as version 1 wrote it, and the state it leads to: still read by every later version.
const LOG_V1: &[u8] = include_bytes!("../../fixtures/batch-v1.bin");
const STATE_V1: &[u8] = include_bytes!("../../fixtures/state-v1.bin");

/// The entries behind the fixtures: a Job from beginning to end.
fn whole_life() -> Bench {
    let mut bench = Bench::running(small_request());
    let attempt = bench.grant(encode(1));
    bench.fail(encode(1), attempt, FailureClass::Killed);
    while bench.step(&even_size) {}
    bench.apply(Command::SubmitJob {
        request_id: "two".to_owned(),
        job: JobId(9),
        request: Box::new(small_request()),
    });
    bench
}

#[test]
fn encodings_of_version_1_still_read() {
    let bench = whole_life();
    if std::env::var_os("RECODE_WRITE_FIXTURES").is_some() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        std::fs::write(
            folder.join("batch-v1.bin"),
            Batch(bench.log.clone()).encode(),
        )
        .unwrap();
        std::fs::write(folder.join("state-v1.bin"), bench.state.encode()).unwrap();
    }
    let log = Batch::decode(LOG_V1).expect("an old log reads");
    let mut state = State::default();
    state.apply_batch(&log);
    assert_eq!(
        State::decode(STATE_V1).expect("an old snapshot reads"),
        state
    );
    let status = state.status(JOB).expect("the job is in the log");
    assert_eq!(status.state, JobState::Done);
    assert_eq!((status.tasks, status.tasks_done), (8, 8));
    assert_eq!(state.jobs[&JOB].used.retries, 1);
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
