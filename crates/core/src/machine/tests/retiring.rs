//! Jobs that have ended, until they are forgotten.

use super::*;

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
