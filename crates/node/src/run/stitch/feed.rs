//! Frames out of Chunks into a pipe, span by span.

use super::body::Body;
use recode_media::mp4::Span;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

/// Bytes moved from a file at a time.
const COPY_BYTES: usize = 1 << 20;

/// What to copy, Chunk after Chunk.
pub(super) struct Spans {
    left: std::iter::Peekable<std::vec::IntoIter<Span>>,
}

impl Spans {
    pub(super) fn new(spans: Vec<Span>) -> Self {
        Self {
            left: spans.into_iter().peekable(),
        }
    }

    /// The next span of this Chunk; `None`: it has no more. Chunks hold their packets one after another: neighbouring spans
    /// are one.
    fn next_of(&mut self, chunk: u32) -> Option<Range<u64>> {
        let mut range = self.left.next_if(|next| next.chunk == chunk)?.range;
        let follows = |next: &Span, end| next.chunk == chunk && next.range.start == end;
        while let Some(next) = self.left.next_if(|next| follows(next, range.end)) {
            range.end = next.range.end;
        }
        Some(range)
    }
}

/// All spans, out of a file for each Chunk.
pub(super) async fn files(
    paths: &[PathBuf],
    mut spans: Spans,
    to: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    for (number, path) in (0..).zip(paths) {
        let mut file = None;
        while let Some(range) = spans.next_of(number) {
            let file = match &mut file {
                Some(file) => &*file,
                None => &*file.insert(File::open(path)?),
            };
            copy(file, range, to).await?;
        }
    }
    Ok(())
}

/// The spans of one Chunk.
pub(super) async fn body(
    body: &Body,
    chunk: u32,
    spans: &mut Spans,
    to: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    match body {
        Body::Memory(pieces) => {
            while let Some(range) = spans.next_of(chunk) {
                for piece in pieces.slices(range) {
                    to.write_all(&piece).await?;
                }
            }
        }
        Body::File(spill) => {
            while let Some(range) = spans.next_of(chunk) {
                copy(&spill.file, range, to).await?;
            }
        }
    }
    Ok(())
}

async fn copy(
    file: &File,
    range: Range<u64>,
    to: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    let mut buffer = vec![0u8; COPY_BYTES.min((range.end - range.start) as usize)];
    let mut at = range.start;
    while at < range.end {
        let n = buffer.len().min((range.end - at) as usize);
        file.read_exact_at(&mut buffer[..n], at)?;
        to.write_all(&buffer[..n]).await?;
        at += n as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_spans_of_one_chunk_are_one() {
        let span = |chunk, range| Span { chunk, range };
        let mut spans = Spans::new(vec![
            span(0, 5..10),
            span(0, 10..12),
            span(0, 20..21),
            span(1, 21..22),
            span(1, 22..30),
        ]);
        assert_eq!(spans.next_of(0), Some(5..12));
        assert_eq!(spans.next_of(0), Some(20..21));
        assert_eq!(spans.next_of(0), None);
        assert_eq!(spans.next_of(1), Some(21..30));
        assert_eq!(spans.next_of(1), None);
    }
}
