//! What can be proposed, what the proposer hears, and what the Leader should do then.

use crate::plan::Plan;
use recode_types::task::{AttemptOutcome, FailureClass};
use recode_types::{
    ArtifactRef, AttemptNo, CommandRequest, JobId, JobRequest, Knob, Needs, NodeId, Segment, TaskId,
};
use serde::{Deserialize, Serialize};

/// One proposed change with the time at which it was proposed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Milliseconds since 1970, stamped by the proposer.
    pub at_ms: u64,
    /// The change.
    pub command: Command,
}

/// What one log entry carries: many changes, since each log entry costs one flush.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Batch(pub Vec<Entry>);

/// A proposed change. New variants go to the end: the position is the encoding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// A Job. The same `request_id` with the same request gives the same Job.
    SubmitJob {
        /// Chosen by the client.
        request_id: String,
        /// Id of the new Job.
        job: JobId,
        /// What is asked.
        request: Box<JobRequest>,
    },
    /// Segments of a Plan, in order; a part stays below 64 KiB. See [`Plan::into_commands`].
    PlanPart {
        /// The Job.
        job: JobId,
        /// Grade of the probe that the Plan stands on: a Plan for the other grade comes too late.
        deep: bool,
        /// Number of the part, from 0. Part 0 starts over.
        part: u32,
        /// The next Segments.
        segments: Vec<Segment>,
    },
    /// The rest of a Plan, after its last part.
    PlanReady {
        /// The Job.
        job: JobId,
        /// See [`Command::PlanPart`].
        deep: bool,
        /// How many parts there were.
        parts: u32,
        /// The Plan without its Segments.
        plan: Box<Plan>,
        /// The Segments as a stored list, for Nodes.
        segments: ArtifactRef,
    },
    /// Leases on ready Tasks.
    GrantLeases {
        /// Each is accepted or rejected by itself.
        grants: Vec<LeaseGrant>,
    },
    /// How an Attempt ended.
    CompleteAttempt {
        /// The Task.
        task: TaskId,
        /// The Attempt.
        attempt: AttemptNo,
        /// The end.
        outcome: Box<AttemptOutcome>,
    },
    /// The holders have been silent for too long. Ones that have ended meanwhile are skipped.
    ExpireLeases {
        /// Which.
        leases: Vec<(TaskId, AttemptNo)>,
    },
    /// Quality and peak for Chunks, where they follow from what was made before. See [`crate::machine::decide`].
    SetKnobs {
        /// The Job.
        job: JobId,
        /// The Output.
        output: u16,
        /// Must be the Output's number of rounds so far: a decision made twice counts once.
        round: u32,
        /// The Segments and their new knobs. A finished Chunk with another knob is made again.
        knobs: Vec<(u32, Knob)>,
        /// Why Chunks are made again; empty where none are.
        reason: String,
    },
    /// Probe again by decoding everything, and plan anew.
    Replan {
        /// The Job.
        job: JobId,
        /// What did not agree.
        reason: String,
    },
    /// End a Job that somebody does not want any more.
    CancelJob {
        /// The Job.
        job: JobId,
        /// Who or why.
        reason: String,
    },
    /// End a Job that cannot be done.
    FailJob {
        /// The Job.
        job: JobId,
        /// Class of the failure.
        class: FailureClass,
        /// One sentence.
        message: String,
    },
    /// A Node exists. The same incarnation gets the same number; the same name replaces its former self.
    RegisterNode {
        /// Where it runs.
        name: String,
        /// Chosen by the process at its start; a process that starts again has another.
        incarnation: String,
    },
    /// A Node left: its Leases end.
    ForgetNode {
        /// The Node.
        node: NodeId,
    },
    /// Remove an ended Job and its request ids.
    ForgetJob {
        /// The Job.
        job: JobId,
    },
    /// A promise could not be kept exactly, or something else worth saying.
    Warn {
        /// The Job.
        job: JobId,
        /// The Output whose rate control is at its end, where that is the reason.
        settled: Option<u16>,
        /// One sentence.
        text: String,
    },
    /// Somebody wants something of a Job.
    Ask {
        /// The Job.
        job: JobId,
        /// Chosen by the client; asked again with the same one, it is answered as before and changes nothing. Empty: not
        /// remembered.
        request_id: String,
        /// What is wanted.
        wish: Wish,
    },
    /// A Node gets nothing new, or does again.
    DrainNode {
        /// The Node.
        node: NodeId,
        /// Whether it is drained from now on.
        draining: bool,
    },
    /// Ended Jobs are to leave the state: marks those that this policy names and asks for their archives. The proposer
    /// chooses the policy, so that all replicas follow one.
    Retire {
        /// Jobs that ended at this time or before, in milliseconds since 1970.
        ended_before_ms: u64,
        /// Of all ended Jobs at most this many stay; the oldest go first.
        most_ended: u32,
        /// Of archived Jobs at most this many are remembered; the oldest are forgotten first.
        most_stubs: u32,
    },
    /// Report and events of a marked Job are stored: it leaves the state, and a [`super::Stub`] stays.
    ArchiveJob {
        /// The Job.
        job: JobId,
        /// Number of its events in the archive: one that was retried meanwhile has more and stays.
        events: u64,
        /// Where they are.
        archive: ArtifactRef,
    },
    /// All members know this level: from here on the log may hold what belongs to it. See [`super::level`].
    RaiseLevel {
        /// Higher than before.
        level: u32,
    },
    /// As [`Command::SetKnobs`], for the Plan of one grade of probe: rounds are counted within a Plan, so a decision on the
    /// Plan before would otherwise pass for one on this.
    TurnKnobs {
        /// The Job.
        job: JobId,
        /// See [`Command::PlanPart`].
        deep: bool,
        /// The Output.
        output: u16,
        /// See [`Command::SetKnobs`].
        round: u32,
        /// See [`Command::SetKnobs`].
        knobs: Vec<(u32, Knob)>,
        /// See [`Command::SetKnobs`].
        reason: String,
    },
    /// A command job. As [`Command::SubmitJob`].
    SubmitCommand {
        /// Chosen by the client.
        request_id: String,
        /// Id of the new Job.
        job: JobId,
        /// What is asked.
        request: Box<CommandRequest>,
        /// What a Node must have for it.
        needs: Needs,
    },
}

/// What somebody may want of a Job that exists. New variants go to the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wish {
    /// Its end. One that has ended stays as it is.
    Cancel {
        /// Who or why.
        reason: String,
    },
    /// No new Leases; what runs goes on.
    Pause,
    /// Leases again.
    Resume,
    /// Another try at what failed.
    Retry,
}

/// One Lease to grant.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeaseGrant {
    /// A ready Task.
    pub task: TaskId,
    /// Its next Attempt: [`super::Job::next_attempt`].
    pub attempt: AttemptNo,
    /// The Node.
    pub node: NodeId,
}

/// What the proposer of a [`Command`] hears.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// The Job of a request id.
    Submitted {
        /// The Job.
        job: JobId,
        /// It was there before.
        existing: bool,
    },
    /// The number of a Node.
    Registered {
        /// The Node.
        node: NodeId,
    },
    /// One answer for each grant.
    Granted {
        /// In the order of the grants.
        results: Vec<Result<(), Rejected>>,
    },
    /// It is done.
    Accepted,
    /// It does not fit; nothing has changed.
    Rejected(Rejected),
}

/// Why a command changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejected {
    /// There is no such Job.
    #[error("there is no such job: it may have been removed")]
    UnknownJob,
    /// There is no such Node.
    #[error("this node is not known: register again")]
    UnknownNode,
    /// The request id stands for another request.
    #[error("this request id was used for another request: choose a new one")]
    RequestIdTaken,
    /// The Job id is in use.
    #[error("this job id is in use: choose a new one")]
    JobIdTaken,
    /// The Attempt holds no Lease any more, or never did. No error and no harm: drop the work.
    #[error("this attempt holds no lease any more: drop its work")]
    StaleAttempt,
    /// The Task is not ready, or the Attempt's number is not the next.
    #[error("this task is not ready to be granted as this attempt")]
    NotReady,
    /// The Job has ended.
    #[error("this job has ended")]
    JobEnded,
    /// The Job has not ended.
    #[error("this job has not ended: cancel it first")]
    JobRuns,
    /// The command belongs to another state of the Job: it was decided on old facts.
    #[error("this was decided on an older state of the job: look again")]
    Outdated,
    /// The parts of a Plan do not make a Plan.
    #[error("the parts of this plan are incomplete or contradict each other")]
    BadPlan,
    /// The Job is paused.
    #[error("this job is paused: resume it first")]
    JobPaused,
    /// Only what has failed can be tried again.
    #[error("this job has not failed: only a failed job can be retried")]
    NotFailed,
    /// The Job has ended and left the state.
    #[error("this job has ended and is archived: submit it again")]
    JobArchived,
    /// The Node is being drained.
    #[error("this node is being drained: undrain it first")]
    NodeDraining,
    /// There are too many Jobs.
    #[error(
        "there are {} jobs, and no more are taken: wait until some have ended, or cancel some",
        super::MOST_JOBS
    )]
    TooManyJobs,
    /// The Job was paused, resumed and retried too often.
    #[error(
        "this job was paused, resumed and retried {} times: leave it as it is, or cancel it",
        super::MOST_TURNS
    )]
    TooManyTurns,
}

/// What the Leader should do now that a change is made. May be lost or repeated; [`super::State::pending_effects`]
/// rebuilds them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Effect {
    /// Read the facts and propose a Plan.
    Plan {
        /// The Job.
        job: JobId,
    },
    /// Call [`super::decide::next`] and propose what it says.
    Decide {
        /// The Job.
        job: JobId,
    },
    /// Tasks may be ready.
    Dispatch,
    /// Tell a Node that it lost a Lease.
    Revoke {
        /// The Node.
        node: NodeId,
        /// The Task.
        task: TaskId,
        /// The Attempt.
        attempt: AttemptNo,
    },
    /// The Job has new events.
    Announce {
        /// The Job.
        job: JobId,
    },
    /// The Job has ended, is to be archived or was: do what [`super::decide::tidy`] says.
    Ended {
        /// The Job.
        job: JobId,
    },
}
