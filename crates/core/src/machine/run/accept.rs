//! Results of Attempts as they come: what they must agree with, and what they change.

use super::{EncodedTrack, Run};
use crate::machine::chunk::Chunk;
use crate::machine::job::wrong_result;
use crate::plan::{address, rate};
use recode_types::task::{ChunkFacts, Failure, FailureClass, TaskResult, Usage};
use recode_types::{AttemptNo, Digest, NodeId, TaskKey};

/// What an accepted result amounts to.
pub(in crate::machine) struct Made {
    pub frames: u64,
    pub bytes: u64,
    pub chunks: u32,
    pub reused: u32,
    /// The Leader should look whether knobs can be decided.
    pub decide: bool,
}

impl Run {
    pub(in crate::machine) fn accept(
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
}
