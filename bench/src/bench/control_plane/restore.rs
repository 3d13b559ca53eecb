//! A coordinator with a million Tasks in its state is killed and started again: how long until it answers.

use super::film::Film;
use super::large_job::{NODES, planned, until};
use super::latency::Latencies;
use super::nodes::Nodes;
use super::processes::{Coordinators, PATIENCE};
use super::submit;
use crate::figure::Sheet;
use anyhow::{Result, ensure};
use recode_mesh::retry::retry;
use recode_mesh::{Cluster, Jobs, Leader};
use std::time::{Duration, Instant};

/// Fills the state of one coordinator and restarts it `times`.
pub async fn run(film: Film, times: usize, sheet: &mut Sheet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut coordinators = Coordinators::start(folder.path(), 1)?;
    coordinators.leader(None).await?;
    let endpoints = coordinators.endpoints();
    let nodes = Nodes::start(&endpoints, &coordinators.store(), NODES).await?;
    nodes.all_present(PATIENCE).await?;
    let jobs = Jobs::new(Leader::at(&endpoints)?);
    let job = submit(&jobs, "film", film).await?;
    planned(&jobs, job).await?;
    let mut looks = Latencies::default();
    // The last hundredth comes from the log, everything else from the snapshot.
    let most = film.segments / 100 * 99;
    until(&jobs, job, &mut looks, &mut coordinators, |done, _| {
        done >= most
    })
    .await?;
    // Paused meanwhile, or the rest is done before the snapshot has begun.
    jobs.pause(job, "restore pause").await?;
    let cluster = Cluster::new(Leader::at(&endpoints)?);
    let snapshot = retry(PATIENCE, || cluster.snapshot()).await?;
    jobs.resume(job, "restore resume").await?;
    until(&jobs, job, &mut looks, &mut coordinators, |done, _| {
        done > film.segments
    })
    .await?;
    drop(nodes);
    let mut ready = Vec::new();
    let mut behind = Vec::new();
    for _ in 0..times {
        let status = coordinators.leader(None).await?;
        behind.push((status.last_index - snapshot.min(status.last_index)) as f64);
        let before = retry(PATIENCE, || jobs.get(job)).await?;
        coordinators.kill(1)?;
        let started = Instant::now();
        coordinators.restart(1)?;
        let after = loop {
            match jobs.get(job).await {
                Ok(view) => break view,
                Err(error) => ensure!(error.may_retry(), "{error}"),
            }
            ensure!(started.elapsed() < PATIENCE, "it does not answer");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        ready.push(started.elapsed().as_secs_f64());
        ensure!(
            after.status.tasks_done >= before.status.tasks_done,
            "{} tasks were done, {} are after it started again",
            before.status.tasks_done,
            after.status.tasks_done
        );
    }
    let tasks = f64::from(film.segments) * f64::from(film.renditions);
    let case = format!("{tasks} tasks");
    sheet.add(&case, "ready", "s", &ready, "");
    sheet.add(&case, "entries_behind_the_snapshot", "count", &behind, "");
    let rss = coordinators.cost(1)?.rss_bytes as f64 / f64::from(1 << 20);
    sheet.add(&case, "rss_after_restore", "MiB", &[rss], "");
    Ok(())
}
