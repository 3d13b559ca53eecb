//! Sources that only the client's machine sees.

use crate::cluster::{Cluster, stderr};
use rustix::process::{Pid, Signal, kill_process};
use std::path::PathBuf;

/// Files in the work store, of whatever Job.
fn stored(cluster: &Cluster) -> Vec<PathBuf> {
    let mut open = vec![cluster.file("store")];
    let mut files = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => open.push(path),
                path => files.push(path),
            }
        }
    }
    files
}

#[test]
fn a_local_source_is_sent_and_goes_with_its_job() {
    let mut cluster = Cluster::of(1);
    if !cluster.add_node() {
        return;
    }
    cluster.clip("my film.mp4");
    std::fs::rename(cluster.file("my film.mp4"), cluster.file("my-film.mp4")).unwrap();
    let output = cluster.file("out.mp4");
    let line = format!(
        "transcode my-film.mp4 -o file://{} --upload --json",
        output.display()
    );
    let report = cluster.json(line.trim_end_matches(" --json"));
    assert_eq!(report["state"], "done");
    let source = report["source"].as_str().unwrap();
    assert!(source.ends_with("/source/my-film.mp4"), "{source}");
    assert!(output.exists() && cluster.file("my-film.mp4").exists());
    cluster.until("everything of the job is swept", || {
        stored(&cluster).is_empty().then_some(())
    });
}

#[test]
fn the_same_request_is_sent_once_and_another_refused() {
    let cluster = Cluster::of(1);
    std::fs::write(cluster.file("a.mov"), vec![7; 100_000]).unwrap();
    std::fs::write(cluster.file("b.mov"), b"another").unwrap();
    let line = "submit a.mov -o s3://out/a.mp4 --upload --request-id mine";
    let job = cluster.said(line);
    assert_eq!(cluster.said(line), job);
    let files = stored(&cluster);
    assert_eq!(files.len(), 1, "{files:?}");
    assert!(files[0].ends_with(format!("jobs/{}/source/a.mov", job.trim())));
    assert_eq!(std::fs::read(&files[0]).unwrap(), vec![7; 100_000]);
    let other = cluster
        .client("submit b.mov -o s3://out/b.mp4 --upload --request-id mine")
        .output()
        .unwrap();
    let said = format!(
        "recode-client: mine was used for another request, {}; choose a new --request-id\n",
        job.trim()
    );
    assert_eq!((other.status.code(), stderr(&other)), (Some(1), said));
    // Many at once, each under its own job.
    let many = cluster.said("submit a.mov b.mov -o s3://many/{stem}.mp4 --upload");
    assert_eq!(many.lines().count(), 2, "{many}");
    assert_eq!(stored(&cluster).len(), 3);
    for job in many.lines() {
        let (job, _) = job.split_once(' ').unwrap();
        cluster.said(&format!("cancel {job}"));
    }
    cluster.until("what was sent for them is swept", || {
        (stored(&cluster).len() == 1).then_some(())
    });
}

#[test]
fn an_upload_that_is_broken_off_or_refused_leaves_nothing() {
    let cluster = Cluster::of(1);
    // Far more than is copied before the signal comes.
    let large = std::fs::File::create(cluster.file("large.mov")).unwrap();
    large.set_len(20 << 30).unwrap();
    let child = cluster.start("submit large.mov -o s3://out/a.mp4 --upload");
    cluster.until("something is sent", || {
        (!stored(&cluster).is_empty()).then_some(())
    });
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let out = child.wait_with_output().unwrap();
    let said =
        "recode-client: interrupted; nothing was submitted, and nothing is left of what was sent\n";
    assert_eq!(
        (out.status.code(), stderr(&out).as_str()),
        (Some(130), said)
    );
    assert_eq!(stored(&cluster), Vec::<PathBuf>::new());
    assert_eq!(cluster.said("list"), "there are no jobs\n");

    // One that the cluster does not take.
    std::fs::write(cluster.file("a.mov"), b"not looked at").unwrap();
    let label = "x".repeat(5000);
    let line = format!("submit a.mov -o s3://out/a.mp4 --upload --label a={label}");
    let out = cluster.client(&line).output().unwrap();
    assert_eq!(out.status.code(), Some(2), "{}", stderr(&out));
    assert_eq!(stored(&cluster), Vec::<PathBuf>::new());
}
