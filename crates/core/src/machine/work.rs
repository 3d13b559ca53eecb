//! What a Node needs to know of a Task it is granted, built from the State alone.

use super::run::Run;
use super::{Chunk, PerSegment, State};
use crate::plan::{address, rate};
use recode_types::task::{ChunkFacts, EncodeRendition, EncodeWork, StitchWork, Work};
use recode_types::{ArtifactRef, JobRequest, NodeId, TaskId, TaskKey};

/// The work of a Task.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Complete.
    Work(Box<Work>),
    /// A stitch: the list of Chunks can be long and must be stored first.
    Stitch(Box<StitchOrder>),
}

/// A stitch that lacks only the stored list of its Chunks.
#[derive(Clone, Debug, PartialEq)]
pub struct StitchOrder {
    chunks: PerSegment<Chunk>,
    make: StitchParts,
}

#[derive(Clone, Debug, PartialEq)]
struct StitchParts {
    facts: ArtifactRef,
    segments: ArtifactRef,
    output_index: u16,
    output: recode_types::OutputRequest,
    audio: Option<ArtifactRef>,
    audio_tracks: Vec<u32>,
    whole: Vec<(u32, ArtifactRef)>,
    overwrite: bool,
    start_us: Option<i64>,
    duration_us: Option<i64>,
    score: Vec<recode_types::Metric>,
}

impl StitchOrder {
    /// The Chunks, in order: to be stored as a JSON list. One by one, since there may be a hundred thousand.
    pub fn chunks(&self) -> impl ExactSizeIterator<Item = ChunkFacts> + '_ {
        let all = 0..self.chunks.len();
        all.map(|at| {
            let chunk = self.chunks[at].as_ref();
            chunk.expect("an order has all of them").facts.whole()
        })
    }

    /// Who made them, in the same order.
    pub fn makers(&self) -> impl ExactSizeIterator<Item = NodeId> + '_ {
        let all = 0..self.chunks.len();
        all.map(|at| {
            let chunk = self.chunks[at].as_ref();
            chunk.expect("an order has all of them").node
        })
    }

    /// The work, with the list of Chunks where it was stored.
    pub fn stored(self, chunks: ArtifactRef) -> Work {
        let make = self.make;
        Work::Stitch(StitchWork {
            facts: make.facts,
            output_index: make.output_index,
            output: make.output,
            segments: make.segments,
            chunks,
            audio: make.audio,
            audio_tracks: make.audio_tracks,
            whole: make.whole,
            overwrite: make.overwrite,
            start_us: make.start_us,
            duration_us: make.duration_us,
            score: make.score,
        })
    }
}

impl State {
    /// The work of a Task that is ready or leased; `None`: the Task does not exist now.
    pub fn work_for(&self, id: TaskId) -> Option<Order> {
        let job = self.jobs.get(&id.job)?;
        if job.state().is_terminal() {
            return None;
        }
        if let TaskKey::Probe { deep } = id.key {
            return Some(Order::Work(Box::new(Work::Probe {
                source: job.request.source.clone(),
                deep,
                start_us: job.request.start_us,
                duration_us: job.request.duration_us,
            })));
        }
        if let Some(work) = job.command_work(id.key) {
            return Some(Order::Work(Box::new(Work::CommandLine(work))));
        }
        job.run()?.order(&job.request, id.key)
    }
}

impl Run {
    fn order(&self, request: &JobRequest, key: TaskKey) -> Option<Order> {
        let work = match key {
            TaskKey::Encode { group, segment } => {
                let work = self.encode(group, segment, self.encode_renditions(group, segment)?)?;
                Work::Encode(EncodeWork {
                    split_tail: request.making.split_tail(),
                    ..work
                })
            }
            TaskKey::Trial { group, segment } => {
                let mut work =
                    self.encode(group, segment, self.trial_renditions(group, segment)?)?;
                work.score.clear();
                work.verify_full = false;
                work.params = vec![None; work.renditions.len()];
                Work::Trial(work)
            }
            TaskKey::Audio { output } => {
                let planned = self.plan.outputs.get(output as usize)?;
                Work::Audio {
                    facts: self.facts.clone(),
                    output: planned.output.clone(),
                    tracks: planned.audio_tracks.clone(),
                    start_us: request.start_us,
                    duration_us: request.duration_us,
                }
            }
            TaskKey::Whole { output, track } => Work::Whole {
                facts: self.facts.clone(),
                output: rate::whole_output(self.plan.outputs.get(output as usize)?),
                track: u32::from(track),
                start_us: request.start_us,
                duration_us: request.duration_us,
            },
            TaskKey::Command { output } => Work::Command {
                source: request.source.clone(),
                output: self.plan.outputs.get(output as usize)?.output.clone(),
                overwrite: request.overwrite,
                start_us: request.start_us,
                duration_us: request.duration_us,
            },
            TaskKey::Stitch { output } => {
                return self
                    .stitch(request, output)
                    .map(|o| Order::Stitch(Box::new(o)));
            }
            TaskKey::Probe { .. } | TaskKey::Score { .. } => return None,
        };
        Some(Order::Work(Box::new(work)))
    }

    fn encode(
        &self,
        group: u16,
        segment: u32,
        renditions: Vec<EncodeRendition>,
    ) -> Option<EncodeWork> {
        self.plan.groups.get(group as usize)?;
        Some(EncodeWork {
            facts: self.facts.clone(),
            start_us: self.plan.source.start_us,
            segment: *self.plan.segments.get(segment as usize)?,
            read_mode: self.plan.read_mode,
            params: renditions
                .iter()
                .map(|r| self.outputs[r.output as usize].params)
                .collect(),
            renditions,
            score: self.plan.score.clone(),
            verify_full: self.plan.verify_full,
            split_tail: false,
        })
    }

    fn encode_renditions(&self, group: u16, segment: u32) -> Option<Vec<EncodeRendition>> {
        self.missing(group, segment)
            .into_iter()
            .map(|output| {
                let knob = self.outputs[output as usize].knobs[segment as usize]?;
                Some(EncodeRendition {
                    output,
                    rendition: self.plan.outputs[output as usize].output.rendition.clone(),
                    knob,
                    address: self.address(output, segment)?,
                })
            })
            .collect()
    }

    fn trial_renditions(&self, group: u16, segment: u32) -> Option<Vec<EncodeRendition>> {
        let mut out = Vec::new();
        for output in self.trial_outputs(group) {
            for (rendition, knob) in rate::trial(&self.plan, output)? {
                out.push(EncodeRendition {
                    output,
                    address: address::trial(&self.plan, segment, &rendition, &knob),
                    rendition,
                    knob,
                });
            }
        }
        Some(out)
    }

    fn stitch(&self, request: &JobRequest, output: u16) -> Option<StitchOrder> {
        let run = self.outputs.get(output as usize)?;
        if !run.chunks.is_full() {
            return None;
        }
        Some(StitchOrder {
            chunks: run.chunks.clone(),
            make: StitchParts {
                facts: self.facts.clone(),
                segments: self.segments.clone(),
                output_index: output,
                output: self.plan.outputs[output as usize].output.clone(),
                audio: run.audio.as_ref().map(|a| a.artifact.clone()),
                audio_tracks: self.plan.outputs[output as usize].audio_tracks.clone(),
                whole: run
                    .whole
                    .iter()
                    .map(|(&t, a)| (u32::from(t), a.artifact.clone()))
                    .collect(),
                overwrite: request.overwrite,
                start_us: request.start_us,
                duration_us: request.duration_us,
                score: self.plan.score.clone(),
            },
        })
    }
}
