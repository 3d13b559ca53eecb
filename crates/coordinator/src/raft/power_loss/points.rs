//! The power goes for all three at once, at random moments.

use super::super::disk::Real;
use super::super::log_store::{Founding, LogStore};
use super::super::snapshot::Snapshots;
use super::super::state_machine::StateMachine;
use super::super::{CoordinatorId, Keep};
use super::Counts;
use super::history::{Answers, History, SMALL, Start, lay_out};
use super::ledger::{Found, Ledger};
use super::tape::{Content, Moment};
use super::voters::{PATIENCE, VOTERS, Wires};
use fastrand::Rng;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;
use tokio::task::JoinSet;

/// Clusters that come up at once: they mostly wait for elections.
const AT_ONCE: usize = 4;

/// One moment and what is left then.
#[derive(Clone)]
struct Point {
    moment: Moment,
    contents: BTreeMap<CoordinatorId, Content>,
    ledgers: BTreeMap<CoordinatorId, Ledger>,
    answers: Answers,
}

/// Tries `count` moments of a history; answers what one of them has left.
pub async fn try_some(
    history: &History,
    dir: &Path,
    count: usize,
    rng: &mut Rng,
    counts: &mut Counts,
) -> Start {
    let mut running = JoinSet::new();
    let mut next = Start::default();
    for i in 0..count {
        let moment = rng.usize(1..=history.end());
        let mut torn = false;
        let contents = VOTERS.into_iter().map(|voter| {
            let replayed = history.replayed(voter, moment);
            let left = replayed.after_loss(rng);
            torn |= replayed.is_pending() && left != replayed.whole();
            (voter, left)
        });
        let contents: BTreeMap<_, _> = contents.collect();
        let point = Point {
            moment,
            ledgers: VOTERS
                .map(|voter| (voter, history.ledger(voter, moment)))
                .into(),
            answers: history.answers(moment),
            contents,
        };
        counts.points += 1;
        counts.torn += u64::from(torn);
        counts.answers += point.answers.len() as u64;
        counts.promises += point.ledgers.values().map(Ledger::len).sum::<usize>() as u64;
        if i == 0 {
            next = history.continued(moment, point.contents.clone());
        }
        if running.len() == AT_ONCE {
            collect(running.join_next().await, counts);
        }
        // One may still run when many later ones are done.
        let dir = dir.join(i.to_string());
        running.spawn(async move {
            let moment = point.moment;
            let checked = check(&point, &dir).await;
            checked.map_err(|problem| format!("power lost at {moment}: {problem}"))
        });
    }
    while let Some(done) = running.join_next().await {
        collect(Some(done), counts);
    }
    next
}

fn collect(
    done: Option<Result<Result<bool, String>, tokio::task::JoinError>>,
    counts: &mut Counts,
) {
    match done {
        None => {}
        Some(Ok(Ok(late))) => counts.late += u64::from(late),
        Some(Ok(Err(problem))) => counts.lost.push(problem),
        Some(Err(panic)) => counts.lost.push(panic.to_string()),
    }
}

/// Whether it came up only with patience.
async fn check(point: &Point, dir: &Path) -> Result<bool, String> {
    let lay_out = || lay_out(dir, &point.contents).map_err(|e| e.to_string());
    lay_out()?;
    for voter in VOTERS {
        let folder = dir.join(voter.to_string());
        let found = found(&folder).await?;
        point.ledgers[&voter]
            .kept(&found)
            .map_err(|problem| format!("coordinator {voter}: {problem}"))?;
    }
    let late = match comes_up(Wires::default(), &point.answers, dir).await {
        Ok(()) => false,
        Err(Trouble::Wrong(problem)) => return Err(problem),
        Err(Trouble::Late(_)) => {
            // Either what is left lets nobody go on, whatever time there is, or the machine was too busy for timings as
            // quick as these.
            lay_out()?;
            let again = comes_up(Wires::patient(), &point.answers, dir).await;
            again.map_err(Trouble::sentence)?;
            true
        }
    };
    std::fs::remove_dir_all(dir).map_err(|e| e.to_string())?;
    Ok(late)
}

/// Why a cluster did not come up as it must.
enum Trouble {
    /// Something did not happen in time.
    Late(String),
    /// Something did that must not.
    Wrong(String),
}

impl Trouble {
    fn sentence(self) -> String {
        match self {
            Trouble::Late(sentence) | Trouble::Wrong(sentence) => sentence,
        }
    }
}

/// What the folder of a coordinator holds. As when it starts, except that nothing runs.
async fn found(folder: &Path) -> Result<Found, String> {
    let disk = Real::shared();
    let mut log = LogStore::open(&disk, folder, Founding::default(), SMALL.segment_bytes)
        .map_err(|e| format!("{} is refused: {e}", folder.display()))?;
    let snapshot = Snapshots::open(&disk, folder)
        .and_then(|snapshots| {
            let newest = snapshots.newest()?;
            StateMachine::open(snapshots, None)?;
            Ok(newest.and_then(|kept| kept.meta.last_log_id))
        })
        .map_err(|e| format!("{} is refused: {e}", folder.display()))?;
    let found = Found::of(&mut log, snapshot).await;
    log.close();
    Ok(found)
}

/// Three coordinators elect, know what clients were told, take more, and agree.
async fn comes_up(wires: Wires, answers: &Answers, dir: &Path) -> Result<(), Trouble> {
    for voter in VOTERS {
        let folder = dir.join(voter.to_string());
        let started = wires
            .start(voter, &folder, Keep::default(), &Real::shared())
            .await;
        started.map_err(|e| Trouble::Wrong(format!("coordinator {voter} does not start: {e}")))?;
    }
    let checked = agree(&wires, answers).await;
    wires.stop_all().await;
    checked
}

async fn agree(wires: &Wires, answers: &Answers) -> Result<(), Trouble> {
    let patience = Instant::now() + PATIENCE;
    let node = wires.register("afterwards", "afterwards", patience).await;
    let node = node.ok_or_else(|| Trouble::Late("nothing is taken any more".into()))?;
    let up = wires.up();
    for consensus in up.values() {
        let mut changes = consensus.shared().changes();
        let knows = async {
            while !consensus
                .shared()
                .look(|state| state.nodes.contains_key(&node))
            {
                changes.changed().await.expect("it runs");
            }
        };
        let me = consensus.identity().id;
        tokio::time::timeout(PATIENCE, knows)
            .await
            .map_err(|_| Trouble::Late(format!("coordinator {me} does not catch up")))?;
        let missing = consensus.shared().look(|state| {
            let known = |(name, node): &(&String, &recode_types::NodeId)| {
                state
                    .nodes
                    .get(node)
                    .is_some_and(|found| found.name == **name)
            };
            let missing: Vec<_> = answers.iter().filter(|answer| !known(answer)).collect();
            missing
                .first()
                .map(|first| format!("{} answers, such as {first:?}", missing.len()))
        });
        if let Some(missing) = missing {
            return Err(Trouble::Wrong(format!(
                "coordinator {me} has lost {missing}"
            )));
        }
    }
    let states: Vec<_> = up
        .values()
        .map(|one| one.shared().look(Clone::clone))
        .collect();
    if states.windows(2).any(|pair| pair[0] != pair[1]) {
        return Err(Trouble::Wrong("their states differ".into()));
    }
    Ok(())
}
