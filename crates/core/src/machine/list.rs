//! Finding Jobs.

use super::{Job, State};
use recode_types::JobId;
use recode_types::event::{JobFilter, JobStatus};
use std::ops::Bound;

/// A part of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Jobs, by id, which is the order in which they were submitted.
    pub jobs: Vec<JobStatus>,
    /// There are more: ask for those after this one.
    pub next: Option<JobId>,
}

impl State {
    /// Jobs that a filter lets pass and that come after `after`; at most `limit`.
    /// # Shape
    /// Ordered by id. An id never changes, so that pages which follow each other hold every Job once that was there when the
    /// first was asked for and is still there, however many come and go meanwhile.
    pub fn list(&self, filter: &JobFilter, after: Option<JobId>, limit: usize) -> Page {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = (from, Bound::Unbounded);
        let mut jobs = self
            .jobs
            .range(range)
            .filter(|(_, job)| job.passes(filter))
            .peekable();
        let stubs_pass = filter.archived
            && !filter.live_only
            && filter.labels.is_empty()
            && filter.source_prefix.is_empty();
        let mut stubs = self
            .archived
            .range(range)
            .filter(|(_, stub)| {
                stubs_pass
                    && stub.submitted_ms > filter.submitted_after_ms
                    && (filter.states.is_empty() || filter.states.contains(&stub.state))
            })
            .peekable();
        let mut page = Page::default();
        loop {
            let next = match (jobs.peek(), stubs.peek()) {
                (Some((job, _)), Some((stub, _))) if stub < job => {
                    stubs.next().map(|s| (s.0, None))
                }
                (Some(_), _) => jobs.next().map(|j| (j.0, Some(j.1))),
                (None, _) => stubs.next().map(|s| (s.0, None)),
            };
            let Some((id, job)) = next else {
                return page;
            };
            if page.jobs.len() == limit {
                page.next = page.jobs.last().map(|last| last.job);
                return page;
            }
            let status = job.map(Job::status).or_else(|| self.status(*id));
            page.jobs.extend(status);
        }
    }
}

impl Job {
    fn passes(&self, filter: &JobFilter) -> bool {
        let state = self.state();
        (filter.states.is_empty() || filter.states.contains(&state))
            && !(filter.live_only && state.is_terminal())
            && self.submitted_ms > filter.submitted_after_ms
            && self.request.source.starts_with(&filter.source_prefix)
            && filter
                .labels
                .iter()
                .all(|(key, value)| self.request.labels.get(key) == Some(value))
    }
}
