//! Packets of a Source without an index, and whether their times can be relied on.

use crate::parse::framecrc::Line;

/// One packet on the plain timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Decoding time.
    pub dts: Option<i64>,
    /// Presentation time.
    pub pts: Option<i64>,
    /// How long it stays.
    pub duration: i64,
    /// Bytes.
    pub size_bytes: u64,
    /// A decoder can start here.
    pub key: bool,
    /// Damaged, or not to be shown.
    pub odd: bool,
}

impl From<Line> for Packet {
    fn from(line: Line) -> Self {
        Self {
            dts: line.dts,
            pts: line.pts,
            duration: line.duration,
            size_bytes: line.size_bytes,
            key: line.key,
            odd: line.corrupt || line.discard,
        }
    }
}

/// Whether a rewrapped copy of these packets can be trusted to give the frames of the original: every packet has both
/// times, decoding times rise, nothing is shown before it is decoded or at the time of another, none is damaged, the
/// first is a key frame. The first decode of each Segment looks again; this only spares doomed attempts.
pub fn are_sane(packets: &[Packet]) -> bool {
    let mut last = i64::MIN;
    let mut shown = Vec::with_capacity(packets.len());
    for packet in packets {
        let (Some(dts), Some(pts)) = (packet.dts, packet.pts) else {
            return false;
        };
        if dts <= last || pts < dts || packet.odd || packet.size_bytes == 0 {
            return false;
        }
        last = dts;
        shown.push(pts);
    }
    shown.sort_unstable();
    shown.windows(2).all(|pair| pair[0] < pair[1]) && packets.first().is_some_and(|p| p.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets() -> Vec<Packet> {
        [0, 3, 1, 2, 4]
            .iter()
            .enumerate()
            .map(|(i, &pts)| Packet {
                dts: Some(i as i64 - 2),
                pts: Some(pts),
                duration: 1,
                size_bytes: 10,
                key: i == 0,
                odd: false,
            })
            .collect()
    }

    #[test]
    fn good_packets_are_sane_and_each_fault_is_seen() {
        assert!(are_sane(&packets()));
        let check = |change: fn(&mut Vec<Packet>)| {
            let mut packets = packets();
            change(&mut packets);
            assert!(!are_sane(&packets), "{packets:?}");
        };
        check(|p| p[2].pts = None);
        check(|p| p[2].dts = None);
        check(|p| p[2].dts = p[1].dts);
        check(|p| p[2].pts = p[3].pts);
        check(|p| p[0].key = false);
        check(|p| p[4].odd = true);
        check(|p| p[3].size_bytes = 0);
        check(|p| p[4].pts = Some(1));
        check(Vec::clear);
    }
}
