//! Events and progress of one Job for one watcher.
//!
//! Pull, not push: a watcher looks at the state whenever it has moved and takes what is new since its index. So there is
//! no gap, no duplicate and no queue that could overflow, however slow the watcher is.

use super::dispatcher::Running;
use crate::raft::Shared;
use recode_mesh::Watched;
use recode_types::{Event, EventKind, JobId, Progress};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Progress is said at most this often.
const PROGRESS: Duration = Duration::from_millis(200);

/// See the module.
pub struct Announcer {
    shared: Arc<Shared>,
    job: JobId,
    next: u64,
    waiting: VecDeque<Event>,
    changes: watch::Receiver<u64>,
    running: watch::Receiver<Running>,
    /// When progress may be said again.
    quiet_until: Instant,
    said: Option<Progress>,
    ended: bool,
}

impl Announcer {
    /// Watches `job` from the event at `from` on.
    pub fn new(
        shared: Arc<Shared>,
        running: watch::Receiver<Running>,
        job: JobId,
        from: u64,
    ) -> Self {
        Self {
            changes: shared.changes(),
            shared,
            job,
            next: from,
            waiting: VecDeque::new(),
            running,
            quiet_until: Instant::now(),
            said: None,
            ended: false,
        }
    }

    /// The next thing to say; `None` after the last event of the Job, or when this coordinator stops.
    pub async fn next(&mut self) -> Option<Watched> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                self.ended = matches!(event.kind, EventKind::Ended { .. });
                return Some(Watched::Event(event));
            }
            if self.ended {
                return None;
            }
            // Marked before looking: whatever moves afterwards wakes again.
            self.changes.borrow_and_update();
            let (job, next) = (self.job, self.next);
            let news = self
                .shared
                .look(|state| state.events(job, next).map(<[Event]>::to_vec))?;
            if !news.is_empty() {
                self.next += news.len() as u64;
                self.waiting.extend(news);
                continue;
            }
            if self.is_over() {
                return None;
            }
            if let Some(progress) = self.progress() {
                return Some(Watched::Progress(progress));
            }
            tokio::select! {
                changed = self.changes.changed() => changed.ok()?,
                changed = self.running.changed() => changed.ok()?,
            }
        }
    }

    /// A watcher may ask for events behind the last one.
    fn is_over(&self) -> bool {
        let state = self.shared.look(|state| state.status(self.job));
        state.is_none_or(|status| status.state.is_terminal())
    }

    /// Progress, where it has changed and was not said just now.
    fn progress(&mut self) -> Option<Progress> {
        let now = Instant::now();
        if now < self.quiet_until {
            return None;
        }
        self.running.borrow_and_update();
        let progress = progress(&self.shared, &self.running.borrow(), self.job)?;
        if self.said.as_ref() == Some(&progress) {
            return None;
        }
        self.quiet_until = now + PROGRESS;
        self.said = Some(progress.clone());
        Some(progress)
    }
}

/// How far a Job is; `None`: there is no such Job.
pub fn progress(shared: &Shared, running: &Running, job: JobId) -> Option<Progress> {
    shared.look(|state| {
        let known = state.jobs.get(&job)?;
        let (tasks, tasks_done) = known.count_tasks();
        let (frames_done, frames_total) = known.run().map_or((0, 0), |run| run.count_frames());
        Some(Progress {
            frames_done,
            frames_total,
            tasks_done,
            tasks,
            running: running.get(&job).cloned().unwrap_or_default(),
        })
    })
}
