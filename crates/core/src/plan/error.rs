//! Why there is no Plan.

use recode_types::rendition::AudioCodec;
use recode_types::{Codec, Container};

/// A request that contradicts itself or the Source. One sentence each, naming the thing and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Nothing to make.
    #[error("the job names no output: give at least one")]
    NoOutput,
    /// Two Outputs in one place.
    #[error("two outputs would be written to {0}: give each its own name")]
    SameOutput(String),
    /// The Output would replace its Source.
    #[error("{0} is both source and output: choose another output name")]
    OutputIsSource(String),
    /// The Source has no video track with frames.
    #[error("the source has no picture: recode needs a video track with at least one frame")]
    NoPicture,
    /// The container has no place for this video codec.
    #[error("{container} cannot hold {codec}: use {}", names(.fitting))]
    Container {
        /// What was asked.
        container: Container,
        /// What was asked.
        codec: Codec,
        /// Containers that can.
        fitting: Vec<Container>,
    },
    /// The container has no place for this audio codec.
    #[error("{container} cannot hold {} audio: leave --audio-codec out or use {}", audio_name(.codec), names(.fitting))]
    AudioContainer {
        /// What was asked.
        container: Container,
        /// What was asked.
        codec: AudioCodec,
        /// Containers that can.
        fitting: Vec<Container>,
    },
    /// Audio is to be copied but cannot.
    #[error(
        "{container} cannot hold the {codec} audio of track {track} as it is: leave --audio-codec copy out or use mkv"
    )]
    AudioCopy {
        /// What was asked.
        container: Container,
        /// Codec of the track.
        codec: String,
        /// FFmpeg's index of the track.
        track: u32,
    },
    /// The encoder makes another codec, or recode does not drive it.
    #[error("{encoder} does not make {codec}: leave --encoder out for {}", .codec.default_encoder())]
    Encoder {
        /// What was asked.
        encoder: String,
        /// What was asked.
        codec: Codec,
    },
    /// A stream copy cannot change the picture or be scored.
    #[error(
        "--codec copy leaves the packets as they are, so {wish} is not possible: leave it out or choose a codec"
    )]
    CopyCannot {
        /// The option that does not fit.
        wish: &'static str,
    },
    /// A quality outside the encoder's scale.
    #[error("quality {given} is outside the scale of {encoder}, which goes from {least} to {most}")]
    Quality {
        /// What was asked.
        given: String,
        /// The encoder.
        encoder: String,
        /// Best quality.
        least: u32,
        /// Worst quality.
        most: u32,
    },
    /// A wish for Chunks of different quality.
    #[error(
        "{encoder} writes its quality into the parameter sets, so pieces of different quality cannot be joined: leave {wish} \
         out and use --crf"
    )]
    OneQuality {
        /// The encoder.
        encoder: String,
        /// The flag.
        wish: &'static str,
    },
    /// The encoder has no knob for quality or size.
    #[error(
        "{encoder} takes its quality from its profile: use --encoder-profile instead of {wish}"
    )]
    NoRate {
        /// The encoder.
        encoder: String,
        /// The option that does not fit.
        wish: &'static str,
    },
    /// A bitrate or size nobody can mean.
    #[error("{what} of {given} is not possible: it must be at least {least}")]
    TooLittle {
        /// Which promise.
        what: &'static str,
        /// What was asked, with its unit.
        given: String,
        /// The least that makes sense, with its unit.
        least: String,
    },
    /// The rest of the file already fills the size.
    #[error(
        "a file of {size} bytes leaves no room for video beside {other} bytes of audio and container: allow at least {least} bytes"
    )]
    NoRoom {
        /// Size asked for.
        size: u64,
        /// Bytes that are not video.
        other: u64,
        /// The least that makes sense.
        least: u64,
    },
    /// A buffer without a rate, or smaller than a frame.
    #[error("a peak limit needs a rate above 0: give --maxrate together with --bufsize")]
    Peak,
    /// An impossible picture size.
    #[error(
        "a picture of {width}x{height} is not possible with {encoder}: each side must be from {least} to {most} pixels"
    )]
    Size {
        /// Planned width.
        width: u64,
        /// Planned height.
        height: u64,
        /// The encoder.
        encoder: String,
        /// Smallest side.
        least: u32,
        /// Largest side.
        most: u32,
    },
    /// Chroma subsampling needs even sides.
    #[error("a picture of {width}x{height} is not possible with {pix_fmt}: choose even numbers")]
    Odd {
        /// Width asked for.
        width: u32,
        /// Height asked for.
        height: u32,
        /// The pixel format.
        pix_fmt: String,
    },
    /// A frame rate nobody can mean.
    #[error("a frame rate of {0} is not possible: choose one above 0 and up to 1000")]
    FrameRate(String),
    /// A GOP without frames.
    #[error(
        "a key frame distance of 0 frames is not possible: leave --gop out or choose at least 1"
    )]
    Gop,
    /// A Segment without length.
    #[error("segments of length 0 are not possible: leave --segment out or choose a longer one")]
    SegmentLength,
    /// More Segments than a Job may have.
    #[error(
        "{segments} segments are more than the {most} of one job: choose a longer --segment, or leave --spread out"
    )]
    TooManySegments {
        /// How many there would be.
        segments: usize,
        /// The most.
        most: u32,
    },
    /// The wanted part holds no frame.
    #[error(
        "no frame lies in the wanted part: the source lasts {seconds} seconds, check --start and --duration"
    )]
    NothingWanted {
        /// Length of the Source, with decimals.
        seconds: String,
    },
    /// A wanted length of nothing, or a start before the beginning.
    #[error("{0} is not possible: --start must not be negative and --duration must be above 0")]
    WantedPart(&'static str),
    /// A selection that selects nothing.
    #[error("no track of the source matches {0}: see recode-client probe for its tracks")]
    NoSuchTrack(String),
    /// A score needs an encode in this process and a size that the model takes.
    #[error("{0}")]
    Score(&'static str),
    /// Something would be lost and the request does not allow that.
    #[error("refused by --strict: {loss}")]
    Strict {
        /// The first of them.
        loss: String,
    },
}

fn names(containers: &[Container]) -> String {
    let names: Vec<String> = containers.iter().map(Container::to_string).collect();
    names.join(" or ")
}

fn audio_name(codec: &AudioCodec) -> &'static str {
    match codec {
        AudioCodec::Aac => "aac",
        AudioCodec::Opus => "opus",
        AudioCodec::Flac => "flac",
        AudioCodec::Copy => "copied",
        AudioCodec::None => "no",
    }
}
