//! Clips of a Source whose index knows key frames only.

use super::{Clip, ClipContext, Error, Writer};
use crate::bytes::{ByteSource, Window};
use crate::index::{Entry, Preamble, SourceIndex, TrackIndex};
use crate::matroska::walk::Walker;
use crate::matroska::{self, Clusters};
use recode_types::{FrameRow, FrameTable, Segment};
use std::ops::Range;
use std::path::Path;

/// How much is read at once between the first and the last cluster that are known to be needed.
const STEP: u64 = 1 << 20;

/// How much is read at once beyond, where nobody knows how far the last leading picture is.
const SHORT_STEP: u64 = 64 << 10;

/// Which clusters a Segment needs.
struct Wanted {
    /// Where reading begins, and the key frame decoding begins with.
    start: u64,
    first_key: i64,
    /// The Segment begins with a key frame.
    at_key: bool,
    /// Where the cluster of the first key frame that is not the Segment's begins.
    end_cluster: u64,
    /// Time of that key frame; `None`: there is none.
    next_key: Option<i64>,
    /// One past the Segment; `None`: it reaches to the end.
    end: Option<i64>,
}

fn wanted(
    index: &SourceIndex,
    track: &TrackIndex,
    table: &FrameTable,
    segment: &Segment,
    context: ClipContext,
) -> Result<Wanted, Error> {
    let mismatch = || Error::Mismatch(segment.index);
    let Preamble::Matroska { clusters_end, .. } = &index.preamble else {
        return Err(mismatch());
    };
    let keys = &track.packets;
    let mut numbers = (0..keys.len()).rev();
    let number = numbers
        .find(|i| keys.get(*i).pts <= segment.start_pts)
        .ok_or_else(mismatch)?;
    let at_key = keys.get(number).pts == segment.start_pts;
    // Behind a key frame the frame before the Segment is in the same GOP.
    let back = match at_key {
        true => context.gops_before,
        false => context.gops_before.saturating_sub(1),
    };
    let start = keys.get(number.saturating_sub(back as usize));
    let end = (segment.row_range().end < table.rows.len()).then_some(segment.end_pts);
    let next = end.and_then(|end| keys.iter().find(|key| key.pts >= end));
    Ok(Wanted {
        start: start.offset,
        first_key: start.pts,
        at_key,
        end_cluster: next.map_or(*clusters_end, |key| key.offset),
        next_key: next.map(|key| key.pts),
        end,
    })
}

/// The bytes [`build`] reads, as far as they are known before.
pub(super) fn range(
    index: &SourceIndex,
    track: &TrackIndex,
    table: &FrameTable,
    segment: &Segment,
    context: ClipContext,
) -> Result<Range<u64>, Error> {
    let wanted = wanted(index, track, table, segment, context)?;
    let more = wanted.next_key.map_or(0, |_| SHORT_STEP);
    Ok(wanted.start..(wanted.end_cluster + more).min(index.size_bytes))
}

/// As [`super::build`].
pub(super) async fn build(
    index: &SourceIndex,
    track: &TrackIndex,
    table: &FrameTable,
    segment: &Segment,
    context: ClipContext,
    source: &dyn ByteSource,
    out: &Path,
) -> Result<Clip, Error> {
    let mismatch = || Error::Mismatch(segment.index);
    let wanted = wanted(index, track, table, segment, context)?;
    let (
        Preamble::Matroska {
            ebml,
            info,
            clusters_end,
            ..
        },
        Entry::Matroska { entry, .. },
    ) = (&index.preamble, &track.entry)
    else {
        return Err(mismatch());
    };
    let first = segment.start_pts;
    let mut window = Window::new(source, STEP);
    window.pace(STEP, wanted.end_cluster);
    let mut walker = Walker::new(window, wanted.start, *clusters_end);
    let mut writer = Writer::create(out)?;
    writer.write(&matroska::head(ebml, info, entry))?;
    let mut clusters = Clusters::default();
    let mut shown: Vec<(i64, bool)> = Vec::new();
    let mut packets = 0;
    // A frame that is shown later than the key frame the Segment begins with was met.
    let mut begun = false;
    // Frames from the next key frame on that are in the clip. The first is that key frame; its leading pictures follow
    // it at once, so that the first frame that is shown later ends the search unless more context is wanted.
    let mut after = 0;
    let enough = match context.frames_after {
        0 | 1 => 2,
        more => more + DEEPEST_REORDER,
    };
    loop {
        if walker.position() >= wanted.end_cluster {
            walker.window.pace(SHORT_STEP, u64::MAX);
        }
        let Some(block) = walker.block().await.map_err(Error::Read)? else {
            if walker.position() < *clusters_end {
                return Err(mismatch());
            }
            break;
        };
        if block.track != track.id {
            continue;
        }
        let packet = matroska::packet(track, &block, false).ok_or_else(mismatch)?;
        if packets == 0 && (!packet.key || packet.pts != wanted.first_key) {
            // A cluster may begin before the key frame that Cues name in it.
            if packet.pts > wanted.first_key {
                return Err(mismatch());
            }
            continue;
        }
        if block.laced {
            return Err(mismatch());
        }
        if packet.pts > first {
            begun = true;
        } else if wanted.at_key && begun && packet.pts < first {
            // A leading picture that does not follow its key frame at once: whoever read up to here has missed it.
            return Err(mismatch());
        }
        if wanted.next_key.is_some_and(|key| packet.pts >= key) {
            after += 1;
            if after >= enough {
                break;
            }
        }
        let hidden = match track.codec.as_str() {
            "V_VP8" | "V_VP9" => matroska::hidden(&mut walker, &block, &track.codec)
                .await
                .map_err(Error::Read)?,
            _ => false,
        };
        let length = block.element.end - block.element.start;
        let bytes = walker
            .window
            .get(block.element.start, length)
            .await
            .map_err(Error::Read)?;
        let full = clusters.add(&bytes, block.at()).ok_or_else(mismatch)?;
        writer.write(&full)?;
        packets += 1;
        if !hidden {
            shown.push((packet.pts, packet.key));
        }
    }
    writer.write(&clusters.finish())?;
    writer.finish()?;
    shown.sort_by_key(|(pts, _)| *pts);
    let inside = |pts: i64| pts >= first && wanted.end.is_none_or(|end| pts < end);
    let rows: Vec<FrameRow> = shown
        .iter()
        .filter(|(pts, _)| inside(*pts))
        .map(|&(pts, key)| FrameRow {
            pts,
            key,
            signature: None,
        })
        .collect();
    let rows = apart(rows);
    let last = rows.last().ok_or_else(mismatch)?.pts;
    let real_first = rows[0].pts;
    if wanted.at_key && real_first != first {
        return Err(mismatch());
    }
    let before = shown.iter().rfind(|(pts, _)| *pts < first);
    let before = before.map(|(pts, _)| *pts);
    let after = wanted
        .end
        .and_then(|end| shown.iter().find(|(pts, _)| *pts >= end));
    let after = after.map(|(pts, _)| *pts);
    let step = match rows.as_slice() {
        [.., one, two] => two.pts - one.pts,
        _ => before.map_or(0, |before| last - before),
    };
    let declared = matroska::default_duration(entry, track.time_base);
    let last_duration = match after {
        Some(after) => after - last,
        None => declared.unwrap_or(step),
    };
    Ok(Clip {
        path: out.to_owned(),
        demuxer: "matroska",
        time_base: track.time_base,
        trim_start: real_first,
        trim_end: wanted.end.unwrap_or(last + 1),
        base: 0,
        expected: rows.iter().map(|row| row.pts).collect(),
        rows,
        before: before.filter(|_| context.gops_before > 0),
        after,
        last_duration,
        decode_frames: packets,
        bytes_read: walker.window.bytes_read(),
    })
}

/// No known decoder holds back more frames than this.
const DEEPEST_REORDER: u32 = 17;

/// Moves repeated timestamps one tick on, as a frame table has them.
fn apart(mut rows: Vec<FrameRow>) -> Vec<FrameRow> {
    for i in 1..rows.len() {
        rows[i].pts = rows[i].pts.max(rows[i - 1].pts + 1);
    }
    rows
}
