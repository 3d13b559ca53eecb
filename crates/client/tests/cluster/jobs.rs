//! Looking at Jobs and nodes, and steering them.

use crate::cluster::{Cluster, stderr};
use serde_json::Value;

/// Submits a Job whose source is nowhere; gives its id.
fn submit(cluster: &Cluster, more: &str) -> String {
    let line = format!(
        "submit file:///made-up/in.mp4 -o file://{} {more}",
        cluster.file("out.mp4").display()
    );
    cluster.said(&line).trim().to_owned()
}

/// Ids in a list.
fn ids(list: &Value) -> Vec<&str> {
    let jobs = list["jobs"].as_array().expect("it is a list");
    jobs.iter()
        .map(|job| job["job"].as_str().unwrap())
        .collect()
}

#[test]
fn jobs_are_listed_paused_explained_resumed_and_cancelled() {
    let cluster = Cluster::of(1);
    assert_eq!(cluster.said("list"), "there are no jobs\n");
    let first = submit(&cluster, "--label show=one --priority 80");
    let second = submit(&cluster, "--label show=two --request-id mine");
    assert_eq!(
        submit(&cluster, "--label show=two --request-id mine"),
        second
    );

    let all = cluster.json("list");
    assert_eq!(ids(&all), [&first, &second]);
    assert_eq!(all["next_page"], Value::Null);
    assert_eq!(all["jobs"][0]["priority"], 80);
    for (filter, expected) in [
        ("--label show=two", &[&second][..]),
        ("--label show=one --label show=two", &[&second]),
        ("--state probing,planning", &[&first, &second]),
        ("--state done", &[]),
        ("--source file:///made-up/", &[&first, &second]),
        ("--source s3://", &[]),
        ("--since 1h", &[&first, &second]),
        ("--live --label show=one", &[&first]),
    ] {
        assert_eq!(
            ids(&cluster.json(&format!("list {filter}"))),
            expected,
            "{filter}"
        );
    }
    let page = cluster.json("list --limit 1");
    assert_eq!(ids(&page), [&first]);
    let token = page["next_page"].as_str().expect("there are more");
    let rest = cluster.json(&format!("list --limit 1 --page {token}"));
    assert_eq!(
        (ids(&rest), &rest["next_page"]),
        (vec![&*second], &Value::Null)
    );
    let table = cluster.client("list --limit 1").output().unwrap();
    assert!(stderr(&table).contains(&format!("go on with --page {token}")));
    assert!(cluster.said("list").lines().count() == 3);

    assert!(
        cluster
            .said(&format!("explain {first}"))
            .contains("no node reports: start one")
    );
    let said = cluster.said(&format!("pause {first}"));
    assert_eq!(
        said,
        format!("{first} is paused; what runs of it goes on to its end\n")
    );
    assert!(cluster.said("list").contains("  paused  "));
    assert!(
        cluster
            .said(&format!("show {first}"))
            .contains("labels: show=one\npriority: 80\n")
    );
    let explained = cluster.json(&format!("explain {first}"));
    assert_eq!(explained["waiting"][0]["why"], "Paused");
    assert_eq!(cluster.json(&format!("pause {first}"))["paused"], true);
    assert_eq!(
        cluster.said(&format!("resume {first}")),
        format!("{first} goes on\n")
    );
    assert_eq!(
        cluster.json(&format!("show {first}"))["status"]["paused"],
        false
    );

    assert_eq!(
        cluster.said(&format!("logs {first}")),
        "no attempt has failed\n"
    );
    assert_eq!(
        cluster.said(&format!("cancel {first}")),
        format!("{first} is cancelled\n")
    );
    let explained = cluster.said(&format!("explain {first}"));
    assert_eq!(
        explained,
        format!("{first} has ended (cancelled): nothing of it waits\n")
    );
    assert_eq!(ids(&cluster.json("list --live")), [&second]);
    // Follows to the end that was, and ends itself.
    assert_eq!(
        cluster.said(&format!("logs {first} --follow")),
        "no attempt has failed\n"
    );
}

#[test]
fn a_job_that_failed_says_why_and_is_tried_again() {
    let mut cluster = Cluster::of(1);
    if !cluster.add_node() {
        return;
    }
    let source = cluster.file("in.mp4");
    let output = cluster.file("out.mp4");
    let line = format!(
        "submit file://{} -o file://{}",
        source.display(),
        output.display()
    );
    let job = cluster.said(&line).trim().to_owned();
    let logs = cluster.start(&format!("logs {job} --follow --json"));
    let watched = cluster.client(&format!("watch {job}")).output().unwrap();
    assert_eq!(watched.status.code(), Some(3), "{}", stderr(&watched));
    assert!(
        stderr(&watched).contains("does not exist"),
        "{}",
        stderr(&watched)
    );
    let logs = logs.wait_with_output().unwrap();
    let log: Value = serde_json::from_slice(&logs.stdout).expect("one line of JSON");
    assert_eq!(
        (&log["attempt"], &log["class"]),
        (&1.into(), &"bad_input".into())
    );
    let said = cluster.said(&format!("logs {job}"));
    assert!(
        said.starts_with("probe#1 on node_1 at ") && said.contains("does not exist"),
        "{said}"
    );
    assert_eq!(
        cluster.said(&format!("logs {job} --task stitch.0")),
        "no attempt has failed\n"
    );

    cluster.clip("in.mp4");
    let again = cluster.said(&format!("retry {job}"));
    let follow = format!(
        "recode-client watch {job} --endpoint {}",
        cluster.endpoint()
    );
    assert_eq!(
        again,
        format!("{job} is tried again; follow it with: {follow}\n")
    );
    let report = cluster.json(&format!("watch {job}"));
    assert_eq!(report["state"], "done");
    assert!(output.exists());
    let shown = cluster.said(&format!("show {job}"));
    assert!(
        shown.contains("\nended: ") && shown.contains(", after "),
        "{shown}"
    );
}

#[test]
fn nodes_are_shown_drained_and_undrained() {
    let mut cluster = Cluster::of(1);
    let none = "there are no nodes: start recode-node on a machine that is to work\n";
    assert_eq!(cluster.said("nodes"), none);
    if !cluster.add_node() {
        return;
    }
    cluster.until("the node reports", || {
        (cluster.json("nodes")[0]["heard"]["present"] == true).then_some(())
    });
    let table = cluster.said("nodes");
    assert!(
        table.contains("node_1") && table.contains("idle"),
        "{table}"
    );
    let shown = cluster.said("nodes 1");
    assert!(shown.contains("ffmpeg: ffmpeg version"), "{shown}");
    let gone = "node_1 gets nothing new and runs nothing: it may go\n";
    assert_eq!(cluster.said("drain node_1 --wait"), gone);
    assert!(cluster.said("nodes").contains("drained"));
    let job = submit(&cluster, "");
    cluster.until("the node's drain is known", || {
        let explained = cluster.said(&format!("explain {job}"));
        explained
            .contains("every node is being drained")
            .then_some(())
    });
    assert_eq!(cluster.said("undrain 1"), "node_1 gets work\n");
    // It gets the job, which cannot be done.
    let watched = cluster.client(&format!("watch {job}")).output().unwrap();
    assert_eq!(watched.status.code(), Some(3), "{}", stderr(&watched));
}
