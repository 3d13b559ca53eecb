//! The gRPC front: one file per service. They translate, check and delegate; nothing is decided here.

pub mod cluster;
mod deadline;
pub mod gate;
pub mod health;
pub mod job;
pub mod node;
pub mod raft;

use crate::raft::ProposeError;
use recode_core::Rejected;
use recode_proto::convert::status::{because, not_found};
use tonic::{Code, Status};

/// What a caller hears when the log said no to something about `name`.
fn rejected(rejected: Rejected, name: &str) -> Status {
    let message = rejected.to_string();
    let (code, reason) = match rejected {
        Rejected::UnknownJob => return not_found("job", name, "UNKNOWN_JOB", message),
        Rejected::UnknownNode => return not_found("node", name, "UNKNOWN_NODE", message),
        Rejected::RequestIdTaken => (Code::FailedPrecondition, "REQUEST_ID_TAKEN"),
        Rejected::JobIdTaken => (Code::FailedPrecondition, "JOB_ID_TAKEN"),
        Rejected::StaleAttempt => (Code::FailedPrecondition, "STALE_ATTEMPT"),
        Rejected::NotReady => (Code::FailedPrecondition, "NOT_READY"),
        Rejected::JobEnded => (Code::FailedPrecondition, "JOB_ENDED"),
        Rejected::JobRuns => (Code::FailedPrecondition, "JOB_RUNS"),
        Rejected::Outdated => (Code::FailedPrecondition, "OUTDATED"),
        Rejected::BadPlan => (Code::FailedPrecondition, "BAD_PLAN"),
        Rejected::JobPaused => (Code::FailedPrecondition, "JOB_PAUSED"),
        Rejected::NotFailed => (Code::FailedPrecondition, "NOT_FAILED"),
        Rejected::JobArchived => (Code::FailedPrecondition, "JOB_ARCHIVED"),
        Rejected::NodeDraining => (Code::FailedPrecondition, "NODE_DRAINING"),
        Rejected::TooManyTurns => (Code::FailedPrecondition, "TOO_MANY_TURNS"),
        Rejected::TooManyJobs => (Code::ResourceExhausted, "TOO_MANY_JOBS"),
    };
    because(code, reason, message, &[("about", name.to_owned())])
}

/// What a caller hears when the log did not answer.
fn not_proposed(error: &ProposeError) -> Status {
    let (code, reason) = match error {
        ProposeError::NotLeading(_) => (Code::Unavailable, "NOT_LEADING"),
        ProposeError::Unknown => (Code::DeadlineExceeded, "OUTCOME_UNKNOWN"),
    };
    because(code, reason, error.to_string(), &[])
}

/// What a caller hears when this coordinator stops.
fn stopping() -> Status {
    because(
        Code::Unavailable,
        "STOPPING",
        "this coordinator stops: try again".to_owned(),
        &[],
    )
}
