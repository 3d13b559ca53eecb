//! Evidence that the right frames went into the encoder: what the decoder gave, held against the frame table. Pure.

use recode_types::{FrameRow, Rational, TimeBase};

/// A decoded frame as the signature branch printed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Presentation time in the time base of the input FFmpeg decoded.
    pub pts: i64,
    /// CRC of the small grey picture.
    pub signature: u32,
}

/// What the table says a decode must have given.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Timestamps of the Segment's rows, in the input's time base.
    pub pts: &'a [i64],
    /// The rows themselves; their signatures count where a deep probe made them.
    pub rows: &'a [FrameRow],
    /// Half-open span of the Segment in the input's time base.
    pub span: (i64, i64),
    /// Whether frames before the span were decoded from a key frame and so are good.
    pub before_is_good: bool,
}

/// The decode gave exactly the Segment's frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// Signature of the frame before the Segment, where one was properly decoded.
    pub before: Option<u32>,
    /// Signature of the first frame.
    pub first: u32,
    /// Signature of the last frame.
    pub last: u32,
    /// Signature of the frame after the Segment, where the input held it.
    pub after: Option<u32>,
    /// Number and times fit, but some picture shows something else than when the frame table was made: of damage, no two
    /// decodes need show the same.
    pub unsteady: bool,
}

/// The decode gave something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Too few or too many frames.
    #[error("the index promises {expected} frames and the decoder gave {seen}")]
    Count {
        /// Rows of the table.
        expected: usize,
        /// Frames inside the span.
        seen: usize,
    },
    /// A frame at another time.
    #[error("frame {row} should be at {expected} and was at {seen} (ticks of the input)")]
    Time {
        /// Row within the Segment.
        row: usize,
        /// By the table.
        expected: i64,
        /// By the decoder.
        seen: i64,
    },
    /// A frame that shows something else than the linear decode showed.
    #[error("frame {row} does not show what a decode from the start shows there")]
    Picture {
        /// Row within the Segment.
        row: usize,
    },
}

/// Holds what was decoded against the table.
/// # Errors
/// [`Mismatch`]: the container lied or the decode did not start where it must; re-plan by the exact path.
pub fn match_frames(seen: &[Seen], expected: Expected<'_>) -> Result<Matched, Mismatch> {
    let (start, end) = expected.span;
    let inside: Vec<&Seen> = seen
        .iter()
        .filter(|s| s.pts >= start && s.pts < end)
        .collect();
    if inside.len() != expected.pts.len() {
        return Err(Mismatch::Count {
            expected: expected.pts.len(),
            seen: inside.len(),
        });
    }
    for (row, (seen, want)) in inside.iter().zip(expected.pts).enumerate() {
        if seen.pts != *want {
            return Err(Mismatch::Time {
                row,
                expected: *want,
                seen: seen.pts,
            });
        }
        if expected.rows[row]
            .signature
            .is_some_and(|s| s != seen.signature)
        {
            return Err(Mismatch::Picture { row });
        }
    }
    let (Some(first), Some(last)) = (inside.first(), inside.last()) else {
        return Err(Mismatch::Count {
            expected: 1,
            seen: 0,
        });
    };
    Ok(Matched {
        before: seen
            .iter()
            .rfind(|s| s.pts < start)
            .filter(|_| expected.before_is_good)
            .map(|s| s.signature),
        first: first.signature,
        last: last.signature,
        after: seen.iter().find(|s| s.pts >= end).map(|s| s.signature),
        unsteady: false,
    })
}

/// Output frame numbers of a constant rate that a half-open span of source time owns. FFmpeg's `fps` filter shows a frame
/// from the number nearest to its time on, so a span begins with the number nearest to its first frame and ends before the
/// one nearest to the next. `last`: nothing comes after, and the last frame is shown to its end. Numbers count from source
/// time zero, so that all Segments share one phase.
pub fn grid(
    start: i64,
    end: i64,
    last: bool,
    time_base: TimeBase,
    rate: Rational,
) -> std::ops::Range<i64> {
    let nearest = |pts| time_base.rescale(pts, Rational::new(rate.den, rate.num));
    let end = match last {
        false => nearest(end),
        true => {
            let num = i128::from(end) * i128::from(time_base.num) * i128::from(rate.num);
            let den = i128::from(time_base.den) * i128::from(rate.den);
            (num.div_euclid(den) + i128::from(num.rem_euclid(den) != 0)) as i64
        }
    };
    nearest(start)..end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(list: &[(i64, u32)]) -> Vec<Seen> {
        list.iter()
            .map(|&(pts, signature)| Seen { pts, signature })
            .collect()
    }
    fn rows(signatures: &[Option<u32>]) -> Vec<FrameRow> {
        signatures
            .iter()
            .map(|&signature| FrameRow {
                pts: 0,
                key: false,
                signature,
            })
            .collect()
    }

    #[test]
    fn frames_of_the_span_are_matched_and_the_neighbours_remembered() {
        let seen = seen(&[(0, 1), (10, 2), (20, 3), (30, 4)]);
        let rows = rows(&[None, Some(3)]);
        let expected = Expected {
            pts: &[10, 20],
            rows: &rows,
            span: (10, 30),
            before_is_good: true,
        };
        let matched = match_frames(&seen, expected).unwrap();
        assert_eq!(
            matched,
            Matched {
                before: Some(1),
                first: 2,
                last: 3,
                after: Some(4),
                unsteady: false,
            }
        );
        let blind = match_frames(
            &seen,
            Expected {
                before_is_good: false,
                ..expected
            },
        )
        .unwrap();
        assert_eq!(blind.before, None);
    }

    #[test]
    fn every_kind_of_lie_is_told_apart() {
        let rows2 = rows(&[None, Some(9)]);
        let expected = Expected {
            pts: &[10, 20],
            rows: &rows2,
            span: (10, 30),
            before_is_good: true,
        };
        let check = |list: &[(i64, u32)]| match_frames(&seen(list), expected).unwrap_err();
        assert_eq!(
            check(&[(10, 1)]),
            Mismatch::Count {
                expected: 2,
                seen: 1
            }
        );
        assert_eq!(
            check(&[(10, 1), (21, 9)]),
            Mismatch::Time {
                row: 1,
                expected: 20,
                seen: 21
            }
        );
        assert_eq!(check(&[(10, 1), (20, 8)]), Mismatch::Picture { row: 1 });
    }

    #[test]
    fn the_grid_of_a_constant_rate_is_partitioned_by_segments() {
        let tb = TimeBase::new(1, 90000);
        let rate = Rational::new(24000, 1001);
        let cuts = [0, 7, 90_000, 180_180, 1_000_003];
        let whole = grid(0, 1_000_003, true, tb, rate);
        let parts: Vec<i64> = cuts
            .windows(2)
            .flat_map(|w| grid(w[0], w[1], w[1] == 1_000_003, tb, rate))
            .collect();
        assert_eq!(parts, whole.collect::<Vec<_>>());
    }

    #[test]
    fn a_frame_is_shown_from_the_nearest_number_on_and_the_last_to_its_end() {
        let milli = TimeBase::new(1, 1000);
        let rate = Rational::new(25, 1);
        // 2002 ms is nearest to frame 50, not before frame 51.
        assert_eq!(grid(0, 2002, false, milli, rate), 0..50);
        assert_eq!(grid(2002, 4004, false, milli, rate), 50..100);
        assert_eq!(grid(4004, 6001, true, milli, rate), 100..151);
    }
}
