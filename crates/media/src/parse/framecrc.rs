//! The `framecrc` format: one line per packet, with its times, size and checksum.

use recode_types::time::TimeBase;

/// One packet or, for a signature branch, one decoded frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Decoding time.
    pub dts: Option<i64>,
    /// Presentation time.
    pub pts: Option<i64>,
    /// How long it stays.
    pub duration: i64,
    /// Bytes.
    pub size_bytes: u64,
    /// Checksum of the bytes (Adler-32, started at 0).
    pub checksum: u32,
    /// A decoder can start here.
    pub key: bool,
    /// The demuxer calls the packet damaged.
    pub corrupt: bool,
    /// To be decoded but not shown.
    pub discard: bool,
}

/// A header or packet line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// Time base of the stream.
    TimeBase(TimeBase),
    /// A packet of it.
    Packet(Line),
}

/// Reads one line about stream 0. `None`: it says nothing of use.
pub fn read(line: &str) -> Option<Item> {
    if let Some(base) = line.strip_prefix("#tb 0: ") {
        return base.trim().parse().ok().map(Item::TimeBase);
    }
    if line.starts_with('#') {
        return None;
    }
    let mut fields = line.split(',').map(str::trim);
    if fields.next()? != "0" {
        return None;
    }
    let time = |text: &str| text.parse::<i64>().ok();
    let dts = time(fields.next()?);
    let pts = time(fields.next()?);
    let duration = fields.next()?.parse().ok()?;
    let size_bytes = fields.next()?.parse().ok()?;
    let checksum = u32::from_str_radix(fields.next()?.strip_prefix("0x")?, 16).ok()?;
    // Flags are printed only when they are not just "key".
    let flags = fields
        .find_map(|f| u32::from_str_radix(f.strip_prefix("F=0x")?, 16).ok())
        .unwrap_or(1);
    Some(Item::Packet(Line {
        dts,
        pts,
        duration,
        size_bytes,
        checksum,
        key: flags & 1 != 0,
        corrupt: flags & 2 != 0,
        discard: flags & 4 != 0,
    }))
}

/// The stream of a packet with a new setting for its codec, of any stream.
pub fn setting(line: &str) -> Option<usize> {
    let mut fields = line.split(',').map(str::trim);
    let stream = fields.next()?.parse().ok()?;
    let mut side = fields.skip_while(|field| !field.starts_with("S="));
    side.next()?;
    // FFmpeg 5 has no names, only lengths: a setting has two to seven bytes, samples to skip ten.
    let is_setting = |field: &str| {
        field == "New Extradata" || field.parse::<u32>().is_ok_and(|n| (2..=9).contains(&n))
    };
    side.any(is_setting).then_some(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(line: &str) -> Line {
        match read(line) {
            Some(Item::Packet(line)) => line,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn packets_and_their_flags_are_read() {
        assert_eq!(
            read("#tb 0: 1/90000"),
            Some(Item::TimeBase(TimeBase::new(1, 90000)))
        );
        assert_eq!(read("#dimensions 0: 64x36"), None);
        let key = packet("0,      -1024,          0,      512,     4096, 0x6ad8fc11");
        assert_eq!(
            (key.dts, key.pts, key.size_bytes),
            (Some(-1024), Some(0), 4096)
        );
        assert!(key.key && key.checksum == 0x6ad8_fc11);
        let other =
            packet("0, NOPTS, 33, 33, 99, 0x00000001, F=0x2, S=1, Skip Samples,  10, 0x00000001");
        assert_eq!((other.dts, other.key, other.corrupt), (None, false, true));
        assert_eq!(read("1, 0, 0, 1, 2, 0x1"), None);
        assert_eq!(read("0, 0, 0"), None);
    }

    #[test]
    fn a_setting_among_the_packets_is_seen_in_every_release() {
        for (line, stream) in [
            (
                "1, 0, 0, 46, 9, 0x07bc01b8, S=1, New Extradata,        2, 0x00b600a3",
                Some(1),
            ),
            ("0, 0, 0, 46, 9, 0x07bc01b8, S=1,        2", Some(0)),
            (
                "0, 0, 0, 46, 9, 0x07bc01b8, F=0x0, S=2, Skip Samples,  10, 0x1, New Extradata, 5, 0x2",
                Some(0),
            ),
            ("0, 0, 0, 46, 9, 0x07bc01b8, S=1,       10", None),
            (
                "0, 0, 0, 46, 9, 0x07bc01b8, S=1, Skip Samples,  10, 0x00000001",
                None,
            ),
            ("0, 0, 0, 46, 9, 0x07bc01b8", None),
            ("#extradata 0:        2, 0x00b600a3", None),
        ] {
            assert_eq!(setting(line), stream, "{line}");
        }
    }
}
