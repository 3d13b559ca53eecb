//! A few seconds in the life of three coordinators, on tape: clients that write all the time, leaders that are cut off,
//! coordinators that stop and start, snapshots, and followers that lag behind them.

use super::super::disk::Disk;
use super::super::{CoordinatorId, Keep};
use super::ledger::Ledger;
use super::left::Replayed;
use super::tape::{Content, Event, Moment, RecordingDisk, Tape};
use super::voters::{PATIENCE, VOTERS, Wires};
use fastrand::Rng;
use recode_types::NodeId;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Clients that write at once.
const WRITERS: u32 = 4;

/// What clients were told: names and numbers of nodes.
pub type Answers = BTreeMap<String, NodeId>;

/// Three folders, what their owners have promised, and what clients were told.
#[derive(Clone, Debug, Default)]
pub struct Start {
    pub contents: BTreeMap<CoordinatorId, Content>,
    pub ledgers: BTreeMap<CoordinatorId, Ledger>,
    pub answers: Answers,
}

/// See the module.
pub struct History {
    start: Start,
    begun: Moment,
    events: Vec<Event>,
}

/// Small portions, so that files begin, end and go all the time.
pub const SMALL: Keep = Keep {
    snapshot_every: 40,
    behind: 10,
    segment_bytes: 6 << 10,
};

/// Writes `contents` below `dir`, a folder for each.
pub fn lay_out(dir: &Path, contents: &BTreeMap<CoordinatorId, Content>) -> std::io::Result<()> {
    for voter in VOTERS {
        let folder = dir.join(voter.to_string());
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir_all(&folder)?;
        for (name, bytes) in contents.get(&voter).into_iter().flatten() {
            std::fs::write(folder.join(name), bytes)?;
        }
    }
    Ok(())
}

/// One client, which writes under names of its own until `until`.
async fn write(wires: Wires, tape: Tape, mut rng: Rng, name: String, until: Instant) {
    for i in 0.. {
        let name = format!("{name}.{i}");
        // Some entries fill sectors, most share them.
        let most = if rng.u8(..8) == 0 { 3000 } else { 100 };
        let filling = "x".repeat(rng.usize(..most));
        let incarnation = format!("{name}-{filling}");
        match wires.register(&name, &incarnation, until).await {
            Some(node) => tape.record(Event::Answered(name, node)),
            None => return,
        }
        tokio::time::sleep(Duration::from_millis(rng.u64(..6))).await;
    }
}

impl History {
    /// Lives through `length` from `start` on, below `dir`. Names begin with `prefix`.
    pub async fn live(
        start: Start,
        dir: &Path,
        prefix: &str,
        length: Duration,
        rng: &mut Rng,
    ) -> Self {
        lay_out(dir, &start.contents).expect("the disk takes it");
        let tape = Tape::default();
        let wires = Wires::recorded(&tape);
        let folder = |voter: CoordinatorId| -> PathBuf { dir.join(voter.to_string()) };
        let empty = Content::new();
        let disks: BTreeMap<CoordinatorId, Arc<dyn Disk>> = VOTERS
            .into_iter()
            .map(|voter| {
                let content = start.contents.get(&voter).unwrap_or(&empty);
                let disk: Arc<dyn Disk> = Arc::new(RecordingDisk::new(voter, &tape, content));
                (voter, disk)
            })
            .collect();
        let begin = async |voter: CoordinatorId| {
            let dir = folder(voter);
            let started = wires.start(voter, &dir, SMALL, &disks[&voter]);
            started.await.expect("what lies there is sound");
        };
        for voter in VOTERS {
            begin(voter).await;
        }
        let begun = tape.now();
        let until = Instant::now() + length;
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let name = format!("{prefix}.{writer}");
            writers.spawn(write(wires.clone(), tape.clone(), rng.fork(), name, until));
        }
        while Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(rng.u64(50..250))).await;
            let any = VOTERS[rng.usize(..3)];
            match rng.u8(..4) {
                0 => {
                    // Whoever leads goes on alone for a while, with entries that nobody will ever confirm.
                    let of = wires.leader().map_or(any, |leader| leader.identity().id);
                    wires.isolate(of);
                    tokio::time::sleep(Duration::from_millis(rng.u64(200..500))).await;
                    wires.heal();
                }
                1 => {
                    wires.stop(any).await;
                    tokio::time::sleep(Duration::from_millis(rng.u64(..300))).await;
                    begin(any).await;
                }
                2 => {
                    wires.isolate(any);
                    tokio::time::sleep(Duration::from_millis(rng.u64(50..400))).await;
                    wires.heal();
                }
                _ => {
                    if let Some(one) = wires.up().get(&any) {
                        // It may be too early for one, which is no matter.
                        let _ = one.raft.trigger().snapshot().await;
                    }
                }
            }
        }
        while writers.join_next().await.is_some() {}
        // At the end everybody knows everything.
        let last = format!("{prefix}.last");
        let patience = Instant::now() + PATIENCE;
        let node = wires.register(&last, &last, patience).await;
        tape.record(Event::Answered(last, node.expect("a quorum is up")));
        wires.stop_all().await;
        Self {
            start,
            begun,
            events: tape.take(),
        }
    }

    /// When all were up.
    pub fn begun(&self) -> Moment {
        self.begun
    }

    /// The last moment.
    pub fn end(&self) -> Moment {
        self.events.len()
    }

    /// The folder of `voter` at a moment.
    pub fn replayed(&self, voter: CoordinatorId, moment: Moment) -> Replayed {
        let empty = Content::new();
        let content = self.start.contents.get(&voter).unwrap_or(&empty);
        Replayed::new(content, &self.events[..moment], voter)
    }

    /// What `voter` has promised by a moment.
    pub fn ledger(&self, voter: CoordinatorId, moment: Moment) -> Ledger {
        let mut ledger = self.start.ledgers.get(&voter).cloned().unwrap_or_default();
        for event in &self.events[..moment] {
            if let Event::Said(who, said) = event
                && *who == voter
            {
                ledger.hear(said);
            }
        }
        ledger
    }

    /// What clients were told by a moment.
    pub fn answers(&self, moment: Moment) -> Answers {
        let mut answers = self.start.answers.clone();
        for event in &self.events[..moment] {
            if let Event::Answered(name, node) = event {
                answers.insert(name.clone(), *node);
            }
        }
        answers
    }

    /// Where another history may begin: all lost power at `moment`, and this is left.
    pub fn continued(&self, moment: Moment, contents: BTreeMap<CoordinatorId, Content>) -> Start {
        Start {
            contents,
            ledgers: VOTERS
                .into_iter()
                .map(|voter| (voter, self.ledger(voter, moment)))
                .collect(),
            answers: self.answers(moment),
        }
    }
}
