//! Global rate control: a bitrate or a file size is a promise about the whole Output.
//!
//! Cheap trial encodes of every Segment at two knobs give size as a function of the knob. One knob is solved for all, a few
//! Segments spread over the film are encoded with it (they tell how far the real preset is from the trial), the knob is
//! solved again for most of the rest, and again for the last Segments, which absorb what is left over. If the total is
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
use crate::machine::Run;
use recode_types::rendition::{RateControl, Scale};
use recode_types::{Knob, OutputRequest, Rendition, SourceFacts};
use solve::{Aim, Piece, Solution};

/// Knobs at which each Segment is tried.
pub const TRIAL_POINTS: usize = 2;
/// A total this close to the promise is good enough: half of what is allowed (2 %).
const GOAL_PERMILLE: u64 = 10;
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
        && encoder_of(planned).is_some_and(|e| e.trial_preset.is_some())
}

fn encoder_of(planned: &PlannedOutput) -> Option<&'static Encoder> {
    encoder::named(&planned.output.rendition.encoder)
}

/// The trial encodes of one Segment for an Output: [`TRIAL_POINTS`] Renditions with rising knobs.
pub fn trial(plan: &Plan, output: u16) -> Option<Vec<(Rendition, Knob)>> {
    let planned = plan.outputs.get(output as usize)?;
    let encoder = encoder_of(planned)?;
    let rendition = Rendition {
        preset: Some(encoder.trial_preset?.to_owned()),
        peak: None,
        ..planned.output.rendition.clone()
    };
    let (low, high) = encoder.range_milli();
    let step = encoder.quality_step_milli;
    // The points lie where the size changes by a third around the guess.
    let reach = ((0.33 / encoder.slope) * 1000.0) as u32 / step * step;
    let center = guess_milli(encoder, planned, &plan.source).clamp(low + reach, high - reach);
    Some(
        [center - reach, center + reach]
            .map(|quality_milli| {
                (
                    rendition.clone(),
                    Knob {
                        quality_milli,
                        peak: None,
                        buffer_start_milli: peak::start_fullness_milli(0),
                    },
                )
            })
            .to_vec(),
    )
}

/// A first guess from bits per pixel: about 0.07 at the usual quality, for ordinary film.
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
    let steps = (0.07 / bits_per_pixel).ln() / encoder.slope;
    let (low, high) = encoder.range_milli();
    let milli = f64::from(usual) + steps * 1000.0;
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
    let mut sum = 0;
    for chunk in &run.outputs[output as usize].chunks {
        match chunk {
            Some(chunk) => sum += chunk.facts.payload_bytes,
            None => return false,
        }
    }
    sum.abs_diff(target) * 1000 <= target * GOAL_PERMILLE
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
        })
        .collect();
    let sets = solve::sets(pieces.len()).len() as u32;
    let aim = Aim {
        target_bytes: target,
        rows: pieces.iter().map(|p| p.rows).sum(),
        slope: encoder.slope,
        range_milli: encoder.range_milli(),
        step_milli: encoder.quality_step_milli,
        guess_milli: guess_milli(encoder, planned, &run.plan.source),
        may_correct: made.rounds < sets + MAX_CORRECTIONS,
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
            text: format!(
                "the video of {} has {sum} bytes instead of {target}: the encoder's quality scale allows no closer match",
                planned.output.url
            ),
        },
    }
}
