//! A thousand nodes and three hundred clients lose their Leader at once: whether all come back soon, and whether the herd
//! unseats the new one.

use super::film::Film;
use super::nodes::{Nodes, Size};
use super::processes::{Coordinators, PATIENCE};
use super::submit;
use crate::bench::Deadline;
use crate::figure::Sheet;
use anyhow::{Result, ensure};
use recode_mesh::retry::retry;
use recode_mesh::{Jobs, Leader};
use recode_types::JobId;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const NODES: Size = Size {
    nodes: 1000,
    slots: 1,
    sharing: 50,
};
/// Clients, each with a connection of its own, a watch and a look every second.
const CLIENTS: usize = 300;
const LOOK_EVERY: Duration = Duration::from_secs(1);
const ENCODE: Duration = Duration::from_secs(20);
/// Work for all nodes for as long as it takes.
const FILM: Film = Film {
    segments: 20_000,
    renditions: 1,
};
/// How long all may take to be back.
const LONGEST: Duration = Duration::from_secs(120);
/// How long the new Leader is looked at once all are back.
const AFTERWARDS: Duration = Duration::from_secs(10);

/// One failover after the other: `rounds`, unless the time is over before.
pub async fn run(rounds: usize, deadline: Deadline, sheet: &mut Sheet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut coordinators = Coordinators::start(folder.path(), 3)?;
    coordinators.leader(None).await?;
    let endpoints = coordinators.endpoints();
    let nodes = Nodes::start(&endpoints, &coordinators.store(), NODES).await?;
    nodes.hold(ENCODE);
    let jobs = Jobs::new(Leader::at(&endpoints)?);
    let job = submit(&jobs, "film", FILM).await?;
    nodes.all_present(PATIENCE).await?;
    let clients = Clients::start(&endpoints, job)?;
    let (mut back, mut extra, mut cut, mut memory) = (vec![], vec![], vec![], vec![]);
    for round in 0..rounds {
        if round > 0 && deadline.passed() {
            break;
        }
        clients.all_after(Instant::now()).await?;
        let before = coordinators.leader(None).await?;
        let lost = nodes.look(|seen| seen.lost);
        coordinators.kill(before.coordinator)?;
        let killed = Instant::now();
        // They notice at once, since the kernel closes what the process had open.
        while nodes.look(|seen| seen.lost) == lost {
            ensure!(killed.elapsed() < LONGEST, "no node has lost its leader");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        nodes.all_present(LONGEST).await?;
        clients.all_after(killed).await?;
        back.push(killed.elapsed().as_secs_f64());
        tokio::time::sleep(AFTERWARDS).await;
        let after = coordinators.leader(None).await?;
        // One election is what a failover takes; each further one has a term of its own.
        extra.push(after.term.saturating_sub(before.term + 1) as f64);
        let lost = nodes.look(|seen| seen.lost) - lost;
        cut.push(lost as f64 - NODES.nodes as f64);
        memory.push(coordinators.cost(after.coordinator)?.rss_bytes as f64 / f64::from(1 << 20));
        coordinators.restart(before.coordinator)?;
        let id = before.coordinator;
        coordinators
            .until(|status| status.coordinator == id && status.applied_index >= after.last_index)
            .await?;
    }
    let case = "1,000 nodes, 300 clients";
    sheet.add(case, "all_back", "s", &back, "");
    sheet.add(case, "extra_elections", "count", &extra, "");
    sheet.add(case, "exchanges_cut_off", "count", &cut, "");
    sheet.add(case, "leader_rss", "MiB", &memory, "");
    let again = nodes.look(|seen| seen.granted_again + seen.revoked) as f64;
    sheet.add(case, "encodes_restarted", "count", &[again], "");
    Ok(())
}

/// Clients that watch a job and look at it every second.
struct Clients {
    /// When each was answered last.
    answered: Arc<Mutex<Vec<Instant>>>,
    _tasks: JoinSet<()>,
}

impl Clients {
    fn start(endpoints: &str, job: JobId) -> Result<Self> {
        let answered = Arc::new(Mutex::new(vec![Instant::now(); CLIENTS]));
        let mut tasks = JoinSet::new();
        for client in 0..CLIENTS {
            let jobs = Jobs::new(Leader::at(endpoints)?);
            let mut watch = jobs.watch(job, 0).patience(LONGEST);
            let answered = answered.clone();
            tasks.spawn(async move { while let Ok(Some(_)) = watch.next().await {} });
            tasks.spawn(async move {
                loop {
                    let asked = Instant::now();
                    if retry(LONGEST, || jobs.get(job)).await.is_ok() {
                        let mut answered = answered.lock().expect("nothing panics with it");
                        // An answer to an older question says nothing of the Leader of today.
                        answered[client] = asked;
                    }
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            });
        }
        Ok(Self {
            answered,
            _tasks: tasks,
        })
    }

    /// Waits until every client has got an answer to a question asked after `moment`.
    async fn all_after(&self, moment: Instant) -> Result<()> {
        let waiting = Instant::now();
        loop {
            let missing = {
                let answered = self.answered.lock().expect("nothing panics with it");
                answered.iter().filter(|at| **at < moment).count()
            };
            if missing == 0 {
                return Ok(());
            }
            ensure!(
                waiting.elapsed() < LONGEST,
                "{missing} clients have no answer after {LONGEST:?}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
