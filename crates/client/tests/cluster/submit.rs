//! Many inputs at once.

use crate::cluster::{Cluster, stderr};
use recode_testkit::s3::Server;
use serde_json::Value;

/// A bucket with two episodes of a season and what else lies there.
fn bucket(cluster: &Cluster) -> Server {
    let dir = cluster.file("s3");
    std::fs::create_dir_all(&dir).unwrap();
    let server = Server::start(&dir).unwrap();
    server.create_bucket("media").unwrap();
    let file = cluster.file("object");
    std::fs::write(&file, b"not looked at").unwrap();
    for key in [
        "one/1/film.mov",
        "one/2/film.MKV",
        "one/2/film.srt",
        "ones/other.mov",
    ] {
        server.place("media", key, &file).unwrap();
    }
    server
}

fn lines(cluster: &Cluster, server: &Server, line: &str) -> Vec<Value> {
    let out = cluster.client(line).envs(server.env()).output().unwrap();
    assert!(out.status.success(), "{line}: {}", stderr(&out));
    let text = String::from_utf8(out.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn all_videos_below_a_prefix_become_jobs_once() {
    let cluster = Cluster::of(1);
    let server = bucket(&cluster);
    let line = "submit s3://media/one/ s3://media/ones/other.mov -o s3://out/{path}.mp4 --label season=one";
    let out = cluster
        .client(&format!("{line} --dry-run"))
        .envs(server.env())
        .output()
        .unwrap();
    assert_eq!(
        stderr(&out),
        "recode-client: warning: 1 object below s3://media/one/ is left out, such as s3://media/one/2/film.srt: by its name it is \
         no video\n"
    );
    assert_eq!(
        String::from_utf8(out.stdout).unwrap(),
        "\
source                     output
s3://media/one/1/film.mov  s3://out/1/film.mp4
s3://media/one/2/film.MKV  s3://out/2/film.mp4
s3://media/ones/other.mov  s3://out/other.mp4
"
    );
    assert_eq!(cluster.said("list"), "there are no jobs\n");

    let line = format!("{line} --request-id season-one --json");
    let first = lines(&cluster, &server, &line);
    assert_eq!(first.len(), 3);
    assert_eq!(first[1]["source"], "s3://media/one/2/film.MKV");
    assert_eq!(lines(&cluster, &server, &line), first, "the same jobs");
    let list = cluster.json("list --label season=one");
    let listed = list["jobs"].as_array().unwrap();
    assert_eq!(listed.len(), 3);
    assert_eq!(listed[0]["outputs"][0], "s3://out/1/film.mp4");

    // What would go round in circles is told.
    let line = "submit s3://media/one/ -o s3://media/one/out/{path}.mp4 --dry-run";
    let out = cluster.client(line).envs(server.env()).output().unwrap();
    let circle = "warning: the output s3://media/one/out/1/film.mp4 lies below s3://media/one/, and will be an input when \
                  that is submitted again\n";
    assert!(stderr(&out).ends_with(circle), "{}", stderr(&out));
}
