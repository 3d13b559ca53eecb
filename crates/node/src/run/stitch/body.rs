//! All bytes of one Chunk that is elsewhere, compared with its digest before the first of them is used.
//!
//! The digest is taken over what was read before, from which the index came, and what is read now: it is right only when both
//! are, so nothing is read twice and no index of other bytes is used.

use super::chunks::of_chunk;
use super::look::Held;
use super::reader::{Ask, Reader, Wanted};
use crate::run::from_store;
use bytes::Bytes;
use futures::stream::TryStreamExt as _;
use recode_store::{Error, MOST_READS};
use recode_types::Digest;
use recode_types::task::{Failure, FailureClass};
use sha2::Digest as _;
use std::fs::File;
use std::io::Write as _;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// A larger Chunk goes through a file in scratch.
pub(super) const MOST_IN_MEMORY: u64 = 16 << 20;

/// Bytes that follow each other, from the first one on.
#[derive(Debug, Default)]
pub(super) struct Pieces(Vec<Bytes>);

impl Pieces {
    /// What of `range` is in each of them.
    pub(super) fn slices(&self, range: Range<u64>) -> impl Iterator<Item = Bytes> + '_ {
        let mut start = 0;
        self.0.iter().filter_map(move |piece| {
            let at = start;
            start += piece.len() as u64;
            let from = range.start.max(at);
            let until = range.end.min(start);
            (from < until).then(|| piece.slice((from - at) as usize..(until - at) as usize))
        })
    }
}

/// All of a Chunk.
#[derive(Debug)]
pub(super) enum Body {
    /// In memory.
    Memory(Pieces),
    /// Too large for that.
    File(Spill),
}

/// A file in scratch; it is gone when this is dropped.
#[derive(Debug)]
pub(super) struct Spill {
    path: PathBuf,
    pub(super) file: File,
}

impl Spill {
    fn create(path: PathBuf) -> Result<Self, Error> {
        let created = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path);
        match created {
            Ok(file) => Ok(Self { path, file }),
            Err(error) => Err(io(&path, &error)),
        }
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        // What is left goes with the room.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Body {
    fn empty(wanted: &Wanted, room: &Path) -> Result<Self, Error> {
        if wanted.size() <= MOST_IN_MEMORY {
            return Ok(Self::Memory(Pieces::default()));
        }
        let path = room.join(format!("chunk-{}", wanted.facts.segment));
        Ok(Self::File(Spill::create(path)?))
    }

    fn push(&mut self, bytes: Bytes) -> Result<(), Error> {
        match self {
            Self::Memory(pieces) => pieces.0.push(bytes),
            Self::File(spill) => {
                let written = spill.file.write_all(&bytes);
                written.map_err(|e| io(&spill.path, &e))?;
            }
        }
        Ok(())
    }

    /// Whether these bytes are at `start`.
    fn holds(&self, bytes: &[u8], start: u64) -> Result<bool, Error> {
        let range = start..start + bytes.len() as u64;
        Ok(match self {
            Self::Memory(pieces) => {
                let mut left = bytes;
                let mut same = true;
                for piece in pieces.slices(range) {
                    let (mine, rest) = left.split_at(piece.len());
                    same &= piece == mine;
                    left = rest;
                }
                same && left.is_empty()
            }
            Self::File(spill) => {
                let mut found = vec![0; bytes.len()];
                let read = spill.file.read_exact_at(&mut found, start);
                read.map_err(|e| io(&spill.path, &e))?;
                found == bytes
            }
        })
    }
}

fn io(path: &Path, error: &std::io::Error) -> Error {
    let what = format!("\"{}\"", path.display());
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            Error::NoSpace { what }
        }
        _ => Error::Other {
            what,
            detail: error.to_string(),
        },
    }
}

impl Reader {
    /// All bytes of a Chunk of which `held` was read before. What comes damaged is read again, all of it and from the store.
    /// # Errors
    /// It cannot be read, is damaged every time, or `held` was damaged on its way, so that whatever was made of it is worth nothing.
    pub(super) async fn body(&self, wanted: &Wanted, held: &Held) -> Result<Body, Failure> {
        let failed = |error| of_chunk(&wanted.facts, from_store(error));
        if let Held::Whole(bytes) = held {
            return Ok(Body::Memory(Pieces(vec![bytes.clone()])));
        }
        let mut made = false;
        let mut read = 1;
        loop {
            let known = (read == 1).then_some(held);
            let gathered = self.gather(wanted, known, self.ask(read)).await;
            let compared = gathered.and_then(|gathered| {
                made |= gathered.made;
                let found = Digest(gathered.hasher.finalize().into());
                self.store.compare(&wanted.facts.artifact, found)?;
                Ok(gathered.body)
            });
            match compared {
                Ok(body) if read == 1 => return Ok(body),
                Ok(body) => {
                    let start = held.range(wanted.size()).start;
                    if !body.holds(held.bytes(), start).map_err(failed)? {
                        return Err(index_was_damaged(wanted));
                    }
                    self.blame(wanted, made);
                    return Ok(body);
                }
                Err(Error::Damaged { .. }) if read < MOST_READS => read += 1,
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Reads a Chunk from its first byte to its last, but for what is known of it.
    async fn gather(
        &self,
        wanted: &Wanted,
        known: Option<&Held>,
        ask: Ask,
    ) -> Result<Gathered, Error> {
        let size = wanted.size();
        let range = known.map_or(size..size, |held| held.range(size));
        let mut gathered = Gathered::new(wanted, &self.room)?;
        self.pour(wanted, 0..range.start, ask, &mut gathered)
            .await?;
        if let Some(held) = known {
            gathered.push(held.bytes().clone())?;
        }
        self.pour(wanted, range.end..size, ask, &mut gathered)
            .await?;
        Ok(gathered)
    }

    async fn pour(
        &self,
        wanted: &Wanted,
        range: Range<u64>,
        ask: Ask,
        to: &mut Gathered,
    ) -> Result<(), Error> {
        let mut parts = std::pin::pin!(self.parts(wanted, range, ask));
        while let Some((part, made)) = parts.try_next().await? {
            to.push(part)?;
            to.made |= made;
        }
        Ok(())
    }
}

/// A Chunk as far as it has been read.
struct Gathered {
    body: Body,
    hasher: sha2::Sha256,
    /// Its maker gave some of it.
    made: bool,
}

impl Gathered {
    fn new(wanted: &Wanted, room: &Path) -> Result<Self, Error> {
        Ok(Self {
            body: Body::empty(wanted, room)?,
            hasher: sha2::Sha256::new(),
            made: false,
        })
    }

    fn push(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.hasher.update(&bytes);
        self.body.push(bytes)
    }
}

fn index_was_damaged(wanted: &Wanted) -> Failure {
    let message = "what was read of its index came damaged; it is read again".to_owned();
    let failure = Failure {
        class: FailureClass::Store,
        message,
        stderr_tail: None,
    };
    of_chunk(&wanted.facts, failure)
}
