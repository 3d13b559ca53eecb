//! Which Jobs there are, in which order.

use super::*;

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
