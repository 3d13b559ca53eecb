//! What is committed, what counts as a failure, and how Jobs end.

use super::{Step, rejected};
use crate::film::{self, HONEST, Library};
use recode_core::machine::{Command, Job, Outcome, Phase, Run, Wish};
use recode_types::event::{Event, EventKind, JobState};
use recode_types::task::{AttemptOutcome, FailureClass, TaskResult};
use recode_types::{AttemptNo, JobId, TaskId, TaskKey};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Failures of one Task after which its Job fails, as promised.
const FAILURES: u32 = 3;
/// Attempts of one Task after which its Job fails, as promised.
const TRIES: u32 = 100;

/// See the module.
#[derive(Debug)]
pub struct Results {
    library: Arc<Library>,
    failures: BTreeMap<TaskId, u32>,
    tries: BTreeMap<TaskId, u32>,
    /// When a Task that backs off may be granted.
    not_before: BTreeMap<TaskId, u64>,
    /// Jobs that took what nobody could know to be a lie: their end may be another.
    misled: BTreeSet<JobId>,
}

impl Results {
    /// Nothing yet.
    pub fn new(library: Arc<Library>) -> Self {
        Self {
            library,
            failures: BTreeMap::new(),
            tries: BTreeMap::new(),
            not_before: BTreeMap::new(),
            misled: BTreeSet::new(),
        }
    }

    /// # Errors
    /// What does not follow from what was reported.
    pub fn check(&mut self, step: &Step<'_>) -> Result<(), String> {
        if let (Command::GrantLeases { grants }, Outcome::Granted { results }) =
            (&step.entry.command, step.outcome)
        {
            for (grant, _) in grants.iter().zip(results).filter(|(_, r)| r.is_ok()) {
                if self.not_before.get(&grant.task).copied().unwrap_or(0) > step.entry.at_ms {
                    return Err(format!("{} was granted while it backs off", grant.task));
                }
                *self.tries.entry(grant.task).or_default() += 1;
            }
        }
        for id in step.jobs {
            let before = step.before.jobs.get(id);
            let Some(after) = step.after.jobs.get(id) else {
                self.forget(*id);
                continue;
            };
            let known = before.map_or(0, |job| job.events.len());
            let news = &after.events[known.min(after.events.len())..];
            if let Some(before) = before
                && !before.state().is_terminal()
            {
                self.completed(step, before, after, news)?;
                self.planned(step, before, after, news)?;
                chunks(step, before, after, news)?;
            }
            self.ended(step, before, after, news)?;
            if news
                .iter()
                .any(|e| matches!(e.kind, EventKind::Replanning { .. }))
            {
                self.reopen(*id, |_| true);
            }
        }
        Ok(())
    }

    fn forget(&mut self, job: JobId) {
        self.reopen(job, |_| true);
        self.misled.remove(&job);
    }

    fn reopen(&mut self, job: JobId, which: impl Fn(TaskKey) -> bool) {
        let others = |task: &TaskId| task.job != job || !which(task.key);
        self.failures.retain(|task, _| others(task));
        self.tries.retain(|task, _| others(task));
        self.not_before.retain(|task, _| others(task));
    }

    /// An Attempt that ended is told once, and counts as what it was.
    fn completed(
        &mut self,
        step: &Step<'_>,
        before: &Job,
        after: &Job,
        news: &[Event],
    ) -> Result<(), String> {
        let Command::CompleteAttempt {
            task,
            attempt,
            outcome,
        } = &step.entry.command
        else {
            return Ok(());
        };
        if rejected(step.outcome).is_some() {
            return Ok(());
        }
        let at = format!("{task}#{attempt}");
        let failure = news.iter().find_map(|e| match &e.kind {
            EventKind::AttemptFailed { class, retried, .. } => Some((*class, *retried)),
            _ => None,
        });
        let told = news.iter().any(|e| {
            matches!(&e.kind, EventKind::TaskDone { task: key, attempt: a, .. }
                if *key == task.key && a == attempt)
        });
        match &**outcome {
            AttemptOutcome::Failed { failure: why, .. } => {
                if failure.map(|f| f.0) != Some(why.class) {
                    return Err(format!(
                        "{at} failed with {:?} and nobody was told",
                        why.class
                    ));
                }
            }
            AttemptOutcome::Done { result, usage } => {
                let revises = matches!(result, TaskResult::Revise { .. });
                let honest = usage.peak_rss_bytes == HONEST;
                if honest && !(told || revises) && !self.misled.contains(&task.job) {
                    return Err(format!("{at} did what was asked and counts as {failure:?}"));
                }
                if told && failure.is_some() {
                    return Err(format!("{at} is told both done and failed"));
                }
                if !told && failure.is_none() && !revises {
                    return Err(format!("{at} ended and nobody was told"));
                }
                // A lie that fits what was asked cannot be told from the truth here: the Node's checks and the
                // stitch are there for it.
                if !honest && failure.is_none() {
                    self.misled.insert(task.job);
                }
            }
        }
        if let Some((class, retried)) = failure {
            let count = self.failures.entry(*task).or_default();
            *count += 1;
            let replan = class == FailureClass::IndexLied && !before.deep();
            let last = match class {
                FailureClass::BadInput
                | FailureClass::SourceChanged
                | FailureClass::OutputExists => true,
                _ => !replan && *count >= FAILURES,
            };
            if matches!(class, FailureClass::OutOfResources | FailureClass::Store) {
                let wait = 1000 * 4u64.pow((*count).min(4) - 1);
                self.not_before.insert(*task, step.entry.at_ms + wait);
            }
            if retried == last || last != (after.state() == JobState::Failed) {
                return Err(format!(
                    "{at} failed with {class:?}, failure {count}: {retried} {:?}",
                    after.state()
                ));
            }
            let replans = matches!(after.phase, Phase::Probing { deep: true }) && after.deep();
            if replan && !replans {
                return Err(format!("{at}: the index lied and nobody looks again"));
            }
        }
        if let (Phase::Running(now), TaskKey::Stitch { output }) = (&after.phase, task.key) {
            stitched(now, output, &at)?;
        }
        if let (Some(now), TaskKey::Stitch { output }) = (after.run(), task.key) {
            stitched(now, output, &at)?;
        }
        Ok(())
    }

    /// A Plan is taken whole.
    fn planned(
        &mut self,
        step: &Step<'_>,
        before: &Job,
        after: &Job,
        news: &[Event],
    ) -> Result<(), String> {
        let is_new = news
            .iter()
            .any(|e| matches!(e.kind, EventKind::Planned { .. }));
        let runs = |job: &Job| matches!(job.phase, Phase::Running(_));
        if is_new != (!runs(before) && after.run().is_some() && runs(after))
            && !after.state().is_terminal()
        {
            return Err(format!("{} runs and no plan was told", after.id));
        }
        if !is_new {
            return Ok(());
        }
        let run = after.run().ok_or("a plan was told and is not there")?;
        let template = film::template_of(&after.request.source);
        if *run.plan != *self.library.plan(template, run.deep) {
            return Err(format!("the plan of {} is not what was proposed", after.id));
        }
        let probed = matches!(&before.phase, Phase::Planning { facts, deep, .. }
            if *facts == run.facts && *deep == run.deep);
        if !probed || run.facts != film::facts_artifact(template, run.deep) {
            return Err(format!("the plan of {} stands on other facts", after.id));
        }
        let fresh = run.outputs.iter().all(|o| {
            o.chunks.iter().all(Option::is_none) && o.result.is_none() && o.audio.is_none()
        });
        if !fresh {
            return Err(format!("{} starts with chunks of an older plan", after.id));
        }
        let _ = step;
        Ok(())
    }

    /// A Job ends for a reason.
    fn ended(
        &mut self,
        step: &Step<'_>,
        before: Option<&Job>,
        after: &Job,
        news: &[Event],
    ) -> Result<(), String> {
        if let Command::SetKnobs { job, output, .. } | Command::TurnKnobs { job, output, .. } =
            &step.entry.command
            && rejected(step.outcome).is_none()
            && *job == after.id
            && let (Some(was), Some(now)) = (before.and_then(Job::run), after.run())
        {
            let group = now.plan.group_of(*output).unwrap_or(0);
            let (was, now) = (
                &was.outputs[*output as usize],
                &now.outputs[*output as usize],
            );
            let reopened: BTreeSet<u32> = (0..now.chunks.len())
                .filter(|&s| was.chunks[s].is_some() && now.chunks[s].is_none())
                .map(|s| s as u32)
                .collect();
            self.reopen(*job, |key| {
                matches!(key, TaskKey::Encode { group: g, segment } if g == group && reopened.contains(&segment))
            });
        }
        let ends: Vec<&Event> = after
            .events
            .iter()
            .rev()
            .take(news.len().max(1))
            .filter(|e| matches!(e.kind, EventKind::Ended { .. }))
            .collect();
        let ended_now = after.state().is_terminal()
            && before.is_none_or(|before| !before.state().is_terminal());
        if !ended_now {
            let is_told = news
                .iter()
                .any(|e| matches!(e.kind, EventKind::Ended { .. }));
            return match is_told {
                true => Err(format!("{} was told to have ended and goes on", after.id)),
                false => Ok(()),
            };
        }
        let last = after.events.last().map(|e| &e.kind);
        if ends.len() != 1
            || !matches!(last, Some(EventKind::Ended { state, .. }) if *state == after.state())
        {
            return Err(format!("the end of {} is not its last event", after.id));
        }
        let by = match &step.entry.command {
            Command::CancelJob { .. }
            | Command::Ask {
                wish: Wish::Cancel { .. },
                ..
            } => after.state() == JobState::Cancelled,
            Command::FailJob { .. } => after.state() == JobState::Failed,
            Command::CompleteAttempt { .. } => after.state() != JobState::Cancelled,
            Command::ExpireLeases { .. }
            | Command::ForgetNode { .. }
            | Command::RegisterNode { .. } => {
                let worn = |(task, tries): (&TaskId, &u32)| task.job == after.id && *tries >= TRIES;
                after.state() == JobState::Failed && self.tries.iter().any(worn)
            }
            _ => false,
        };
        if !by {
            return Err(format!(
                "{} ended as {:?} without a reason",
                after.id,
                after.state()
            ));
        }
        if after.state() == JobState::Done {
            let run = after.run().ok_or("a job is done without having run")?;
            let template = film::template_of(&after.request.source);
            let made = film::made(step.after, after.id);
            if !self.misled.contains(&after.id)
                && made.as_ref() != Some(self.library.end(template, run.deep))
            {
                return Err(format!(
                    "{} came to other chunks than without faults",
                    after.id
                ));
            }
        }
        Ok(())
    }
}

/// An Output is made of the Chunks and tracks that count.
fn stitched(run: &Run, output: u16, at: &str) -> Result<(), String> {
    let made = &run.outputs[output as usize];
    let Some(result) = &made.result else {
        return Ok(());
    };
    let chunks: Vec<_> = made
        .chunks
        .iter()
        .flatten()
        .map(|c| c.facts.whole())
        .collect();
    let audio = made.audio.as_ref().map(|a| a.artifact.size_bytes);
    let whole = made.whole.iter();
    let tracks = film::of_tracks(
        audio,
        whole.map(|(t, a)| (u32::from(*t), a.artifact.size_bytes)),
    );
    if chunks.len() != run.plan.segments.len()
        || result.size_bytes != film::of_list(&chunks) ^ tracks
    {
        return Err(format!(
            "{at} was made of other chunks than those that count"
        ));
    }
    Ok(())
}

/// Chunks come from the Attempt that reports them, once, and go only for other knobs.
fn chunks(step: &Step<'_>, before: &Job, after: &Job, news: &[Event]) -> Result<(), String> {
    let same_run = !news.iter().any(|e| {
        matches!(
            e.kind,
            EventKind::Planned { .. } | EventKind::Replanning { .. }
        )
    });
    let (Phase::Running(was), Some(now), true) = (&before.phase, after.run(), same_run) else {
        return Ok(());
    };
    for (o, (was, now)) in was.outputs.iter().zip(&now.outputs).enumerate() {
        for (s, (was, now)) in was.chunks.iter().zip(&now.chunks).enumerate() {
            let at = format!("chunk {s} of output {o} of {}", after.id);
            match (was, now) {
                (None, None) => {}
                (Some(was), Some(now)) if was == now => {}
                (Some(_), Some(_)) => return Err(format!("{at} was committed twice")),
                (Some(_), None) => match &step.entry.command {
                    Command::SetKnobs { output, .. } | Command::TurnKnobs { output, .. }
                        if *output as usize == o => {}
                    _ => return Err(format!("{at} was lost")),
                },
                (None, Some(chunk)) => {
                    let Command::CompleteAttempt { task, attempt, .. } = &step.entry.command else {
                        return Err(format!("{at} was committed by nobody"));
                    };
                    let of = by(before, task.key, *attempt);
                    let fits = matches!(task.key, TaskKey::Encode { segment, .. } if segment as usize == s);
                    if !fits || of != Some(chunk.node) || chunk.attempt != *attempt {
                        return Err(format!(
                            "{at}
                    joints(after, o, s)?; was committed by {task}#{attempt}"
                        ));
                    }
                    joints(after, o, s)?;
                }
            }
        }
        if now
            .result
            .as_ref()
            .is_some_and(|r| usize::from(r.output) != o)
        {
            return Err(format!("output {o} of {} is that of another", after.id));
        }
        if was.result.is_some() && was.result != now.result {
            return Err(format!("output {o} of {} was replaced", after.id));
        }
        if was.audio.is_some() && was.audio != now.audio {
            return Err(format!("sound of output {o} of {} was replaced", after.id));
        }
    }
    Ok(())
}

/// Neighbours saw the same frames at their joint, as far as the index is trusted.
fn joints(job: &Job, output: usize, segment: usize) -> Result<(), String> {
    let Some(run) = job.run().filter(|run| !run.deep) else {
        return Ok(());
    };
    let chunks = &run.outputs[output].chunks;
    let at = |s: usize| chunks.get(s).and_then(Option::as_ref).map(|c| &c.facts);
    let pairs = [
        (segment.checked_sub(1), Some(segment)),
        (Some(segment), Some(segment + 1)),
    ];
    for (left, right) in pairs {
        let (Some(left), Some(right)) = (left.and_then(at), right.and_then(at)) else {
            continue;
        };
        let same = |seen: Option<u32>, is: u32| seen.is_none_or(|seen| seen == is);
        if !same(left.signature_after, right.signature_first)
            || !same(right.signature_before, left.signature_last)
        {
            return Err(format!(
                "chunks {} and {} of output {output} of {} do not fit together",
                left.segment, right.segment, job.id
            ));
        }
    }
    Ok(())
}

fn by(job: &Job, key: TaskKey, attempt: AttemptNo) -> Option<recode_types::NodeId> {
    let lease = job.tasks.get(&key)?.lease?;
    (lease.attempt == attempt).then_some(lease.node)
}
