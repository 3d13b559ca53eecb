//! What runs while a coordinator leads: dispatcher, planner and proposer, modelled after the coordinator's actors. Where
//! those wait on the log, here the rest of the work is kept as a [`Reply`] and goes on when the answer comes.

mod dispatcher;
mod judge;
mod planner;
mod proposer;

use super::client::Answer;
use super::log::Gathered;
use super::world::{Event, Place, World};
use crate::faults::Fault;
use crate::film;
use recode_core::Rejected;
use recode_core::leader::{Registry, fit};
use recode_core::machine::{
    Batch, Command, Entry, LeaseGrant, Order, Outcome, Phase, ReadyTask, decide,
};
use recode_core::schedule::{self, FreeNode, Held, Problem, Reason, Solution};
use recode_types::task::{AttemptOutcome, FailureClass, Grant};
use recode_types::{AttemptToken, JobId, NodeId, NodeOrders, NodeReport};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

/// As in the coordinator's proposer.
const DEADLINE_MS: u64 = 15_000;
const MOST_TOGETHER: usize = 64;
const MAILBOX: usize = 256;
/// As in its planner.
const STORE_TRIES: u32 = 4;
const PLANS_AT_ONCE: usize = 4;

/// Who waits for an answer of the log, and what is to be done with it.
#[derive(Debug)]
pub enum Reply {
    Nobody,
    Registered {
        exchange: usize,
        report: Box<NodeReport>,
    },
    Completed(BTreeMap<AttemptToken, (NodeId, AttemptOutcome)>),
    Expired(Vec<NodeId>),
    Granted {
        problem: Problem,
        grants: Vec<LeaseGrant>,
    },
    Planner {
        job: JobId,
        rest: VecDeque<Vec<Command>>,
        decides: bool,
    },
    Call {
        client: usize,
        call: u64,
    },
}

#[derive(Debug)]
enum Msg {
    Opened {
        exchange: usize,
        report: Box<NodeReport>,
    },
    Reported {
        exchange: usize,
        report: Box<NodeReport>,
    },
    Closed {
        exchange: usize,
    },
}

#[derive(Debug)]
struct Write {
    number: u64,
    /// Where it stands in the log, if it does.
    index: Option<usize>,
    waiting: Vec<(usize, Reply)>,
}

/// Where the dispatcher's loop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Wakes,
    Complete,
    Expire,
    Dispatch,
}

/// See the module. Dropped as one value when leadership ends.
#[derive(Debug)]
pub struct Reign {
    pub term: u64,
    /// Its first entry is applied, so its state is complete.
    pub started: bool,
    since: u64,
    base_ms: u64,
    registry: Option<Registry>,
    /// Streams that orders go out on.
    orders: BTreeMap<NodeId, usize>,
    finished: BTreeMap<AttemptToken, (NodeId, AttemptOutcome)>,
    expired: Vec<NodeId>,
    due: bool,
    inbox: VecDeque<Msg>,
    stage: Stage,
    /// The dispatcher waits on the log.
    waits: bool,
    /// Something has happened since it last looked what there is to do.
    woken: bool,
    retry_set: bool,
    to_plan: BTreeSet<JobId>,
    to_decide: BTreeSet<JobId>,
    planning: usize,
    deciding: bool,
    queue: VecDeque<(Vec<Command>, Reply)>,
    writing: Option<Write>,
    writes: u64,
}

impl Reign {
    pub fn new(term: u64) -> Self {
        Self {
            term,
            started: false,
            since: 0,
            base_ms: 0,
            registry: None,
            orders: BTreeMap::new(),
            finished: BTreeMap::new(),
            expired: Vec::new(),
            due: false,
            inbox: VecDeque::new(),
            stage: Stage::Wakes,
            waits: false,
            woken: false,
            retry_set: false,
            to_plan: BTreeSet::new(),
            to_decide: BTreeSet::new(),
            planning: 0,
            deciding: false,
            queue: VecDeque::new(),
            writing: None,
            writes: 0,
        }
    }

    fn registry(&mut self) -> &mut Registry {
        self.registry.as_mut().expect("it has started")
    }
}

impl Reign {
    /// The Node whose exchange this is, if it counts.
    fn node_of(&self, exchange: usize) -> Option<NodeId> {
        let registry = self.registry.as_ref()?;
        let mut nodes = self.orders.iter();
        let by_stream = nodes.find(|(_, e)| **e == exchange).map(|(n, _)| *n);
        by_stream.filter(|n| registry.exchange(*n) == Some(exchange as u64))
    }
}

impl World {
    fn reign(&mut self, at: usize) -> Option<&mut Reign> {
        self.coordinators[at].reign.as_deref_mut()
    }

    fn reign_of(&mut self, at: usize, term: u64) -> Option<&mut Reign> {
        self.reign(at).filter(|r| r.term == term && r.started)
    }

    /// Milliseconds since 1970, as this coordinator stamps them: its wall clock when it began to lead, never before what
    /// the log has seen, and from then on its monotonic clock.
    pub fn now_ms(&self, at: usize) -> u64 {
        let one = &self.coordinators[at];
        let Some(reign) = &one.reign else {
            return one.at_ms;
        };
        reign.base_ms + (self.now - reign.since) * one.rate / 1000
    }
}
