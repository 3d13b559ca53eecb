//! Peak limits across Chunks: where each Chunk's buffer starts, and what to change when a replay over the joined packets
//! shows that the limit is broken. The replay itself is the Node's, which has the packets.

use crate::machine::OutputRun;
use recode_types::Knob;
use recode_types::rendition::PeakLimit;
use std::collections::BTreeMap;

/// Fullness at the first frame of an Output, as decoders and x264 assume.
const FIRST_FULLNESS_MILLI: u32 = 900;
/// Fullness assumed at the first frame of all Segments but the first. Chunks that stay below the peak leave the buffer full;
/// assuming less only costs a little quality at the start of a Chunk.
const LATER_FULLNESS_MILLI: u32 = 700;
/// Below this fullness a key frame hardly fits: the Chunk before must leave more.
const LEAST_FULLNESS_MILLI: u32 = 300;

/// Buffer fullness that a Segment is encoded for, in thousandths.
pub fn start_fullness_milli(segment: u32) -> u32 {
    if segment == 0 {
        FIRST_FULLNESS_MILLI
    } else {
        LATER_FULLNESS_MILLI
    }
}

/// New knobs for the Chunks that the last stitch found to break the limit, sorted by Segment.
///
/// A Chunk that assumed a fuller buffer than it gets is told the truth. One that broke the limit although it assumed no more
/// gets a smaller buffer and rate (encoders are not exact). Where hardly anything was left at its start, the Chunk before
/// is made again with a smaller rate too.
pub fn revise(output: &OutputRun) -> Vec<(u32, Knob)> {
    let mut changed: BTreeMap<u32, Knob> = BTreeMap::new();
    for &(segment, fullness_milli, missing_bits) in &output.violations {
        let Some(mut knob) = changed.get(&segment).copied().or(knob_of(output, segment)) else {
            continue;
        };
        if knob.buffer_start_milli > fullness_milli.saturating_sub(20) && segment > 0 {
            knob.buffer_start_milli = fullness_milli.saturating_sub(50).max(50);
        } else if let Some(peak) = &mut knob.peak {
            let missing = missing_bits.min(peak.bufsize_bits / 4);
            *peak = PeakLimit {
                maxrate_bps: peak.maxrate_bps * 97 / 100,
                bufsize_bits: (peak.bufsize_bits - missing) * 95 / 100,
            };
        }
        changed.insert(segment, knob);
        if fullness_milli < LEAST_FULLNESS_MILLI
            && segment > 0
            && let Some(mut before) = changed
                .get(&(segment - 1))
                .copied()
                .or(knob_of(output, segment - 1))
            && let Some(peak) = &mut before.peak
        {
            peak.maxrate_bps = peak.maxrate_bps * 90 / 100;
            changed.insert(segment - 1, before);
        }
    }
    changed.into_iter().collect()
}

fn knob_of(output: &OutputRun, segment: u32) -> Option<Knob> {
    *output.knobs.get(segment as usize)?
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: PeakLimit = PeakLimit {
        maxrate_bps: 1_000_000,
        bufsize_bits: 2_000_000,
    };

    /// What is changed after `violations` in an Output of four Segments, as (segment, start, maxrate, buffer).
    fn revised(violations: &[(u32, u32, u64)]) -> Vec<(u32, u32, u64, u64)> {
        let output = OutputRun {
            knobs: (0..4)
                .map(|segment| {
                    Some(Knob {
                        quality_milli: 20_000,
                        peak: Some(LIMIT),
                        buffer_start_milli: start_fullness_milli(segment),
                    })
                })
                .collect(),
            violations: violations.to_vec(),
            ..OutputRun::default()
        };
        revise(&output)
            .into_iter()
            .map(|(segment, knob)| {
                let peak = knob.peak.expect("a limit stays a limit");
                (
                    segment,
                    knob.buffer_start_milli,
                    peak.maxrate_bps,
                    peak.bufsize_bits,
                )
            })
            .collect()
    }

    #[test]
    fn a_chunk_that_assumed_too_full_a_buffer_is_told_the_truth() {
        assert_eq!(
            revised(&[(2, 500, 1_000)]),
            [(2, 450, 1_000_000, 2_000_000)]
        );
    }

    #[test]
    fn a_chunk_that_overdrew_what_it_was_told_gets_less() {
        assert_eq!(
            revised(&[(0, 900, 100_000), (2, 1000, 0)]),
            [(0, 900, 970_000, 1_805_000), (2, 700, 970_000, 1_900_000)]
        );
    }

    #[test]
    fn where_nothing_was_left_the_chunk_before_must_leave_more() {
        assert_eq!(
            revised(&[(2, 100, 50_000)]),
            [(1, 700, 900_000, 2_000_000), (2, 50, 1_000_000, 2_000_000)]
        );
        assert_eq!(
            revised(&[(1, 100, 50_000), (2, 100, 50_000)]),
            [
                (0, 900, 900_000, 2_000_000),
                (1, 50, 900_000, 2_000_000),
                (2, 50, 1_000_000, 2_000_000)
            ]
        );
    }
}
