//! Logs of failed Attempts of one Job for one reader. Pull, as in [`super::announcer`].

use super::view::View;
use crate::raft::Shared;
use recode_types::{AttemptLog, JobId, TaskKey};
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::watch;

/// See the module.
pub struct Tails {
    shared: Arc<Shared>,
    view: View,
    job: JobId,
    /// Only of this Task.
    task: Option<TaskKey>,
    next: u64,
    follow: bool,
    /// Logs that were asked for and are gone; said with the next one.
    dropped: u64,
    waiting: VecDeque<AttemptLog>,
    over: bool,
    changes: watch::Receiver<u64>,
}

impl Tails {
    /// Reads the logs of `job` from number `from` on. `follow`: goes on until the Job has ended.
    pub fn new(
        shared: Arc<Shared>,
        view: View,
        job: JobId,
        task: Option<TaskKey>,
        from: u64,
        follow: bool,
    ) -> Self {
        Self {
            changes: shared.changes(),
            shared,
            view,
            job,
            task,
            next: from,
            follow,
            dropped: 0,
            waiting: VecDeque::new(),
            over: false,
        }
    }

    /// The next one, with the number of those before it that were asked for and are not kept any more; `None`: there are no
    /// more.
    /// # Errors
    /// Why its archive cannot be read now.
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<(u64, AttemptLog)>, String> {
        loop {
            while let Some(log) = self.waiting.pop_front() {
                self.dropped += log.number.saturating_sub(self.next);
                self.next = log.number + 1;
                if self.task.is_none_or(|task| task == log.task) {
                    return Ok(Some((std::mem::take(&mut self.dropped), log)));
                }
            }
            if self.over {
                return Ok(None);
            }
            self.changes.borrow_and_update();
            let (job, next) = (self.job, self.next);
            let found = self.shared.look(|state| {
                if let Some(known) = state.jobs.get(&job) {
                    let new = known.logs.iter().filter(|log| log.number >= next);
                    return (new.cloned().collect(), known.state().is_terminal(), None);
                }
                (VecDeque::new(), true, state.archived.get(&job).cloned())
            });
            let (new, ended, stub) = found;
            self.waiting = new;
            self.over = ended || !self.follow;
            if let Some(stub) = stub {
                let archive = self.view.archive(&stub).await;
                let archive = archive.inspect_err(|_| self.over = false)?;
                let rest = archive.logs.into_iter().filter(|log| log.number >= next);
                self.waiting.extend(rest);
            }
            let waits = self.waiting.is_empty() && !self.over;
            if waits && self.changes.changed().await.is_err() {
                return Ok(None);
            }
        }
    }
}
