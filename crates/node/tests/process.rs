//! The binary as a process: it works for a coordinator, its children die with it, and what it held is made elsewhere.

use recode_coordinator::assembly;
use recode_mesh::{Jobs, Leader};
use recode_types::{EventKind, JobRequest, JobState};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A node process; killed when the test is over.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Node {
    fn start(coordinator: &str, scratch: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_recode-node"))
            .args([
                "--coordinator",
                coordinator,
                "--workers",
                "1",
                "--log",
                "error",
                "--scratch",
            ])
            .arg(scratch)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples/sintel_trailer_720p24.mp4")
}

fn request(output: &Path) -> JobRequest {
    serde_json::from_value(serde_json::json!({
        "source": format!("file://{}", sample().canonicalize().unwrap().display()),
        "segment_ms": 2000,
        "outputs": [{
            "url": format!("file://{}", output.display()), "container": "mp4", "tracks": "all",
            "rendition": {
                "codec": "h264", "encoder": "libx264", "rate": { "crf": 30000 }, "preset": "ultrafast",
                "profile": "quality", "scale": "source", "deinterlace": "off"
            }
        }],
        "score": [], "verify_full": false, "strict": false, "overwrite": true, "labels": {}, "priority": 50
    }))
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_survives_the_death_of_its_node() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("file://{}", folder.path().join("store").display());
    let coordinator = assembly::start(assembly::Config {
        embedded: false,
        ..assembly::Config::embedded(folder.path().join("raft"), store)
    })
    .await
    .unwrap();
    let address = format!("http://{}", coordinator.local_addr());
    let jobs = Jobs::new(Leader::at(&address).unwrap());
    let output = folder.path().join("out.mp4");
    let (job, _) = jobs.submit("a request", &request(&output)).await.unwrap();
    let first = Node::start(&address, &folder.path().join("scratch-1"));
    let mut watch = jobs.watch(job, 0);
    let (mut done, mut second) = (0, None);
    let ended = async {
        while let Some(seen) = watch.next().await.unwrap() {
            let recode_mesh::Watched::Event(event) = seen else {
                continue;
            };
            if let EventKind::TaskDone { .. } = event.kind {
                done += 1;
            }
            if done == 3 && second.is_none() {
                first.signal(rustix::process::Signal::KILL);
                second = Some(Node::start(&address, &folder.path().join("scratch-2")));
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), ended)
        .await
        .expect("the job ends");
    let view = jobs.get(job).await.unwrap();
    assert_eq!(view.status.state, JobState::Done);
    assert!(output.metadata().unwrap().len() > 100_000);
    let mut second = second.expect("the first node was killed");
    second.signal(rustix::process::Signal::TERM);
    let left = tokio::task::spawn_blocking(move || second.0.wait().unwrap());
    let left = tokio::time::timeout(Duration::from_secs(20), left).await;
    assert!(left.expect("it ends").unwrap().success());
    coordinator.stop().await;
}

#[test]
fn what_cannot_work_is_said_in_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let said = |args: &[&str], ffmpeg: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_recode-node"));
        command.args(args).env("PATH", "/nowhere");
        if !ffmpeg.is_empty() {
            command.env("RECODE_FFMPEG", ffmpeg);
        }
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let scratch = folder.path().join("s");
    let scratch = scratch.to_str().unwrap();
    let text = said(&["--scratch", scratch], "/nowhere/ffmpeg");
    assert!(
        text.starts_with("recode-node: ") && text.contains("/nowhere/ffmpeg"),
        "{text}"
    );
    assert_eq!(text.lines().count(), 1, "{text}");
    let text = said(&["--scratch", scratch, "--workers", "0"], "");
    assert!(text.contains("--workers"), "{text}");
}
