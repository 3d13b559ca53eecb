//! Encoders of graphics processors.
//!
//! Scales are those of FFmpeg's options (media/args/encoder/graphics.rs). Slopes and bits are guesses after the software
//! encoder of the same codec: nobody has measured them on a card yet, and rate control learns the real ones. There are no
//! trials: a card's presets hardly differ in speed, so a trial costs what the encode does.

use super::{Axis, Encoder};

const fn encoder(name: &'static str, usual: u32, most: u32, slope: f64, bits: f64) -> Encoder {
    Encoder {
        name,
        usual_quality_milli: Some(usual * 1000),
        quality_least: 1,
        quality_most: most,
        quality_step_milli: 1000,
        axis: Axis::Linear,
        slope,
        usual_bits: bits,
        trial_preset: None,
        trial_excess: 0.0,
        quick_presets: &[],
        keeps_peak: false,
        keeps_interlace: false,
        keeps_captions: false,
        keeps_alpha: false,
        needs_even: true,
        least_side: 64,
        usual_gop: 250,
    }
}

/// NVENC takes a limit beside its quality; the others' quality gives way.
const fn with_peak(encoder: Encoder) -> Encoder {
    Encoder {
        keeps_peak: true,
        ..encoder
    }
}

pub(super) const ENCODERS: [Encoder; 14] = [
    with_peak(encoder("h264_nvenc", 23, 51, 0.12, 0.04)),
    with_peak(encoder("hevc_nvenc", 26, 51, 0.12, 0.03)),
    with_peak(encoder("av1_nvenc", 32, 63, 0.08, 0.03)),
    encoder("h264_qsv", 23, 51, 0.12, 0.04),
    encoder("hevc_qsv", 26, 51, 0.12, 0.03),
    encoder("av1_qsv", 28, 51, 0.1, 0.03),
    encoder("h264_vaapi", 23, 51, 0.12, 0.04),
    encoder("hevc_vaapi", 26, 51, 0.12, 0.03),
    encoder("av1_vaapi", 110, 255, 0.02, 0.03),
    encoder("h264_amf", 23, 51, 0.12, 0.04),
    encoder("hevc_amf", 26, 51, 0.12, 0.03),
    encoder("av1_amf", 110, 255, 0.02, 0.03),
    encoder("h264_videotoolbox", 45, 99, 0.05, 0.04),
    encoder("hevc_videotoolbox", 45, 99, 0.05, 0.03),
];
