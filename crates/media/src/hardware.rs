//! How many Chunks to encode side by side on one machine. Pure; the figures come from docs/decisions.

/// What one encode of a Segment holds in memory: a part that grows with the picture and a part that does not.
struct Appetite {
    /// Encoder, or its beginning.
    encoder: &'static str,
    /// Frames of the picture's size that are held at once (look-ahead, references, decoder, filters).
    frames: u64,
}

/// From the peak resident sets in docs/decisions/0009: the slowest preset measured, rounded up. libx265 was measured at
/// medium only and is given what libx264 takes at veryslow.
const APPETITES: &[Appetite] = &[
    Appetite {
        encoder: "libx264",
        frames: 270,
    },
    Appetite {
        encoder: "libx265",
        frames: 270,
    },
    Appetite {
        encoder: "libsvtav1",
        frames: 260,
    },
    Appetite {
        encoder: "libaom-av1",
        frames: 230,
    },
    Appetite {
        encoder: "libvpx-vp9",
        frames: 110,
    },
];
/// Frames that wait for the encoder on the way to the scorer. An estimate: a long look-ahead twice over.
const LOOK_AHEAD: u64 = 120;
/// For encoders without look-ahead.
const FEW_FRAMES: u64 = 30;
/// What any FFmpeg process takes before its first frame.
const BASE_BYTES: u64 = 80 << 20;
/// Part of the memory that Chunks may fill, in percent: the rest is the system's, ours, and the page cache's.
const SHARE: u64 = 70;

/// One encode on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load<'a> {
    /// FFmpeg's encoder.
    pub encoder: &'a str,
    /// Picture size.
    pub size: (u32, u32),
    /// More than 8 bits a sample.
    pub deep_colour: bool,
    /// Renditions made at once.
    pub renditions: u32,
    /// Scored in the same process, which keeps every frame until the encoder lets go of it.
    pub scored: bool,
}

impl Load<'_> {
    /// Bytes one such encode is expected to take at its peak.
    pub fn bytes(&self) -> u64 {
        let frames = APPETITES
            .iter()
            .find(|a| a.encoder == self.encoder)
            .map_or(FEW_FRAMES, |a| a.frames)
            + if self.scored { LOOK_AHEAD } else { 0 };
        // 4:2:0; other chroma is rare enough for the margin.
        let frame = u64::from(self.size.0) * u64::from(self.size.1) * 3 / 2;
        let frame = if self.deep_colour { frame * 2 } else { frame };
        BASE_BYTES + frame * frames * u64::from(self.renditions.max(1))
    }
}

/// Slots for encodes that use one thread each: one per core, fewer when memory does not hold that many, never none.
pub fn slots(cores: u32, memory_bytes: u64, load: &Load<'_>) -> u32 {
    let fit = memory_bytes / 100 * SHARE / load.bytes();
    u64::from(cores).min(fit).max(1) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(encoder: &str, size: (u32, u32)) -> Load<'_> {
        Load {
            encoder,
            size,
            deep_colour: false,
            renditions: 1,
            scored: false,
        }
    }

    #[test]
    fn cores_decide_until_memory_does() {
        let hd = load("libx264", (1280, 720));
        assert_eq!(slots(2, 8 << 30, &hd), 2);
        let uhd = load("libsvtav1", (3840, 2160));
        assert!(uhd.bytes() > 3 << 30);
        assert_eq!(slots(16, 16 << 30, &uhd), 3);
        assert_eq!(slots(16, 1 << 30, &uhd), 1);
        assert_eq!(slots(0, 1 << 40, &hd), 1);
    }

    #[test]
    fn depth_scoring_and_renditions_cost_memory() {
        let plain = load("libx265", (1920, 1080));
        for more in [
            Load {
                deep_colour: true,
                ..plain
            },
            Load {
                scored: true,
                ..plain
            },
            Load {
                renditions: 2,
                ..plain
            },
        ] {
            assert!(more.bytes() > plain.bytes());
        }
    }
}
