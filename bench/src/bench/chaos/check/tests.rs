use super::*;
use crate::bench::chaos::jobs::Request;
use serde_json::{Value, json};

const JOB: &str = "job_00000000000000000000000000000001";
const URL: &str = "file:///out.mp4";

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn artifact(key: &str) -> Value {
    json!({ "key": key, "size_bytes": key.len(), "digest": digest(key) })
}

fn change(command: Value, outcome: Value) -> Value {
    json!({ "at_ms": 1, "command": command, "outcome": outcome })
}

fn submit() -> Value {
    change(
        json!({ "SubmitJob": { "request_id": "r", "job": JOB, "request": { "outputs": [{}] } } }),
        json!({ "Submitted": { "job": JOB, "existing": false } }),
    )
}

fn plan(segments: u32) -> Value {
    let segments: Vec<Value> = (0..segments)
        .map(|index| {
            json!({ "index": index, "first_row": 0, "rows": 1, "start_pts": 0, "end_pts": 1 })
        })
        .collect();
    change(
        json!({ "PlanPart": { "job": JOB, "deep": false, "part": 0, "segments": segments } }),
        json!("Accepted"),
    )
}

fn encode(segment: u32) -> Value {
    json!({ "job": JOB, "key": { "Encode": { "group": 0, "segment": segment } } })
}

fn stitch() -> Value {
    json!({ "job": JOB, "key": { "Stitch": { "output": 0 } } })
}

fn grant(task: &Value, attempt: u32) -> Value {
    change(
        json!({ "GrantLeases": { "grants": [{ "task": task, "attempt": attempt, "node": 1 }] } }),
        json!({ "Granted": { "results": [{ "Ok": null }] } }),
    )
}

fn complete(task: &Value, attempt: u32, result: Value) -> Value {
    let usage = json!({
        "wall_ms": 0, "cpu_ms": 0, "source_bytes_read": 0, "bytes_written": 0, "peak_rss_bytes": 0
    });
    let outcome = json!({ "done": { "result": result, "usage": usage } });
    change(
        json!({ "CompleteAttempt": { "task": task, "attempt": attempt, "outcome": outcome } }),
        json!("Accepted"),
    )
}

fn encoded(segment: u32, attempt: u32) -> Value {
    let none = digest("");
    let chunk = json!({
        "output": 0, "segment": segment, "address": none,
        "artifact": artifact(&format!("chunk-{segment}.{attempt}")),
        "frames": 1, "payload_bytes": 1, "params": none, "signature_before": null, "signature_first": 1,
        "signature_last": 1, "signature_after": null, "score_frames": null, "scores": [], "reused": false
    });
    let task = encode(segment);
    complete(&task, attempt, json!({ "encoded": { "chunks": [chunk] } }))
}

fn stitched(attempt: u32) -> Value {
    let output = json!({
        "output": 0, "url": URL, "size_bytes": 3, "frames": 2, "duration_us": 1, "video_bytes": 1, "scores": [],
        "score_frames_url": null, "warnings": []
    });
    complete(
        &stitch(),
        attempt,
        json!({ "stitched": { "output": output } }),
    )
}

/// A job of two Segments from its submission to its end.
fn fine() -> Vec<Value> {
    vec![
        submit(),
        plan(2),
        grant(&encode(0), 1),
        grant(&encode(1), 1),
        encoded(0, 1),
        encoded(1, 1),
        grant(&stitch(), 1),
        stitched(1),
    ]
}

fn dump(coordinator: u64, changes: &[Value]) -> String {
    let mut lines = vec![json!({
        "kind": "log", "cluster": "c", "coordinator": coordinator, "term": 1, "voted_for": 1, "snapshot": null,
        "purged": null, "committed": changes.len() + 1, "last": changes.len() + 1
    })];
    lines.push(json!({ "kind": "blank", "index": 1, "term": 1 }));
    for (index, change) in (2..).zip(changes) {
        lines.push(json!({ "kind": "batch", "index": index, "term": 1, "changes": [change] }));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn told(job: Option<&str>) -> Told {
    Told {
        request: Request {
            id: "r".into(),
            arguments: Vec::new(),
            outputs: vec![(URL.into(), digest("out"))],
        },
        job: job.map(|job| job.parse().expect("an id")),
        cancelled: false,
    }
}

/// Objects hold what their keys say, the output what it should.
fn checked(dumps: &[String], told: &[Told]) -> Found {
    let stored = Stored {
        object: &|key| Some((key.len() as u64, digest(key))),
        output: &|_| Some((3, digest("out"))),
    };
    check(dumps, told, &stored).expect("the dumps read")
}

fn checked_one(changes: &[Value]) -> Found {
    checked(&[dump(1, changes)], &[told(Some(JOB))])
}

#[track_caller]
fn counts(found: &Found, lost: usize, twice: usize, missing: usize, objects: usize, logs: usize) {
    let seen = [
        found.lost.len(),
        found.twice.len(),
        found.missing.len(),
        found.objects.len(),
        found.logs.len(),
    ];
    assert_eq!(seen, [lost, twice, missing, objects, logs], "{found:?}");
}

#[test]
fn a_run_without_a_flaw_passes() {
    let found = checked(&[dump(1, &fine()), dump(2, &fine())], &[told(Some(JOB))]);
    counts(&found, 0, 0, 0, 0, 0);
    assert_eq!((found.jobs, found.chunks, found.repeated), (1, 2, 0));
}

#[test]
fn an_acknowledged_job_that_the_log_does_not_know_is_lost() {
    let other = "job_00000000000000000000000000000002";
    let found = checked(&[dump(1, &fine())], &[told(Some(other))]);
    counts(&found, 1, 0, 0, 0, 0);
    // Told nothing: it may be there or not.
    counts(&checked(&[dump(1, &fine())], &[told(None)]), 0, 0, 0, 0, 0);
}

#[test]
fn a_job_that_does_not_end_is_lost_unless_its_end_was_wished() {
    let mut changes = fine();
    changes.truncate(5);
    counts(&checked_one(&changes), 1, 0, 0, 0, 0);
    let wish =
        json!({ "Ask": { "job": JOB, "request_id": "", "wish": { "Cancel": { "reason": "" } } } });
    changes.push(change(wish, json!("Accepted")));
    counts(&checked_one(&changes), 1, 0, 0, 0, 0);
    let wished = Told {
        cancelled: true,
        ..told(Some(JOB))
    };
    let (dumps, told) = ([dump(1, &changes)], [wished]);
    counts(&checked(&dumps, &told), 0, 0, 0, 0, 0);
    // Its chunk may have been swept before anybody saw it; one that was seen is what it must be.
    let with = |object: &dyn Fn(&str) -> Option<(u64, Digest)>| {
        let output = |_: &str| None;
        let stored = Stored {
            object,
            output: &output,
        };
        check(&dumps, &told, &stored).expect("the dumps read")
    };
    let unseen = with(&|_| None);
    counts(&unseen, 0, 0, 0, 0, 0);
    assert_eq!(unseen.unseen, 1);
    counts(&with(&|_| Some((3, digest("x")))), 0, 0, 0, 1, 0);
}

#[test]
fn a_segment_committed_twice_is_seen_even_under_a_lease() {
    let mut changes = fine();
    changes.insert(6, grant(&encode(0), 2));
    changes.insert(7, encoded(0, 2));
    counts(&checked_one(&changes), 0, 1, 0, 0, 0);
}

#[test]
fn a_result_of_a_lease_that_has_expired_is_seen() {
    let mut changes = fine();
    let expired = json!({ "ExpireLeases": { "leases": [[encode(0), 1]] } });
    changes.insert(4, change(expired, json!("Accepted")));
    counts(&checked_one(&changes), 0, 1, 0, 0, 0);
    // As a new attempt it is right, and counted.
    changes.insert(5, grant(&encode(0), 2));
    changes[6] = encoded(0, 2);
    let found = checked_one(&changes);
    counts(&found, 0, 0, 0, 0, 0);
    assert_eq!(found.repeated, 1);
}

#[test]
fn a_lease_given_twice_or_an_attempt_numbered_again_is_seen() {
    let mut changes = fine();
    changes.insert(3, grant(&encode(0), 2));
    // Two hold it, and the first one's result is taken.
    counts(&checked_one(&changes), 0, 2, 0, 0, 0);
    let mut changes = fine();
    let gone = change(json!({ "ForgetNode": { "node": 1 } }), json!("Accepted"));
    changes.insert(4, gone);
    changes.insert(5, grant(&encode(0), 1));
    changes.insert(6, grant(&encode(1), 2));
    changes[8] = encoded(1, 2);
    counts(&checked_one(&changes), 0, 1, 0, 0, 0);
}

#[test]
fn what_was_rejected_changes_nothing() {
    let mut changes = fine();
    let mut late = encoded(0, 1);
    late["outcome"] = json!({ "Rejected": "StaleAttempt" });
    changes.insert(6, late);
    counts(&checked_one(&changes), 0, 0, 0, 0, 0);
}

#[test]
fn a_segment_that_a_finished_job_lacks_is_missing() {
    let mut changes = fine();
    changes.remove(5);
    counts(&checked_one(&changes), 0, 0, 1, 0, 0);
}

#[test]
fn objects_and_outputs_are_compared_with_what_is_stored() {
    let dumps = [dump(1, &fine())];
    let told = [told(Some(JOB))];
    let with = |object: &dyn Fn(&str) -> Option<(u64, Digest)>, output: Option<(u64, Digest)>| {
        let output = move |_: &str| output;
        let stored = Stored {
            object,
            output: &output,
        };
        check(&dumps, &told, &stored).expect("the dumps read")
    };
    let right = Some((3, digest("out")));
    let key = |key: &str| Some((key.len() as u64, digest(key)));
    counts(&with(&key, right), 0, 0, 0, 0, 0);
    counts(&with(&|_| None, right), 0, 0, 0, 2, 0);
    let damaged = |key: &str| Some((key.len() as u64, digest("x")));
    counts(&with(&damaged, right), 0, 0, 0, 2, 0);
    counts(&with(&key, None), 0, 0, 0, 1, 0);
    counts(&with(&key, Some((3, digest("other")))), 0, 0, 0, 1, 0);
}

#[test]
fn logs_that_differ_where_both_are_committed_are_seen() {
    let mut other = fine();
    other[1] = plan(3);
    let found = checked(&[dump(1, &other), dump(2, &fine())], &[told(Some(JOB))]);
    counts(&found, 0, 0, 0, 0, 1);
    // One that lags behind is none the worse.
    let short = &fine()[..3];
    let found = checked(&[dump(1, short), dump(2, &fine())], &[told(Some(JOB))]);
    counts(&found, 0, 0, 0, 0, 0);
}

#[test]
fn a_log_that_begins_in_a_snapshot_is_refused() {
    let whole = dump(1, &fine());
    let cut = whole.replace("\"snapshot\":null", "\"snapshot\":7");
    assert_ne!(whole, cut);
    let stored = Stored {
        object: &|_| None,
        output: &|_| None,
    };
    assert!(check(&[cut], &[], &stored).is_err());
}
