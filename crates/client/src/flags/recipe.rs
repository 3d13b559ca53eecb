//! What is to be made, and how: flags that are also the keys of a job file, so each exists once, for `clap` and for
//! `serde`.

use crate::units::{BitRate, ByteSize, Frames, Quality, Size, Span, Tracks};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use recode_types::rendition::{AudioCodec, Deinterlace, Profile};
use recode_types::{Codec, Metric};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What is to be made of an input; shared by `transcode` and `submit`.
#[derive(Args, Debug, Clone)]
pub struct Recipe {
    /// Several renditions from one source, described in a TOML or JSON file
    #[arg(long, value_name = "FILE")]
    pub job: Option<PathBuf>,
    /// What to make.
    #[command(flatten)]
    pub output: OutputFlags,
    /// How to go about it.
    #[command(flatten)]
    pub work: JobFlags,
}

/// Flags of a whole job; also the top-level keys of a job file.
#[derive(Args, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[command(next_help_heading = "Job")]
pub struct JobFlags {
    /// Begin here, counted from the start of the source
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub start: Option<Span>,
    /// Take only this much
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub duration: Option<Span>,
    /// Length of the pieces encoded at the same time [default: from the source]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub segment: Option<Span>,
    /// Cut for hundreds of workers: pieces of many lengths, so that all finish together; costs key frames
    #[arg(long)]
    pub spread: bool,
    /// Measure every frame against the source: vmaf, psnr, ssim, ms-ssim
    #[arg(long, value_name = "METRICS", value_delimiter = ',', value_parser = metric())]
    pub score: Vec<Metric>,
    /// How chunks are checked: `standard` decodes a sample, `full` decodes and compares every frame
    #[arg(long, value_name = "HOW", value_parser = ["standard", "full"])]
    pub verify: Option<String>,
    /// Go on where a lost worker ended within a piece, at the cost of repeatable bytes
    #[arg(long)]
    pub split_tail: bool,
    /// Refuse, rather than warn, when something of the source would be lost
    #[arg(long)]
    pub strict: bool,
    /// Replace outputs that exist
    #[arg(long, short)]
    pub force: bool,
    /// Free labels, as KEY=VALUE
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    #[serde(skip)]
    pub label: Vec<(String, String)>,
    /// Free labels, as a table of a job file.
    #[arg(skip)]
    pub labels: BTreeMap<String, String>,
    /// 0 to 100; a coordinator serves higher ones first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub priority: Option<u8>,
}

/// Flags of one output; also the keys of an `[[output]]` of a job file.
#[derive(Args, Deserialize, Debug, Clone, Default, PartialEq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct OutputFlags {
    /// File to make; its ending (mp4, mov, mkv, webm, ts) says which container
    #[arg(long = "output", short = 'o', value_name = "OUTPUT")]
    #[serde(alias = "output")]
    pub path: Option<String>,

    /// Video codec [default: that of --encoder, else vp9 in webm and h264 elsewhere]
    #[arg(long, value_name = "CODEC", value_parser = codec(), help_heading = "Video")]
    pub codec: Option<Codec>,
    /// FFmpeg's name of the encoder [default: the usual one of the codec]
    #[arg(long, value_name = "NAME", help_heading = "Video")]
    pub encoder: Option<String>,
    /// Constant quality on the encoder's own scale [default: the encoder's usual]
    #[arg(
        long,
        value_name = "N",
        help_heading = "Video",
        allow_hyphen_values = true
    )]
    pub crf: Option<Quality>,
    /// Mean bit rate of the video, such as 4M
    #[arg(
        long,
        value_name = "RATE",
        help_heading = "Video",
        allow_hyphen_values = true
    )]
    pub bitrate: Option<BitRate>,
    /// Size of the whole file, such as 700MB
    #[arg(
        long,
        value_name = "SIZE",
        help_heading = "Video",
        allow_hyphen_values = true
    )]
    pub size: Option<ByteSize>,
    /// Peak bit rate, over a buffer of --bufsize
    #[arg(
        long,
        value_name = "RATE",
        help_heading = "Video",
        allow_hyphen_values = true
    )]
    pub maxrate: Option<BitRate>,
    /// Buffer of --maxrate, in bits, such as 8M
    #[arg(
        long,
        value_name = "BITS",
        help_heading = "Video",
        allow_hyphen_values = true
    )]
    pub bufsize: Option<BitRate>,
    /// The encoder's preset, in its own words
    #[arg(
        long,
        value_name = "NAME",
        help_heading = "Video",
        allow_hyphen_values = true
    )]
    pub preset: Option<String>,
    /// The encoder's tune, in its own words
    #[arg(long, value_name = "NAME", help_heading = "Video")]
    pub tune: Option<String>,
    /// Profile of the codec, such as high, main10, hq
    #[arg(long, value_name = "NAME", help_heading = "Video")]
    pub encoder_profile: Option<String>,
    /// `quality` may use a large buffer, `latency` keeps delay low
    #[arg(long, value_name = "PROFILE", value_parser = profile(), help_heading = "Video")]
    pub profile: Option<Profile>,
    /// Picture size: 1080p, 1280x720 (fitted into), source
    #[arg(long, value_name = "SIZE", help_heading = "Video")]
    pub scale: Option<Size>,
    /// Take --scale 1280x720 to the pixel, whatever that does to the shape of the picture
    #[arg(long, help_heading = "Video")]
    pub stretch: bool,
    /// Constant frame rate [default: every frame keeps its own time]
    #[arg(
        long,
        value_name = "RATE",
        help_heading = "Video",
        allow_hyphen_values = true
    )]
    pub fps: Option<Frames>,
    /// Make progressive frames: `auto` where the picture is interlaced, `on` always
    #[arg(
        long, value_name = "WHEN", value_parser = deinterlace(), help_heading = "Video",
        num_args = 0..=1, require_equals = true, default_missing_value = "auto"
    )]
    pub deinterlace: Option<Deinterlace>,
    /// Pixel format in FFmpeg's words [default: the source's where the encoder takes it]
    #[arg(long, value_name = "NAME", help_heading = "Video")]
    pub pix_fmt: Option<String>,
    /// Key frame every so many frames, exactly [default: the encoder's usual]
    #[arg(long, value_name = "FRAMES", help_heading = "Video")]
    pub gop: Option<u32>,

    /// Tracks to keep: all, or a list such as video,audio:0,audio:eng,subtitle,#4
    #[arg(long, value_name = "TRACKS", help_heading = "Sound and the rest")]
    pub tracks: Option<Tracks>,
    /// Audio codec [default: copy where the container holds it, else aac (opus in webm)]
    #[arg(long, value_name = "CODEC", value_parser = audio_codec(), help_heading = "Sound and the rest")]
    pub audio_codec: Option<AudioCodec>,
    /// Bit rate of each encoded audio track, such as 128k
    #[arg(
        long,
        value_name = "RATE",
        help_heading = "Sound and the rest",
        allow_hyphen_values = true
    )]
    pub audio_bitrate: Option<BitRate>,
}

/// A parser of words, so that help, errors and completion list them.
pub fn words<T: Copy + Send + Sync + 'static>(
    pairs: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(pairs.iter().map(|(name, _)| *name)).map(move |word| {
        pairs
            .iter()
            .find(|(name, _)| *name == word)
            .expect("clap accepts listed words only")
            .1
    })
}

fn codec() -> impl TypedValueParser<Value = Codec> {
    words(&[
        ("h264", Codec::H264),
        ("h265", Codec::H265),
        ("av1", Codec::Av1),
        ("vp9", Codec::Vp9),
        ("prores", Codec::Prores),
        ("mpeg2", Codec::Mpeg2),
        ("copy", Codec::Copy),
    ])
}

fn audio_codec() -> impl TypedValueParser<Value = AudioCodec> {
    words(&[
        ("aac", AudioCodec::Aac),
        ("opus", AudioCodec::Opus),
        ("flac", AudioCodec::Flac),
        ("copy", AudioCodec::Copy),
        ("none", AudioCodec::None),
    ])
}

/// A metric by its name.
pub fn metric() -> impl TypedValueParser<Value = Metric> {
    words(&[
        ("vmaf", Metric::Vmaf),
        ("psnr", Metric::Psnr),
        ("ssim", Metric::Ssim),
        ("ms-ssim", Metric::MsSsim),
    ])
}

fn profile() -> impl TypedValueParser<Value = Profile> {
    words(&[("quality", Profile::Quality), ("latency", Profile::Latency)])
}

fn deinterlace() -> impl TypedValueParser<Value = Deinterlace> {
    words(&[
        ("off", Deinterlace::Off),
        ("auto", Deinterlace::Auto),
        ("on", Deinterlace::On),
    ])
}

/// A label, as KEY=VALUE.
pub fn label(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("\"{text}\" is not a label such as team=news"))
}
