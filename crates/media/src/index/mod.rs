//! What a container's own index says: which bytes of a Source are which frames.
//!
//! [`read`] parses the index of an MP4/MOV (`moov` and every `moof`) or of a Matroska/WebM file with Cues, reading
//! headers only. Everything else, and whatever is too odd to be trusted, is *scan class*: `Ok(None)`, to be rewrapped or
//! decoded linearly by others. A wrong index is worse than none, so a doubt is answered with `None`.
//!
//! Timestamps are those FFmpeg shows for the file with `-copyts`: edit lists are applied as FFmpeg applies them.
//!
//! ```text
//!   Source bytes ──read──► SourceIndex ──frame_table──► FrameTable      (what a viewer gets)
//!                               └──────clip::build────► clip file       (what a decoder needs for a Segment)
//! ```

mod opening;
mod packets;
mod stored;

pub use opening::Opening;
pub use packets::{Packet, Packets};

use crate::bytes::ByteSource;
use recode_types::table::{FrameRow, FrameTable};
use recode_types::time::{Rational, TimeBase};
use recode_types::{Digest, TrackKind, Trim};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// A Source whose index cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Source could not be read.
    #[error("cannot read the source")]
    Io(#[from] std::io::Error),
    /// There is nothing in it.
    #[error("the file is empty (0 bytes)")]
    Empty,
    /// An MP4/MOV without its index, as an interrupted upload or recording leaves behind.
    #[error(
        "the file has no index (moov): it is cut off or was never finished; upload or record it again"
    )]
    NoMoov,
    /// The index itself is cut off.
    #[error("the file ends inside its index ({0}): it is cut off; upload it again")]
    Truncated(&'static str),
    /// Stored index bytes that are not an index of this version.
    #[error("the stored index is damaged or of another version; probe the source again")]
    Stored,
    /// There is no such track in the index.
    #[error("the index has no track {0}")]
    NoTrack(u32),
}

/// Which family of containers an index was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// MP4 and QuickTime.
    Mp4,
    /// Matroska and WebM.
    Matroska,
}

/// The index of one Source.
/// # Shape
/// `tracks` in FFmpeg's stream order. Packets are listed for video tracks only; sound is never cut.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceIndex {
    /// The container.
    pub format: Format,
    /// Length of the Source.
    pub size_bytes: u64,
    /// SHA-256 over the index bytes as they stand in the Source: part of its identity.
    pub digest: Digest,
    /// Where the index bytes are, sorted: everything that is neither a packet nor padding.
    pub head: Vec<Range<u64>>,
    /// Headers of the boxes that are no index, which whoever walks over them to the index needs as well. Not stored: only the
    /// index that has just been read has them.
    pub boxes: Vec<Range<u64>>,
    /// All tracks.
    pub tracks: Vec<TrackIndex>,
    /// What a clip must repeat from the file's head.
    pub(crate) preamble: Preamble,
}

/// The parts of a file's head that decide how its pictures are shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Preamble {
    /// MP4: `ftyp` box verbatim (may be empty), the movie's matrix, and where the content of each `mdat` is.
    Mp4 {
        ftyp: Vec<u8>,
        matrix: Vec<u8>,
        data: Vec<Range<u64>>,
    },
    /// Matroska: EBML header and Info element verbatim, and where the clusters are.
    Matroska {
        ebml: Vec<u8>,
        info: Vec<u8>,
        /// First byte of the first cluster.
        clusters_start: u64,
        /// One past the last byte of the last cluster.
        clusters_end: u64,
    },
}

/// One track.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackIndex {
    /// FFmpeg's stream index.
    pub stream: u32,
    /// Track ID (MP4) or track number (Matroska).
    pub id: u64,
    /// Its kind.
    pub kind: TrackKind,
    /// Four-character code of the first sample description, or the CodecID.
    pub codec: String,
    /// Seconds per tick of all timestamps.
    pub time_base: TimeBase,
    /// Every packet is listed. `false` for Matroska on a remote store, where only key frames named by Cues are known:
    /// see [`crate::clip`] for how the rows are filled in.
    pub complete: bool,
    /// Packets in decode order (video only).
    pub packets: Packets,
    /// What a clip must repeat of the track's description, verbatim.
    pub(crate) entry: Entry,
}

/// A track's description, verbatim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Entry {
    /// MP4: `stsd` box, `tkhd` box, and which description holds from which packet on.
    Mp4 {
        stsd: Vec<u8>,
        tkhd: Vec<u8>,
        descriptions: Vec<(u32, u32)>,
    },
    /// Matroska: TrackEntry element, and its codec delay in ticks.
    Matroska { entry: Vec<u8>, delay: i64 },
}

/// Reads the index of `source`. `Ok(None)`: scan class.
/// # Errors
/// [`Error`]: nothing else could read the file either, or it could not be fetched.
pub async fn read(source: &dyn ByteSource) -> Result<Option<SourceIndex>, Error> {
    if source.size() == 0 {
        return Err(Error::Empty);
    }
    let start = source.read(0..source.size().min(16)).await?;
    let mut index = if start.starts_with(&crate::matroska::EBML_MAGIC) {
        crate::matroska::read(source).await?
    } else if crate::mp4::looks_like(&start) {
        crate::mp4::read(source).await?
    } else {
        None
    };
    for track in index.iter_mut().flat_map(|index| &mut index.tracks) {
        track.packets.tell_apart();
    }
    Ok(index)
}

/// What the edit lists of `source` leave of its tracks, by FFmpeg's stream index. Tracks that are not named are whole.
/// # Errors
/// [`Error`]: it could not be fetched, or is cut off.
pub async fn trims(source: &dyn ByteSource) -> Result<Vec<(u32, Trim)>, Error> {
    let start = source.read(0..source.size().min(16)).await?;
    match crate::mp4::looks_like(&start) {
        true => crate::mp4::trims(source).await,
        false => Ok(Vec::new()),
    }
}

impl SourceIndex {
    /// The track with FFmpeg's stream index `stream`.
    /// # Errors
    /// [`Error::NoTrack`].
    pub fn track(&self, stream: u32) -> Result<&TrackIndex, Error> {
        self.tracks
            .iter()
            .find(|track| track.stream == stream)
            .ok_or(Error::NoTrack(stream))
    }

    /// The frames of one video track in presentation order, on the timeline FFmpeg shows with `-copyts`.
    ///
    /// Frames outside the edit list are no rows, nor are packets that show nothing. A repeated timestamp is moved one
    /// tick on. For an incomplete track (see [`TrackIndex::complete`]) the rows are its known key frames only.
    /// # Errors
    /// [`Error::NoTrack`].
    pub fn frame_table(&self, stream: u32) -> Result<FrameTable, Error> {
        Ok(self.track(stream)?.frame_table())
    }

    /// [`SourceIndex::frame_table`] with what is not known between the key frames of an incomplete track filled in: as
    /// many rows as `rate` frames a second make, evenly spread. What counts frames or predicts sizes can go by it; only
    /// its key frames are true.
    /// # Errors
    /// [`Error::NoTrack`].
    pub fn estimated_table(&self, stream: u32, rate: Rational) -> Result<FrameTable, Error> {
        let keys = self.frame_table(stream)?;
        Ok(between_keys(&keys, rate))
    }
}

impl TrackIndex {
    /// See [`SourceIndex::frame_table`].
    pub fn frame_table(&self) -> FrameTable {
        let mut rows: Vec<(FrameRow, i64)> = self
            .packets
            .iter()
            .filter(|packet| packet.shown())
            .map(|packet| {
                let row = FrameRow {
                    pts: packet.pts,
                    key: packet.key,
                    signature: None,
                };
                (row, packet.duration)
            })
            .collect();
        rows.sort_by_key(|(row, _)| row.pts);
        for i in 1..rows.len() {
            if rows[i].0.pts <= rows[i - 1].0.pts {
                rows[i].0.pts = rows[i - 1].0.pts + 1;
            }
        }
        let step = match rows.as_slice() {
            [.., (before, _), (last, _)] => last.pts - before.pts,
            _ => 1,
        };
        let last_duration = rows
            .last()
            .map(|(_, duration)| *duration)
            .filter(|duration| *duration > 0)
            .unwrap_or(step);
        FrameTable {
            time_base: self.time_base,
            rows: rows.into_iter().map(|(row, _)| row).collect(),
            last_duration,
        }
    }
}

/// Frame rates that are believed. FFmpeg guesses wildly where frames come irregularly.
const BELIEVED_RATES: std::ops::RangeInclusive<f64> = 1.0..=240.0;

fn between_keys(keys: &FrameTable, rate: Rational) -> FrameTable {
    let rate = match rate.num > 0 && rate.den > 0 && BELIEVED_RATES.contains(&rate.as_f64()) {
        true => rate,
        false => Rational::new(25, 1),
    };
    let end = keys.end_pts();
    let ends = keys.rows.iter().skip(1).map(|row| row.pts).chain([end]);
    let mut rows = Vec::new();
    for (key, end) in keys.rows.iter().zip(ends) {
        let ticks = end - key.pts;
        // Frames in `ticks` are ticks of the inverse rate.
        let frame = TimeBase::new(rate.den, rate.num);
        let count = keys.time_base.rescale(ticks, frame).clamp(1, ticks.max(1));
        rows.extend((0..count).map(|i| FrameRow {
            pts: key.pts + (i128::from(ticks) * i128::from(i) / i128::from(count)) as i64,
            key: i == 0,
            signature: None,
        }));
    }
    let last_duration = rows.last().map_or(1, |row| end - row.pts);
    FrameTable {
        time_base: keys.time_base,
        rows,
        last_duration,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_between_key_frames_are_as_many_as_the_rate_makes() {
        let key = |pts| FrameRow {
            pts,
            key: true,
            signature: None,
        };
        let keys = FrameTable {
            time_base: TimeBase::new(1, 1000),
            rows: vec![key(0), key(1001), key(3003)],
            last_duration: 40,
        };
        let check = |rate, counts: [usize; 3]| {
            let table = between_keys(&keys, rate);
            assert!(table.rows.windows(2).all(|w| w[0].pts < w[1].pts));
            assert_eq!(table.end_pts(), keys.end_pts());
            let at: Vec<usize> = (0..table.rows.len())
                .filter(|i| table.rows[*i].key)
                .collect();
            let kept: Vec<i64> = at.iter().map(|i| table.rows[*i].pts).collect();
            assert_eq!(kept, [0, 1001, 3003]);
            assert_eq!([at[1], at[2] - at[1], table.rows.len() - at[2]], counts);
        };
        check(Rational::new(24000, 1001), [24, 48, 1]);
        check(Rational::new(60, 1), [60, 120, 2]);
        // Not believed.
        check(Rational::new(1000, 1), [25, 50, 1]);
        check(Rational::new(0, 1), [25, 50, 1]);
    }
}
