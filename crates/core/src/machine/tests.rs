//! The life of a Job, command by command; every step is checked against all invariants by [`Bench::apply`].

use super::*;
use crate::fixture::*;
use recode_types::event::EventKind;
use recode_types::rendition::RateControl;
use recode_types::task::{FailureClass, TaskResult, Work};
use recode_types::{Codec, Knob, TaskKey};

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
    assert_eq!(
        decide::stuck(job, &[NODE, NodeId(2)].into(), bench.now_ms),
        None
    );
    let end = decide::stuck(job, &[NODE].into(), bench.now_ms);
    assert!(
        matches!(end, Some(Command::FailJob { class: FailureClass::MissingCapability, message, .. })
            if message == "MissingCapability it was")
    );
    bench.ask("", Wish::Pause);
    let job = &bench.state.jobs[&JOB];
    let end = decide::stuck(job, &[NODE].into(), bench.now_ms);
    assert_eq!(end, None, "a paused job waits, for another node too");
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
fn a_paused_job_takes_results_and_gets_no_leases() {
    let mut bench = Bench::running(small_request());
    let attempt = bench.grant(encode(0));
    let result = bench.result(encode(0), &even_size);
    let events = |bench: &Bench| bench.state.events(JOB, 0).unwrap().len();
    let before = events(&bench);
    for _ in 0..2 {
        assert_eq!(bench.ask("", Wish::Pause), Outcome::Accepted);
        assert_eq!(events(&bench), before + 1, "told once");
    }
    assert!(bench.state.status(JOB).unwrap().paused);
    assert_eq!(bench.ready(), []);
    assert_eq!(
        bench.try_grant(encode(1)),
        Outcome::Granted {
            results: vec![Err(Rejected::JobPaused)]
        }
    );
    assert_eq!(bench.done(encode(0), attempt, result), Outcome::Accepted);
    assert_eq!(bench.state.jobs[&JOB].run().unwrap().count_chunks(), 1);
    for _ in 0..2 {
        assert_eq!(bench.ask("", Wish::Resume), Outcome::Accepted);
        assert_eq!(events(&bench), before + 3, "the chunk and one resume");
    }
    while bench.step(&even_size) {}
    assert_eq!(bench.job_state(), JobState::Done);
    for wish in [Wish::Pause, Wish::Resume] {
        let ended = Outcome::Rejected(Rejected::JobEnded);
        assert_eq!(bench.ask("", wish), ended);
    }
}

#[test]
fn a_job_may_be_paused_in_every_state_and_cancelled_when_paused() {
    let mut bench = Bench::submitted(small_request());
    assert_eq!(bench.ask("", Wish::Pause), Outcome::Accepted);
    assert_eq!(
        (bench.ready(), bench.job_state()),
        (vec![], JobState::Probing)
    );
    bench.ask("", Wish::Resume);
    let probe = bench.grant(PROBE);
    bench.ask("", Wish::Pause);
    let facts = bench.result(PROBE, &even_size);
    bench.done(PROBE, probe, facts);
    assert_eq!(bench.job_state(), JobState::Planning);
    // The Plan is no Lease: it goes on being made.
    bench.plan(small_plan(&small_request()), false);
    assert_eq!(
        (bench.ready(), bench.job_state()),
        (vec![], JobState::Running)
    );
    let reason = "enough".to_owned();
    assert_eq!(bench.ask("", Wish::Cancel { reason }), Outcome::Accepted);
    assert_eq!(bench.job_state(), JobState::Cancelled);
    assert!(!bench.state.jobs[&JOB].paused);
}

#[test]
fn a_backoff_of_a_paused_job_wakes_nobody() {
    let mut bench = Bench::running(small_request());
    let attempt = bench.grant(encode(0));
    bench.fail(encode(0), attempt, FailureClass::Store);
    assert!(bench.state.next_retry_ms(bench.now_ms).is_some());
    bench.ask("", Wish::Pause);
    assert_eq!(bench.state.next_retry_ms(bench.now_ms), None);
}

#[test]
fn a_failed_job_lives_again_and_keeps_its_chunks() {
    let mut bench = Bench::running(small_request());
    // The sound and two Segments are there, one is under way and one fails for good.
    for _ in 0..3 {
        assert!(bench.step(&even_size));
    }
    let late = bench.grant(encode(2));
    let result = bench.result(encode(2), &even_size);
    let attempt = bench.grant(encode(3));
    bench.fail(encode(3), attempt, FailureClass::BadInput);
    assert_eq!(bench.job_state(), JobState::Failed);
    assert_eq!(bench.ask("again", Wish::Retry), Outcome::Accepted);
    assert_eq!(bench.job_state(), JobState::Running);
    assert_eq!(bench.ready(), [encode(2), encode(3), encode(4)]);
    let last = bench.state.events(JOB, 0).unwrap().last().unwrap().clone();
    assert_eq!(last.kind, EventKind::Retried { chunks_kept: 2 });
    // What ran before its end comes too late, and its number is not used again.
    assert_eq!(
        bench.done(encode(2), late, result),
        Outcome::Rejected(Rejected::StaleAttempt)
    );
    assert_eq!(bench.grant(encode(3)), 2);
    let result = bench.result(encode(3), &even_size);
    bench.done(encode(3), 2, result);
    while bench.step(&even_size) {}
    assert_eq!(bench.job_state(), JobState::Done);
    let encoded = bench.state.events(JOB, 0).unwrap().iter().filter(|e| {
        matches!(
            e.kind,
            EventKind::TaskDone {
                task: TaskKey::Encode { .. },
                ..
            }
        )
    });
    assert_eq!(encoded.count(), 5, "each segment once");
}

#[test]
fn a_retry_asked_for_twice_is_one() {
    let mut bench = Bench::running(small_request());
    let fail = |bench: &mut Bench| {
        let attempt = bench.grant(encode(3));
        bench.fail(encode(3), attempt, FailureClass::BadInput);
        assert_eq!(bench.job_state(), JobState::Failed);
    };
    fail(&mut bench);
    assert_eq!(bench.ask("again", Wish::Retry), Outcome::Accepted);
    fail(&mut bench);
    // The same request, delivered late.
    assert_eq!(bench.ask("again", Wish::Retry), Outcome::Accepted);
    assert_eq!(bench.job_state(), JobState::Failed);
    assert_eq!(bench.ask("and again", Wish::Retry), Outcome::Accepted);
    assert_eq!(bench.job_state(), JobState::Running);
}

#[test]
fn only_what_has_failed_is_retried() {
    let mut bench = Bench::running(small_request());
    let not_failed = Outcome::Rejected(Rejected::NotFailed);
    assert_eq!(bench.ask("", Wish::Retry), not_failed);
    let reason = "enough".to_owned();
    bench.ask("", Wish::Cancel { reason });
    assert_eq!(bench.ask("", Wish::Retry), not_failed);
}

#[test]
fn a_retry_asks_again_whom_it_had_refused_and_counts_failures_anew() {
    let mut bench = Bench::running(small_request());
    for _ in 0..3 {
        let attempt = bench.grant(encode(0));
        bench.fail(encode(0), attempt, FailureClass::MissingCapability);
    }
    assert_eq!(bench.job_state(), JobState::Failed);
    bench.ask("", Wish::Retry);
    let row = &bench.state.jobs[&JOB].tasks[&encode(0)];
    assert_eq!((row.failures, row.avoid.len(), row.attempts), (0, 0, 3));
}

#[test]
fn a_retry_probes_again_where_there_is_no_plan_or_the_source_has_changed() {
    let mut bench = Bench::submitted(small_request());
    for _ in 0..3 {
        let attempt = bench.grant(PROBE);
        bench.fail(PROBE, attempt, FailureClass::Killed);
    }
    assert_eq!(bench.job_state(), JobState::Failed);
    bench.ask("", Wish::Retry);
    assert_eq!(bench.ready(), [PROBE]);
    bench.probe(false);
    bench.plan(small_plan(&small_request()), false);
    bench.step(&even_size);
    bench.step(&even_size);
    let attempt = bench.grant(encode(3));
    bench.fail(encode(3), attempt, FailureClass::SourceChanged);
    bench.ask("", Wish::Retry);
    assert_eq!(bench.ready(), [PROBE]);
    let last = bench.state.events(JOB, 0).unwrap().last().unwrap().clone();
    assert_eq!(last.kind, EventKind::Retried { chunks_kept: 0 });
}

#[test]
fn a_retry_of_a_deep_probe_is_a_deep_probe() {
    let mut bench = Bench::running(small_request());
    let attempt = bench.grant(encode(0));
    bench.fail(encode(0), attempt, FailureClass::IndexLied);
    let deep = TaskKey::Probe { deep: true };
    let attempt = bench.grant(deep);
    bench.fail(deep, attempt, FailureClass::BadInput);
    assert_eq!(bench.job_state(), JobState::Failed);
    bench.ask("", Wish::Retry);
    assert_eq!(bench.ready(), [deep]);
}

#[test]
fn a_request_id_stands_for_one_request_whatever_it_asks() {
    let mut bench = Bench::running(small_request());
    bench.apply(Command::SubmitJob {
        request_id: "two".to_owned(),
        job: JobId(9),
        request: Box::new(small_request()),
    });
    let taken = Outcome::Rejected(Rejected::RequestIdTaken);
    assert_eq!(bench.ask("p", Wish::Pause), Outcome::Accepted);
    bench.ask("", Wish::Resume);
    // Late once more: it was answered, and the Job stays resumed.
    assert_eq!(bench.ask("p", Wish::Pause), Outcome::Accepted);
    assert!(!bench.state.jobs[&JOB].paused);
    assert_eq!(bench.ask("p", Wish::Resume), taken);
    assert_eq!(bench.ask("one", Wish::Pause), taken, "it made a job");
    let of_another = Command::Ask {
        job: JobId(9),
        request_id: "p".to_owned(),
        wish: Wish::Pause,
    };
    assert_eq!(bench.apply(of_another), taken);
    let submit = Command::SubmitJob {
        request_id: "p".to_owned(),
        job: JobId(11),
        request: Box::new(small_request()),
    };
    assert_eq!(bench.apply(submit), taken);
    let unknown = Command::Ask {
        job: JobId(12),
        request_id: String::new(),
        wish: Wish::Pause,
    };
    assert_eq!(
        bench.apply(unknown),
        Outcome::Rejected(Rejected::UnknownJob)
    );
}

#[test]
fn wishes_are_remembered_in_bounds() {
    let mut bench = Bench::running(small_request());
    for i in 0..MOST_WISHES + 3 {
        bench.ask(&format!("wish {i}"), Wish::Pause);
    }
    assert_eq!(bench.state.wishes.len(), MOST_WISHES);
    assert!(!bench.state.wishes.contains_key("wish 2"));
    assert!(bench.state.wishes.contains_key("wish 3"));
}

#[test]
fn a_job_is_not_paused_and_resumed_without_end() {
    let mut bench = Bench::submitted(small_request());
    let too_many = Outcome::Rejected(Rejected::TooManyTurns);
    for _ in 0..MOST_TURNS / 2 {
        assert_eq!(bench.ask("", Wish::Pause), Outcome::Accepted);
        assert_eq!(bench.ask("", Wish::Resume), Outcome::Accepted);
    }
    assert_eq!(bench.ask("", Wish::Pause), too_many);
    // What changes nothing is no turn, and the end is always open.
    assert_eq!(bench.ask("", Wish::Resume), Outcome::Accepted);
    let reason = String::new();
    assert_eq!(bench.ask("", Wish::Cancel { reason }), Outcome::Accepted);
    // A retry counts too, and leaves no pause behind that could not be taken back.
    let mut bench = Bench::running(small_request());
    let attempt = bench.grant(encode(3));
    bench.fail(encode(3), attempt, FailureClass::BadInput);
    bench.ask("", Wish::Retry);
    for _ in 0..MOST_TURNS {
        let wish = if bench.state.jobs[&JOB].paused {
            Wish::Resume
        } else {
            Wish::Pause
        };
        bench.ask("", wish);
    }
    assert!(!bench.state.jobs[&JOB].paused);
}

#[test]
fn a_drained_node_gets_nothing_new_and_keeps_what_it_has() {
    let mut bench = Bench::running(small_request());
    let attempt = bench.grant(encode(0));
    let drain = |draining| Command::DrainNode {
        node: NODE,
        draining,
    };
    for _ in 0..2 {
        assert_eq!(bench.apply(drain(true)), Outcome::Accepted);
    }
    assert_eq!(
        bench.try_grant(encode(1)),
        Outcome::Granted {
            results: vec![Err(Rejected::NodeDraining)]
        }
    );
    let status = bench.state.node_status(NODE, None).unwrap();
    assert_eq!((status.draining, status.leases), (true, 1));
    // A new Leader knows.
    bench.state = State::decode(&bench.state.encode()).unwrap();
    let result = bench.result(encode(0), &even_size);
    assert_eq!(bench.done(encode(0), attempt, result), Outcome::Accepted);
    assert_eq!(bench.state.node_status(NODE, None).unwrap().leases, 0);
    bench.apply(drain(false));
    bench.grant(encode(1));
    let unknown = Command::DrainNode {
        node: NodeId(77),
        draining: true,
    };
    assert_eq!(
        bench.apply(unknown),
        Outcome::Rejected(Rejected::UnknownNode)
    );
}

#[test]
fn ended_jobs_leave_once_their_archive_is_stored() {
    let mut bench = Bench::running(small_request());
    let policy = Retention {
        keep_ms: 1_000,
        ..Retention::default()
    };
    while bench.step(&even_size) {}
    assert_eq!(decide::tidy(&bench.state, JOB), decide::Tidy::Sweep);
    assert_eq!(decide::retire(&bench.state, &policy, bench.now_ms), None);
    bench.now_ms += 1_000;
    let archive = |events| Command::ArchiveJob {
        job: JOB,
        events,
        archive: artifact("archive"),
    };
    let events = bench.state.jobs[&JOB].events.len() as u64;
    let outdated = Outcome::Rejected(Rejected::Outdated);
    assert_eq!(
        bench.apply(archive(events)),
        outdated,
        "nobody asked for it"
    );
    let retire = decide::retire(&bench.state, &policy, bench.now_ms).unwrap();
    assert_eq!(bench.apply(retire), Outcome::Accepted);
    assert_eq!(decide::tidy(&bench.state, JOB), decide::Tidy::Archive);
    assert_eq!(decide::retire(&bench.state, &policy, bench.now_ms), None);
    let pending = bench.state.pending_effects();
    assert!(pending.contains(&Effect::Ended { job: JOB }), "{pending:?}");
    assert_eq!(bench.apply(archive(events - 1)), outdated);
    assert_eq!(bench.apply(archive(events)), Outcome::Accepted);
    assert_eq!(decide::tidy(&bench.state, JOB), decide::Tidy::Sweep);
    let gone = Outcome::Rejected(Rejected::JobArchived);
    assert_eq!(bench.apply(archive(events)), gone);
    assert_eq!(bench.ask("", Wish::Pause), gone);
    let status = bench.state.status(JOB).unwrap();
    assert_eq!(
        (status.state, status.archive.as_deref()),
        (JobState::Done, Some("archive"))
    );
    // Its request id still leads to it, for the same request only.
    let mut submit = |priority| {
        let mut request = small_request();
        request.priority = priority;
        bench.apply(Command::SubmitJob {
            request_id: "one".to_owned(),
            job: JobId(9),
            request: Box::new(request),
        })
    };
    assert_eq!(
        submit(50),
        Outcome::Submitted {
            job: JOB,
            existing: true
        }
    );
    assert_eq!(submit(51), Outcome::Rejected(Rejected::RequestIdTaken));
    // The Stub goes when there are too many.
    let none = Retention {
        most_stubs: 0,
        ..policy
    };
    let forget = decide::retire(&bench.state, &none, bench.now_ms).unwrap();
    bench.apply(forget);
    assert!(bench.state.archived.is_empty() && bench.state.requests.is_empty());
    assert_eq!(bench.state.status(JOB), None);
}

#[test]
fn what_a_failed_job_made_is_kept_until_it_is_archived() {
    let mut bench = Bench::running(small_request());
    bench.step(&even_size);
    bench.step(&even_size);
    let attempt = bench.grant(encode(3));
    bench.fail(encode(3), attempt, FailureClass::BadInput);
    assert_eq!(decide::tidy(&bench.state, JOB), decide::Tidy::Keep);
    // Marked, and tried again before its archive is stored.
    let none = Retention {
        keep_ms: 0,
        ..Retention::default()
    };
    let retire = decide::retire(&bench.state, &none, bench.now_ms).unwrap();
    let events = bench.state.jobs[&JOB].events.len() as u64;
    bench.apply(retire);
    assert_eq!(bench.ask("", Wish::Retry), Outcome::Accepted);
    assert_eq!(bench.state.retiring().count(), 0, "it is wanted again");
    let archive = |events| Command::ArchiveJob {
        job: JOB,
        events,
        archive: artifact("archive"),
    };
    let runs = Outcome::Rejected(Rejected::JobRuns);
    assert_eq!(bench.apply(archive(events)), runs);
    let attempt = bench.grant(encode(3));
    bench.fail(encode(3), attempt, FailureClass::BadInput);
    // Failed once more: what was stored of its first end is not all there is.
    let outdated = Outcome::Rejected(Rejected::Outdated);
    assert_eq!(bench.apply(archive(events)), outdated);
    bench.archive(JOB);
    assert_eq!(decide::tidy(&bench.state, JOB), decide::Tidy::Sweep);
    let pending = bench.state.pending_effects();
    assert!(
        pending.contains(&Effect::Ended { job: JOB }),
        "a new leader does not know whether it was swept"
    );
}

#[test]
fn the_oldest_ended_jobs_go_first_and_few_at_once() {
    let mut bench = Bench::default();
    bench.register();
    let count = retention::RETIRED_AT_ONCE as u128 + 10;
    for id in 0..count {
        bench.apply(Command::SubmitJob {
            request_id: format!("request {id}"),
            // The youngest id ends first.
            job: JobId(1_000 - id),
            request: Box::new(small_request()),
        });
        bench.apply(Command::CancelJob {
            job: JobId(1_000 - id),
            reason: String::new(),
        });
    }
    let keep = |most_ended| Retention {
        most_ended,
        ..Retention::default()
    };
    assert_eq!(
        decide::retire(&bench.state, &keep(count as u32), bench.now_ms),
        None
    );
    let state = &bench.state;
    assert_eq!(
        state.retirable(0, count as u32 - 2),
        [JobId(1_000), JobId(999)]
    );
    let retire = decide::retire(&bench.state, &keep(0), bench.now_ms).unwrap();
    bench.apply(retire);
    assert_eq!(bench.state.retiring().count(), retention::RETIRED_AT_ONCE);
    let retire = decide::retire(&bench.state, &keep(0), bench.now_ms).unwrap();
    bench.apply(retire);
    assert_eq!(bench.state.retiring().count(), count as usize);
}

#[test]
fn an_archive_holds_what_can_still_be_asked_and_survives_its_json() {
    let mut bench = Bench::running(small_request());
    let attempt = bench.grant(encode(1));
    bench.fail(encode(1), attempt, FailureClass::Killed);
    while bench.step(&even_size) {}
    let job = &bench.state.jobs[&JOB];
    let archive = crate::archive::build(job);
    assert_eq!(archive.events, *job.events);
    assert_eq!(archive.report.state, "done");
    assert_eq!(archive.logs.len(), 1);
    let json = serde_json::to_vec(&archive).unwrap();
    let read: crate::archive::Archive = serde_json::from_slice(&json).unwrap();
    assert_eq!(read, archive);
}

#[test]
fn logs_of_failed_attempts_are_kept_in_bounds() {
    let mut bench = Bench::running(small_request());
    let long = "ü".repeat(job::LONGEST_TAIL);
    for round in 0..job::MOST_LOGS as u64 + 2 {
        let attempt = bench.grant(encode(0));
        let failure = recode_types::task::Failure {
            class: FailureClass::Killed,
            message: long.clone(),
            stderr_tail: Some(format!("x{long}{round}")),
        };
        let usage = usage();
        let outcome = recode_types::task::AttemptOutcome::Failed { failure, usage };
        bench.complete(encode(0), attempt, outcome);
        if bench.job_state() == JobState::Failed {
            bench.ask("", Wish::Retry);
        }
    }
    let logs = &bench.state.jobs[&JOB].logs;
    assert_eq!(logs.len(), job::MOST_LOGS);
    assert_eq!((logs[0].number, logs[0].attempt), (2, 3));
    assert!(logs[0].stderr_tail.ends_with("ü2"), "the end is kept");
    for log in logs {
        assert!(log.stderr_tail.len() <= job::LONGEST_TAIL);
        assert!(log.message.len() <= job::LONGEST_TAIL);
    }
}

/// A Bench with Jobs 1 to 6: every other one of the show, later ones more urgent, Job 2 cancelled, Job 3 paused.
fn shelf() -> Bench {
    let mut bench = Bench::default();
    bench.register();
    for id in 1..=6u8 {
        let mut request = small_request();
        request.priority = id * 10;
        request.source = format!("s3://films/{}/{id}.mp4", id % 3);
        let show = ["one", "two"][usize::from(id % 2)];
        request.labels = [("show".to_owned(), show.to_owned())].into();
        bench.apply(Command::SubmitJob {
            request_id: format!("request {id}"),
            job: JobId(id.into()),
            request: Box::new(request),
        });
    }
    let reason = String::new();
    let wishes = [(2, Wish::Cancel { reason }), (3, Wish::Pause)];
    for (id, wish) in wishes {
        bench.apply(Command::Ask {
            job: JobId(id),
            request_id: String::new(),
            wish,
        });
    }
    bench
}

#[test]
fn the_most_urgent_job_is_served_first_and_the_older_of_two() {
    let mut bench = shelf();
    let order = |bench: &Bench| {
        let ready = bench.state.ready(bench.now_ms);
        ready.map(|task| task.id.job.0).collect::<Vec<_>>()
    };
    assert_eq!(order(&bench), [6, 5, 4, 1]);
    let mut request = small_request();
    request.priority = 60;
    bench.apply(Command::SubmitJob {
        request_id: "late".to_owned(),
        job: JobId(7),
        request: Box::new(request),
    });
    assert_eq!(order(&bench), [6, 7, 5, 4, 1]);
}

#[test]
fn lists_hold_what_the_filter_lets_pass() {
    use recode_types::JobFilter;
    let mut bench = shelf();
    let listed = |bench: &Bench, filter: &JobFilter| {
        let page = bench.state.list(filter, None, 100);
        page.jobs.iter().map(|j| j.job.0).collect::<Vec<_>>()
    };
    let any = JobFilter::default();
    assert_eq!(listed(&bench, &any), [1, 2, 3, 4, 5, 6]);
    let live_only = JobFilter {
        live_only: true,
        ..any.clone()
    };
    assert_eq!(listed(&bench, &live_only), [1, 3, 4, 5, 6]);
    let states = JobFilter {
        states: vec![JobState::Cancelled, JobState::Failed],
        ..any.clone()
    };
    assert_eq!(listed(&bench, &states), [2]);
    let label = |value: &str| JobFilter {
        labels: [("show".to_owned(), value.to_owned())].into(),
        ..any.clone()
    };
    assert_eq!(listed(&bench, &label("two")), [1, 3, 5]);
    assert_eq!(listed(&bench, &label("tw")), []);
    let source = JobFilter {
        source_prefix: "s3://films/1/".to_owned(),
        ..any.clone()
    };
    assert_eq!(listed(&bench, &source), [1, 4]);
    let after = JobFilter {
        submitted_after_ms: bench.state.jobs[&JobId(4)].submitted_ms,
        ..any.clone()
    };
    assert_eq!(listed(&bench, &after), [5, 6]);
    // Archived ones come in their places, where they are asked for.
    bench.archive(JobId(2));
    assert_eq!(listed(&bench, &any), [1, 3, 4, 5, 6]);
    let archived = JobFilter {
        archived: true,
        ..any.clone()
    };
    assert_eq!(listed(&bench, &archived), [1, 2, 3, 4, 5, 6]);
    let labelled = JobFilter {
        archived: true,
        ..label("one")
    };
    assert_eq!(listed(&bench, &labelled), [4, 6]);
}

#[test]
fn pages_hold_every_job_once_whatever_comes_and_goes() {
    let mut bench = shelf();
    let filter = recode_types::JobFilter {
        archived: true,
        ..Default::default()
    };
    let mut seen = Vec::new();
    let mut after = None;
    for round in 0.. {
        let page = bench.state.list(&filter, after, 2);
        seen.extend(page.jobs.iter().map(|j| j.job.0));
        // The one the token names is archived, others come at both ends.
        if round == 0 {
            bench.archive(JobId(2));
        }
        for id in [100 - round, 10 + round] {
            bench.apply(Command::SubmitJob {
                request_id: format!("more {id}"),
                job: JobId(id),
                request: Box::new(small_request()),
            });
        }
        after = page.next;
        if after.is_none() || round > 20 {
            break;
        }
        assert_eq!(page.jobs.len(), 2);
    }
    let mut once = seen.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once, seen, "in order and once");
    assert!(seen.starts_with(&[1, 2, 3, 4, 5, 6]));
    let all = bench.state.list(&filter, None, 1000);
    assert_eq!(all.next, None);
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

/// A log as the first builds wrote it, and the snapshot of version 1 it led to: still read by every later version.
const LOG_V1: &[u8] = include_bytes!("../../fixtures/batch-v1.bin");
const STATE_V1: &[u8] = include_bytes!("../../fixtures/state-v1.bin");
/// A log with everything that people may ask for, plain and packed, and the snapshot of version 2 it led to.
const LOG_V1_ASKS: &[u8] = include_bytes!("../../fixtures/batch-v1-asks.bin");
const LOG_PACKED: &[u8] = include_bytes!("../../fixtures/batch-packed.bin");
const STATE_V2: &[u8] = include_bytes!("../../fixtures/state-v2.bin");
/// What feature level 1 brought to both.
const LOG_LEVEL_1: &[u8] = include_bytes!("../../fixtures/batch-level-1.bin");
const STATE_V3: &[u8] = include_bytes!("../../fixtures/state-v3.bin");

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
