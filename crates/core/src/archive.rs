//! What is kept of a Job that leaves the state.

use crate::machine::Job;
use crate::report;
use recode_types::event::{AttemptLog, Event, JobStatus};
use recode_types::report::JobReport;
use recode_types::{CommandRequest, JobRequest};
use serde::{Deserialize, Serialize};

/// Everything that can still be asked of an archived Job. Stored as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Archive {
    /// Version of this document; 1.
    pub version: u32,
    /// How it stood.
    pub status: JobStatus,
    /// What was asked.
    pub request: JobRequest,
    /// The command, of a command job; `request` has then only what all kinds of Jobs have in common.
    #[serde(default)]
    pub command: Option<CommandRequest>,
    /// What it did.
    pub report: JobReport,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// How Attempts failed.
    pub logs: Vec<AttemptLog>,
}

/// The archive of a Job.
pub fn build(job: &Job) -> Archive {
    Archive {
        version: 1,
        status: job.status(),
        request: job.request.clone(),
        command: job.command.as_ref().map(|command| command.request.clone()),
        report: report::build(job),
        events: job.events.to_vec(),
        logs: job.logs.iter().cloned().collect(),
    }
}
