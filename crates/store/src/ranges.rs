//! Byte ranges: joining and cutting them, and a cache that fetches every byte of a remote Source once.

mod cache;
mod map;

pub use cache::{Cache, Fetch, Guard, Options, Stats};

use std::ops::Range;

/// Cuts `range` into consecutive parts of at most `longest` bytes. An empty range is one empty part.
///
/// # Panics
/// When `longest` is zero.
pub fn split(range: Range<u64>, longest: u64) -> Vec<Range<u64>> {
    assert!(longest > 0, "a part has a length");
    let mut parts = Vec::new();
    let mut start = range.start;
    while range.end.saturating_sub(start) > longest {
        parts.push(start..start + longest);
        start += longest;
    }
    parts.push(start..range.end.max(start));
    parts
}

/// Sorts ranges and joins those that overlap, touch, or leave a gap of at most `gap` bytes: reading a small gap costs less
/// than another request.
/// # Shape
/// Sorted, disjoint, none empty, more than `gap` apart.
pub fn coalesce(ranges: impl IntoIterator<Item = Range<u64>>, gap: u64) -> Vec<Range<u64>> {
    let mut sorted: Vec<_> = ranges.into_iter().filter(|r| r.start < r.end).collect();
    sorted.sort_by_key(|r| r.start);
    let mut joined: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match joined.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(gap) => {
                last.end = last.end.max(range.end);
            }
            _ => joined.push(range),
        }
    }
    joined
}

/// What is left of `range` without `taken`, which is sorted and does not overlap.
pub fn without(range: Range<u64>, taken: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut left = Vec::new();
    let mut at = range.start;
    for gone in taken {
        if at < gone.start.min(range.end) {
            left.push(at..gone.start.min(range.end));
        }
        at = at.max(gone.end);
    }
    if at < range.end {
        left.push(at..range.end);
    }
    left
}

/// The bytes in all of `ranges`, which do not overlap.
pub fn total(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|r| r.end - r.start).sum()
}

#[cfg(test)]
#[allow(
    clippy::single_range_in_vec_init,
    reason = "lists of ranges, some of one"
)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts_follow_each_other() {
        assert_eq!(split(3..10, 3), [3..6, 6..9, 9..10]);
        assert_eq!(split(3..9, 3), [3..6, 6..9]);
        assert_eq!(split(5..5, 3), std::slice::from_ref(&(5..5)));
        assert_eq!(
            split(u64::MAX - 1..u64::MAX, 3),
            std::slice::from_ref(&(u64::MAX - 1..u64::MAX))
        );
    }

    #[test]
    fn what_is_left_lies_between_what_is_taken() {
        assert_eq!(without(2..10, &[0..3, 5..6, 9..20]), [3..5, 6..9]);
        assert_eq!(without(2..10, &[]), std::slice::from_ref(&(2..10)));
        assert_eq!(without(2..10, &[20..30]), std::slice::from_ref(&(2..10)));
        assert_eq!(without(2..10, &[0..10]), []);
        assert_eq!(without(5..5, &[0..1]), []);
    }

    proptest! {
        #[test]
        fn coalescing_covers_everything_and_little_more(
            spans in prop::collection::vec((0u64..200, 0u64..20), 0..20), gap in 0u64..8,
        ) {
            let joined = coalesce(spans.iter().map(|(s, n)| *s..s + n), gap);
            prop_assert!(joined.windows(2).all(|w| w[0].end + gap < w[1].start));
            let wanted = |b: u64| spans.iter().any(|(s, n)| (*s..s + n).contains(&b));
            for byte in 0..230 {
                let held = joined.iter().any(|r| r.contains(&byte));
                prop_assert!(held || !wanted(byte));
            }
            prop_assert!(joined.iter().all(|r| wanted(r.start) && wanted(r.end - 1)));
        }
    }
}
