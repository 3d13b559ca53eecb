//! Edit lists, as FFmpeg applies them.
//!
//! FFmpeg keeps the packets from the key frame before the edit to the second key frame at or after its end, marks those
//! outside the edit for discarding, and moves the timeline so that the first shown frame stands at the sum of the empty
//! edits before it. A track with several non-empty edits is left to the scan class: what FFmpeg shows there depends on
//! details of its packet queue.

use super::moov::{Edit, Samples};
use recode_types::Trim;
use recode_types::time::Rational;
use std::ops::Range;

/// What an edit list does to a track's samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edited {
    /// Samples FFmpeg keeps, in decode order.
    pub(super) kept: Range<usize>,
    /// Media times that are shown; samples outside are decoded and discarded.
    pub(super) shown: Range<i64>,
    /// Shown time = media time + `shift`.
    pub(super) shift: i64,
}

/// What is hidden at the start and still taken for the priming of a codec, in seconds. That of HE-AAC is 0.12 s.
const LONGEST_PRIMING: f64 = 0.15;

/// What `edits` leave of a track, whose samples are all in `moov`.
pub(super) fn trim(edits: &[Edit], timescale: u32) -> Trim {
    let mut shown = edits.iter().filter(|edit| edit.media_time != -1);
    match (shown.next(), shown.next()) {
        (_, Some(_)) => Trim::Pieces,
        (Some(edit), None) if edit.media_time as f64 > LONGEST_PRIMING * f64::from(timescale) => {
            Trim::Later
        }
        _ => Trim::Whole,
    }
}

/// Ticks of the movie in ticks of the track.
fn rescale(duration: i64, timescale: u32, movie_timescale: u32) -> i64 {
    let media = Rational::new(1, i64::from(timescale));
    Rational::new(1, i64::from(movie_timescale)).rescale(duration, media)
}

/// How far FFmpeg moves the timeline of a fragmented track: media time less this.
pub(super) fn offset(edits: &[Edit], timescale: u32, movie_timescale: u32) -> i64 {
    if movie_timescale == 0 {
        return 0;
    }
    let (empty, rest) = match edits {
        [first, rest @ ..] if first.media_time == -1 => (first.duration, rest),
        all => (0, all),
    };
    let start = rest.first().map_or(0, |edit| edit.media_time).max(0);
    start.saturating_sub(rescale(empty, timescale, movie_timescale))
}

/// Applies `edits` to a track that has all its samples in `moov`. `None`: not as simple as this module knows.
pub(super) fn apply(
    edits: &[Edit],
    timescale: u32,
    movie_timescale: u32,
    samples: &Samples,
) -> Option<Edited> {
    let all = &samples.samples;
    let blank = edits
        .iter()
        .take_while(|edit| edit.media_time == -1)
        .count();
    if edits.is_empty() || movie_timescale == 0 || all.is_empty() {
        return Some(Edited {
            kept: 0..all.len(),
            shown: i64::MIN..i64::MAX,
            shift: 0,
        });
    }
    let [edit] = edits[blank..] else {
        return None;
    };
    if edit.media_time < 0 || edits.iter().any(|edit| edit.duration < 0) {
        return None;
    }
    let empty: i64 = edits[..blank]
        .iter()
        .map(|edit| rescale(edit.duration, timescale, movie_timescale))
        .sum();
    let from = edit.media_time;
    let to = from.checked_add(rescale(edit.duration, timescale, movie_timescale))?;

    let first = first_kept(samples, from);
    let mut kept = first..all.len();
    let mut shift = None;
    let mut earliest: i64 = -1;
    let mut key_after = false;
    for (i, sample) in all.iter().enumerate().skip(first) {
        let shown_at = sample.dts + i64::from(sample.shift);
        let duration = match all.get(i + 1) {
            Some(next) => next.dts - sample.dts,
            None => to - from,
        };
        if (from..to).contains(&shown_at) {
            // The first shown sample in decode order is decoded when the edit begins.
            let shift = *shift.get_or_insert(empty - sample.dts);
            let at = shown_at + shift;
            earliest = if earliest < 0 { at } else { earliest.min(at) };
        }
        if shown_at + duration >= to && sample.key {
            if samples.reordered && !key_after {
                // Leading pictures of this key frame may belong to the edit.
                key_after = true;
                continue;
            }
            kept.end = i + 1;
            break;
        }
    }
    let shift = shift.unwrap_or(empty - from) - (earliest - empty).max(0);
    Some(Edited {
        kept,
        shown: from..to,
        shift,
    })
}

/// Where decoding for `time` begins.
fn first_kept(samples: &Samples, time: i64) -> usize {
    let all = &samples.samples;
    let before = all.partition_point(|sample| sample.dts <= time);
    let key = all[..before].iter().rposition(|sample| {
        let shift = if samples.reordered { sample.shift } else { 0 };
        sample.key && sample.dts + i64::from(shift) <= time
    });
    match key {
        Some(key) => key,
        None if samples.reordered => 0,
        None => before.saturating_sub(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priming_is_no_trim_and_what_is_empty_no_piece() {
        let edit = |media_time| Edit {
            duration: 1000,
            media_time,
        };
        let trim = |times: &[i64]| {
            let edits: Vec<Edit> = times.iter().map(|t| edit(*t)).collect();
            super::trim(&edits, 48_000)
        };
        assert_eq!(trim(&[]), Trim::Whole);
        assert_eq!(trim(&[-1, 1024]), Trim::Whole);
        assert_eq!(trim(&[-1, 48_000]), Trim::Later);
        assert_eq!(trim(&[1024, -1, 1024]), Trim::Pieces);
    }
}
