//! Real encodes on every core beside three coordinators, and nobody is killed: no other coordinator may be elected.

use super::processes::{Coordinators, PATIENCE};
use super::writer::Writer;
use crate::figure::Sheet;
use crate::tools::Tools;
use anyhow::{Context as _, Result, ensure};
use recode_mesh::retry::retry;
use recode_mesh::{Jobs, Leader};
use recode_types::{JobRequest, JobState};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Nodes; their encoders together fill every core.
const NODES: usize = 2;
/// What nodes and their encoders are started with, so that coordinators come first: as `cluster/local.py` does.
const NICENESS: &str = "10";
/// Jobs under way at once: the end of one must not leave cores idle.
const AT_ONCE: usize = 2;
const LOOK: Duration = Duration::from_millis(200);

/// Encodes `clip` again and again for `minutes`.
pub async fn run(tools: &Tools, clip: &Path, minutes: f64, sheet: &mut Sheet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut coordinators = Coordinators::start(folder.path(), 3)?;
    let before = coordinators.leader(None).await?;
    let endpoints = coordinators.endpoints();
    let _nodes = RealNodes::start(tools, folder.path(), &endpoints)?;
    let jobs = Jobs::new(Leader::at(&endpoints)?);
    let writer = Writer::start(&endpoints)?;
    let started = Instant::now();
    let busy = Busy::now()?;
    let end = started + Duration::from_secs_f64(60.0 * minutes);
    let (mut running, mut done, mut number) = (Vec::new(), 0u32, 0u32);
    while Instant::now() < end {
        while running.len() < AT_ONCE {
            let output = folder.path().join(format!("out-{number}.mkv"));
            let request = request(clip, &output)?;
            let id = format!("clip {number}");
            running.push(retry(PATIENCE, || jobs.submit(&id, &request)).await?.0);
            number += 1;
        }
        tokio::time::sleep(LOOK).await;
        coordinators.check()?;
        for job in std::mem::take(&mut running) {
            let status = retry(PATIENCE, || jobs.get(job)).await?.status;
            match status.state {
                JobState::Done => done += 1,
                state if state.is_terminal() => anyhow::bail!(
                    "{job} has {}: {}",
                    state.name(),
                    status.reason.unwrap_or_default()
                ),
                _ => running.push(job),
            }
        }
    }
    let busy = busy.since()?;
    let after = coordinators.leader(None).await?;
    ensure!(
        done > 0,
        "no job was done in {minutes} minutes: nothing was measured"
    );
    let case = "encodes on all cores";
    let elections = after.term.saturating_sub(before.term) as f64;
    sheet.add(case, "elections", "count", &[elections], "");
    sheet.add(case, "minutes", "min", &[minutes], "");
    sheet.add(case, "cores_busy", "ratio", &[busy], "");
    sheet.add(case, "jobs_done", "count", &[f64::from(done)], "");
    let pause = writer.longest_pause(started).as_secs_f64();
    sheet.add(case, "longest_pause_of_writes", "s", &[pause], "");
    Ok(())
}

fn request(clip: &Path, output: &Path) -> Result<JobRequest> {
    Ok(serde_json::from_value(serde_json::json!({
        "source": format!("file://{}", clip.display()),
        "outputs": [{
            "url": format!("file://{}", output.display()), "container": "mkv", "tracks": "all",
            "rendition": {
                "codec": "h264", "encoder": "libx264", "profile": "quality", "deinterlace": "off", "scale": "source",
                "preset": "slow"
            }
        }],
        "segment_ms": 3000, "score": [], "verify_full": false, "strict": false, "overwrite": true, "labels": {},
        "priority": 50
    }))?)
}

/// `recode-node` processes.
struct RealNodes(Vec<Child>);

impl RealNodes {
    fn start(tools: &Tools, folder: &Path, endpoints: &str) -> Result<Self> {
        let program = std::env::current_exe()?.with_file_name("recode-node");
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = cores.div_ceil(NODES).to_string();
        let mut nodes = Self(Vec::new());
        for number in 0..NODES {
            let scratch = folder.join(format!("node-{number}"));
            let child = Command::new("nice")
                .args(["-n", NICENESS])
                .arg(&program)
                .args(["--log", "warn", "--coordinator", endpoints])
                .args(["--measure", "false", "--workers", &workers, "--scratch"])
                .arg(scratch)
                .env("RECODE_FFMPEG", &tools.ffmpeg)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .with_context(|| format!("cannot start {}", program.display()))?;
            nodes.0.push(child);
        }
        Ok(nodes)
    }
}

impl Drop for RealNodes {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that has ended already is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Ticks of all cores, by the kernel: busy and idle.
struct Busy {
    busy: u64,
    idle: u64,
}

impl Busy {
    fn now() -> Result<Self> {
        let stat = std::fs::read_to_string("/proc/stat")?;
        Self::parse(&stat).context("unexpected form of /proc/stat")
    }

    /// The first line of `proc(5)` stat: user nice system idle iowait ...
    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = line
            .split_ascii_whitespace()
            .map_while(|word| word.parse().ok())
            .collect();
        let idle = ticks.get(3)? + ticks.get(4)?;
        // Guests, the ninth field on, are counted as user time already.
        let all: u64 = ticks.iter().take(8).sum();
        Some(Self {
            busy: all - idle,
            idle,
        })
    }

    /// The share of all cores that was busy since.
    fn since(&self) -> Result<f64> {
        let now = Self::now()?;
        let (busy, idle) = (now.busy - self.busy, now.idle - self.idle);
        Ok(busy as f64 / (busy + idle).max(1) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_and_idle_are_told_apart() {
        let found = Busy::parse("cpu  10 1 5 80 20 1 1 2 7 0\ncpu0 1 2 3\n").expect("it reads");
        assert_eq!((found.busy, found.idle), (20, 100));
        assert!(Busy::parse("intr 1").is_none());
    }
}
