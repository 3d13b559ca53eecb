//! Renditions: one wanted encoding. A job's ordered Renditions are its Ladder.

use crate::engine::Engine;
use crate::time::Rational;
use serde::{Deserialize, Serialize};

/// Video codec of an Output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// H.264 / AVC
    H264,
    /// H.265 / HEVC
    H265,
    /// AV1
    Av1,
    /// VP9
    Vp9,
    /// Apple ProRes
    Prores,
    /// MPEG-2 video
    Mpeg2,
    /// The Source's own packets, not encoded again. The job then runs unsplit.
    Copy,
}

impl Codec {
    /// The encoder used when none is named.
    pub fn default_encoder(self) -> &'static str {
        match self {
            Self::H264 => "libx264",
            Self::H265 => "libx265",
            Self::Av1 => "libsvtav1",
            Self::Vp9 => "libvpx-vp9",
            Self::Prores => "prores_ks",
            Self::Mpeg2 => "mpeg2video",
            Self::Copy => "copy",
        }
    }

    /// The codec an encoder makes, for encoders recode knows how to drive.
    pub fn of_encoder(encoder: &str) -> Option<Self> {
        Some(match encoder {
            "libx264" => Self::H264,
            "libx265" => Self::H265,
            "libsvtav1" | "libaom-av1" => Self::Av1,
            "libvpx-vp9" => Self::Vp9,
            "prores_ks" => Self::Prores,
            "mpeg2video" => Self::Mpeg2,
            "copy" => Self::Copy,
            _ => return Engine::codec_of(encoder),
        })
    }

    /// The name used on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::H265 => "h265",
            Self::Av1 => "av1",
            Self::Vp9 => "vp9",
            Self::Prores => "prores",
            Self::Mpeg2 => "mpeg2",
            Self::Copy => "copy",
        }
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What is promised about the size or the quality of the video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateControl {
    /// Constant quality, in thousandths of the encoder's own CRF (or quantiser) scale. Per chunk, no global state.
    Crf(u32),
    /// Mean bits per second of the video payload over the whole Output.
    Bitrate(u64),
    /// Bytes of the whole file.
    Size(u64),
}

/// A peak limit that holds over the whole Output, joints included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PeakLimit {
    /// Bits per second at which the buffer fills.
    pub maxrate_bps: u64,
    /// Buffer size in bits.
    pub bufsize_bits: u64,
}

/// What the Leader settled for one Chunk under global rate control. For a CRF Rendition: its CRF and peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Knob {
    /// Thousandths of the encoder's CRF or quantiser scale.
    pub quality_milli: u32,
    /// Peak limit inside this Chunk.
    pub peak: Option<PeakLimit>,
    /// Buffer fullness at the Chunk's first frame, in thousandths of `bufsize_bits`.
    pub buffer_start_milli: u32,
}

/// `quality` spends a larger buffer, `latency` a small one and the encoder's low-delay settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Buffer of twice the bitrate.
    #[default]
    Quality,
    /// Buffer of a twenty-fifth of the bitrate, no B-frames, no look-ahead.
    Latency,
}

/// Wanted picture size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// As the Source.
    #[default]
    Source,
    /// This height; the width follows from the shape of the picture.
    Height(u32),
    /// Fit into this box, keeping the shape of the picture.
    Fit {
        /// Largest width.
        width: u32,
        /// Largest height.
        height: u32,
    },
    /// Exactly this size, whatever that does to the shape.
    Exact {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
}

/// What to do with interlaced pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Deinterlace {
    /// Keep fields as they are; warn where the encoder cannot.
    #[default]
    Off,
    /// One progressive frame per frame, where the picture is interlaced.
    Auto,
    /// One progressive frame per frame, always.
    On,
}

/// One wanted encoding of the video.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rendition {
    /// Codec of the Output.
    pub codec: Codec,
    /// FFmpeg's encoder name; one family per Output.
    pub encoder: String,
    /// Promise about quality or size. `None`: the encoder's usual CRF.
    pub rate: Option<RateControl>,
    /// Peak limit over the whole Output.
    pub peak: Option<PeakLimit>,
    /// The encoder's preset, in its own words.
    pub preset: Option<String>,
    /// The encoder's tune, in its own words.
    pub tune: Option<String>,
    /// The codec profile, such as `high`, `main10`, `hq`.
    pub encoder_profile: Option<String>,
    /// Buffer size and tuning.
    pub profile: Profile,
    /// Picture size.
    pub scale: Scale,
    /// Constant output frame rate; `None` keeps every frame at its own time.
    pub fps: Option<Rational>,
    /// Interlace handling.
    pub deinterlace: Deinterlace,
    /// Output pixel format in FFmpeg's words; `None` keeps the Source's where the encoder takes it.
    pub pix_fmt: Option<String>,
    /// Longest distance of key frames in frames; a fixed grid when set. `None`: the encoder's usual.
    pub gop: Option<u32>,
}

impl Rendition {
    /// Whether its encoder is given frames at a constant rate, whatever their times: MPEG-2 knows nothing else, and
    /// engines write the rate of what they are given into their parameter sets, which all Chunks must share. The
    /// Output's times come from the frame table either way.
    pub fn counts_frames(&self) -> bool {
        self.codec == Codec::Mpeg2 || Engine::of_encoder(&self.encoder).is_some()
    }
}

/// Audio codec of an Output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AudioCodec {
    /// FFmpeg's native AAC.
    Aac,
    /// libopus.
    Opus,
    /// FLAC.
    Flac,
    /// The Source's packets, or an error where the container cannot hold them.
    Copy,
    /// No audio.
    None,
}

impl AudioCodec {
    /// FFmpeg's encoder name; `None` for copy and none.
    pub fn encoder(self) -> Option<&'static str> {
        match self {
            Self::Aac => Some("aac"),
            Self::Opus => Some("libopus"),
            Self::Flac => Some("flac"),
            Self::Copy | Self::None => None,
        }
    }
}
