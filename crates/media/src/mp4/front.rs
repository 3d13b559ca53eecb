//! The index of an MP4 that FFmpeg has written goes to its front, without the rest being read again.
//!
//! FFmpeg writes `ftyp`, eight bytes to spare and `mdat`, whose length it fills in when the last packet is there; only then
//! comes `moov`. With `+faststart` it would move everything behind `ftyp` to make room for `moov`. Whoever puts the file
//! together elsewhere needs no such move: `ftyp`, a `moov` with other offsets, then the rest as it is. The bytes are the
//! same.

use super::boxes::{children, measure, put};
use crate::bytes::Headed;
use bytes::Bytes;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// All that comes before the first packet fits into it.
const START_BYTES: usize = 256;

/// A larger index is damage: 10 h at 60 fps with four tracks take about 100 MB.
const LARGEST_INDEX: u64 = 1 << 30;

/// Whether FFmpeg is still writing packets into this file, so that all bytes behind the first few are final.
///
/// # Errors
/// The file cannot be read.
pub fn takes_packets(file: &File) -> io::Result<bool> {
    Ok(is_open(&start_of(file)?))
}

fn start_of(file: &File) -> io::Result<Vec<u8>> {
    let mut start = vec![0; START_BYTES];
    let length = file.read_at(&mut start, 0)?;
    start.truncate(length);
    Ok(start)
}

/// Only what FFmpeg writes at first counts: a length that is half written is none.
fn is_open(start: &[u8]) -> bool {
    let open = || {
        let (kind, _, length) = measure(start, 0)?;
        let rest = start.get(usize::try_from(length).ok()?..)?;
        let spare = rest.starts_with(b"\0\0\0\x08free") || rest.starts_with(b"\0\0\0\x08wide");
        Some(kind == *b"ftyp" && spare && rest.get(8..16)? == b"\0\0\0\0mdat")
    };
    open().unwrap_or(false)
}

/// The finished file as it is with its index at the front.
///
/// # Errors
/// `InvalidData`: FFmpeg did not finish it, or not in the order that is described above.
pub fn index_first(file: &Arc<File>) -> io::Result<Headed> {
    let size = file.metadata()?.len();
    let start = start_of(file)?;
    let wrong = |what: &str| {
        let text = format!("the file is not a finished MP4: {what}");
        io::Error::new(io::ErrorKind::InvalidData, text)
    };
    let mut at = 0;
    let mut ftyp = 0;
    let media_end = loop {
        let here = usize::try_from(at).ok().and_then(|at| start.get(at..));
        let box_ = here.and_then(|here| measure(here, 0));
        let Some((kind, _, length)) = box_ else {
            return Err(wrong("no mdat box where it should be"));
        };
        match &kind {
            b"ftyp" if at == 0 => ftyp = length,
            b"mdat" if ftyp > 0 => break at + length,
            b"free" | b"wide" if ftyp > 0 => {}
            _ => return Err(wrong("it does not begin with ftyp and mdat")),
        }
        at += length;
    };
    let length = size.checked_sub(media_end).filter(|n| *n <= LARGEST_INDEX);
    let mut moov = vec![0; length.ok_or_else(|| wrong("its mdat box has no end"))? as usize];
    file.read_exact_at(&mut moov, media_end)?;
    match measure(&moov, 0) {
        Some((kind, 8, length)) if kind == *b"moov" && length == moov.len() as u64 => {}
        _ => return Err(wrong("no moov box at its end")),
    }
    let mut head = start[..ftyp as usize].to_vec();
    let moved = moved(&moov[8..]).ok_or_else(|| wrong("its moov box cannot be read"))?;
    head.extend_from_slice(&moved);
    Ok(Headed {
        head: Bytes::from(head),
        file: Arc::clone(file),
        from: ftyp,
        end: media_end,
    })
}

/// The `moov` box with this content, for a file in which it stands before everything its offsets name.
fn moved(content: &[u8]) -> Option<Vec<u8>> {
    let mut by = 8 + content.len() as u64;
    loop {
        let mut out = Vec::with_capacity(by as usize);
        let mut whole = true;
        put(&mut out, b"moov", |out| whole = shift_all(out, content, by));
        if !whole {
            return None;
        }
        // Offsets beyond 4 GiB are twice as long, which may push others beyond.
        match out.len() as u64 {
            length if length == by => return Some(out),
            length => by = length,
        }
    }
}

/// Appends boxes, their chunk offsets greater `by` so much. `false`: they are none.
fn shift_all(out: &mut Vec<u8>, content: &[u8], by: u64) -> bool {
    let mut read = 0;
    for child in children(content) {
        read += child.whole.len();
        let good = match &child.kind {
            b"trak" | b"mdia" | b"minf" | b"stbl" => {
                let mut good = true;
                put(out, &child.kind, |out| {
                    good = shift_all(out, child.body, by)
                });
                good
            }
            b"stco" => shift(out, child.body, 4, by).is_some(),
            b"co64" => shift(out, child.body, 8, by).is_some(),
            _ => {
                out.extend_from_slice(child.whole);
                true
            }
        };
        if !good {
            return false;
        }
    }
    read == content.len()
}

/// Appends a table of chunk offsets: short ones where they fit, as FFmpeg chooses.
fn shift(out: &mut Vec<u8>, table: &[u8], width: usize, by: u64) -> Option<()> {
    let (head, entries) = table.split_at_checked(8)?;
    let count = u32::from_be_bytes(head[4..].try_into().ok()?) as usize;
    if entries.len() != count.checked_mul(width)? {
        return None;
    }
    let offsets = entries.chunks_exact(width).map(|entry| {
        let old = entry.iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
        old + by
    });
    let greatest = offsets.clone().max();
    let long = greatest.is_some_and(|n| n > u64::from(u32::MAX));
    put(out, if long { b"co64" } else { b"stco" }, |out| {
        out.extend_from_slice(head);
        for offset in offsets {
            match u32::try_from(offset) {
                Ok(short) if !long => out.extend_from_slice(&short.to_be_bytes()),
                _ => out.extend_from_slice(&offset.to_be_bytes()),
            }
        }
    });
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::boxes::put_u32;
    use super::*;

    fn table(kind: &[u8; 4], offsets: &[u64]) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, kind, |out| {
            put_u32(out, 0);
            put_u32(out, offsets.len() as u32);
            for offset in offsets {
                match kind {
                    b"stco" => put_u32(out, *offset as u32),
                    _ => out.extend_from_slice(&offset.to_be_bytes()),
                }
            }
        });
        out
    }

    /// The content of a `moov` box.
    fn movie(tables: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, b"mvhd", |out| out.resize(out.len() + 20, 1));
        for table in tables {
            put(&mut out, b"trak", |out| {
                put(out, b"tkhd", |out| out.push(2));
                put(out, b"mdia", |out| {
                    put(out, b"minf", |out| {
                        put(out, b"stbl", |out| out.extend_from_slice(table));
                    });
                });
            });
        }
        put(&mut out, b"udta", |out| out.extend_from_slice(b"no box"));
        out
    }

    #[test]
    fn offsets_grow_by_the_index_and_those_beyond_four_gigabytes_get_longer() {
        let top = u64::from(u32::MAX);
        let check = |old: &[(&[u8; 4], Vec<u64>)], kinds: &[&[u8; 4]]| {
            let tables: Vec<_> = old.iter().map(|(kind, at)| table(kind, at)).collect();
            let made = moved(&movie(&tables)).unwrap();
            let by = made.len() as u64;
            let expected = old.iter().zip(kinds).map(|((_, at), kind)| {
                let at: Vec<u64> = at.iter().map(|n| n + by).collect();
                table(kind, &at)
            });
            let expected = movie(&expected.collect::<Vec<_>>());
            let mut whole = Vec::new();
            put(&mut whole, b"moov", |out| out.extend_from_slice(&expected));
            assert!(made == whole);
        };
        check(
            &[(b"stco", vec![48, 1000]), (b"stco", vec![])],
            &[b"stco", b"stco"],
        );
        check(&[(b"co64", vec![48, top + 9])], &[b"co64"]);
        check(
            &[(b"stco", vec![48, top - 9]), (b"stco", vec![60])],
            &[b"co64", b"stco"],
        );
        // The second needs more only because the first does.
        let one = movie(&[table(b"stco", &[48, 50, top]), table(b"stco", &[top])]).len() as u64 + 8;
        check(
            &[(b"stco", vec![48, 50, top]), (b"stco", vec![top - one])],
            &[b"co64", b"co64"],
        );
    }

    #[test]
    fn a_table_that_lies_about_its_length_is_refused() {
        let mut lies = table(b"stco", &[1, 2]);
        lies[15] = 3;
        assert_eq!(moved(&movie(&[lies])), None);
    }

    #[test]
    fn a_file_takes_packets_until_the_length_of_its_media_is_filled_in() {
        let start = |spare: &[u8], mdat: &[u8]| {
            let mut start = b"\0\0\0\x14ftypisom\0\0\0\0isom".to_vec();
            start.extend_from_slice(spare);
            start.extend_from_slice(mdat);
            start
        };
        assert!(is_open(&start(b"\0\0\0\x08free", b"\0\0\0\0mdatxyz")));
        assert!(is_open(&start(b"\0\0\0\x08wide", b"\0\0\0\0mdat")));
        for (spare, mdat) in [
            (b"\0\0\0\x08free", &b"\0\0\x10\0mdatxyz"[..]),
            // 64 bits, which take the place of what was to spare; half written too.
            (b"\0\0\0\x01mdat", b"\0\0\0\x01\0\0\0\0"),
            (b"\0\0\0\x01free", b"\0\0\0\0mdat"),
            (b"\0\0\0\x08free", b"\0\0\0\0mda"),
            (b"\0\0\0\x08moov", b"\0\0\0\0mdat"),
        ] {
            assert!(!is_open(&start(spare, mdat)), "{mdat:?}");
        }
        assert!(!is_open(b"") && !is_open(b"\0\0\0\x14ftypisom"));
    }
}
