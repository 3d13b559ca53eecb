//! On a cluster.

use crate::cluster::{Cluster, stderr};
use recode_types::{EventKind, NodeStatus};
use serde_json::Value;

/// A URL of a file that all nodes see.
fn url(cluster: &Cluster, name: &str) -> String {
    format!("file://{}", cluster.file(name).display())
}

fn command(cluster: &Cluster, words: &[&str]) -> std::process::Output {
    cluster
        .client("command")
        .args(words)
        .output()
        .expect("the program is built")
}

fn submitted(cluster: &Cluster, words: &[&str]) -> Value {
    let out = command(cluster, &[words, &["--json"]].concat());
    assert!(out.status.success(), "{words:?}: {}", stderr(&out));
    serde_json::from_slice(&out.stdout).expect("it is JSON")
}

#[test]
fn a_command_runs_on_a_node_and_is_a_job_like_any_other() {
    let mut cluster = Cluster::of(1);
    if !cluster.add_node() {
        return;
    }
    cluster.clip("in.mp4");
    // The percent sign of a number is written as such in a URL.
    let (source, output) = (url(&cluster, "in.mp4"), url(&cluster, "img%25d.jpg"));
    let words = [
        "--input",
        "",
        &source,
        "--output",
        "-vf fps=1 -q:v 3",
        &output,
        "--request-id",
        "mine",
        "--name",
        "thumbs",
    ];
    let said = submitted(&cluster, &words);
    let job = said["job"].as_str().expect("a job").to_owned();
    assert_eq!(
        submitted(&cluster, &words)["job"],
        said["job"],
        "the same request is the same job"
    );
    let report = cluster.json(&format!("watch {job}"));
    assert_eq!(report["outputs"][0]["files"], 4);
    for number in 1..=4 {
        assert!(
            cluster.file(&format!("img{number}.jpg")).exists(),
            "{number}"
        );
    }
    let shown = cluster.json(&format!("show {job}"));
    assert_eq!(
        shown["command"]["outputs"][0]["options"],
        "-vf fps=1 -q:v 3"
    );
    assert_eq!(shown["status"]["labels"]["name"], "thumbs");
    assert!(
        cluster
            .said(&format!("show {job}"))
            .contains("-vf fps=1 -q:v 3")
    );
    let list = cluster.json("list --label name=thumbs");
    assert_eq!(list["jobs"].as_array().map(Vec::len), Some(1));
    assert_eq!(cluster.json(&format!("report {job}"))["state"], "done");
}

#[test]
fn a_command_can_be_cancelled_and_its_ffmpeg_ends() {
    let mut cluster = Cluster::of(1);
    if !cluster.add_node() {
        return;
    }
    cluster.clip("in.mp4");
    let (source, output) = (url(&cluster, "in.mp4"), url(&cluster, "out.mp4"));
    let words = [
        "--input",
        "-stream_loop 1000",
        &source,
        "--output",
        "-c:v libx264 -preset veryslow",
        &output,
    ];
    let job = submitted(&cluster, &words)["job"]
        .as_str()
        .expect("a job")
        .to_owned();
    cluster.until("it runs", || {
        let shown = cluster.json(&format!("show {job}"));
        let running = shown["progress"]["running"].as_array()?;
        running
            .iter()
            .any(|r| r["frames"].as_u64() > Some(0))
            .then_some(())
    });
    cluster.said(&format!("cancel {job}"));
    let shown = cluster.json(&format!("show {job}"));
    assert_eq!(shown["status"]["state"], "cancelled");
    // Its slot is free again, and nothing has its name.
    let words = [
        "--input",
        "",
        &source,
        "--output",
        "-c copy",
        &url(&cluster, "copy.mkv"),
        "--wait",
    ];
    assert_eq!(submitted(&cluster, &words)["state"], "done");
    assert!(!cluster.file("out.mp4").exists());
    cluster.until("its directory is gone", || {
        let rooms = std::fs::read_dir(cluster.file("scratch-0")).ok()?.flatten();
        let mut names = rooms.map(|room| room.file_name().to_string_lossy().into_owned());
        (!names.any(|name| name.starts_with("command"))).then_some(())
    });
}

#[test]
fn a_command_waits_for_a_node_with_what_it_needs_and_says_so() {
    let mut cluster = Cluster::of(1);
    if !cluster.add_node() {
        return;
    }
    let words = [
        "--input",
        "",
        "s3://b/in.mp4",
        "--output",
        "-c:v h264_videotoolbox",
        "s3://b/out.mp4",
    ];
    let job = submitted(&cluster, &words)["job"]
        .as_str()
        .expect("a job")
        .to_owned();
    let why = cluster.said(&format!("explain {job}"));
    assert!(why.contains("h264_videotoolbox"), "{why}");
    cluster.said(&format!("cancel {job}"));
}

#[test]
fn a_command_runs_on_the_machines_it_asks_for() {
    let mut cluster = Cluster::of(1);
    let labels: [&[(&str, &str)]; 3] = [
        &[],
        &[("compute", "arm"), ("instance-type", "c7g.large")],
        &[("compute", "intel"), ("instance-type", "c6i.4xlarge")],
    ];
    for labels in labels {
        if !cluster.add_labelled(labels) {
            return;
        }
    }
    cluster.clip("in.mp4");
    let source = url(&cluster, "in.mp4");
    let nodes = cluster.until("all report", || {
        let nodes = cluster.nodes();
        let heard = nodes.iter().filter(|node| node.heard.is_some()).count();
        (heard == labels.len()).then_some(nodes)
    });
    let intel = |node: &&NodeStatus| {
        let heard = node.heard.as_ref();
        heard.is_some_and(|heard| {
            heard
                .hello
                .labels
                .get("compute")
                .is_some_and(|c| c == "intel")
        })
    };
    let wanted = nodes.iter().find(intel).expect("it reports").node;
    assert!(
        cluster
            .said(&format!("nodes {wanted}"))
            .contains("labels: compute=intel, instance-type=c6i.4xlarge")
    );
    // Often enough that chance would have chosen another.
    for number in 0..6 {
        let output = url(&cluster, &format!("{number}.mkv"));
        let words = ["--input", "", &source, "--output", "-c copy", &output];
        let words = [
            &words[..],
            &["--compute", "intel", "--instance-type", "c6i.*", "--wait"],
        ]
        .concat();
        assert_eq!(submitted(&cluster, &words)["state"], "done");
    }
    let list = cluster.json("list");
    for job in list["jobs"].as_array().expect("a list") {
        let job = job["job"].as_str().expect("a job");
        let events = cluster.events(job).into_iter();
        let by = events.filter_map(|kind| match kind {
            EventKind::TaskDone { node, .. } => Some(node),
            _ => None,
        });
        assert_eq!(by.collect::<Vec<_>>(), [wanted], "{job}");
    }
    let words = [
        "--input",
        "",
        &source,
        "--output",
        "-c copy",
        &url(&cluster, "x.mkv"),
        "--compute",
        "xilinx",
    ];
    let job = submitted(&cluster, &words)["job"]
        .as_str()
        .expect("a job")
        .to_owned();
    let why = cluster.said(&format!("explain {job}"));
    assert!(
        why.contains("no node has the label compute=xilinx"),
        "{why}"
    );
}

#[test]
fn what_only_this_machine_sees_is_refused() {
    let cluster = Cluster::of(1);
    let out = command(
        &cluster,
        &["--input", "", "in.mp4", "--output", "", "s3://b/out.mp4"],
    );
    assert_eq!(out.status.code(), Some(2));
    assert!(
        stderr(&out).contains("in.mp4 is on this machine"),
        "{}",
        stderr(&out)
    );
}
