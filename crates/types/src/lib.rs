//! The vocabulary of recode as plain data: no IO, no async, no FFmpeg, no protobuf.
//!
//! One noun per file. Everything here is serialisable, ordered and comparable, so that it can stand in the replicated
//! log, in an artifact and in a test without translation. See STYLE.md's table of nouns in `ARCHITECTURE.md`.

pub mod amount;
pub mod artifact;
pub mod cluster;
pub mod command;
pub mod container;
pub mod engine;
pub mod event;
pub mod explain;
pub mod footprint;
pub mod id;
pub mod making;
pub mod node;
pub mod offer;
pub mod pixels;
pub mod rendition;
pub mod report;
pub mod request;
pub mod score;
pub mod segment;
pub mod source;
pub mod table;
pub mod task;
pub mod time;
pub mod travel;

pub use artifact::{ArtifactRef, Digest};
pub use command::{CommandFile, CommandOutput, CommandRequest, Needs};
pub use container::Container;
pub use engine::Engine;
pub use event::{
    AttemptLog, AttemptProgress, Event, EventKind, JobFilter, JobState, JobStatus, Progress,
};
pub use explain::{Explanation, Wait, Waiting};
pub use footprint::Picture;
pub use id::{AttemptNo, JobId, NodeId, TaskId, TaskKey};
pub use making::Making;
pub use node::{
    AttemptToken, FinishedAttempt, NodeHeard, NodeHello, NodeOrders, NodeReport, NodeStatus,
    PeerTraffic, Suspended,
};
pub use offer::{Machine, NodeLoad, Offer, Proof, Rate};
pub use pixels::{Chroma, Pixels};
pub use rendition::{Codec, Knob, RateControl, Rendition};
pub use request::{JobRequest, OutputRequest, SegmentLength};
pub use score::{Metric, ScoreSummary};
pub use segment::Segment;
pub use source::{Color, SourceFacts, SourceIdentity, Track, TrackKind, Trim, VideoFacts};
pub use table::{FrameRow, FrameTable};
pub use time::{Rational, TimeBase};
