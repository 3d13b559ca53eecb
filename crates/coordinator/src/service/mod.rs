//! The gRPC front: one file per service. They translate, check and delegate; nothing is decided here.

pub mod cluster;
pub mod gate;
pub mod health;
pub mod job;
pub mod node;
pub mod raft;

use crate::raft::ProposeError;
use recode_core::Rejected;
use tonic::Status;

/// What a caller hears when the log said no.
fn rejected(rejected: Rejected) -> Status {
    let message = rejected.to_string();
    match rejected {
        Rejected::UnknownJob | Rejected::UnknownNode => Status::not_found(message),
        Rejected::RequestIdTaken
        | Rejected::JobIdTaken
        | Rejected::StaleAttempt
        | Rejected::NotReady
        | Rejected::JobEnded
        | Rejected::JobRuns
        | Rejected::Outdated
        | Rejected::BadPlan => Status::failed_precondition(message),
    }
}

/// What a caller hears when the log did not answer.
fn not_proposed(error: &ProposeError) -> Status {
    match error {
        ProposeError::NotLeading(_) => Status::unavailable(error.to_string()),
        ProposeError::Unknown => Status::deadline_exceeded(error.to_string()),
    }
}
