//! Which Segment is handed out when.

use recode_types::{Segment, SegmentLength};

/// The order in which Segments of a Job that asked for `length` are handed out: long ones in film order, then the small ones,
/// longest first, so that the last to finish are the smallest. Spread ones plainly longest first.
pub fn order(segments: &[Segment], length: SegmentLength) -> Vec<u32> {
    if length == SegmentLength::Spread {
        return longest_first(segments.iter());
    }
    let mut lengths: Vec<u32> = segments.iter().map(|s| s.rows).collect();
    lengths.sort_unstable();
    let Some(&middle) = lengths.get(lengths.len() / 2) else {
        return Vec::new();
    };
    let small = |s: &Segment| u64::from(s.rows) * 10 < u64::from(middle) * 9;
    let mut order: Vec<u32> = segments
        .iter()
        .filter(|s| !small(s))
        .map(|s| s.index)
        .collect();
    order.extend(longest_first(segments.iter().filter(|s| small(s))));
    order
}

fn longest_first<'a>(segments: impl Iterator<Item = &'a Segment>) -> Vec<u32> {
    let mut all: Vec<&Segment> = segments.collect();
    all.sort_by_key(|s| (std::cmp::Reverse(s.rows), s.index));
    all.iter().map(|s| s.index).collect()
}
