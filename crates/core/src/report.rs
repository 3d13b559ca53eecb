//! The report of an ended Job, built from what the log kept.

use crate::machine::job::Phase;
use crate::machine::{Chunk, Job, PerSegment, Run};
use recode_types::CommandOutput;
use recode_types::event::EventKind;
use recode_types::report::{JobReport, OutputReport, SegmentReport};

/// What a Job did. For a Job that has not ended: what it did so far, up to its last event.
pub fn build(job: &Job) -> JobReport {
    let (state, reason, end_ms) = match &job.phase {
        Phase::Ended(end) => (
            end.state,
            (!end.reason.is_empty()).then(|| end.reason.clone()),
            end.at_ms,
        ),
        _ => (
            job.state(),
            None,
            job.events.last().map_or(job.submitted_ms, |e| e.at_ms),
        ),
    };
    let run = job.run();
    JobReport {
        version: 1,
        job: job.id.to_string(),
        state: state.name().to_owned(),
        reason,
        source: job.request.source.clone(),
        source_bytes: run.map_or(0, |run| run.plan.source.size_bytes),
        outputs: match &job.command {
            Some(command) => command.results.iter().map(of_command).collect(),
            None => run.map(outputs).unwrap_or_default(),
        },
        wall_seconds: seconds(end_ms.saturating_sub(job.submitted_ms)),
        cpu_seconds: seconds(job.used.cpu_ms),
        bytes_read: job.used.source_bytes_read,
        bytes_written: job.used.bytes_written,
        retries: job.used.retries,
        chunks_reused: job.used.chunks_reused,
        ffmpeg: run.map_or_else(String::new, |run| run.plan.source.ffmpeg.clone()),
        warnings: warnings(job),
    }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// All that was said, each sentence once, in the order of the events.
fn warnings(job: &Job) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for event in job.events.iter() {
        let said: &[String] = match &event.kind {
            EventKind::Planned { warnings, .. } => warnings,
            EventKind::Warning { text } => std::slice::from_ref(text),
            _ => continue,
        };
        for text in said {
            if !all.contains(text) {
                all.push(text.clone());
            }
        }
    }
    all
}

/// One Output of a command job.
fn of_command(made: &CommandOutput) -> OutputReport {
    OutputReport {
        url: made.url.clone(),
        files: made.files,
        bytes: made.size_bytes,
        video_bytes: 0,
        frames: made.frames,
        duration_seconds: made.duration_us as f64 / 1e6,
        scores: Vec::new(),
        score_frames: None,
        segments: Vec::new(),
    }
}

/// Outputs that are in their place.
fn outputs(run: &Run) -> Vec<OutputReport> {
    run.outputs
        .iter()
        .filter_map(|output| {
            let made = output.result.as_ref()?;
            Some(OutputReport {
                url: made.url.clone(),
                files: 1,
                bytes: made.size_bytes,
                video_bytes: made.video_bytes,
                frames: made.frames,
                duration_seconds: made.duration_us as f64 / 1e6,
                scores: made.scores.clone(),
                score_frames: made.score_frames_url.clone(),
                segments: segments(run, &output.chunks),
            })
        })
        .collect()
}

fn segments(run: &Run, chunks: &PerSegment<Chunk>) -> Vec<SegmentReport> {
    let source = &run.plan.source;
    run.plan
        .segments
        .iter()
        .zip(chunks)
        .filter_map(|(segment, chunk)| {
            let chunk = chunk.as_ref()?;
            Some(SegmentReport {
                segment: segment.index,
                start_seconds: (segment.start_pts - source.first_pts) as f64
                    * source.time_base.as_f64(),
                frames: chunk.facts.frames,
                node: chunk.node.to_string(),
                attempt: chunk.attempt,
                seconds: seconds(chunk.usage.wall_ms),
                cpu_seconds: seconds(chunk.usage.cpu_ms),
                bytes: chunk.facts.payload_bytes,
                quality: f64::from(chunk.knob.quality_milli) / 1000.0,
                scores: chunk.facts.scores().to_vec(),
                reused: chunk.facts.reused,
            })
        })
        .collect()
}
