//! The command line.

mod command;
mod recipe;
mod remote;

pub use command::RunCommand;
pub use recipe::{JobFlags, OutputFlags, Recipe};
pub use remote::{
    Cancel, Cluster, ClusterAction, Drain, Events, List, Logs, Nodes, OneJob, OneNode, Remote,
    Submit, Watch,
};

use crate::units::ByteSize;
use clap::{Args, Parser, Subcommand};
use recipe::metric;
use recode_node::sandbox::Policy;
use recode_types::Metric;
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

/// Shown below the help of every command that works on media. No line is longer than help is wide.
macro_rules! exit_codes {
    () => {
        "\
Exit codes:
  0 done, 1 the job failed, 2 wrong flags, 3 the input cannot be used, 4 the output cannot be written,
  5 something is missing (FFmpeg, encoder, disk, network), 130 interrupted"
    };
}
use exit_codes;

const EXIT_CODES: &str = exit_codes!();

const TRANSCODE_HELP: &str = concat!(
    "\
Examples:
  recode-client transcode film.mkv -o film.mp4 --codec h264 --crf 20 --preset slow
  recode-client transcode film.mov -o film.mkv --codec h265 --bitrate 4M --scale 1080p --score vmaf
  recode-client transcode film.mp4 -o small.webm --codec av1 --size 700MB --audio-codec opus
  recode-client transcode s3://bucket/film.mxf -o film.mp4 --tracks video,audio:eng
  recode-client transcode film.mov -o s3://bucket/film.mp4 --upload --endpoint 10.0.0.1:7420
  recode-client transcode --job ladder.toml

An interrupted transcode goes on where it stopped when the same command is given again.

",
    exit_codes!()
);

/// The subcommands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Turn a video into one or more outputs
    Transcode(Box<Transcode>),
    /// Show what a file is: tracks, frames, where it can be cut
    Probe(Probe),
    /// Run FFmpeg with options of your own, here or on a node of a cluster
    #[command(name = "command")]
    Run(Box<RunCommand>),
    /// Hand jobs to a cluster and come back at once; `watch` follows them
    Submit(Box<Submit>),
    /// List the jobs of a cluster
    List(List),
    /// Show one job: what was asked, how far it is
    Show(OneJob),
    /// Follow a job to its end
    Watch(Watch),
    /// End a job
    Cancel(Cancel),
    /// Start nothing more of a job until it is resumed
    Pause(OneJob),
    /// Go on with a paused job
    Resume(OneJob),
    /// Try a failed job again; what is finished is kept
    Retry(OneJob),
    /// Say what the unfinished parts of a job wait for
    Explain(OneJob),
    /// Print the report of a job that has ended
    Report(OneJob),
    /// Print what FFmpeg said last where parts of a job failed
    Logs(Logs),
    /// Print what happens to jobs as a cluster says it on NATS
    Events(Events),
    /// List the nodes of a cluster, or show one
    Nodes(Nodes),
    /// Give a node nothing new; what it runs goes on
    Drain(Drain),
    /// Give a drained node work again
    Undrain(OneNode),
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

impl Command {
    /// Whether results are wanted as JSON.
    pub fn json(&self) -> bool {
        match self {
            Self::Transcode(args) => args.talk.json,
            Self::Probe(args) => args.talk.json,
            Self::Score(args) => args.talk.json,
            Self::Cache(Cache { action }) => match action {
                CacheAction::List { json, .. } | CacheAction::Prune { json, .. } => *json,
            },
            Self::Run(args) => args.talk.json,
            Self::Submit(args) => args.remote.json,
            Self::List(args) => args.remote.json,
            Self::Show(args)
            | Self::Pause(args)
            | Self::Resume(args)
            | Self::Retry(args)
            | Self::Explain(args)
            | Self::Report(args) => args.remote.json,
            Self::Watch(args) => args.remote.json,
            Self::Cancel(args) => args.remote.json,
            Self::Logs(args) => args.remote.json,
            Self::Events(args) => args.json,
            Self::Nodes(args) => args.remote.json,
            Self::Drain(args) => args.node.remote.json,
            Self::Undrain(args) => args.remote.json,
            Self::Cluster(args) => args.action.remote().json,
            Self::Completion { .. } => false,
        }
    }
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
    /// How FFmpeg is confined here: require Landlock and seccomp, prefer them, or off
    #[arg(
        long,
        value_name = "require|prefer|off",
        env = "RECODE_SANDBOX",
        default_value = "prefer"
    )]
    pub sandbox: Policy,
}

/// `transcode`
#[derive(Args, Debug)]
#[command(after_help = TRANSCODE_HELP)]
pub struct Transcode {
    /// Path or URL (s3://, http://, https://) of the video
    #[arg(value_name = "INPUT", required_unless_present = "job")]
    pub input: Option<String>,
    /// What to make of it.
    #[command(flatten)]
    pub recipe: Recipe,
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
    /// Hand the job to the cluster of these coordinators instead of working in this process
    #[arg(
        long,
        value_name = "URL",
        env = "RECODE_ENDPOINT",
        help_heading = "Machine"
    )]
    pub endpoint: Option<String>,
    /// Send a local input to the cluster first; it goes when the job is over
    #[arg(long, requires = "endpoint", help_heading = "Machine")]
    pub upload: bool,
    /// Write the job report (JSON) to this file
    #[arg(long, value_name = "FILE", help_heading = "Messages")]
    pub report: Option<PathBuf>,
    /// How much is said.
    #[command(flatten)]
    pub talk: Talk,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Quality, Span};
    use clap::CommandFactory as _;
    use recode_types::rendition::Deinterlace;

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
        assert_eq!(t.recipe.output.path.as_deref(), Some("out.mkv"));
        assert_eq!(t.recipe.output.crf, Some(Quality(23_500)));
        assert_eq!(t.recipe.output.deinterlace, Some(Deinterlace::Auto));
        assert_eq!(t.recipe.work.score, [Metric::Vmaf, Metric::Psnr]);
        assert_eq!(t.recipe.work.segment, Some(Span(10_000_000)));
        assert_eq!(t.cache, Some(ByteSize(2_000_000_000)));
    }
}
