//! A cluster of processes on this machine: three coordinators and some nodes, as a user runs them, whose machines can be
//! broken.

pub mod disk;
pub mod network;
pub mod process;

use crate::tools::Tools;
use anyhow::{Context as _, Result, bail, ensure};
use disk::Disk;
use network::{Member, Network};
use process::Process;
use recode_types::JobStatus;
use recode_types::cluster::ClusterStatus;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Coordinators of a site, numbered from 1; nodes come after them.
pub const COORDINATORS: Member = 3;

/// How long a cluster of its first start may take to be led.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a process may take to end when it is asked to.
const FAREWELL: Duration = Duration::from_secs(5);

/// The binaries of a cluster.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `recode-coordinator`, one for each of the three.
    pub coordinators: [PathBuf; COORDINATORS as usize],
    /// `recode-node`
    pub node: PathBuf,
    /// `recode-client`
    pub client: PathBuf,
    /// What nodes take for FFmpeg.
    pub ffmpeg: PathBuf,
}

impl Programs {
    /// Those beside `recode-client`.
    /// # Errors
    /// One is missing.
    pub fn beside(tools: &Tools, ffmpeg: &Path) -> Result<Self> {
        let beside = |name: &str| -> Result<PathBuf> {
            let path = tools.client.with_file_name(name);
            ensure!(
                path.is_file(),
                "no {name} at {}: run `make build`",
                path.display()
            );
            Ok(path)
        };
        let coordinator = beside("recode-coordinator")?;
        Ok(Self {
            coordinators: std::array::from_fn(|_| coordinator.clone()),
            node: beside("recode-node")?,
            client: tools.client.clone(),
            ffmpeg: ffmpeg.to_owned(),
        })
    }
}

/// What a site is made of.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The binaries.
    pub programs: Programs,
    /// Number of nodes.
    pub nodes: Member,
    /// Encoders at once on each.
    pub workers: u32,
    /// A network whose links can be cut; takes root.
    pub cuttable: bool,
    /// Coordinators whose disk can be filled; takes root.
    pub fillable: Vec<Member>,
}

/// What is not as usual about the nodes of a site.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    /// They reach nothing but this NATS server, which the coordinators use too.
    pub nats: Option<String>,
    /// Encodes they hold beyond those that run. `None`: as many as they do unless told.
    pub ahead: Option<u32>,
}

/// What a site has that lies outside its folder.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    /// The work store.
    pub store: String,
    /// What all its processes find in their environment.
    pub environment: Vec<(String, String)>,
}

/// A node that joins a cluster that runs.
#[derive(Clone, Debug)]
pub struct Joined {
    /// What it takes for FFmpeg.
    pub ffmpeg: PathBuf,
    /// Encoders at once.
    pub workers: u32,
    /// Further flags.
    pub flags: Vec<String>,
}

/// A cluster that runs; all of it ends when it is dropped.
#[derive(Debug)]
pub struct Site {
    wanted: Wanted,
    nodes: Nodes,
    elsewhere: Option<Elsewhere>,
    folder: PathBuf,
    /// By member, from the first. `None`: it does not run.
    processes: Vec<Option<Process>>,
    /// Nodes that are not like those of `wanted`.
    joined: BTreeMap<Member, Joined>,
    // After the processes, which use them.
    disks: Vec<(Member, Disk)>,
    network: Network,
}

impl Site {
    /// Starts all of it in `folder`, which is empty, and waits until a coordinator leads.
    /// # Errors
    /// The system refuses, or the cluster does not come up.
    pub fn start(wanted: Wanted, folder: &Path) -> Result<Self> {
        Self::start_as(wanted, Nodes::default(), None, folder)
    }

    /// As above, with nodes that are not as usual.
    /// # Errors
    /// As above.
    pub fn start_with(wanted: Wanted, nodes: Nodes, folder: &Path) -> Result<Self> {
        Self::start_as(wanted, nodes, None, folder)
    }

    /// As above, of which something lies elsewhere.
    /// # Errors
    /// As above.
    pub fn start_over(wanted: Wanted, folder: &Path, elsewhere: Option<Elsewhere>) -> Result<Self> {
        Self::start_as(wanted, Nodes::default(), elsewhere, folder)
    }

    fn start_as(
        wanted: Wanted,
        nodes: Nodes,
        elsewhere: Option<Elsewhere>,
        folder: &Path,
    ) -> Result<Self> {
        let members = COORDINATORS + wanted.nodes;
        let network = match wanted.cuttable {
            true => Network::Own(network::Namespaces::new(members)?),
            false => Network::loopback(members)?,
        };
        let mut site = Self {
            elsewhere,
            folder: folder.to_owned(),
            network,
            processes: (0..members).map(|_| None).collect(),
            joined: BTreeMap::new(),
            disks: Vec::new(),
            nodes,
            wanted,
        };
        fs::create_dir(site.store())?;
        for member in site.wanted.fillable.clone() {
            let disk = Disk::new(&site.disk(member))?;
            site.disks.push((member, disk));
        }
        for member in 1..=members {
            site.run(member)?;
        }
        site.wait_for_leader()?;
        Ok(site)
    }

    /// The work store.
    pub fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    fn disk(&self, member: Member) -> PathBuf {
        self.folder.join(format!("disk-{member}"))
    }

    /// The data folder of a coordinator.
    pub fn data(&self, coordinator: Member) -> PathBuf {
        match self.wanted.fillable.contains(&coordinator) {
            // Not the root of a file system, which holds things of its own.
            true => self.disk(coordinator).join("data"),
            false => self.folder.join(format!("data-{coordinator}")),
        }
    }

    /// The numbers of the nodes.
    pub fn nodes(&self) -> impl Iterator<Item = Member> + use<> {
        COORDINATORS + 1..=self.last()
    }

    fn last(&self) -> Member {
        self.processes.len() as Member
    }

    /// Starts one more node; on the loopback only, since other networks are laid once.
    /// # Errors
    /// The system refuses.
    pub fn join(&mut self, node: Joined) -> Result<Member> {
        ensure!(
            matches!(self.network, Network::Loopback { .. }),
            "nobody joins a network of namespaces"
        );
        self.processes.push(None);
        let member = self.last();
        self.joined.insert(member, node);
        self.run(member)?;
        Ok(member)
    }

    /// Its network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The disk of a coordinator that has one.
    /// # Errors
    /// It has none.
    pub fn disk_of(&self, coordinator: Member) -> Result<&Disk> {
        let mut disks = self.disks.iter();
        let found = disks.find(|(member, _)| *member == coordinator);
        Ok(&found.context("this coordinator has no disk of its own")?.1)
    }

    /// The process of a member, where it runs or has ended by itself.
    pub fn process(&mut self, member: Member) -> Option<&mut Process> {
        self.processes[usize::from(member) - 1].as_mut()
    }

    /// From its next start on a coordinator is of another build.
    pub fn replace(&mut self, coordinator: Member, program: &Path) {
        self.wanted.programs.coordinators[usize::from(coordinator) - 1] = program.to_owned();
    }

    /// Starts a member that does not run, on what it left.
    /// # Errors
    /// The system refuses.
    pub fn run(&mut self, member: Member) -> Result<()> {
        let name = match member <= COORDINATORS {
            true => format!("coordinator-{member}"),
            false => format!("node-{member}"),
        };
        let mut command = match member <= COORDINATORS {
            true => self.coordinator(member),
            false => self.node(member),
        };
        command.current_dir(&self.folder);
        self.equip(&mut command);
        let log = self.folder.join(format!("{name}.log"));
        self.processes[usize::from(member) - 1] = Some(Process::start(command, log)?);
        Ok(())
    }

    fn coordinator(&self, member: Member) -> Command {
        let program = &self.wanted.programs.coordinators[usize::from(member) - 1];
        let mut command = self.network.command(Some(member), program);
        let founders: Vec<String> = (1..=COORDINATORS)
            .map(|one| format!("{one}={}", self.network.address(one)))
            .collect();
        command
            .args(["--id", &member.to_string()])
            .args(["--founders", &founders.join(",")])
            .args(["--listen", &self.network.address(member).to_string()])
            .arg("--data-dir")
            .arg(self.data(member))
            .arg("--work-store")
            .arg(match &self.elsewhere {
                Some(elsewhere) => elsewhere.store.clone().into(),
                None => self.store(),
            });
        if matches!(self.network, Network::Own(_)) {
            command.arg("--insecure");
        }
        if let Some(nats) = &self.nodes.nats {
            command.args(["--nats", nats]);
        }
        command
    }

    fn node(&self, member: Member) -> Command {
        let mut command = self
            .network
            .command(Some(member), &self.wanted.programs.node);
        match &self.nodes.nats {
            Some(nats) => command.args(["--link", "nats", "--nats", nats]),
            None => command.args(["--coordinator", &self.endpoint()]),
        };
        if let Some(ahead) = self.nodes.ahead {
            command.args(["--ahead", &ahead.to_string()]);
        }
        let joined = self.joined.get(&member);
        let workers = joined.map_or(self.wanted.workers, |node| node.workers);
        let ffmpeg = joined.map_or(&self.wanted.programs.ffmpeg, |node| &node.ffmpeg);
        command
            .args(["--workers", &workers.to_string()])
            .args(joined.map_or(&[][..], |node| &node.flags))
            .args(["--grace", "2s"])
            // Recordings of encodes know nothing of samples.
            .args(["--measure", "false"])
            .arg("--scratch")
            .arg(self.folder.join(format!("scratch-{member}")))
            .env("RECODE_FFMPEG", ffmpeg)
            .env("RECODE_SANDBOX", crate::player::sandbox(ffmpeg));
        command
    }

    /// All coordinators, as clients and nodes are told.
    pub fn endpoint(&self) -> String {
        let all: Vec<String> = (1..=COORDINATORS)
            .map(|one| self.network.address(one).to_string())
            .collect();
        all.join(",")
    }

    /// `recode-client` with these arguments for this cluster, ready to start.
    pub fn client(&self, arguments: &[&str]) -> Command {
        let mut command = self.network.command(None, &self.wanted.programs.client);
        command
            .args(arguments)
            .env("RECODE_ENDPOINT", self.endpoint())
            .stdin(Stdio::null())
            .current_dir(&self.folder);
        self.equip(&mut command);
        command
    }

    fn equip(&self, command: &mut Command) {
        if let Some(elsewhere) = &self.elsewhere {
            command.envs(elsewhere.environment.iter().cloned());
        }
    }

    /// Runs `recode-client` to its end.
    /// # Errors
    /// It cannot be started.
    pub fn ask(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = self.client(arguments);
        command.output().context("cannot start recode-client")
    }

    /// Runs `recode-client`, which must succeed, and reads the JSON that it prints.
    /// # Errors
    /// It fails, or prints something else.
    pub fn told<T: serde::de::DeserializeOwned>(&self, arguments: &[&str]) -> Result<T> {
        let done = self.ask(arguments)?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            bail!("recode-client {}: {}", arguments.join(" "), said.trim());
        }
        serde_json::from_slice(&done.stdout)
            .with_context(|| format!("recode-client {} says something else", arguments.join(" ")))
    }

    /// The coordinator that leads, where one is known within two seconds.
    pub fn leader(&self) -> Option<Member> {
        let mut command = self.client(&["cluster", "status", "--json"]);
        let mut asked = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let since = Instant::now();
        // Its answer is shorter than a pipe is deep.
        while asked.try_wait().ok()?.is_none() {
            if since.elapsed() > Duration::from_secs(2) {
                asked.kill().ok()?;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let answer = asked.wait_with_output().ok()?.stdout;
        let status: ClusterStatus = serde_json::from_slice(&answer).ok()?;
        status.leader.and_then(|leader| leader.try_into().ok())
    }

    fn wait_for_leader(&mut self) -> Result<Member> {
        let started = Instant::now();
        loop {
            if let Some(leader) = self.leader() {
                return Ok(leader);
            }
            for member in 1..=self.last() {
                if let Some(process) = self.process(member)
                    && process.ended()?.is_some()
                {
                    bail!("a process has ended: {}", process.last_words());
                }
            }
            ensure!(started.elapsed() < PATIENCE, "no coordinator leads");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Jobs that have not ended.
    /// # Errors
    /// Nobody answers.
    pub fn live_jobs(&self) -> Result<Vec<JobStatus>> {
        #[derive(serde::Deserialize)]
        struct List {
            jobs: Vec<JobStatus>,
        }
        let list: List = self.told(&["list", "--live", "--json"])?;
        Ok(list.jobs)
    }

    /// Waits until no job lives any more. `false`: some still do after `patience`.
    pub fn drained(&self, patience: Duration) -> bool {
        let started = Instant::now();
        while started.elapsed() < patience {
            if self.live_jobs().is_ok_and(|live| live.is_empty()) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        false
    }

    /// Ends all processes in order, nodes first.
    /// # Errors
    /// What the system said.
    pub fn stop(&mut self) -> Result<()> {
        for process in self.processes.iter_mut().rev().flatten() {
            process.stop(FAREWELL)?;
        }
        Ok(())
    }

    /// The log of a coordinator as `recode-coordinator dump --json` prints it.
    /// # Errors
    /// It cannot be read.
    pub fn dump(&self, coordinator: Member) -> Result<String> {
        let program = &self.wanted.programs.coordinators[usize::from(coordinator) - 1];
        let done = Command::new(program)
            .args(["dump", "--json"])
            .arg(self.data(coordinator))
            .stdin(Stdio::null())
            .output()
            .context("cannot start recode-coordinator")?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(
            done.status.success(),
            "the log of coordinator {coordinator}: {}",
            said.trim()
        );
        Ok(String::from_utf8(done.stdout)?)
    }
}
