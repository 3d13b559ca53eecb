//! The packets of one track, column by column: a 10 h film at 60 fps has 2.2 million of them.

const KEY: u8 = 1;
const DISCARD: u8 = 2;
const HIDDEN: u8 = 4;

/// One packet, as far as an index knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// First byte in the Source. In Matroska that of the whole block element, its header included.
    pub offset: u64,
    /// Length in bytes, counted as `offset` is.
    pub size: u32,
    /// Decode time, on the same timeline as `pts`. Matroska stores none: there it equals `pts`.
    pub dts: i64,
    /// Presentation time as FFmpeg shows it with `-copyts`.
    pub pts: i64,
    /// How long it lasts, where the container says so; 0 otherwise.
    pub duration: i64,
    /// A decoder can start here.
    pub key: bool,
    /// Decoded but not shown: outside the edit list.
    pub discard: bool,
    /// Shows no picture of its own (VP8 and VP9 reference frames).
    pub hidden: bool,
}

impl Packet {
    /// Whether a viewer gets a picture from it.
    pub fn shown(&self) -> bool {
        !self.discard && !self.hidden
    }

    /// One past its last byte.
    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.size)
    }
}

/// Packets in decode order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packets {
    pub(super) offsets: Vec<u64>,
    pub(super) sizes: Vec<u32>,
    /// Empty where the container stores no decode times.
    pub(super) dts: Vec<i64>,
    pub(super) pts: Vec<i64>,
    pub(super) flags: Vec<u8>,
    /// Of the last packet where decode times are stored, of every packet where they are not.
    pub(super) duration: i64,
}

impl Packets {
    /// No packets. `timed`: decode times are going to be stored with them.
    pub(crate) fn new(duration: i64) -> Self {
        Self {
            duration,
            ..Self::default()
        }
    }

    /// Appends one. The first call decides whether decode times are stored, all others must agree with it.
    pub(crate) fn push(&mut self, packet: Packet, timed: bool) {
        self.offsets.push(packet.offset);
        self.sizes.push(packet.size);
        if timed {
            self.dts.push(packet.dts);
        }
        self.pts.push(packet.pts);
        self.flags.push(
            u8::from(packet.key) * KEY
                + u8::from(packet.discard) * DISCARD
                + u8::from(packet.hidden) * HIDDEN,
        );
    }

    /// Sets how long the last packet (timed) or every packet lasts.
    pub(crate) fn set_duration(&mut self, duration: i64) {
        self.duration = duration;
    }

    /// Moves a time of presentation that repeats one tick on, as a [`recode_types::FrameTable`] has it, so that what is decoded from
    /// these packets can be told apart by its time.
    pub(crate) fn tell_apart(&mut self) {
        let shown = |i: &u32| self.flags[*i as usize] & (DISCARD | HIDDEN) == 0;
        let mut order: Vec<u32> = (0..self.len() as u32).filter(shown).collect();
        order.sort_by_key(|i| self.pts[*i as usize]);
        for pair in order.windows(2) {
            let before = self.pts[pair[0] as usize];
            let pts = &mut self.pts[pair[1] as usize];
            *pts = (*pts).max(before.saturating_add(1));
        }
    }

    /// Number of packets.
    pub fn len(&self) -> usize {
        self.pts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pts.is_empty()
    }

    /// The packet at `i` in decode order.
    /// # Panics
    /// When `i` is not below [`Packets::len`].
    pub fn get(&self, i: usize) -> Packet {
        let dts = self.dts.get(i).copied();
        let duration = match (dts, self.dts.get(i + 1)) {
            (Some(dts), Some(next)) => next.saturating_sub(dts),
            _ => self.duration,
        };
        Packet {
            offset: self.offsets[i],
            size: self.sizes[i],
            dts: dts.unwrap_or(self.pts[i]),
            pts: self.pts[i],
            duration,
            key: self.flags[i] & KEY != 0,
            discard: self.flags[i] & DISCARD != 0,
            hidden: self.flags[i] & HIDDEN != 0,
        }
    }

    /// All of them in decode order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Packet> + ExactSizeIterator {
        (0..self.len()).map(|i| self.get(i))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_packets_are_told_apart_by_their_times() {
        let mut packets = Packets::new(0);
        for (pts, discard) in [
            (0, false),
            (5, true),
            (5, false),
            (2, false),
            (5, false),
            (6, false),
        ] {
            let packet = Packet {
                offset: 0,
                size: 1,
                dts: 0,
                pts,
                duration: 0,
                key: false,
                discard,
                hidden: false,
            };
            packets.push(packet, true);
        }
        packets.tell_apart();
        let times: Vec<i64> = packets.iter().map(|packet| packet.pts).collect();
        assert_eq!(times, [0, 5, 5, 2, 6, 7]);
    }
}
