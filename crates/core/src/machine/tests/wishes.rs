//! What people ask for: pause, resume, cancel, retry.

use super::*;

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
