//! A coordinator in a folder of its own, and nodes that are processes.
#![allow(dead_code, reason = "each test program uses a part of it")]

use recode_coordinator::assembly;
use recode_mesh::{Jobs, Leader, Nodes, Watched, nats};
use recode_testkit::s3::Server;
use recode_types::rendition::RateControl;
use recode_types::{EventKind, JobId, JobRequest, JobState};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long what a test waits for may take.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A node process; killed when the test is over.
pub struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Node {
    pub fn spawn(command: &mut Command) -> Self {
        Self(command.stdout(Stdio::null()).spawn().unwrap())
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits for its end.
    pub async fn exit_code(mut self) -> i32 {
        let ended = async {
            loop {
                match self.0.try_wait().unwrap() {
                    Some(status) => return status,
                    None => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        };
        let ended = tokio::time::timeout(PATIENCE, ended).await;
        ended.expect("it ends").code().expect("it ends by itself")
    }
}

/// As [`measuring`], and it does not measure itself.
pub fn node() -> Command {
    let mut command = measuring();
    command.args(["--measure", "false"]);
    command
}

/// A node of one slot, unless it is told otherwise.
pub fn measuring() -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_recode-node"));
    let mut command = Command::new(program);
    if !program.with_file_name("recode-sandbox").is_file() {
        eprintln!("NOT TESTED: the sandbox, since recode-sandbox is not built");
        command.args(["--sandbox", "off"]);
    }
    command.args(["--log", "error"]);
    command.env("RECODE_WORKERS", "1");
    command
}

pub fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples/sintel_trailer_720p24.mp4")
}

/// A Job in pieces of two seconds, quickly encoded.
pub fn request(source: &str, output: &Path) -> JobRequest {
    serde_json::from_value(serde_json::json!({
        "source": source, "segment_ms": 2000,
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

/// See the module.
pub struct Ground {
    pub folder: tempfile::TempDir,
    pub address: String,
    pub jobs: Jobs,
    pub nodes: Nodes,
    coordinator: assembly::Running,
}

impl Ground {
    pub async fn new() -> Self {
        Self::with(None).await
    }

    /// For nodes on NATS too.
    pub async fn with(nats: Option<nats::Settings>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = format!("file://{}", folder.path().join("store").display());
        Self::of(folder, nats, store).await
    }

    /// With a work store at this URL.
    pub async fn on(store: &str) -> Self {
        Self::of(tempfile::tempdir().unwrap(), None, store.to_owned()).await
    }

    async fn of(folder: tempfile::TempDir, nats: Option<nats::Settings>, store: String) -> Self {
        let config = assembly::Config {
            embedded: false,
            nats,
            ..assembly::Config::embedded(folder.path().join("raft"), store)
        };
        let coordinator = assembly::start(config).await.unwrap();
        let address = format!("http://{}", coordinator.local_addr());
        let leader = Leader::at(&address).unwrap();
        Self {
            folder,
            address,
            jobs: Jobs::new(leader.clone()),
            nodes: Nodes::new(leader),
            coordinator,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn output(&self) -> PathBuf {
        self.path("out.mp4")
    }

    /// Of the sample.
    pub fn request(&self) -> JobRequest {
        let source = sample().canonicalize().unwrap();
        request(&format!("file://{}", source.display()), &self.output())
    }

    /// Hands a Job in.
    pub async fn submit(&self, wanted: &JobRequest) -> JobId {
        self.submit_as("a request", wanted).await
    }

    /// Hands a second one in.
    pub async fn submit_another(&self, wanted: &JobRequest) -> JobId {
        self.submit_as("another request", wanted).await
    }

    async fn submit_as(&self, name: &str, wanted: &JobRequest) -> JobId {
        let taken = async {
            loop {
                match self.jobs.submit(name, wanted).await {
                    Ok((job, _)) => return job,
                    // A cluster learns what all its members know a moment after its start.
                    Err(recode_mesh::Error::Unavailable { .. }) => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        };
        let taken = tokio::time::timeout(PATIENCE, taken).await;
        taken.expect("it is taken")
    }

    /// Starts a node with a scratch of this name.
    pub fn node(&self, scratch: &str, more: &[&str]) -> Node {
        self.run(node(), scratch, more)
    }

    /// As [`Ground::node`], by this command.
    pub fn run(&self, mut node: Command, scratch: &str, more: &[&str]) -> Node {
        node.args(["--coordinator", &self.address, "--scratch"]);
        Node::spawn(node.arg(self.path(scratch)).args(more))
    }

    /// Shows each event of a Job from its first on, until one is the last that is wanted, or the Job has ended.
    pub async fn watch(&self, job: JobId, mut is_last: impl FnMut(&EventKind) -> bool) {
        let mut watch = self.jobs.watch(job, 0);
        let mut events = Vec::new();
        let seen = async {
            while let Some(seen) = watch.next().await.unwrap() {
                if let Watched::Event(event) = seen {
                    let last = is_last(&event.kind);
                    events.push(event.kind);
                    if last {
                        return;
                    }
                }
            }
        };
        let seen = tokio::time::timeout(PATIENCE, seen).await;
        assert!(seen.is_ok(), "no end: {events:?}");
    }

    /// So many nodes of one site, which read from `server`; returns when all have reported. `peers`: they serve each other.
    pub async fn site(&self, server: &Server, count: usize, peers: bool) -> Vec<Node> {
        let mut running = Vec::new();
        for number in 0..count {
            let mut node = node();
            node.args(["--coordinator", &self.address, "--label", "site=here"]);
            let scratch = self.path(&format!("scratch-{peers}-{number}"));
            node.arg("--scratch").arg(scratch);
            if peers {
                node.args(["--peer-listen", "127.0.0.1:0"]);
            }
            running.push(Node::spawn(node.envs(server.env())));
        }
        let all_there = async {
            loop {
                let (seen, _) = self.nodes.page(None).await.unwrap();
                let heard: Vec<_> = seen.iter().filter_map(|node| node.heard.as_ref()).collect();
                if heard.len() == count {
                    assert_eq!(heard.iter().all(|one| !one.hello.peer.is_empty()), peers);
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let all_there = tokio::time::timeout(PATIENCE, all_there).await;
        all_there.expect("they report");
        running
    }

    /// One job of this quality, to its end.
    pub async fn encode(&self, source: &str, crf: u32) {
        let output = self.path(&format!("out-{crf}.mp4"));
        let mut wanted = request(source, &output);
        wanted.outputs[0].rendition.rate = Some(RateControl::Crf(crf * 1000));
        let job = self.jobs.submit(&format!("request {crf}"), &wanted).await;
        let (job, _) = job.unwrap();
        self.watch(job, |_| false).await;
        assert_eq!(self.state(job).await, JobState::Done);
    }

    pub async fn state(&self, job: JobId) -> JobState {
        self.jobs.get(job).await.unwrap().status.state
    }

    pub async fn stop(self) {
        self.coordinator.stop().await;
    }
}
