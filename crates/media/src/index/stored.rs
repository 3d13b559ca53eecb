//! The index as an artifact: delta-coded, about 6 bytes a packet.

use super::{Entry, Error, Format, Packets, Preamble, SourceIndex, TrackIndex};
use recode_types::time::TimeBase;
use recode_types::{Digest, TrackKind};
use serde::{Deserialize, Serialize};
use std::ops::Range;

const MAGIC: &[u8; 4] = b"RSI1";

#[derive(Serialize, Deserialize)]
struct Stored {
    format: Format,
    size_bytes: u64,
    digest: Digest,
    head: Vec<Range<u64>>,
    tracks: Vec<StoredTrack>,
    preamble: Preamble,
}

/// Columns as differences, which postcard then writes with variable length.
#[derive(Serialize, Deserialize)]
struct StoredTrack {
    stream: u32,
    id: u64,
    kind: TrackKind,
    codec: String,
    time_base: TimeBase,
    complete: bool,
    entry: Entry,
    duration: i64,
    /// Gap between the end of the packet before and this one.
    gaps: Vec<i64>,
    sizes: Vec<u32>,
    /// Second differences.
    dts: Vec<i64>,
    /// `pts - dts`, or first differences where no decode times are stored.
    pts: Vec<i64>,
    /// Runs of equal flags.
    flags: Vec<(u8, u32)>,
}

impl SourceIndex {
    /// The bytes of the index artifact.
    pub fn encode(&self) -> Vec<u8> {
        let stored = Stored {
            format: self.format,
            size_bytes: self.size_bytes,
            digest: self.digest,
            head: self.head.clone(),
            tracks: self.tracks.iter().map(pack).collect(),
            preamble: self.preamble.clone(),
        };
        postcard::to_extend(&stored, MAGIC.to_vec()).expect("plain data always serialises")
    }

    /// Reads what [`SourceIndex::encode`] wrote.
    /// # Errors
    /// [`Error::Stored`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let body = bytes.strip_prefix(MAGIC).ok_or(Error::Stored)?;
        let stored: Stored = postcard::from_bytes(body).map_err(|_| Error::Stored)?;
        Ok(Self {
            format: stored.format,
            size_bytes: stored.size_bytes,
            digest: stored.digest,
            head: stored.head,
            boxes: Vec::new(),
            tracks: stored
                .tracks
                .into_iter()
                .map(unpack)
                .collect::<Option<_>>()
                .ok_or(Error::Stored)?,
            preamble: stored.preamble,
        })
    }
}

fn pack(track: &TrackIndex) -> StoredTrack {
    let packets = &track.packets;
    let mut end = 0u64;
    let gaps = packets
        .offsets
        .iter()
        .zip(&packets.sizes)
        .map(|(&offset, &size)| {
            let gap = offset.wrapping_sub(end) as i64;
            end = offset.wrapping_add(u64::from(size));
            gap
        })
        .collect();
    let (mut last, mut step) = (0i64, 0i64);
    let dts = packets
        .dts
        .iter()
        .map(|&dts| {
            let delta = dts.wrapping_sub(last);
            let second = delta.wrapping_sub(step);
            (last, step) = (dts, delta);
            second
        })
        .collect();
    let mut last = 0i64;
    let pts = packets
        .pts
        .iter()
        .enumerate()
        .map(|(i, &pts)| {
            let from = packets.dts.get(i).copied().unwrap_or(last);
            last = pts;
            pts.wrapping_sub(from)
        })
        .collect();
    let mut flags: Vec<(u8, u32)> = Vec::new();
    for &flag in &packets.flags {
        match flags.last_mut() {
            Some((value, count)) if *value == flag => *count += 1,
            _ => flags.push((flag, 1)),
        }
    }
    StoredTrack {
        stream: track.stream,
        id: track.id,
        kind: track.kind,
        codec: track.codec.clone(),
        time_base: track.time_base,
        complete: track.complete,
        entry: track.entry.clone(),
        duration: packets.duration,
        gaps,
        sizes: packets.sizes.clone(),
        dts,
        pts,
        flags,
    }
}

fn unpack(stored: StoredTrack) -> Option<TrackIndex> {
    let count = stored.gaps.len();
    let timed = !stored.dts.is_empty();
    let flagged: u64 = stored.flags.iter().map(|(_, n)| u64::from(*n)).sum();
    if stored.sizes.len() != count
        || stored.pts.len() != count
        || (timed && stored.dts.len() != count)
        || flagged != count as u64
        || stored.time_base.den <= 0
        || stored.time_base.num <= 0
    {
        return None;
    }
    let mut end = 0u64;
    let offsets = stored
        .gaps
        .iter()
        .zip(&stored.sizes)
        .map(|(&gap, &size)| {
            let offset = end.wrapping_add(gap as u64);
            end = offset.wrapping_add(u64::from(size));
            offset
        })
        .collect();
    let (mut last, mut step) = (0i64, 0i64);
    let dts: Vec<i64> = stored
        .dts
        .iter()
        .map(|&second| {
            step = step.wrapping_add(second);
            last = last.wrapping_add(step);
            last
        })
        .collect();
    let mut last = 0i64;
    let pts = stored
        .pts
        .iter()
        .enumerate()
        .map(|(i, &delta)| {
            last = dts.get(i).copied().unwrap_or(last).wrapping_add(delta);
            last
        })
        .collect();
    let flags = stored
        .flags
        .iter()
        .flat_map(|&(flag, n)| std::iter::repeat_n(flag, n as usize))
        .collect();
    Some(TrackIndex {
        stream: stored.stream,
        id: stored.id,
        kind: stored.kind,
        codec: stored.codec,
        time_base: stored.time_base,
        complete: stored.complete,
        entry: stored.entry,
        packets: Packets {
            offsets,
            sizes: stored.sizes,
            dts,
            pts,
            flags,
            duration: stored.duration,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Packet;

    fn index(timed: bool) -> SourceIndex {
        let mut packets = Packets::new(512);
        for i in 0..1000i64 {
            let packet = Packet {
                offset: 40 + i as u64 * 700,
                size: 500 + (i % 7) as u32,
                dts: i * 512 - 1024,
                pts: i * 512 + [0, 1024, -512][i as usize % 3],
                duration: 512,
                key: i % 50 == 0,
                discard: i < 5,
                hidden: false,
            };
            packets.push(packet, timed);
        }
        SourceIndex {
            format: Format::Mp4,
            size_bytes: 1 << 20,
            digest: Digest::of(b"x"),
            head: vec![0..32, 900..1000],
            boxes: Vec::new(),
            tracks: vec![TrackIndex {
                stream: 1,
                id: 7,
                kind: TrackKind::Video,
                codec: "avc1".into(),
                time_base: TimeBase::new(1, 12800),
                complete: true,
                packets,
                entry: Entry::Matroska {
                    entry: vec![1, 2, 3],
                    delay: 0,
                },
            }],
            preamble: Preamble::Mp4 {
                ftyp: vec![9],
                matrix: vec![],
                data: std::iter::once(8..90).collect(),
            },
        }
    }

    #[test]
    fn an_index_reads_back_what_was_written() {
        for timed in [true, false] {
            let index = index(timed);
            let bytes = index.encode();
            assert!(bytes.len() < 8 * 1000, "{} bytes", bytes.len());
            assert_eq!(SourceIndex::decode(&bytes).unwrap(), index);
        }
    }

    #[test]
    fn damaged_bytes_are_refused_and_never_panic() {
        let bytes = index(true).encode();
        assert!(SourceIndex::decode(&bytes[..bytes.len() / 2]).is_err());
        assert!(SourceIndex::decode(b"").is_err());
        for at in 0..200 {
            let mut copy = bytes.clone();
            copy[at] ^= 0x40;
            let _ = SourceIndex::decode(&copy);
        }
    }
}
