//! Clips: small files that hold just what a decoder needs for one Segment.
//!
//! A clip has one video track and nothing else. FFmpeg opens it instead of the Source, decodes it from its start, never
//! seeks, and picks the Segment's frames with `trim=start_pts=…:end_pts=…` in the clip's own ticks. It works the same
//! for a local file, an object and an HTTP resource.
//!
//! **FFmpeg must be run with `-copyts`** on a clip: without it FFmpeg moves all timestamps to a start of its own choice
//! and `trim` would pick other frames.
//!
//! **Where the index knows key frames only** (remote Matroska), a Segment's bytes are fetched from the cluster of its first
//! key frame to that of the key frame after it, and the rows are found in them: [`Clip::rows`] then has other rows than
//! the table, and whoever made the clip hands them on. A Segment begins with a key frame of such a Source and ends before
//! one, unless that is where the wanted part of the Source begins or ends; its `start_pts` and `end_pts` count.
//!
//! ```text
//!   packets  … K' . . . | K . . . . . K'' b b . . | …      K key frame, b leading picture of K''
//!   Segment             [ first row      last row ]        by presentation time
//!   clip       └ pre-roll ┘                   └ what the last row and `frames_after` still need, in decode order
//! ```

mod cues;
mod file;

use file::{Fetched, Writer};

use crate::bytes::ByteSource;
use crate::index::{Entry, Preamble, SourceIndex, TrackIndex};
use crate::matroska::{self, Clusters};
use crate::mp4::write::{Description, NewSample, Tables};
use recode_types::time::TimeBase;
use recode_types::{FrameRow, FrameTable, Segment};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Frames wanted around a Segment, besides its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClipContext {
    /// For scores and filters that look back: with 1 the clip begins early enough to decode the frame before the
    /// Segment too (that is in the same GOP where the Segment begins inside one), with more that many GOPs less one
    /// earlier still.
    pub gops_before: u32,
    /// How many frames after the Segment can be decoded too.
    pub frames_after: u32,
}

/// A clip on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    /// The file.
    pub path: PathBuf,
    /// FFmpeg's name for `-f` before `-i`.
    pub demuxer: &'static str,
    /// Seconds per tick of everything below; the same as the table's.
    pub time_base: TimeBase,
    /// `trim=start_pts=`: presentation time of the Segment's first frame in the clip.
    pub trim_start: i64,
    /// `trim=end_pts=`: one past the last moment of the Segment in the clip.
    pub trim_end: i64,
    /// Source time = clip time + `base`.
    pub base: i64,
    /// Clip times of the Segment's frames, in order: what has to come out.
    pub expected: Vec<i64>,
    /// The Segment's rows on the Source's clock. Those of the table, or, where the table only knows key frames (see
    /// [`crate::index::TrackIndex::complete`]), the real ones as found in the bytes that were fetched.
    pub rows: Vec<FrameRow>,
    /// Source time of the frame before the Segment, where the clip has it and what it needs.
    pub before: Option<i64>,
    /// Source time of the frame after the Segment, where there is one.
    pub after: Option<i64>,
    /// How long the last row stays, where the index knew too little to say it before; 0: unknown.
    pub last_duration: i64,
    /// Packets in the clip: what a decoder has to work through.
    pub decode_frames: u64,
    /// Bytes read from the Source to make it.
    pub bytes_read: u64,
}

/// A Segment whose clip cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Source could not be read: retry.
    #[error("cannot read the source")]
    Read(#[source] std::io::Error),
    /// Scratch could not be written.
    #[error("cannot write the clip {path}", path = path.display())]
    Write {
        /// The clip.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// The table's frames are not those of the index: read the Source linearly instead.
    #[error("the index does not have the frames of segment {0} where the frame table says")]
    Mismatch(u32),
    /// There is no such track.
    #[error(transparent)]
    Index(#[from] crate::index::Error),
}

/// Which packets a Segment needs, and what has to come out of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Selection {
    /// In decode order.
    packets: Range<usize>,
    /// Presentation times of the Segment's frames as the packets have them.
    expected: Vec<i64>,
    /// One past the Segment for `trim`: no packet of the clip that is not the Segment's may fall below it.
    trim_end: i64,
}

fn select(
    track: &TrackIndex,
    table: &FrameTable,
    segment: &Segment,
    context: ClipContext,
) -> Result<Selection, Error> {
    let mismatch = || Error::Mismatch(segment.index);
    let rows = table.rows.get(segment.row_range()).ok_or_else(mismatch)?;
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return Err(mismatch());
    };
    let end = segment.end_pts.max(last.pts + 1);
    let last_needed =
        (segment.row_range().end + context.frames_after as usize).min(table.rows.len()) - 1;
    let after = table.rows[last_needed].pts.max(last.pts);

    let packets = &track.packets;
    let mut span: Option<(usize, usize)> = None;
    let mut expected = Vec::with_capacity(rows.len());
    for (i, packet) in packets.iter().enumerate() {
        if packet.shown() && packet.pts >= first.pts && packet.pts <= after {
            span = Some((span.map_or(i, |(from, _)| from), i));
            if packet.pts < end {
                expected.push(packet.pts);
            }
        }
    }
    expected.sort_unstable();
    let (needed_from, needed_to) = span.ok_or_else(mismatch)?;
    if !same_frames(&expected, rows) {
        // A deep probe may have found fewer frames than there are packets, never others.
        let known = rows
            .iter()
            .all(|row| expected.binary_search(&row.pts).is_ok());
        if !known {
            return Err(mismatch());
        }
        expected = rows.iter().map(|row| row.pts).collect();
    }

    // With context, the row before the Segment has to be decodable as well.
    let earliest = match segment.row_range().start.checked_sub(1) {
        Some(before) if context.gops_before > 0 => table.rows[before].pts,
        _ => first.pts,
    };
    let decodes = |i: &usize| {
        let packet = packets.get(*i);
        packet.key && packet.pts <= earliest
    };
    let mut from = (0..=needed_from).rev().find(decodes).unwrap_or(0);
    for _ in 1..context.gops_before {
        from = (0..from).rev().find(|i| packets.get(*i).key).unwrap_or(0);
    }
    let last_expected = *expected.last().ok_or_else(mismatch)?;
    let trim_end = (from..=needed_to)
        .map(|i| packets.get(i))
        .filter(|packet| !packet.hidden && packet.pts > last_expected)
        .map(|packet| packet.pts)
        .fold(end, i64::min);
    Ok(Selection {
        packets: from..needed_to + 1,
        expected,
        trim_end,
    })
}

/// Whether packets and rows are the same frames. Rows that were nudged apart count as the time they had.
fn same_frames(packets: &[i64], rows: &[FrameRow]) -> bool {
    packets.len() == rows.len()
        && packets.iter().zip(rows).enumerate().all(|(i, (pts, row))| {
            row.pts == *pts || (i > 0 && packets[i - 1] <= *pts && row.pts == rows[i - 1].pts + 1)
        })
}

/// Gaps up to this many bytes are read along: cheaper than one more request.
const BRIDGED_GAP_BYTES: u64 = 64 * 1024;

/// Spans of `packets`, joined where they are near each other.
fn spans(track: &TrackIndex, packets: Range<usize>) -> Vec<Range<u64>> {
    let mut all: Vec<Range<u64>> = packets
        .map(|i| track.packets.get(i))
        .filter(|packet| packet.size > 0)
        .map(|packet| packet.offset..packet.end())
        .collect();
    all.sort_by_key(|span| span.start);
    let mut out: Vec<Range<u64>> = Vec::new();
    for span in all {
        match out.last_mut() {
            Some(before) if span.start <= before.end + BRIDGED_GAP_BYTES => {
                before.end = before.end.max(span.end);
            }
            _ => out.push(span),
        }
    }
    out
}

/// The byte ranges of the Source that [`build`] reads, sorted and joined where they are near each other: for prefetching
/// and for knowing which bytes are still needed. For an incomplete track the last range is a guess that `build` may
/// have to go beyond.
/// # Errors
/// [`Error::Index`], [`Error::Mismatch`].
pub fn ranges(
    index: &SourceIndex,
    stream: u32,
    table: &FrameTable,
    segment: &Segment,
    context: ClipContext,
) -> Result<Vec<Range<u64>>, Error> {
    let track = index.track(stream)?;
    if !track.complete {
        return cues::range(index, track, table, segment, context).map(|range| vec![range]);
    }
    Ok(spans(
        track,
        select(track, table, segment, context)?.packets,
    ))
}

/// Reads what one Segment needs and writes it to `out`, which is replaced.
/// # Errors
/// [`Error`].
pub async fn build(
    index: &SourceIndex,
    stream: u32,
    table: &FrameTable,
    segment: &Segment,
    context: ClipContext,
    source: &dyn ByteSource,
    out: &Path,
) -> Result<Clip, Error> {
    let track = index.track(stream)?;
    if !track.complete {
        return cues::build(index, track, table, segment, context, source, out).await;
    }
    let selection = select(track, table, segment, context)?;
    let mut writer = Writer::create(out)?;
    let mut fetched = Fetched::new(source, spans(track, selection.packets.clone()));
    let (demuxer, base) = match (&index.preamble, &track.entry) {
        (
            Preamble::Mp4 { ftyp, matrix, .. },
            Entry::Mp4 {
                stsd,
                tkhd,
                descriptions,
            },
        ) => {
            let base = track.packets.get(selection.packets.start).dts;
            let mut tables = Tables::default();
            for i in selection.packets.clone() {
                tables.push(sample(track, descriptions, i).ok_or(Error::Mismatch(segment.index))?);
            }
            writer.write(&tables.header(&Description {
                ftyp,
                matrix,
                tkhd,
                stsd,
                timescale: track.time_base.den as u32,
                edit: None,
            }))?;
            for i in selection.packets.clone() {
                let packet = track.packets.get(i);
                writer.write(&fetched.get(packet.offset..packet.end()).await?)?;
            }
            ("mp4", base)
        }
        (Preamble::Matroska { ebml, info, .. }, Entry::Matroska { entry, .. }) => {
            writer.write(&matroska::head(ebml, info, entry))?;
            let mut clusters = Clusters::default();
            for i in selection.packets.clone() {
                let packet = track.packets.get(i);
                let block = fetched.get(packet.offset..packet.end()).await?;
                let full = clusters
                    .add(&block, block_time(track, packet.pts))
                    .ok_or(Error::Mismatch(segment.index))?;
                writer.write(&full)?;
            }
            writer.write(&clusters.finish())?;
            ("matroska", 0)
        }
        _ => return Err(Error::Mismatch(segment.index)),
    };
    writer.finish()?;
    let rows = segment.row_range();
    let before = rows.start.checked_sub(1);
    let pts = |row: usize| table.rows.get(row).map(|row| row.pts);
    Ok(Clip {
        path: out.to_owned(),
        demuxer,
        time_base: track.time_base,
        trim_start: selection.expected[0] - base,
        trim_end: selection.trim_end - base,
        base,
        expected: selection.expected.iter().map(|pts| pts - base).collect(),
        before: before.filter(|_| context.gops_before > 0).and_then(pts),
        after: pts(rows.end),
        last_duration: 0,
        rows: table.rows[rows].to_vec(),
        decode_frames: selection.packets.len() as u64,
        bytes_read: fetched.bytes_read,
    })
}

/// Time of a packet on the clock of its file.
fn block_time(track: &TrackIndex, pts: i64) -> i64 {
    match track.entry {
        Entry::Matroska { delay, .. } => pts + delay,
        Entry::Mp4 { .. } => pts,
    }
}

fn sample(track: &TrackIndex, descriptions: &[(u32, u32)], i: usize) -> Option<NewSample> {
    let packet = track.packets.get(i);
    let run = descriptions.partition_point(|(first, _)| *first as usize <= i);
    Some(NewSample {
        size: packet.size,
        duration: u32::try_from(packet.duration).ok()?,
        shift: i32::try_from(packet.pts - packet.dts).ok()?,
        key: packet.key,
        description: descriptions.get(run.checked_sub(1)?)?.1,
    })
}
