//! What the planner knows of each encoder: its quality scale and what it can keep. Command lines are not known here.

mod graphics;

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
    /// How the knob counts.
    pub axis: Axis,
    /// How fast size falls with the knob: natural logarithm of the size ratio of one whole step on the axis.
    pub slope: f64,
    /// Bits for each pixel at the usual quality.
    pub usual_bits: f64,
    /// A preset that costs little and still tells sizes apart; `None`: trials would not be cheaper than encodes.
    pub trial_preset: Option<&'static str>,
    /// How much larger the trial preset's sizes are at the same knob, as natural logarithm.
    pub trial_excess: f64,
    /// Presets that are nearly as quick as the trial: the encode itself is the better trial.
    pub quick_presets: &'static [&'static str],
    /// Keeps a peak limit of its own accord; others take it as a hint, and their quality has to give way.
    pub keeps_peak: bool,
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

/// How a knob counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Each step changes the size by the same factor.
    Linear,
    /// A quantiser: what counts is its ratio.
    Log,
}

impl Axis {
    /// Where a knob lies.
    pub fn place(self, milli: f64) -> f64 {
        match self {
            Self::Linear => milli / 1000.0,
            Self::Log => (milli.max(1.0) / 1000.0).ln(),
        }
    }

    /// The knob at a place, in thousandths.
    pub fn milli(self, place: f64) -> f64 {
        match self {
            Self::Linear => place * 1000.0,
            Self::Log => place.exp() * 1000.0,
        }
    }
}

/// Largest side of a picture with any encoder.
pub const MOST_SIDE: u32 = 16384;

/// Quality scales are the encoders' documented ones; defaults are what FFmpeg uses when no rate is given.
///
/// Slopes, bits and excess are means over ten seconds of each benchmark clip with FFmpeg 9: x264 0.115 to 0.14 a step (ultrafast
/// 2.7 to 5.5 times as large as veryfast), x265 0.11 to 0.14 (0.65 to 0.88 times), SVT-AV1 0.07 to 0.09 (preset 12 as large
/// as 10), VP9 0.065 to 0.07, MPEG-2 by the logarithm of its quantiser 0.4 to 0.78. Those of libaom are guesses after SVT-AV1's.
/// All are only a start: the rate control learns the real ones.
const ENCODERS: [Encoder; 7] = [
    Encoder {
        name: "libx264",
        usual_quality_milli: Some(23_000),
        quality_least: 1,
        quality_most: 51,
        quality_step_milli: 10,
        axis: Axis::Linear,
        slope: 0.125,
        usual_bits: 0.03,
        trial_preset: Some("ultrafast"),
        trial_excess: 1.2,
        quick_presets: &["ultrafast", "superfast"],
        keeps_peak: true,
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
        axis: Axis::Linear,
        slope: 0.13,
        usual_bits: 0.015,
        trial_preset: Some("ultrafast"),
        trial_excess: -0.3,
        quick_presets: &["ultrafast", "superfast"],
        keeps_peak: true,
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
        axis: Axis::Linear,
        slope: 0.08,
        usual_bits: 0.025,
        trial_preset: Some("12"),
        trial_excess: 0.0,
        quick_presets: &[
            "13",
            "12",
            "11",
            "10",
            "9",
            "8",
            "ultrafast",
            "superfast",
            "veryfast",
            "faster",
            "fast",
        ],
        keeps_peak: false,
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
        axis: Axis::Linear,
        slope: 0.08,
        usual_bits: 0.025,
        trial_preset: Some("8"),
        trial_excess: 0.0,
        quick_presets: &["8", "7", "ultrafast", "superfast", "veryfast"],
        keeps_peak: false,
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
        axis: Axis::Linear,
        slope: 0.07,
        usual_bits: 0.03,
        trial_preset: Some("5"),
        trial_excess: 0.0,
        quick_presets: &[
            "5",
            "4",
            "3",
            "ultrafast",
            "superfast",
            "veryfast",
            "faster",
            "fast",
        ],
        keeps_peak: false,
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
        axis: Axis::Linear,
        slope: 0.1,
        usual_bits: 1.0,
        trial_preset: None,
        trial_excess: 0.0,
        quick_presets: &[],
        keeps_peak: false,
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
        quality_step_milli: 1000,
        axis: Axis::Log,
        slope: 0.65,
        usual_bits: 0.15,
        trial_preset: None,
        trial_excess: 0.0,
        quick_presets: &[],
        keeps_peak: true,
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
    ENCODERS
        .iter()
        .chain(&graphics::ENCODERS)
        .find(|e| e.name == name)
}

impl Encoder {
    /// Chunks of different quality cannot be joined: it writes the quality into the parameter sets.
    pub fn has_one_quality(&self) -> bool {
        matches!(self.name, "h264_vaapi" | "hevc_vaapi")
    }

    /// Makes 8 bits of more: no engine encodes H.264 deeper.
    pub fn flattens(&self) -> bool {
        recode_types::Engine::of_encoder(self.name).is_some() && self.name.starts_with("h264_")
    }

    /// The best and the worst knob, in thousandths.
    pub fn range_milli(&self) -> (u32, u32) {
        (self.quality_least * 1000, self.quality_most * 1000)
    }

    /// The knob that changes the size by `log` (negative: smaller) from that at `milli`, at least one step away, within
    /// the scale.
    pub fn moved_milli(&self, milli: u32, log: f64) -> u32 {
        let step = self.quality_step_milli;
        let place = self.axis.place(f64::from(milli)) - log / self.slope;
        let wanted = (self.axis.milli(place) / f64::from(step)).round() as u32 * step;
        let (least, most) = self.range_milli();
        if log < 0.0 {
            wanted.max(milli + step).min(most)
        } else {
            wanted.min(milli.saturating_sub(step)).max(least)
        }
    }
}
