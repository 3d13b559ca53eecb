//! Replay of a decoder's buffer over packets: does an Output keep its peak limit?

use crate::rendition::PeakLimit;
use crate::time::TimeBase;

/// Fullness of the buffer when the first packet of an Output is taken, in thousandths.
pub const FIRST_FULLNESS_MILLI: u32 = 900;

/// One packet, in decode order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// When it is taken from the buffer, in ticks.
    pub dts: i64,
    /// Its size.
    pub bytes: u64,
}

/// What the buffer looked like when one packet was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Fullness just before, in thousandths.
    pub before_milli: u32,
    /// Bits that were missing; 0 where the limit holds.
    pub missing_bits: u64,
}

/// Fills a buffer at `maxrate_bps` and takes each packet at its time. A packet that does not fit leaves the buffer empty.
/// # Shape
/// One [`Moment`] per packet, in their order. Lazy: nothing is kept.
pub fn replay(
    packets: impl IntoIterator<Item = Packet>,
    time_base: TimeBase,
    limit: PeakLimit,
) -> impl Iterator<Item = Moment> {
    // Bits scaled by the denominator of the time base: exact, whatever the time base.
    let den = i128::from(time_base.den.max(1));
    let size = i128::from(limit.bufsize_bits) * den;
    let mut full = size * i128::from(FIRST_FULLNESS_MILLI) / 1000;
    let mut last: Option<i64> = None;
    packets.into_iter().map(move |packet| {
        let ticks = last.map_or(0, |last| (packet.dts - last).max(0));
        last = Some(packet.dts);
        let filled = i128::from(ticks) * i128::from(time_base.num) * i128::from(limit.maxrate_bps);
        full = (full + filled).min(size);
        let before_milli = if size > 0 {
            (full * 1000 / size) as u32
        } else {
            0
        };
        full -= i128::from(packet.bytes) * 8 * den;
        let missing = (-full).max(0);
        full = full.max(0);
        Moment {
            before_milli,
            missing_bits: ((missing + den - 1) / den) as u64,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(sizes: &[u64], maxrate_bps: u64, bufsize_bits: u64) -> Vec<u64> {
        let packets = sizes.iter().enumerate().map(|(i, &bytes)| Packet {
            dts: i as i64,
            bytes,
        });
        let limit = PeakLimit {
            maxrate_bps,
            bufsize_bits,
        };
        replay(packets, TimeBase::new(1, 10), limit)
            .map(|m| m.missing_bits)
            .collect()
    }

    #[test]
    fn a_packet_larger_than_what_is_there_is_a_violation() {
        // 1000 bits of buffer, 900 at first, 100 more per packet.
        assert_eq!(missing(&[100, 20, 30], 1000, 1000), [0, 0, 0]);
        assert_eq!(missing(&[113, 20], 1000, 1000), [4, 60]);
    }

    #[test]
    fn the_buffer_does_not_grow_beyond_its_size() {
        assert_eq!(missing(&[0, 0, 0, 0, 126], 1000, 1000), [0, 0, 0, 0, 8]);
    }
}
