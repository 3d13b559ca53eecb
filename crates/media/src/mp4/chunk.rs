//! Reading a Chunk: an MP4 or MOV with one video track, as FFmpeg wrote it.

use super::boxes::{children, put};
use super::note;
use crate::bytes::{ByteSource, FileSource, ready};
use crate::index::{Entry, Error as IndexError, Preamble, TrackIndex};
use recode_types::time::TimeBase;
use recode_types::{FrameTable, TrackKind};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// A Chunk that cannot be read: make it again.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    /// The file could not be read.
    #[error("cannot read the chunk")]
    Io(#[from] std::io::Error),
    /// It is no MP4/MOV with exactly one video track.
    #[error("the chunk is not what an encoder should have written: {0}")]
    Shape(&'static str),
}

/// One encoded frame of a Chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkSample {
    /// First byte in the Chunk's file.
    pub offset: u64,
    /// Length in bytes.
    pub size: u32,
    /// Decode time as FFmpeg shows it.
    pub dts: i64,
    /// Presentation time as FFmpeg shows it (edit list applied).
    pub pts: i64,
    /// Key frame.
    pub key: bool,
}

/// What a Chunk holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkIndex {
    /// `ftyp` box, verbatim.
    pub ftyp: Vec<u8>,
    /// `stsd` box: sample entry with parameter sets. Chunks of a Rendition must agree in it, so what only states how
    /// many bits this Chunk took is left out (`btrt`) or blank (bit rates in `esds`).
    pub sample_description: Vec<u8>,
    /// `tkhd` box, verbatim: matrix and display size.
    pub tkhd: Vec<u8>,
    /// Seconds per tick of the samples' times.
    pub time_base: TimeBase,
    /// Encoded frames in decode order.
    pub samples: Vec<ChunkSample>,
}

impl ChunkIndex {
    /// Bytes of all encoded frames.
    pub fn payload_bytes(&self) -> u64 {
        self.samples.iter().map(|s| u64::from(s.size)).sum()
    }

    /// When the last key frame is shown, in microseconds from the first frame, and how many frames follow it.
    pub fn last_key(&self) -> (i64, usize) {
        let Some(at) = self.samples.iter().rposition(|s| s.key) else {
            return (0, self.samples.len());
        };
        let first = self.samples.iter().map(|s| s.pts).min().unwrap_or(0);
        let micro = TimeBase::new(1, 1_000_000);
        let time_us = self.time_base.rescale(self.samples[at].pts - first, micro);
        (time_us, self.samples.len() - at - 1)
    }

    /// Presentation times in order.
    pub fn presented(&self) -> Vec<i64> {
        let mut pts: Vec<i64> = self.samples.iter().map(|s| s.pts).collect();
        pts.sort_unstable();
        pts
    }
}

/// Reads what an encoder wrote: the index only, no frame.
/// # Errors
/// [`ChunkError`].
pub fn read_chunk(path: &Path) -> Result<ChunkIndex, ChunkError> {
    read_chunk_from(&FileSource::open(path)?.in_place())
}

/// The box at the end of a Chunk that brings the rows of its Segment.
pub(super) const ROWS: &[u8; 4] = b"rcrw";

/// Puts the frame table of its Segment at the end of a Chunk, where nobody could say before what rows there are. It is part
/// of the Chunk's bytes from then on: they are stored, kept and verified together.
/// # Errors
/// What the operating system says.
pub fn append_rows(path: &Path, rows: &FrameTable) -> std::io::Result<()> {
    note::append(path, ROWS, &rows.encode())
}

/// What [`append_rows`] put there; `None`: nothing that could be read.
/// # Errors
/// What the operating system says.
pub fn read_rows(path: &Path) -> std::io::Result<Option<FrameTable>> {
    let found = note::read(path, ROWS)?;
    Ok(found.and_then(|body| FrameTable::decode(&body).ok()))
}

/// Whether every sample of an H.264 or H.265 Chunk is a row of whole NAL units, by their lengths: what a torn or misplaced
/// write would break. Of other codecs nothing is asked.
/// # Errors
/// [`ChunkError`].
pub fn check_units(path: &Path, index: &ChunkIndex) -> Result<(), ChunkError> {
    let entry = index.sample_description.get(STSD_HEAD + 4..STSD_HEAD + 8);
    let known: [&[u8]; 4] = [b"avc1", b"avc3", b"hvc1", b"hev1"];
    if !entry.is_some_and(|kind| known.contains(&kind)) {
        return Ok(());
    }
    let file = std::fs::File::open(path)?;
    let mut bytes = Vec::new();
    for sample in &index.samples {
        bytes.resize(sample.size as usize, 0);
        file.read_exact_at(&mut bytes, sample.offset)?;
        if !whole_units(&bytes) {
            return Err(ChunkError::Shape("a frame is no row of whole NAL units"));
        }
    }
    Ok(())
}

/// FFmpeg writes lengths of four bytes.
fn whole_units(mut bytes: &[u8]) -> bool {
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        match rest.split_at_checked(length) {
            Some((unit, rest)) if !unit.is_empty() => bytes = rest,
            _ => return false,
        }
    }
    bytes.is_empty()
}

pub(super) fn read_chunk_from(source: &dyn ByteSource) -> Result<ChunkIndex, ChunkError> {
    if source.size() == 0 {
        return Err(ChunkError::Shape("it is empty"));
    }
    let index = match ready(super::read(source)) {
        Ok(Some(index)) => index,
        Ok(None) => return Err(ChunkError::Shape("its tables contradict each other")),
        Err(IndexError::Io(e)) => return Err(e.into()),
        Err(_) => return Err(ChunkError::Shape("it has no index")),
    };
    let Preamble::Mp4 { ftyp, .. } = index.preamble else {
        return Err(ChunkError::Shape("it is not MP4"));
    };
    of_tracks(ftyp, index.tracks)
}

/// The index of a Chunk that begins with `ftyp` and has these tracks.
pub(super) fn of_tracks(ftyp: Vec<u8>, tracks: Vec<TrackIndex>) -> Result<ChunkIndex, ChunkError> {
    let mut tracks = tracks.into_iter();
    let (Some(track), None) = (tracks.next(), tracks.next()) else {
        return Err(ChunkError::Shape("it has not exactly one track"));
    };
    let Entry::Mp4 { stsd, tkhd, .. } = track.entry else {
        return Err(ChunkError::Shape("it is not MP4"));
    };
    if track.kind != TrackKind::Video {
        return Err(ChunkError::Shape("its track is no video"));
    }
    if track.packets.iter().any(|packet| packet.discard) {
        return Err(ChunkError::Shape("its edit list hides frames"));
    }
    let samples = track
        .packets
        .iter()
        .map(|packet| ChunkSample {
            offset: packet.offset,
            size: packet.size,
            dts: packet.dts,
            pts: packet.pts,
            key: packet.key,
        })
        .collect();
    Ok(ChunkIndex {
        ftyp,
        sample_description: without_rates(&stsd)
            .ok_or(ChunkError::Shape("its sample description is damaged"))?,
        tkhd,
        time_base: track.time_base,
        samples,
    })
}

/// Bytes of `stsd` before its first entry, and of a video entry before its first box.
pub(super) const STSD_HEAD: usize = 16;
pub(super) const VIDEO_ENTRY_HEAD: usize = 86;

/// A sample description without statements of bit rate. `None`: not well formed.
fn without_rates(stsd: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(stsd.len());
    put(&mut out, b"stsd", |out| {
        out.extend_from_slice(stsd.get(8..STSD_HEAD).unwrap_or_default());
        for entry in children(stsd.get(STSD_HEAD..).unwrap_or_default()) {
            put(out, &entry.kind, |out| {
                let (head, boxes) = entry
                    .whole
                    .split_at(VIDEO_ENTRY_HEAD.min(entry.whole.len()));
                out.extend_from_slice(head.get(8..).unwrap_or_default());
                for part in children(boxes) {
                    match &part.kind {
                        b"btrt" => {}
                        b"esds" => {
                            let at = out.len();
                            out.extend_from_slice(part.whole);
                            blank_rates(&mut out[at..]);
                        }
                        _ => out.extend_from_slice(part.whole),
                    }
                }
            });
        }
    });
    (stsd.len() >= STSD_HEAD && out.len() <= stsd.len()).then_some(out)
}

/// Overwrites buffer size and bit rates in an `esds` box with zeros.
fn blank_rates(esds: &mut [u8]) {
    // Box header, version and flags; then nested descriptors: tag, length of one or more bytes, content.
    let mut at = 12;
    let mut descend = |skip: usize, tag: u8| {
        (esds.get(at) == Some(&tag)).then(|| {
            at += 1;
            while esds.get(at).is_some_and(|byte| byte & 0x80 != 0) {
                at += 1;
            }
            at += 1;
            let content = at;
            at += skip;
            content
        })
    };
    // ES_Descriptor: id, and flags that are 0 in files FFmpeg writes. DecoderConfigDescriptor: type and stream type, then 3 + 4 + 4 bytes.
    let config = descend(3, 3).and_then(|_| descend(0, 4));
    if let Some(rates) = config.and_then(|config| esds.get_mut(config + 2..config + 13)) {
        rates.fill(0);
    }
}
