//! The level that a sample description of H.264 or H.265 names.
//!
//! x264 and x265 choose the lowest level (and tier) that a peak limit allows. A Chunk that has to keep a tighter limit than others may
//! be of a lower one for that, and still fits to them: a level says what a decoder must be able to do, and how nothing is decoded.

use super::boxes::measure;
use super::chunk::{STSD_HEAD, VIDEO_ENTRY_HEAD};

/// What an H.265 record and its sets call video, sequence and picture parameter sets start with: where their level lies behind that.
const VIDEO_SET: u8 = 32;
const SEQUENCE_SET: u8 = 33;

/// The bit of the tier, in the byte that also names the profile.
const TIER: u8 = 0x20;

/// Bytes from that byte to the level.
const TO_LEVEL: usize = 11;

/// A sample description that says nothing of a level. That of another codec is left as it is.
pub fn without_level(stsd: &[u8]) -> Vec<u8> {
    let mut out = stsd.to_vec();
    for place in places(stsd).unwrap_or_default() {
        out[place.level] = 0;
        if let Some(tier) = place.tier {
            out[tier] &= !TIER;
        }
    }
    out
}

/// The level it names, as its codec counts them, and whether it is of the high tier.
pub(super) fn level(stsd: &[u8]) -> Option<(u8, bool)> {
    let place = places(stsd)?.into_iter().next()?;
    let tier = place.tier.map_or(0, |at| stsd[at] & TIER);
    Some((stsd[place.level], tier != 0))
}

/// Where a level is named; all lies inside the description.
struct Place {
    level: usize,
    /// H.264 has no tiers.
    tier: Option<usize>,
}

/// In the record, and in each of its parameter sets. `None`: it is neither codec, or not well formed.
fn places(stsd: &[u8]) -> Option<Vec<Place>> {
    let mut at = STSD_HEAD + VIDEO_ENTRY_HEAD;
    loop {
        let rest = stsd.get(at..)?;
        let (kind, head, size) = measure(rest, rest.len() as u64)?;
        match &kind {
            b"avcC" => return h264(stsd, at + head as usize),
            b"hvcC" => return h265(stsd, at + head as usize),
            _ => at += usize::try_from(size).ok().filter(|size| *size >= 8)?,
        }
    }
}

/// ISO/IEC 14496-15, 5.3.3.1.
fn h264(stsd: &[u8], record: usize) -> Option<Vec<Place>> {
    // Version, profile, compatibility, level, length of lengths, number of sets; then each with its length in front, and the same
    // three bytes behind the byte that says what it is.
    let place = |level| Place { level, tier: None };
    let mut places = vec![place(record + 3)];
    let sets = stsd.get(record + 5)? & 0x1f;
    let mut at = record + 6;
    for _ in 0..sets {
        let (set, next) = prefixed(stsd, at)?;
        stsd[set..next].get(3)?;
        places.push(place(set + 3));
        at = next;
    }
    Some(places)
}

/// ISO/IEC 14496-15, 8.3.3.1.
fn h265(stsd: &[u8], record: usize) -> Option<Vec<Place>> {
    let arrays = *stsd.get(record + 22)?;
    let mut places = vec![Place {
        level: record + 1 + TO_LEVEL,
        tier: Some(record + 1),
    }];
    let mut at = record + 23;
    for _ in 0..arrays {
        let kind = stsd.get(at)? & 0x3f;
        let units = number(stsd, at + 1)?;
        at += 3;
        for _ in 0..units {
            let (unit, next) = prefixed(stsd, at)?;
            at = next;
            // Behind the two bytes of the unit: numbers of sets and layers, and in the video's 16 bits that are all one.
            let tier = match kind {
                VIDEO_SET => 6,
                SEQUENCE_SET => 3,
                _ => continue,
            };
            let bytes = &stsd[unit..next];
            places.push(Place {
                level: unit + escaped(bytes, tier + TO_LEVEL)?,
                tier: Some(unit + escaped(bytes, tier)?),
            });
        }
    }
    Some(places)
}

/// Where a unit begins that has its length of 16 bits at `at`, and what follows it.
fn prefixed(stsd: &[u8], at: usize) -> Option<(usize, usize)> {
    let next = at + 2 + number(stsd, at)?;
    stsd.get(at + 2..next)?;
    Some((at + 2, next))
}

fn number(stsd: &[u8], at: usize) -> Option<usize> {
    let two = stsd.get(at..at + 2)?;
    Some(usize::from(u16::from_be_bytes([two[0], two[1]])))
}

/// Where byte `wanted` of what a unit says stands in it: a 3 behind two zeros is only put between (ITU-T H.265, 7.4.2).
fn escaped(unit: &[u8], wanted: usize) -> Option<usize> {
    let mut zeros = 0;
    let said = unit.iter().enumerate().filter(|(_, byte)| {
        let between = zeros >= 2 && **byte == 3;
        zeros = if **byte == 0 { zeros + 1 } else { 0 };
        !between
    });
    said.map(|(at, _)| at).nth(wanted)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::boxes::{put, put_full, put_u16, put_u32};
    use super::*;

    fn description(entry: &[u8; 4], record: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_full(&mut out, b"stsd", 0, 0, |out| {
            put_u32(out, 1);
            put(out, entry, |out| {
                out.extend_from_slice(&[0; 78]);
                put(out, b"pasp", |out| out.extend_from_slice(&[1; 8]));
                put(out, record, |out| out.extend_from_slice(body));
            });
        });
        out
    }

    /// A description of H.264 of a level.
    pub(in super::super) fn h264(level: u8) -> Vec<u8> {
        let mut body = vec![1, 100, 0, level, 0xff, 0xe1];
        put_u16(&mut body, 5);
        body.extend_from_slice(&[0x67, 100, 0, level, 0xac]);
        body.extend_from_slice(&[1, 0, 2, 0x68, 0xee]);
        description(b"avc1", b"avcC", &body)
    }

    /// What x265 4.1 wrote of 720p at 60 frames a second: level 4, of the high tier with a limit of 12.5 Mbit/s.
    fn h265(tier: u8, level: u8) -> Vec<u8> {
        let mut body = vec![1, 1 | tier, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, level];
        body.extend_from_slice(&[0xf0, 0, 0xfc, 0xfd, 0xf8, 0xf8, 0, 0, 0x0f, 3]);
        body.extend_from_slice(&[0xa0, 0, 1, 0, 24, 0x40, 1, 0x0c, 1, 0xff, 0xff]);
        body.extend_from_slice(&[1 | tier, 0x60, 0, 0, 3, 0, 0x90, 0, 0, 3, 0, 0, 3, 0]);
        body.extend_from_slice(&[level, 0x95, 0x94, 9]);
        body.extend_from_slice(&[0xa1, 0, 1, 0, 43, 0x42, 1, 1]);
        body.extend_from_slice(&[1 | tier, 0x60, 0, 0, 3, 0, 0x90, 0, 0, 3, 0, 0, 3, 0]);
        body.extend_from_slice(&[level, 0xa0, 2, 0x80, 0x80, 0x2d, 0x16, 0x59, 0x59, 0x52]);
        body.extend_from_slice(&[0x93, 0x0b, 0xc0, 0x5a, 2, 0, 0, 3, 0, 2, 0, 0, 3, 0, 0x78]);
        body.extend_from_slice(&[0x10, 0xa2, 0, 1, 0, 6, 0x44, 1, 0xc0, 0x73, 0xc1, 0x89]);
        description(b"hvc1", b"hvcC", &body)
    }

    fn changed(a: &[u8], b: &[u8]) -> usize {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).filter(|(a, b)| a != b).count()
    }

    #[test]
    fn a_level_is_found_wherever_it_stands_and_nothing_else_is_touched() {
        let (low, high) = (h264(12), h264(13));
        assert_ne!(low, high);
        assert!(level(&low) < level(&high));
        assert_eq!(level(&low), Some((12, false)));
        assert_eq!(without_level(&low), without_level(&high));
        assert_eq!(changed(&low, &without_level(&low)), 2);

        let rising = [h265(0, 120), h265(TIER, 120), h265(TIER, 123)];
        for pair in rising.windows(2) {
            assert!(level(&pair[0]) < level(&pair[1]));
            assert_eq!(without_level(&pair[0]), without_level(&pair[1]));
        }
        assert_eq!(level(&rising[1]), Some((120, true)));
        assert_eq!(changed(&rising[0], &without_level(&rising[0])), 3);
        assert_eq!(changed(&rising[1], &without_level(&rising[1])), 6);
    }

    #[test]
    fn another_codec_or_what_is_cut_off_is_left_as_it_is() {
        for whole in [h264(31), h265(TIER, 120)] {
            for cut in 0..whole.len() - 8 {
                let part = &whole[..cut];
                assert_eq!(without_level(part), part);
            }
            let mut other = whole.clone();
            let at = other.windows(3).position(|kind| kind == b"vcC").unwrap();
            other[at - 1..at + 3].copy_from_slice(b"av1C");
            assert_eq!(without_level(&other), other);
            assert_eq!(level(&other), None);
        }
    }
}
