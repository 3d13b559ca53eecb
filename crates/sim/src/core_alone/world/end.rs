//! How a run ends, and what is said of it.

use super::World;
use crate::report::Report;
use crate::rng::mix;
use crate::schedule::LEAST_FAULTS;
use recode_types::JobState;
use std::collections::BTreeSet;

impl World {
    pub(super) fn has_ended(&self) -> bool {
        self.why_not_ended().is_empty()
    }

    /// What is still missing; empty: nothing.
    pub(super) fn why_not_ended(&self) -> String {
        if let Some(client) = self.clients.iter().find(|c| !c.wants.is_satisfied()) {
            return format!(
                "client {} still wants something: {}; {}",
                client.wants.request_id,
                client.wants.wants(),
                self.open_leases()
            );
        }
        let state = self.oracle.state();
        if let Some(job) = state.jobs.values().find(|j| !j.state().is_terminal()) {
            return format!("{} is {:?}", job.id, job.state());
        }
        if let Some((c, _)) =
            (self.coordinators.iter().enumerate()).find(|(_, c)| c.applied != self.log.committed)
        {
            return format!("replica {c} does not catch up");
        }
        if self.log.committed != self.log.entries.len() {
            return "entries wait to be committed".to_owned();
        }
        if let Some((n, node)) = (self.nodes.iter().enumerate()).find(|(_, n)| n.slots.is_busy()) {
            return format!("node {n} still runs {:?}", node.slots.holds());
        }
        String::new()
    }

    /// What is leased, for people.
    pub(super) fn open_leases(&self) -> String {
        let state = self.oracle.state();
        let jobs = state.jobs.values().filter(|j| !j.state().is_terminal());
        jobs.flat_map(|job| {
            job.tasks
                .iter()
                .filter_map(|(key, task)| Some(format!("{key} {:?}", task.lease?)))
                .chain([format!("{} {:?}", job.id, job.state())])
        })
        .collect::<Vec<_>>()
        .join(", ")
    }

    pub(super) fn judge_end(&mut self) {
        let bytes = self.oracle.state().encode();
        for (c, one) in self.coordinators.iter().enumerate() {
            if one.state.encode() != bytes {
                self.broken
                    .get_or_insert(format!("replica {c} differs at the end"));
            }
        }
        let state = self.oracle.state();
        if state.nodes.values().any(|n| !n.leases.is_empty()) {
            self.broken
                .get_or_insert("a lease is left at the end".to_owned());
        }
        let missing = self
            .clients
            .iter()
            .find_map(|client| client.wants.judge(state).err());
        if let Some(what) = missing {
            self.broke(what);
        }
        let digest = bytes.chunks(8).fold(self.trace.digest, |digest, bytes| {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            mix(digest, u64::from_le_bytes(word))
        });
        self.trace.digest = digest;
    }

    pub fn report(self, seed: u64) -> Report {
        let mut ends = [0; 3];
        for job in self.oracle.state().jobs.values() {
            match job.state() {
                JobState::Done => ends[0] += 1,
                JobState::Failed => ends[1] += 1,
                JobState::Cancelled => ends[2] += 1,
                _ => {}
            }
        }
        Report {
            seed,
            void: self.broken.is_none() && self.fired.total() < LEAST_FAULTS,
            tasks: self
                .taken
                .iter()
                .map(|t| t.task)
                .collect::<BTreeSet<_>>()
                .len() as u64,
            terms: self.log.term,
            broken: self.broken,
            digest: self.trace.digest,
            last: self.trace.last(),
            fired: self.fired,
            commands: self.commands,
            attempts: self.attempts,
            virtual_ms: self.now,
            calm_ms: self.now.saturating_sub(self.schedule.chaos_ms),
            ends,
        }
    }
}
