//! Which Tasks may be granted now.

use super::commanded::COMMAND;
use super::job::{Job, Phase};
use super::{State, run::Run};
use crate::schedule::{Class, Held};
use recode_types::rendition::Codec;
use recode_types::{AttemptToken, NodeId, TaskId, TaskKey};

/// A Task that waits for nothing but a Node.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadyTask {
    /// The Task.
    pub id: TaskId,
    /// The number its next Attempt must have.
    pub attempt: recode_types::AttemptNo,
    /// Fills a slot with an encoder.
    pub heavy: bool,
    /// Predicted work in source frames times Renditions; comparable within and across Jobs.
    pub cost: u64,
    /// What kind of work it is: Nodes have a speed for each.
    pub class: Class,
    /// Memory that it is likely to need, in bytes, where the Leader has weighed it (`leader::footprint`); 0 before that.
    pub memory_bytes: u64,
    /// 0 to 100; higher first.
    pub priority: u8,
    /// Nodes that refused it.
    pub avoid: Vec<NodeId>,
}

impl ReadyTask {
    /// How the scheduler counts it once it is granted.
    pub fn held(&self) -> Held {
        Held {
            heavy: self.heavy,
            cost: self.cost,
            class: self.class,
            memory_bytes: self.memory_bytes,
            again: false,
        }
    }
}

impl State {
    /// Tasks that may be granted at `now_ms`: by priority, then by age of the Job, then in the Job's own order (single
    /// tasks first, since they are long or hold others up; then Segments in the Plan's order of handing out). Lazy:
    /// take as many as there are slots. Nothing of a paused Job is ready. See [`State::ready_heavy`] for the turns of owners.
    pub fn ready(&self, now_ms: u64) -> impl Iterator<Item = ReadyTask> + '_ {
        self.in_turn()
            .into_iter()
            .flat_map(move |job| job.ready(now_ms))
    }

    /// The light ones of [`State::ready`], without a look at the Segments, of which there may be a hundred thousand.
    pub fn ready_light(&self, now_ms: u64) -> impl Iterator<Item = ReadyTask> + '_ {
        self.in_turn()
            .into_iter()
            .flat_map(move |job| job.ready_light(now_ms))
    }

    /// How the scheduler counts an Attempt that was granted.
    pub fn held_of(&self, token: AttemptToken) -> Held {
        let job = self.jobs.get(&token.task.job);
        let task = job.map(|job| job.describe(token.task.key));
        task.map_or_else(Held::default, |task| task.held())
    }

    /// The earliest time at which a Task that backs off may be granted; `None`: no Task does.
    pub fn next_retry_ms(&self, now_ms: u64) -> Option<u64> {
        self.jobs
            .values()
            .filter(|job| job.is_served())
            .flat_map(|job| job.backoff.iter().filter_map(|key| job.tasks.get(key)))
            .filter(|task| task.lease.is_none())
            .map(|task| task.retry_at_ms)
            .filter(|&at| at > now_ms)
            .min()
    }
}

impl Job {
    /// It lives and is not paused.
    pub(super) fn is_served(&self) -> bool {
        !self.paused && !self.state().is_terminal()
    }

    /// Smaller ones are served first: higher priority, then greater age.
    pub(super) fn turn(&self) -> (std::cmp::Reverse<u8>, recode_types::JobId) {
        (
            std::cmp::Reverse(self.request.priority * u8::from(!planted!(PriorityIgnored))),
            self.id,
        )
    }

    /// This Job's Tasks that may be granted at `now_ms`. See [`State::ready`].
    pub fn ready(&self, now_ms: u64) -> impl Iterator<Item = ReadyTask> + '_ {
        let run = self.served_run();
        let trials = run
            .into_iter()
            .flat_map(Run::ready_trials)
            .map(|(group, segment)| TaskKey::Trial { group, segment });
        let encodes = run
            .into_iter()
            .flat_map(Run::ready_encodes)
            .map(|(group, segment)| TaskKey::Encode { group, segment });
        self.open_singles()
            .chain(trials)
            .chain(encodes)
            .filter(move |key| self.may_try(*key, now_ms))
            .map(|key| self.describe(key))
    }

    /// See [`State::ready_light`].
    fn ready_light(&self, now_ms: u64) -> impl Iterator<Item = ReadyTask> + '_ {
        self.open_singles()
            .filter(move |key| !self.is_heavy(*key) && self.may_try(*key, now_ms))
            .map(|key| self.describe(key))
    }

    fn served_run(&self) -> Option<&Run> {
        match &self.phase {
            Phase::Running(run) if !self.paused => Some(run),
            _ => None,
        }
    }

    /// Tasks that are not per Segment and wait for nothing but a Node (or have one already).
    fn open_singles(&self) -> impl Iterator<Item = TaskKey> + '_ {
        let probe = match self.phase {
            Phase::Probing { deep } if !self.paused => Some(TaskKey::Probe { deep }),
            _ => None,
        };
        let single = self
            .served_run()
            .into_iter()
            .flat_map(Run::single_tasks)
            .filter(|&key| self.is_open(key));
        let command = match self.phase {
            Phase::Command if !self.paused => Some(COMMAND),
            _ => None,
        };
        probe.into_iter().chain(command).chain(single)
    }

    /// Nobody has a Lease on it, and it does not back off.
    fn may_try(&self, key: TaskKey, now_ms: u64) -> bool {
        self.tasks.get(&key).is_none_or(|task| {
            task.lease.is_none() && (task.retry_at_ms <= now_ms || planted!(ReadyTooEarly))
        })
    }

    /// Whether a Task lacks a result and waits for nothing but a Node (or has one already).
    pub(super) fn is_open(&self, key: TaskKey) -> bool {
        match (&self.phase, key) {
            (Phase::Probing { deep }, TaskKey::Probe { deep: wanted }) => *deep == wanted,
            (Phase::Running(run), key) => run.is_open(key),
            (Phase::Command, COMMAND) => true,
            _ => false,
        }
    }

    /// A Task as the scheduler sees it, be it ready or not.
    pub fn describe(&self, key: TaskKey) -> ReadyTask {
        let task = self.tasks.get(&key);
        let frames = self.run().map_or(0, |run| run.plan.source.frames);
        let rows = |segment: u32| {
            self.run()
                .and_then(|run| run.plan.segments.get(segment as usize))
                .map_or(0, |s| u64::from(s.rows))
        };
        let cost = match key {
            TaskKey::Encode { group, segment } => {
                let renditions = self
                    .run()
                    .map_or(1, |run| run.missing(group, segment).len() as u64);
                rows(segment) * renditions
            }
            // A trial preset costs about a fifth.
            TaskKey::Trial { segment, .. } => rows(segment) / 5 + 1,
            TaskKey::Whole { .. } => frames,
            TaskKey::Probe { deep: true } => frames / 10 + 1,
            // Nothing is known of it, and nothing is learned from it about speeds.
            _ if self.command.is_some() => 0,
            _ => frames / 100 + 1,
        };
        ReadyTask {
            id: TaskId { job: self.id, key },
            attempt: self.next_attempt(key),
            heavy: self.is_heavy(key),
            cost,
            class: self.class_of(key),
            memory_bytes: 0,
            priority: self.request.priority,
            avoid: task.map(|task| task.avoid.clone()).unwrap_or_default(),
        }
    }
}

impl Job {
    fn class_of(&self, key: TaskKey) -> Class {
        let class = Class::of_kind(key);
        let Some(run) = self.run() else {
            return class;
        };
        let outputs = self.outputs_of(key);
        let outputs = outputs
            .iter()
            .filter_map(|o| run.plan.outputs.get(usize::from(*o)));
        outputs.fold(class, |class, planned| {
            class.with(&planned.output.rendition)
        })
    }

    /// The Outputs whose pictures a Task encodes; what has them already is left out.
    pub fn outputs_of(&self, key: TaskKey) -> Vec<u16> {
        let Some(run) = self.run() else {
            return Vec::new();
        };
        match key {
            TaskKey::Encode { group, segment } => run.missing(group, segment),
            TaskKey::Trial { group, .. } => run.trial_outputs(group),
            TaskKey::Whole { output, .. } => vec![output],
            _ => Vec::new(),
        }
    }

    /// FFmpeg's name of the encoder of an Output; `None`: its pictures are copied, or there is no such Output yet.
    pub fn encoder(&self, output: u16) -> Option<&str> {
        let planned = self.run()?.plan.outputs.get(usize::from(output))?;
        let rendition = &planned.output.rendition;
        (rendition.codec != Codec::Copy).then_some(rendition.encoder.as_str())
    }
}

/// Heavy work fills a slot with an encoder; light work runs beside it. Agrees with `Work::is_heavy`.
pub fn is_heavy(key: TaskKey) -> bool {
    matches!(
        key,
        TaskKey::Encode { .. }
            | TaskKey::Trial { .. }
            | TaskKey::Whole { .. }
            | TaskKey::Probe { deep: true }
            | TaskKey::Score { .. }
    )
}
