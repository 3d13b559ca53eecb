//! Coordinators as processes of their own, with default timings and real logs, and what the kernel says of them.

use anyhow::{Context as _, Result, bail};
use recode_mesh::{Cluster, Leader};
use recode_types::cluster::ClusterStatus;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a cluster may take to have a Leader that serves.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(20);

/// Ports are looked for from here on: below the range from which the kernel takes those of outgoing connections, or a
/// coordinator that starts again could find its own taken by a client.
const FIRST_PORT: u16 = 17_000;
const LAST_PORT: u16 = 32_000;

/// See the module. The processes are killed when it is dropped.
pub struct Coordinators {
    program: PathBuf,
    folder: PathBuf,
    addresses: BTreeMap<u64, String>,
    running: BTreeMap<u64, Child>,
    alone: bool,
}

/// User and system time of a process so far, and the most memory it has held.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// In seconds.
    pub cpu: f64,
    /// In bytes, as the kernel recorded it.
    pub rss_bytes: u64,
}

/// `recode-coordinator` beside this program, or what RECODE_COORDINATOR_PROGRAM names.
fn program() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("RECODE_COORDINATOR_PROGRAM") {
        return Ok(named.into());
    }
    let beside = std::env::current_exe()?.with_file_name("recode-coordinator");
    if !beside.is_file() {
        bail!(
            "no recode-coordinator at {}: run `make build` or set RECODE_COORDINATOR_PROGRAM",
            beside.display()
        );
    }
    Ok(beside)
}

impl Coordinators {
    /// Starts `count` of them below `folder`; they found a cluster, or go on with what is there.
    pub fn start(folder: &Path, count: u64) -> Result<Self> {
        let ports = free_ports(count as usize)?;
        let addresses = (1..).zip(ports.iter().map(|port| format!("127.0.0.1:{port}")));
        let mut coordinators = Self {
            program: program()?,
            folder: folder.to_owned(),
            addresses: addresses.collect(),
            running: BTreeMap::new(),
            alone: count == 1,
        };
        for id in 1..=count {
            coordinators.restart(id)?;
        }
        Ok(coordinators)
    }

    /// Starts one that does not run.
    pub fn restart(&mut self, id: u64) -> Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join(format!("coordinator-{id}.log")))?;
        let founders: Vec<String> = self
            .addresses
            .iter()
            .map(|(id, address)| format!("{id}={address}"))
            .collect();
        let mut command = Command::new(&self.program);
        command
            .args(["--log", "warn", "--listen", &self.addresses[&id]])
            .arg("--data-dir")
            .arg(self.data(id))
            .args(["--work-store", &self.store()]);
        if !self.alone {
            let (id, founders) = (id.to_string(), founders.join(","));
            command.args(["--id", &id, "--founders", &founders]);
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        self.running.insert(id, child);
        Ok(())
    }

    /// Kills one as a power switch would: no signal handler runs.
    pub fn kill(&mut self, id: u64) -> Result<()> {
        let mut child = self.running.remove(&id).context("it does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Where one keeps its log.
    pub fn data(&self, id: u64) -> PathBuf {
        self.folder.join(format!("coordinator-{id}"))
    }

    /// Where artifacts are kept.
    pub fn store(&self) -> String {
        format!("file://{}", self.folder.join("store").display())
    }

    /// All addresses, as clients are given them.
    pub fn endpoints(&self) -> String {
        let all: Vec<&str> = self.addresses.values().map(String::as_str).collect();
        all.join(",")
    }

    /// What one says of the cluster; `None`: it does not answer.
    pub async fn status(&self, id: u64) -> Option<ClusterStatus> {
        let leader = Leader::at(&self.addresses[&id]).ok()?;
        let cluster = Cluster::new(leader);
        tokio::time::timeout(Duration::from_secs(1), cluster.status())
            .await
            .ok()?
            .ok()
    }

    /// Waits for a Leader that knows it is one, other than `but`; gives what it says.
    pub async fn leader(&mut self, but: Option<u64>) -> Result<ClusterStatus> {
        self.until(|status| status.leader == Some(status.coordinator) && status.leader != but)
            .await
            .context("no coordinator leads")
    }

    /// Waits until one of those that run says something of the kind that is wanted.
    pub async fn until(
        &mut self,
        wanted: impl Fn(&ClusterStatus) -> bool,
    ) -> Result<ClusterStatus> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            self.check()?;
            for id in self.running.keys().copied().collect::<Vec<_>>() {
                if let Some(status) = self.status(id).await.filter(|status| wanted(status)) {
                    return Ok(status);
                }
            }
            tokio::time::sleep(LOOK).await;
        }
        bail!("it took longer than {} s", PATIENCE.as_secs())
    }

    /// Fails where one has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        for (id, child) in &mut self.running {
            if let Some(status) = child.try_wait()? {
                let log = self.folder.join(format!("coordinator-{id}.log"));
                let said = fs::read_to_string(log).unwrap_or_default();
                let last = said.lines().last().unwrap_or("it said nothing");
                bail!("coordinator {id} has ended ({status}): {last}");
            }
        }
        Ok(())
    }

    /// What one has cost so far.
    pub fn cost(&self, id: u64) -> Result<Cost> {
        cost(self.running.get(&id).context("it does not run")?.id())
    }

    /// What those that run have cost so far.
    pub fn costs(&self) -> Result<BTreeMap<u64, Cost>> {
        let running = self.running.iter();
        running
            .map(|(id, child)| Ok((*id, cost(child.id())?)))
            .collect()
    }
}

impl Drop for Coordinators {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            // One that has ended already is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn cost(pid: u32) -> Result<Cost> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    Ok(Cost {
        cpu: crate::measure::cpu_of(pid)?,
        rss_bytes: crate::watch::high_water(&status).context("no VmHWM in its status")?,
    })
}

fn free_ports(count: usize) -> Result<Vec<u16>> {
    let span = LAST_PORT - FIRST_PORT;
    let first = FIRST_PORT + (std::process::id() % u32::from(span)) as u16;
    let ports = (0..span).map(|i| FIRST_PORT + (first - FIRST_PORT + i) % span);
    let free: Vec<u16> = ports
        .filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .take(count)
        .collect();
    if free.len() < count {
        bail!("no free ports between {FIRST_PORT} and {LAST_PORT}");
    }
    Ok(free)
}
