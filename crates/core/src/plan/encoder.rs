//! What the planner knows of each encoder: its quality scale and what it can keep. Command lines are not known here.

/// One encoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Encoder {
    /// FFmpeg's name.
    pub name: &'static str,
    /// The quality used when nothing is asked: the encoder's own default, in thousandths. `None`: no such knob.
    pub usual_quality_milli: Option<u32>,
    /// Best quality of the scale.
    pub quality_least: u32,
    /// Worst quality of the scale.
    pub quality_most: u32,
    /// Smallest step that makes a difference, in thousandths.
    pub quality_step_milli: u32,
    /// How fast size falls with the knob: natural logarithm of the size ratio of one whole step.
    pub slope: f64,
    /// A preset that costs little and still tells sizes apart; `None`: trials would not be cheaper than encodes.
    pub trial_preset: Option<&'static str>,
    /// Keeps interlaced pictures as such.
    pub keeps_interlace: bool,
    /// Keeps EIA-608/708 captions.
    pub keeps_captions: bool,
    /// Has pixel formats with an alpha plane.
    pub keeps_alpha: bool,
    /// Refuses pictures whose subsampled chroma would have half a sample more.
    pub needs_even: bool,
    /// Smallest side of a picture.
    pub least_side: u32,
    /// Longest distance of key frames in frames when nothing is asked.
    pub usual_gop: u32,
}

/// Largest side of a picture with any encoder.
pub const MOST_SIDE: u32 = 16384;

/// Quality scales are the encoders' documented ones; defaults are what FFmpeg uses when no rate is given. Slopes: size
/// halves in 6 steps of x264 and x265, in about 7 to 9 of the 63-step scales (measured on three clips; only a start, the
/// rate control learns the real one).
const ENCODERS: [Encoder; 7] = [
    Encoder {
        name: "libx264",
        usual_quality_milli: Some(23_000),
        quality_least: 1,
        quality_most: 51,
        quality_step_milli: 10,
        slope: 0.125,
        trial_preset: Some("ultrafast"),
        keeps_interlace: true,
        keeps_captions: true,
        keeps_alpha: false,
        needs_even: true,
        least_side: 2,
        usual_gop: 250,
    },
    Encoder {
        name: "libx265",
        usual_quality_milli: Some(28_000),
        quality_least: 1,
        quality_most: 51,
        quality_step_milli: 10,
        slope: 0.13,
        trial_preset: Some("ultrafast"),
        keeps_interlace: false,
        keeps_captions: true,
        keeps_alpha: false,
        needs_even: true,
        least_side: 16,
        usual_gop: 250,
    },
    Encoder {
        name: "libsvtav1",
        usual_quality_milli: Some(35_000),
        quality_least: 1,
        quality_most: 63,
        quality_step_milli: 1000,
        slope: 0.08,
        trial_preset: Some("12"),
        keeps_interlace: false,
        keeps_captions: false,
        keeps_alpha: false,
        needs_even: false,
        least_side: 4,
        usual_gop: 250,
    },
    Encoder {
        name: "libaom-av1",
        usual_quality_milli: Some(32_000),
        quality_least: 1,
        quality_most: 63,
        quality_step_milli: 1000,
        slope: 0.08,
        trial_preset: Some("8"),
        keeps_interlace: false,
        keeps_captions: false,
        keeps_alpha: false,
        needs_even: false,
        least_side: 2,
        usual_gop: 250,
    },
    Encoder {
        name: "libvpx-vp9",
        usual_quality_milli: Some(32_000),
        quality_least: 1,
        quality_most: 63,
        quality_step_milli: 1000,
        slope: 0.07,
        trial_preset: Some("5"),
        keeps_interlace: false,
        keeps_captions: false,
        keeps_alpha: true,
        needs_even: false,
        least_side: 2,
        usual_gop: 128,
    },
    Encoder {
        name: "prores_ks",
        usual_quality_milli: None,
        quality_least: 0,
        quality_most: 0,
        quality_step_milli: 1000,
        slope: 0.1,
        trial_preset: None,
        keeps_interlace: true,
        keeps_captions: false,
        keeps_alpha: true,
        needs_even: false,
        least_side: 2,
        usual_gop: 1,
    },
    Encoder {
        name: "mpeg2video",
        usual_quality_milli: Some(4_000),
        quality_least: 1,
        quality_most: 31,
        quality_step_milli: 100,
        slope: 0.12,
        trial_preset: None,
        keeps_interlace: true,
        keeps_captions: true,
        keeps_alpha: false,
        needs_even: false,
        least_side: 2,
        usual_gop: 12,
    },
];

/// The encoder of this name; `None`: recode does not drive it.
pub fn named(name: &str) -> Option<&'static Encoder> {
    ENCODERS.iter().find(|e| e.name == name)
}

impl Encoder {
    /// The best and the worst knob, in thousandths.
    pub fn range_milli(&self) -> (u32, u32) {
        (self.quality_least * 1000, self.quality_most * 1000)
    }
}
