//! The gRPC front: one file per service. They translate, check and delegate; nothing is decided here.

pub mod cluster;
mod deadline;
pub mod gate;
pub mod health;
pub mod job;
pub mod node;
pub mod raft;

use crate::actor::view::View;
use crate::artifacts::Store;
use crate::raft::{Consensus, ProposeError};
use crate::room::Door;
use crate::seat::SeatHandle;
use recode_core::Rejected;
use recode_proto::convert::status::{because, not_found};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Code, Status};

/// Everything that answers calls, before a listener is put in front of it.
pub struct Services {
    /// For clients.
    pub jobs: job::Jobs,
    /// For nodes and those who look after them.
    pub nodes: node::Nodes,
    /// For other coordinators.
    pub members: raft::Members,
    /// For those who look after the cluster.
    pub cluster: cluster::Cluster,
    /// Asked before each call.
    pub gate: gate::Gate,
}

impl Services {
    /// `door` is shut when the disk runs full; `readers` owns what goes on after a call was answered; `stop` ends it.
    pub fn new(
        consensus: &Consensus,
        store: &Store,
        seat: &SeatHandle,
        door: Door,
        readers: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        Self {
            jobs: job::Jobs {
                consensus: consensus.clone(),
                running: View::new(seat.dispatcher.clone(), seat.running.clone(), store.clone()),
                door,
                stop: stop.clone(),
            },
            nodes: node::Nodes {
                dispatcher: seat.dispatcher.clone(),
                readers: readers.clone(),
                stop: stop.clone(),
            },
            members: raft::Members {
                consensus: consensus.clone(),
            },
            cluster: cluster::Cluster {
                consensus: consensus.clone(),
                work_store: store.url().to_owned(),
            },
            gate: gate::Gate {
                consensus: consensus.clone(),
                serving: seat.serving.clone(),
            },
        }
    }
}

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
