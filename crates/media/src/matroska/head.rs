//! The head of a Matroska file: Info, Tracks and Cues.

use super::ebml::{self, LONGEST_HEADER, children, id, unsigned};
use crate::bytes::{ByteSource, Window};
use crate::index::Error;
use bytes::Bytes;
use recode_types::TrackKind;
use std::ops::Range;

/// A larger element is damage; Cues of 10 h with a key frame every half second take 2 MB.
const LARGEST_ELEMENT: u64 = 256 << 20;

/// What stands before and after the clusters.
pub(super) struct Head {
    /// EBML element, verbatim.
    pub(super) ebml: Bytes,
    /// Info element, verbatim.
    pub(super) info: Bytes,
    pub(super) tracks: Vec<Entry>,
    pub(super) cues: Option<Vec<Cue>>,
    pub(super) segment_end: u64,
    pub(super) first_cluster: u64,
    pub(super) timestamp_scale: u64,
    /// Ticks, as Info has them.
    pub(super) duration: Option<i64>,
    /// Where SeekHead says that something begins, sorted.
    pub(super) places: Vec<u64>,
    /// Index bytes and where they are.
    pub(super) parts: Vec<(Range<u64>, Bytes)>,
}

/// A TrackEntry.
pub(super) struct Entry {
    pub(super) whole: Vec<u8>,
    pub(super) number: u64,
    pub(super) kind: TrackKind,
    pub(super) codec: String,
    pub(super) delay_ns: u64,
    pub(super) default_duration_ns: u64,
    /// Timestamps are scaled once more; deprecated and never seen, so not understood here.
    pub(super) scaled: bool,
    /// Frames are compressed or encrypted.
    pub(super) encoded: bool,
}

/// A key frame named by Cues.
#[derive(Clone, Copy)]
pub(super) struct Cue {
    pub(super) track: u64,
    pub(super) time: i64,
    /// First byte of its cluster in the file.
    pub(super) cluster: u64,
}

/// Reads the head. `None`: not a Matroska file this crate knows how to index.
pub(super) async fn read(source: &dyn ByteSource) -> Result<Option<Head>, Error> {
    let size = source.size();
    let step = if source.is_remote() {
        64 << 10
    } else {
        4 << 10
    };
    let mut window = Window::new(source, step);
    let Some((ebml, at)) = element(&mut window, 0, size).await? else {
        return Ok(None);
    };
    let start = window.get(at, LONGEST_HEADER).await?;
    let Some(segment) = ebml::header(&start).filter(|header| header.id == id::SEGMENT) else {
        return Ok(None);
    };
    let segment_start = at + segment.length;
    let segment_end = segment.size.map_or(size, |length| {
        segment_start.saturating_add(length).min(size)
    });

    let mut found = Found::default();
    let mut first_cluster = segment_end;
    let mut at = segment_start;
    while at < segment_end {
        let start = window.get(at, LONGEST_HEADER).await?;
        let Some(header) = ebml::header(&start) else {
            break;
        };
        if header.id == id::CLUSTER {
            first_cluster = at;
            break;
        }
        let Some(length) = header.size else {
            return Ok(None);
        };
        if matches!(header.id, id::SEEK_HEAD | id::INFO | id::TRACKS | id::CUES) {
            found.read(&mut window, at, segment_end).await?;
        }
        at = (at + header.length).saturating_add(length);
    }
    for (wanted, position) in found.seek.clone() {
        let missing = match wanted {
            id::INFO => found.info.is_none(),
            id::TRACKS => found.tracks.is_none(),
            id::CUES => found.cues.is_none(),
            _ => false,
        };
        let at = segment_start.saturating_add(position);
        if missing && at < segment_end {
            found.read(&mut window, at, segment_end).await?;
        }
    }
    let (Some(info), Some(tracks)) = (found.info, found.tracks) else {
        return Ok(None);
    };
    let info_content = content(&info);
    let timestamp_scale = ebml::child(info_content, id::TIMESTAMP_SCALE)
        .and_then(unsigned)
        .unwrap_or(1_000_000);
    let duration = ebml::child(info_content, id::DURATION)
        .and_then(ebml::float)
        .filter(|duration| duration.is_finite() && *duration > 0.0)
        .map(|duration| duration.ceil() as i64);
    let Some(tracks) = children(content(&tracks))
        .filter(|(id, _, _)| *id == id::TRACK_ENTRY)
        .map(|(_, entry, whole)| track(entry, whole))
        .collect::<Option<Vec<_>>>()
    else {
        return Ok(None);
    };
    let tracks = tracks.into_iter().flatten().collect();
    let places = found.seek.iter();
    let mut places: Vec<u64> = places
        .map(|(_, position)| segment_start.saturating_add(*position))
        .collect();
    places.sort_unstable();
    Ok(Some(Head {
        ebml,
        info,
        tracks,
        cues: found
            .cues
            .map(|cues| cue_points(content(&cues), segment_start)),
        segment_end,
        first_cluster,
        timestamp_scale,
        duration,
        places,
        parts: found.parts,
    }))
}

#[derive(Default)]
struct Found {
    info: Option<Bytes>,
    tracks: Option<Bytes>,
    cues: Option<Bytes>,
    seek: Vec<(u32, u64)>,
    parts: Vec<(Range<u64>, Bytes)>,
}

impl Found {
    async fn read(&mut self, window: &mut Window<'_>, at: u64, end: u64) -> Result<(), Error> {
        let Some((whole, after)) = element(window, at, end).await? else {
            return Ok(());
        };
        let Some(header) = ebml::header(&whole) else {
            return Ok(());
        };
        match header.id {
            id::INFO if self.info.is_none() => self.info = Some(whole.clone()),
            id::TRACKS if self.tracks.is_none() => self.tracks = Some(whole.clone()),
            id::CUES if self.cues.is_none() => self.cues = Some(whole.clone()),
            id::SEEK_HEAD => {
                for (_, seek, _) in children(content(&whole)).filter(|(id, _, _)| *id == id::SEEK) {
                    let wanted = ebml::child(seek, id::SEEK_ID).and_then(unsigned);
                    let position = ebml::child(seek, id::SEEK_POSITION).and_then(unsigned);
                    if let (Some(wanted), Some(position)) = (wanted, position) {
                        self.seek.push((wanted as u32, position));
                    }
                }
            }
            _ => return Ok(()),
        }
        self.parts.push((at..after, whole));
        Ok(())
    }
}

/// The whole element at `at` and where the next one begins. `None`: no element, or it does not end before `end`.
async fn element(
    window: &mut Window<'_>,
    at: u64,
    end: u64,
) -> Result<Option<(Bytes, u64)>, Error> {
    let start = window.get(at, LONGEST_HEADER).await?;
    let length = ebml::header(&start)
        .and_then(|header| header.size?.checked_add(header.length))
        .filter(|length| *length <= LARGEST_ELEMENT && at.saturating_add(*length) <= end);
    match length {
        Some(length) => Ok(Some((window.get(at, length).await?, at + length))),
        None => Ok(None),
    }
}

/// What lies behind the header of a whole element.
fn content(whole: &[u8]) -> &[u8] {
    let length = ebml::header(whole).map_or(whole.len(), |header| header.length as usize);
    &whole[length.min(whole.len())..]
}

/// `Ok(None)`: a track that FFmpeg makes no stream of. The outer `None`: not understood.
fn track(entry: &[u8], whole: &[u8]) -> Option<Option<Entry>> {
    let number = |id| ebml::child(entry, id).and_then(unsigned);
    let kind = match number(id::TRACK_TYPE)? {
        1 => TrackKind::Video,
        2 => TrackKind::Audio,
        0x11 => TrackKind::Subtitle,
        0x21 => TrackKind::Data,
        _ => return Some(None),
    };
    let Some(codec) = ebml::child(entry, id::CODEC_ID) else {
        return Some(None);
    };
    let scale = ebml::child(entry, id::TRACK_TIMESTAMP_SCALE).and_then(ebml::float);
    Some(Some(Entry {
        whole: whole.to_vec(),
        number: number(id::TRACK_NUMBER)?,
        kind,
        codec: String::from_utf8_lossy(codec)
            .trim_end_matches('\0')
            .to_owned(),
        delay_ns: number(id::CODEC_DELAY).unwrap_or(0),
        default_duration_ns: number(id::DEFAULT_DURATION).unwrap_or(0),
        scaled: scale.is_some_and(|scale| scale != 1.0 && scale >= 0.01),
        encoded: ebml::child(entry, id::CONTENT_ENCODINGS).is_some(),
    }))
}

fn cue_points(cues: &[u8], segment_start: u64) -> Vec<Cue> {
    let mut out = Vec::new();
    for (_, point, _) in children(cues).filter(|(id, _, _)| *id == id::CUE_POINT) {
        let time = ebml::child(point, id::CUE_TIME)
            .and_then(unsigned)
            .and_then(|time| i64::try_from(time).ok());
        let Some(time) = time else { continue };
        for (_, place, _) in children(point).filter(|(id, _, _)| *id == id::CUE_TRACK_POSITIONS) {
            let number = |id| ebml::child(place, id).and_then(unsigned);
            if let (Some(track), Some(position)) =
                (number(id::CUE_TRACK), number(id::CUE_CLUSTER_POSITION))
            {
                out.push(Cue {
                    track,
                    time,
                    cluster: segment_start.saturating_add(position),
                });
            }
        }
    }
    out.sort_by_key(|cue| cue.time);
    out
}
