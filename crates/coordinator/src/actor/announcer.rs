//! Events and progress of Jobs for one watcher.
//!
//! Pull, not push: a watcher looks at the state whenever it has moved and takes what is new since its indices. So there is
//! no gap, no duplicate and no queue that could overflow, however slow the watcher is. A Job that leaves the state while
//! it is watched is read to its end from its archive.

use super::dispatcher::Running;
use super::view::View;
use crate::raft::Shared;
use recode_core::State;
use recode_core::machine::Stub;
use recode_mesh::Watched;
use recode_types::{Event, JobId, Progress};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Progress of one Job is said at most this often.
const PROGRESS: Duration = Duration::from_millis(200);

/// Events of one Job taken at once: bounds what waits for a slow watcher.
const EVENTS_AT_ONCE: usize = 256;

/// See the module.
pub struct Announcer {
    shared: Arc<Shared>,
    view: View,
    jobs: Vec<One>,
    waiting: VecDeque<(JobId, Watched)>,
    changes: watch::Receiver<u64>,
    running: watch::Receiver<Running>,
}

/// A Job that is watched.
struct One {
    job: JobId,
    next: u64,
    /// When progress may be said again.
    quiet_until: Instant,
    said: Option<Progress>,
}

/// What there is to say of a Job.
enum News {
    Events(Vec<Event>),
    /// Nothing now.
    Quiet,
    /// Nothing ever again.
    Over,
    /// The rest is in its archive.
    Archived(Stub),
}

impl Announcer {
    /// Watches `jobs`, each from the event with the index beside it on.
    pub fn new(shared: Arc<Shared>, view: View, jobs: &[(JobId, u64)]) -> Self {
        Self {
            changes: shared.changes(),
            running: view.running(),
            shared,
            view,
            jobs: jobs
                .iter()
                .map(|&(job, next)| One {
                    job,
                    next,
                    quiet_until: Instant::now(),
                    said: None,
                })
                .collect(),
            waiting: VecDeque::new(),
        }
    }

    /// The next thing to say; `None` when every Job has ended and its last event was said, or when this coordinator stops.
    /// # Errors
    /// The Job whose archive cannot be read now, and why: watch again from the index after the last event.
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<(JobId, Watched)>, (JobId, String)> {
        loop {
            if let Some(said) = self.waiting.pop_front() {
                return Ok(Some(said));
            }
            // Marked before looking: whatever moves afterwards wakes again.
            self.changes.borrow_and_update();
            if let Some((job, stub)) = self.look() {
                let archive = self.view.archive(&stub).await.map_err(|e| (job, e))?;
                self.take_archived(job, archive.events);
            }
            if !self.waiting.is_empty() {
                continue;
            }
            if self.jobs.is_empty() {
                return Ok(None);
            }
            self.look_at_progress();
            if !self.waiting.is_empty() {
                continue;
            }
            let gone = tokio::select! {
                changed = self.changes.changed() => changed.is_err(),
                changed = self.running.changed() => changed.is_err(),
            };
            if gone {
                return Ok(None);
            }
        }
    }

    /// Takes what is new and drops Jobs that are over. Answers a Job that is to be read from its archive.
    fn look(&mut self) -> Option<(JobId, Stub)> {
        let (jobs, waiting) = (&mut self.jobs, &mut self.waiting);
        let mut archived = None;
        self.shared.look(|state| {
            jobs.retain_mut(|one| match news(state, one.job, one.next) {
                News::Events(events) => {
                    one.next += events.len() as u64;
                    if planted!(EventNotSaid) && one.next.is_multiple_of(16) {
                        one.next += 1;
                    }
                    waiting.extend(events.into_iter().map(|e| (one.job, Watched::Event(e))));
                    true
                }
                News::Quiet => true,
                News::Over => false,
                News::Archived(stub) => {
                    archived.get_or_insert((one.job, stub));
                    true
                }
            });
        });
        archived
    }

    fn take_archived(&mut self, job: JobId, events: Vec<Event>) {
        let Some(at) = self.jobs.iter().position(|one| one.job == job) else {
            return;
        };
        let from = self.jobs.remove(at).next;
        let rest = events.into_iter().filter(|event| event.index >= from);
        self.waiting
            .extend(rest.map(|event| (job, Watched::Event(event))));
    }

    /// Progress, where it has changed and was not said just now.
    fn look_at_progress(&mut self) {
        let now = Instant::now();
        if self.jobs.iter().all(|one| now < one.quiet_until) {
            return;
        }
        let running = self.running.borrow_and_update().clone();
        for one in self.jobs.iter_mut().filter(|one| now >= one.quiet_until) {
            let progress = progress(&self.shared, &running, one.job);
            if progress.is_none() || one.said == progress {
                continue;
            }
            one.quiet_until = now + PROGRESS;
            one.said.clone_from(&progress);
            self.waiting
                .extend(progress.map(|p| (one.job, Watched::Progress(p))));
        }
    }
}

/// What is new of a Job since `next`.
fn news(state: &State, job: JobId, next: u64) -> News {
    if let Some(events) = state.events(job, next)
        && !events.is_empty()
    {
        return News::Events(events[..events.len().min(EVENTS_AT_ONCE)].to_vec());
    }
    match (state.jobs.get(&job), state.archived.get(&job)) {
        (Some(known), _) if !known.state().is_terminal() => News::Quiet,
        (None, Some(stub)) if stub.events > next => News::Archived(stub.clone()),
        _ => News::Over,
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
