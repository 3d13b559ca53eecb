//! The rest of a remote Source: everything but the pictures that are encoded Segment by Segment.
//!
//! Sound, subtitles, chapters and attachments are wanted in one piece, long after a node had the bytes between the
//! pictures of its Segment in its hands. So whoever fetches a Segment *stages* what else lies in its region ([`stage`]), and
//! the parts of all regions are put together again ([`Restored`]): a sparse file of the Source's size with every byte at its own
//! offset, and holes where the pictures were. FFmpeg opens it in place of the Source, for any stream but those pictures.
//!
//! ```text
//!   Source     head V a V V a V | V a V V a | V a V V V a tail     V picture, a sound
//!   regions    [       0       ][     1     ][        2       ]
//!   parts      head a a           a a          a a tail
//!   restored   head · a · · a ·   · a · · a    · a · · · a tail    same offsets, holes
//! ```
//!
//! Holes rather than a rewritten file: unknown boxes and positions stay right, and FFmpeg sees the same timeline. But sound
//! between pictures comes in runs that are much smaller than a disk block, so in whole clusters of Matroska, and in MP4 that
//! has no fragments, what is kept moves together, and takes no more disk than its bytes. MP4's chunk offsets are changed to
//! match ([`Restored::relocate`]); in fragments every run of kept bytes takes a disk block.

use crate::bytes::{ByteSource, Window};
use crate::index::{Format, Preamble, SourceIndex};
use crate::matroska::void;
use crate::matroska::walk::Walker;
use crate::mp4::boxes::measure;
use recode_types::{FrameTable, Segment};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// The first packets of an encoded track are kept too: FFmpeg looks at them to learn what the stream is.
const KEPT_PACKETS: usize = 4;

/// Most bytes read, and held, at once.
const LARGEST_READ: u64 = 4 << 20;

const MAGIC: &[u8; 4] = b"RSR1";

/// Cuts the Source into one region per Segment.
/// # Shape
/// As many as `segments`, contiguous, covering every byte of the Source exactly. A region begins with the key frame its Segment
/// begins with, or where the region before ends when that is not further on in the file.
/// # Errors
/// [`crate::index::Error::NoTrack`].
pub fn regions(
    index: &SourceIndex,
    stream: u32,
    table: &FrameTable,
    segments: &[Segment],
) -> Result<Vec<Range<u64>>, crate::index::Error> {
    let track = index.track(stream)?;
    let mut starts: Vec<(i64, u64)> = track
        .packets
        .iter()
        .filter(|packet| packet.shown())
        .map(|packet| (packet.pts, packet.offset))
        .collect();
    starts.sort_unstable();
    let mut bounds: Vec<u64> = Vec::with_capacity(segments.len() + 1);
    for (i, segment) in segments.iter().enumerate() {
        let pts = table
            .rows
            .get(segment.first_row as usize)
            .map_or(segment.start_pts, |row| row.pts);
        let mut at = starts.partition_point(|(start, _)| *start < pts);
        if !track.complete && starts.get(at).is_none_or(|(start, _)| *start > pts) {
            // Inside a GOP, of which only the beginning is known.
            at = at.saturating_sub(1);
        }
        let offset = starts
            .get(at)
            .map_or(index.size_bytes, |(_, offset)| *offset);
        let before = bounds.last().copied().unwrap_or(0);
        bounds.push(if i == 0 { 0 } else { offset.max(before) });
    }
    bounds.push(index.size_bytes);
    Ok(bounds.windows(2).map(|pair| pair[0]..pair[1]).collect())
}

/// Writes to `out` what a region holds besides the pictures of `streams`. The file is replaced.
///
/// Reads the whole region in order, in pieces of a few MiB: have the bytes at hand, as they are those of the Segment.
/// # Errors
/// What reading the Source or writing scratch met. `InvalidData` where a Matroska region is not as its index says.
pub async fn stage(
    index: &SourceIndex,
    streams: &[u32],
    region: Range<u64>,
    source: &dyn ByteSource,
    out: &Path,
) -> io::Result<()> {
    let pieces = match index.format {
        Format::Mp4 => match packed(index, streams, &region) {
            Some(pieces) => pieces,
            None => in_place(&packets_in(index, streams, &region), &region),
        },
        Format::Matroska => match blocks_in(index, streams, &region, source).await? {
            Blocks::OfClusters(clusters) => moved_up(&clusters, &region),
            Blocks::Payloads(payloads) => in_place(&payloads, &region),
        },
    };
    let mut file = BufWriter::new(File::create(out)?);
    file.write_all(MAGIC)?;
    for piece in pieces {
        match piece {
            Piece::Bytes(to, bytes) => record(&mut file, to, &bytes)?,
            Piece::Copy(mut from, mut to) => {
                while from.start < from.end {
                    let end = from.end.min(from.start + LARGEST_READ);
                    record(&mut file, to, &source.read(from.start..end).await?)?;
                    to += end - from.start;
                    from.start = end;
                }
            }
        }
    }
    file.flush()
}

/// Where [`stage`] will read, of a region whose bytes are not at hand: all of it where that is not known before.
pub fn wanted(index: &SourceIndex, streams: &[u32], region: &Range<u64>) -> Vec<Range<u64>> {
    match index.format {
        Format::Mp4 => complement(&packets_in(index, streams, region), region),
        Format::Matroska => vec![region.clone()],
    }
}

fn record(part: &mut impl io::Write, to: u64, bytes: &[u8]) -> io::Result<()> {
    part.write_all(&to.to_le_bytes())?;
    part.write_all(&(bytes.len() as u64).to_le_bytes())?;
    part.write_all(bytes)
}

/// What a part brings.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// Bytes of the Source, and where they go.
    Copy(Range<u64>, u64),
    /// Where other bytes go.
    Bytes(u64, Vec<u8>),
}

fn in_place(dropped: &[Range<u64>], region: &Range<u64>) -> Vec<Piece> {
    let kept = complement(dropped, region).into_iter();
    kept.map(|range| Piece::Copy(range.clone(), range.start))
        .collect()
}

/// What lies between the pictures of an MP4 without fragments, moved together over the holes. `None`: there are fragments,
/// which name places relative to themselves, and everything stays where it is.
fn packed(index: &SourceIndex, streams: &[u32], region: &Range<u64>) -> Option<Vec<Piece>> {
    let Preamble::Mp4 { data, .. } = &index.preamble else {
        return None;
    };
    // More than `ftyp` and `moov`.
    if index.head.len() > 2 {
        return None;
    }
    let dropped = packets_in(index, streams, region);
    let mut pieces = Vec::new();
    let mut fixed = region.start;
    for data in data {
        let area = data.start.max(fixed)..data.end.min(region.end);
        if area.start >= area.end {
            continue;
        }
        if fixed < area.start {
            pieces.push(Piece::Copy(fixed..area.start, fixed));
        }
        fixed = area.end;
        let inside: Vec<Range<u64>> = dropped
            .iter()
            .map(|span| span.start.max(area.start)..span.end.min(area.end))
            .filter(|span| span.start < span.end)
            .collect();
        let mut to = area.start;
        for kept in complement(&inside, &area) {
            pieces.push(Piece::Copy(kept.clone(), to));
            to += kept.end - kept.start;
        }
    }
    if fixed < region.end {
        pieces.push(Piece::Copy(fixed..region.end, fixed));
    }
    Some(pieces)
}

/// A run of bytes of the Source that is elsewhere in a restored file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// In the Source.
    pub from: Range<u64>,
    /// First byte in the restored file.
    pub to: u64,
}

/// What [`stage`] of a region moved, sorted.
pub fn moves(index: &SourceIndex, streams: &[u32], region: &Range<u64>) -> Vec<Move> {
    let pieces = match index.format {
        Format::Mp4 => packed(index, streams, region).unwrap_or_default(),
        // Clusters say themselves what is where.
        Format::Matroska => Vec::new(),
    };
    let mut moves: Vec<Move> = pieces
        .into_iter()
        .filter_map(|piece| match piece {
            Piece::Copy(from, to) if from.start != to => Some(Move { from, to }),
            _ => None,
        })
        .collect();
    moves.sort_by_key(|m| m.from.start);
    moves
}

/// Where a byte of the Source is now. `moves` are sorted.
fn moved(moves: &[Move], at: u64) -> u64 {
    let before = moves.partition_point(|m| m.from.start <= at);
    match before.checked_sub(1).map(|i| &moves[i]) {
        Some(found) if at < found.from.end => found.to + (at - found.from.start),
        _ => at,
    }
}

/// Changes the chunk offsets inside a box's content. `None`: a table is not whole.
fn relocate_in(body: &mut [u8], moves: &[Move]) -> Option<()> {
    let mut at = 0;
    while let Some((kind, header, size)) = measure(&body[at..], (body.len() - at) as u64) {
        let end = at
            .saturating_add(usize::try_from(size).ok()?)
            .min(body.len());
        let inner = body.get_mut(at + header as usize..end)?;
        match &kind {
            b"trak" | b"mdia" | b"minf" | b"stbl" => relocate_in(inner, moves)?,
            b"stco" => {
                for entry in inner.get_mut(8..)?.chunks_exact_mut(4) {
                    let old = u32::from_be_bytes(entry.try_into().ok()?);
                    // Things only move towards the beginning.
                    let new = u32::try_from(moved(moves, u64::from(old))).ok()?;
                    entry.copy_from_slice(&new.to_be_bytes());
                }
            }
            b"co64" => {
                for entry in inner.get_mut(8..)?.chunks_exact_mut(8) {
                    let new = moved(moves, u64::from_be_bytes((&*entry).try_into().ok()?));
                    entry.copy_from_slice(&new.to_be_bytes());
                }
            }
            _ => {}
        }
        at = end;
        if at >= body.len() {
            break;
        }
    }
    Some(())
}

/// A cluster's content, and the elements in it that are dropped.
type Cluster = (Range<u64>, Vec<Range<u64>>);

/// What stays of each cluster moves up to its beginning, and a Void element takes the rest: one hole instead of many, most of
/// which would be too small to free a disk block. Clusters stay where they are, and so do all positions that Cues and
/// SeekHead name.
fn moved_up(clusters: &[Cluster], region: &Range<u64>) -> Vec<Piece> {
    let mut at = region.start;
    let mut pieces = Vec::new();
    for (content, dropped) in clusters {
        let left: u64 = dropped.iter().map(|range| range.end - range.start).sum();
        let Some(void) = void(left) else {
            continue;
        };
        pieces.push(Piece::Copy(at..content.start, at));
        let mut to = content.start;
        for range in complement(dropped, content) {
            pieces.push(Piece::Copy(range.clone(), to));
            to += range.end - range.start;
        }
        pieces.push(Piece::Bytes(to, void));
        at = content.end;
    }
    pieces.push(Piece::Copy(at..region.end, at));
    pieces
}

/// Spans of the packets of `streams` inside `region`, sorted and apart.
fn packets_in(index: &SourceIndex, streams: &[u32], region: &Range<u64>) -> Vec<Range<u64>> {
    let tracks = index.tracks.iter().filter(|t| streams.contains(&t.stream));
    let mut spans: Vec<Range<u64>> = tracks
        .flat_map(|track| track.packets.iter().skip(KEPT_PACKETS))
        .map(|packet| packet.offset.max(region.start)..packet.end().min(region.end))
        .filter(|span| span.start < span.end)
        .collect();
    spans.sort_by_key(|span| span.start);
    spans
}

/// Blocks that are dropped.
enum Blocks {
    /// By clusters, which lie in the region whole.
    OfClusters(Vec<Cluster>),
    /// Their payloads alone: what is a cluster here is not known.
    Payloads(Vec<Range<u64>>),
}

/// The blocks of `streams` inside `region`.
async fn blocks_in(
    index: &SourceIndex,
    streams: &[u32],
    region: &Range<u64>,
    source: &dyn ByteSource,
) -> io::Result<Blocks> {
    let Preamble::Matroska {
        clusters_start,
        clusters_end,
        ..
    } = index.preamble
    else {
        return Ok(Blocks::Payloads(Vec::new()));
    };
    let numbers: Vec<u64> = index
        .tracks
        .iter()
        .filter(|track| streams.contains(&track.stream))
        .map(|track| track.id)
        .collect();
    let start = region.start.max(clusters_start);
    let end = region.end.min(clusters_end);
    if start >= end {
        return Ok(Blocks::Payloads(Vec::new()));
    }
    let mut window = Window::new(source, LARGEST_READ);
    window.pace(LARGEST_READ, end);
    let mut walker = if start == clusters_start {
        Walker::new(window, start, end)
    } else {
        Walker::inside_cluster(window, start, end)
    };
    let mut payloads = Vec::new();
    let mut clusters: Option<Vec<Cluster>> = Some(Vec::new());
    let mut seen = 0;
    while let Some(block) = walker.block().await? {
        if !numbers.contains(&block.track) {
            continue;
        }
        seen += 1;
        if start == clusters_start && seen <= KEPT_PACKETS {
            continue;
        }
        payloads.push(block.payload);
        let inside = |content: &Range<u64>| region.start <= content.start && content.end <= end;
        match (clusters.as_mut(), walker.cluster().filter(inside)) {
            (Some(all), Some(content)) => match all.last_mut() {
                Some((last, dropped)) if *last == content => dropped.push(block.element),
                _ => all.push((content, vec![block.element])),
            },
            _ => clusters = None,
        }
    }
    if walker.position() < end {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the clusters of the source are not where its index says",
        ));
    }
    Ok(clusters.map_or(Blocks::Payloads(payloads), Blocks::OfClusters))
}

/// What `region` has between `dropped`.
fn complement(dropped: &[Range<u64>], region: &Range<u64>) -> Vec<Range<u64>> {
    let mut at = region.start;
    let mut out = Vec::new();
    for span in dropped {
        if span.start > at {
            out.push(at..span.start);
        }
        at = at.max(span.end);
    }
    if at < region.end {
        out.push(at..region.end);
    }
    out
}

/// A file that FFmpeg opens in place of a remote Source.
pub struct Restored {
    file: File,
}

impl Restored {
    /// An empty one of `size` bytes. The file is replaced.
    /// # Errors
    /// What the operating system says.
    pub fn create(path: &Path, size: u64) -> io::Result<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        file.set_len(size)?;
        Ok(Self { file })
    }

    /// Makes the sample tables of an MP4 say where [`stage`] has put things. After the last part; `moves` of all regions,
    /// sorted.
    /// # Errors
    /// What reading or writing met. `InvalidData`: the tables are not those of `index`.
    pub fn relocate(&mut self, index: &SourceIndex, moves: &[Move]) -> io::Result<()> {
        if moves.is_empty() {
            return Ok(());
        }
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a sample table is damaged");
        for range in &index.head {
            let mut bytes = vec![0; (range.end - range.start) as usize];
            self.file.read_exact_at(&mut bytes, range.start)?;
            let Some((kind, header, _)) = measure(&bytes, bytes.len() as u64) else {
                return Err(damaged());
            };
            if &kind == b"moov" {
                relocate_in(&mut bytes[header as usize..], moves).ok_or_else(damaged)?;
                self.file.write_all_at(&bytes, range.start)?;
            }
        }
        Ok(())
    }

    /// Puts one staged part in its place; in any order.
    /// # Errors
    /// What reading or writing met. `InvalidData`: not a part that [`stage`] wrote.
    pub fn add(&mut self, mut part: impl Read) -> io::Result<()> {
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, "a staged part is damaged");
        let mut magic = [0; 4];
        part.read_exact(&mut magic)?;
        if &magic != MAGIC {
            return Err(damaged());
        }
        let size = self.file.metadata()?.len();
        let mut bytes = Vec::new();
        let mut head = [0; 16];
        while read_all_or_nothing(&mut part, &mut head)? {
            let (at, length) = head.split_at(8);
            let word = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes);
            let (at, length) = word(at)
                .and_then(|at| Ok((at, word(length)?)))
                .map_err(|_| damaged())?;
            if length > LARGEST_READ || at.checked_add(length).is_none_or(|end| end > size) {
                return Err(damaged());
            }
            bytes.resize(length as usize, 0);
            part.read_exact(&mut bytes)?;
            self.file.write_all_at(&bytes, at)?;
        }
        Ok(())
    }
}

/// `false` at the end.
fn read_all_or_nothing(part: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    let mut done = 0;
    while done < buffer.len() {
        match part.read(&mut buffer[done..]) {
            Ok(0) if done == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_and_dropped_is_the_region() {
        assert_eq!(complement(&[5..6, 7..8], &(5..9)), [6..7, 8..9]);
        assert_eq!(
            complement(&[], &(5..9)).as_slice(),
            std::slice::from_ref(&(5..9))
        );
        assert_eq!(complement(&[2..4, 3..6], &(0..8)), [0..2, 6..8]);
    }

    #[test]
    fn what_stays_of_a_cluster_moves_to_its_beginning() {
        let copy = |from: Range<u64>, to| Piece::Copy(from, to);
        // A cluster of two blocks to drop around one to keep, and one that drops too little for a Void.
        let clusters = [
            (20..100, vec![24..50, 60..95]),
            (110..130, vec![112..114, 115..118]),
        ];
        assert_eq!(
            moved_up(&clusters, &(0..140)),
            [
                copy(0..20, 0),
                copy(20..24, 20),
                copy(50..60, 24),
                copy(95..100, 34),
                Piece::Bytes(39, void(61).unwrap()),
                copy(100..140, 100),
            ]
        );
    }

    #[test]
    fn damaged_parts_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut restored = Restored::create(&dir.path().join("x"), 10).unwrap();
        let part = |at: u64, length: u64, bytes: &[u8]| {
            [&MAGIC[..], &at.to_le_bytes(), &length.to_le_bytes(), bytes].concat()
        };
        restored.add(&part(7, 3, b"abc")[..]).unwrap();
        assert!(restored.add(&part(8, 3, b"abc")[..]).is_err());
        assert!(restored.add(&part(0, 3, b"ab")[..]).is_err());
        assert!(restored.add(&part(u64::MAX, 3, b"abc")[..]).is_err());
        assert!(restored.add(&b"RSR"[..]).is_err());
        let file = std::fs::read(dir.path().join("x")).unwrap();
        assert_eq!(file, b"\0\0\0\0\0\0\0abc");
    }
}
