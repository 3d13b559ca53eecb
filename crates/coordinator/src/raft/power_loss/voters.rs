//! Three coordinators in this process, on wires that can be cut.

use super::super::disk::Disk;
use super::super::network::{Link, LinkError, Peer};
use super::super::type_config::alias::LogId;
use super::super::type_config::{CoordinatorId, TypeConfig};
use super::super::{Call, Consensus, Error, Identity, Keep, Leadership, Setup, Timings};
use super::ledger::Said;
use super::tape::{Event, Tape};
use futures::future::BoxFuture;
use openraft::error::{InstallSnapshotError, RaftError};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use recode_core::{Command, Outcome};
use recode_types::NodeId;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub const VOTERS: [CoordinatorId; 3] = [1, 2, 3];

/// Quick, since there is no network to wait for.
const QUICK: Timings = Timings {
    heartbeat: Duration::from_millis(25),
    election_min: Duration::from_millis(100),
    election_max: Duration::from_millis(160),
};

/// For a machine on which a flush takes longer than an election may.
const PATIENT: Timings = Timings {
    heartbeat: Duration::from_millis(500),
    election_min: Duration::from_secs(2),
    election_max: Duration::from_secs(4),
};

/// How long a cluster may take for what should take a second.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The wires between them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Wires(Arc<Shared>);

impl Default for Wires {
    fn default() -> Self {
        Self::new(QUICK, &Tape::default())
    }
}

struct Shared {
    timings: Timings,
    up: Mutex<BTreeMap<CoordinatorId, Consensus>>,
    /// From one to another.
    cut: Mutex<BTreeSet<(CoordinatorId, CoordinatorId)>>,
    /// One message at a time for each, so that the tape has answers in the order of their making.
    turns: [tokio::sync::Mutex<()>; VOTERS.len()],
    tape: Tape,
    calls: Mutex<u64>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wires").finish_non_exhaustive()
    }
}

/// One coordinator's end of the wires.
#[derive(Clone, Debug)]
struct End {
    of: CoordinatorId,
    wires: Wires,
}

impl Wires {
    /// With everything that is said on a tape.
    pub fn recorded(tape: &Tape) -> Self {
        Self::new(QUICK, tape)
    }

    /// Between coordinators that give each other much time.
    pub fn patient() -> Self {
        Self::new(PATIENT, &Tape::default())
    }

    fn new(timings: Timings, tape: &Tape) -> Self {
        Self(Arc::new(Shared {
            timings,
            up: Mutex::default(),
            cut: Mutex::default(),
            turns: Default::default(),
            tape: tape.clone(),
            calls: Mutex::default(),
        }))
    }

    /// How often anybody has called.
    pub fn calls(&self) -> u64 {
        *self.0.calls.lock().unwrap()
    }

    /// Nothing reaches `of`, and nothing comes from it.
    pub fn isolate(&self, of: CoordinatorId) {
        let mut cut = self.0.cut.lock().unwrap();
        for other in VOTERS {
            cut.extend([(of, other), (other, of)]);
        }
    }

    /// Everything arrives again.
    pub fn heal(&self) {
        self.0.cut.lock().unwrap().clear();
    }

    pub fn up(&self) -> BTreeMap<CoordinatorId, Consensus> {
        self.0.up.lock().unwrap().clone()
    }

    /// The one that believes to lead, in the newest term.
    pub fn leader(&self) -> Option<Consensus> {
        let term = |one: &Consensus| match &*one.leadership().borrow() {
            Leadership::Leads { term } => Some(*term),
            Leadership::Follows { .. } => None,
        };
        let up = self.up();
        let leading = up.values().filter_map(|one| Some((term(one)?, one)));
        leading
            .max_by_key(|(term, _)| *term)
            .map(|(_, one)| one.clone())
    }

    /// Starts one on what lies in `dir`.
    pub async fn start(
        &self,
        me: CoordinatorId,
        dir: &Path,
        keep: Keep,
        disk: &Arc<dyn Disk>,
    ) -> Result<(), Error> {
        let setup = Setup {
            witness: None,
            identity: Identity {
                cluster: "power-loss".into(),
                id: me,
            },
            founders: VOTERS.iter().map(|id| (*id, id.to_string())).collect(),
            link: Arc::new(End {
                of: me,
                wires: self.clone(),
            }),
            timings: self.0.timings,
            keep,
            disk: disk.clone(),
        };
        let consensus = Consensus::open(dir, setup).await?;
        self.0.up.lock().unwrap().insert(me, consensus);
        Ok(())
    }

    /// Stops one in order.
    pub async fn stop(&self, of: CoordinatorId) {
        let consensus = self.0.up.lock().unwrap().remove(&of);
        if let Some(consensus) = consensus {
            consensus.stop().await;
        }
    }

    pub async fn stop_all(&self) {
        for voter in VOTERS {
            self.stop(voter).await;
        }
    }

    /// Proposes until somebody says that it is done, or `until`.
    pub async fn register(&self, name: &str, incarnation: &str, until: Instant) -> Option<NodeId> {
        while Instant::now() < until {
            let command = Command::RegisterNode {
                name: name.to_owned(),
                incarnation: incarnation.to_owned(),
            };
            if let Some(leader) = self.leader() {
                // One that is cut off would make us wait for as long as it is.
                let proposed = leader.propose(vec![command]);
                let wait = self.0.timings.election_max * 2;
                let proposed = tokio::time::timeout(wait, proposed).await;
                if let Ok(Ok(outcomes)) = proposed {
                    let [Outcome::Registered { node }] = outcomes[..] else {
                        panic!("{outcomes:?}")
                    };
                    return Some(node);
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        None
    }

    fn said(&self, who: CoordinatorId, said: Said) {
        self.0.tape.record(Event::Said(who, said));
    }

    async fn carry(
        &self,
        from: CoordinatorId,
        to: CoordinatorId,
        call: Call,
        payload: &[u8],
    ) -> Option<Vec<u8>> {
        *self.0.calls.lock().unwrap() += 1;
        let open = |from, to| !self.0.cut.lock().unwrap().contains(&(from, to));
        let target = self.0.up.lock().unwrap().get(&to).cloned()?;
        if !open(from, to) {
            return None;
        }
        let heard = Heard::read(call, payload);
        let _turn = self.0.turns[to as usize - 1].lock().await;
        self.said(from, Said::Votes(heard.vote));
        self.said(to, Said::Asked(heard.asked.clone()));
        let answer = target.answer(call, payload).await.ok()?;
        for said in heard.answered(call, &answer) {
            self.said(to, said);
        }
        open(to, from).then_some(answer)
    }
}

impl Link for End {
    fn call(
        &self,
        to: Peer,
        call: Call,
        payload: Vec<u8>,
        within: Duration,
    ) -> BoxFuture<'static, Result<Vec<u8>, LinkError>> {
        let this = self.clone();
        Box::pin(async move {
            let carried = this.wires.carry(this.of, to.id, call, &payload);
            match tokio::time::timeout(within, carried).await {
                Ok(Some(answer)) => Ok(answer),
                _ => Err(LinkError::Unreachable(to.id, "cut".into())),
            }
        })
    }
}

/// What a message tells of its sender and asks of its receiver.
struct Heard {
    vote: super::super::type_config::alias::Vote,
    /// Entries that the receiver has after it agreed.
    asked: Vec<LogId>,
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> T {
    postcard::from_bytes(bytes).expect("we wrote it")
}

impl Heard {
    fn read(call: Call, payload: &[u8]) -> Self {
        match call {
            Call::Append => {
                let request: AppendEntriesRequest<TypeConfig> = read(payload);
                let entries = request.entries.iter().map(|entry| entry.log_id);
                Self {
                    vote: request.vote,
                    asked: request.prev_log_id.into_iter().chain(entries).collect(),
                }
            }
            Call::Vote => {
                let request: VoteRequest<CoordinatorId> = read(payload);
                Self {
                    vote: request.vote,
                    asked: Vec::new(),
                }
            }
            Call::InstallSnapshot => {
                let request: InstallSnapshotRequest<TypeConfig> = read(payload);
                let last = request.meta.last_log_id.filter(|_| request.done);
                Self {
                    vote: request.vote,
                    asked: last.into_iter().collect(),
                }
            }
        }
    }

    /// What the receiver promised by its answer.
    fn answered(self, call: Call, answer: &[u8]) -> Vec<Said> {
        type Answered<T, E = openraft::error::Infallible> = Result<T, RaftError<CoordinatorId, E>>;
        match call {
            Call::Append => match read::<Answered<AppendEntriesResponse<CoordinatorId>>>(answer) {
                Ok(AppendEntriesResponse::Success) => {
                    vec![Said::Votes(self.vote), Said::Holds(self.asked)]
                }
                Ok(AppendEntriesResponse::HigherVote(vote)) => vec![Said::Votes(vote)],
                _ => Vec::new(),
            },
            Call::Vote => match read::<Answered<VoteResponse<CoordinatorId>>>(answer) {
                Ok(response) => vec![Said::Votes(response.vote)],
                Err(_) => Vec::new(),
            },
            Call::InstallSnapshot => {
                type Installed =
                    Answered<InstallSnapshotResponse<CoordinatorId>, InstallSnapshotError>;
                match read::<Installed>(answer) {
                    Ok(response) if response.vote == self.vote => {
                        vec![Said::Votes(response.vote), Said::Holds(self.asked)]
                    }
                    Ok(response) => vec![Said::Votes(response.vote)],
                    Err(_) => Vec::new(),
                }
            }
        }
    }
}
