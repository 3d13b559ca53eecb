//! What the Leader proposes of its own accord: knobs that follow from finished work, Chunks to make again, the end of a
//! Job that no Node can serve, ended Jobs to archive; and what it does with what they leave behind.
//!
//! Kept out of `apply` since it computes with floating point; the log carries the result.

use super::{Command, Job, Retention, State};
use crate::plan::{encoder, peak, rate};
use crate::schedule::{Reason, Solution};
use recode_types::event::JobState;
use recode_types::task::{AttemptOutcome, Failure, FailureClass};
use recode_types::{AttemptToken, JobId, Knob, NodeId};
use std::collections::BTreeSet;

/// Peak revisions of one Output after which the Job fails.
pub const MAX_REVISIONS: u32 = 10;

/// The commands that are due for a Job. Call on [`super::Effect::Decide`] and propose them all; called again before they are
/// applied it answers the same, and what is applied twice is rejected as outdated.
pub fn next(state: &State, id: JobId) -> Vec<Command> {
    let Some(job) = state.jobs.get(&id) else {
        return Vec::new();
    };
    if job.state() != JobState::Running {
        return Vec::new();
    }
    let Some(run) = job.run() else {
        return Vec::new();
    };
    let mut commands = Vec::new();
    for (index, output) in run.outputs.iter().enumerate() {
        let output_index = index as u16;
        if output.result.is_some() || run.plan.outputs[index].unsplit {
            continue;
        }
        if !output.violations.is_empty() {
            if output.revisions > MAX_REVISIONS {
                commands.push(Command::FailJob {
                    job: id,
                    class: FailureClass::BadInput,
                    message: format!(
                        "the peak limit of {} cannot be held after {MAX_REVISIONS} revisions: raise --maxrate or \
                         --bufsize, or ask for less quality",
                        run.plan.outputs[index].output.url
                    ),
                });
                continue;
            }
            let rendition = &run.plan.outputs[index].output.rendition;
            let knobs = encoder::named(&rendition.encoder)
                .map(|encoder| peak::revise(output, encoder))
                .unwrap_or_default();
            let reason = "the peak limit was broken across joints".to_owned();
            let turned = (output_index, output.rounds, knobs);
            commands.push(turn(state.level, job, turned, reason));
            continue;
        }
        match rate::next(run, output_index) {
            rate::Step::Nothing => {}
            rate::Step::Knobs { knobs, reason } => {
                let turned = (output_index, output.rounds, knobs);
                commands.push(turn(state.level, job, turned, reason));
            }
            rate::Step::GiveUp { text } => commands.push(Command::Warn {
                job: id,
                settled: Some(output_index),
                text,
            }),
        }
    }
    commands
}

/// New knobs of an Output in a round, in the words that a cluster of this level knows.
fn turn(
    level: u32,
    job: &Job,
    (output, round, knobs): (u16, u32, Vec<(u32, Knob)>),
    reason: String,
) -> Command {
    match level {
        0 => Command::SetKnobs {
            job: job.id,
            output,
            round,
            knobs,
            reason,
        },
        _ => Command::TurnKnobs {
            job: job.id,
            deep: job.deep(),
            output,
            round,
            knobs,
            reason,
        },
    }
}

/// How an Attempt ended, in words that a cluster of this level knows: a Node of a later build may use others.
pub fn told(level: u32, outcome: &AttemptOutcome) -> AttemptOutcome {
    if super::level::of_outcome(outcome) <= level {
        return outcome.clone();
    }
    let (AttemptOutcome::Done { usage, .. } | AttemptOutcome::Failed { usage, .. }) = outcome;
    AttemptOutcome::Failed {
        failure: Failure {
            class: FailureClass::Unknown,
            message: "the node answered in words that not all coordinators know yet".to_owned(),
            stderr_tail: None,
        },
        usage: *usage,
    }
}

/// The end of a Job one of whose ready Tasks every one of `nodes` has refused; `None`: nothing is stuck.
pub fn stuck(job: &Job, nodes: &BTreeSet<NodeId>, now_ms: u64) -> Option<Command> {
    if nodes.is_empty() {
        return None;
    }
    let task = job.ready(now_ms).find(|task| {
        !task.avoid.is_empty() && nodes.iter().all(|node| task.avoid.contains(node))
    })?;
    let reason = job.events.iter().rev().find_map(|event| match &event.kind {
        recode_types::event::EventKind::AttemptFailed {
            task: key, message, ..
        } if *key == task.id.key => Some(message.clone()),
        _ => None,
    });
    Some(Command::FailJob {
        job: job.id,
        class: FailureClass::MissingCapability,
        message: reason.unwrap_or_else(|| format!("no node can run {}", task.id.key)),
    })
}

/// The ends of Jobs that no Node can serve, as a placement has shown. `present`: those that take work, asked if it matters.
pub fn dead_ends(
    state: &State,
    solution: &Solution,
    present: impl FnOnce() -> BTreeSet<NodeId>,
    now_ms: u64,
) -> Vec<Command> {
    let refused = solution.unplaced.iter();
    let refused = refused.filter(|(_, reason)| *reason == Reason::Refused);
    let jobs: BTreeSet<JobId> = refused.map(|(task, _)| task.job).collect();
    if jobs.is_empty() {
        return Vec::new();
    }
    let present = present();
    let jobs = jobs.iter().filter_map(|job| state.jobs.get(job));
    jobs.filter_map(|job| stuck(job, &present, now_ms))
        .collect()
}

/// Others would be granted what is taken from a Node: the Job is not paused, and nobody has refused the Task.
pub fn may_move(state: &State, token: &AttemptToken) -> bool {
    let job = state.jobs.get(&token.task.job);
    job.is_some_and(|job| {
        let anywhere = job.needs().is_none() && job.describe(token.task.key).avoid.is_empty();
        anywhere && !job.paused
    })
}

/// The command that is due to keep ended Jobs within `policy`; `None`: they are. Ask now and then.
pub fn retire(state: &State, policy: &Retention, now_ms: u64) -> Option<Command> {
    let ended_before_ms = now_ms.saturating_sub(policy.keep_ms);
    let due = state.archived.len() > policy.most_stubs as usize
        || !state
            .retirable(ended_before_ms, policy.most_ended)
            .is_empty();
    due.then_some(Command::Retire {
        ended_before_ms,
        most_ended: policy.most_ended,
        most_stubs: policy.most_stubs,
    })
}

/// What is to be done about what a Job has left in the work store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tidy {
    /// Nothing: it lives, or has failed and may be tried again.
    Keep,
    /// Store its archive, then propose [`Command::ArchiveJob`].
    Archive,
    /// Remove all that lies below its prefix; nobody will read it.
    Sweep,
}

/// What to do on [`super::Effect::Ended`].
pub fn tidy(state: &State, job: JobId) -> Tidy {
    let Some(job) = state.jobs.get(&job) else {
        return Tidy::Sweep;
    };
    match job.state() {
        _ if job.retiring => Tidy::Archive,
        JobState::Done | JobState::Cancelled => Tidy::Sweep,
        JobState::Failed | JobState::Probing | JobState::Planning | JobState::Running => Tidy::Keep,
    }
}
