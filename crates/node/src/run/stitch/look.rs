//! The first look at a Chunk that is elsewhere: as many of its bytes as its index takes, in one request.
//!
//! Nobody can say of a part of a Chunk whether it is what its maker wrote. What is read is held against what the log says of the
//! Chunk, which shows most damage at once; [`super::body`] shows the rest, before a frame of the Chunk is used.

use super::chunks::of_chunk;
use super::reader::{Reader, Wanted};
use crate::run::chunk::params;
use crate::run::from_store;
use bytes::Bytes;
use futures::stream::TryStreamExt as _;
use recode_media::mp4::{ChunkError, ChunkIndex, Part};
use recode_store::{Error, MOST_READS};
use recode_types::task::{ChunkFacts, Failure};
use recode_types::{Digest, FrameTable};
use std::ops::Range;

/// At which end of a Chunk its index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    Start,
    End,
}

impl At {
    fn other(self) -> Self {
        match self {
            Self::Start => Self::End,
            Self::End => Self::Start,
        }
    }
}

/// What was read of a Chunk so far: its index, and more where that is cheap.
#[derive(Clone, Debug)]
pub(super) enum Held {
    /// All of it, compared with its digest.
    Whole(Bytes),
    /// Its first bytes.
    Start(Bytes),
    /// Its last bytes.
    End(Bytes),
}

impl Held {
    pub(super) fn part(&self) -> Part<'_> {
        match self {
            Self::Whole(bytes) | Self::Start(bytes) => Part::Start(bytes),
            Self::End(bytes) => Part::End(bytes),
        }
    }

    pub(super) fn bytes(&self) -> &Bytes {
        match self {
            Self::Whole(bytes) | Self::Start(bytes) | Self::End(bytes) => bytes,
        }
    }

    /// Which bytes of a Chunk of `size` bytes these are.
    pub(super) fn range(&self, size: u64) -> Range<u64> {
        let length = self.bytes().len() as u64;
        match self {
            Self::Whole(_) | Self::Start(_) => 0..length,
            Self::End(_) => size - length..size,
        }
    }

    /// What the Chunk holds. `ftyp`: as another Chunk of the Rendition has it.
    pub(super) fn index(&self, size: u64, ftyp: &[u8]) -> Result<ChunkIndex, ChunkError> {
        self.part().index(size, ftyp)
    }

    pub(super) fn rows(&self) -> Option<FrameTable> {
        self.part().rows()
    }
}

impl Reader {
    /// All of a Chunk that is no longer than one request.
    pub(super) async fn look_at_all(&self, wanted: &Wanted) -> Result<Held, Failure> {
        let mut read = 1;
        loop {
            let got = self.part(wanted, 0..wanted.size(), self.ask(read)).await;
            let error = match got {
                Ok((bytes, made)) => {
                    let found = Digest::of(&bytes);
                    match self.store.compare(&wanted.facts.artifact, found) {
                        Ok(()) => return Ok(Held::Whole(bytes)),
                        Err(error) => {
                            self.blame(wanted, made);
                            error
                        }
                    }
                }
                Err(error) => error,
            };
            if read >= MOST_READS || !matches!(error, Error::Damaged { .. }) {
                return Err(of_chunk(&wanted.facts, from_store(error)));
            }
            read += 1;
        }
    }

    /// The end of a Chunk that its index is at: most probably `at`.
    pub(super) async fn look_at(
        &self,
        wanted: &Wanted,
        at: At,
        ftyp: &[u8],
    ) -> Result<Held, Failure> {
        let failed = |error| of_chunk(&wanted.facts, from_store(error));
        let mut read = 1;
        loop {
            let mut why = String::new();
            for at in [at, at.other()] {
                let held = self.end(wanted, at, read).await.map_err(failed)?;
                match judge(&wanted.facts, &held, ftyp) {
                    Ok(()) => return Ok(held),
                    Err(error) if why.is_empty() => why = error,
                    Err(_) => {}
                }
            }
            let error = self.store.damaged(&wanted.facts.artifact, why);
            if read >= MOST_READS {
                return Err(failed(error));
            }
            read += 1;
        }
    }

    /// The first bytes of a Chunk of which nothing is known: its index where it is there, and the box that it begins with in any
    /// case.
    pub(super) async fn look_at_start(&self, wanted: &Wanted) -> Result<(Held, Bytes), Failure> {
        let failed = |error| of_chunk(&wanted.facts, from_store(error));
        let mut read = 1;
        loop {
            let held = self.end(wanted, At::Start, read).await.map_err(failed)?;
            let ftyp = held.part().ftyp().map(Bytes::copy_from_slice);
            if let Some(ftyp) = ftyp {
                return Ok((held, ftyp));
            }
            let why = "it does not begin as a chunk does".to_owned();
            let error = self.store.damaged(&wanted.facts.artifact, why);
            if read >= MOST_READS {
                return Err(failed(error));
            }
            read += 1;
        }
    }

    async fn end(&self, wanted: &Wanted, at: At, read: u32) -> Result<Held, Error> {
        let (size, length) = (wanted.size(), not_frames(&wanted.facts));
        let range = match at {
            At::Start => 0..length,
            At::End => size - length..size,
        };
        let parts: Vec<(Bytes, bool)> = self
            .parts(wanted, range, self.ask(read))
            .try_collect()
            .await?;
        let bytes = match &parts[..] {
            [(one, _)] => one.clone(),
            several => several.iter().flat_map(|(part, _)| part.clone()).collect(),
        };
        Ok(match at {
            At::Start => Held::Start(bytes),
            At::End => Held::End(bytes),
        })
    }

    /// Its maker served a Chunk that is not what it made.
    pub(super) fn blame(&self, wanted: &Wanted, made: bool) {
        if let Some(neighbours) = self.neighbours.as_ref().filter(|_| made) {
            neighbours.was_wrong(&wanted.maker);
        }
    }
}

/// How many bytes of a Chunk are no frames, and one at least.
fn not_frames(chunk: &ChunkFacts) -> u64 {
    let size = chunk.artifact.size_bytes;
    size.saturating_sub(chunk.payload_bytes).max(1.min(size))
}

/// Whether what was read is the index of this Chunk, by what the log says of it. `Err`: why not.
pub(super) fn judge(chunk: &ChunkFacts, held: &Held, ftyp: &[u8]) -> Result<(), String> {
    let index = held.index(chunk.artifact.size_bytes, ftyp);
    let index = index.map_err(|e| e.to_string())?;
    let said = (chunk.frames as usize, chunk.payload_bytes);
    let found = (index.samples.len(), index.payload_bytes());
    let fits = |has_peak| params(&index, has_peak) == chunk.params;
    if found != said || !(fits(false) || fits(true)) {
        return Err(format!(
            "its index tells of {} frames in {} bytes instead of {} in {}, or of other parameter sets",
            found.0, found.1, said.0, said.1
        ));
    }
    Ok(())
}
