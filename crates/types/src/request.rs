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

/// How the Chunks of a Job are made, and what each has to show before it is accepted.
///
/// Stored as whether every frame is compared, as it was before there was a third choice: all logs, snapshots and archives that do
/// not have it read and are written as ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Making {
    /// In one go. A sample of each is decoded.
    #[default]
    Usual,
    /// In one go. Every frame is decoded and compared.
    Verified,
    /// What an Attempt has finished of a Chunk outlives it, and the next one encodes the rest. Bytes then depend on when Attempts
    /// ended. A sample is decoded, and all of what was taken over.
    SplitTail,
}

impl Making {
    /// What two switches ask for together: of a Chunk that several have made not every frame can be compared, so that one which
    /// has to be is made in one go.
    pub fn of(verify_full: bool, split_tail: bool) -> Self {
        match (verify_full, split_tail) {
            (true, _) => Self::Verified,
            (false, true) => Self::SplitTail,
            (false, false) => Self::Usual,
        }
    }

    /// Every frame is decoded and compared.
    pub fn verify_full(self) -> bool {
        self == Self::Verified
    }

    /// What an Attempt has finished outlives it.
    pub fn split_tail(self) -> bool {
        self == Self::SplitTail
    }
}

/// [`Making`] where nobody reads along. Positions are the encoding: the first two are those of no and yes.
#[derive(Serialize, Deserialize)]
enum StoredMaking {
    Usual,
    Verified,
    SplitTail,
}

/// [`Making`] in JSON: no, yes, or a word.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum WrittenMaking {
    VerifyFull(bool),
    Word(MakingWord),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum MakingWord {
    SplitTail,
}

impl Serialize for Making {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            let written = match self {
                Self::SplitTail => WrittenMaking::Word(MakingWord::SplitTail),
                _ => WrittenMaking::VerifyFull(self.verify_full()),
            };
            return written.serialize(serializer);
        }
        let stored = match self {
            Self::Usual => StoredMaking::Usual,
            Self::Verified => StoredMaking::Verified,
            Self::SplitTail => StoredMaking::SplitTail,
        };
        stored.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Making {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return Ok(match WrittenMaking::deserialize(deserializer)? {
                WrittenMaking::VerifyFull(full) => Self::of(full, false),
                WrittenMaking::Word(MakingWord::SplitTail) => Self::SplitTail,
            });
        }
        Ok(match StoredMaking::deserialize(deserializer)? {
            StoredMaking::Usual => Self::Usual,
            StoredMaking::Verified => Self::Verified,
            StoredMaking::SplitTail => Self::SplitTail,
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
mod making_tests {
    use super::*;

    #[test]
    fn how_chunks_are_made_is_written_as_the_switch_it_was_or_as_a_word() {
        for (making, text) in [
            (Making::Usual, "false"),
            (Making::Verified, "true"),
            (Making::SplitTail, "\"split_tail\""),
        ] {
            assert_eq!(serde_json::to_string(&making).unwrap(), text);
            assert_eq!(serde_json::from_str::<Making>(text).unwrap(), making);
        }
        assert!(serde_json::from_str::<Making>("\"else\"").is_err());
    }
}
