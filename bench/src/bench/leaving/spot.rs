//! Notices to machines that encode: each has a metadata service of its own, says when it ends, and is replaced when it has.

use super::cluster::Cluster;
use super::work::{self, Balance, Held, Told};
use super::{Deadline, Wanted};
use crate::client;
use crate::figure::Sheet;
use crate::plain;
use crate::seed::Seed;
use crate::site::process::Process;
use crate::tools::{self, Tools};
use anyhow::{Context as _, Result, bail, ensure};
use recode_mesh::Watched;
use recode_testkit::metadata::Metadata;
use recode_types::{
    AttemptToken, Digest, EventKind, JobId, JobState, NodeId, NodeStatus, TaskId, TaskKey,
};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// Machines at any time, of one encoder each.
const MACHINES: usize = 4;
/// Machines that have notice at the same time, at most: somebody must be left to take over.
const AT_ONCE: usize = 3;
/// How often a node looks for notices: 5 s of 120 s, as usual, would be 0.4 s of 10 s.
const LOOK: &str = "400ms";
/// Seconds of the clip that one job encodes.
const SECONDS: f64 = 30.0;
/// How long the last jobs may take after the last notice.
const PATIENCE: Duration = Duration::from_secs(300);
/// x264 gives the same bytes wherever a Chunk is made. Chunks of about two CPU seconds.
const FLAGS: [&str; 8] = [
    "--codec",
    "h264",
    "--preset",
    "medium",
    "--crf",
    "24",
    "--segment",
    "2s",
];

struct Machine {
    metadata: Metadata,
    process: Process,
    node: Option<NodeId>,
    notice: Option<Notice>,
}

/// A notice that was given.
struct Notice {
    given: Instant,
    end_ms: u64,
    /// What it held when it was last looked at before it said that it leaves.
    before: Vec<Held>,
    /// When the Leader had heard that the node leaves, and what it held.
    told: Option<(Instant, Told)>,
}

/// What became of one notice.
struct Gone {
    told: Told,
    /// Seconds from the notice being read to the Leader giving nothing more.
    refused: f64,
    /// Attempts lost: held when the process had ended, or at the end of the machine.
    lost: u32,
}

/// Measures.
/// # Errors
/// The cluster does not come up, a job fails or has other bytes than it should.
pub fn run(
    tools: &Tools,
    clip: &Path,
    wanted: Wanted,
    deadline: Deadline,
    sheet: &mut Sheet,
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("source.mp4");
    plain::head(tools, clip, SECONDS, &source)?;
    let undisturbed = folder.path().join("undisturbed.mp4");
    client::transcode(tools, &source, &undisturbed, &FLAGS.map(str::to_owned))?;
    let expected = Digest::of(&fs::read(&undisturbed)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    // Connections are made within it.
    let _within = runtime.enter();
    let mut field = Field {
        cluster: Cluster::start(tools, folder.path())?,
        folder: folder.path().to_owned(),
        source,
        machines: Vec::new(),
        jobs: Vec::new(),
        gone: Vec::new(),
        seen: BTreeMap::new(),
        notice: Duration::from_secs(wanted.notice_seconds),
        seed: Seed::new(wanted.seed),
    };
    runtime.block_on(async {
        field.notices(wanted.notices as usize, deadline).await?;
        field.last_jobs().await
    })?;
    let (results, failures) = runtime.block_on(field.results())?;
    let differ = field.outputs().filter(|output| {
        let made = fs::read(output).map(|bytes| Digest::of(&bytes));
        made.ok() != Some(expected)
    });
    let differ = differ.count();
    let worth = work::worth(&results);
    let balances: Vec<Balance> = field
        .gone
        .iter()
        .map(|gone| work::balance(&gone.told, &results, &worth))
        .collect();
    let sum = |of: fn(&Balance) -> u64| balances.iter().map(of).sum::<u64>() as f64;
    ensure!(
        sum(|b| b.deliverable) > 0.0,
        "no node held anything when it had notice"
    );
    let case = format!(
        "{}, {} s for 120 s, {MACHINES} nodes",
        tools::short_name(clip),
        wanted.notice_seconds
    );
    let each = |of: fn(&Gone) -> f64| field.gone.iter().map(of).collect::<Vec<_>>();
    sheet.add(
        &case,
        "lost",
        "count",
        &each(|gone| f64::from(gone.lost)),
        "",
    );
    sheet.add(
        &case,
        "refused_after",
        "s",
        &each(|gone| gone.refused),
        "the notice being read",
    );
    sheet.add(
        &case,
        "delivered_frames",
        "count",
        &[sum(|b| b.delivered)],
        "",
    );
    sheet.add(
        &case,
        "deliverable_frames",
        "count",
        &[sum(|b| b.deliverable)],
        "",
    );
    sheet.add(
        &case,
        "given_back_frames",
        "count",
        &[sum(|b| b.given_back)],
        "",
    );
    let ratio = sum(|b| b.delivered) / sum(|b| b.deliverable);
    sheet.add(
        &case,
        "delivered",
        "ratio",
        &[ratio],
        "what would have been finished in time",
    );
    sheet.add(&case, "jobs", "count", &[field.jobs.len() as f64], "");
    sheet.add(&case, "failed_attempts", "count", &[failures as f64], "");
    sheet.add(
        &case,
        "outputs_that_differ",
        "count",
        &[differ as f64],
        "an undisturbed process",
    );
    Ok(())
}

/// Everything that runs.
struct Field {
    cluster: Cluster,
    folder: PathBuf,
    source: PathBuf,
    machines: Vec<Machine>,
    jobs: Vec<JobId>,
    gone: Vec<Gone>,
    /// When an Attempt was first seen with its node.
    seen: BTreeMap<AttemptToken, Instant>,
    notice: Duration,
    seed: Seed,
}

impl Field {
    fn output(&self, job: usize) -> PathBuf {
        self.folder.join(format!("output-{job}.mp4"))
    }

    fn outputs(&self) -> impl Iterator<Item = PathBuf> + '_ {
        (0..self.jobs.len()).map(|job| self.output(job))
    }

    async fn notices(&mut self, wanted: usize, deadline: Deadline) -> Result<()> {
        let mut given = 0;
        let mut next = Instant::now() + self.notice / 2;
        while given < wanted || self.machines.iter().any(|m| m.notice.is_some()) {
            if given < wanted && deadline.passed() {
                given = wanted;
            }
            self.keep_busy(2).await?;
            self.look().await?;
            let noticed = self.machines.iter().filter(|m| m.notice.is_some()).count();
            if given < wanted
                && Instant::now() >= next
                && noticed < AT_ONCE
                && self.give_notice().await?
            {
                given += 1;
                // So that it is seldom the same moment of a Chunk, and notices overlap.
                let wait = self.notice.mul_f64(0.15 + 0.3 * self.seed.fraction());
                next = Instant::now() + wait;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Enough machines, and enough jobs for them.
    async fn keep_busy(&mut self, live: usize) -> Result<()> {
        while self.machines.len() < MACHINES {
            let metadata = Metadata::start()?;
            let url = metadata.url();
            let process = self
                .cluster
                .node(&["--metadata", &url, "--metadata-poll", LOOK])?;
            self.machines.push(Machine {
                metadata,
                process,
                node: None,
                notice: None,
            });
        }
        while self.cluster.jobs.list(true).await?.len() < live {
            let output = self.output(self.jobs.len());
            let job = self.cluster.submit(&self.source, &output, &FLAGS)?;
            self.jobs.push(job);
        }
        Ok(())
    }

    /// Gives notice to a machine that encodes. `false`: there is none.
    async fn give_notice(&mut self) -> Result<bool> {
        let mut busy = Vec::new();
        for (at, machine) in self.machines.iter().enumerate() {
            if let (Some(node), None) = (machine.node, &machine.notice)
                && self.cluster.nodes.get(node).await?.leases > 0
            {
                busy.push(at);
            }
        }
        if busy.is_empty() {
            return Ok(false);
        }
        let at = busy[self.seed.number() as usize % busy.len()];
        let machine = &mut self.machines[at];
        machine.metadata.notice("terminate", self.notice);
        // The service names whole seconds.
        let end_ms = (now_ms() + self.notice.as_millis() as u64).div_ceil(1000) * 1000;
        machine.notice = Some(Notice {
            given: Instant::now(),
            end_ms,
            before: Vec::new(),
            told: None,
        });
        Ok(true)
    }

    /// Sees what the nodes do.
    async fn look(&mut self) -> Result<()> {
        let (all, _) = self.cluster.nodes.page(None).await?;
        for machine in &mut self.machines {
            let pid = format!(":{}", machine.process.pid());
            let status = all.iter().find(|node| node.name.ends_with(&pid));
            machine.node = status.map(|status| status.node);
            let status = match machine.node {
                Some(node) => Some(self.cluster.nodes.get(node).await?),
                None => None,
            };
            let holds = status.as_ref().map(holds).unwrap_or_default();
            for one in &holds {
                self.seen.entry(one.token).or_insert_with(Instant::now);
            }
            let Some(notice) = &mut machine.notice else {
                ensure!(
                    machine.process.ended()?.is_none(),
                    "a node has ended though nobody told it to: {}",
                    machine.process.last_words()
                );
                continue;
            };
            if let (None, Some(status)) = (&notice.told, status) {
                if status.heard.is_none_or(|heard| !heard.leaving) {
                    notice.before = holds;
                    continue;
                }
                // What it gives back it does not list any more.
                let mut held = std::mem::take(&mut notice.before);
                held.retain(|one| holds.iter().all(|now| now.token != one.token));
                held.extend(holds);
                held.sort_by_key(|one| (Reverse(one.done), self.seen.get(&one.token)));
                let told = Told {
                    node: status.node,
                    at_ms: now_ms(),
                    end_ms: notice.end_ms,
                    held,
                };
                notice.told = Some((Instant::now(), told));
            }
        }
        self.bury(&all).await
    }

    /// Takes away machines that have ended.
    async fn bury(&mut self, all: &[NodeStatus]) -> Result<()> {
        let mut at = 0;
        while at < self.machines.len() {
            let machine = &mut self.machines[at];
            let ended = machine.process.ended()?;
            let Some(notice) = &machine.notice else {
                at += 1;
                continue;
            };
            if ended.is_none() && now_ms() < notice.end_ms {
                at += 1;
                continue;
            }
            let mut machine = self.machines.swap_remove(at);
            let node = machine.node.context("a node with notice is known")?;
            // A machine ends whether its node has or not.
            machine.process.kill()?;
            let left = match all.iter().any(|status| status.node == node) {
                true => self.cluster.nodes.get(node).await?.leases,
                false => 0,
            };
            let clean = ended.is_some_and(|status| status.code() == Some(5));
            if !clean || left > 0 {
                let words = machine.process.last_words();
                eprintln!("LOST: {left} attempts of {node}, {ended:?}: {words}");
            }
            let notice = machine.notice.context("it had notice")?;
            let read = machine.metadata.seen();
            let (Some((heard, told)), Some(read)) = (notice.told, read) else {
                bail!(
                    "a node has not said that it leaves {:?} after its notice: {}",
                    notice.given.elapsed(),
                    machine.process.last_words()
                );
            };
            self.gone.push(Gone {
                told,
                refused: heard.saturating_duration_since(read).as_secs_f64(),
                lost: if clean { left } else { left.max(1) },
            });
        }
        Ok(())
    }

    async fn last_jobs(&mut self) -> Result<()> {
        let since = Instant::now();
        loop {
            self.keep_busy(0).await?;
            self.look().await?;
            if self.cluster.jobs.list(true).await?.is_empty() {
                break;
            }
            ensure!(since.elapsed() < PATIENCE, "the last jobs do not end");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for job in &self.jobs {
            let status = self.cluster.jobs.get(*job).await?.status;
            ensure!(
                status.state == JobState::Done,
                "{job} ended as {}: {}",
                status.state.name(),
                status.reason.unwrap_or_default()
            );
        }
        Ok(())
    }

    /// All results of encodes by time, and Attempts that failed.
    async fn results(&self) -> Result<(Vec<work::Result>, usize)> {
        let (mut results, mut failures) = (Vec::new(), 0);
        for job in &self.jobs {
            let mut watch = self.cluster.jobs.watch(*job, 0);
            while let Some(seen) = watch.next().await? {
                let Watched::Event(event) = seen else {
                    continue;
                };
                match event.kind {
                    EventKind::TaskDone {
                        task: task @ TaskKey::Encode { .. },
                        attempt,
                        node,
                        frames,
                        ..
                    } => results.push(work::Result {
                        token: AttemptToken {
                            task: TaskId {
                                job: *job,
                                key: task,
                            },
                            attempt,
                        },
                        node,
                        at_ms: event.at_ms,
                        frames,
                    }),
                    EventKind::AttemptFailed { .. } => failures += 1,
                    _ => {}
                }
            }
        }
        results.sort_by_key(|result| result.at_ms);
        Ok((results, failures))
    }
}

/// The encodes that a node lists.
fn holds(status: &NodeStatus) -> Vec<Held> {
    let running = status.heard.iter().flat_map(|heard| &heard.running);
    let encodes = running.filter(|r| matches!(r.task.key, TaskKey::Encode { .. }));
    let held = encodes.map(|r| Held {
        token: AttemptToken {
            task: r.task,
            attempt: r.attempt,
        },
        frames: r.frames_total,
        done: r.frames,
    });
    held.collect()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_millis() as u64
}
