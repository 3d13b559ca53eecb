//! The Leader is killed, again and again, under a writer that has a write every 20 ms and under encodes that take longer than
//! a failover: how long no write is acknowledged, and whether an encode is begun again.

use super::film::Film;
use super::nodes::{Nodes, Size};
use super::processes::{Coordinators, PATIENCE};
use super::submit;
use super::writer::Writer;
use crate::bench::Deadline;
use crate::figure::Sheet;
use crate::seed::Seed;
use anyhow::{Context as _, Result, ensure};
use recode_mesh::retry::retry;
use recode_mesh::{Jobs, Leader};
use std::time::{Duration, Instant};

/// How long the encodes take that a failover must not disturb.
const ENCODE: Duration = Duration::from_secs(15);
const NODES: Size = Size {
    nodes: 4,
    slots: 4,
    sharing: 1,
};
/// More than all encodes of a piece.
const FILM: Film = Film {
    segments: 20_000,
    renditions: 1,
};

/// Kills the Leader up to `kills` times.
pub async fn run(kills: usize, deadline: Deadline, sheet: &mut Sheet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut coordinators = Coordinators::start(folder.path(), 3)?;
    coordinators.leader(None).await?;
    let endpoints = coordinators.endpoints();
    let nodes = Nodes::start(&endpoints, &coordinators.store(), NODES).await?;
    nodes.all_present(PATIENCE).await?;
    nodes.hold(ENCODE);
    let jobs = Jobs::new(Leader::at(&endpoints)?);
    let film = submit(&jobs, "film", FILM).await?;
    let slots = u64::from(NODES.slots) * NODES.nodes as u64;
    let waiting = Instant::now();
    while nodes.look(|seen| seen.grants) < slots {
        ensure!(waiting.elapsed() < PATIENCE, "nothing is granted");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let writer = Writer::start(&endpoints)?;
    let mut chance = Seed::new(std::process::id().into());
    let mut gaps = Vec::new();
    for kill in 0..kills {
        if kill > 0 && deadline.passed() {
            break;
        }
        // Anywhere between two heartbeats, writes and snapshots.
        tokio::time::sleep(Duration::from_millis(
            1000 + (2000.0 * chance.fraction()) as u64,
        ))
        .await;
        let leader = coordinators.leader(None).await?;
        let last = writer.last().context("nothing was written")?;
        ensure!(
            last.elapsed() < Duration::from_secs(1),
            "no write for {:?} before anybody was killed",
            last.elapsed()
        );
        coordinators.kill(leader.coordinator)?;
        let killed = Instant::now();
        gaps.push(writer.gap_after(killed, || coordinators.check()).await?);
        coordinators.restart(leader.coordinator)?;
        let now = coordinators.leader(None).await?;
        let back = leader.coordinator;
        let caught_up = |status: &recode_types::cluster::ClusterStatus| {
            status.coordinator == back && status.applied_index >= now.last_index
        };
        coordinators.until(caught_up).await?;
        nodes.all_present(PATIENCE).await?;
    }
    let view = retry(PATIENCE, || jobs.get(film)).await?;
    let case = "leader killed, 250 / 750-1,000 ms";
    sheet.add(case, "gap", "s", &gaps, "");
    let done = f64::from(view.status.tasks_done);
    sheet.add(case, "tasks_done_meanwhile", "count", &[done], "");
    let again = nodes.look(|seen| seen.granted_again + seen.revoked) as f64;
    sheet.add(case, "encodes_restarted", "count", &[again], "");
    Ok(())
}
