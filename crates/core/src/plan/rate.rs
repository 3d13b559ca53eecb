//! Global rate control: a bitrate or a file size is a promise about the whole Output.
//!
//! A cheap trial encode of every Segment tells how they differ; where the preset is nearly as quick as a trial would be, there
//! is none. One knob is solved for all, a few heavy Segments from all over the film are encoded with it (they tell how far
//! the real preset is from the trial), the knob is solved again for most of the rest, and again for the last Segments, which absorb what is left over. If the total is
//! still off, some Chunks are made again. Each step waits for all Chunks of the one before: what is decided follows from
//! sizes alone, never from which Node was quicker, so the same Job gives the same bytes.
//!
//! [`solve`] is the arithmetic over plain numbers, [`next`] applies it to a running Job, [`size`] knows the bytes that are
//! not video.

pub mod size;
pub mod solve;

#[cfg(test)]
mod tests;

use super::encoder::{self, Encoder};
use super::error::PlanError;
use super::tracks::Chosen;
use super::{Plan, PlannedOutput, Promise, SourceBrief, peak};
use crate::machine::{OutputRun, Run};
use recode_types::rendition::{RateControl, Scale};
use recode_types::{Knob, OutputRequest, Rendition, SourceFacts};
use solve::{Aim, Piece, Solution};

/// Knobs at which each Segment is tried. A second one would tell its slope at the price of another trial; which is cheaper
/// depends on the film (docs/decisions/0017-rate-by-few-encodes).
pub const TRIAL_POINTS: usize = 1;
/// A total this close to the promise is good enough: half of what is allowed (2 %).
const GOAL_PERMILLE: u64 = 10;
/// What is good enough when Chunks had to be made again already, or had to shrink for a peak limit.
const LATE_GOAL_PERMILLE: u64 = 17;
/// Times that finished Chunks are made again for one Output.
const MAX_CORRECTIONS: u32 = 5;

/// What is promised for an Output whose Rendition is resolved.
/// # Errors
/// [`PlanError::NoRoom`]: the file is full before the video.
pub fn promise(
    facts: &SourceFacts,
    output: &OutputRequest,
    chosen: &Chosen,
    source: &SourceBrief,
) -> Result<Promise, PlanError> {
    Ok(match output.rendition.rate {
        Some(RateControl::Crf(quality_milli)) => Promise::Quality { quality_milli },
        None => Promise::Quality { quality_milli: 0 },
        Some(RateControl::Bitrate(bps)) => {
            let ticks = i128::from(source.end_pts) - i128::from(source.first_pts);
            let bits = i128::from(bps) * ticks * i128::from(source.time_base.num)
                / i128::from(source.time_base.den);
            Promise::VideoBytes {
                bytes: (bits / 8).max(1) as u64,
            }
        }
        Some(RateControl::Size(bytes)) => {
            let other_bytes = size::other_bytes(facts, output, chosen, source, bytes);
            let least = least_video_bytes(source);
            if other_bytes + least > bytes {
                return Err(PlanError::NoRoom {
                    size: bytes,
                    other: other_bytes,
                    least: other_bytes + least,
                });
            }
            Promise::FileBytes { bytes, other_bytes }
        }
    })
}

/// No encoder makes frames smaller than this.
fn least_video_bytes(source: &SourceBrief) -> u64 {
    source.frames * 8 + 500
}

/// Whether an Output's knobs start from trials.
pub fn wants_trial(planned: &PlannedOutput) -> bool {
    !planned.unsplit
        && !matches!(planned.promise, Promise::Quality { .. })
        && encoder_of(planned).is_some_and(|e| {
            let preset = planned.output.rendition.preset.as_deref();
            e.trial_preset.is_some()
                && !preset.is_some_and(|p| e.quick_presets.contains(&&*p.to_ascii_lowercase()))
        })
}

fn encoder_of(planned: &PlannedOutput) -> Option<&'static Encoder> {
    encoder::named(&planned.output.rendition.encoder)
}

/// The trial encodes of one Segment for an Output: [`TRIAL_POINTS`] Renditions.
pub fn trial(plan: &Plan, output: u16) -> Option<Vec<(Rendition, Knob)>> {
    let planned = plan.outputs.get(output as usize)?;
    let encoder = encoder_of(planned)?;
    let rendition = Rendition {
        preset: Some(encoder.trial_preset?.to_owned()),
        peak: None,
        ..planned.output.rendition.clone()
    };
    let knob = Knob {
        quality_milli: guess_milli(encoder, planned, &plan.source),
        peak: None,
        buffer_start_milli: peak::start_fullness_milli(0),
    };
    Some(vec![(rendition, knob)])
}

/// A first guess from bits per pixel.
fn guess_milli(encoder: &Encoder, planned: &PlannedOutput, source: &SourceBrief) -> u32 {
    let usual = encoder.usual_quality_milli.unwrap_or(0);
    let bytes = match planned.promise {
        Promise::Quality { quality_milli } => return quality_milli,
        Promise::VideoBytes { bytes } => bytes,
        Promise::FileBytes { bytes, other_bytes } => bytes.saturating_sub(other_bytes),
    };
    let Scale::Exact { width, height } = planned.output.rendition.scale else {
        return usual;
    };
    let pixels = f64::from(width) * f64::from(height) * source.frames.max(1) as f64;
    let bits_per_pixel = (bytes.max(1) as f64 * 8.0 / pixels).max(1e-6);
    let steps = (encoder.usual_bits / bits_per_pixel).ln() / encoder.slope;
    let (low, high) = encoder.range_milli();
    let milli = encoder
        .axis
        .milli(encoder.axis.place(f64::from(usual)) + steps);
    let step = encoder.quality_step_milli;
    (milli.clamp(f64::from(low), f64::from(high)) as u32) / step * step
}

/// The Output request for a further video track, which is encoded whole: promises about size are about the main video.
pub fn whole_output(planned: &PlannedOutput) -> OutputRequest {
    let mut output = planned.output.clone();
    if !matches!(planned.promise, Promise::Quality { .. }) {
        output.rendition.rate = encoder_of(planned)
            .and_then(|e| e.usual_quality_milli)
            .map(RateControl::Crf);
        output.rendition.peak = None;
    }
    // A size that was resolved for the main video would bend another picture.
    output.rendition.scale = Scale::Source;
    output
}

/// Bytes of video packets to aim at; `None`: constant quality, or not known before all tracks are encoded.
pub fn target_bytes(run: &Run, output: u16) -> Option<u64> {
    match run.plan.outputs[output as usize].promise {
        Promise::Quality { .. } => None,
        Promise::VideoBytes { bytes } => Some(bytes),
        Promise::FileBytes { bytes, other_bytes } => {
            if !run.tracks_done(output) {
                return None;
            }
            let tracks = &run.outputs[output as usize];
            let encoded: u64 = tracks
                .audio
                .iter()
                .chain(tracks.whole.values())
                .map(|track| track.payload_bytes)
                .sum();
            let left = bytes.saturating_sub(other_bytes + encoded);
            Some(left.max(least_video_bytes(&run.plan.source)))
        }
    }
}

/// All Chunks are there and their sum is close enough. Integers only: this is called while applying the log.
pub fn is_met(run: &Run, output: u16) -> bool {
    let Some(target) = target_bytes(run, output) else {
        return false;
    };
    let made = &run.outputs[output as usize];
    let goal = if made.history.is_empty() {
        GOAL_PERMILLE
    } else {
        LATE_GOAL_PERMILLE
    };
    let mut sum = 0;
    for chunk in &run.outputs[output as usize].chunks {
        match chunk {
            Some(chunk) => sum += chunk.facts.payload_bytes,
            None => return false,
        }
    }
    sum.abs_diff(target) * 1000 <= target * goal
}

/// What the Leader should do about an Output's rate.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing now.
    Nothing,
    /// Propose these knobs.
    Knobs {
        /// By Segment.
        knobs: Vec<(u32, Knob)>,
        /// Why finished Chunks are made again; empty where none are.
        reason: String,
    },
    /// Leave it as it is and say so.
    GiveUp {
        /// One sentence.
        text: String,
    },
}

/// The next step for one Output.
pub fn next(run: &Run, output: u16) -> Step {
    let made = &run.outputs[output as usize];
    let planned = &run.plan.outputs[output as usize];
    if made.settled || !run.trials_done(output) {
        return Step::Nothing;
    }
    let (Some(target), Some(encoder)) = (target_bytes(run, output), encoder_of(planned)) else {
        return Step::Nothing;
    };
    let waits = made
        .knobs
        .iter()
        .zip(&made.chunks)
        .any(|(knob, chunk)| knob.is_some() && chunk.is_none());
    if waits || is_met(run, output) {
        return Step::Nothing;
    }
    let pieces: Vec<Piece> = run
        .plan
        .segments
        .iter()
        .enumerate()
        .map(|(i, segment)| Piece {
            rows: segment.rows,
            trial: made.trials[i].clone(),
            earlier: made.history.get(&(i as u32)).cloned().unwrap_or_default(),
            done: made.chunks[i]
                .as_ref()
                .map(|c| (c.knob.quality_milli, c.facts.payload_bytes)),
            capped: made.knobs[i]
                .is_some_and(|knob| peak::is_revised(i as u32, &knob, planned.peak())),
        })
        .collect();
    let sets = solve::sets(&pieces).len() as u32;
    let aim = Aim {
        target_bytes: target,
        rows: pieces.iter().map(|p| p.rows).sum(),
        axis: encoder.axis,
        slope: encoder.slope,
        trial_excess: encoder.trial_excess,
        range_milli: encoder.range_milli(),
        step_milli: encoder.quality_step_milli,
        guess_milli: guess_milli(encoder, planned, &run.plan.source),
        may_correct: made.rounds < sets + MAX_CORRECTIONS + made.revisions,
    };
    let sum: u64 = pieces.iter().filter_map(|p| p.done).map(|d| d.1).sum();
    match solve::solve(&pieces, &aim) {
        Solution::Knobs(knobs) => {
            let again = knobs.iter().any(|&(i, _)| pieces[i].done.is_some());
            Step::Knobs {
                knobs: knobs
                    .into_iter()
                    .map(|(i, quality_milli)| {
                        let before = made.knobs[i];
                        let knob = Knob {
                            quality_milli,
                            peak: before.map_or(planned.peak(), |k| k.peak),
                            buffer_start_milli: before.map_or_else(
                                || peak::start_fullness_milli(i as u32),
                                |k| k.buffer_start_milli,
                            ),
                        };
                        (i as u32, knob)
                    })
                    .collect(),
                reason: if again {
                    format!("the video came to {sum} bytes where {target} are promised")
                } else {
                    String::new()
                },
            }
        }
        Solution::Stuck => Step::GiveUp {
            text: missed(planned, encoder, made, sum, target),
        },
    }
}

/// Why a promise is missed, and what to do about it.
fn missed(
    planned: &PlannedOutput,
    encoder: &Encoder,
    made: &OutputRun,
    sum: u64,
    target: u64,
) -> String {
    let (best, worst) = encoder.range_milli();
    let all_at = |end: u32| {
        let mut knobs = made.knobs.iter().flatten();
        knobs.all(|knob| knob.quality_milli == end)
    };
    let reason = if all_at(worst) {
        "the encoder makes it no smaller: ask for more, or for a smaller picture"
    } else if all_at(best) {
        "the encoder makes it no larger: this is its best quality"
    } else if sum < target && planned.peak().is_some() {
        "the peak limit leaves no room for more, or the quality scale allows no closer match: raise --maxrate or --bufsize"
    } else {
        "the encoder's quality scale allows no closer match"
    };
    format!(
        "the video of {} has {sum} bytes instead of {target} ({:+.1} %): {reason}",
        planned.output.url,
        (sum as f64 / target.max(1) as f64 - 1.0) * 100.0
    )
}
