//! The level that a sample description of H.264 names.
//!
//! x264 chooses the lowest level that a peak limit allows. A Chunk that has to keep a tighter limit than others may be of a lower level
//! for that, and still fits to them: a level says what a decoder must be able to do, and how nothing is decoded.

use super::boxes::measure;
use super::chunk::{STSD_HEAD, VIDEO_ENTRY_HEAD};

/// A sample description that says nothing of a level. That of another codec is left as it is.
pub fn without_level(stsd: &[u8]) -> Vec<u8> {
    let mut out = stsd.to_vec();
    for place in places(stsd).unwrap_or_default() {
        out[place] = 0;
    }
    out
}

/// The level it names, times ten.
pub(super) fn level(stsd: &[u8]) -> Option<u8> {
    let first = *places(stsd)?.first()?;
    stsd.get(first).copied()
}

/// Where the level stands: in the record, and in each of its sequence parameter sets. `None`: it is no H.264, or not well formed.
fn places(stsd: &[u8]) -> Option<Vec<usize>> {
    let mut at = STSD_HEAD + VIDEO_ENTRY_HEAD;
    let record = loop {
        let rest = stsd.get(at..)?;
        let (kind, head, size) = measure(rest, rest.len() as u64)?;
        if &kind == b"avcC" {
            break at + head as usize;
        }
        at += usize::try_from(size).ok().filter(|size| *size >= 8)?;
    };
    // Version, profile, compatibility, level, length of lengths, number of sets; then each with its length in front, and the same
    // three bytes behind the byte that says what it is.
    let mut places = vec![record + 3];
    let sets = stsd.get(record + 5)? & 0x1f;
    let mut at = record + 6;
    for _ in 0..sets {
        let length = usize::from(u16::from_be_bytes(stsd.get(at..at + 2)?.try_into().ok()?));
        stsd.get(at + 2..at + 2 + length)
            .filter(|set| set.len() > 3)?;
        places.push(at + 2 + 3);
        at += 2 + length;
    }
    stsd.get(record + 3)?;
    Some(places)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::boxes::{put, put_full, put_u16, put_u32};
    use super::*;

    /// A description of H.264 of a level.
    pub(in super::super) fn description(level: u8) -> Vec<u8> {
        let mut out = Vec::new();
        put_full(&mut out, b"stsd", 0, 0, |out| {
            put_u32(out, 1);
            put(out, b"avc1", |out| {
                out.extend_from_slice(&[0; 78]);
                put(out, b"pasp", |out| out.extend_from_slice(&[1; 8]));
                put(out, b"avcC", |out| {
                    out.extend_from_slice(&[1, 100, 0, level, 0xff, 0xe1]);
                    put_u16(out, 5);
                    out.extend_from_slice(&[0x67, 100, 0, level, 0xac]);
                    out.extend_from_slice(&[1, 0, 2, 0x68, 0xee]);
                });
            });
        });
        out
    }

    #[test]
    fn a_level_is_found_wherever_it_stands_and_nothing_else_is_touched() {
        let (low, high) = (description(12), description(13));
        assert_ne!(low, high);
        assert_eq!((level(&low), level(&high)), (Some(12), Some(13)));
        assert_eq!(without_level(&low), without_level(&high));
        let changed = low
            .iter()
            .zip(without_level(&low))
            .filter(|(a, b)| **a != *b);
        assert_eq!(changed.count(), 2);
    }

    #[test]
    fn what_is_no_h264_or_cut_off_is_left_as_it_is() {
        let whole = description(31);
        for cut in 0..whole.len() - 8 {
            let part = &whole[..cut];
            assert!(without_level(part).len() == cut);
        }
        let mut other = whole.clone();
        let at = other.windows(4).position(|kind| kind == b"avcC").unwrap();
        other[at..at + 4].copy_from_slice(b"hvcC");
        assert_eq!(without_level(&other), other);
        assert_eq!(level(&other), None);
    }
}
