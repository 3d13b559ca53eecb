//! What applying the log asks the Leader to do, gathered until the Leader has time.
//!
//! Effects are idempotent and may be lost with the process; gathering them here keeps one of each, so the gathering is
//! bounded by the number of Jobs and Leases however long nobody looks.

use recode_core::Effect;
use recode_types::{AttemptToken, JobId, NodeId};
use std::collections::BTreeSet;
use std::sync::Mutex;
use tokio::sync::Notify;

/// Effects not yet carried out.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Read the facts and propose a Plan.
    pub plan: BTreeSet<JobId>,
    /// Propose what follows from finished work.
    pub decide: BTreeSet<JobId>,
    /// Ended Jobs: what they left behind may go.
    pub ended: BTreeSet<JobId>,
    /// Nodes that lost a Lease.
    pub revoke: BTreeSet<(NodeId, AttemptToken)>,
    /// Tasks may be ready.
    pub dispatch: bool,
}

impl Gathered {
    /// Nothing to do.
    pub fn is_empty(&self) -> bool {
        self.plan.is_empty()
            && self.decide.is_empty()
            && self.ended.is_empty()
            && self.revoke.is_empty()
            && !self.dispatch
    }

    /// Adds one.
    pub fn add(&mut self, effect: Effect) {
        match effect {
            Effect::Plan { job } => {
                self.plan.insert(job);
            }
            Effect::Decide { job } => {
                self.decide.insert(job);
            }
            Effect::Ended { job } => {
                self.ended.insert(job);
            }
            Effect::Revoke {
                node,
                task,
                attempt,
            } => {
                self.revoke.insert((node, AttemptToken { task, attempt }));
            }
            Effect::Dispatch => self.dispatch = true,
            // Watchers are woken by every applied entry.
            Effect::Announce { .. } => {}
        }
    }
}

/// Where `apply` leaves effects and the Leader finds them.
#[derive(Debug, Default)]
pub struct Effects {
    gathered: Mutex<Gathered>,
    bell: Notify,
}

impl Effects {
    /// Adds some and rings.
    pub fn add(&self, effects: impl IntoIterator<Item = Effect>) {
        let mut gathered = self
            .gathered
            .lock()
            .expect("no code panics while it holds this lock");
        effects.into_iter().for_each(|effect| gathered.add(effect));
        let any = !gathered.is_empty();
        drop(gathered);
        if any {
            self.bell.notify_one();
        }
    }

    /// Forgets what was gathered: a Leader begins from the state, and what was asked of an earlier one is in it.
    pub fn clear(&self) {
        let mut gathered = self
            .gathered
            .lock()
            .expect("no code panics while it holds this lock");
        *gathered = Gathered::default();
    }

    /// Waits until there are some, and takes them.
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&self) -> Gathered {
        loop {
            {
                let mut gathered = self
                    .gathered
                    .lock()
                    .expect("no code panics while it holds this lock");
                if !gathered.is_empty() {
                    return std::mem::take(&mut *gathered);
                }
            }
            self.bell.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn effects_are_kept_once_and_found_even_when_nobody_waited() {
        let effects = Effects::default();
        let job = JobId(1);
        effects.add([Effect::Plan { job }, Effect::Plan { job }, Effect::Dispatch]);
        effects.add([Effect::Announce { job }]);
        let found = effects.next().await;
        assert_eq!(found.plan.len(), 1);
        assert!(found.dispatch && found.decide.is_empty());
        let waiting = effects.next();
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        effects.add([Effect::Ended { job }]);
        assert!(waiting.await.ended.contains(&job));
    }
}
