//! Encoders outside the processor: which engines there are, and what FFmpeg calls their encoders.
//!
//! ```text
//! h264_nvenc   hevc_nvenc   av1_nvenc            NVIDIA
//! h264_qsv     hevc_qsv     av1_qsv              Intel Quick Sync
//! h264_vaapi   hevc_vaapi   av1_vaapi            any with a Linux render device
//! h264_amf     hevc_amf     av1_amf              AMD
//! h264_videotoolbox   hevc_videotoolbox          Apple; FFmpeg has none for AV1
//! ```
//! They are only used when asked for by name: what a card makes differs from driver to driver, and from libx264.

use crate::rendition::Codec;
use serde::{Deserialize, Serialize};

/// A kind of encoding hardware, by the interface FFmpeg reaches it through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// NVIDIA's NVENC.
    Nvenc,
    /// Intel's Quick Sync Video.
    Qsv,
    /// The video acceleration interface of Linux.
    Vaapi,
    /// AMD's Advanced Media Framework.
    Amf,
    /// Apple's VideoToolbox.
    Videotoolbox,
}

/// Every encoder of an engine, by FFmpeg's name.
pub const ENGINE_ENCODERS: [&str; 14] = [
    "h264_nvenc",
    "hevc_nvenc",
    "av1_nvenc",
    "h264_qsv",
    "hevc_qsv",
    "av1_qsv",
    "h264_vaapi",
    "hevc_vaapi",
    "av1_vaapi",
    "h264_amf",
    "hevc_amf",
    "av1_amf",
    "h264_videotoolbox",
    "hevc_videotoolbox",
];

impl Engine {
    /// The engine of an encoder; `None` for those that run on the processor.
    pub fn of_encoder(encoder: &str) -> Option<Self> {
        if !ENGINE_ENCODERS.contains(&encoder) {
            return None;
        }
        let (_, engine) = encoder.split_once('_')?;
        Some(match engine {
            "nvenc" => Self::Nvenc,
            "qsv" => Self::Qsv,
            "vaapi" => Self::Vaapi,
            "amf" => Self::Amf,
            _ => Self::Videotoolbox,
        })
    }

    /// The codec that an encoder of an engine makes.
    pub fn codec_of(encoder: &str) -> Option<Codec> {
        Self::of_encoder(encoder)?;
        Some(match encoder.split_once('_')?.0 {
            "h264" => Codec::H264,
            "hevc" => Codec::H265,
            _ => Codec::Av1,
        })
    }

    /// The name in FFmpeg's encoders.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nvenc => "nvenc",
            Self::Qsv => "qsv",
            Self::Vaapi => "vaapi",
            Self::Amf => "amf",
            Self::Videotoolbox => "videotoolbox",
        }
    }
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_to_its_engine_and_codec_and_no_other_does() {
        for name in ENGINE_ENCODERS {
            let engine = Engine::of_encoder(name).unwrap();
            let codec = match Codec::of_encoder(name).unwrap() {
                Codec::H265 => "hevc",
                other => other.name(),
            };
            assert_eq!(format!("{codec}_{engine}"), name);
        }
        for name in ["libx264", "av1_videotoolbox", "vp9_vaapi", "h264_", "nvenc"] {
            assert_eq!(
                (Engine::of_encoder(name), Engine::codec_of(name)),
                (None, None)
            );
        }
    }
}
