//! What can be seen of a Job from outside: its state, its events, its progress.
//!
//! Events are facts of the log: numbered per Job from 0 without gaps, so that a watcher can resume from any of them.
//! Progress is not a fact: it lives in the Leader's memory and is merely the latest that nodes said.

use crate::id::{AttemptNo, JobId, NodeId, TaskId, TaskKey};
use crate::task::FailureClass;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How far a Job is. Ends in exactly one of `Done`, `Failed`, `Cancelled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Accepted; the Source is being looked at.
    Probing,
    /// Probed; the Plan is being made.
    Planning,
    /// Tasks run.
    Running,
    /// Every Output is in its place.
    Done,
    /// It cannot be done; the last event says why.
    Failed,
    /// Somebody asked for its end.
    Cancelled,
}

impl JobState {
    /// Nothing more will happen.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
    /// The name used in reports and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Probing => "probing",
            Self::Planning => "planning",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One thing that happened to a Job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Position among the Job's events, from 0, without gaps.
    pub index: u64,
    /// When the log entry was proposed, in milliseconds since 1970; for display only.
    pub at_ms: u64,
    /// What happened.
    pub kind: EventKind,
}

/// The kinds of [`Event`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// The Job was accepted.
    Submitted,
    /// The Plan is complete and Tasks may run.
    Planned {
        /// Number of Segments; 0 where the Job runs unsplit.
        segments: u32,
        /// Frames of the wanted part of the Source.
        frames: u64,
        /// What cannot be kept, one sentence each.
        warnings: Vec<String>,
    },
    /// The Source's index turned out wrong: it is probed again by decoding everything.
    Replanning {
        /// What did not agree.
        reason: String,
    },
    /// A Task finished.
    TaskDone {
        /// Which.
        task: TaskKey,
        /// By which Attempt.
        attempt: AttemptNo,
        /// On which Node.
        node: NodeId,
        /// Source frames it covered; 0 where it has none.
        frames: u64,
        /// Bytes it made.
        bytes: u64,
        /// All of its Chunks were found finished.
        reused: bool,
    },
    /// An Attempt failed.
    AttemptFailed {
        /// Of which Task.
        task: TaskKey,
        /// Which Attempt.
        attempt: AttemptNo,
        /// On which Node.
        node: NodeId,
        /// Class of the failure.
        class: FailureClass,
        /// One sentence.
        message: String,
        /// Another Attempt will be made.
        retried: bool,
    },
    /// Finished Chunks are made again with other settings (a bitrate, size or peak promise).
    Reopened {
        /// How many.
        chunks: u32,
        /// Why, one sentence.
        reason: String,
    },
    /// An Output is in its place.
    OutputReady {
        /// Index of the Output.
        output: u16,
        /// Where it is.
        url: String,
        /// File size.
        size_bytes: u64,
    },
    /// Something could not be kept.
    Warning {
        /// One sentence.
        text: String,
    },
    /// The Job reached its end.
    Ended {
        /// `Done`, `Failed` or `Cancelled`.
        state: JobState,
        /// Class of the failure that ended it, where one did.
        class: Option<FailureClass>,
        /// One sentence; empty where it is done.
        reason: String,
    },
    /// No Task of it is granted until it is resumed; Attempts that run go on.
    Paused,
    /// Its Tasks are granted again.
    Resumed,
    /// It had failed, and somebody asked for another try: what is finished stays, everything else gets new Attempts.
    Retried {
        /// Chunks that were kept.
        chunks_kept: u32,
    },
}

/// A Job in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// The Job.
    pub job: JobId,
    /// How far it is.
    pub state: JobState,
    /// URL of the Source.
    pub source: String,
    /// URLs of the Outputs.
    pub outputs: Vec<String>,
    /// When it was accepted, in milliseconds since 1970.
    pub submitted_at_ms: u64,
    /// When it ended, in milliseconds since 1970.
    pub ended_at_ms: Option<u64>,
    /// Tasks known so far.
    pub tasks: u32,
    /// Tasks finished.
    pub tasks_done: u32,
    /// Number of events so far: the index at which to go on watching.
    pub events: u64,
    /// Class of the failure that ended it.
    pub class: Option<FailureClass>,
    /// Why it failed or was cancelled.
    pub reason: Option<String>,
    /// It lives, but its Tasks are not granted.
    pub paused: bool,
    /// 0 to 100; higher first.
    pub priority: u8,
    /// Free labels for people.
    pub labels: BTreeMap<String, String>,
    /// It has left the state: key of its archive in the work store.
    pub archive: Option<String>,
}

/// Which Jobs a list is to hold: all conditions must be met.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobFilter {
    /// One of these; empty: any.
    pub states: Vec<JobState>,
    /// Labels it must have, with these values.
    pub labels: BTreeMap<String, String>,
    /// What the URL of its Source begins with; empty: anything.
    pub source_prefix: String,
    /// Accepted later than this, in milliseconds since 1970.
    pub submitted_after_ms: u64,
    /// Not ended.
    pub live_only: bool,
    /// Archived ones too. Of those only id, state and times are known, so that any other condition leaves them out.
    pub archived: bool,
}

/// How an Attempt failed, with what FFmpeg said last. The newest of each Job are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptLog {
    /// Position among all failed Attempts of the Job, from 0; earlier ones may have been dropped.
    pub number: u64,
    /// The Task.
    pub task: TaskKey,
    /// Which Attempt.
    pub attempt: AttemptNo,
    /// On which Node.
    pub node: NodeId,
    /// When the log learnt of it, in milliseconds since 1970; for display only.
    pub at_ms: u64,
    /// Class of the failure.
    pub class: FailureClass,
    /// One sentence.
    pub message: String,
    /// The last lines of FFmpeg's stderr; empty where no FFmpeg failed.
    pub stderr_tail: String,
}

/// How far one running Attempt is, as its Node said last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptProgress {
    /// The Task.
    pub task: TaskId,
    /// Which Attempt.
    pub attempt: AttemptNo,
    /// Frames finished.
    pub frames: u64,
    /// Frames expected; 0 where not known.
    pub frames_total: u64,
    /// Media time finished, in microseconds, where frames say little (audio, stitch).
    pub media_us: u64,
}

/// How far a Job is, right now. Not a fact of the log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Source frames whose Chunks are committed, over all groups.
    pub frames_done: u64,
    /// Source frames to encode, over all groups; 0 before the Plan.
    pub frames_total: u64,
    /// Tasks finished.
    pub tasks_done: u32,
    /// Tasks known so far.
    pub tasks: u32,
    /// Attempts that run, with what their Nodes said last.
    pub running: Vec<AttemptProgress>,
}
