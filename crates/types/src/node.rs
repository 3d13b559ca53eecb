//! Nodes as the Leader sees them: what a node says, and what it is told.

use crate::event::AttemptProgress;
use crate::id::{AttemptNo, NodeId, TaskId};
use crate::offer::{NodeLoad, Offer};
use crate::task::{AttemptOutcome, Grant};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a node is. Said once, at the start of an exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeHello {
    /// For people: host name and process id.
    pub name: String,
    /// Version of the node's program.
    pub version: String,
    /// Heavy Attempts it runs at once.
    pub heavy_slots: u32,
    /// Light Attempts it runs beside them.
    pub light_slots: u32,
    /// The FFmpeg build it uses, its first version line.
    pub ffmpeg: String,
    /// Encoders and filters its FFmpeg has.
    pub capabilities: Vec<String>,
    /// What its operator says of it, as in `compute=intel`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Where other nodes of its site reach it, `HOST:PORT`; empty: it serves nobody.
    #[serde(default)]
    pub peer: String,
    /// What all its runs together may have of its memory, in bytes; `None`: it does not say.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
}

impl NodeHello {
    /// Its site, where it serves the other nodes of one.
    pub fn site(&self) -> Option<&str> {
        let serves = !self.peer.is_empty();
        serves.then(|| self.labels.get(SITE).map(String::as_str))?
    }

    /// What the machine costs in an hour, in whatever currency all labels are.
    pub fn price(&self) -> Option<f64> {
        self.number(PRICE)
    }

    /// What a gigabyte (10^9 bytes) costs on the link between its site and everything else, in the same currency.
    pub fn egress(&self) -> Option<f64> {
        self.number(EGRESS)
    }

    fn number(&self, label: &str) -> Option<f64> {
        let value = self.labels.get(label)?.parse().ok()?;
        is_amount(value).then_some(value)
    }

    /// It says what it has, and this encoder is not among it.
    pub fn lacks(&self, encoder: &str) -> bool {
        !self.capabilities.is_empty() && !self.capabilities.iter().any(|has| has == encoder)
    }

    /// Both say which FFmpeg they use, and it is the same.
    pub fn same_ffmpeg(&self, other: &Self) -> bool {
        !self.ffmpeg.is_empty() && self.ffmpeg == other.ffmpeg
    }
}

/// The label that names a node's site: machines between which bytes cost nothing.
pub const SITE: &str = "site";

/// The label that says what a machine costs in an hour.
pub const PRICE: &str = "price";

/// The label that says what a gigabyte costs on the link of a site.
pub const EGRESS: &str = "egress";

fn is_amount(value: f64) -> bool {
    value.is_finite() && value >= 0.0
}

/// A label that is read as a number is one.
///
/// # Errors
/// One sentence with the remedy.
pub fn check_label(key: &str, value: &str) -> Result<(), String> {
    let is_number = key != PRICE && key != EGRESS || value.parse().is_ok_and(is_amount);
    is_number.then_some(()).ok_or_else(|| {
        format!("the label {key} is an amount of money, and \"{value}\" is none: write a number without its currency, as in {key}=0.09")
    })
}

/// Bytes of remote Sources, and of Chunks that were read to be joined, that a node has moved since it started, for its Attempts
/// and for the other nodes of its site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerTraffic {
    /// Those that came from where they are stored.
    pub from_store: u64,
    /// Those that came from other nodes of its site.
    pub from_peers: u64,
    /// Those that went to them.
    pub to_peers: u64,
}

/// A node's whole present state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeReport {
    /// Chosen by the node process at start; a process that starts again is a new node.
    pub instance: String,
    /// Counts up within one exchange.
    pub sequence: u64,
    /// Only in the first report of an exchange.
    pub hello: Option<NodeHello>,
    /// Attempts it holds: granted, waiting or running.
    pub running: Vec<AttemptProgress>,
    /// Attempts that ended and are not acknowledged yet.
    pub finished: Vec<FinishedAttempt>,
    /// Heavy Attempts it would take now, beyond those it holds.
    pub free_heavy: u32,
    /// Light Attempts it would take now, beyond those it holds.
    pub free_light: u32,
    /// It finishes what it has and takes nothing new.
    pub draining: bool,
    /// Attempts it gives back unfinished and not yet acknowledged: nobody is to blame, others may have them at once.
    pub returned: Vec<AttemptToken>,
    /// What it was seen to do; in the first report of an exchange and when it has changed, where the node measures.
    pub offer: Option<Offer>,
    /// How busy its machine is; not in every report.
    pub load: Option<NodeLoad>,
    /// What it has moved, where it serves its site.
    pub traffic: Option<PeerTraffic>,
}

/// A Node, looked at: what the log says of it, and what it said last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its number.
    pub node: NodeId,
    /// Where it runs.
    pub name: String,
    /// When it registered, in milliseconds since 1970.
    pub registered_at_ms: u64,
    /// Somebody asked that it gets nothing new. A fact of the log.
    pub draining: bool,
    /// Attempts it has a Lease on, by the log: 0 on a draining Node means that it may go.
    pub leases: u32,
    /// What the Leader heard from it; `None`: nothing since this coordinator leads.
    pub heard: Option<NodeHeard>,
}

/// What a Node said, as the Leader remembers it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeHeard {
    /// What it is.
    pub hello: NodeHello,
    /// It takes work: its exchange is open and it did not say that it stops.
    pub present: bool,
    /// Heavy Attempts it would take now.
    pub free_heavy: u32,
    /// Light Attempts it would take now.
    pub free_light: u32,
    /// Measured work per second of one heavy slot, in source frames times Renditions; 0.0: not known yet.
    pub speed: f64,
    /// Attempts it holds.
    pub running: Vec<AttemptProgress>,
    /// It said that it leaves: it finishes what fits and takes nothing new.
    pub leaving: bool,
    /// It has failed so often in a row that it gets nothing for a while; `None`: it gets what it asks for.
    #[serde(default)]
    pub suspended: Option<Suspended>,
    /// What it was seen to do; `None`: it does not measure.
    pub offer: Option<Offer>,
    /// How busy its machine was last.
    pub load: Option<NodeLoad>,
    /// What it has moved, where it serves its site.
    #[serde(default)]
    pub traffic: Option<PeerTraffic>,
}

/// Why and for how long a Node gets nothing, while others succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspended {
    /// Attempts that failed there one after the other.
    pub failures: u32,
    /// Milliseconds until it is tried again.
    pub left_ms: u64,
}

/// An Attempt that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FinishedAttempt {
    /// Which.
    pub token: AttemptToken,
    /// How.
    pub outcome: AttemptOutcome,
}

/// The fencing token: which Attempt of which Task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptToken {
    /// The Task.
    pub task: TaskId,
    /// Which Attempt.
    pub attempt: AttemptNo,
}

impl std::fmt::Display for AttemptToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}#{}", self.task, self.attempt)
    }
}

/// What a node is to do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeOrders {
    /// The highest sequence of a report this is an answer to.
    pub sequence: u64,
    /// The id the log gave the node.
    pub node: Option<NodeId>,
    /// New Attempts. May be repeated until a report lists them as running or finished.
    pub grants: Vec<Grant>,
    /// Attempts to end: kill what runs, forget what came out.
    pub revocations: Vec<AttemptToken>,
    /// Finished and returned Attempts that need not be reported again.
    pub acknowledged: Vec<AttemptToken>,
    /// It gets nothing new, since somebody or it itself asked for that, and by the log it holds no Lease: it may go.
    pub drained: bool,
    /// Where all nodes of its site that serve each other are reached, itself among them; only where that has changed.
    #[serde(default)]
    pub peers: Option<Vec<String>>,
}
