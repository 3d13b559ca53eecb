//! From the probe to the end, and what is granted to whom.

use super::*;

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
