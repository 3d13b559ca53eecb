//! Nodes as processes that serve their site while they work.

use recode_coordinator::assembly;
use recode_mesh::{Jobs, Leader, Nodes};
use recode_testkit::s3::{Kind, Server};
use recode_types::{JobRequest, JobState};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Killed when the test is over.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn command() -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_recode-node"));
    let mut command = Command::new(program);
    if !program.with_file_name("recode-sandbox").is_file() {
        eprintln!("NOT TESTED: the sandbox, since recode-sandbox is not built");
        command.args(["--sandbox", "off"]);
    }
    command.args(["--measure", "false", "--workers", "1", "--log", "error"]);
    command
}

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples/sintel_trailer_720p24.mp4")
}

fn request(crf: u32, output: &Path) -> JobRequest {
    serde_json::from_value(serde_json::json!({
        "source": "s3://media/film.mp4", "segment_ms": 2000,
        "outputs": [{
            "url": format!("file://{}", output.display()), "container": "mp4", "tracks": "all",
            "rendition": {
                "codec": "h264", "encoder": "libx264", "rate": { "crf": crf * 1000 }, "preset": "ultrafast",
                "profile": "quality", "scale": "source", "deinterlace": "off"
            }
        }],
        "score": [], "verify_full": false, "strict": false, "overwrite": true, "labels": {}, "priority": 50
    }))
    .unwrap()
}

/// Bytes of the source that the store sends for two jobs on three nodes of one site, as a part of its size. A job before them
/// gives the nodes time to hear of each other.
async fn fetched(peers: bool) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let s3 = folder.path().join("s3");
    std::fs::create_dir(&s3).unwrap();
    let server = Server::start(&s3).unwrap();
    server.create_bucket("media").unwrap();
    server.place("media", "film.mp4", &sample()).unwrap();
    let store = format!("file://{}", folder.path().join("store").display());
    let coordinator = assembly::start(assembly::Config {
        embedded: false,
        ..assembly::Config::embedded(folder.path().join("raft"), store)
    })
    .await
    .unwrap();
    let address = format!("http://{}", coordinator.local_addr());
    let leader = Leader::at(&address).unwrap();
    let (jobs, nodes) = (Jobs::new(leader.clone()), Nodes::new(leader));
    let mut running = Vec::new();
    for number in 0..3 {
        let mut command = command();
        command.args([
            "--coordinator",
            &address,
            "--label",
            "site=here",
            "--scratch",
        ]);
        command.arg(folder.path().join(format!("scratch-{number}")));
        if peers {
            command.args(["--peer-listen", "127.0.0.1:0"]);
        }
        let node = command.envs(server.env()).stdout(Stdio::null()).spawn();
        running.push(Node(node.unwrap()));
    }
    let all_there = async {
        loop {
            let (seen, _) = nodes.page(None).await.unwrap();
            let heard: Vec<_> = seen.iter().filter_map(|node| node.heard.as_ref()).collect();
            if heard.len() == 3 {
                assert_eq!(heard.iter().all(|one| !one.hello.peer.is_empty()), peers);
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all_there)
        .await
        .expect("they report");
    for crf in [27, 30, 33] {
        let output = folder.path().join(format!("out-{crf}.mp4"));
        let (job, _) = jobs
            .submit(&format!("request {crf}"), &request(crf, &output))
            .await
            .unwrap();
        let ended = async {
            loop {
                let state = jobs.get(job).await.unwrap().status.state;
                if state.is_terminal() {
                    return state;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(200), ended).await;
        assert_eq!(ended.expect("the job ends"), JobState::Done);
        if crf == 27 {
            server.reset();
        }
    }
    if peers {
        let (seen, _) = nodes.page(None).await.unwrap();
        let traffic: Vec<_> = seen
            .iter()
            .filter_map(|node| node.heard.as_ref()?.traffic)
            .collect();
        assert!(traffic.iter().any(|t| t.from_peers > 0), "{traffic:?}");
    }
    drop(running);
    coordinator.stop().await;
    server.count(Kind::Get).bytes_sent as f64 / sample().metadata().unwrap().len() as f64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_one_site_fetch_a_source_once_for_all_their_jobs() {
    let alone = fetched(false).await;
    let together = fetched(true).await;
    assert!(together <= 1.02, "{together} times the source was fetched");
    assert!(
        alone >= 1.5,
        "{alone} times without neighbours: this film shows nothing"
    );
}

#[test]
fn a_node_that_cannot_serve_its_site_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let check = |flags: &[&str], expected: &str| {
        let mut command = command();
        command.arg("--scratch").arg(folder.path().join("scratch"));
        let ended = command.args(flags).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success(), "{flags:?}");
        assert!(said.contains(expected), "{flags:?}: {said}");
    };
    let label = ["--label", "site=here"];
    check(&["--peer-listen", "127.0.0.1:0"], "add --label site=NAME");
    check(
        &["--peer-listen", "0.0.0.0:0", label[0], label[1]],
        "say --insecure",
    );
    check(
        &[
            "--peer-listen",
            "0.0.0.0:0",
            "--insecure",
            label[0],
            label[1],
        ],
        "say --peer-advertise HOST:PORT",
    );
    check(
        &[
            "--peer-listen",
            "127.0.0.1:0",
            "--scratch-budget",
            "100MB",
            label[0],
            label[1],
        ],
        "give it 256MB or more",
    );
    check(&["--peer-advertise", "a:1"], "--peer-listen");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    check(
        &["--peer-listen", &taken, label[0], label[1]],
        "cannot listen on",
    );
}
