//! Whether a peak limit holds over the joined Chunks: the buffer is replayed over all packets of an Output. Pure.

use recode_types::rendition::PeakLimit;

/// One Chunk that takes more than the buffer has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its Segment.
    pub segment: u32,
    /// Fullness before its first packet, in thousandths of the buffer.
    pub start_milli: u32,
    /// Bits missing at the worst moment.
    pub missing_bits: u64,
}

/// Fullness at the first packet, as decoders and x264 assume.
const FULL_AT_FIRST: f64 = 0.9;

/// Replays the buffer. `chunks`: packet sizes in bytes in decode order, one list per Segment; `times`: when each packet
/// of the whole Output leaves the buffer, in seconds, rising.
pub fn replay(buffer: PeakLimit, chunks: &[Vec<u32>], times: &[f64]) -> Vec<Violation> {
    let size = buffer.bufsize_bits as f64;
    let mut fullness = FULL_AT_FIRST * size;
    let mut last = times.first().copied().unwrap_or_default();
    let mut at = times.iter();
    let mut found = Vec::new();
    for (segment, packets) in (0..).zip(chunks) {
        let mut start = None;
        let mut missing = 0f64;
        for bytes in packets {
            let now = *at.next().expect("one time per packet");
            fullness = (fullness + (now - last) * buffer.maxrate_bps as f64).min(size);
            last = now;
            start.get_or_insert(fullness);
            fullness -= f64::from(*bytes) * 8.0;
            if fullness < 0.0 {
                missing = missing.max(-fullness);
            }
        }
        // Less than a byte is rounding.
        if missing >= 8.0 {
            found.push(Violation {
                segment,
                start_milli: (start.unwrap_or(size) / size * 1000.0).clamp(0.0, 1000.0) as u32,
                missing_bits: missing.ceil() as u64,
            });
            // What follows is judged as if this Chunk had kept within its bounds.
            fullness = fullness.max(0.0);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_across_a_joint_is_found_in_the_chunk_that_overdraws() {
        let buffer = PeakLimit {
            maxrate_bps: 8_000,
            bufsize_bits: 8_000,
        };
        let times = [0.0, 0.5, 1.0, 1.5];
        // 900 bytes at most at first; each half second brings 500.
        assert_eq!(
            replay(buffer, &[vec![800, 500], vec![500, 500]], &times),
            []
        );
        let found = replay(buffer, &[vec![800, 500], vec![700, 500]], &times);
        assert_eq!(
            found,
            [Violation {
                segment: 1,
                start_milli: 600,
                missing_bits: 800
            }]
        );
    }
}
