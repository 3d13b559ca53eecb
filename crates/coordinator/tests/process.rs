//! The binary as a process: killed at any moment, and with a disk that takes no more.

use recode_mesh::{Jobs, Leader};
use recode_types::{JobId, JobRequest};
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let dir =
            std::env::temp_dir().join(format!("recode-process-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A coordinator process; killed when the test is over.
struct Coordinator {
    child: Child,
    jobs: Jobs,
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Coordinator {
    /// `limits`: shell commands that run before the binary takes the shell's place.
    fn start(folder: &Path, limits: &str) -> Self {
        let mut child = Command::new("bash")
            .arg("-c")
            .arg(format!("{limits} exec \"$0\" \"$@\""))
            .arg(env!("CARGO_BIN_EXE_recode-coordinator"))
            .args(["--listen", "127.0.0.1:0", "--log", "error", "--data-dir"])
            .arg(folder.join("raft"))
            .arg("--work-store")
            .arg(folder.join("store"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap_or_else(|| {
                let mut said = String::new();
                child
                    .stderr
                    .take()
                    .unwrap()
                    .read_to_string(&mut said)
                    .unwrap();
                panic!("did not start: {line}{said}")
            });
        let jobs = Jobs::new(Leader::at(address).unwrap());
        Self { child, jobs }
    }

    async fn submit(&self, id: usize) -> Result<JobId, recode_mesh::Error> {
        let submitted = self.jobs.submit(&format!("request {id}"), &request()).await;
        submitted.map(|(job, _)| job)
    }

    async fn known(&self) -> Vec<JobId> {
        let jobs = self.jobs.list(false).await.unwrap();
        jobs.into_iter().map(|status| status.job).collect()
    }
}

fn request() -> JobRequest {
    serde_json::from_value(serde_json::json!({
        "source": "file:///made-up/in.mp4",
        "outputs": [{
            "url": "file:///made-up/out.mp4", "container": "mp4", "tracks": "all",
            "rendition": {
                "codec": "h264", "encoder": "libx264", "profile": "quality", "scale": "source", "deinterlace": "off"
            }
        }],
        "score": [], "verify_full": false, "strict": false, "overwrite": true, "labels": {}, "priority": 50
    }))
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9() {
    let folder = Folder::new("kill");
    let mut acknowledged = Vec::new();
    let mut next = 0;
    for round in 0..6u64 {
        let mut coordinator = Coordinator::start(&folder.0, "");
        let known = coordinator.known().await;
        let lost: Vec<_> = acknowledged
            .iter()
            .filter(|job| !known.contains(job))
            .collect();
        assert!(lost.is_empty(), "round {round} lost {lost:?}");
        let pid = rustix::process::Pid::from_child(&coordinator.child);
        let killer = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(15 + 23 * round)).await;
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        });
        while let Ok(job) = coordinator.submit(next).await {
            acknowledged.push(job);
            next += 1;
        }
        killer.await.unwrap();
        coordinator.child.wait().unwrap();
        // The one under way when it died may or may not be there; asking again with its id gives one job.
        next += 1;
    }
    assert!(
        acknowledged.len() > 6,
        "only {} were acknowledged",
        acknowledged.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_be_written_ends_the_process_and_loses_nothing() {
    let folder = Folder::new("full");
    // No file may grow beyond 48 KiB, and the system says so instead of sending a signal.
    let mut coordinator = Coordinator::start(&folder.0, "trap '' XFSZ; ulimit -f 48;");
    let mut acknowledged = Vec::new();
    for id in 0..1000 {
        match coordinator.submit(id).await {
            Ok(job) => acknowledged.push(job),
            Err(_) => break,
        }
    }
    assert!(
        (10..1000).contains(&acknowledged.len()),
        "{}",
        acknowledged.len()
    );
    let mut child = std::mem::replace(
        &mut coordinator.child,
        Command::new("true").spawn().unwrap(),
    );
    let (status, said) = tokio::task::spawn_blocking(move || {
        let mut said = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        (child.wait().unwrap(), said)
    })
    .await
    .unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("the replicated log has stopped"), "{said}");
    assert!(said.contains("make room on the disk"), "{said}");
    drop(coordinator);
    let coordinator = Coordinator::start(&folder.0, "");
    let known = coordinator.known().await;
    assert!(acknowledged.iter().all(|job| known.contains(job)));
}

#[test]
fn a_folder_in_use_is_refused_with_one_sentence() {
    let folder = Folder::new("in-use");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _guard = runtime.enter();
    let _first = Coordinator::start(&folder.0, "");
    let second = Command::new(env!("CARGO_BIN_EXE_recode-coordinator"))
        .args(["--listen", "127.0.0.1:0", "--data-dir"])
        .arg(folder.0.join("raft"))
        .arg("--work-store")
        .arg(folder.0.join("store"))
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(
        said.contains("is in use by another coordinator: stop that one"),
        "{said}"
    );
}
