//! A Job whose Plan is known: knobs, Chunks, tracks and Outputs as they come.
//!
//! One encoded Output:
//!
//! ```text
//!   [trials] ─► knobs of the first set ─► its Chunks ─► knobs of the next ... ─► all Chunks ─► settled ─► stitched
//!                      ▲                                                           │             │
//!                      └────────────── some Chunks reopened with other knobs ◄─────┴── Revise ◄──┘
//! ```
//!
//! Under constant quality all knobs are known from the start and the Output is settled at once.

use super::chunk::Chunk;
use super::job::wrong_result;
use super::open::{self, Open};
use super::per_segment::PerSegment;
use super::rows::Rows;
use crate::plan::{Plan, PlannedOutput, Promise, address, rate};
use recode_types::source::ReadMode;
use recode_types::task::{ChunkFacts, Failure, FailureClass, OutputFacts, TaskResult, Usage};
use recode_types::{ArtifactRef, AttemptNo, Digest, Knob, NodeId, TaskKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Run {
    /// `SourceFacts`.
    pub facts: ArtifactRef,
    /// Grade of the probe behind them.
    pub deep: bool,
    /// The Plan, with its Segments.
    pub plan: Arc<Plan>,
    /// The Segments as a stored list.
    pub segments: ArtifactRef,
    /// One entry per Output.
    pub outputs: Vec<OutputRun>,
    /// Segments in the order in which they are handed out.
    pub order: Arc<[u32]>,
    /// Inverse of `order`.
    rank: Arc<[u32]>,
    /// Encode tasks that nobody has a Lease on and that lack Chunks, as (rank, group).
    open: Open,
    /// Trial tasks that nobody has a Lease on and that lack a result, as (rank, group).
    open_trials: Open,
    /// Follows from everything else.
    #[serde(skip)]
    tally: Tally,
}

/// How much is finished, so that nobody has to count a hundred thousand Segments to say so.
#[derive(Clone, Debug, Default, PartialEq)]
struct Tally {
    /// Encode tasks that lack no Chunk, over all groups.
    encoded: u32,
    /// Their source frames.
    frames: u64,
    /// Trial tasks that have a result, over all groups.
    tried: u32,
    /// Source frames of all Segments.
    all_frames: u64,
}

/// A [`Run`] as it is stored.
#[derive(Deserialize)]
struct Stored {
    facts: ArtifactRef,
    deep: bool,
    plan: Plan,
    segments: ArtifactRef,
    outputs: Vec<OutputRun>,
    order: Vec<u32>,
    rank: Vec<u32>,
    open: open::Stored,
    open_trials: open::Stored,
}

impl TryFrom<Stored> for Run {
    type Error = &'static str;

    fn try_from(mut stored: Stored) -> Result<Self, Self::Error> {
        if !agrees_with_itself(&stored.plan) {
            return Err("a plan contradicts itself");
        }
        let (segments, groups) = (stored.plan.segments.len(), stored.plan.groups.len());
        if !is_order_of(segments, &stored.order, &stored.rank) {
            return Err("the order of encodes is not one of all segments");
        }
        let among = |places: open::Stored| {
            let places = places.among(segments, groups);
            places.ok_or("a task is open that the plan does not have")
        };
        let (open, open_trials) = (among(stored.open)?, among(stored.open_trials)?);
        if stored.plan.outputs.len() != stored.outputs.len() {
            return Err("a run has not the outputs of its plan");
        }
        for (planned, output) in stored.plan.outputs.iter().zip(&mut stored.outputs) {
            // Earlier builds kept an empty list for each Segment where there are no trials.
            if matches!(planned.promise, Promise::Quality { .. }) {
                output.trials = Vec::new();
            }
            if !output.fits(planned, segments) {
                return Err("an output has not a place for every segment");
            }
        }
        let mut run = Self {
            facts: stored.facts,
            deep: stored.deep,
            plan: Arc::new(stored.plan),
            segments: stored.segments,
            outputs: stored.outputs,
            order: stored.order.into(),
            rank: stored.rank.into(),
            open,
            open_trials,
            tally: Tally::default(),
        };
        run.tally = run.counted();
        Ok(run)
    }
}

/// Segments follow each other without a gap, every Output that is made of them is in just one group, and no group is empty.
/// What is read of a Run bounds by this what is made of it.
fn agrees_with_itself(plan: &Plan) -> bool {
    let contiguous = plan.segments.iter().enumerate().all(|(i, s)| {
        s.index as usize == i
            && s.rows > 0
            && s.start_pts < s.end_pts
            && plan.segments.get(i + 1).is_none_or(|next| {
                s.first_row.checked_add(s.rows) == Some(next.first_row)
                    && next.start_pts == s.end_pts
            })
    });
    let mut grouped: Vec<u16> = plan.groups.iter().flatten().copied().collect();
    grouped.sort_unstable();
    let outputs = plan.outputs.iter().enumerate();
    let encoded = outputs.filter(|(_, output)| !output.unsplit);
    let encoded: Vec<usize> = encoded.map(|(i, _)| i).collect();
    contiguous
        && plan.groups.iter().all(|group| !group.is_empty())
        && grouped
            .iter()
            .map(|&i| usize::from(i))
            .eq(encoded.iter().copied())
        && plan.segments.is_empty() == encoded.is_empty()
}

/// `order` has every Segment once, and `rank` says where.
fn is_order_of(segments: usize, order: &[u32], rank: &[u32]) -> bool {
    let stands = |(position, segment): (usize, &u32)| {
        rank.get(*segment as usize).map(|&at| at as usize) == Some(position)
    };
    order.len() == segments && rank.len() == segments && order.iter().enumerate().all(stands)
}

/// One Output on its way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OutputRun {
    /// The knob of each Segment, once decided.
    pub knobs: Arc<[Option<Knob>]>,
    /// The Chunk of each Segment, once committed.
    pub chunks: PerSegment<Chunk>,
    /// Parameter sets every Chunk must agree on: those of the first.
    pub params: Option<Digest>,
    /// What the trial of each Segment showed, as (quality_milli, bytes); empty before. Where the quality is what is promised
    /// there are no trials, and none of these lists.
    pub trials: Vec<Vec<(u32, u64)>>,
    /// What Chunks that were replaced had shown, as (quality_milli, bytes).
    pub history: BTreeMap<u32, Vec<(u32, u64)>>,
    /// Knob decisions so far.
    pub rounds: u32,
    /// No knob decision is awaited once all Chunks are there.
    pub settled: bool,
    /// What the last stitch found broken; empty once that is decided about.
    pub violations: Vec<(u32, u32, u64)>,
    /// How often that has happened.
    pub revisions: u32,
    /// Encoded audio.
    pub audio: Option<EncodedTrack>,
    /// Further video tracks, by FFmpeg's index.
    pub whole: BTreeMap<u16, EncodedTrack>,
    /// The finished Output.
    pub result: Option<OutputFacts>,
}

impl OutputRun {
    /// There is a place for every Segment in all that has one.
    fn fits(&self, planned: &PlannedOutput, segments: usize) -> bool {
        let places = if planned.unsplit { 0 } else { segments };
        let trials = match planned.promise {
            Promise::Quality { .. } => 0,
            _ => places,
        };
        self.knobs.len() == places && self.chunks.len() == places && self.trials.len() == trials
    }
}

/// A track that was encoded whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncodedTrack {
    /// The file.
    pub artifact: ArtifactRef,
    /// Bytes of its packets.
    pub payload_bytes: u64,
}

/// What an accepted result amounts to.
pub(super) struct Made {
    pub frames: u64,
    pub bytes: u64,
    pub chunks: u32,
    pub reused: u32,
    /// The Leader should look whether knobs can be decided.
    pub decide: bool,
}

impl Run {
    /// The beginning. `None`: the Plan contradicts itself.
    pub(super) fn start(
        facts: ArtifactRef,
        deep: bool,
        plan: Plan,
        segments: ArtifactRef,
        order: Vec<u32>,
    ) -> Option<Self> {
        if !agrees_with_itself(&plan) {
            return None;
        }
        let count = plan.segments.len();
        let outputs = plan
            .outputs
            .iter()
            .map(|planned| {
                if planned.unsplit {
                    return OutputRun {
                        settled: true,
                        ..OutputRun::default()
                    };
                }
                let settled = matches!(planned.promise, Promise::Quality { .. });
                OutputRun {
                    knobs: (0..count as u32).map(|s| planned.fixed_knob(s)).collect(),
                    chunks: PerSegment::empty(count),
                    trials: vec![Vec::new(); if settled { 0 } else { count }],
                    settled,
                    ..OutputRun::default()
                }
            })
            .collect();
        let mut rank = vec![0; count];
        for (position, &segment) in order.iter().enumerate() {
            rank[segment as usize] = position as u32;
        }
        let mut run = Self {
            facts,
            deep,
            open: Open::none(count, plan.groups.len()),
            open_trials: Open::none(count, plan.groups.len()),
            plan: Arc::new(plan),
            segments,
            outputs,
            order: order.into(),
            rank: rank.into(),
            tally: Tally::default(),
        };
        run.tally = run.counted();
        run.reopen();
        Some(run)
    }

    /// Opens everything that lacks its result; nobody has a Lease. Peak revisions are counted anew.
    pub(super) fn reopen(&mut self) {
        for group in 0..self.plan.groups.len() as u16 {
            let trial = !self.trial_outputs(group).is_empty();
            for segment in 0..self.plan.segments.len() as u32 {
                let at = (self.rank[segment as usize], group);
                if !self.missing(group, segment).is_empty() {
                    self.open.insert(at);
                }
                if trial && !self.tried(group, segment) {
                    self.open_trials.insert(at);
                }
            }
        }
        for output in &mut self.outputs {
            output.revisions = 0;
        }
    }

    /// Committed Chunks, over all Outputs.
    pub fn count_chunks(&self) -> u32 {
        let chunks = self.outputs.iter().map(|output| output.chunks.filled());
        chunks.sum::<usize>() as u32
    }

    /// Outputs of a group whose knobs need a trial first.
    pub fn trial_outputs(&self, group: u16) -> Vec<u16> {
        self.plan
            .groups
            .get(group as usize)
            .into_iter()
            .flatten()
            .copied()
            .filter(|&o| rate::wants_trial(&self.plan.outputs[o as usize]))
            .collect()
    }

    /// Outputs of a group that lack the Chunk of a Segment.
    pub fn missing(&self, group: u16, segment: u32) -> Vec<u16> {
        self.plan
            .groups
            .get(group as usize)
            .into_iter()
            .flatten()
            .copied()
            .filter(|&o| {
                self.outputs[o as usize]
                    .chunks
                    .get(segment as usize)
                    .is_some_and(Option::is_none)
            })
            .collect()
    }

    /// Whether any Output of a group lacks the Chunk of a Segment.
    fn is_missing(&self, group: u16, segment: u32) -> bool {
        let group = self.plan.groups.get(group as usize).into_iter().flatten();
        group
            .map(|&output| &self.outputs[output as usize].chunks)
            .any(|chunks| chunks.get(segment as usize).is_some_and(Option::is_none))
    }

    /// Encode tasks that may be granted, in the order of handing out, as (group, segment).
    pub(super) fn ready_encodes(&self) -> impl Iterator<Item = (u16, u32)> + '_ {
        self.open
            .iter()
            .map(|(position, group)| (group, self.order[position as usize]))
            .filter(|&(group, segment)| self.knobs_known(group, segment))
    }

    /// Trial tasks that may be granted, in the order of handing out, as (group, segment).
    pub(super) fn ready_trials(&self) -> impl Iterator<Item = (u16, u32)> + '_ {
        self.open_trials
            .iter()
            .map(|(position, group)| (group, self.order[position as usize]))
    }

    /// Encode tasks that nobody has a Lease on and that lack Chunks, in the order of handing out.
    pub(super) fn waiting_encodes(&self) -> impl Iterator<Item = TaskKey> + '_ {
        self.open.iter().map(|(position, group)| TaskKey::Encode {
            group,
            segment: self.order[position as usize],
        })
    }

    /// Trial tasks that nobody has a Lease on and that lack a result, in the order of handing out.
    pub(super) fn waiting_trials(&self) -> impl Iterator<Item = TaskKey> + '_ {
        self.ready_trials()
            .map(|(group, segment)| TaskKey::Trial { group, segment })
    }

    /// The first Output of an Encode task that has no knob yet.
    pub(super) fn without_knob(&self, key: TaskKey) -> Option<u16> {
        let TaskKey::Encode { group, segment } = key else {
            return None;
        };
        self.missing(group, segment)
            .into_iter()
            .find(|&o| self.outputs[o as usize].knobs[segment as usize].is_none())
    }

    /// Segments whose trial for an Output is missing.
    pub(super) fn missing_trials(&self, output: u16) -> u32 {
        if !rate::wants_trial(&self.plan.outputs[output as usize]) {
            return 0;
        }
        let trials = &self.outputs[output as usize].trials;
        trials.iter().filter(|t| t.is_empty()).count() as u32
    }

    /// Segments whose Chunk for an Output is missing, and missing tracks.
    pub(super) fn missing_parts(&self, output: u16) -> (u32, u32) {
        let planned = &self.plan.outputs[output as usize];
        let run = &self.outputs[output as usize];
        let chunks = run.chunks.len() - run.chunks.filled();
        let sound = !planned.audio_tracks.is_empty() && run.audio.is_none();
        let tracks = planned.whole_tracks.len() - run.whole.len() + usize::from(sound);
        (chunks as u32, tracks as u32)
    }

    fn knobs_known(&self, group: u16, segment: u32) -> bool {
        self.missing(group, segment)
            .iter()
            .all(|&o| self.outputs[o as usize].knobs[segment as usize].is_some())
    }

    /// Whether an unleased Task of this kind waits for nothing but a Node.
    pub(super) fn is_open(&self, key: TaskKey) -> bool {
        match key {
            TaskKey::Encode { group, segment } => {
                self.is_waiting(key) && self.knobs_known(group, segment)
            }
            TaskKey::Trial { .. } => self.is_waiting(key),
            TaskKey::Audio { output } => {
                self.wants_audio(output)
                    && self.outputs[output as usize].audio.is_none()
                    && self.rest_is_at_hand()
            }
            TaskKey::Whole { output, track } => {
                self.wants_whole(output, track)
                    && self.rest_is_at_hand()
                    && !self.outputs[output as usize].whole.contains_key(&track)
            }
            TaskKey::Stitch { output } => self.wants_stitch(output) && self.may_stitch(output),
            TaskKey::Command { output } => {
                self.is_unsplit(output) && self.outputs[output as usize].result.is_none()
            }
            TaskKey::Probe { .. } | TaskKey::Score { .. } => false,
        }
    }

    /// Whether an Encode or Trial task lacks its result and nobody has a Lease on it; its knobs may be unknown yet.
    pub fn is_waiting(&self, key: TaskKey) -> bool {
        let rank = |segment: u32| self.rank.get(segment as usize);
        match key {
            TaskKey::Encode { group, segment } => {
                rank(segment).is_some_and(|&r| self.open.contains((r, group)))
            }
            TaskKey::Trial { group, segment } => {
                rank(segment).is_some_and(|&r| self.open_trials.contains((r, group)))
            }
            _ => false,
        }
    }

    /// Whether sound and further tracks may be read. Those of a remote Source wait until every Segment was encoded: a node
    /// that reads a Segment keeps what else lies between its pictures, so that no byte is fetched twice. Where the size
    /// of the whole file is promised, the size of the sound is wanted first, at the price of reading more.
    fn rest_is_at_hand(&self) -> bool {
        let source = &self.plan.source.url;
        let is_remote = ["s3://", "http://", "https://"]
            .iter()
            .any(|scheme| source.starts_with(scheme));
        let wanted_first = || {
            self.plan
                .outputs
                .iter()
                .any(|o| matches!(o.promise, Promise::FileBytes { .. }))
        };
        if !is_remote || self.plan.read_mode != ReadMode::Clip || wanted_first() {
            return true;
        }
        self.outputs.iter().all(|run| run.chunks.is_full())
    }

    fn wants_audio(&self, output: u16) -> bool {
        self.plan
            .outputs
            .get(output as usize)
            .is_some_and(|o| !o.unsplit && !o.audio_tracks.is_empty())
    }

    fn wants_whole(&self, output: u16, track: u16) -> bool {
        self.plan
            .outputs
            .get(output as usize)
            .is_some_and(|o| !o.unsplit && o.whole_tracks.contains(&u32::from(track)))
    }

    fn is_unsplit(&self, output: u16) -> bool {
        self.plan
            .outputs
            .get(output as usize)
            .is_some_and(|o| o.unsplit)
    }

    fn wants_stitch(&self, output: u16) -> bool {
        self.plan
            .outputs
            .get(output as usize)
            .is_some_and(|o| !o.unsplit)
    }

    /// Everything an Output is made of is there.
    pub fn may_stitch(&self, output: u16) -> bool {
        let run = &self.outputs[output as usize];
        run.result.is_none()
            && (run.settled || planted!(StitchedUnsettled))
            && run.violations.is_empty()
            && (self.tracks_done(output) || planted!(StitchedWithoutSound))
            && run.chunks.is_full()
    }

    /// Encoded audio and further video tracks of an Output are there.
    pub fn tracks_done(&self, output: u16) -> bool {
        let planned = &self.plan.outputs[output as usize];
        let run = &self.outputs[output as usize];
        (planned.audio_tracks.is_empty() || run.audio.is_some())
            && run.whole.len() == planned.whole_tracks.len()
    }

    /// Tasks that are not per Segment, whether finished or not.
    pub(super) fn single_tasks(&self) -> impl Iterator<Item = TaskKey> + '_ {
        self.plan
            .outputs
            .iter()
            .enumerate()
            .flat_map(|(i, planned)| {
                let output = i as u16;
                let audio = self
                    .wants_audio(output)
                    .then_some(TaskKey::Audio { output });
                let whole = planned
                    .whole_tracks
                    .iter()
                    .filter(move |_| !planned.unsplit)
                    .map(move |&track| TaskKey::Whole {
                        output,
                        track: track as u16,
                    });
                let last = if planned.unsplit {
                    TaskKey::Command { output }
                } else {
                    TaskKey::Stitch { output }
                };
                audio.into_iter().chain(whole).chain([last])
            })
    }

    pub(super) fn leased(&mut self, key: TaskKey) {
        match key {
            TaskKey::Encode { group, segment } => {
                self.open.remove((self.rank[segment as usize], group));
            }
            TaskKey::Trial { group, segment } => {
                self.open_trials
                    .remove((self.rank[segment as usize], group));
            }
            _ => {}
        }
    }

    /// The Lease of a Task ended; if it has no result, it is open again.
    pub(super) fn released(&mut self, key: TaskKey) {
        match key {
            TaskKey::Encode { group, segment } if !self.missing(group, segment).is_empty() => {
                self.open.insert((self.rank[segment as usize], group));
            }
            TaskKey::Trial { group, segment }
                if !self.tried(group, segment) && !planted!(TrialForgotten) =>
            {
                self.open_trials
                    .insert((self.rank[segment as usize], group));
            }
            _ => {}
        }
    }

    fn tried(&self, group: u16, segment: u32) -> bool {
        self.trial_outputs(group)
            .iter()
            .all(|&o| !self.outputs[o as usize].trials[segment as usize].is_empty())
    }

    /// Trials of an Output are there, or not wanted.
    pub fn trials_done(&self, output: u16) -> bool {
        !rate::wants_trial(&self.plan.outputs[output as usize])
            || self.outputs[output as usize]
                .trials
                .iter()
                .all(|t| !t.is_empty())
    }

    /// Counts from the beginning.
    fn counted(&self) -> Tally {
        let segments = &self.plan.segments;
        let mut tally = Tally {
            all_frames: segments.iter().map(|s| u64::from(s.rows)).sum(),
            ..Tally::default()
        };
        for group in 0..self.plan.groups.len() as u16 {
            let trial = !self.trial_outputs(group).is_empty();
            for segment in segments {
                if !self.is_missing(group, segment.index) {
                    tally.encoded += 1;
                    tally.frames += u64::from(segment.rows);
                }
                tally.tried += u32::from(trial && self.tried(group, segment.index));
            }
        }
        tally
    }

    /// What is counted as it comes is what there is. For tests of all that changes it.
    pub fn is_counted_right(&self) -> bool {
        self.tally == self.counted()
    }

    /// Tasks known and Tasks finished.
    pub(super) fn count_tasks(&self) -> (u32, u32) {
        let segments = self.plan.segments.len() as u32;
        let groups = 0..self.plan.groups.len() as u16;
        let trials = groups.filter(|&group| !self.trial_outputs(group).is_empty());
        let mut tasks = segments * (self.plan.groups.len() + trials.count()) as u32;
        let mut done = self.tally.encoded + self.tally.tried;
        for key in self.single_tasks() {
            tasks += 1;
            done += u32::from(!self.lacks_result(key));
        }
        (tasks, done)
    }

    /// Whether a Task that is not per Segment has yet to finish.
    pub(super) fn lacks_result(&self, key: TaskKey) -> bool {
        match key {
            TaskKey::Audio { output } => self.outputs[output as usize].audio.is_none(),
            TaskKey::Whole { output, track } => {
                !self.outputs[output as usize].whole.contains_key(&track)
            }
            TaskKey::Stitch { output } | TaskKey::Command { output } => {
                self.outputs[output as usize].result.is_none()
            }
            _ => true,
        }
    }

    /// Source frames whose Chunks are all committed, and source frames to encode; over all groups.
    pub fn count_frames(&self) -> (u64, u64) {
        let groups = self.plan.groups.len() as u64;
        (self.tally.frames, self.tally.all_frames * groups)
    }

    pub(super) fn is_complete(&self) -> bool {
        match planted!(DoneTooEarly) {
            true => self.outputs.iter().any(|output| output.result.is_some()),
            false => self.outputs.iter().all(|output| output.result.is_some()),
        }
    }

    pub(super) fn accept(
        &mut self,
        key: TaskKey,
        attempt: AttemptNo,
        node: NodeId,
        result: &TaskResult,
        usage: &Usage,
    ) -> Result<Made, Failure> {
        let mut made = Made {
            frames: 0,
            bytes: 0,
            chunks: 0,
            reused: 0,
            decide: false,
        };
        match (key, result) {
            (
                TaskKey::Encode { group, segment },
                TaskResult::Encoded { chunks } | TaskResult::EncodedUnsteady { chunks },
            ) => {
                let wanted = self.missing(group, segment);
                made.frames = u64::from(self.plan.segments[segment as usize].rows);
                let fitting: Vec<&ChunkFacts> = chunks
                    .iter()
                    .filter(|c| {
                        (c.segment == segment || planted!(SegmentNotCompared))
                            && wanted.contains(&c.output)
                            && (self.address(c.output, segment) == Some(c.address)
                                || planted!(AddressNotCompared))
                    })
                    .collect();
                // The same Chunk twice need not be alike twice: it would be checked against what was there before both.
                let is_repeated = |(i, chunk): (usize, &&ChunkFacts)| {
                    fitting[..i]
                        .iter()
                        .any(|other| other.output == chunk.output)
                };
                if fitting.is_empty()
                    || (fitting.iter().enumerate().any(is_repeated) && !planted!(TwinTaken))
                {
                    return Err(wrong_result(key));
                }
                for chunk in &fitting {
                    self.check(chunk)?;
                }
                for &chunk in &fitting {
                    made.chunks += 1;
                    made.reused += u32::from(chunk.reused);
                    made.bytes += chunk.payload_bytes;
                    made.decide |= self.commit(chunk.clone(), node, attempt, *usage);
                }
                if !self.is_missing(group, segment) {
                    self.tally.encoded += 1;
                    self.tally.frames += made.frames;
                    if !planted!(FinishedStaysOpen) {
                        self.open.remove((self.rank[segment as usize], group));
                    }
                }
            }
            (TaskKey::Trial { group, segment }, TaskResult::Tried { points }) => {
                let outputs = self.trial_outputs(group);
                let tried_before = self.tried(group, segment);
                let each = rate::TRIAL_POINTS;
                if points.len() != outputs.len() * each
                    || points
                        .iter()
                        .any(|p| p.is_empty() || p.iter().any(|&(_, bytes)| bytes == 0))
                {
                    return Err(wrong_result(key));
                }
                for (output, points) in outputs.iter().zip(points.chunks(each)) {
                    let mut all: Vec<(u32, u64)> = points.iter().flatten().copied().collect();
                    all.sort_unstable();
                    self.outputs[*output as usize].trials[segment as usize] = all;
                    made.decide |= self.trials_done(*output);
                }
                let tried = self.tried(group, segment) && !tried_before;
                self.tally.tried += u32::from(tried);
                made.frames = u64::from(self.plan.segments[segment as usize].rows);
                self.open_trials
                    .remove((self.rank[segment as usize], group));
            }
            (
                TaskKey::Audio { output },
                TaskResult::Track {
                    artifact,
                    payload_bytes,
                },
            ) => {
                made.bytes = *payload_bytes;
                self.outputs[output as usize].audio = Some(EncodedTrack {
                    artifact: artifact.clone(),
                    payload_bytes: *payload_bytes,
                });
                made.decide = self.decision_due(output);
            }
            (
                TaskKey::Whole { output, track },
                TaskResult::Track {
                    artifact,
                    payload_bytes,
                },
            ) => {
                made.bytes = *payload_bytes;
                self.outputs[output as usize].whole.insert(
                    track,
                    EncodedTrack {
                        artifact: artifact.clone(),
                        payload_bytes: *payload_bytes,
                    },
                );
                made.decide = self.decision_due(output);
            }
            (
                TaskKey::Stitch { output } | TaskKey::Command { output },
                TaskResult::Stitched { output: facts },
            ) if facts.output == output || planted!(OutputNotCompared) => {
                made.bytes = facts.size_bytes;
                made.frames = facts.frames;
                self.outputs[output as usize].result = Some(facts.clone());
            }
            (TaskKey::Stitch { output }, TaskResult::Revise { violations })
                if !violations.is_empty()
                    && violations
                        .iter()
                        .all(|v| (v.0 as usize) < self.plan.segments.len()) =>
            {
                let run = &mut self.outputs[output as usize];
                run.violations = violations.clone();
                run.revisions += 1;
                made.decide = true;
            }
            _ => return Err(wrong_result(key)),
        }
        Ok(made)
    }

    /// The content address of a Chunk under its present knob; `None`: no knob yet, or no such Chunk.
    pub fn address(&self, output: u16, segment: u32) -> Option<Digest> {
        let knob = (*self
            .outputs
            .get(output as usize)?
            .knobs
            .get(segment as usize)?)?;
        Some(address::chunk(&self.plan, output, segment, &knob))
    }

    /// A Chunk has other parameter sets than the others of its Output.
    pub fn differs(&self, chunk: &ChunkFacts) -> bool {
        let run = self.outputs.get(chunk.output as usize);
        run.and_then(|run| run.params)
            .is_some_and(|params| params != chunk.params)
    }

    /// A Chunk agrees with the others of its Output and with its neighbours.
    fn check(&self, chunk: &ChunkFacts) -> Result<(), Failure> {
        let run = &self.outputs[chunk.output as usize];
        if self.differs(chunk) && !planted!(ParamsNotCompared) {
            return Err(Failure {
                class: FailureClass::Unknown,
                message: format!(
                    "the parameter sets of chunk {} of output {} differ from those of the other chunks: \
                     use the same encoder build on every node",
                    chunk.segment, chunk.output
                ),
                stderr_tail: None,
            });
        }
        if self.deep {
            // The rows carry signatures then, and the Node has compared them.
            return Ok(());
        }
        let at = chunk.segment as usize;
        let before = at.checked_sub(1).and_then(|i| run.chunks[i].as_ref());
        let after = run.chunks.get(at + 1).and_then(Option::as_ref);
        let agree = |a: Option<u32>, b: u32| a.is_none_or(|a| a == b);
        let joined = before.is_none_or(|b| {
            agree(b.facts.signature_after, chunk.signature_first)
                && agree(chunk.signature_before, b.facts.signature_last)
        }) && after.is_none_or(|a| {
            agree(chunk.signature_after, a.facts.signature_first)
                && agree(a.facts.signature_before, chunk.signature_last)
        });
        if joined || planted!(JointNotCompared) {
            return Ok(());
        }
        Err(Failure {
            class: FailureClass::IndexLied,
            message: format!(
                "the frames at the joint of segment {} are not the same seen from both sides",
                chunk.segment
            ),
            stderr_tail: None,
        })
    }

    /// Returns whether a knob decision may be due.
    fn commit(
        &mut self,
        facts: ChunkFacts,
        node: NodeId,
        attempt: AttemptNo,
        usage: Usage,
    ) -> bool {
        let (output, segment) = (facts.output, facts.segment as usize);
        let run = &mut self.outputs[output as usize];
        run.params.get_or_insert(facts.params);
        let knob = run.knobs[segment].expect("a chunk fits only where a knob is known");
        let chunk = Chunk {
            facts: facts.into(),
            knob: knob.into(),
            node,
            attempt,
            usage,
        };
        run.chunks.put(segment, chunk);
        if run.settled {
            return false;
        }
        let idle = run
            .knobs
            .iter()
            .zip(&run.chunks)
            .all(|(knob, chunk)| knob.is_none() || chunk.is_some());
        idle && self.decision_due(output)
    }

    /// Settles an Output whose promise is kept; otherwise says whether the Leader should look at it.
    fn decision_due(&mut self, output: u16) -> bool {
        if self.outputs[output as usize].settled {
            return false;
        }
        let met = rate::is_met(self, output) || planted!(PromiseNotLookedAt);
        self.outputs[output as usize].settled = met;
        !met
    }

    /// Returns how many finished Chunks are made again.
    pub(super) fn set_knobs(
        &mut self,
        output: u16,
        round: u32,
        knobs: &[(u32, Knob)],
        tasks: &mut Rows,
    ) -> Result<u32, super::Rejected> {
        let count = self.plan.segments.len();
        let group = self
            .plan
            .group_of(output)
            .ok_or(super::Rejected::Outdated)?;
        let run = &mut self.outputs[output as usize];
        if (run.rounds != round && !planted!(RoundIgnored))
            || run.result.is_some()
            || knobs.iter().any(|(s, _)| *s as usize >= count)
        {
            return Err(super::Rejected::Outdated);
        }
        run.rounds += 1;
        let for_peak = !run.violations.is_empty();
        if !planted!(ViolationsKept) {
            run.violations.clear();
        }
        let mut reopened = 0;
        for &(segment, knob) in knobs {
            let at = segment as usize;
            if run.knobs[at] == Some(knob) {
                continue;
            }
            Arc::make_mut(&mut run.knobs)[at] = Some(knob);
            let key = TaskKey::Encode { group, segment };
            if let Some(old) = match planted!(ReopenKeepsChunk) {
                true => None,
                false => run.chunks.take(at),
            } {
                reopened += 1;
                let kept = match planted!(HistoryOfAnother) {
                    true => segment + 1,
                    false => segment,
                };
                run.history
                    .entry(kept)
                    .or_default()
                    .push((old.knob.quality_milli, old.facts.payload_bytes));
                let task = tasks.row(key);
                task.reopen();
                if task.lease.is_none() && !planted!(ReopenForgetsTask) {
                    self.open.insert((self.rank[at], group));
                }
            }
        }
        // What the limit takes away may be missing from a promised size: it is looked at again.
        let promise = &self.plan.outputs[output as usize].promise;
        if for_peak && reopened > 0 && !matches!(promise, Promise::Quality { .. }) {
            run.settled = false;
        }
        if reopened > 0 {
            self.tally = self.counted();
        }
        Ok(reopened)
    }

    /// The rate control of an Output has done what it can.
    pub(super) fn settle(&mut self, output: u16) -> Result<(), super::Rejected> {
        let run = self
            .outputs
            .get_mut(output as usize)
            .filter(|run| !run.settled)
            .ok_or(super::Rejected::Outdated)?;
        run.settled = true;
        Ok(())
    }
}
