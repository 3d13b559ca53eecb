//! What can happen in a run, and to whom.

use super::World;
use crate::core_alone::client::{Answer, Call};
use recode_types::task::Grant;
use recode_types::{AttemptToken, JobId, NodeId, NodeOrders, NodeReport};
use std::rc::Rc;

/// A process that messages come from and go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Coordinator(usize),
    Node(usize),
    Client(usize),
}

/// Everything that can happen. Where there is a `term` or a `life`, what comes too late for it is dropped.
#[derive(Debug)]
pub enum Event {
    Append {
        to: usize,
        from: usize,
        upto: usize,
        commit: usize,
        term: u64,
    },
    Synced {
        at: usize,
        life: u32,
        upto: usize,
        term: u64,
    },
    Acked {
        to: usize,
        from: usize,
        upto: usize,
        term: u64,
    },
    Heartbeat {
        at: usize,
        term: u64,
    },
    Elect {
        force: bool,
    },
    StepDown {
        at: usize,
        term: u64,
    },
    Deadline {
        at: usize,
        term: u64,
        write: u64,
    },
    Round {
        at: usize,
        term: u64,
    },
    Retry {
        at: usize,
        term: u64,
    },
    Stored {
        at: usize,
        term: u64,
        node: NodeId,
        token: AttemptToken,
        grant: Option<Box<Grant>>,
    },
    FactsRead {
        at: usize,
        term: u64,
        job: JobId,
        tries: u32,
    },
    PlanAgain {
        at: usize,
        term: u64,
        job: JobId,
    },
    Restart {
        at: usize,
    },
    Open {
        to: usize,
        exchange: usize,
        report: Box<NodeReport>,
    },
    Report {
        exchange: usize,
        report: Box<NodeReport>,
    },
    Closed {
        exchange: usize,
    },
    Orders {
        exchange: usize,
        orders: Rc<NodeOrders>,
    },
    HangUp {
        exchange: usize,
    },
    Dial {
        node: usize,
        life: u32,
    },
    Tick {
        node: usize,
        life: u32,
    },
    Ends {
        node: usize,
        life: u32,
        token: AttemptToken,
    },
    NodeStarts {
        node: usize,
    },
    Client {
        client: usize,
    },
    Call {
        to: usize,
        client: usize,
        call: u64,
        what: Rc<Call>,
    },
    Answer {
        client: usize,
        call: u64,
        answer: Answer,
    },
    Chaos,
    Mend {
        a: Place,
        b: Place,
    },
    Calm,
    Look,
}

impl Event {
    /// Who is woken by it; one that stands still sees it when it goes on.
    pub(super) fn to(&self, world: &World) -> Option<Place> {
        Some(match self {
            Self::Append { to, .. }
            | Self::Acked { to, .. }
            | Self::Open { to, .. }
            | Self::Call { to, .. } => Place::Coordinator(*to),
            Self::Heartbeat { at, .. }
            | Self::StepDown { at, .. }
            | Self::Deadline { at, .. }
            | Self::Round { at, .. }
            | Self::Retry { at, .. }
            | Self::Stored { at, .. }
            | Self::FactsRead { at, .. }
            | Self::PlanAgain { at, .. } => Place::Coordinator(*at),
            Self::Report { exchange, .. } | Self::Closed { exchange } => {
                Place::Coordinator(world.exchanges[*exchange].coordinator)
            }
            Self::Orders { exchange, .. } | Self::HangUp { exchange } => {
                Place::Node(world.exchanges[*exchange].node)
            }
            Self::Dial { node, .. } | Self::Tick { node, .. } | Self::Ends { node, .. } => {
                Place::Node(*node)
            }
            _ => return None,
        })
    }
}

#[derive(Debug)]
pub(super) struct Queued {
    pub at: u64,
    pub order: u64,
    pub event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
