//! Peak limits across Chunks: where each Chunk's buffer starts, and what to change when a replay over the joined packets
//! shows that the limit is broken. The replay itself is the Node's, which has the packets.

use super::encoder::Encoder;
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

/// Revisions after which quality gives way with every encoder.
const REVISIONS_BY_PEAK: u32 = 2;

/// New knobs for the Chunks that the last stitch found to break the limit, sorted by Segment.
///
/// A Chunk that assumed a fuller buffer than it gets is told the truth. One that broke the limit although it assumed no more
/// gets a smaller buffer and rate (encoders are not exact). Where hardly anything was left at its start, the Chunk before
/// is made again with a smaller rate too. Where the encoder takes all that as a hint, or it did not help, quality gives way:
/// that always helps.
pub fn revise(output: &OutputRun, encoder: &Encoder) -> Vec<(u32, Knob)> {
    let by_quality = !encoder.keeps_peak || output.revisions > REVISIONS_BY_PEAK;
    let worsen = |knob: &mut Knob, log: f64| {
        if by_quality {
            knob.quality_milli = encoder.moved_milli(knob.quality_milli, -log);
        }
    };
    let mut changed: BTreeMap<u32, Knob> = BTreeMap::new();
    for &(segment, fullness_milli, missing_bits) in &output.violations {
        let Some(mut knob) = changed.get(&segment).copied().or(knob_of(output, segment)) else {
            continue;
        };
        let bufsize_bits = knob.peak.map_or(1, |peak| peak.bufsize_bits.max(1));
        let truth = fullness_milli.saturating_sub(50).max(50);
        if knob.buffer_start_milli > fullness_milli.saturating_sub(20)
            && knob.buffer_start_milli > truth
            && segment > 0
        {
            knob.buffer_start_milli = truth;
        } else if let Some(peak) = &mut knob.peak {
            let missing = missing_bits.min(peak.bufsize_bits / 4);
            *peak = PeakLimit {
                maxrate_bps: peak.maxrate_bps * 97 / 100,
                bufsize_bits: (peak.bufsize_bits - missing) * 95 / 100,
            };
        }
        // What overdrew the buffer had at least its bits at the start: it must shrink by no more than this.
        let held = bufsize_bits as f64 * f64::from(fullness_milli.max(200)) / 1000.0;
        let before = knob.quality_milli;
        worsen(
            &mut knob,
            (missing_bits as f64 / held).ln_1p().clamp(0.05, 0.7),
        );
        // The end of the scale: only the rate is left to give.
        if by_quality
            && knob.quality_milli == before
            && let Some(peak) = &mut knob.peak
        {
            peak.maxrate_bps = peak.maxrate_bps * 80 / 100;
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
            worsen(&mut before, 0.1);
            changed.insert(segment - 1, before);
        }
    }
    changed.into_iter().collect()
}

/// Whether a knob was changed for the sake of the limit: such a Chunk must not grow again.
pub fn is_revised(segment: u32, knob: &Knob, limit: Option<PeakLimit>) -> bool {
    knob.peak != limit
        || limit.is_some() && knob.buffer_start_milli != start_fullness_milli(segment)
}

fn knob_of(output: &OutputRun, segment: u32) -> Option<Knob> {
    *output.knobs.get(segment as usize)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::encoder;

    const LIMIT: PeakLimit = PeakLimit {
        maxrate_bps: 1_000_000,
        bufsize_bits: 2_000_000,
    };

    /// What is changed after `violations` in an Output of four Segments, as (segment, start, maxrate, buffer).
    fn revised(violations: &[(u32, u32, u64)]) -> Vec<(u32, u32, u64, u64)> {
        revised_by("libx264", 1, violations)
            .into_iter()
            .map(|(segment, knob)| {
                assert_eq!(knob.quality_milli, 20_000);
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

    fn revised_by(
        encoder: &str,
        revisions: u32,
        violations: &[(u32, u32, u64)],
    ) -> Vec<(u32, Knob)> {
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
            revisions,
            ..OutputRun::default()
        };
        revise(&output, encoder::named(encoder).expect("it is known"))
    }

    #[test]
    fn quality_gives_way_where_the_encoder_does_not_keep_the_limit() {
        let quality = |encoder, revisions, violation| -> u32 {
            revised_by(encoder, revisions, &[violation])[0]
                .1
                .quality_milli
        };
        assert_eq!(quality("libsvtav1", 1, (1, 500, 10_000)), 21_000);
        assert_eq!(quality("libsvtav1", 1, (1, 500, 500_000)), 25_000);
        assert_eq!(quality("libx264", 2, (1, 500, 500_000)), 20_000);
        assert!(quality("libx264", 3, (1, 500, 500_000)) > 20_000);
    }

    #[test]
    fn at_the_end_of_the_scale_the_rate_gives_way() {
        let encoder = encoder::named("libvpx-vp9").expect("it is known");
        let worst = Knob {
            quality_milli: encoder.moved_milli(63_000, -9.0),
            peak: Some(LIMIT),
            buffer_start_milli: 700,
        };
        let output = OutputRun {
            knobs: vec![Some(worst); 2].into(),
            violations: vec![(1, 900, 5_000)],
            ..OutputRun::default()
        };
        let (_, knob) = revise(&output, encoder)[0];
        assert_eq!(knob.quality_milli, worst.quality_milli);
        assert!(knob.peak.expect("it stays").maxrate_bps < 800_000);
    }

    #[test]
    fn each_revision_changes_something() {
        let mut output = OutputRun {
            knobs: vec![
                Some(Knob {
                    quality_milli: 20_000,
                    peak: Some(LIMIT),
                    buffer_start_milli: 50,
                });
                2
            ]
            .into(),
            ..OutputRun::default()
        };
        output.violations = vec![(1, 0, 5_000)];
        let knobs = revise(&output, encoder::named("libx264").expect("it is known"));
        assert_ne!(knobs.last().map(|k| k.1), output.knobs[1]);
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
