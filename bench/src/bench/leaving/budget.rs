//! A node that may use little scratch and has much to do: what it uses is looked at all the time.

use super::cluster::Cluster;
use super::{Deadline, Wanted};
use crate::figure::Sheet;
use crate::measure;
use crate::tools::Tools;
use anyhow::{Context as _, Result, ensure};
use recode_mesh::Watched;
use recode_types::{EventKind, JobId, JobState};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the folder is looked at.
const LOOK: Duration = Duration::from_millis(10);
/// Encoders at once: more than the budget has room for.
const WORKERS: u32 = 8;
/// Noise: what comes out is large, and no encoder can help it.
const FLAGS: [&str; 8] = [
    "--codec",
    "h264",
    "--preset",
    "ultrafast",
    "--crf",
    "6",
    "--segment",
    "2s",
];
/// Length of a job's source in seconds; a job reads and writes about a gigabyte.
const SECONDS: u32 = 20;
/// How long one job may take.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Measures.
/// # Errors
/// The cluster does not come up, or a job fails.
pub fn run(tools: &Tools, wanted: Wanted, deadline: Deadline, sheet: &mut Sheet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("source.mp4");
    let mut command = tools.ffmpeg();
    let noise = format!(
        "testsrc2=size=1920x1080:rate=24:duration={SECONDS},noise=alls=60:allf=t,format=yuv420p"
    );
    command.args([
        "-f",
        "lavfi",
        "-i",
        &noise,
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
    ]);
    command.args(["-crf", "10", "-g", "24"]).arg(&source);
    measure::run(&mut command)?.succeeded("making a source")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    // Connections are made within it.
    let _within = runtime.enter();
    let mut cluster = Cluster::start(tools, folder.path())?;
    let budget = wanted.budget_mb * 1_000_000;
    let workers = WORKERS.to_string();
    let flags = ["--scratch-budget", &format!("{}MB", wanted.budget_mb)];
    let mut node = cluster.node_of(&workers, &flags)?;
    let account = Account::keep(cluster.scratch());
    let (mut moved, mut jobs, mut failed) = (0, 0, 0);
    while moved < wanted.work_mb * 1_000_000 && !(deadline.passed() && jobs > 0) {
        let output = folder.path().join(format!("output-{jobs}.mp4"));
        let job = cluster.submit(&source, &output, &FLAGS)?;
        let (bytes, failures) = runtime.block_on(done(&cluster, job))?;
        fs::remove_file(&output)?;
        moved += bytes;
        failed += failures;
        jobs += 1;
        ensure!(
            node.ended()?.is_none(),
            "the node has ended: {}",
            node.last_words()
        );
    }
    let (most, looks) = account.close();
    let case = format!("{} MB, {WORKERS} workers", wanted.budget_mb);
    let ratio = most as f64 / budget as f64;
    sheet.add(&case, "most_used", "ratio", &[ratio], "the budget");
    sheet.add(
        &case,
        "work",
        "budgets",
        &[moved as f64 / budget as f64],
        "",
    );
    sheet.add(&case, "failed_attempts", "count", &[failed as f64], "");
    sheet.add(&case, "jobs", "count", &[f64::from(jobs)], "");
    sheet.add(&case, "looks", "count", &[looks as f64], "");
    Ok(())
}

/// Waits for a job. What it read and wrote, and Attempts that failed.
async fn done(cluster: &Cluster, job: JobId) -> Result<(u64, usize)> {
    let mut watch = cluster.jobs.watch(job, 0);
    let mut failures = 0;
    let watching = async {
        while let Some(seen) = watch.next().await? {
            if let Watched::Event(event) = seen
                && let EventKind::AttemptFailed { .. } = event.kind
            {
                failures += 1;
            }
        }
        anyhow::Ok(())
    };
    let watched = tokio::time::timeout(PATIENCE, watching).await;
    watched.context("a job does not end")??;
    let status = cluster.jobs.get(job).await?.status;
    ensure!(
        status.state == JobState::Done,
        "{job} ended as {}: {}",
        status.state.name(),
        status.reason.unwrap_or_default()
    );
    let report = cluster.jobs.report(job).await?;
    Ok((report.bytes_read + report.bytes_written, failures))
}

/// Looks at a folder until closed.
struct Account {
    stop: Arc<AtomicBool>,
    most: Arc<AtomicU64>,
    thread: JoinHandle<u64>,
}

impl Account {
    fn keep(folder: PathBuf) -> Self {
        let (stop, most) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let thread = std::thread::spawn({
            let (stop, most) = (stop.clone(), most.clone());
            move || {
                let mut looks = 0;
                while !stop.load(Ordering::Relaxed) {
                    most.fetch_max(used(&folder), Ordering::Relaxed);
                    looks += 1;
                    std::thread::sleep(LOOK);
                }
                looks
            }
        });
        Self { stop, most, thread }
    }

    /// The most that was seen, and how often was looked.
    fn close(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        let looks = self.thread.join().unwrap_or_default();
        (self.most.load(Ordering::Relaxed), looks)
    }
}

/// Bytes on the disk of everything below `path`, as the kernel counts them.
fn used(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            entries.map(|entry| used(&entry.path())).sum()
        }
        Ok(meta) => meta.blocks() * 512,
        // It is gone.
        Err(_) => 0,
    }
}
