//! How Chunks are made.

use serde::{Deserialize, Serialize};

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

#[cfg(test)]
mod tests {
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
