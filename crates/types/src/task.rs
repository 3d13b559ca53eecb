//! What a node is given to do and what it reports back.

use crate::artifact::ArtifactRef;
use crate::command::{CommandOutput, CommandRequest};
use crate::id::{AttemptNo, TaskId};
use crate::rendition::{Knob, Rendition};
use crate::request::OutputRequest;
use crate::score::{Metric, ScoreSummary};
use crate::segment::Segment;
use crate::source::ReadMode;
use serde::{Deserialize, Serialize};

/// A granted Attempt: everything a node needs, by value or by artifact. The node decides nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// The Task.
    pub task: TaskId,
    /// Fencing token together with `task`.
    pub attempt: AttemptNo,
    /// Root URL of the work store that artifact keys are relative to.
    pub work_store: String,
    /// The work.
    pub work: Work,
    /// Memory that it is likely to need, in bytes, as its Leader counts it; `None`: that is for the node to count.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
}

/// The work of a Task, one variant per kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(
    clippy::large_enum_variant,
    reason = "a node holds a few at a time, and most of them are the large ones"
)]
pub enum Work {
    /// Learn what the Source is.
    Probe {
        /// URL of the Source.
        source: String,
        /// Decode every frame.
        deep: bool,
        /// Only this part is wanted; see [`crate::JobRequest`].
        start_us: Option<i64>,
        /// See `start_us`.
        duration_us: Option<i64>,
    },
    /// Encode one Segment in every Rendition of a group, from one decode.
    Encode(EncodeWork),
    /// Encode one Segment cheaply at trial knobs.
    Trial(EncodeWork),
    /// Encode the audio tracks of an Output that cannot be copied.
    Audio {
        /// `SourceFacts` artifact.
        facts: ArtifactRef,
        /// The Output.
        output: OutputRequest,
        /// FFmpeg's indices of the tracks to encode, in Output order.
        tracks: Vec<u32>,
        /// See [`crate::JobRequest`].
        start_us: Option<i64>,
        /// See `start_us`.
        duration_us: Option<i64>,
    },
    /// Encode one further video track from beginning to end.
    Whole {
        /// `SourceFacts` artifact.
        facts: ArtifactRef,
        /// The Output.
        output: OutputRequest,
        /// FFmpeg's index of the track.
        track: u32,
        /// See [`crate::JobRequest`].
        start_us: Option<i64>,
        /// See `start_us`.
        duration_us: Option<i64>,
    },
    /// Join Chunks, audio and everything else into the Output, check it and put it where it belongs.
    Stitch(StitchWork),
    /// The Source's packets in another container, unsplit.
    Command {
        /// URL of the Source.
        source: String,
        /// The Output.
        output: OutputRequest,
        /// Replace what exists.
        overwrite: bool,
        /// See [`crate::JobRequest`].
        start_us: Option<i64>,
        /// See `start_us`.
        duration_us: Option<i64>,
    },
    /// A command job.
    CommandLine(CommandWork),
}

/// A command job, as its Node gets it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CommandWork {
    /// What is asked. The Node reads it with the grammar of command jobs, as whoever took it in has done.
    pub request: CommandRequest,
    /// It fills a slot with an encoder.
    pub heavy: bool,
}

impl Work {
    /// Heavy work fills a slot with an encoder; light work runs beside it.
    pub fn is_heavy(&self) -> bool {
        match self {
            Work::CommandLine(work) => work.heavy,
            work => matches!(
                work,
                Work::Encode(_)
                    | Work::Trial(_)
                    | Work::Whole { .. }
                    | Work::Probe { deep: true, .. }
            ),
        }
    }
}

/// One Segment to encode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncodeWork {
    /// `SourceFacts` artifact.
    pub facts: ArtifactRef,
    /// The span to encode. Rows refer to the facts' frame table.
    pub segment: Segment,
    /// How to read it.
    pub read_mode: ReadMode,
    /// The Renditions to make, each with its settled knob and the content address of its Chunk. Ones that are already
    /// committed are left out.
    pub renditions: Vec<EncodeRendition>,
    /// See [`crate::JobRequest`]: the Output's zero, where a frame rate's grid begins.
    pub start_us: Option<i64>,
    /// Metrics to compute in the same pass.
    pub score: Vec<Metric>,
    /// Decode and compare every output frame.
    pub verify_full: bool,
    /// What an Attempt has finished outlives it; see [`crate::JobRequest`].
    #[serde(default)]
    pub split_tail: bool,
    /// Parameter sets every Chunk of a Rendition must agree on, once the first is committed; one per `renditions`.
    pub params: Vec<Option<crate::artifact::Digest>>,
}

/// One Rendition inside an [`EncodeWork`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EncodeRendition {
    /// Index of the Output this belongs to.
    pub output: u16,
    /// The encoding.
    pub rendition: Rendition,
    /// Quality and peak for this Chunk.
    pub knob: Knob,
    /// Digest of what was asked (source identity, interval, filters, encoder arguments); the node adds the build.
    pub address: crate::artifact::Digest,
}

/// Everything needed to make one Output from its parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StitchWork {
    /// `SourceFacts` artifact.
    pub facts: ArtifactRef,
    /// Index of the Output.
    pub output_index: u16,
    /// The Output.
    pub output: OutputRequest,
    /// Segments of the Plan, in order.
    pub segments: ArtifactRef,
    /// The Chunks of this Output, in Segment order: a JSON list of [`ListedChunk`] as an artifact, since it can be long.
    pub chunks: ArtifactRef,
    /// Encoded audio, where there is any.
    pub audio: Option<ArtifactRef>,
    /// FFmpeg's indices of the Source's audio tracks that `audio` holds, in its order. Other wanted tracks are copied.
    pub audio_tracks: Vec<u32>,
    /// Further video tracks, as (FFmpeg's index, encoded artifact).
    pub whole: Vec<(u32, ArtifactRef)>,
    /// Replace what exists.
    pub overwrite: bool,
    /// See [`crate::JobRequest`].
    pub start_us: Option<i64>,
    /// See `start_us`.
    pub duration_us: Option<i64>,
    /// Metrics that were computed with the Chunks and are to be merged.
    pub score: Vec<Metric>,
}

/// One committed Chunk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChunkFacts {
    /// Index of the Output it belongs to.
    pub output: u16,
    /// Its Segment.
    pub segment: u32,
    /// Content address it answers.
    pub address: crate::artifact::Digest,
    /// Stored bytes (an MP4 or MOV file with one video track).
    pub artifact: ArtifactRef,
    /// Frames in it.
    pub frames: u32,
    /// Bytes of its video packets.
    pub payload_bytes: u64,
    /// Digest of its parameter sets (sample entry).
    pub params: crate::artifact::Digest,
    /// Signature of the last frame before this Segment, where the decode saw it.
    pub signature_before: Option<u32>,
    /// Signature of the first frame of this Segment.
    pub signature_first: u32,
    /// Signature of the last frame of this Segment.
    pub signature_last: u32,
    /// Signature of the first frame after this Segment, where the decode saw it.
    pub signature_after: Option<u32>,
    /// Per-frame scores as an artifact (JSON), where asked for.
    pub score_frames: Option<ArtifactRef>,
    /// Pooled scores of the Chunk.
    pub scores: Vec<ScoreSummary>,
    /// It was found finished (cache), not encoded by this Attempt.
    pub reused: bool,
}

/// A Chunk in the list that a stitch is given. Who knows only [`ChunkFacts`] reads them of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListedChunk {
    /// The Chunk.
    #[serde(flatten)]
    pub facts: ChunkFacts,
    /// Where the Node that made it serves the Node that stitches, `HOST:PORT`; empty: nowhere.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub maker: String,
}

/// What an Attempt used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Wall time in milliseconds, without waiting for a slot.
    pub wall_ms: u64,
    /// User and system time of child processes in milliseconds.
    pub cpu_ms: u64,
    /// Bytes read from the Source.
    pub source_bytes_read: u64,
    /// Bytes written to the work store or the Output.
    pub bytes_written: u64,
    /// Peak resident set of the largest child in bytes.
    pub peak_rss_bytes: u64,
}

/// How an Attempt ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// Finished; what came out depends on the kind of Task.
    Done {
        /// The result.
        result: TaskResult,
        /// What it used.
        usage: Usage,
    },
    /// Did not finish.
    Failed {
        /// Why.
        failure: Failure,
        /// What it used.
        usage: Usage,
    },
}

/// The result of a finished Attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskResult {
    /// `SourceFacts` as an artifact.
    Probed {
        /// The facts.
        facts: ArtifactRef,
    },
    /// One entry per Rendition of the work.
    Encoded {
        /// The Chunks.
        chunks: Vec<ChunkFacts>,
    },
    /// Size as a function of the knob: one list per Rendition of the work, of (quality_milli, payload bytes).
    Tried {
        /// The points, sorted by knob.
        points: Vec<Vec<(u32, u64)>>,
    },
    /// Encoded audio or a whole video track.
    Track {
        /// The file.
        artifact: ArtifactRef,
        /// Bytes of its packets.
        payload_bytes: u64,
    },
    /// The Output is in its place.
    Stitched {
        /// What was made.
        output: OutputFacts,
    },
    /// Nothing was written: Chunks must be made again first (a peak limit is broken across a joint).
    Revise {
        /// (segment, buffer fullness at its first frame in thousandths, bits missing at the worst moment)
        violations: Vec<(u32, u32, u64)>,
    },
    /// As [`Self::Encoded`], of damaged pictures: this decode showed some of them otherwise than the decode that made the
    /// frame table.
    EncodedUnsteady {
        /// The Chunks.
        chunks: Vec<ChunkFacts>,
    },
    /// All files of a command job are in their places, one entry for each Output. New results go to the end: the log knows
    /// them by their place.
    Commanded {
        /// What was made.
        outputs: Vec<CommandOutput>,
    },
}

impl TaskResult {
    /// Some of it was found finished, so that less work was done than was asked for.
    pub fn is_reused(&self) -> bool {
        match self {
            Self::Encoded { chunks } | Self::EncodedUnsteady { chunks } => {
                chunks.iter().any(|chunk| chunk.reused)
            }
            _ => false,
        }
    }
}

/// A finished Output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutputFacts {
    /// Index of the Output.
    pub output: u16,
    /// Where it is.
    pub url: String,
    /// File size.
    pub size_bytes: u64,
    /// Video frames.
    pub frames: u64,
    /// Duration in microseconds.
    pub duration_us: i64,
    /// Bytes of video packets.
    pub video_bytes: u64,
    /// Scores of the whole Output.
    pub scores: Vec<ScoreSummary>,
    /// Where the per-frame scores are: a URL beside the Output.
    pub score_frames_url: Option<String>,
    /// What could not be kept, one sentence each.
    pub warnings: Vec<String>,
}

/// Why an Attempt failed. The class decides what happens next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Decides retry elsewhere, retry here, or fail the Job.
    pub class: FailureClass,
    /// One sentence naming the thing and the remedy.
    pub message: String,
    /// The last lines of FFmpeg's stderr, where FFmpeg failed.
    pub stderr_tail: Option<String>,
}

/// Class of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The Source or the request cannot be served by any node: fail the Job.
    BadInput,
    /// This node lacks something: retry elsewhere.
    MissingCapability,
    /// Disk, memory: retry later or elsewhere.
    OutOfResources,
    /// A signal ended it: retry.
    Killed,
    /// The Source's frames are not where its index says: re-plan with a deep probe.
    IndexLied,
    /// The Source changed while it was read: fail the Job.
    SourceChanged,
    /// The store did not answer or answered wrongly: retry with backoff.
    Store,
    /// The Output exists and may not be replaced: fail the Job.
    OutputExists,
    /// Anything else: retry, then fail.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::Digest;

    fn chunk() -> ChunkFacts {
        ChunkFacts {
            output: 1,
            segment: 2,
            address: Digest([3; 32]),
            artifact: ArtifactRef {
                key: "jobs/job_1/chunks/x/1.1.mp4".into(),
                size_bytes: 1 << 40,
                digest: Digest([4; 32]),
            },
            frames: 5,
            payload_bytes: 6,
            params: Digest([7; 32]),
            signature_before: None,
            signature_first: 8,
            signature_last: 9,
            signature_after: Some(10),
            score_frames: None,
            scores: Vec::new(),
            reused: true,
        }
    }

    #[test]
    fn lists_with_and_without_makers_are_read_by_nodes_that_know_them_and_by_those_that_do_not() {
        let plain = serde_json::to_string(&chunk()).unwrap();
        let listed = |maker: &str| ListedChunk {
            facts: chunk(),
            maker: maker.into(),
        };
        assert_eq!(serde_json::to_string(&listed("")).unwrap(), plain);
        let read: ListedChunk = serde_json::from_str(&plain).unwrap();
        assert_eq!(read, listed(""));
        let with = serde_json::to_string(&listed("10.0.0.3:7430")).unwrap();
        let read: ListedChunk = serde_json::from_str(&with).unwrap();
        assert_eq!(read, listed("10.0.0.3:7430"));
        let read: ChunkFacts = serde_json::from_str(&with).unwrap();
        assert_eq!(read, chunk());
    }
}
