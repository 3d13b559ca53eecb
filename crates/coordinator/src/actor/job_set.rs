//! A mailbox for effects: each Job at most once, so it needs no bound of its own and nobody waits to fill it.

use recode_types::JobId;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// Jobs that somebody is to look at. Cheap to clone; clones are the same set.
#[derive(Clone, Debug, Default)]
pub struct JobSet {
    shared: Arc<(Mutex<BTreeSet<JobId>>, Notify)>,
}

impl JobSet {
    /// Adds a Job, unless it waits already.
    pub fn add(&self, job: JobId) {
        self.jobs().insert(job);
        self.shared.1.notify_one();
    }

    /// Waits for a Job and takes it.
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&self) -> JobId {
        loop {
            let first = self.jobs().pop_first();
            if let Some(job) = first {
                return job;
            }
            self.shared.1.notified().await;
        }
    }

    fn jobs(&self) -> std::sync::MutexGuard<'_, BTreeSet<JobId>> {
        self.shared
            .0
            .lock()
            .expect("no code panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_waits_once_and_is_found_by_who_comes_later() {
        let set = JobSet::default();
        for job in [2, 1, 2] {
            set.add(JobId(job));
        }
        assert_eq!((set.next().await, set.next().await), (JobId(1), JobId(2)));
        let waiting = set.next();
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        set.add(JobId(3));
        assert_eq!(waiting.await, JobId(3));
    }
}
