//! Attempts that fail, and what becomes of the Job.

use super::*;

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
