//! How ended Jobs leave the state.
//!
//! ```text
//!   done, failed, cancelled ─Retire names it─► retiring ─report and events stored, ArchiveJob─► archived (a Stub)
//!                                                 │                                                │
//!            failed ─Ask retry─► lives again ◄────┘                    forgotten ◄─too many Stubs──┘
//! ```
//!
//! Until it is archived everything of a Job is at hand; afterwards its archive in the work store says what it did, and its
//! request id still leads to it.

use super::command::{Effect, Rejected};
use super::job::Phase;
use super::{Job, State};
use recode_types::event::{JobState, JobStatus};
use recode_types::{ArtifactRef, Digest, JobId, JobRequest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Jobs that one [`super::Command::Retire`] marks at most: bounds what is asked of the work store at once.
pub const RETIRED_AT_ONCE: usize = 64;

/// How long ended Jobs stay, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long, in milliseconds.
    pub keep_ms: u64,
    /// How many at most, whatever their age.
    pub most_ended: u32,
    /// How many archived ones are remembered.
    pub most_stubs: u32,
}

impl Default for Retention {
    /// A week, 1,000 Jobs, 10,000 archived ones.
    fn default() -> Self {
        Self {
            keep_ms: 7 * 24 * 3_600_000,
            most_ended: 1_000,
            most_stubs: 10_000,
        }
    }
}

/// What is left of an archived Job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stub {
    /// How it ended.
    pub state: JobState,
    /// When it was accepted, in milliseconds since 1970.
    pub submitted_ms: u64,
    /// When it ended, in milliseconds since 1970.
    pub ended_ms: u64,
    /// Number of its events.
    pub events: u64,
    /// What the client called its request.
    pub request_id: String,
    /// Digest of what was asked.
    pub request: Digest,
    /// Its archive, an [`crate::archive::Archive`] as JSON.
    pub archive: ArtifactRef,
}

impl Stub {
    /// The Job had failed: what it left in the work store was kept until it was archived.
    pub fn failed(&self) -> bool {
        self.state == JobState::Failed
    }

    pub(super) fn status(&self, job: JobId) -> JobStatus {
        JobStatus {
            job,
            state: self.state,
            source: String::new(),
            outputs: Vec::new(),
            submitted_at_ms: self.submitted_ms,
            ended_at_ms: Some(self.ended_ms),
            tasks: 0,
            tasks_done: 0,
            events: self.events,
            class: None,
            reason: None,
            paused: false,
            priority: 0,
            labels: BTreeMap::new(),
            archive: Some(self.archive.key.clone()),
        }
    }
}

/// Stands for a request whose Job is archived.
pub(super) fn digest(request: &JobRequest) -> Digest {
    Digest::of(&postcard::to_stdvec(request).expect("plain data always serialises"))
}

fn ended_ms(job: &Job) -> Option<u64> {
    match &job.phase {
        Phase::Ended(end) => Some(end.at_ms),
        _ => None,
    }
}

impl State {
    /// Ended Jobs that a policy names and that are not marked yet, oldest first; at most [`RETIRED_AT_ONCE`].
    pub fn retirable(&self, ended_before_ms: u64, most_ended: u32) -> Vec<JobId> {
        let mut ended: Vec<(u64, &Job)> = self
            .jobs
            .values()
            .filter_map(|job| Some((ended_ms(job)?, job)))
            .collect();
        ended.sort_by_key(|(at, job)| (*at, job.id));
        let too_many = ended.len().saturating_sub(most_ended as usize);
        (0..)
            .zip(ended)
            .filter(|(i, (at, job))| (*i < too_many || *at <= ended_before_ms) && !job.retiring)
            .map(|(_, (_, job))| job.id)
            .take(RETIRED_AT_ONCE)
            .collect()
    }

    /// Marked Jobs, which wait for their archives.
    pub fn retiring(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values().filter(|job| job.retiring)
    }

    pub(super) fn retire(
        &mut self,
        ended_before_ms: u64,
        most_ended: u32,
        most_stubs: u32,
        effects: &mut Vec<Effect>,
    ) {
        for id in self.retirable(ended_before_ms, most_ended) {
            let job = self.jobs.get_mut(&id).expect("it was just listed");
            job.retiring = true;
            effects.push(Effect::Ended { job: id });
        }
        let too_many = self.archived.len().saturating_sub(most_stubs as usize);
        if too_many == 0 {
            return;
        }
        let mut stubs: Vec<(u64, JobId)> = self
            .archived
            .iter()
            .map(|(id, stub)| (stub.ended_ms, *id))
            .collect();
        stubs.sort_unstable();
        for (_, id) in &stubs[..too_many] {
            if let Some(stub) = self.archived.remove(id) {
                self.requests.remove(&stub.request_id);
            }
        }
    }

    pub(super) fn archive(
        &mut self,
        id: JobId,
        events: u64,
        archive: &ArtifactRef,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Rejected> {
        let job = self.job(id)?;
        let ended_ms = ended_ms(job).ok_or(Rejected::JobRuns)?;
        if !job.retiring || job.events.len() as u64 != events {
            return Err(Rejected::Outdated);
        }
        let job = self.remove(id, effects).expect("it was just found");
        self.archived.insert(
            id,
            Stub {
                state: job.state(),
                submitted_ms: job.submitted_ms,
                ended_ms,
                events,
                request: match &job.command {
                    Some(command) => super::commanded::digest(&command.request),
                    None => digest(&job.request),
                },
                request_id: job.request_id,
                archive: archive.clone(),
            },
        );
        Ok(())
    }
}
