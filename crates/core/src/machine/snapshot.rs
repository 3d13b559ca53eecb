//! Encodings of log entries and snapshots: a magic word, a format version, a CRC, then postcard.
//!
//! A later version keeps reading earlier ones; fixtures of all of them stay in the tree. postcard names nothing, so the
//! order of fields and variants is the format: new variants go to the end, new fields mean a new version.
//!
//! Entries and snapshots are counted apart, and both are written in the lowest version that holds them, so that what a cluster
//! of mixed builds writes can be read by all of it: an entry with commands of a later [`super::level`] has a later version, and
//! so has the snapshot of a cluster that has reached one. Beside its version an entry says whether it is [`packed`].

mod packed;
mod v1;
mod v2;

use super::level::LEVEL;
use super::{Batch, Entry, State};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Newest version of log entries that this build reads.
pub const BATCH_VERSION: u8 = FIRST_BATCH + LEVEL as u8;
/// Newest version of snapshots that this build reads.
pub const STATE_VERSION: u8 = if LEVEL == 0 { 2 } else { 3 };
/// Version of entries whose commands all builds know.
const FIRST_BATCH: u8 = 1;
/// Beside the version: the entry is [`packed`].
const PACKED: u8 = 0x80;
const BATCH: &[u8; 3] = b"RCB";
const STATE: &[u8; 3] = b"RCS";
const HEAD: usize = 8;

/// Bytes that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Not an entry, or not a snapshot.
    #[error("these bytes are not a recode {0}")]
    Kind(&'static str),
    /// Written by a later version of recode.
    #[error("written in format {found}, this build reads up to {known}: use the newer build")]
    Version {
        /// The version found.
        found: u8,
        /// The newest that this build reads.
        known: u8,
    },
    /// The checksum does not match.
    #[error("the checksum does not match: the bytes are damaged")]
    Damaged,
    /// The checksum matches but the content does not read.
    #[error("the content does not read: {0}")]
    Content(String),
}

fn seal<T: Serialize>(magic: &[u8; 3], version: u8, value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(magic);
    out.push(version);
    out.extend_from_slice(&[0; 4]);
    let mut out = postcard::to_extend(value, out).expect("plain data always serialises");
    let crc = crc(&out);
    out[4..HEAD].copy_from_slice(&crc.to_le_bytes());
    out
}

fn crc(sealed: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&sealed[..4]);
    hasher.update(&sealed[HEAD..]);
    hasher.finalize()
}

/// The version of `bytes` and what is sealed in them.
fn open<'a>(
    magic: &[u8; 3],
    kind: &'static str,
    bytes: &'a [u8],
) -> Result<(u8, &'a [u8]), FormatError> {
    if bytes.len() < HEAD || &bytes[..3] != magic {
        return Err(FormatError::Kind(kind));
    }
    let stored = u32::from_le_bytes(bytes[4..HEAD].try_into().expect("four bytes"));
    if stored != crc(bytes) {
        return Err(FormatError::Damaged);
    }
    Ok((bytes[3], &bytes[HEAD..]))
}

fn read<T: DeserializeOwned>(content: &[u8]) -> Result<T, FormatError> {
    let (value, rest) = postcard::take_from_bytes(content)
        .map_err(|error| FormatError::Content(error.to_string()))?;
    if !rest.is_empty() {
        return Err(FormatError::Content(format!(
            "{} bytes too many",
            rest.len()
        )));
    }
    Ok(value)
}

impl Batch {
    /// The bytes of a log entry.
    pub fn encode(&self) -> Vec<u8> {
        let level = self.0.iter().map(|entry| entry.command.level()).max();
        let version = FIRST_BATCH + level.unwrap_or(0) as u8;
        match packed::pack(&self.0) {
            Some(packed) => seal(BATCH, version | PACKED, &packed),
            None => seal(BATCH, version, self),
        }
    }

    /// Reads what [`Batch::encode`] wrote.
    /// # Errors
    /// [`FormatError`]: the log is damaged or newer than this build; do not go on.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        match open(BATCH, "log entry", bytes)? {
            (version, content) if (FIRST_BATCH..=BATCH_VERSION).contains(&(version & !PACKED)) => {
                if version & PACKED == 0 {
                    return read(content);
                }
                let packed: Vec<packed::Stored> = read(content)?;
                Ok(Self(packed.into_iter().map(Entry::from).collect()))
            }
            (found, _) => Err(FormatError::Version {
                found,
                known: BATCH_VERSION,
            }),
        }
    }
}

#[cfg(feature = "planted")]
impl State {
    fn without_tries(mut self) -> Self {
        let jobs = self.jobs.values_mut();
        jobs.flat_map(|job| job.tasks.values_mut())
            .for_each(|task| task.tries = 0);
        self
    }
}

impl State {
    /// The bytes of a snapshot.
    pub fn encode(&self) -> Vec<u8> {
        match self.level {
            0 => seal(STATE, 2, &v2::fields(self)),
            _ => seal(STATE, 3, self),
        }
    }

    /// Reads what [`State::encode`] wrote.
    /// # Errors
    /// [`FormatError`]: the snapshot is damaged or newer than this build; do not go on.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let read = match open(STATE, "snapshot", bytes)? {
            (1, content) => read::<v1::State>(content).map(Self::from),
            (2, content) => read::<v2::State>(content).map(Self::from),
            (3, content) if LEVEL > 0 => read(content),
            (found, _) => Err(FormatError::Version {
                found,
                known: STATE_VERSION,
            }),
        };
        let mut state = read?;
        state
            .jobs
            .values_mut()
            .for_each(|job| job.complete_from_parts());
        #[cfg(feature = "planted")]
        if planted!(SnapshotLosesTries) {
            return Ok(state.without_tries());
        }
        Ok(state)
    }
}
