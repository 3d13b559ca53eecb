//! Turns what a probe learned into a Plan, and finished work into decisions.
//!
//! Reads artifacts and computes; every decision is `recode_core`'s, and counts when the log has taken it.

use super::job_set::JobSet;
use crate::artifacts::Store;
use crate::raft::Consensus;
use crate::runtime;
use recode_core::machine::{Phase, decide};
use recode_core::{Command, Effect, PlanPolicy};
use recode_types::task::FailureClass;
use recode_types::{
    ArtifactRef, Digest, FrameTable, JobId, JobRequest, Picture, SourceFacts, TimeBase,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often an artifact is asked for again before the Job fails.
const STORE_TRIES: u32 = 4;

/// Plans that are made at once; each may hold a frame table of millions of rows.
const PLANS_AT_ONCE: usize = 4;

/// Facts that are read at once for what the pictures are like.
const LOOKS_AT_ONCE: usize = 4;

/// The planner's public face.
#[derive(Clone, Debug, Default)]
pub struct PlannerHandle {
    to_plan: JobSet,
    to_decide: JobSet,
    to_see: JobSet,
    pictures: Pictures,
}

impl PlannerHandle {
    /// A Job's facts are known.
    pub fn plan(&self, job: JobId) {
        self.to_plan.add(job);
    }

    /// A Job has finished work that others follow from.
    pub fn decide(&self, job: JobId) {
        self.to_decide.add(job);
    }

    /// What the pictures of a Job's Source are like; all zero where there are none. `None`: that is not known yet; the Leader looks
    /// again at what waits as soon as it is.
    pub fn picture(&self, job: JobId) -> Option<Picture> {
        let known = lock(&self.pictures).get(&job).cloned();
        if known.is_none() {
            self.to_see.add(job);
        }
        known
    }

    /// Nothing is asked of a Job any more.
    pub fn forget(&self, job: JobId) {
        lock(&self.pictures).remove(&job);
    }
}

/// Of the Sources of Jobs. In the memory of a Leader and not in the log: the next one reads the facts again.
type Pictures = Arc<Mutex<BTreeMap<JobId, Picture>>>;

fn lock(pictures: &Pictures) -> MutexGuard<'_, BTreeMap<JobId, Picture>> {
    pictures
        .lock()
        .expect("no code panics while it holds this lock")
}

/// Prepares a planner; the future is its life.
pub fn new(
    consensus: Consensus,
    store: Store,
    policy: PlanPolicy,
    stop: CancellationToken,
) -> (PlannerHandle, impl Future<Output = ()>) {
    let handle = PlannerHandle::default();
    let planner = Arc::new(Planner {
        consensus,
        store,
        policy,
        pictures: handle.pictures.clone(),
    });
    let life = run(planner, handle.clone(), stop);
    (handle, life)
}

async fn run(planner: Arc<Planner>, wanted: PlannerHandle, stop: CancellationToken) {
    // A slow store holds up the Plan of one Job, not those of others. Planned twice at once, one of the two is
    // rejected as outdated.
    let mut plans = JoinSet::new();
    let mut looks = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            job = wanted.to_decide.next() => planner.decide(job).await,
            job = wanted.to_plan.next(), if plans.len() < PLANS_AT_ONCE => {
                let planner = planner.clone();
                plans.spawn(runtime::task(async move { planner.plan(job).await }));
            }
            job = wanted.to_see.next(), if looks.len() < LOOKS_AT_ONCE => {
                let planner = planner.clone();
                looks.spawn(runtime::task(async move { planner.see(job).await }));
            }
            Some(looked) = looks.join_next() => looked.expect("a panic in a look is one of the planner"),
            Some(planned) = plans.join_next() => planned.expect("a panic in a plan is one of the planner"),
        }
    }
}

struct Planner {
    consensus: Consensus,
    store: Store,
    policy: PlanPolicy,
    pictures: Pictures,
}

impl Planner {
    async fn plan(&self, job: JobId) {
        let planning = self.consensus.shared().look(|state| {
            let job = state.jobs.get(&job)?;
            match &job.phase {
                Phase::Planning { deep, facts, .. } => {
                    Some((job.request.clone(), *deep, facts.clone()))
                }
                _ => None,
            }
        });
        let Some((request, deep, facts)) = planning else {
            return;
        };
        let commands = match self.commands(job, request, deep, &facts).await {
            Ok(commands) => commands,
            Err(_) if planted!(PlanFailureForgotten) => return,
            Err((class, message)) => vec![Command::FailJob {
                job,
                class,
                message,
            }],
        };
        self.propose(job, commands).await;
    }

    async fn commands(
        &self,
        job: JobId,
        request: JobRequest,
        deep: bool,
        facts: &ArtifactRef,
    ) -> Result<Vec<Command>, (FailureClass, String)> {
        let facts = self.facts(facts).await?;
        self.saw(job, &facts);
        let table = match &facts.table {
            Some(artifact) => FrameTable::decode(&self.read(artifact).await?)
                .map_err(|e| (FailureClass::Unknown, e.to_string()))?,
            // Nothing to see: what can be done without a picture is for the plan to say.
            None => FrameTable {
                time_base: TimeBase::new(1, 1_000_000),
                rows: Vec::new(),
                last_duration: 1,
            },
        };
        let policy = self.policy.clone();
        // Millions of rows take a while.
        let planned =
            runtime::blocking(move || recode_core::plan(&facts, &table, &request, &policy))
                .await
                .map_err(|e| (FailureClass::Unknown, format!("planning failed: {e}")))?;
        let plan = planned.map_err(|e| (FailureClass::BadInput, e.to_string()))?;
        let json = serde_json::to_vec(&plan.segments).expect("plain data always serialises");
        let key = recode_store::key::of_plan(job, &Digest::of(&json), "json");
        let put = || self.store.put(&key, json.clone());
        let segments = tried("the segments of a plan cannot be stored yet", put).await?;
        Ok(plan.into_commands(job, deep, segments))
    }

    async fn facts(&self, facts: &ArtifactRef) -> Result<SourceFacts, (FailureClass, String)> {
        let bytes = self.read(facts).await?;
        serde_json::from_slice(&bytes).map_err(|e| {
            (
                FailureClass::Unknown,
                format!("the probe's facts do not read: {e}"),
            )
        })
    }

    /// Finds out what the pictures of a Job are like that another Leader has planned.
    async fn see(&self, job: JobId) {
        let shared = self.consensus.shared();
        let facts = |job| {
            let known = lock(&self.pictures).contains_key(&job);
            let facts = shared.look(|state| Some(state.jobs.get(&job)?.run()?.facts.clone()));
            facts.filter(|_| !known)
        };
        let Some(facts) = facts(job) else {
            return;
        };
        match self.facts(&facts).await {
            Ok(facts) => self.saw(job, &facts),
            // As if there were none: what is not known of it is guessed.
            Err((_, error)) => {
                tracing::warn!(%job, error, "the memory that this job needs is guessed");
                lock(&self.pictures).insert(job, Picture::default());
            }
        }
        shared.effects.add([Effect::Dispatch]);
    }

    fn saw(&self, job: JobId, facts: &SourceFacts) {
        let picture = facts.video.as_ref().map(Picture::of);
        lock(&self.pictures).insert(job, picture.unwrap_or_default());
    }

    async fn read(&self, artifact: &ArtifactRef) -> Result<Vec<u8>, (FailureClass, String)> {
        tried("an artifact cannot be read yet", || {
            self.store.get(artifact)
        })
        .await
    }

    async fn decide(&self, job: JobId) {
        let commands = self
            .consensus
            .shared()
            .look(|state| decide::next(state, job));
        if !commands.is_empty() {
            self.propose(job, commands).await;
        }
    }

    /// Parts of a long Plan go in two by two, so that no entry is large and a short Plan costs one flush.
    async fn propose(&self, job: JobId, commands: Vec<Command>) {
        for together in commands.chunks(2) {
            match self.consensus.propose(together.to_vec()).await {
                Ok(outcomes) => tracing::debug!(%job, ?outcomes, "decided"),
                Err(error) => {
                    // Asked again: a decision that is in the log by then is not made twice, since the Job's state or
                    // its round has moved.
                    tracing::warn!(%job, %error, "a decision is not in the log yet");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    let again = [Effect::Plan { job }, Effect::Decide { job }];
                    self.consensus.shared().effects.add(again);
                    return;
                }
            }
        }
    }
}

/// Asks the work store again where that may help, a few times.
async fn tried<T, F>(problem: &str, ask: impl Fn() -> F) -> Result<T, (FailureClass, String)>
where
    F: Future<Output = Result<T, recode_store::Error>>,
{
    let mut tries = 0;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => {
                tries += 1;
                if tries >= STORE_TRIES || error.retry() == recode_store::Retry::Never {
                    return Err((FailureClass::Store, error.to_string()));
                }
                tracing::warn!(%error, "{problem}");
                tokio::time::sleep(Duration::from_secs(1 << tries)).await;
            }
        }
    }
}
