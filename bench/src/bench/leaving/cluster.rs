//! One coordinator and nodes that come and go, as processes.

use crate::site::process::Process;
use crate::tools::Tools;
use anyhow::{Context as _, Result, ensure};
use recode_mesh::{Jobs, Leader, Nodes};
use recode_types::JobId;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a coordinator may take to listen.
const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster of one coordinator. Nodes are the caller's.
pub struct Cluster {
    folder: PathBuf,
    node: PathBuf,
    client: PathBuf,
    ffmpeg: PathBuf,
    endpoint: String,
    started: u32,
    /// What it knows of Jobs.
    pub jobs: Jobs,
    /// What it knows of Nodes.
    pub nodes: Nodes,
    _coordinator: Process,
}

impl Cluster {
    /// Starts the coordinator in `folder`, which is empty.
    /// # Errors
    /// A binary is missing, or it does not come up.
    pub fn start(tools: &Tools, folder: &Path) -> Result<Self> {
        let beside = |name: &str| -> Result<PathBuf> {
            let path = tools.client.with_file_name(name);
            ensure!(
                path.is_file(),
                "no {name} at {}: run `make build`",
                path.display()
            );
            Ok(path)
        };
        let log = folder.join("coordinator.log");
        let mut command = Command::new(beside("recode-coordinator")?);
        command.args(["--listen", "127.0.0.1:0", "--data-dir"]);
        command
            .arg(folder.join("data"))
            .arg("--work-store")
            .arg(folder.join("store"));
        fs::create_dir(folder.join("store"))?;
        let mut coordinator = Process::start(command, log.clone())?;
        let since = Instant::now();
        let endpoint = loop {
            let said = fs::read_to_string(&log)?;
            let listens = said
                .lines()
                .find_map(|line| line.strip_prefix("listening on "));
            if let Some(url) = listens {
                break url.to_owned();
            }
            ensure!(
                coordinator.ended()?.is_none() && since.elapsed() < PATIENCE,
                "the coordinator does not come up: {}",
                coordinator.last_words()
            );
            std::thread::sleep(Duration::from_millis(20));
        };
        let leader = Leader::at(&endpoint)?;
        Ok(Self {
            folder: folder.to_owned(),
            node: beside("recode-node")?,
            client: tools.client.clone(),
            ffmpeg: tools.ffmpeg.clone(),
            endpoint,
            started: 0,
            jobs: Jobs::new(leader.clone()),
            nodes: Nodes::new(leader),
            _coordinator: coordinator,
        })
    }

    /// Starts a node of one worker in a scratch folder of its own.
    /// # Errors
    /// The system refuses.
    pub fn node(&mut self, flags: &[&str]) -> Result<Process> {
        self.node_of("1", flags)
    }

    /// The scratch folder of the node that was started last.
    pub fn scratch(&self) -> PathBuf {
        self.folder.join(format!("scratch-{}", self.started))
    }

    /// As [`Cluster::node`], of so many workers.
    /// # Errors
    /// The system refuses.
    pub fn node_of(&mut self, workers: &str, flags: &[&str]) -> Result<Process> {
        self.started += 1;
        let name = format!("node-{}", self.started);
        let mut command = Command::new(&self.node);
        command.args([
            "--coordinator",
            &self.endpoint,
            "--workers",
            workers,
            "--scratch",
        ]);
        command.arg(self.scratch());
        command.args(flags).env("RECODE_FFMPEG", &self.ffmpeg);
        Process::start(command, self.folder.join(format!("{name}.log")))
    }

    /// Hands in a job.
    /// # Errors
    /// It is not taken.
    pub fn submit(&self, source: &Path, output: &Path, flags: &[&str]) -> Result<JobId> {
        let urls = [source, output].map(|path| format!("file://{}", path.display()));
        let mut command = Command::new(&self.client);
        command
            .args(["submit", &urls[0], "-o", &urls[1]])
            .args(flags);
        command
            .env("RECODE_ENDPOINT", &self.endpoint)
            .stdin(Stdio::null());
        let done = command.output().context("cannot start recode-client")?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(
            done.status.success(),
            "the job was not taken: {}",
            said.trim()
        );
        Ok(String::from_utf8(done.stdout)?.trim().parse()?)
    }
}
