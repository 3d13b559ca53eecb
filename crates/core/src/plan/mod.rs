//! What must be done for a request: Segments, resolved Renditions, tracks, promises about size, and what will be lost.
//!
//! [`plan`] follows from Source and request alone, never from which Nodes exist, so that the same Job gives the same bytes
//! anywhere. It knows encoders by name and by what they can hold ([`encoder`]), not by their command lines.

pub mod address;
pub mod cut;
pub mod encoder;
pub mod error;
pub mod loss;
pub mod peak;
pub mod picture;
pub mod rate;
pub mod request;
pub mod tracks;

#[cfg(test)]
mod tests;

pub use cut::CutPolicy;
pub use error::PlanError;

use crate::machine::Command;
use recode_types::rendition::{PeakLimit, RateControl};
use recode_types::source::ReadMode;
use recode_types::time::TimeBase;
use recode_types::{
    ArtifactRef, Codec, Digest, FrameTable, JobId, JobRequest, Knob, OutputRequest, Segment,
    SourceFacts,
};
use serde::{Deserialize, Serialize};

/// The immutable answer to "what must be done".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What the Plan needs to know of the Source without reading its facts.
    pub source: SourceBrief,
    /// How Segments are read.
    pub read_mode: ReadMode,
    /// One entry per Output of the request.
    pub outputs: Vec<PlannedOutput>,
    /// Outputs that share one decode per Segment. Every encoded Output is in exactly one group.
    pub groups: Vec<Vec<u16>>,
    /// Sorted, contiguous, covering the wanted rows exactly; empty where no Output is encoded.
    pub segments: Vec<Segment>,
    /// Metrics to compute with every Chunk.
    pub score: Vec<recode_types::Metric>,
    /// Every frame is decoded and compared.
    pub verify_full: bool,
    /// What cannot be kept, one sentence each.
    pub warnings: Vec<String>,
}

/// What a Plan needs to know of the Source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceBrief {
    /// Where it is.
    pub url: String,
    /// Its size.
    pub size_bytes: u64,
    /// Digest of its identity and its index.
    pub digest: Digest,
    /// The FFmpeg build that looked, its first version line.
    pub ffmpeg: String,
    /// Time base of the Segments.
    pub time_base: TimeBase,
    /// Start of the wanted part, as asked: the Output's zero, where a frame rate's grid begins.
    pub start_us: Option<i64>,
    /// PTS of the first wanted frame.
    pub first_pts: i64,
    /// PTS one past the last wanted frame.
    pub end_pts: i64,
    /// Wanted frames.
    pub frames: u64,
}

impl SourceBrief {
    /// Length of the wanted part in seconds; for prediction and display only.
    pub fn seconds(&self) -> f64 {
        (self.end_pts - self.first_pts) as f64 * self.time_base.as_f64()
    }
}

/// One Output with everything settled that can be settled before the first encode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedOutput {
    /// The request with size, pixel format, rate and peak filled in.
    pub output: OutputRequest,
    /// Runs unsplit, as a stream copy.
    pub unsplit: bool,
    /// FFmpeg's indices of the audio tracks to encode, in Output order. The other selected ones are copied.
    pub audio_tracks: Vec<u32>,
    /// FFmpeg's indices of further video tracks to encode whole.
    pub whole_tracks: Vec<u32>,
    /// What is promised about quality or size.
    pub promise: Promise,
}

/// What is promised about the quality or the size of an Output's video.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Promise {
    /// The same knob everywhere, known from the start.
    Quality {
        /// Thousandths of the encoder's scale.
        quality_milli: u32,
    },
    /// So many bytes of video packets over the whole Output.
    VideoBytes {
        /// The target.
        bytes: u64,
    },
    /// So many bytes of the whole file.
    FileBytes {
        /// The target.
        bytes: u64,
        /// Bytes that are neither video nor encoded by us (copied tracks, container), as predicted.
        other_bytes: u64,
    },
}

impl PlannedOutput {
    /// The peak limit over the whole Output.
    pub fn peak(&self) -> Option<PeakLimit> {
        self.output.rendition.peak
    }

    /// The knob of a Segment under constant quality.
    pub fn fixed_knob(&self, segment: u32) -> Option<Knob> {
        match self.promise {
            Promise::Quality { quality_milli } => Some(Knob {
                quality_milli,
                peak: self.peak(),
                buffer_start_milli: peak::start_fullness_milli(segment),
            }),
            Promise::VideoBytes { .. } | Promise::FileBytes { .. } => None,
        }
    }
}

/// Numbers that a deployment may choose; the same for every Job of it.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanPolicy {
    /// Segment lengths.
    pub cut: CutPolicy,
    /// Segments of a Source that can only be read from its beginning.
    pub linear_segments: u32,
    /// Most Segments of one Job.
    pub most_segments: u32,
}

impl Default for PlanPolicy {
    fn default() -> Self {
        Self {
            cut: CutPolicy::default(),
            linear_segments: 4,
            most_segments: 100_000,
        }
    }
}

/// Makes a Plan.
/// # Shape
/// See [`Plan`]. Without an encoded Output there are no Segments and no groups.
/// # Errors
/// [`PlanError`]: the request contradicts itself or the Source; fail the Job with its sentence.
pub fn plan(
    facts: &SourceFacts,
    table: &FrameTable,
    request: &JobRequest,
    policy: &PlanPolicy,
) -> Result<Plan, PlanError> {
    request::check(request)?;
    let encoded = request
        .outputs
        .iter()
        .any(|o| o.rendition.codec != Codec::Copy);
    let video = match &facts.video {
        Some(video) if !table.rows.is_empty() => Some(video),
        _ => None,
    };
    let mut warnings = Vec::new();
    let rows = match video {
        Some(_) => cut::wanted_rows(facts, table, request)?,
        None if encoded => return Err(PlanError::NoPicture),
        None => 0..0,
    };
    let brief = brief(facts, table, request, &rows);
    let mut outputs = Vec::with_capacity(request.outputs.len());
    for wanted in &request.outputs {
        let mut output = wanted.clone();
        if let (Some(video), true) = (video, output.rendition.codec != Codec::Copy) {
            picture::resolve(video, &mut output.rendition, &mut warnings)?;
            picture::check_score(&output.rendition, &request.score)?;
            loss::of_picture(video, &output, &facts.ffmpeg, &mut warnings);
        }
        let tracks = tracks::choose(facts, &output, request.start_us, &mut warnings)?;
        let promise = rate::promise(facts, &output, &tracks, &brief)?;
        outputs.push(PlannedOutput {
            unsplit: output.rendition.codec == Codec::Copy,
            output,
            audio_tracks: tracks.audio_to_encode,
            whole_tracks: tracks.whole,
            promise,
        });
    }
    let mut seen = std::collections::BTreeSet::new();
    warnings.retain(|w| seen.insert(w.clone()));
    if request.strict
        && let Some(first) = warnings.first()
    {
        return Err(PlanError::Strict {
            loss: first.clone(),
        });
    }
    // What looked odd while probing is worth saying but is no loss.
    warnings.extend(facts.warnings.iter().cloned());
    // One group for all: a Segment is decoded once whatever the number of Renditions.
    let group: Vec<u16> = (0..outputs.len() as u16)
        .filter(|&i| !outputs[i as usize].unsplit)
        .collect();
    let (segments, groups) = if group.is_empty() {
        (Vec::new(), Vec::new())
    } else {
        let wish = cut::Wish::of(request, facts, policy);
        let mut segments = cut::cut(table, rows, &wish, &policy.cut);
        if let (Some(first), true) = (segments.first_mut(), facts.rows_estimated) {
            first.start_pts = brief.first_pts;
        }
        if let (Some(last), true) = (segments.last_mut(), facts.rows_estimated) {
            last.end_pts = brief.end_pts;
        }
        (segments, vec![group])
    };
    if segments.len() > policy.most_segments as usize {
        return Err(PlanError::TooManySegments {
            segments: segments.len(),
            most: policy.most_segments,
        });
    }
    Ok(Plan {
        source: brief,
        read_mode: facts.read_mode,
        outputs,
        groups,
        segments,
        score: request.score.clone(),
        verify_full: request.making.verify_full(),
        warnings,
    })
}

fn brief(
    facts: &SourceFacts,
    table: &FrameTable,
    request: &JobRequest,
    rows: &std::ops::Range<usize>,
) -> SourceBrief {
    let (first_pts, end_pts) = match rows.is_empty() {
        true => {
            let first = table.rows.get(rows.start).map_or(0, |row| row.pts);
            (first, first)
        }
        false => cut::wanted_span(facts, table, request, rows),
    };
    SourceBrief {
        url: facts.identity.url.clone(),
        size_bytes: facts.identity.size_bytes,
        digest: address::source_digest(facts),
        ffmpeg: facts.ffmpeg.clone(),
        time_base: table.time_base,
        start_us: request.start_us,
        first_pts,
        end_pts,
        frames: rows.len() as u64,
    }
}

/// Largest encoding of a [`Command::PlanPart`]'s Segments.
const PART_BYTES: usize = 60 << 10;
/// Largest encoding of one Segment: three 5-byte and two 10-byte variable-length numbers.
const SEGMENT_BYTES: usize = 35;

impl Plan {
    /// Segments follow each other without a gap, every Output that is made of them is in just one group, and no group is empty.
    /// What is read of a Run bounds by this what is made of it.
    pub fn agrees_with_itself(&self) -> bool {
        let contiguous = self.segments.iter().enumerate().all(|(i, s)| {
            s.index as usize == i
                && s.rows > 0
                && s.start_pts < s.end_pts
                && self.segments.get(i + 1).is_none_or(|next| {
                    s.first_row.checked_add(s.rows) == Some(next.first_row)
                        && next.start_pts == s.end_pts
                })
        });
        let mut grouped: Vec<u16> = self.groups.iter().flatten().copied().collect();
        grouped.sort_unstable();
        let outputs = self.outputs.iter().enumerate();
        let encoded = outputs.filter(|(_, output)| !output.unsplit);
        let encoded: Vec<usize> = encoded.map(|(i, _)| i).collect();
        contiguous
            && self.groups.iter().all(|group| !group.is_empty())
            && grouped
                .iter()
                .map(|&i| usize::from(i))
                .eq(encoded.iter().copied())
            && self.segments.is_empty() == encoded.is_empty()
    }

    /// This Plan as commands: its Segments in parts of at most 64 KiB, then the rest. `deep` is the grade of the probe
    /// it stands on; `segments` is the stored list.
    pub fn into_commands(mut self, job: JobId, deep: bool, segments: ArtifactRef) -> Vec<Command> {
        let all = std::mem::take(&mut self.segments);
        let mut commands: Vec<Command> = all
            .chunks(PART_BYTES / SEGMENT_BYTES)
            .enumerate()
            .map(|(part, segments)| Command::PlanPart {
                job,
                deep,
                part: part as u32,
                segments: segments.to_vec(),
            })
            .collect();
        commands.push(Command::PlanReady {
            job,
            deep,
            parts: commands.len() as u32,
            plan: Box::new(self),
            segments,
        });
        commands
    }

    /// Whether this Output's knobs follow from what was made before.
    pub fn is_global(&self, output: u16) -> bool {
        let output = &self.outputs[output as usize];
        !output.unsplit
            && matches!(
                output.output.rendition.rate,
                Some(RateControl::Bitrate(_) | RateControl::Size(_))
            )
    }

    /// The group of an encoded Output.
    pub fn group_of(&self, output: u16) -> Option<u16> {
        self.groups
            .iter()
            .position(|g| g.contains(&output))
            .map(|g| g as u16)
    }
}
