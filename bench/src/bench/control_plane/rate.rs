//! How many transitions a second three coordinators take, and how long each takes at half of that, and of what is promised.

use super::film::Film;
use super::large_job::planned;
use super::nodes::{Nodes, Size};
use super::processes::{Coordinators, PATIENCE};
use super::submit;
use crate::bench::Deadline;
use crate::figure::Sheet;
use anyhow::{Result, ensure};
use recode_mesh::retry::retry;
use recode_mesh::{Jobs, Leader};
use std::time::{Duration, Instant};

/// Nodes, each with a connection of its own.
const NODES: usize = 120;
/// What each encodes at once.
const SLOTS: u32 = 2;
/// Transitions a second that are promised; at half of that nobody waits long.
const PROMISED: f64 = 5000.0;
/// Before a rate has settled.
const SETTLE: Duration = Duration::from_secs(4);
/// How long is measured.
const WINDOW: Duration = Duration::from_secs(20);
/// More work than can be done: a film takes some seconds at the highest rate.
const JOBS: usize = 16;
/// While films are planned, so that planning is no part of what is measured.
const HOLD_AT_FIRST: Duration = Duration::from_secs(1);
const FILM: Film = Film {
    segments: 100_000,
    renditions: 1,
};

/// Measures rounds until the time is over, one at least.
pub async fn run(rounds: usize, deadline: Deadline, sheet: &mut Sheet) -> Result<()> {
    for round in 0..rounds {
        if round > 0 && deadline.passed() {
            break;
        }
        self::round(sheet).await?;
    }
    Ok(())
}

async fn round(sheet: &mut Sheet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut coordinators = Coordinators::start(folder.path(), 3)?;
    let leader = coordinators.leader(None).await?;
    let size = Size {
        nodes: NODES,
        slots: SLOTS,
        sharing: 1,
    };
    let nodes = Nodes::start(&coordinators.endpoints(), &coordinators.store(), size).await?;
    nodes.all_present(PATIENCE).await?;
    let jobs = Jobs::new(Leader::at(&coordinators.endpoints())?);
    nodes.hold(HOLD_AT_FIRST);
    let mut films = Vec::with_capacity(JOBS);
    for number in 0..JOBS {
        let id = format!("film {number}");
        let film = submit(&jobs, &id, FILM).await?;
        planned(&jobs, film).await?;
        films.push(film);
    }
    nodes.hold(Duration::ZERO);
    let waiting = Instant::now();
    while nodes.transitions() < u64::from(SLOTS) * 10 * NODES as u64 {
        ensure!(waiting.elapsed() < PATIENCE, "nothing is granted");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let before = coordinators.cost(leader.coordinator)?;
    let peak = measured(&nodes).await;
    let after = coordinators.cost(leader.coordinator)?;
    let case = "3 coordinators, 120 nodes";
    sheet.add(case, "transitions_per_second", "1/s", &[peak], "");
    let cpu_us = (after.cpu - before.cpu) * 1e6 / (peak * (SETTLE + WINDOW).as_secs_f64());
    sheet.add(case, "leader_cpu_per_transition", "us", &[cpu_us], "");
    latencies(&nodes, "at the highest rate", sheet);
    let half = at_rate(&nodes, peak / 2.0).await;
    let share = half / peak;
    sheet.add(case, "share_of_the_highest_rate", "ratio", &[share], "");
    latencies(&nodes, "at half of it", sheet);
    let half = at_rate(&nodes, PROMISED / 2.0).await;
    let share = half / PROMISED;
    sheet.add(case, "share_of_the_promised_rate", "ratio", &[share], "");
    latencies(&nodes, "at half of the promised rate", sheet);
    let last = films.last().expect("there is work");
    let view = retry(PATIENCE, || jobs.get(*last)).await?;
    ensure!(
        !view.status.state.is_terminal(),
        "the work was done before the measurement"
    );
    let now = coordinators.leader(None).await?;
    ensure!(
        now.term == leader.term,
        "another coordinator was elected meanwhile: the machine does not bear this load"
    );
    nodes.look(|seen| {
        ensure!(
            seen.revoked == 0 && seen.lost == 0,
            "{} attempts were revoked, {} exchanges lost",
            seen.revoked,
            seen.lost
        );
        Ok(())
    })
}

/// Makes the nodes work at about `rate` by the time that each Attempt takes, and measures.
async fn at_rate(nodes: &Nodes, rate: f64) -> f64 {
    // What a slot waits for beside the work makes up the rest of its time.
    let mut hold = Duration::from_secs_f64(2.0 * f64::from(SLOTS) * NODES as f64 / rate);
    for _ in 0..2 {
        nodes.hold(hold);
        tokio::time::sleep(SETTLE).await;
        hold = hold.mul_f64((over(nodes, SETTLE).await / rate).clamp(0.2, 5.0));
    }
    nodes.hold(hold);
    measured(nodes).await
}

/// The rate over a window, after it has settled; latencies are those of the window.
async fn measured(nodes: &Nodes) -> f64 {
    tokio::time::sleep(SETTLE).await;
    nodes.begin();
    over(nodes, WINDOW).await
}

/// The rate over some time.
async fn over(nodes: &Nodes, time: Duration) -> f64 {
    let (started, before) = (Instant::now(), nodes.transitions());
    tokio::time::sleep(time).await;
    (nodes.transitions() - before) as f64 / started.elapsed().as_secs_f64()
}

fn latencies(nodes: &Nodes, case: &str, sheet: &mut Sheet) {
    let (commit, dispatch) = nodes.look(|seen| (seen.commit.clone(), seen.dispatch.clone()));
    commit.report(sheet, case, ["commit_p50", "commit_p99", "commit_max"]);
    dispatch.report(
        sheet,
        case,
        ["dispatch_p50", "dispatch_p99", "dispatch_max"],
    );
    let timed = (commit.len() + dispatch.len()) as f64;
    sheet.add(case, "transitions_timed", "count", &[timed], "");
}
