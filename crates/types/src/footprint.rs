//! How much memory an encode is likely to need. Pure: who places Tasks and who runs them count alike.
//!
//! Pictures are counted: those that a decoder holds, and those that each encoder looks ahead over and refers to.

use crate::{Chroma, Pixels, Rendition, VideoFacts};

/// What FFmpeg takes itself.
const PROCESS: u64 = 150_000_000;
/// What an encoder takes beside its pictures, unless that was measured.
pub const ENCODER: u64 = 50_000_000;

/// Pictures that a decoder and the filters behind it hold at most, and as a rule: 1080p took 6 or 7 with the references that encoders
/// use by themselves, and 19 with sixteen.
const DECODED: u64 = 24;
const USUALLY_DECODED: u64 = 12;
/// Pictures that each thread of a decoder holds.
pub const OF_A_THREAD: u64 = 2;
/// Bytes for each pixel where pictures are compared: libvmaf works in floating point on several sizes at once.
const COMPARED: u64 = 60;

/// Pictures of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// Width and height.
    pub size: (u32, u32),
    /// FFmpeg's name of the pixel format.
    pub pix_fmt: String,
}

impl Picture {
    /// Those that come out of a decoder of this Source.
    pub fn of(video: &VideoFacts) -> Self {
        Self {
            size: (video.width, video.height),
            pix_fmt: video.pix_fmt.clone(),
        }
    }

    /// Bytes of one.
    pub fn bytes(&self) -> u64 {
        pixels(self.size) * bytes_of_pixel(&self.pix_fmt)
    }
}

/// One encode of what was decoded.
#[derive(Clone, Debug)]
pub struct Encoded<'a> {
    /// FFmpeg's name of the encoder.
    pub encoder: &'a str,
    /// How hard it tries.
    pub effort: Effort<'a>,
    /// What goes into it.
    pub picture: Picture,
}

/// How hard an encoder tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort<'a> {
    /// As this preset; `None`: as its usual one.
    Preset(Option<&'a str>),
    /// As the slowest that anyone uses: no honest encode needs more.
    Most,
}

impl<'a> Effort<'a> {
    /// As its preset says.
    pub fn of(rendition: &'a Rendition) -> Self {
        Self::Preset(rendition.preset.as_deref())
    }
}

/// What else the process does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Threads of the decoder.
    pub threads: u32,
    /// What decoders hold as a rule counts, and not the most they may.
    pub usual: bool,
    /// What was encoded is decoded again.
    pub checked: bool,
    /// It is also compared with what was to be encoded.
    pub scored: bool,
}

/// What one process is likely to need that decodes `source` and makes `outputs` of it, in bytes. `own`: what an encoder takes
/// beside its pictures, where that was measured.
pub fn of_encode<'a>(
    source: &Picture,
    outputs: impl IntoIterator<Item = Encoded<'a>>,
    beside: Beside,
    own: impl Fn(&str) -> Option<u64>,
) -> u64 {
    let decoded = if beside.usual {
        USUALLY_DECODED
    } else {
        DECODED
    };
    let held = decoded + OF_A_THREAD * u64::from(beside.threads);
    let outputs = outputs.into_iter().map(|output| {
        let picture = output.picture.bytes();
        let own = own(output.encoder).unwrap_or(ENCODER);
        let mut need = own + picture * held_by(output.encoder, output.effort);
        if beside.checked || beside.scored {
            need += picture * decoded;
        }
        if beside.scored {
            need += pixels(output.picture.size) * COMPARED;
        }
        need
    });
    PROCESS + source.bytes() * held + outputs.sum::<u64>()
}

/// Pictures that an encoder holds, rounded up: those it looks ahead over, in several sizes, and those it refers to. From what FFmpeg 9
/// took of a source less what it took of a small one, as pictures of two bytes for each pixel: of 1080p at the slowest presets that
/// anyone uses x264 veryslow and x265 slower 190 and 160, SVT-AV1 preset 4 190, aom 95, VP9 65, ProRes and MPEG-2 15.
fn held_by(encoder: &str, effort: Effort<'_>) -> u64 {
    let most = match encoder {
        "libx264" | "libx265" | "libsvtav1" | "libaom-av1" => 220,
        "libvpx-vp9" => 120,
        _ => 60,
    };
    let Effort::Preset(preset) = effort else {
        return most;
    };
    let presets = match encoder {
        "libx264" => X264,
        "libx265" => X265,
        "libsvtav1" => SVT,
        _ => return most,
    };
    // Of those here whoever has names for presets has this one as its usual.
    let preset = preset.unwrap_or("medium");
    let known = presets
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(preset));
    known.map_or(most, |(_, held)| *held)
}

/// Presets that take less than the slowest do: what 150 frames of 720p showed, and a tenth. x264 21, 39, 51, 68, 84, 102, 121, 147.
const X264: &[(&str, u64)] = &[
    ("ultrafast", 23),
    ("superfast", 43),
    ("veryfast", 56),
    ("faster", 75),
    ("fast", 92),
    ("medium", 112),
    ("slow", 133),
    ("slower", 162),
];

/// As above. x265 70 at ultrafast, 97 at fast, 109 and 121; what lies between takes no more than the next that was measured.
const X265: &[(&str, u64)] = &[
    ("ultrafast", 77),
    ("superfast", 107),
    ("veryfast", 107),
    ("faster", 107),
    ("fast", 107),
    ("medium", 120),
    ("slow", 133),
];

/// As above. 88 at preset 10, 166 at 8 and at 6.
const SVT: &[(&str, u64)] = &[
    ("13", 97),
    ("12", 97),
    ("11", 97),
    ("10", 97),
    ("9", 183),
    ("8", 183),
    ("7", 183),
    ("6", 183),
];

fn pixels((width, height): (u32, u32)) -> u64 {
    u64::from(width) * u64::from(height)
}

/// Of one picture as FFmpeg names its format, rounded up.
fn bytes_of_pixel(pix_fmt: &str) -> u64 {
    let pixels = Pixels::of(pix_fmt);
    let planes = match pixels.chroma {
        _ if pixels.alpha => 4,
        Chroma::Full => 3,
        _ => 2,
    };
    planes * if pixels.depth > 8 { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pixel_takes_as_many_bytes_as_its_format_has() {
        for (pix_fmt, bytes) in [
            ("yuv420p", 2),
            ("nv12", 2),
            ("yuv422p10le", 4),
            ("p010le", 4),
            ("yuv444p", 3),
            ("gbrp10le", 6),
            ("yuva444p12le", 8),
            ("rgb24", 3),
            ("rgba64le", 8),
            ("", 2),
        ] {
            assert_eq!(bytes_of_pixel(pix_fmt), bytes, "{pix_fmt}");
        }
    }

    #[test]
    fn presets_take_what_was_measured_and_unknown_ones_what_the_slowest_do() {
        let of = |encoder, preset| held_by(encoder, Effort::Preset(preset));
        assert_eq!(of("libx264", None), of("libx264", Some("Medium")));
        assert!(of("libx264", Some("fast")) < of("libx264", None));
        for encoder in ["libx264", "libx265", "libsvtav1", "libvpx-vp9"] {
            let most = held_by(encoder, Effort::Most);
            assert_eq!(of(encoder, Some("new")), most);
            for (_, held) in [X264, X265, SVT].concat() {
                assert!(held < held_by("libx264", Effort::Most));
            }
        }
        assert!(of("libsvtav1", Some("10")) < of("libsvtav1", None));
    }

    #[test]
    fn what_a_process_does_beside_takes_more() {
        let picture = || Picture {
            size: (1920, 1080),
            pix_fmt: "yuv420p".to_owned(),
        };
        let need = |beside| {
            let output = Encoded {
                encoder: "libx264",
                effort: Effort::Preset(None),
                picture: picture(),
            };
            of_encode(&picture(), [output], beside, |_| None)
        };
        let usual = Beside {
            usual: true,
            ..Beside::default()
        };
        let checked = Beside {
            checked: true,
            ..usual
        };
        let scored = Beside {
            scored: true,
            ..checked
        };
        let threads = Beside {
            threads: 8,
            ..usual
        };
        let plain = need(usual);
        assert!(plain < need(Beside::default()));
        assert!(plain < need(checked) && need(checked) < need(scored));
        assert!(plain < need(threads));
    }
}
