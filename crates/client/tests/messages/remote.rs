//! What people are told who use a cluster wrongly.

#[path = "../common/cluster.rs"]
mod cluster;

use cluster::{Cluster, stderr};
use recode_testkit::s3::{Fault, Kind, Server};
use std::process::Command;

fn refused_by(cluster: &Cluster, mut command: Command, line: &str, code: i32, message: &str) {
    let out = command.output().expect("the program is built");
    let said = stderr(&out).replace(&cluster.file("").display().to_string(), "DIR/");
    let said = said.replace(&cluster.endpoint(), "CLUSTER");
    assert_eq!(
        (out.status.code(), said.as_str()),
        (Some(code), format!("recode-client: {message}\n").as_str()),
        "{line}"
    );
    // Counted by `make evidence LINE=1.12`.
    println!("message held: exit {code}: {message}");
}

fn refused(cluster: &Cluster, line: &str, code: i32, message: &str) {
    refused_by(cluster, cluster.client(line), line, code, message);
}

#[test]
fn what_is_no_job_or_node_is_told_by_every_command() {
    let cluster = Cluster::of(1);
    let unknown = "job_00000000000000000000000000000007";
    for command in [
        "show", "watch", "cancel", "pause", "resume", "retry", "explain", "report", "logs",
    ] {
        refused(
            &cluster,
            &format!("{command} {unknown}"),
            1,
            &format!("{unknown}: there is no such job: it may have been removed"),
        );
        refused(
            &cluster,
            &format!("{command} job_12"),
            2,
            "invalid value 'job_12' for '<JOB>': \"job_12\" is not a job id (expected job_…)",
        );
    }
    for command in ["nodes", "drain", "undrain"] {
        refused(
            &cluster,
            &format!("{command} node_7"),
            1,
            "node_7: there is no such node; recode-client nodes lists those there are",
        );
    }
    refused(
        &cluster,
        "drain machine",
        2,
        "invalid value 'machine' for '<NODE>': \"machine\" is not a node such as node_3, which recode-client nodes lists",
    );
    refused(
        &cluster,
        &format!("logs {unknown} --task encode"),
        2,
        "invalid value 'encode' for '--task <TASK>': \"encode\" is not a task key id (expected probe, \
         audio.0, encode.0.12…)",
    );
}

#[test]
fn a_job_in_the_wrong_state_is_told() {
    let cluster = Cluster::of(1);
    let job = cluster.said("submit s3://in/a.mov -o s3://out/a.mp4 --request-id mine");
    let job = job.trim();
    for (command, message) in [
        (
            "retry",
            "this job has not failed: only a failed job can be retried",
        ),
        ("report", "has not ended: watch it until it has"),
    ] {
        let message = match command {
            "report" => format!("{job} {message}"),
            _ => format!("{job}: {message}"),
        };
        refused(&cluster, &format!("{command} {job}"), 1, &message);
    }
    refused(
        &cluster,
        "submit s3://in/b.mov -o s3://out/a.mp4 --request-id mine",
        1,
        "this request id was used for another request: choose a new one",
    );
    cluster.said(&format!("cancel {job}"));
    let ended = format!("{job}: this job has ended");
    refused(&cluster, &format!("pause {job}"), 1, &ended);
    refused(&cluster, &format!("resume {job}"), 1, &ended);
    refused(
        &cluster,
        &format!("retry {job}"),
        1,
        &format!("{job}: this job has not failed: only a failed job can be retried"),
    );
    let out = cluster.client(&format!("cancel {job}")).output().unwrap();
    assert!(
        out.status.success(),
        "what is cancelled may be cancelled again"
    );
}

#[test]
fn lists_that_cannot_be_are_told() {
    let cluster = Cluster::of(1);
    for (line, message) in [
        (
            "list --state finished",
            "invalid value 'finished' for '--state <STATES>' [possible values: probing, planning, running, done, failed, \
             cancelled] (a similar value exists: 'failed')",
        ),
        (
            "list --label news",
            "invalid value 'news' for '--label <KEY=VALUE>': \"news\" is not a label such as team=news",
        ),
        (
            "list --limit 0",
            "invalid value '0' for '--limit <N>': 0 is not in 1..=1000; see recode-client list --help",
        ),
        (
            "list --page x",
            "the following required arguments were not provided: --limit <N>; see recode-client list --help",
        ),
        (
            "list --limit 5 --page x",
            "page_token is not valid: it comes from no earlier page: begin with an empty one",
        ),
    ] {
        refused(&cluster, line, 2, message);
    }
}

#[test]
fn a_cluster_that_is_not_named_or_not_there_is_told() {
    let cluster = Cluster::of(1);
    let without = |line: &str| {
        let mut command = cluster.client(line);
        command.env_remove("RECODE_ENDPOINT");
        command
    };
    for line in ["list", "nodes", "submit s3://in/a.mov -o s3://out/a.mp4"] {
        let message = "no cluster is named; add --endpoint HOST:PORT or set RECODE_ENDPOINT";
        refused_by(&cluster, without(line), line, 2, message);
    }
    refused(
        &cluster,
        "list --endpoint localhost",
        2,
        "\"localhost\" is not a coordinator address (expected http://HOST:PORT)",
    );
    let line = "submit s3://in/a.mov -o s3://out/a.mp4 --request-id mine --endpoint 127.0.0.1:9";
    refused(
        &cluster,
        line,
        5,
        "the coordinator at http://127.0.0.1:9 does not answer: nothing listens there; check the address, or start it; the same command with --request-id mine \
         submits it once, whether it was heard or not",
    );
}

#[test]
fn inputs_and_outputs_that_no_node_sees_or_that_meet_are_told() {
    let cluster = Cluster::of(1);
    std::fs::write(cluster.file("in.mov"), b"not looked at").unwrap();
    for (line, code, message) in [
        (
            "submit in.mov -o s3://out/a.mp4",
            2,
            "in.mov is on this machine, where the nodes of CLUSTER may not see it; send it along with --upload, name an s3:// \
             URL, or write file://DIR/in.mov where all nodes share that disk",
        ),
        (
            "submit in.mov -o out.mp4 --upload",
            2,
            "out.mp4 is on this machine, where the nodes of CLUSTER may not see it; name an s3:// URL, or write \
             file://DIR/out.mp4 where all nodes share that disk",
        ),
        (
            "submit none.mov -o s3://out/a.mp4 --upload",
            3,
            "none.mov does not exist; check the path",
        ),
        (
            "submit s3://in/a.mov s3://in/b.mov -o s3://out/a.mp4",
            2,
            "s3://out/a.mp4 is one name for the outputs of 2 inputs; put {stem} into it, which stands for the name of the \
             input without its ending",
        ),
        (
            "submit s3://in/1/a.mov s3://in/2/a.mov -o s3://out/{stem}.mp4",
            2,
            "s3://in/1/a.mov and s3://in/2/a.mov would both become s3://out/a.mp4; use {path} or {ext} in the name of the \
             output, or submit them apart",
        ),
        (
            "submit s3://in/a.mov s3://in/a.mov -o s3://out/{stem}.mp4",
            2,
            "s3://in/a.mov is named as input twice; name it once",
        ),
        (
            "submit s3://in/a.mov s3://in/a-mov.mp4 -o s3://in/{stem}-{ext}.mp4",
            2,
            "the output s3://in/a-mov.mp4 of s3://in/a.mov is itself an input (s3://in/a-mov.mp4); name the outputs differently",
        ),
        (
            "submit s3://in/a.mov -o s3://out/{name}.mp4",
            2,
            "{name} in the name s3://out/{name}.mp4 is not known; write {stem} (the input's name without its ending), {ext} or \
             {path}, and {{ for a brace",
        ),
        (
            "submit s3://in/a.mov -o s3://out/{stem.mp4",
            2,
            "a brace in the name s3://out/{stem.mp4 stands alone; write {stem}, {ext} or {path}, and {{ or }} for a brace",
        ),
    ] {
        refused(&cluster, line, code, message);
    }
    assert_eq!(cluster.said("list"), "there are no jobs\n");
    std::fs::remove_dir_all(cluster.file("store")).unwrap();
    refused(
        &cluster,
        "submit in.mov -o s3://out/a.mp4 --upload",
        5,
        "in.mov cannot be sent, since the cluster's work store DIR/store is a folder that this machine does not see; copy it to \
         a disk that the nodes share and name it with file://, or to s3://",
    );
}

#[test]
fn prefixes_that_are_empty_forbidden_or_not_there_are_told() {
    let cluster = Cluster::of(1);
    let dir = cluster.file("s3");
    std::fs::create_dir_all(&dir).unwrap();
    let server = Server::start(&dir).unwrap();
    server.create_bucket("media").unwrap();
    std::fs::write(cluster.file("object"), b"not looked at").unwrap();
    for key in ["text/a.srt", "text/b.srt"] {
        server.place("media", key, &cluster.file("object")).unwrap();
    }
    let check = |line: &str, code, message: &str| {
        let mut command = cluster.client(line);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") {
                command.env_remove(name);
            }
        }
        command.env("HOME", cluster.file("")).envs(server.env());
        refused_by(&cluster, command, line, code, message);
    };
    check(
        "submit s3://media/films/ -o s3://out/{stem}.mp4",
        3,
        "s3://media/films/ is empty; check the prefix, whose last part is a whole folder",
    );
    check(
        "submit s3://media/text/ -o s3://out/{stem}.mp4",
        3,
        "s3://media/text/ holds no video, only 2 objects such as s3://media/text/a.srt; name an object itself where its name has \
         another ending",
    );
    check(
        "submit s3://gone/films/ -o s3://out/{stem}.mp4",
        3,
        "the bucket s3://gone does not exist; check its name, AWS_REGION and AWS_ENDPOINT_URL",
    );
    check(
        "submit s3:/// -o s3://out/{stem}.mp4",
        3,
        "s3:/// names no bucket; write s3://bucket/prefix/",
    );
    server.inject(Kind::List, Fault::Refuse(403));
    check(
        "submit s3://media/text/ -o s3://out/{stem}.mp4",
        3,
        "s3://media/text/ may not be listed with the AWS keys in use; they need the right s3:ListBucket, or name its objects one by \
         one",
    );
}
