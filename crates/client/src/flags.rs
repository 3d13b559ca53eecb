//! The command line. The flags that describe an Output or a Job are also the keys of a job file, so each exists once
//! here, for `clap` and for `serde`.

use crate::units::{BitRate, ByteSize, Frames, Quality, Size, Span, Tracks};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use recode_types::rendition::{AudioCodec, Deinterlace, Profile};
use recode_types::{Codec, Metric};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// `recode-client`
#[derive(Parser, Debug)]
#[command(
    name = "recode-client",
    version,
    about = "Transcode video in parallel, exact to the frame",
    after_help = EXIT_CODES,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Shown below the help of every command that works on media.
const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 the job failed, 2 wrong flags, 3 the input cannot be used, 4 the output cannot be written,
            5 this machine lacks something (FFmpeg, encoder, disk, network), 130 interrupted (run again to resume)";

const TRANSCODE_HELP: &str = "\
Examples:
  recode-client transcode film.mkv -o film.mp4 --codec h264 --crf 20 --preset slow
  recode-client transcode film.mov -o film.mkv --codec h265 --bitrate 4M --scale 1080p --score vmaf
  recode-client transcode film.mp4 -o small.webm --codec av1 --size 700MB --audio-codec opus
  recode-client transcode s3://bucket/film.mxf -o film.mp4 --tracks video,audio:eng --report film.json
  recode-client transcode --job ladder.toml

Exit codes: 0 done, 1 the job failed, 2 wrong flags, 3 the input cannot be used, 4 the output cannot be written,
            5 this machine lacks something (FFmpeg, encoder, disk, network), 130 interrupted (run again to resume)";

/// The subcommands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Turn a video into one or more outputs
    Transcode(Box<Transcode>),
    /// Show what a file is: tracks, frames, where it can be cut
    Probe(Probe),
    /// Hand a job to a coordinator and come back at once; `watch` follows it
    Submit(Box<Submit>),
    /// List the jobs of a cluster
    List(List),
    /// Show one job: what was asked, how far it is
    Show(OneJob),
    /// Follow a job to its end
    Watch(Watch),
    /// End a job
    Cancel(Cancel),
    /// Print the report of a job that has ended
    Report(OneJob),
    /// See and change the coordinators of a cluster
    Cluster(Cluster),
    /// Measure the quality of a file against the one it was made from
    Score(Score),
    /// Show or empty what interrupted and cached work left on disk
    Cache(Cache),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example: recode-client completion bash > /etc/bash_completion.d/recode-client"
    )]
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Which cluster is talked to.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Cluster")]
pub struct Remote {
    /// Coordinators of the cluster, as http://HOST:PORT; several with commas between, any of them will do
    #[arg(long, value_name = "URL", env = "RECODE_ENDPOINT")]
    pub endpoint: String,
    /// Print the result as JSON on standard output; errors too
    #[arg(long)]
    pub json: bool,
}

/// `submit`
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct Submit {
    /// URL of the video, where every node can read it: s3://, http://, https://, or file:// on a disk they share
    #[arg(value_name = "INPUT", required_unless_present = "job")]
    pub input: Option<String>,
    /// Several renditions from one source, described in a TOML or JSON file
    #[arg(long, value_name = "FILE")]
    pub job: Option<PathBuf>,
    /// What to make.
    #[command(flatten)]
    pub output: OutputFlags,
    /// How to go about it.
    #[command(flatten)]
    pub work: JobFlags,
    /// A name of your own for this request: submitting it again gives the same job [default: a new one]
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    pub request_id: Option<String>,
    /// Where.
    #[command(flatten)]
    pub remote: Remote,
}

/// `list`
#[derive(Args, Debug)]
pub struct List {
    /// Only jobs that have not ended
    #[arg(long)]
    pub live: bool,
    /// Where.
    #[command(flatten)]
    pub remote: Remote,
}

/// `show`, `report`
#[derive(Args, Debug)]
pub struct OneJob {
    /// The job, as in job_0191...
    #[arg(value_name = "JOB")]
    pub job: recode_types::JobId,
    /// Where.
    #[command(flatten)]
    pub remote: Remote,
}

/// `watch`
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct Watch {
    /// The job, as in job_0191...
    #[arg(value_name = "JOB")]
    pub job: recode_types::JobId,
    /// Show no bars
    #[arg(long, short)]
    pub quiet: bool,
    /// Where.
    #[command(flatten)]
    pub remote: Remote,
}

/// `cancel`
#[derive(Args, Debug)]
pub struct Cancel {
    /// The job, as in job_0191...
    #[arg(value_name = "JOB")]
    pub job: recode_types::JobId,
    /// Why, for people who look at it later
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "cancelled by recode-client"
    )]
    pub reason: String,
    /// Where.
    #[command(flatten)]
    pub remote: Remote,
}

/// `cluster`
#[derive(Args, Debug)]
pub struct Cluster {
    /// What to do.
    #[command(subcommand)]
    pub action: ClusterAction,
}

/// What can be done with the coordinators.
#[derive(Subcommand, Debug)]
pub enum ClusterAction {
    /// Show the coordinators, who leads, how far each is
    Status {
        /// Where.
        #[command(flatten)]
        remote: Remote,
    },
    /// Make a coordinator that was started with --wait part of the cluster
    Add {
        /// Where it listens
        #[arg(value_name = "HOST:PORT")]
        address: String,
        /// Where.
        #[command(flatten)]
        remote: Remote,
    },
    /// Remove a coordinator, living or lost; a new machine in its place is added under a new number
    Remove {
        /// Its number, as `cluster status` shows it
        #[arg(value_name = "N")]
        coordinator: u64,
        /// Where.
        #[command(flatten)]
        remote: Remote,
    },
    /// Write a snapshot of the state at the coordinator that is asked
    Snapshot {
        /// Where.
        #[command(flatten)]
        remote: Remote,
    },
}

/// How much is said, and in which form.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Messages")]
pub struct Talk {
    /// Print the result as JSON on standard output; errors too
    #[arg(long)]
    pub json: bool,
    /// Say nothing but errors
    #[arg(long, short, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Log to standard error; twice for more, three times for everything
    #[arg(long, short, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Write a detailed log to this file
    #[arg(long, value_name = "FILE", env = "RECODE_LOG_FILE")]
    pub log_file: Option<PathBuf>,
}

/// Where embedded work happens.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Machine")]
pub struct Machine {
    /// Folder for unfinished work [default: $XDG_STATE_HOME/recode or ~/.local/state/recode]
    #[arg(long, value_name = "DIR", env = "RECODE_STATE")]
    pub state: Option<PathBuf>,
}

/// `transcode`
#[derive(Args, Debug)]
#[command(after_help = TRANSCODE_HELP)]
pub struct Transcode {
    /// Path or URL (s3://, http://, https://) of the video
    #[arg(value_name = "INPUT", required_unless_present = "job")]
    pub input: Option<String>,
    /// Several renditions from one source, described in a TOML or JSON file
    #[arg(long, value_name = "FILE")]
    pub job: Option<PathBuf>,
    /// What to make.
    #[command(flatten)]
    pub output: OutputFlags,
    /// How to go about it.
    #[command(flatten)]
    pub work: JobFlags,
    /// Chunks encoded at the same time [default: from cores and memory]
    #[arg(
        long,
        value_name = "N",
        env = "RECODE_WORKERS",
        help_heading = "Machine"
    )]
    pub workers: Option<u32>,
    /// Where.
    #[command(flatten)]
    pub machine: Machine,
    /// Keep finished chunks for later jobs, up to this size [default: none are kept]
    #[arg(
        long,
        value_name = "SIZE",
        env = "RECODE_CACHE",
        help_heading = "Machine"
    )]
    pub cache: Option<ByteSize>,
    /// Hand the job to this coordinator instead of working in this process
    #[arg(
        long,
        value_name = "URL",
        env = "RECODE_ENDPOINT",
        help_heading = "Machine"
    )]
    pub endpoint: Option<String>,
    /// Write the job report (JSON) to this file
    #[arg(long, value_name = "FILE", help_heading = "Messages")]
    pub report: Option<PathBuf>,
    /// How much is said.
    #[command(flatten)]
    pub talk: Talk,
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
    /// Measure every frame against the source: vmaf, psnr, ssim, ms-ssim
    #[arg(long, value_name = "METRICS", value_delimiter = ',', value_parser = metric())]
    pub score: Vec<Metric>,
    /// How chunks are checked: `standard` decodes a sample, `full` decodes and compares every frame
    #[arg(long, value_name = "HOW", value_parser = ["standard", "full"])]
    pub verify: Option<String>,
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

/// `probe`
#[derive(Args, Debug)]
#[command(after_help = EXIT_CODES)]
pub struct Probe {
    /// Path or URL of the video
    pub input: String,
    /// Decode every frame: slower, exact whatever the container claims
    #[arg(long)]
    pub deep: bool,
    /// Where.
    #[command(flatten)]
    pub machine: Machine,
    /// How much is said.
    #[command(flatten)]
    pub talk: Talk,
}

/// `score`
#[derive(Args, Debug)]
#[command(
    after_help = "Example: recode-client score small.mp4 --reference film.mkv --score vmaf,psnr --per-frame frames.json"
)]
pub struct Score {
    /// The file to judge
    pub distorted: String,
    /// The file it was made from
    #[arg(long, value_name = "SOURCE")]
    pub reference: String,
    /// Metrics: vmaf, psnr, ssim, ms-ssim
    #[arg(long, value_name = "METRICS", value_delimiter = ',', value_parser = metric(), default_value = "vmaf")]
    pub score: Vec<Metric>,
    /// Write the score of every frame (JSON) to this file
    #[arg(long, value_name = "FILE")]
    pub per_frame: Option<PathBuf>,
    /// Where.
    #[command(flatten)]
    pub machine: Machine,
    /// How much is said.
    #[command(flatten)]
    pub talk: Talk,
}

/// `cache`
#[derive(Args, Debug)]
pub struct Cache {
    /// What to do with it.
    #[command(subcommand)]
    pub action: CacheAction,
}

/// What to do with the cache.
#[derive(Subcommand, Debug)]
pub enum CacheAction {
    /// Show interrupted jobs and cached chunks
    List {
        /// Where.
        #[command(flatten)]
        machine: Machine,
        /// Print JSON on standard output
        #[arg(long)]
        json: bool,
    },
    /// Remove interrupted jobs and cached chunks; running jobs are left alone
    Prune {
        /// Where.
        #[command(flatten)]
        machine: Machine,
        /// Remove the oldest until no more than this is left [default: remove everything]
        #[arg(long, value_name = "SIZE")]
        keep: Option<ByteSize>,
        /// Print JSON on standard output
        #[arg(long)]
        json: bool,
    },
}

/// A parser of words, so that help, errors and completion list them.
fn words<T: Copy + Send + Sync + 'static>(
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

fn metric() -> impl TypedValueParser<Value = Metric> {
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

fn label(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("\"{text}\" is not a label such as team=news"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_full_line_is_understood() {
        let cli = Cli::try_parse_from([
            "recode-client",
            "transcode",
            "in.mp4",
            "-o",
            "out.mkv",
            "--codec",
            "h265",
            "--crf",
            "23.5",
            "--scale",
            "1280x720",
            "--score",
            "vmaf,psnr",
            "--deinterlace",
            "--segment",
            "10s",
            "--tracks",
            "video,audio:eng",
            "--label",
            "team=news",
            "-v",
            "--cache",
            "2GB",
            "--verify",
            "full",
        ])
        .expect("these flags are documented");
        let Command::Transcode(t) = cli.command else {
            panic!("transcode was asked for");
        };
        assert_eq!(t.input.as_deref(), Some("in.mp4"));
        assert_eq!(t.output.path.as_deref(), Some("out.mkv"));
        assert_eq!(t.output.crf, Some(Quality(23_500)));
        assert_eq!(t.output.deinterlace, Some(Deinterlace::Auto));
        assert_eq!(t.work.score, [Metric::Vmaf, Metric::Psnr]);
        assert_eq!(t.work.segment, Some(Span(10_000_000)));
        assert_eq!(t.cache, Some(ByteSize(2_000_000_000)));
    }
}
