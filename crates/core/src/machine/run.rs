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

mod accept;
mod knobs;
mod stored;
mod tally;

use super::chunk::Chunk;
use super::open::Open;
use super::per_segment::PerSegment;
use crate::plan::{Plan, Promise, rate};
use recode_types::source::ReadMode;
use recode_types::task::OutputFacts;
use recode_types::{ArtifactRef, Digest, Knob, TaskKey};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use tally::Tally;

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "stored::Stored")]
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

/// A track that was encoded whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncodedTrack {
    /// The file.
    pub artifact: ArtifactRef,
    /// Bytes of its packets.
    pub payload_bytes: u64,
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
        if !plan.agrees_with_itself() {
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

    /// Segments whose Chunk for an Output is missing, and missing tracks.
    pub(super) fn missing_parts(&self, output: u16) -> (u32, u32) {
        let planned = &self.plan.outputs[output as usize];
        let run = &self.outputs[output as usize];
        let chunks = run.chunks.len() - run.chunks.filled();
        let sound = !planned.audio_tracks.is_empty() && run.audio.is_none();
        let tracks = planned.whole_tracks.len() - run.whole.len() + usize::from(sound);
        (chunks as u32, tracks as u32)
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

    pub(super) fn is_complete(&self) -> bool {
        match planted!(DoneTooEarly) {
            true => self.outputs.iter().any(|output| output.result.is_some()),
            false => self.outputs.iter().all(|output| output.result.is_some()),
        }
    }
}
