//! From an MP4/MOV file's boxes to a [`SourceIndex`].

use super::boxes::measure;
use super::edit;
use super::fragments::Fragments;
use super::moov::{Movie, Sample, Samples, Trak};
use crate::bytes::{ByteSource, Window};
use crate::index::{Entry, Error, Format, Packet, Packets, Preamble, SourceIndex, TrackIndex};
use bytes::Bytes;
use recode_types::time::TimeBase;
use recode_types::{Digest, TrackKind, Trim};
use sha2::Digest as _;
use std::ops::Range;

/// A larger `moov` or `moof` is damage: 10 h at 60 fps with four tracks take about 100 MB.
const LARGEST_INDEX: u64 = 1 << 30;

/// Boxes at the top of a file of which one begins it.
const FIRST: [&[u8; 4]; 11] = [
    b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"sidx", b"uuid",
    b"moof",
];

/// Whether the first bytes of a file are those of an MP4 or QuickTime file.
pub(crate) fn looks_like(start: &[u8]) -> bool {
    start
        .get(4..8)
        .is_some_and(|kind| FIRST.iter().any(|known| *known == kind))
}

/// The index boxes of a file, with where they were.
struct Found {
    ftyp: Bytes,
    moov: Option<Bytes>,
    /// Content of each `moof` and the offset of its box.
    moofs: Vec<(Bytes, u64)>,
    ranges: Vec<Range<u64>>,
    /// The headers of all other boxes.
    boxes: Vec<Range<u64>>,
    /// Content of each `mdat`.
    data: Vec<Range<u64>>,
    digest: Digest,
}

/// Reads an MP4/MOV index. See [`crate::index::read`].
pub(crate) async fn read(source: &dyn ByteSource) -> Result<Option<SourceIndex>, Error> {
    let found = find(source, Until::End).await?;
    let Some(moov) = &found.moov else {
        return Err(Error::NoMoov);
    };
    // Still pictures have their own structure, which FFmpeg reads as tiles and items.
    let brand = found.ftyp.get(8..12);
    if brand.is_some_and(|brand| {
        [b"avif", b"avis", b"heic", b"mif1"]
            .iter()
            .any(|b| *b == brand)
    }) {
        return Ok(None);
    }
    let size = source.size();
    let moofs = &found.moofs;
    let Some((tracks, matrix)) = tracks(moov, moofs, size) else {
        return Ok(None);
    };
    Ok(Some(SourceIndex {
        format: Format::Mp4,
        size_bytes: size,
        digest: found.digest,
        head: found.ranges,
        boxes: found.boxes,
        tracks,
        preamble: Preamble::Mp4 {
            ftyp: found.ftyp.to_vec(),
            matrix,
            data: found.data,
        },
    }))
}

/// What the edit lists leave of the tracks. See [`crate::index::trims`].
pub(crate) async fn trims(source: &dyn ByteSource) -> Result<Vec<(u32, Trim)>, Error> {
    let found = find(source, Until::Moov).await?;
    let movie = found.moov.as_deref().and_then(Movie::parse);
    let tracks = movie.as_ref().map_or(&[][..], |movie| &movie.tracks);
    // Of fragments FFmpeg hides nothing.
    let timed = tracks.iter().filter(|trak| trak.has_times());
    Ok(timed
        .map(|trak| (trak.stream, edit::trim(&trak.edits, trak.timescale)))
        .collect())
}

/// How far the boxes of a file are looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    Moov,
    End,
}

async fn find(source: &dyn ByteSource, until: Until) -> Result<Found, Error> {
    let size = source.size();
    let step = if source.is_remote() {
        64 << 10
    } else {
        4 << 10
    };
    let mut window = Window::new(source, step);
    let mut hash = sha2::Sha256::new();
    let mut found = Found {
        ftyp: Bytes::new(),
        moov: None,
        moofs: Vec::new(),
        ranges: Vec::new(),
        boxes: Vec::new(),
        data: Vec::new(),
        digest: Digest([0; 32]),
    };
    let mut at = 0;
    while at + 8 <= size && (until == Until::End || found.moov.is_none()) {
        let start = window.get(at, 16).await?;
        let Some((kind, header, length)) = measure(&start, size - at) else {
            // Padding or rubbish after the last box; FFmpeg stops here too.
            break;
        };
        let end = at.saturating_add(length);
        if let b"moov" | b"moof" | b"ftyp" = &kind {
            if end > size {
                if kind == *b"moof" {
                    // The last fragment of a file that is cut off: what came before is whole.
                    break;
                }
                return Err(Error::Truncated(if kind == *b"moov" {
                    "moov"
                } else {
                    "ftyp"
                }));
            }
            if length > LARGEST_INDEX {
                return Err(Error::Truncated("moov"));
            }
            let whole = window.get(at, length).await?;
            hash.update(&whole);
            found.ranges.push(at..end);
            let body = whole.slice(header as usize..);
            match &kind {
                b"ftyp" if found.ftyp.is_empty() => found.ftyp = whole,
                b"moov" if found.moov.is_none() => found.moov = Some(body),
                b"moof" => found.moofs.push((body, at)),
                _ => {}
            }
        }
        if !matches!(&kind, b"moov" | b"moof" | b"ftyp") {
            found.boxes.push(at..(at + header).min(size));
        }
        if kind == *b"mdat" {
            found.data.push(at + header..end.min(size));
        }
        at = end;
    }
    found.digest = Digest(hash.finalize().into());
    Ok(found)
}

/// All tracks and the movie's matrix. `None`: scan class.
pub(super) fn tracks(
    moov: &[u8],
    moofs: &[(Bytes, u64)],
    size: u64,
) -> Option<(Vec<TrackIndex>, Vec<u8>)> {
    let movie = Movie::parse(moov)?;
    // FFmpeg gives up its exact handling of edit lists at the first track without samples, for all that follow it.
    let mut exact = true;
    let mut tracks = Vec::new();
    for trak in &movie.tracks {
        exact &= trak.has_times();
        let kind = kind(trak);
        let timescale = if trak.timescale == 0 {
            movie.timescale.max(1)
        } else {
            trak.timescale
        };
        let mut packets = Packets::new(0);
        let mut descriptions = Vec::new();
        if kind == TrackKind::Video {
            let codecs = trak.codecs();
            if trak.external || codecs.is_empty() || codecs.iter().any(|c| c != &codecs[0]) {
                return None;
            }
            let shown = shown(trak, &movie, timescale, moofs, exact)?;
            for sample in &shown {
                let sample_number = packets.len() as u32;
                if sample.packet.end() > size && sample.packet.size > 0 {
                    // Cut off: FFmpeg stops at the first sample that is not there.
                    return None;
                }
                if descriptions
                    .last()
                    .is_none_or(|(_, d)| *d != sample.description)
                {
                    if sample.description == 0 || sample.description as usize > codecs.len() {
                        return None;
                    }
                    descriptions.push((sample_number, sample.description));
                }
                packets.push(sample.packet, true);
            }
            packets.set_duration(shown.last().map_or(0, |last| last.packet.duration));
        }
        tracks.push(TrackIndex {
            stream: trak.stream,
            id: u64::from(trak.id),
            kind,
            codec: trak
                .codecs()
                .first()
                .map(|code| String::from_utf8_lossy(code).into_owned())
                .unwrap_or_default(),
            time_base: TimeBase::new(1, i64::from(timescale)),
            complete: true,
            packets,
            entry: Entry::Mp4 {
                stsd: trak.stsd.to_vec(),
                tkhd: trak.tkhd.to_vec(),
                descriptions,
            },
        });
    }
    Some((tracks, movie.matrix.to_vec()))
}

fn kind(trak: &Trak<'_>) -> TrackKind {
    match &trak.handler {
        b"vide" => TrackKind::Video,
        b"soun" => TrackKind::Audio,
        b"text" | b"sbtl" | b"subt" | b"clcp" | b"subp" => TrackKind::Subtitle,
        _ => TrackKind::Data,
    }
}

/// A packet and its sample description.
struct Shown {
    packet: Packet,
    description: u32,
}

/// Samples of a video track on the timeline FFmpeg shows.
fn shown(
    trak: &Trak<'_>,
    movie: &Movie<'_>,
    timescale: u32,
    moofs: &[(Bytes, u64)],
    exact: bool,
) -> Option<Vec<Shown>> {
    let mut own = if trak.has_times() {
        trak.samples()?
    } else {
        Samples::default()
    };
    let mut lowest = 0;
    let fragmented = !moofs.is_empty() && !movie.defaults.is_empty();
    if fragmented {
        let defaults = *movie.defaults.iter().find(|d| d.track == trak.id)?;
        let mut fragments = Fragments::new(trak.id, defaults);
        for (moof, at) in moofs {
            fragments.add(moof, *at)?;
        }
        if !own.samples.is_empty() && !fragments.samples.is_empty() {
            // Samples both in `moov` and in fragments: correct only where nothing moves either of them.
            let follows = own.samples.last()?.dts < fragments.samples.first()?.dts;
            let negative = own.samples.iter().any(|sample| sample.shift < 0);
            if !trak.edits.is_empty() || fragments.lowest < 0 || negative || !follows {
                return None;
            }
        }
        lowest = fragments.lowest;
        if !fragments.samples.is_empty() {
            own.samples.extend(fragments.samples);
            own.end = fragments.end;
        }
    }
    let edited = if exact {
        edit::apply(&trak.edits, timescale, movie.timescale, &own)?
    } else {
        edit::Edited {
            kept: 0..own.samples.len(),
            shown: i64::MIN..i64::MAX,
            shift: -edit::offset(&trak.edits, timescale, movie.timescale),
        }
    };
    let shift = edited.shift - i64::from(lowest);
    let all = &own.samples;
    let packets = edited.kept.map(|i| {
        let sample: &Sample = &all[i];
        let at = sample.dts + i64::from(sample.shift);
        Shown {
            packet: Packet {
                offset: sample.offset,
                size: sample.size,
                dts: sample.dts + shift,
                pts: at + shift,
                duration: all.get(i + 1).map_or(own.end, |next| next.dts) - sample.dts,
                key: sample.key,
                discard: !edited.shown.contains(&at),
                hidden: false,
            },
            description: sample.description,
        }
    });
    Some(packets.collect())
}
