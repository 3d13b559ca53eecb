//! Why Tasks wait.

use crate::event::JobState;
use crate::id::{JobId, NodeId, TaskKey};
use serde::{Deserialize, Serialize};

/// Why the Tasks of one Job wait. Tasks with one and the same reason stand together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The Job.
    pub job: JobId,
    /// How far it is.
    pub state: JobState,
    /// Tasks known so far.
    pub tasks: u32,
    /// Tasks finished.
    pub tasks_done: u32,
    /// Tasks somebody has a Lease on.
    pub tasks_running: u32,
    /// The others, in the order in which they would be granted.
    pub waiting: Vec<Waiting>,
}

/// Tasks that wait for the same thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Why.
    pub why: Wait,
    /// How many.
    pub count: u32,
    /// The first of them, a few; none where the Tasks are not known yet.
    pub tasks: Vec<TaskKey>,
}

/// What a Task waits for. The first that holds is given, in the order of the variants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Wait {
    /// Everything else follows from the probe.
    Probe,
    /// The Source is known, and the Plan is being made.
    Plan,
    /// Other Tasks of the Job have to finish first.
    Tasks {
        /// Trials.
        trials: u32,
        /// Segments to encode.
        encodes: u32,
        /// Sound and further video tracks.
        tracks: u32,
    },
    /// The settings follow from a promised bitrate, size or peak, and are being computed.
    Knobs {
        /// For this Output.
        output: u16,
    },
    /// The Job is paused: resume it.
    Paused,
    /// Something was short in the last Attempt, which may come back.
    Backoff {
        /// Not before this time, in milliseconds since 1970.
        until_ms: u64,
    },
    /// No Node reports.
    NoNodes,
    /// Every Node that reports is being drained.
    Draining,
    /// No Node that takes work has this encoder.
    NoEncoder {
        /// FFmpeg's name of it.
        encoder: String,
    },
    /// No Node that takes work has all that it needs.
    NoNode {
        /// What it needs, for people.
        needs: String,
    },
    /// Every Node that takes work has refused it.
    Refused {
        /// Who.
        nodes: Vec<NodeId>,
    },
    /// All slots are taken, and another Job comes first: by its priority, or by its age where that is the same.
    Behind {
        /// The first of those that come first.
        job: JobId,
        /// Its priority.
        priority: u8,
    },
    /// All slots are taken.
    NoFreeSlot,
    /// Slots are free, but nowhere beside one is as much memory left.
    NoMemory {
        /// What it is likely to need, in bytes.
        need_bytes: u64,
    },
    /// Nothing: it is about to be granted.
    Nothing,
}

impl std::fmt::Display for Wait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Probe => f.write_str("waits for the probe of the source"),
            Self::Plan => f.write_str("waits for the plan, which is being made"),
            Self::Tasks {
                trials,
                encodes,
                tracks,
            } => {
                let parts: Vec<String> = [
                    (trials, "trials"),
                    (encodes, "segments"),
                    (tracks, "tracks"),
                ]
                .into_iter()
                .filter(|(count, _)| **count > 0)
                .map(|(count, what)| format!("{count} {what}"))
                .collect();
                write!(f, "waits for {} of this job", parts.join(" and "))
            }
            Self::Knobs { output } => write!(
                f,
                "waits for the settings of output {output}, which follow from what it promises"
            ),
            Self::Paused => f.write_str("the job is paused: resume it"),
            Self::Backoff { until_ms } => {
                write!(f, "something was short; tried again at {until_ms} ms")
            }
            Self::NoNodes => f.write_str("no node reports: start one"),
            Self::Draining => f.write_str("every node is being drained: undrain one or start one"),
            Self::NoEncoder { encoder } => write!(
                f,
                "no node has the encoder {encoder}: start one whose FFmpeg has it"
            ),
            Self::NoNode { needs } => write!(f, "no node has {needs}: start one that has"),
            Self::Refused { nodes } => {
                let nodes: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
                write!(
                    f,
                    "every node lacks something it needs ({}): see the logs of its attempts",
                    nodes.join(", ")
                )
            }
            Self::Behind { job, priority } => write!(
                f,
                "waits for a free slot, and {job} comes first with priority {priority}"
            ),
            Self::NoFreeSlot => f.write_str("waits for a free slot"),
            Self::NoMemory { need_bytes } => write!(
                f,
                "waits for memory: it needs about {} MB, and no node with a free slot has that left",
                need_bytes.div_ceil(1_000_000)
            ),
            Self::Nothing => f.write_str("is about to be granted"),
        }
    }
}
