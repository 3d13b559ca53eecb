//! What a user asks for: one Source, one or more Outputs. The same value comes from the command line, from a job file
//! (TOML or JSON) and from the API.

use crate::container::Container;
use crate::rendition::{AudioCodec, Rendition};
use crate::score::Metric;
use crate::source::TrackKind;
use serde::{Deserialize, Serialize};

/// One request to turn a Source into Outputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRequest {
    /// URL of the Source: `file:///…`, `s3://…`, `http(s)://…`. Plain paths are made absolute `file://` URLs by the client.
    pub source: String,
    /// Start of the wanted part, in microseconds from the Source's start; `None`: from the beginning.
    pub start_us: Option<i64>,
    /// Length of the wanted part in microseconds; `None`: to the end.
    pub duration_us: Option<i64>,
    /// What to make. Non-empty; URLs differ.
    pub outputs: Vec<OutputRequest>,
    /// Wished Segment length in milliseconds; `None`: chosen from the Source.
    pub segment_ms: Option<u64>,
    /// Metrics to compute against the Source for every frame.
    pub score: Vec<Metric>,
    /// Decode and compare every output frame before a Chunk is accepted.
    pub verify_full: bool,
    /// Refuse, rather than warn, when something of the Source would be lost.
    pub strict: bool,
    /// Replace Outputs that exist.
    pub overwrite: bool,
    /// Free labels for people.
    pub labels: std::collections::BTreeMap<String, String>,
    /// 0 to 100; higher first.
    pub priority: u8,
}

/// One wanted Output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputRequest {
    /// URL of the file to make.
    pub url: String,
    /// Its container.
    pub container: Container,
    /// The video encoding.
    pub rendition: Rendition,
    /// Audio codec; `None`: copied where the container holds it, else the container's usual codec.
    pub audio_codec: Option<AudioCodec>,
    /// Audio bits per second where audio is encoded; `None`: the encoder's usual.
    pub audio_bitrate_bps: Option<u64>,
    /// Which tracks travel.
    pub tracks: TrackSelection,
}

/// Which tracks of the Source travel into an Output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackSelection {
    /// Every track the container can hold.
    #[default]
    All,
    /// Tracks that match any of these. The main video always travels.
    Only(Vec<TrackChoice>),
}

/// One pattern of [`TrackSelection::Only`]. All given fields must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackChoice {
    /// Kind of track.
    pub kind: Option<TrackKind>,
    /// Number among the tracks of that kind, from 0; among all tracks when no kind is given.
    pub number: Option<u32>,
    /// Language tag as the Source spells it.
    pub language: Option<String>,
}
