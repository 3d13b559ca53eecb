//! A cluster in this process, on real gRPC: coordinators and nodes in a folder that goes with it.
#![allow(dead_code, reason = "each test program uses a part of it")]

use recode_client::{Client, Watched};
use recode_coordinator::assembly::{self as coordinator, Beginning, Config};
use recode_node::assembly as node;
use recode_node::toolchain;
use recode_types::{EventKind, NodeStatus};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

const PATIENCE: Duration = Duration::from_secs(60);

pub struct Cluster {
    coordinators: BTreeMap<u64, coordinator::Running>,
    nodes: Vec<node::Running>,
    founders: BTreeMap<u64, String>,
    runtime: Runtime,
    folder: tempfile::TempDir,
}

impl Cluster {
    /// `size` coordinators, one of which leads when this returns.
    pub fn of(size: u64) -> Self {
        Self::over(size, None)
    }

    /// The same over a work store that lies elsewhere.
    pub fn over(size: u64, store: Option<&str>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads can be started");
        // Addresses that were free a moment ago.
        let taken: Vec<_> = (0..size)
            .map(|_| TcpListener::bind("127.0.0.1:0").expect("the loopback is there"))
            .collect();
        let address = |t: &TcpListener| t.local_addr().expect("it is bound").to_string();
        let founders: BTreeMap<u64, String> = (1..).zip(taken.iter().map(address)).collect();
        drop(taken);
        let mut cluster = Self {
            coordinators: BTreeMap::new(),
            nodes: Vec::new(),
            founders,
            runtime,
            folder: tempfile::tempdir().expect("a temporary folder can be made"),
        };
        for (&me, address) in &cluster.founders {
            let own = || cluster.store();
            let store = store.map_or_else(own, str::to_owned);
            let config = Config {
                listen: address.parse().expect("it is an address"),
                embedded: false,
                beginning: Beginning::Together {
                    me,
                    founders: cluster.founders.clone(),
                },
                ..Config::embedded(cluster.file(&format!("coordinator-{me}")), store)
            };
            let running = cluster.runtime.block_on(coordinator::start(config));
            cluster.coordinators.insert(me, running.expect("it starts"));
        }
        cluster.leader();
        cluster
    }

    /// A file or folder beside everything else.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The work store.
    pub fn store(&self) -> String {
        format!("file://{}", self.file("store").display())
    }

    /// All coordinators, as `--endpoint` takes them.
    pub fn endpoint(&self) -> String {
        let addresses: Vec<&str> = self.founders.values().map(String::as_str).collect();
        addresses.join(",")
    }

    /// Who leads, once somebody does.
    pub fn leader(&self) -> u64 {
        self.until("somebody leads", || {
            self.runtime.block_on(async {
                let client = Client::at(&self.endpoint()).expect("it is an address");
                // Only a Leader that answers counts.
                client.nodes().await.ok()?;
                let status = client.cluster_status().await.ok()?;
                let leader = status.leader?;
                self.coordinators.contains_key(&leader).then_some(leader)
            })
        })
    }

    /// Ends a coordinator.
    pub fn stop(&mut self, coordinator: u64) {
        let running = self.coordinators.remove(&coordinator).expect("it runs");
        self.runtime.block_on(running.stop());
    }

    /// A node; `false`, said aloud: there is no FFmpeg here.
    pub fn add_node(&mut self) -> bool {
        self.add_labelled(&[])
    }

    /// The same with labels.
    pub fn add_labelled(&mut self, labels: &[(&str, &str)]) -> bool {
        let Some(ffmpeg) = crate::common::ffmpeg() else {
            return false;
        };
        let _guard = self.runtime.enter();
        let config = node::Config {
            coordinator: self.endpoint(),
            nats: None,
            ahead: None,
            scratch: self.file(&format!("scratch-{}", self.nodes.len())),
            scratch_budget: None,
            workers: Some(1),
            ffmpeg: Arc::new(toolchain::open(&ffmpeg, None).expect("it is one")),
            cache: None,
            labels: labels
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            habits: recode_node::leaving::Habits::default(),
            peer: None,
            measured: None,
        };
        self.nodes.push(node::start(config).expect("it starts"));
        true
    }

    /// All nodes, as the Leader knows them.
    pub fn nodes(&self) -> Vec<NodeStatus> {
        let endpoint = self.endpoint();
        // A connection belongs to the runtime that it is prepared on.
        let asked = async {
            Client::at(&endpoint)
                .expect("it is an address")
                .nodes()
                .await
        };
        self.runtime.block_on(asked).expect("somebody leads")
    }

    /// What happened to a job that has ended.
    pub fn events(&self, job: &str) -> Vec<EventKind> {
        let _guard = self.runtime.enter();
        let client = Client::at(&self.endpoint()).expect("it is an address");
        let mut events = Vec::new();
        let see = |watched: &Watched| {
            if let Watched::Event(event) = watched {
                events.push(event.kind.clone());
            }
        };
        let job = job.parse().expect("it is a job");
        self.runtime
            .block_on(client.follow(job, see))
            .expect("it has ended");
        events
    }

    /// The program, ready to run with this cluster as its own.
    pub fn client(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_recode-client"));
        command.current_dir(self.folder.path());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("RECODE_") {
                command.env_remove(name);
            }
        }
        command.env("RECODE_ENDPOINT", self.endpoint());
        command.args(line.split_whitespace());
        command
    }

    /// What the program says when all goes well.
    pub fn said(&self, line: &str) -> String {
        let out = self.client(line).output().expect("the program is built");
        assert!(out.status.success(), "{line}: {}", stderr(&out));
        String::from_utf8(out.stdout).expect("it is text")
    }

    /// The same as JSON.
    pub fn json(&self, line: &str) -> serde_json::Value {
        let said = self.said(&format!("{line} --json"));
        serde_json::from_str(&said).unwrap_or_else(|e| panic!("{line}: {e}: {said}"))
    }

    /// Starts the program; what it says is kept.
    pub fn start(&self, line: &str) -> Child {
        let mut command = self.client(line);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the program is built")
    }

    /// Looks until there is something.
    pub fn until<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        let started = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(started.elapsed() < PATIENCE, "still not so: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A clip of four seconds with sound.
    pub fn clip(&self, name: &str) {
        let ffmpeg = crate::common::ffmpeg().expect("asked for before");
        let line = "-loglevel error -f lavfi -i testsrc2=size=160x120:rate=25:duration=4 -f lavfi \
                    -i sine=duration=4 -c:v libx264 -preset ultrafast -g 25 -c:a aac -y";
        let status = Command::new(ffmpeg)
            .args(line.split_whitespace())
            .arg(self.file(name))
            .stdin(Stdio::null())
            .status();
        assert!(status.is_ok_and(|s| s.success()), "the clip was not made");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in self.nodes.drain(..) {
            self.runtime.block_on(node.stop());
        }
        for (_, coordinator) in std::mem::take(&mut self.coordinators) {
            self.runtime.block_on(coordinator.stop());
        }
    }
}

pub fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}
