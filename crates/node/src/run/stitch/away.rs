//! The Chunks of one Output that are in a store elsewhere, and with their makers: joined as they come.
//!
//! ```text
//!   look   one request for each Chunk, IN_FLIGHT at once       its index, kept in memory: some 20 bytes a frame
//!   feed   one request for each Chunk and 8 MiB, in order      the rest, compared, then written into FFmpeg's pipe
//!             \__ AHEAD_BYTES at most are read ahead of FFmpeg
//! ```
//!
//! The first Chunks, as many as one request is long, are read whole at the first look, so that a short Output takes one request
//! for each.

use super::body::{Body, MOST_IN_MEMORY};
use super::chunks::of_chunk;
use super::feed::{self, Spans};
use super::look::{At, Held, judge};
use super::reader::{PART_BYTES, Reader, Wanted};
use crate::run::{Attempt, failure};
use bytes::Bytes;
use futures::stream::{StreamExt as _, TryStreamExt as _};
use recode_media::mp4::{ChunkError, ChunkIndex};
use recode_types::FrameTable;
use recode_types::task::{ChunkFacts, Failure, FailureClass};
use std::sync::Arc;
use tokio::io::AsyncWrite;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Chunks on their way at once: with 50 ms to an answer, small ones come at some 300 a second.
const IN_FLIGHT: usize = 16;

/// Bytes of Chunks that are read and not yet in FFmpeg's pipe. A Chunk that goes through scratch takes half of it.
const AHEAD_BYTES: u64 = 2 * MOST_IN_MEMORY;

/// Permits are for so many bytes each, since their number is a small one.
const PERMIT_BYTES: u64 = 1 << 10;

/// See the module.
pub(super) struct Away {
    reader: Reader,
    chunks: Vec<(Wanted, Held)>,
    /// The box that all of them begin with.
    ftyp: Bytes,
}

impl Away {
    /// Looks at all of them. `makers`: see [`super::chunks::Chunks::find`].
    /// # Errors
    /// A Chunk that cannot be read, or is damaged every time.
    pub(super) async fn look(
        attempt: &Attempt,
        chunks: &[ChunkFacts],
        makers: Vec<String>,
    ) -> Result<Self, Failure> {
        let wanted = chunks.iter().cloned().zip(makers);
        let wanted = wanted.map(|(facts, maker)| Wanted { facts, maker });
        Self::of(Reader::of(attempt), wanted.collect()).await
    }

    async fn of(reader: Reader, wanted: Vec<Wanted>) -> Result<Self, Failure> {
        let small = first_small(&wanted);
        let mut left = wanted.into_iter().enumerate();
        let Some((_, first)) = left.next() else {
            let (chunks, ftyp) = (Vec::new(), Bytes::new());
            return Ok(Self {
                reader,
                chunks,
                ftyp,
            });
        };
        let (held, at, ftyp) = look_first(&reader, &first, small > 0).await?;
        let mut chunks = vec![(first, held)];
        let (by, begins) = (&reader, &ftyp);
        let mut looks = futures::stream::iter(left)
            .map(|(number, wanted)| async move {
                let held = match number < small {
                    true => by.look_at_all(&wanted).await?,
                    false => by.look_at(&wanted, at, begins).await?,
                };
                Ok::<_, Failure>((wanted, held))
            })
            .buffered(IN_FLIGHT);
        while let Some(looked) = looks.try_next().await? {
            chunks.push(looked);
        }
        drop(looks);
        Ok(Self {
            reader,
            chunks,
            ftyp,
        })
    }

    /// The rows that came with each.
    pub(super) fn rows(&self) -> Vec<Option<FrameTable>> {
        self.chunks.iter().map(|(_, held)| held.rows()).collect()
    }

    /// What one holds.
    pub(super) fn index(&self, number: usize) -> Result<ChunkIndex, ChunkError> {
        let (wanted, held) = &self.chunks[number];
        held.index(wanted.size(), &self.ftyp)
    }

    /// Writes every span into `to`, reading Chunks ahead of it.
    /// # Errors
    /// The outer one: a Chunk cannot be read, or is damaged every time. The inner one: `to`, or a file in scratch.
    pub(super) async fn feed(
        self,
        mut spans: Spans,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Result<std::io::Result<()>, Failure> {
        let (ready, mut read) = mpsc::channel(IN_FLIGHT);
        let reading = async {
            self.read_all(ready).await;
            // What was read is still to be written.
            std::future::pending::<std::convert::Infallible>().await
        };
        let writing = async {
            let mut number = 0;
            while let Some(read) = read.recv().await {
                // Room for others when it is written.
                let (body, _room): (Body, OwnedSemaphorePermit) = read?;
                if let Err(error) = feed::body(&body, number, &mut spans, to).await {
                    return Ok(Err(error));
                }
                number += 1;
            }
            Ok(Ok(()))
        };
        tokio::select! {
            fed = writing => fed,
            never = reading => match never {},
        }
    }

    /// Reads all Chunks in order, until one cannot be read or nobody wants more.
    async fn read_all(self, ready: mpsc::Sender<Result<(Body, OwnedSemaphorePermit), Failure>>) {
        let Self { reader, chunks, .. } = self;
        let ahead = Arc::new(Semaphore::new((AHEAD_BYTES / PERMIT_BYTES) as usize));
        let admitted = futures::stream::iter(chunks).then(|chunk| {
            // One after another, so that the room goes to whoever is written first.
            let room = Arc::clone(&ahead).acquire_many_owned(permits(chunk.0.size()));
            async { (chunk, room.await.expect("it is never closed")) }
        });
        let reader = &reader;
        let bodies = admitted.map(|((wanted, held), room)| async move {
            let body = reader.body(&wanted, &held).await?;
            Ok((body, room))
        });
        let mut bodies = std::pin::pin!(bodies.buffered(IN_FLIGHT));
        while let Some(body) = bodies.next().await {
            let failed = body.is_err();
            if ready.send(body).await.is_err() || failed {
                return;
            }
        }
    }
}

/// The first of all Chunks: what was read of it, where its index is, which is where those of the others will be, and the box
/// that they begin with.
async fn look_first(
    reader: &Reader,
    first: &Wanted,
    small: bool,
) -> Result<(Held, At, Bytes), Failure> {
    if small {
        let held = reader.look_at_all(first).await?;
        let ftyp = held.part().ftyp().map(Bytes::copy_from_slice);
        let ftyp = ftyp.ok_or(ChunkError::Shape("it does not begin as a chunk does"));
        let ftyp = ftyp.map_err(|e| of_chunk(&first.facts, failure(FailureClass::Unknown, e)))?;
        let at = match held.part().begins_with_index() {
            true => At::Start,
            false => At::End,
        };
        return Ok((held, at, ftyp));
    }
    let (held, ftyp) = reader.look_at_start(first).await?;
    if judge(&first.facts, &held, &ftyp).is_ok() {
        return Ok((held, At::Start, ftyp));
    }
    let held = reader.look_at(first, At::End, &ftyp).await?;
    let at = match held {
        Held::End(_) => At::End,
        _ => At::Start,
    };
    Ok((held, at, ftyp))
}

/// How many of the first Chunks are no longer than one request all together.
fn first_small(wanted: &[Wanted]) -> usize {
    let mut total = 0u64;
    let fits = |one: &&Wanted| {
        total = total.saturating_add(one.size());
        total <= PART_BYTES
    };
    wanted.iter().take_while(fits).count()
}

fn permits(size: u64) -> u32 {
    size.min(MOST_IN_MEMORY).div_ceil(PERMIT_BYTES) as u32
}

/// The most that is on disk at a time of Chunks of these sizes.
pub(in crate::run) fn on_disk(sizes: impl Iterator<Item = u64>) -> u64 {
    let most = sizes.filter(|size| *size > MOST_IN_MEMORY).max();
    AHEAD_BYTES / MOST_IN_MEMORY * most.unwrap_or(0)
}

#[cfg(test)]
mod tests;
