//! The job report: one JSON document per Job, for people and programs.

use crate::score::ScoreSummary;
use serde::{Deserialize, Serialize};

/// What a Job did. Field names are stable; new ones may appear.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobReport {
    /// Version of this document; 1.
    pub version: u32,
    /// The Job.
    pub job: String,
    /// `done`, `failed` or `cancelled`.
    pub state: String,
    /// Why it failed.
    pub reason: Option<String>,
    /// URL of the Source.
    pub source: String,
    /// Source size in bytes.
    pub source_bytes: u64,
    /// One entry per Output.
    pub outputs: Vec<OutputReport>,
    /// Wall time from submission to the end, in seconds.
    pub wall_seconds: f64,
    /// CPU seconds of all child processes.
    pub cpu_seconds: f64,
    /// Bytes read from the Source.
    pub bytes_read: u64,
    /// Bytes written to the work store and the Outputs.
    pub bytes_written: u64,
    /// Attempts beyond the first of each Task.
    pub retries: u32,
    /// Chunks found finished and not encoded again.
    pub chunks_reused: u32,
    /// The FFmpeg build, its first version line.
    pub ffmpeg: String,
    /// What could not be kept, one sentence each.
    pub warnings: Vec<String>,
}

fn one() -> u32 {
    1
}

/// One Output in a [`JobReport`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputReport {
    /// Where it is.
    pub url: String,
    /// How many files: more than one of a command job's numbered output.
    #[serde(default = "one")]
    pub files: u32,
    /// Size of all its files.
    pub bytes: u64,
    /// Bytes of video packets.
    pub video_bytes: u64,
    /// Video frames.
    pub frames: u64,
    /// Seconds.
    pub duration_seconds: f64,
    /// Pooled scores.
    pub scores: Vec<ScoreSummary>,
    /// Where the per-frame scores are.
    pub score_frames: Option<String>,
    /// The Segments with their Chunks, in order.
    pub segments: Vec<SegmentReport>,
}

/// One Segment in an [`OutputReport`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentReport {
    /// Position from 0.
    pub segment: u32,
    /// Start in seconds from the Output's first frame.
    pub start_seconds: f64,
    /// Frames.
    pub frames: u32,
    /// Which node made the Chunk.
    pub node: String,
    /// Which Attempt.
    pub attempt: u32,
    /// Wall seconds of that Attempt.
    pub seconds: f64,
    /// CPU seconds of that Attempt.
    pub cpu_seconds: f64,
    /// Bytes of video packets.
    pub bytes: u64,
    /// CRF or quantiser used.
    pub quality: f64,
    /// Pooled scores of the Chunk.
    pub scores: Vec<ScoreSummary>,
    /// Found finished and not encoded again.
    pub reused: bool,
}
