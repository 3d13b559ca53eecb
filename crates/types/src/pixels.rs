//! What FFmpeg's names of pixel formats say: how finely colour is sampled, how deep a sample is, whether there is transparency.

/// How many samples of colour there are for those of brightness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chroma {
    /// None: grey.
    None,
    /// One for four: 4:2:0. Also what is coarser.
    Quarter,
    /// One for two beside each other: 4:2:2. Also 4:1:1, which fits into nothing smaller.
    Across,
    /// One for two above each other: 4:4:0.
    Down,
    /// One for each: 4:4:4, RGB, palettes.
    Full,
}

/// A pixel format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pixels {
    /// How colour is sampled.
    pub chroma: Chroma,
    /// Bits of a sample.
    pub depth: u32,
    /// Whether there is transparency.
    pub alpha: bool,
    /// Red, green and blue instead of brightness and colour.
    pub rgb: bool,
    /// The name itself says full range (`yuvj420p`).
    pub full_range: bool,
}

impl Pixels {
    /// What a name says. One that says nothing known is taken for 4:2:0 with eight bits.
    pub fn of(name: &str) -> Self {
        let name = name
            .strip_suffix("le")
            .or_else(|| name.strip_suffix("be"))
            .unwrap_or(name);
        let begins = |words: &[&str]| words.iter().any(|word| name.starts_with(word));
        let rgb = begins(&[
            "rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "x2rgb", "x2bgr", "pal8", "bayer",
        ]) && !["rgb4_byte", "bgr4_byte"].contains(&name);
        let alpha = begins(&[
            "yuva", "rgba", "bgra", "argb", "abgr", "gbrap", "ya8", "ya16", "yaf", "ayuv", "vuya",
            "uyva",
        ]);
        let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
        let chroma = match name {
            _ if rgb || has(&["444", "rgb4_byte", "bgr4_byte"]) => Chroma::Full,
            _ if begins(&[
                "xyz", "nv24", "nv42", "p41", "xv", "v30x", "vuy", "ayuv", "uyva",
            ]) =>
            {
                Chroma::Full
            }
            _ if has(&["440"]) => Chroma::Down,
            _ if has(&["422", "411"]) || begins(&["nv16", "nv20", "p21", "y21"]) => Chroma::Across,
            _ if begins(&["gray", "mono", "ya8", "ya16", "yaf"]) => Chroma::None,
            _ => Chroma::Quarter,
        };
        Self {
            chroma,
            depth: depth(name),
            alpha,
            rgb,
            full_range: name.starts_with("yuvj"),
        }
    }

    /// The one of `offered` that keeps most of this and adds least: transparency first, then colour, then depth. The first of
    /// those that are equal.
    pub fn nearest<'a>(&self, offered: &[&'a str]) -> Option<&'a str> {
        offered.iter().copied().min_by_key(|name| {
            let other = Self::of(name);
            (
                self.alpha != other.alpha,
                self.chroma.distance(other.chroma),
                self.depth.saturating_sub(other.depth),
                other.depth.saturating_sub(self.depth),
                self.rgb != other.rgb,
                self.full_range != other.full_range,
            )
        })
    }
}

impl Chroma {
    /// How far another one is: losing some comes after adding some.
    fn distance(self, other: Self) -> u8 {
        use Chroma::{Across, Down, Full, None, Quarter};
        let order: [Chroma; 5] = match self {
            None => [None, Quarter, Across, Down, Full],
            Quarter => [Quarter, Across, Down, Full, None],
            Across => [Across, Full, Quarter, Down, None],
            Down => [Down, Full, Quarter, Across, None],
            // Where there is no 4:4:4 the usual one, as FFmpeg does: 4:2:2 of MPEG-2 plays in few places.
            Full => [Full, Quarter, Across, Down, None],
        };
        let place = order.iter().position(|chroma| *chroma == other);
        place.map_or(u8::MAX, |place| place as u8)
    }

    /// Whether there are fewer samples of colour across than of brightness, and down.
    pub fn is_subsampled(self) -> (bool, bool) {
        let across = matches!(self, Self::Quarter | Self::Across);
        let down = matches!(self, Self::Quarter | Self::Down);
        (across, down)
    }

    /// Whether both fields of a picture with so many lines have as many lines, and as many of colour.
    pub fn has_equal_fields(self, height: u32) -> bool {
        let (_, down) = self.is_subsampled();
        height.is_multiple_of(if down { 4 } else { 2 })
    }
}

/// Bits of a sample. `name`: without byte order.
fn depth(name: &str) -> u32 {
    match name {
        "rgb48" | "bgr48" | "rgba64" | "bgra64" | "ayuv64" | "xv48" => return 16,
        "xv30" | "v30x" | "nv20" => return 10,
        "xv36" => return 12,
        "nv12" | "nv16" => return 8,
        _ if name.contains("f16") || name.contains("f32") => return 16,
        _ => {}
    }
    let name = name.strip_suffix("msb").unwrap_or(name);
    let word = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number: u32 = name[word.len()..].parse().unwrap_or(8);
    // Other numbers say how colour is sampled, or count all samples of a pixel.
    match (word, number) {
        // p010, p216: the first two digits are of something else.
        ("p" | "y", _) => number % 100,
        (_, 9..=16) => number,
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(name: &str, chroma: Chroma, depth: u32) {
        let pixels = Pixels::of(name);
        assert_eq!((pixels.chroma, pixels.depth), (chroma, depth), "{name}");
    }

    #[test]
    fn names_say_how_colour_is_sampled_and_how_deep() {
        use Chroma::{Across, Down, Full, None, Quarter};
        for name in ["yuv420p", "yuvj420p", "yuva420p", "nv12", "nv21", "yuv410p"] {
            says(name, Quarter, 8);
        }
        for name in [
            "yuv422p", "uyvy422", "yuyv422", "nv16", "yuv411p", "yuvj411p",
        ] {
            says(name, Across, 8);
        }
        for name in [
            "yuv444p", "gbrp", "rgb24", "bgr0", "rgba", "pal8", "nv24", "vuyx",
        ] {
            says(name, Full, 8);
        }
        for name in [
            "rgb565le",
            "bgr555be",
            "rgb8",
            "rgb4_byte",
            "vyu444",
            "uyva",
        ] {
            says(name, Full, 8);
        }
        says("yuv440p", Down, 8);
        says("yuv440p12le", Down, 12);
        for (name, depth) in [
            ("p010le", 10),
            ("p016be", 16),
            ("yuv420p9le", 9),
            ("yuva420p16le", 16),
        ] {
            says(name, Quarter, depth);
        }
        for (name, depth) in [
            ("p210le", 10),
            ("y212le", 12),
            ("nv20le", 10),
            ("yuv422p14be", 14),
        ] {
            says(name, Across, depth);
        }
        for (name, depth) in [
            ("x2rgb10le", 10),
            ("xyz12le", 12),
            ("gbrap12be", 12),
            ("rgb48le", 16),
        ] {
            says(name, Full, depth);
        }
        for (name, depth) in [
            ("yuv444p10msble", 10),
            ("xv36le", 12),
            ("p410le", 10),
            ("gbrpf32le", 16),
        ] {
            says(name, Full, depth);
        }
        for (name, depth) in [
            ("gray", 8),
            ("monow", 8),
            ("gray10le", 10),
            ("gray16be", 16),
            ("ya16le", 16),
        ] {
            says(name, None, depth);
        }
    }

    #[test]
    fn fields_are_equal_where_each_has_whole_lines_of_colour() {
        for height in [480, 576, 1080, 720] {
            assert!(Chroma::Quarter.has_equal_fields(height), "{height}");
        }
        assert!(!Chroma::Quarter.has_equal_fields(486));
        assert!(Chroma::Across.has_equal_fields(486) && !Chroma::Full.has_equal_fields(487));
    }

    #[test]
    fn alpha_and_rgb_are_seen() {
        for name in [
            "yuva444p10le",
            "rgba",
            "argb",
            "bgra64le",
            "gbrap",
            "ya8",
            "vuya",
            "ayuv64le",
        ] {
            assert!(Pixels::of(name).alpha, "{name}");
        }
        for name in ["yuv444p", "bgr0", "gbrp", "vuyx", "pal8", "gray"] {
            assert!(!Pixels::of(name).alpha, "{name}");
        }
        assert!(
            Pixels::of("pal8").rgb && Pixels::of("gbrap16le").rgb && !Pixels::of("xyz12le").rgb
        );
    }
}
