//! Reading a Chunk of which only a part is here.
//!
//! ```text
//!   FFmpeg's:   [ftyp][free][mdat: frames ...............][moov][rows][check]
//!   joined:     [ftyp][moov][mdat: frames ..................................]
//! ```
//!
//! Either way the index is at one end. A part as long as everything that is no frame is holds all of it, from whichever end it
//! is taken, and how long that is follows from the length of the Chunk and that of its frames. A digest of the Chunk says nothing of
//! a part, so the index at its end brings one of its own ([`append_check`]).

use super::boxes::{Box, children, measure};
use super::chunk::{ChunkError, ChunkIndex, ROWS, of_tracks};
use super::note;
use super::read::tracks;
use recode_types::{Digest, FrameTable};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// The box at the end of a Chunk that has the SHA-256 of what comes before it, from the index on.
const CHECK: &[u8; 4] = b"rcck";

/// Puts a digest of the index at the end of a Chunk, unless its index is at its beginning. It is part of the Chunk's bytes from
/// then on.
/// # Errors
/// What the operating system says.
pub fn append_check(path: &Path) -> std::io::Result<()> {
    let file = File::open(path)?;
    let Some((at, ..)) = note::place(&file, b"moov")? else {
        return Ok(());
    };
    let frames = note::place(&file, b"mdat")?;
    if frames.is_some_and(|(frames, ..)| frames > at) {
        return Ok(());
    }
    let mut index = vec![0; (file.metadata()?.len() - at) as usize];
    file.read_exact_at(&mut index, at)?;
    note::append(path, CHECK, &Digest::of(&index).0)
}

/// One end of a Chunk, or all of it.
#[derive(Clone, Copy, Debug)]
pub enum Part<'a> {
    /// It begins with these bytes.
    Start(&'a [u8]),
    /// It ends with them.
    End(&'a [u8]),
}

impl<'a> Part<'a> {
    /// What [`super::read_chunk`] reads of all of it. `size`: of the whole Chunk in bytes; `ftyp`: the box that another Chunk
    /// of the Rendition begins with, for a part that does not begin one.
    /// # Errors
    /// [`ChunkError::Shape`]: the part does not hold the index, or it is none, or not the one that was written.
    pub fn index(self, size: u64, ftyp: &[u8]) -> Result<ChunkIndex, ChunkError> {
        let boxes = self.boxes();
        if let Self::End(bytes) = self
            && !is_as_written(bytes, &boxes)
        {
            return Err(ChunkError::Shape("its index is damaged"));
        }
        let moov = boxes.iter().find(|found| &found.kind == b"moov");
        let moov = moov.ok_or(ChunkError::Shape("it has no index"))?;
        let own = boxes.iter().find(|found| &found.kind == b"ftyp");
        let ftyp = own.map_or(ftyp, |own| own.whole);
        let (tracks, _) = tracks(moov.body, &[], size)
            .ok_or(ChunkError::Shape("its tables contradict each other"))?;
        of_tracks(ftyp.to_vec(), tracks)
    }

    /// The box that the Chunk begins with; `None`: this part does not begin it.
    pub fn ftyp(self) -> Option<&'a [u8]> {
        let boxes = self.boxes();
        let found = boxes.iter().find(|found| &found.kind == b"ftyp");
        found.map(|found| found.whole)
    }

    /// Whether the index comes before the frames.
    pub fn begins_with_index(self) -> bool {
        let boxes = self.boxes();
        let mut named = boxes.iter().map(|found| &found.kind);
        named.find(|kind| [b"moov", b"mdat"].contains(kind)) == Some(b"moov")
    }

    /// What [`super::append_rows`] put at its end; `None`: nothing that could be read.
    pub fn rows(self) -> Option<FrameTable> {
        let boxes = self.boxes();
        let rows = boxes.iter().find(|found| &found.kind == ROWS)?;
        FrameTable::decode(rows.body).ok()
    }

    /// The boxes that are all there.
    fn boxes(self) -> Vec<Box<'a>> {
        match self {
            Self::Start(bytes) => {
                let whole = |found: &Box<'_>| is_whole(found);
                children(bytes).take_while(whole).collect()
            }
            Self::End(bytes) => boxes_to_the_end(bytes),
        }
    }
}

/// The index and what follows it. What comes before are frames, which may hold anything: it is the index when box follows
/// box from there to the very end.
fn boxes_to_the_end(bytes: &[u8]) -> Vec<Box<'_>> {
    let places = bytes.windows(4).enumerate().skip(4);
    let mut named = places.filter(|(_, kind)| kind == b"moov");
    let tiled = named.find_map(|(at, _)| {
        let boxes: Vec<Box<'_>> = children(&bytes[at - 4..]).collect();
        let covered: usize = boxes.iter().map(|found| found.whole.len()).sum();
        let fits = covered == bytes.len() - (at - 4) && boxes.iter().all(is_whole);
        fits.then_some(boxes)
    });
    tiled.unwrap_or_default()
}

/// Whether these boxes, which are the last of `bytes`, are those whose digest is in the last one. Where there is none, nobody can
/// tell.
fn is_as_written(bytes: &[u8], boxes: &[Box<'_>]) -> bool {
    let [before @ .., check] = boxes else {
        return true;
    };
    if &check.kind != CHECK {
        return true;
    }
    let length: usize = before.iter().map(|found| found.whole.len()).sum();
    let end = bytes.len() - check.whole.len();
    Digest::of(&bytes[end - length..end]).0 == check.body
}

/// One of no stated length reaches to the end, wherever that is: nobody writes such a one here.
fn is_whole(found: &Box<'_>) -> bool {
    let length = found.whole.len() as u64;
    !found.whole.starts_with(&[0; 4])
        && measure(found.whole, length).is_some_and(|(_, _, stated)| stated == length)
}

#[cfg(test)]
mod tests {
    use super::super::boxes::put;
    use super::*;

    fn boxed(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, kind, |out| out.extend_from_slice(body));
        out
    }

    fn kinds(part: Part<'_>) -> Vec<[u8; 4]> {
        part.boxes().iter().map(|found| found.kind).collect()
    }

    #[test]
    fn the_index_is_found_at_the_end_whatever_the_frames_before_it_look_like() {
        let index = [boxed(b"moov", &[1; 40]), boxed(b"rcrw", &[2; 9])].concat();
        // Frames that hold something like an index.
        for frames in [
            &b""[..],
            b"moov",
            b"\0\0\0\x09moov..",
            b"\0\0\0\0moov",
            b"\xff\xff\xff\xffmoov!",
        ] {
            let bytes = [frames, &index].concat();
            let found = Part::End(&bytes).boxes();
            let moov = found.first().expect("it is there");
            assert_eq!(moov.body, [1; 40], "{frames:?}");
            assert_eq!(kinds(Part::End(&bytes)), [*b"moov", *b"rcrw"]);
        }
        let cut = &index[..index.len() - 1];
        assert!(kinds(Part::End(cut)).is_empty());
    }

    #[test]
    fn only_boxes_that_are_all_there_count_at_the_start() {
        let bytes = [
            boxed(b"ftyp", b"isom"),
            boxed(b"moov", &[1; 40]),
            boxed(b"mdat", &[7; 100]),
        ]
        .concat();
        let at_mdat = 12 + 48 + 8;
        assert_eq!(kinds(Part::Start(&bytes[..at_mdat])), [*b"ftyp", *b"moov"]);
        assert_eq!(kinds(Part::Start(&bytes[..50])), [*b"ftyp"]);
        assert_eq!(kinds(Part::Start(&bytes)).len(), 3);
        assert_eq!(Part::Start(&bytes[..50]).ftyp().unwrap().len(), 12);
        assert!(Part::Start(&bytes[..50]).index(160, b"").is_err());
    }
}
