//! FFmpeg on a slower machine: a program that joins a control group with a quota of processor time, then becomes FFmpeg.
//!
//! So only the encoder is slow, as on a weak machine or one with a noisy neighbour; the node that started it is not. A node
//! empties the environment of its children, so the program finds what it needs beside itself:
//!
//! ```text
//!   ffmpeg   the program      real   a link to FFmpeg      groups   one `cgroup.procs` a line
//! ```
//!
//! It joins the group itself, so a node that confines its children must be told not to (`--sandbox off`): they could not write there.

use anyhow::{Context as _, Result, bail, ensure};
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Period over which a quota is kept, in microseconds: the kernel's default.
const PERIOD: u64 = 100_000;

/// How long the kernel may take to let go of the last process of a group.
const EMPTYING: Duration = Duration::from_secs(5);

/// An FFmpeg that gets a share of one core at most; the group is removed when dropped.
#[derive(Debug)]
pub struct Throttled {
    /// What a node is given as FFmpeg.
    pub ffmpeg: PathBuf,
    /// The folders of the group: one in a unified tree, one a controller otherwise.
    folders: Vec<PathBuf>,
    usage: PathBuf,
}

impl Throttled {
    /// Lays out `folder`, which does not exist yet, for an FFmpeg with `cores` of processor time a second.
    /// # Errors
    /// It takes root and a tree of control groups with the cpu controller.
    pub fn install(folder: &Path, real: &Path, cores: f64) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "recode-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let root = Path::new("/sys/fs/cgroup");
        let unified = root.join("cgroup.controllers").exists();
        let folders: Vec<PathBuf> = match unified {
            true => vec![root.join(&name)],
            false => ["cpu", "cpuacct"]
                .map(|controller| root.join(controller).join(&name))
                .into(),
        };
        let quota = (cores * PERIOD as f64) as u64;
        ensure!(
            quota >= 1000,
            "the kernel gives no less than 1 ms in 100 ms"
        );
        let usage = match unified {
            true => folders[0].join("cpu.stat"),
            false => folders[1].join("cpuacct.usage"),
        };
        // From here on what was made is removed whatever happens.
        let made = Self {
            ffmpeg: folder.join("ffmpeg"),
            folders,
            usage,
        };
        for folder in &made.folders {
            fs::create_dir(folder).with_context(|| {
                format!(
                    "{}: encoders are slowed by control groups, which takes root",
                    folder.display()
                )
            })?;
        }
        match unified {
            true => fs::write(made.folders[0].join("cpu.max"), format!("{quota} {PERIOD}")),
            false => fs::write(
                made.folders[0].join("cpu.cfs_period_us"),
                PERIOD.to_string(),
            )
            .and_then(|()| fs::write(made.folders[0].join("cpu.cfs_quota_us"), quota.to_string())),
        }
        .context("the control group takes no quota of processor time")?;
        fs::create_dir_all(folder)?;
        let program = std::env::current_exe()?.with_file_name("recode-ffmpeg-throttled");
        fs::copy(&program, &made.ffmpeg)
            .with_context(|| format!("no {}: run `make build`", program.display()))?;
        std::os::unix::fs::symlink(real, folder.join("real"))?;
        let members = made.folders.iter().map(|one| one.join("cgroup.procs"));
        let lines: Vec<String> = members.map(|one| one.display().to_string()).collect();
        fs::write(folder.join("groups"), lines.join("\n"))?;
        Ok(made)
    }

    /// Processor seconds of all that ran in it so far.
    /// # Errors
    /// The kernel says something else than it does today.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let text = fs::read_to_string(&self.usage)?;
        if let Ok(nanoseconds) = text.trim().parse::<u64>() {
            return Ok(nanoseconds as f64 / 1e9);
        }
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "));
        let microseconds: u64 = line.context("no usage in cpu.stat")?.trim().parse()?;
        Ok(microseconds as f64 / 1e6)
    }
}

impl Drop for Throttled {
    fn drop(&mut self) {
        let since = Instant::now();
        for folder in &self.folders {
            // A group can be removed once the kernel has let go of its last process.
            while folder.exists() && fs::remove_dir(folder).is_err() && since.elapsed() < EMPTYING {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// The program.
/// # Errors
/// It cannot join its group or start FFmpeg.
pub fn main() -> Result<std::convert::Infallible> {
    let home = std::env::current_exe()?
        .parent()
        .context("the program lies in no folder")?
        .to_owned();
    for group in fs::read_to_string(home.join("groups"))?.lines() {
        // 0: whoever writes it.
        fs::write(group, "0").with_context(|| format!("cannot join {group}"))?;
    }
    let error = Command::new(home.join("real"))
        .args(std::env::args_os().skip(1))
        .exec();
    bail!("cannot start FFmpeg: {error}")
}
