//! Containers, and what each can hold. A table here because planner and node both need it.

use crate::rendition::{AudioCodec, Codec};
use serde::{Deserialize, Serialize};

/// The container of an Output, by its name's ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Container {
    /// `.mp4`, `.m4v`
    Mp4,
    /// `.mov`
    Mov,
    /// `.mkv`
    Mkv,
    /// `.webm`
    Webm,
    /// `.ts`, `.m2ts`
    Ts,
}

/// Audio that FFmpeg's Matroska muxer has a name for and writes, by FFmpeg's names: its own, and those of WAV. Broadcasts and discs
/// have others (`s302m`, `pcm_dvd`, `pcm_bluray`); of RealAudio it names more than it writes (`atrac3`, `cook`, `ra_288`, `sipr`).
const IN_MATROSKA: &str = "aac ac3 adpcm_ima_wav adpcm_ms alac amr_nb amr_wb atrac1 dts eac3 flac gsm_ms mlp mp1 mp2 mp3 opus pcm_alaw \
    pcm_f32le pcm_f64le pcm_mulaw pcm_s16be pcm_s16le pcm_s24be pcm_s24le pcm_s32be pcm_s32le pcm_u8 qdm2 qdmc ra_144 speex truehd \
    truespeech tta vorbis wavpack wmalossless wmapro wmav1 wmav2 wmavoice";

impl Container {
    /// All of them, in the order in which messages list them.
    pub const ALL: [Container; 5] = [Self::Mp4, Self::Mov, Self::Mkv, Self::Webm, Self::Ts];

    /// From the last path component's ending, any case.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.split(['?', '#']).next().unwrap_or(name);
        let ending = name
            .rsplit('/')
            .next()?
            .rsplit_once('.')?
            .1
            .to_ascii_lowercase();
        match ending.as_str() {
            "mp4" | "m4v" => Some(Self::Mp4),
            "mov" => Some(Self::Mov),
            "mkv" => Some(Self::Mkv),
            "webm" => Some(Self::Webm),
            "ts" | "m2ts" => Some(Self::Ts),
            _ => None,
        }
    }

    /// FFmpeg's muxer name.
    pub fn muxer(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Mov => "mov",
            Self::Mkv => "matroska",
            Self::Webm => "webm",
            Self::Ts => "mpegts",
        }
    }

    /// Whether this container has a place for video of `codec`.
    pub fn holds_video(self, codec: Codec) -> bool {
        use Codec::*;
        match self {
            Self::Mp4 => matches!(codec, H264 | H265 | Av1 | Vp9 | Mpeg2),
            Self::Mov => matches!(codec, H264 | H265 | Prores | Mpeg2),
            Self::Mkv => true,
            Self::Webm => matches!(codec, Av1 | Vp9),
            Self::Ts => matches!(codec, H264 | H265 | Mpeg2),
        }
    }

    /// Whether audio in FFmpeg's codec `name` (as in `aac`, `pcm_s16le`) can be copied into this container, such that
    /// players and FFmpeg itself read it back.
    pub fn holds_audio(self, name: &str) -> bool {
        match self {
            Self::Mp4 => matches!(
                name,
                "aac" | "mp3" | "ac3" | "eac3" | "opus" | "flac" | "alac" | "dts"
            ),
            Self::Mov => {
                matches!(
                    name,
                    "aac" | "mp3" | "ac3" | "eac3" | "alac" | "adpcm_ima_qt"
                ) || name.starts_with("pcm_")
            }
            Self::Mkv => IN_MATROSKA.split_whitespace().any(|held| held == name),
            Self::Webm => matches!(name, "opus" | "vorbis"),
            Self::Ts => matches!(
                name,
                "aac" | "mp3" | "mp2" | "ac3" | "eac3" | "opus" | "dts"
            ),
        }
    }

    /// The audio codec to encode to where copying is not possible and nothing else was asked for.
    pub fn default_audio(self) -> AudioCodec {
        match self {
            Self::Webm => AudioCodec::Opus,
            _ => AudioCodec::Aac,
        }
    }
}

impl std::fmt::Display for Container {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Mp4 => "mp4",
            Self::Mov => "mov",
            Self::Mkv => "mkv",
            Self::Webm => "webm",
            Self::Ts => "ts",
        })
    }
}
