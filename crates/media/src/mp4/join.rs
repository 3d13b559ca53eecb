//! Pieces of one Chunk as one file.

use super::chunk::ChunkIndex;
use super::stitched::{StitchError, Stitcher};
use recode_types::time::TimeBase;
use std::fs::File;
use std::io::{BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

/// Pieces that cannot be joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// A file could not be read or written.
    #[error("cannot join the pieces of a chunk")]
    Io(#[from] std::io::Error),
    /// They do not belong together.
    #[error(transparent)]
    Pieces(#[from] StitchError),
}

/// When the frames of a Chunk are shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// In presentation order.
    pub pts: &'a [i64],
    /// How long the last one stays.
    pub last_duration: i64,
    /// Seconds per tick of both.
    pub time_base: TimeBase,
}

/// Writes consecutive pieces, each with its file, to `out` as one MP4. It is what FFmpeg writes in one go, but for the order
/// of its boxes: [`super::read_chunk`] reads the same of it.
/// # Errors
/// [`JoinError`]; what `out` holds then is worth nothing.
pub fn join(
    pieces: &[(&Path, &ChunkIndex)],
    shown: Shown<'_>,
    out: &Path,
) -> Result<(), JoinError> {
    let mut stitcher = Stitcher::new(shown.time_base);
    let mut rest = shown.pts;
    for (_, index) in pieces {
        // One that has more frames than there are times left is refused for that.
        let (pts, after) = rest.split_at(index.samples.len().min(rest.len()));
        stitcher.push(index, pts)?;
        rest = after;
    }
    if !rest.is_empty() {
        let missing = StitchError::Count {
            chunk: pieces.len() as u32,
            found: 0,
            wanted: rest.len(),
        };
        return Err(missing.into());
    }
    let stitched = stitcher.finish(shown.last_duration)?;
    let mut file = BufWriter::new(File::create(out)?);
    file.write_all(&stitched.header)?;
    for span in &stitched.spans {
        let mut piece = File::open(pieces[span.chunk as usize].0)?;
        piece.seek(SeekFrom::Start(span.range.start))?;
        let length = span.range.end - span.range.start;
        if std::io::copy(&mut piece.take(length), &mut file)? != length {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
    }
    file.flush()?;
    Ok(())
}
