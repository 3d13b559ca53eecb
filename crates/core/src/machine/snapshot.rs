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
mod v4;

use super::level::{self, COMMANDS, LEVEL, REQUESTS};
use super::{Batch, Entry, State};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;

/// Newest version of log entries that this build reads.
pub const BATCH_VERSION: u8 = FIRST_BATCH + LEVEL as u8;
/// Newest version of snapshots that this build reads.
pub const STATE_VERSION: u8 = 2 + LEVEL as u8;
/// Version of entries whose commands all builds know.
const FIRST_BATCH: u8 = 1;
/// Beside the version: the entry is [`packed`].
const PACKED: u8 = 0x80;
const BATCH: &[u8; 3] = b"RCB";
const STATE: &[u8; 3] = b"RCS";
const HEAD: usize = 8;
/// Bytes that are given to a sink at once.
const PIECE: usize = 64 << 10;

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

/// Version of the snapshots of a cluster at this level, from the second on.
fn of_level(level: u32) -> u8 {
    2 + level.min(LEVEL) as u8
}

/// Bytes in front of what is sealed.
pub type Head = [u8; HEAD];

fn seal<T: Serialize>(magic: &[u8; 3], version: u8, value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.extend_from_slice(&[0; HEAD]);
    let mut out = postcard::to_extend(value, out).expect("plain data always serialises");
    let head = head(
        magic,
        version,
        crc32fast::hash(&out[HEAD..]),
        out.len() - HEAD,
    );
    out[..HEAD].copy_from_slice(&head);
    out
}

/// What stands in front of `length` bytes of content with the checksum `crc`.
fn head(magic: &[u8; 3], version: u8, crc: u32, length: usize) -> Head {
    let mut head = [0; HEAD];
    head[..3].copy_from_slice(magic);
    head[3] = version;
    let mut whole = crc32fast::Hasher::new();
    whole.update(&head[..4]);
    whole.combine(&crc32fast::Hasher::new_with_initial_len(crc, length as u64));
    head[4..].copy_from_slice(&whole.finalize().to_le_bytes());
    head
}

fn crc(sealed: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&sealed[..4]);
    hasher.update(&sealed[HEAD..]);
    hasher.finalize()
}

/// Counts and sums up what goes through it, and keeps the error that a serialiser would hide.
struct Summed<'a> {
    sink: &'a mut dyn io::Write,
    crc: crc32fast::Hasher,
    length: usize,
    failed: Option<io::Error>,
}

impl io::Write for Summed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.sink.write_all(bytes) {
            Ok(()) => {
                self.crc.update(bytes);
                self.length += bytes.len();
                Ok(bytes.len())
            }
            Err(error) => {
                let kind = error.kind();
                self.failed = Some(error);
                Err(kind.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// Writes the content that [`seal`] would have, a piece at a time, and answers the head that belongs in front of it.
fn write<T: Serialize>(
    magic: &[u8; 3],
    version: u8,
    value: &T,
    sink: &mut dyn io::Write,
) -> io::Result<Head> {
    let mut summed = Summed {
        sink,
        crc: crc32fast::Hasher::new(),
        length: 0,
        failed: None,
    };
    let mut buffered = io::BufWriter::with_capacity(PIECE, &mut summed);
    let written = postcard::to_io(value, &mut buffered).map(|_| ());
    let flushed = io::Write::flush(&mut buffered);
    drop(buffered);
    if let Some(error) = summed.failed {
        return Err(error);
    }
    written.expect("plain data always serialises");
    flushed?;
    let crc = summed.crc.finalize();
    Ok(head(magic, version, crc, summed.length))
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
            1 => seal(STATE, 3, self),
            level => seal(STATE, of_level(level), &v4::fields(self)),
        }
    }

    /// Writes the bytes of a snapshot but for their head, which is answered: a large state is never in memory twice.
    /// # Errors
    /// What the sink said.
    pub fn write(&self, sink: &mut dyn io::Write) -> io::Result<Head> {
        match self.level {
            0 => write(STATE, 2, &v2::fields(self), sink),
            1 => write(STATE, 3, self, sink),
            level => write(STATE, of_level(level), &v4::fields(self), sink),
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
            (4, content) if LEVEL >= COMMANDS => {
                read::<v4::State>(content).and_then(Self::try_from)
            }
            (5, content) if LEVEL >= REQUESTS => {
                read::<v4::State>(content).and_then(Self::try_from)
            }
            (found, _) => Err(FormatError::Version {
                found,
                known: STATE_VERSION,
            }),
        };
        let mut state = read?;
        let has_commands = state.jobs.values().any(|job| job.command.is_some());
        if !state.jobs.values().all(|job| job.is_whole())
            || (has_commands && state.level < COMMANDS)
        {
            let what = "a command and what its job says of it contradict each other";
            return Err(FormatError::Content(what.to_owned()));
        }
        let asked = |job: &super::Job| level::of_request(&job.request);
        if state.jobs.values().map(asked).max() > Some(state.level) {
            let what = "a job asks for what its cluster does not know yet";
            return Err(FormatError::Content(what.to_owned()));
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;

    fn large() -> State {
        let mut state = State::default();
        for number in 0..20_000 {
            let command = Command::RegisterNode {
                name: format!("node {number}"),
                incarnation: number.to_string(),
            };
            state.apply(&Entry { at_ms: 1, command });
        }
        state
    }

    #[test]
    fn what_is_written_in_pieces_is_what_is_encoded_at_once() {
        for (state, pieces) in [(State::default(), 1), (large(), 2)] {
            let (mut content, encoded) = (Vec::new(), state.encode());
            let head = state.write(&mut content).expect("memory takes it");
            assert!(content.len() > (pieces - 1) * PIECE);
            assert_eq!([&head[..], &content].concat(), encoded);
        }
    }

    #[test]
    fn what_the_sink_says_is_told() {
        struct Full;
        impl io::Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::new(io::ErrorKind::StorageFull, "no room"))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for state in [State::default(), large()] {
            let error = state.write(&mut Full).expect_err("it takes nothing");
            assert_eq!(error.to_string(), "no room");
        }
    }
}
