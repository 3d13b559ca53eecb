//! What probing learned about a Source.

use crate::artifact::{ArtifactRef, Digest};
use crate::time::{Rational, TimeBase};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What makes a Source the same Source. Checked again at the end: a Source that changed while it was read is an error.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SourceIdentity {
    /// Where it is.
    pub url: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// ETag of an object, or `mtime_ns-inode` of a local file.
    pub version: String,
}

/// Kind of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrackKind {
    /// Moving pictures, and attached covers (see [`Track::attached_pic`]).
    Video,
    /// Sound.
    Audio,
    /// Text or bitmap subtitles.
    Subtitle,
    /// Telemetry, timecode and the like.
    Data,
    /// Fonts and other attached files.
    Attachment,
}

/// One track of the Source, as FFmpeg lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// FFmpeg's stream index.
    pub index: u32,
    /// Its kind.
    pub kind: TrackKind,
    /// FFmpeg's codec name; `none` or `unknown` where FFmpeg knows none.
    pub codec: String,
    /// The rest of FFmpeg's description of the stream, for people.
    pub description: String,
    /// Language tag as stored; `und` and absent are both `None`.
    pub language: Option<String>,
    /// Title tag.
    pub title: Option<String>,
    /// Dispositions that are set, in FFmpeg's words.
    pub dispositions: Vec<String>,
    /// A cover picture rather than moving pictures.
    pub attached_pic: bool,
    /// Width and height as coded, for video.
    pub size: Option<(u32, u32)>,
    /// Samples per second, for audio; `None`: what opening the Source shows is not enough to tell what it is.
    pub sample_rate: Option<u32>,
    /// Channel layout in FFmpeg's words, for audio.
    pub channel_layout: Option<String>,
    /// Stream tags.
    pub tags: BTreeMap<String, String>,
    /// A copy would not play as it decodes: packets that do not decode, a codec that is set up anew on the way, or sound that begins so
    /// late that FFmpeg does not see at once what it is.
    #[serde(default)]
    pub damaged: bool,
    /// It brings the setting of its codec among its packets, be it the same each time: FFmpeg's Matroska muxer then writes a header
    /// that nobody can read.
    #[serde(default)]
    pub resets: bool,
    /// What its edit list leaves of it.
    #[serde(default)]
    pub trim: Trim,
}

impl Track {
    /// Whether FFmpeg has a name for its codec.
    pub fn has_codec(&self) -> bool {
        !matches!(self.codec.as_str(), "none" | "unknown" | "")
    }

    /// Whether opening the Source was enough to tell what it is: its size or its sample rate.
    pub fn is_seen(&self) -> bool {
        match self.kind {
            TrackKind::Video => self.size.is_some_and(|(w, h)| w > 0 && h > 0),
            TrackKind::Audio => self.sample_rate.is_some_and(|rate| rate > 0),
            TrackKind::Subtitle | TrackKind::Data | TrackKind::Attachment => self.has_codec(),
        }
    }
}

/// What an edit list leaves of a track. What it hides is among the packets all the same, and travels with a copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trim {
    /// All of it, or all but the priming of its codec.
    #[default]
    Whole,
    /// All of it from a later moment on.
    Later,
    /// Several pieces.
    Pieces,
}

/// What decoding the first frames of the main video showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoFacts {
    /// FFmpeg's stream index of the main video.
    pub track: u32,
    /// FFmpeg's codec name.
    pub codec: String,
    /// Time base of the frame table.
    pub time_base: TimeBase,
    /// Number of rows of the frame table.
    pub frames: u64,
    /// PTS of the first frame, in `time_base`, on the Source's own clock.
    pub start_pts: i64,
    /// PTS one past the last frame.
    pub end_pts: i64,
    /// Size of decoded frames after FFmpeg has turned them upright.
    pub width: u32,
    /// See `width`.
    pub height: u32,
    /// Pixel format of decoded frames.
    pub pix_fmt: String,
    /// Sample aspect ratio after turning; 0/1 where unknown.
    pub sample_aspect: Rational,
    /// The frame rate FFmpeg guesses for the whole Source: what a plain FFmpeg process would tell the encoder.
    pub frame_rate: Rational,
    /// `Some(true)`: interlaced, top field first; `Some(false)`: bottom field first.
    pub interlaced_top_first: Option<bool>,
    /// Dolby Vision profile, from the container or the frames.
    pub dolby_vision_profile: Option<u32>,
    /// HDR10+ metadata seen on frames.
    pub hdr10_plus: bool,
    /// Static HDR10 metadata (mastering display or light level) seen.
    pub hdr10_static: bool,
    /// CEA-608/708 captions seen in frames.
    pub captions: bool,
    /// Source has an alpha plane beside the pictures (VP8/VP9 in Matroska).
    pub alpha: bool,
    /// What the first frame says of its colours.
    #[serde(default)]
    pub color: Option<Color>,
}

/// What a frame says of its colours, in FFmpeg's words; `unknown` where it does not say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Color {
    /// `tv` or `pc`.
    pub range: String,
    /// Matrix, such as `bt709` or `gbr`.
    pub space: String,
    /// Such as `bt2020`.
    pub primaries: String,
    /// Such as `smpte2084`.
    pub transfer: String,
}

/// How Segments are read from the Source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReadMode {
    /// By byte ranges known from an index: only what a Segment needs.
    Clip,
    /// By decoding from the start and counting frames: always right, costs decode time. Such Sources get few Segments.
    Linear,
}

/// What probing learned. An artifact (JSON); the log carries its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFacts {
    /// What was probed.
    pub identity: SourceIdentity,
    /// FFmpeg's demuxer name, such as `mov,mp4,m4a,3gp,3g2,mj2`.
    pub format: String,
    /// What is subtracted from the frame table's timestamps to get those a plain FFmpeg process would write, in
    /// microseconds: the earliest timestamp of any stream, or 0 where the table is on that timeline already (rewrapped or
    /// linear Sources).
    pub start_us: i64,
    /// Duration the container declares, in microseconds.
    pub duration_us: Option<i64>,
    /// All tracks.
    pub tracks: Vec<Track>,
    /// Number of chapters.
    pub chapters: u32,
    /// Container tags.
    pub tags: BTreeMap<String, String>,
    /// The main video; `None`: there is no picture.
    pub video: Option<VideoFacts>,
    /// How Segments are read.
    pub read_mode: ReadMode,
    /// Every frame was decoded to make the table (a deep probe); its rows carry signatures.
    pub deep: bool,
    /// Decoder threads of the deep probe, and so of every decode that counts frames from the start.
    #[serde(default = "one")]
    pub decode_threads: u32,
    /// The rows of the table that are no key frames are estimates, and so is their number: a remote Matroska Source says
    /// no more before its clusters are read. Segments begin with key frames then, and each Chunk brings the rows that
    /// its Segment really has.
    #[serde(default)]
    pub rows_estimated: bool,
    /// The frame table of the main video.
    pub table: Option<ArtifactRef>,
    /// The packet index `recode-media` made; opaque to everyone else.
    pub index: Option<ArtifactRef>,
    /// The main video rewrapped into an indexed form on a timeline that starts at 0, for Sources without an index of their
    /// own. Then `index` describes this artifact, not the Source.
    pub rewrapped: Option<ArtifactRef>,
    /// Digest of the index bytes in the Source (moov, Cues), part of the Source's identity.
    pub index_digest: Option<Digest>,
    /// Identity of the FFmpeg build that looked.
    pub ffmpeg: String,
    /// What looked odd, one sentence each.
    pub warnings: Vec<String>,
}

fn one() -> u32 {
    1
}

impl SourceFacts {
    /// Tracks of one kind, in order; covers are not counted as video.
    pub fn tracks_of(&self, kind: TrackKind) -> impl Iterator<Item = &Track> {
        self.tracks
            .iter()
            .filter(move |t| t.kind == kind && !t.attached_pic)
    }
}
