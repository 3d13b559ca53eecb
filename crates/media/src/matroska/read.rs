//! From a Matroska file's elements to a [`SourceIndex`].

use super::ebml;
use super::head::{self, Head};
use super::walk::{Block, Walker};
use crate::bytes::{ByteSource, Window};
use crate::index::{Entry, Error, Format, Packet, Packets, Preamble, SourceIndex, TrackIndex};
use recode_types::time::TimeBase;
use recode_types::{Digest, TrackKind};
use sha2::Digest as _;

/// Finer clocks than this are left to the scan class: 32-bit fields of MP4 cannot hold their distances.
const FINEST_SCALE_NS: u64 = 10_000;

/// Reads a Matroska index. See [`crate::index::read`].
pub(crate) async fn read(source: &dyn ByteSource) -> Result<Option<SourceIndex>, Error> {
    let Some(head) = head::read(source).await? else {
        return Ok(None);
    };
    let Some(mut tracks) = tracks(&head) else {
        return Ok(None);
    };
    let end = if source.is_remote() {
        if !from_cues(&head, &mut tracks) {
            return Ok(None);
        }
        head.segment_end
    } else {
        match walk(source, &head, &mut tracks).await? {
            Some(end) => end,
            None => return Ok(None),
        }
    };
    let mut hash = sha2::Sha256::new();
    hash.update(&head.ebml);
    head.parts.iter().for_each(|(_, bytes)| hash.update(bytes));
    let after = head.parts.iter().map(|(range, _)| range.clone());
    let mut ranges: Vec<_> = std::iter::once(0..head.first_cluster)
        .chain(after.filter(|range| range.start >= head.first_cluster))
        .chain(source.is_remote().then(|| tail(&head, &tracks)).flatten())
        .collect();
    ranges.sort_by_key(|range| range.start);
    Ok(Some(SourceIndex {
        format: Format::Matroska,
        size_bytes: source.size(),
        digest: Digest(hash.finalize().into()),
        head: ranges,
        boxes: Vec::new(),
        tracks,
        preamble: Preamble::Matroska {
            ebml: head.ebml.to_vec(),
            info: head.info.to_vec(),
            clusters_start: head.first_cluster,
            clusters_end: end,
        },
    }))
}

/// Chapters, tags and attachments may stand behind the clusters, and only SeekHead knows of them.
fn tail(head: &Head, tracks: &[TrackIndex]) -> Option<std::ops::Range<u64>> {
    let clusters = tracks.iter().flat_map(|track| track.packets.iter());
    let last = clusters.map(|packet| packet.offset).max()?;
    let at = head.places.partition_point(|place| *place <= last);
    let start = *head.places.get(at)?;
    (start < head.segment_end).then_some(start..head.segment_end)
}

/// Tracks without packets. `None`: the file's clock is not understood.
pub(super) fn tracks(head: &Head) -> Option<Vec<TrackIndex>> {
    if !(FINEST_SCALE_NS..=1_000_000_000).contains(&head.timestamp_scale) {
        return None;
    }
    let scale = i64::try_from(head.timestamp_scale).ok()?;
    let time_base = TimeBase::new(scale, 1_000_000_000).reduced();
    let ns = TimeBase::new(1, 1_000_000_000);
    let ticks = |ns_count: u64| Some(ns.rescale(i64::try_from(ns_count).ok()?, time_base));
    let tracks = head.tracks.iter().enumerate().map(|(stream, entry)| {
        if entry.kind == TrackKind::Video && entry.scaled {
            return None;
        }
        Some(TrackIndex {
            stream: stream as u32,
            id: entry.number,
            kind: entry.kind,
            codec: entry.codec.clone(),
            time_base,
            complete: true,
            packets: Packets::new(ticks(entry.default_duration_ns)?),
            entry: Entry::Matroska {
                entry: entry.whole.clone(),
                delay: ticks(entry.delay_ns)?,
            },
        })
    });
    tracks.collect()
}

/// How long a frame of a whole TrackEntry lasts, where it says so.
pub(crate) fn default_duration(entry: &[u8], time_base: TimeBase) -> Option<i64> {
    let content = ebml::header(entry)?.length as usize;
    let ns = ebml::unsigned(ebml::child(
        entry.get(content..)?,
        ebml::id::DEFAULT_DURATION,
    )?)?;
    let ns = i64::try_from(ns).ok()?;
    let ticks = TimeBase::new(1, 1_000_000_000).rescale(ns, time_base);
    (ticks > 0).then_some(ticks)
}

/// Fills in every block of the video tracks. Returns where the clusters end; `None`: not to be trusted.
async fn walk(
    source: &dyn ByteSource,
    head: &Head,
    tracks: &mut [TrackIndex],
) -> Result<Option<u64>, Error> {
    let window = Window::new(source, 4 << 10);
    let mut walker = Walker::new(window, head.first_cluster, head.segment_end);
    if !walk_on(&mut walker, &head.tracks, tracks).await? {
        return Ok(None);
    }
    // A walk that ends before the segment does met damage or a cut; FFmpeg may find more behind it.
    let whole = walker.position() >= head.segment_end;
    Ok(whole.then_some(walker.position()))
}

/// Fills in blocks of the video tracks as far as the walk goes. `false`: not to be trusted.
pub(super) async fn walk_on(
    walker: &mut Walker<'_>,
    entries: &[head::Entry],
    tracks: &mut [TrackIndex],
) -> std::io::Result<bool> {
    while let Some(block) = walker.block().await? {
        let found = tracks
            .iter_mut()
            .zip(entries)
            .find(|(track, _)| track.id == block.track && track.kind == TrackKind::Video);
        let Some((track, entry)) = found else {
            continue;
        };
        if block.laced {
            return Ok(false);
        }
        let hides = match track.codec.as_str() {
            "V_VP8" | "V_VP9" if entry.encoded => return Ok(false),
            "V_VP8" | "V_VP9" => hidden(walker, &block, &track.codec).await?,
            _ => false,
        };
        let Some(packet) = packet(track, &block, hides) else {
            return Ok(false);
        };
        track.packets.push(packet, false);
    }
    Ok(true)
}

/// Ticks by which a track's blocks are late.
pub(super) fn delay(track: &TrackIndex) -> Option<i64> {
    match track.entry {
        Entry::Matroska { delay, .. } => Some(delay),
        Entry::Mp4 { .. } => None,
    }
}

/// The packet a block is.
pub(crate) fn packet(track: &TrackIndex, block: &Block, hidden: bool) -> Option<Packet> {
    let pts = block.at().checked_sub(delay(track)?)?;
    Some(Packet {
        offset: block.element.start,
        size: u32::try_from(block.element.end - block.element.start).ok()?,
        dts: pts,
        pts,
        duration: 0,
        key: block.key,
        discard: false,
        hidden,
    })
}

/// Whether a VP8 or VP9 frame is only a reference for others.
pub(crate) async fn hidden(
    walker: &mut Walker<'_>,
    block: &Block,
    codec: &str,
) -> std::io::Result<bool> {
    let first = walker.window.get(block.payload.start, 1).await?;
    let Some(&first) = first.first() else {
        return Ok(false);
    };
    if codec == "V_VP8" {
        return Ok(first & 0x10 == 0);
    }
    let (existing, shown) = match first & 0x30 {
        // Profile 3 has one more bit.
        0x30 => (first & 4, first & 1),
        _ => (first & 8, first & 2),
    };
    if existing != 0 || shown != 0 {
        return Ok(false);
    }
    // A superframe brings the picture that is shown along with hidden ones.
    let last = walker.window.get(block.payload.end - 1, 1).await?;
    Ok(last.first().is_none_or(|last| last & 0xe0 != 0xc0))
}

/// Fills in the key frames that Cues name, one to a cluster: the bytes of two Segments are told apart by their clusters.
/// `false`: there are none for some video track, or nothing says where the last one's GOP ends.
fn from_cues(head: &Head, tracks: &mut [TrackIndex]) -> bool {
    let Some(cues) = &head.cues else {
        return false;
    };
    let entries = tracks.iter_mut().zip(&head.tracks);
    for (track, entry) in entries.filter(|(track, _)| track.kind == TrackKind::Video) {
        let Entry::Matroska { delay, .. } = track.entry else {
            return false;
        };
        // Which frames are hidden stands in their first bytes.
        if matches!(track.codec.as_str(), "V_VP8" | "V_VP9") && entry.encoded {
            return false;
        }
        track.complete = false;
        let mut last: Option<(i64, u64)> = None;
        for cue in cues.iter().filter(|cue| cue.track == track.id) {
            let pts = cue.time - delay;
            let inside = cue.cluster >= head.first_cluster && cue.cluster < head.segment_end;
            if !inside || last.is_some_and(|(last, at)| pts <= last || cue.cluster <= at) {
                continue;
            }
            last = Some((pts, cue.cluster));
            let packet = Packet {
                offset: cue.cluster,
                size: 0,
                dts: pts,
                pts,
                duration: 0,
                key: true,
                discard: false,
                hidden: false,
            };
            track.packets.push(packet, false);
        }
        // The last key frame's GOP reaches to the end of the file.
        let rest = head
            .duration
            .zip(last)
            .map_or(0, |(end, last)| end - last.0);
        if rest <= 0 {
            return false;
        }
        track.packets.set_duration(rest);
    }
    tracks.iter().any(|track| track.kind == TrackKind::Video)
}
