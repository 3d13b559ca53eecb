//! The Chunks of one Output, wherever they are kept: first what their indexes say, then their frames in order.

use super::away::Away;
use super::feed::{self, Spans};
use crate::run::{Attempt, failure, from_store, resources};
use recode_media::mp4::{ChunkIndex, Stitched, read_chunk, read_rows};
use recode_types::FrameTable;
use recode_types::task::{ChunkFacts, Failure, FailureClass};
use std::path::PathBuf;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

/// See the module.
pub(super) enum Chunks {
    /// Files of this machine, compared with their digests; read where they lie.
    Here(Vec<PathBuf>),
    /// In a store elsewhere, and with their makers. Never all of them at once here.
    Away(Away),
}

impl Chunks {
    /// Finds them. `makers`: where the nodes that made them serve this one, `HOST:PORT` or nothing, in the same order.
    /// # Errors
    /// A Chunk that cannot be read, or is damaged.
    pub(super) async fn find(
        attempt: &Attempt,
        chunks: &[ChunkFacts],
        makers: Vec<String>,
    ) -> Result<Self, Failure> {
        if !attempt.store.is_local() {
            return Ok(Self::Away(Away::look(attempt, chunks, makers).await?));
        }
        let mut paths = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let path = attempt.store.local_path(&chunk.artifact).await;
            let path = path.map_err(|e| of_chunk(chunk, from_store(e)))?;
            paths.push(path.expect("a local store has files"));
        }
        Ok(Self::Here(paths))
    }

    /// Whether none of them has to come from elsewhere.
    pub(super) fn are_here(&self) -> bool {
        matches!(self, Self::Here(_))
    }

    /// The rows that came with each.
    pub(super) fn rows(&self) -> Result<Vec<Option<FrameTable>>, Failure> {
        match self {
            Self::Here(paths) => {
                let found = paths.iter().map(|path| read_rows(path));
                found.collect::<Result<_, _>>().map_err(resources)
            }
            Self::Away(away) => Ok(away.rows()),
        }
    }

    /// What one holds.
    pub(super) fn index(&self, number: usize) -> Result<ChunkIndex, Failure> {
        let index = match self {
            Self::Here(paths) => read_chunk(&paths[number]),
            Self::Away(away) => away.index(number),
        };
        index.map_err(|e| failure(FailureClass::Unknown, e))
    }

    /// Writes the stitched track into `to`: the header, then every span of every Chunk. One file is open at a time.
    /// # Errors
    /// The outer one: a Chunk cannot be read, or is damaged. The inner one: a file or `to` is.
    pub(super) async fn feed(
        self,
        stitched: Stitched,
        mut to: impl AsyncWrite + Unpin,
    ) -> Result<std::io::Result<()>, Failure> {
        if let Err(error) = to.write_all(&stitched.header).await {
            return Ok(Err(error));
        }
        drop(stitched.header);
        let spans = Spans::new(stitched.spans);
        let fed = match self {
            Self::Here(paths) => feed::files(&paths, spans, &mut to).await,
            Self::Away(away) => away.feed(spans, &mut to).await?,
        };
        Ok(match fed {
            Ok(()) => to.shutdown().await,
            failed => failed,
        })
    }
}

/// A failure that says which Chunk it is about.
pub(super) fn of_chunk(chunk: &ChunkFacts, failure: Failure) -> Failure {
    Failure {
        message: format!("chunk {}: {}", chunk.segment, failure.message),
        ..failure
    }
}
