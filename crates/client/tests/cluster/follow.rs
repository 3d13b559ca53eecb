//! Staying with a Job: through a change of leader, away from it, and back.

use crate::cluster::{Cluster, stderr};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead as _, BufReader};

/// A job of so many Segments that it is still at work when something happens.
fn line(cluster: &Cluster) -> String {
    format!(
        "transcode file://{} -o file://{} --segment 500ms --crf 30",
        cluster.file("in.mp4").display(),
        cluster.file("out.mp4").display()
    )
}

/// Waits until a chunk is finished; gives the job.
fn at_work(cluster: &Cluster) -> String {
    cluster.until("a chunk is finished", || {
        let list = cluster.json("list");
        let job = list["jobs"].get(0)?;
        (job["tasks_done"].as_u64()? >= 2).then(|| job["job"].as_str().unwrap().to_owned())
    })
}

#[test]
fn a_change_of_leader_is_not_noticed() {
    let mut cluster = Cluster::of(3);
    if !cluster.add_node() {
        return;
    }
    cluster.clip("in.mp4");
    let following = cluster.start(&line(&cluster));
    let job = at_work(&cluster);
    let watching = cluster.start(&format!("watch {job}"));
    let leader = cluster.leader();
    cluster.stop(leader);
    let followed = following.wait_with_output().unwrap();
    assert!(followed.status.success(), "{}", stderr(&followed));
    let accepted = format!("recode-client: {job} is accepted\n");
    assert_eq!(stderr(&followed), accepted);
    let watched = watching.wait_with_output().unwrap();
    assert_eq!(
        (stderr(&watched).as_str(), &watched.stdout),
        ("", &followed.stdout)
    );
    assert!(cluster.file("out.mp4").exists());
    assert_ne!(cluster.leader(), leader);
}

#[test]
fn an_interrupt_leaves_the_job_alone_and_says_how_to_come_back() {
    let mut cluster = Cluster::of(1);
    if !cluster.add_node() {
        return;
    }
    cluster.clip("in.mp4");
    let child = cluster.start(&line(&cluster));
    let job = at_work(&cluster);
    kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
    let out = child.wait_with_output().unwrap();
    let back = format!(
        "recode-client watch {job} --endpoint {}",
        cluster.endpoint()
    );
    assert_eq!(
        (out.status.code(), stderr(&out)),
        (
            Some(130),
            format!(
                "recode-client: {job} is accepted\nrecode-client: the job goes on; come back with: {back}\n"
            )
        )
    );
    let words = back
        .strip_prefix("recode-client ")
        .expect("it is the program");
    let report = cluster.json(words);
    assert_eq!(report["state"], "done");
}

#[test]
fn who_follows_is_told_what_the_job_waits_for() {
    let cluster = Cluster::of(1);
    let mut child = cluster.start(&line(&cluster));
    let mut said = BufReader::new(child.stderr.take().expect("it is kept")).lines();
    let mut next = || said.next().expect("it says more").expect("it is text");
    assert!(next().ends_with(" is accepted"));
    assert_eq!(
        next(),
        "recode-client: the job waits: no node reports: start one"
    );
    kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
    assert!(next().starts_with("recode-client: the job goes on; come back with: "));
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
