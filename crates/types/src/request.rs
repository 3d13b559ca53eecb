//! What a user asks for: one Source, one or more Outputs. The same value comes from the command line, from a job file
//! (TOML or JSON) and from the API.

use crate::container::Container;
use crate::making::Making;
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
    /// How long Segments are to be. Named as before there was more than a number to say.
    #[serde(rename = "segment_ms", default)]
    pub segment: SegmentLength,
    /// Metrics to compute against the Source for every frame.
    pub score: Vec<Metric>,
    /// How Chunks are made. Named as before there was more than yes and no to say.
    #[serde(rename = "verify_full", default)]
    pub making: Making,
    /// Refuse, rather than warn, when something of the Source would be lost.
    pub strict: bool,
    /// Replace Outputs that exist.
    pub overwrite: bool,
    /// Free labels for people.
    pub labels: std::collections::BTreeMap<String, String>,
    /// 0 to 100; higher first.
    pub priority: u8,
}

/// How long the Segments of a Job are to be.
///
/// Stored as an optional number of milliseconds, as it was before there was a third choice: all logs, snapshots and archives that
/// do not have it read and are written as ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SegmentLength {
    /// As the Source suggests: about ten seconds, and smaller ones at the end.
    #[default]
    Usual,
    /// About so many milliseconds.
    Millis(u64),
    /// From eight seconds down to a half, all over the film: hundreds of Nodes finish together.
    Spread,
}

impl SegmentLength {
    /// The length that was asked for; `None`: the cut chooses.
    pub fn millis(self) -> Option<u64> {
        match self {
            Self::Millis(ms) => Some(ms),
            Self::Usual | Self::Spread => None,
        }
    }
}

/// Where nobody reads along. Positions are the encoding: the first two are those of an option.
#[derive(Serialize, Deserialize)]
enum Stored {
    Usual,
    Millis(u64),
    Spread,
}

/// In JSON: nothing, a number or a word.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Length(Option<u64>),
    Word(Word),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Spread,
}

impl Serialize for SegmentLength {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            let written = match self {
                Self::Spread => Written::Word(Word::Spread),
                _ => Written::Length(self.millis()),
            };
            return written.serialize(serializer);
        }
        let stored = match self {
            Self::Usual => Stored::Usual,
            Self::Millis(ms) => Stored::Millis(*ms),
            Self::Spread => Stored::Spread,
        };
        stored.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SegmentLength {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return Ok(match Written::deserialize(deserializer)? {
                Written::Length(None) => Self::Usual,
                Written::Length(Some(ms)) => Self::Millis(ms),
                Written::Word(Word::Spread) => Self::Spread,
            });
        }
        Ok(match Stored::deserialize(deserializer)? {
            Stored::Usual => Self::Usual,
            Stored::Millis(ms) => Self::Millis(ms),
            Stored::Spread => Self::Spread,
        })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_length_is_written_as_the_number_it_was_or_as_a_word() {
        for (length, text) in [
            (SegmentLength::Usual, "null"),
            (SegmentLength::Millis(2_000), "2000"),
            (SegmentLength::Spread, "\"spread\""),
        ] {
            assert_eq!(serde_json::to_string(&length).unwrap(), text);
            assert_eq!(serde_json::from_str::<SegmentLength>(text).unwrap(), length);
        }
        assert!(serde_json::from_str::<SegmentLength>("\"long\"").is_err());
    }
}
