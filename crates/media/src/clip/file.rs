//! The two ends of making a clip: bytes of the Source, and the file in scratch.

use super::Error;
use crate::bytes::ByteSource;
use bytes::Bytes;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Most bytes asked for, and held, at once.
const LARGEST_READ: u64 = 8 << 20;

/// Bytes of some ranges, read in pieces in the order in which they are needed.
pub(super) struct Fetched<'a> {
    source: &'a dyn ByteSource,
    ranges: Vec<Range<u64>>,
    piece: (u64, Bytes),
    pub(super) bytes_read: u64,
}

impl<'a> Fetched<'a> {
    pub(super) fn new(source: &'a dyn ByteSource, ranges: Vec<Range<u64>>) -> Self {
        Self {
            source,
            ranges,
            piece: (0, Bytes::new()),
            bytes_read: 0,
        }
    }

    /// The bytes of `span`, which lies in one of the ranges.
    pub(super) async fn get(&mut self, span: Range<u64>) -> Result<Bytes, Error> {
        if span.is_empty() {
            return Ok(Bytes::new());
        }
        let (start, bytes) = &self.piece;
        if span.start < *start || span.end > start + bytes.len() as u64 {
            let range = self.ranges.partition_point(|range| range.end < span.end);
            let end = self.ranges.get(range).map_or(span.end, |range| range.end);
            let end = end.min(span.start + LARGEST_READ).max(span.end);
            let bytes = self
                .source
                .read(span.start..end)
                .await
                .map_err(Error::Read)?;
            self.bytes_read += end - span.start;
            self.piece = (span.start, bytes);
        }
        let (start, bytes) = &self.piece;
        let from = (span.start - start) as usize;
        Ok(bytes.slice(from..from + (span.end - span.start) as usize))
    }
}

/// The clip's file. Scratch is local and written through the page cache, so writes are done in place.
pub(super) struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Writer {
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        let file = File::create(path).map_err(|source| Error::Write {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::with_capacity(256 << 10, file),
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|source| Error::Write {
            path: self.path.clone(),
            source,
        })
    }

    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.file.flush().map_err(|source| Error::Write {
            path: self.path,
            source,
        })
    }
}
