//! One job of 100,000 Segments in 10 Renditions: a million Tasks in the hands of three coordinators, to its end, with the
//! Leader killed when most of it is done.

use super::film::Film;
use super::latency::Latencies;
use super::log_size::LogSize;
use super::nodes::{Nodes, Size};
use super::processes::{Coordinators, Cost, PATIENCE};
use super::submit;
use super::writer::Writer;
use crate::figure::Sheet;
use anyhow::{Context as _, Result, ensure};
use recode_mesh::retry::retry;
use recode_mesh::{Jobs, Leader, Watched};
use recode_types::cluster::ClusterStatus;
use recode_types::{EventKind, JobId, JobState};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The film of the promise.
pub const FILM: Film = Film {
    segments: 100_000,
    renditions: 10,
};

/// Nodes enough that the coordinators are what is waited for.
pub const NODES: Size = Size {
    nodes: 100,
    slots: 4,
    sharing: 1,
};

/// How long the whole job may take.
const LONGEST: Duration = Duration::from_secs(1200);

/// Between two looks at how far the job is.
const LOOK: Duration = Duration::from_millis(100);

/// Does the whole job.
pub async fn run(film: Film, sheet: &mut Sheet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut coordinators = Coordinators::start(folder.path(), 3)?;
    coordinators.leader(None).await?;
    let endpoints = coordinators.endpoints();
    let nodes = Nodes::start(&endpoints, &coordinators.store(), NODES).await?;
    nodes.all_present(PATIENCE).await?;
    let logs: Vec<LogSize> = (1..=3)
        .map(|id| LogSize::watch(&coordinators.data(id)))
        .collect();
    let jobs = Jobs::new(Leader::at(&endpoints)?);
    let before = Account::of(&mut coordinators, None).await?;
    let job = submit(&jobs, "film", film).await?;
    let tasks = f64::from(film.segments) * f64::from(film.renditions);
    let case = format!(
        "{} segments x {} renditions",
        film.segments, film.renditions
    );
    let (planned, segments) = planned(&jobs, job).await?;
    sheet.add(&case, "plan", "s", &[planned.as_secs_f64()], "");
    sheet.add(&case, "segments", "count", &[f64::from(segments)], "");
    let started = Instant::now();
    let mut looks = Latencies::default();
    let most = film.segments / 10 * 9;
    until(&jobs, job, &mut looks, &mut coordinators, |done, _| {
        done >= most
    })
    .await?;
    let writer = Writer::start(&endpoints)?;
    writer.regular(PATIENCE).await?;
    // It may be another than at first: under load on few cores one can be late with its heartbeats.
    let at_kill = Account::of(&mut coordinators, None).await?;
    let killed = at_kill.leader.coordinator;
    coordinators.kill(killed)?;
    let gap = writer
        .gap_after(Instant::now(), || coordinators.check())
        .await?;
    drop(writer);
    sheet.add(&case, "failover", "s", &[gap], "");
    let taken_over = Account::of(&mut coordinators, Some(killed)).await?;
    until(&jobs, job, &mut looks, &mut coordinators, |_, state| {
        state.is_terminal()
    })
    .await?;
    let took = started.elapsed();
    let view = retry(PATIENCE, || jobs.get(job)).await?;
    ensure!(
        view.status.state == JobState::Done,
        "the job is {}: {}",
        view.status.state.name(),
        view.status.reason.unwrap_or_default()
    );
    let at_end = Account::of(&mut coordinators, Some(killed)).await?;
    let rss = at_kill.rss_bytes().max(at_end.rss_bytes()) as f64 / f64::from(1 << 20);
    sheet.add(&case, "leader_rss", "MiB", &[rss], "");
    let elections = at_kill.elections_since(&before) + at_end.elections_since(&taken_over);
    sheet.add(&case, "other_elections", "count", &[elections as f64], "");
    let cpu = at_kill.cpu_since(&before) + at_end.cpu_since(&taken_over);
    sheet.add(&case, "leader_cpu_per_task", "us", &[cpu * 1e6 / tasks], "");
    let bytes = logs.into_iter().map(LogSize::stop).max().unwrap_or(0);
    sheet.add(&case, "log_per_task", "B", &[bytes as f64 / tasks], "");
    looks.report(sheet, &case, ["status_p50", "status_p99", "status_max"]);
    let rate = tasks / took.as_secs_f64();
    sheet.add(&case, "tasks_per_second", "1/s", &[rate], "");
    let again = nodes.look(|seen| seen.granted_again) as f64;
    sheet.add(&case, "attempts_repeated", "count", &[again], "");
    Ok(())
}

/// What the coordinators had cost at a moment, and who led then.
struct Account {
    leader: ClusterStatus,
    costs: BTreeMap<u64, Cost>,
}

impl Account {
    /// That of the moment, once one other than `but` leads.
    async fn of(coordinators: &mut Coordinators, but: Option<u64>) -> Result<Self> {
        let leader = coordinators.leader(but).await?;
        let costs = coordinators.costs()?;
        Ok(Self { leader, costs })
    }

    fn elections_since(&self, before: &Self) -> u64 {
        self.leader.term.saturating_sub(before.leader.term)
    }

    /// Seconds of processor that leading took. Where the Leader changed meanwhile it is what all together took: leading was
    /// not more than that.
    fn cpu_since(&self, before: &Self) -> f64 {
        let one = self.elections_since(before) == 0;
        let led = |id: &u64| !one || *id == self.leader.coordinator;
        let costs = self.costs.iter().filter(|(id, _)| led(id));
        costs
            .map(|(id, cost)| cost.cpu - before.costs.get(id).map_or(0.0, |before| before.cpu))
            .sum()
    }

    /// The most that the Leader has held.
    fn rss_bytes(&self) -> u64 {
        let leader = self.costs.get(&self.leader.coordinator);
        leader.map_or(0, |cost| cost.rss_bytes)
    }
}

/// Waits for the Plan; how long it took since the probe was done, and its Segments.
pub async fn planned(jobs: &Jobs, job: JobId) -> Result<(Duration, u32)> {
    let mut watch = jobs.watch(job, 0);
    let mut probed = None;
    let planned = async {
        while let Some(watched) = watch.next().await? {
            match watched {
                Watched::Event(event) => match event.kind {
                    EventKind::TaskDone { .. } => probed = Some(Instant::now()),
                    EventKind::Planned { segments, .. } => {
                        let probed = probed.context("planned before it was probed")?;
                        return Ok((probed.elapsed(), segments));
                    }
                    _ => {}
                },
                Watched::Progress(_) => {}
            }
        }
        anyhow::bail!("the job ended without a plan")
    };
    tokio::time::timeout(PATIENCE, planned).await?
}

/// Looks at the job until it is as wanted, by finished Tasks and state; times of single looks are added.
pub async fn until(
    jobs: &Jobs,
    job: JobId,
    looks: &mut Latencies,
    coordinators: &mut Coordinators,
    wanted: impl Fn(u32, JobState) -> bool,
) -> Result<()> {
    let started = Instant::now();
    loop {
        let asked = Instant::now();
        match jobs.get(job).await {
            Ok(view) => {
                looks.add(asked.elapsed());
                if wanted(view.status.tasks_done, view.status.state) {
                    return Ok(());
                }
            }
            Err(error) => ensure!(error.may_retry(), "{error}"),
        }
        coordinators.check()?;
        ensure!(
            started.elapsed() < LONGEST,
            "it takes longer than {LONGEST:?}"
        );
        tokio::time::sleep(LOOK).await;
    }
}
