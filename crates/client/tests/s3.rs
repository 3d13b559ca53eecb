//! A cluster whose Source, work store and Outputs are all in S3, on the store's bad days. A program of its own, because the
//! S3 settings come from the environment, which is set once, before anything reads it.

#[path = "common/cluster.rs"]
mod cluster;
#[path = "common/mod.rs"]
mod common;

use cluster::{Cluster, stderr};
use recode_testkit::s3::{Server, bad_day};

#[test]
fn a_bad_day_of_the_store_changes_no_byte() {
    if common::ffmpeg().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path()).expect("it starts");
    server.create_bucket("media").expect("made");
    for (name, value) in server.env() {
        // SAFETY: the only test of this program, and the first thing it does; nothing reads the environment yet.
        unsafe { std::env::set_var(name, value) };
    }
    let mut cluster = Cluster::over(1, Some("s3://media/jobs"));
    assert!(cluster.add_node() && cluster.add_node());
    cluster.clip("in.mp4");
    server
        .place("media", "in.mp4", &cluster.file("in.mp4"))
        .expect("placed");
    let transcode = |output: &str| {
        let line = format!(
            "transcode s3://media/in.mp4 -o s3://media/{output} --codec h264 --preset ultrafast --segment 1s"
        );
        let out = cluster.client(&line).output().expect("it starts");
        assert!(out.status.success(), "{output}: {}", stderr(&out));
        std::fs::read(server.path_of("media", output)).expect("it is there")
    };
    let calm = transcode("calm.mp4");
    server.seed(1);
    for rule in bad_day("/media/jobs/") {
        server.add_rule(rule);
    }
    // Four times as bad, as one job is a short day.
    for rule in [
        "any:refuse=503:20%x2",
        "writes:lose-answer:5%",
        "get@/media/jobs/:flip:5%",
    ] {
        server.add_rule(rule.parse().expect("a rule"));
    }
    let before = server.struck();
    for run in 0..3 {
        assert!(
            transcode(&format!("bad-{run}.mp4")) == calm,
            "run {run} has other bytes"
        );
    }
    let struck: u64 = server.struck().values().sum::<u64>() - before.values().sum::<u64>();
    assert!(struck > 20, "only {struck} faults: {:?}", server.struck());
    server.clear_rules();
    assert_eq!(server.open_uploads().expect("readable"), 0);
}
