//! Flags of `command`.

use super::recipe::label;
use super::{Machine, Talk, exit_codes};
use clap::Args;
use std::path::PathBuf;

const COMMAND_HELP: &str = concat!(
    "\
Examples:
  recode-client command --input '' film.mov --output '-c copy' film.mkv
  recode-client command --input '-ss 5' film.mp4 --output '-frames:v 1' poster.jpg
  recode-client command --input '' s3://in/a.mp4 --output '-vf fps=1/10' 's3://out/img%03d.png' --endpoint 10.0.0.1:7420
  recode-client command --input '' a.mp4 --input '' logo.png --output '-filter_complex overlay=10:10' b.mp4
  recode-client command --job clip.toml --dry-run

Options are FFmpeg's own, as far as they name no files: docs/command-jobs.md lists them.

",
    exit_codes!()
);

/// `command`
#[derive(Args, Debug)]
#[command(after_help = COMMAND_HELP)]
pub struct RunCommand {
    /// Options of the whole run
    #[arg(long, value_name = "OPTIONS", allow_hyphen_values = true)]
    pub global: Option<String>,
    /// Options of an input, '' for none, and its path or URL; may be given several times
    #[arg(long, num_args = 2, value_names = ["OPTIONS", "URL"], allow_hyphen_values = true, action = clap::ArgAction::Append)]
    pub input: Vec<String>,
    /// Options of an output, '' for none, and its path or URL; may be given several times
    #[arg(long, num_args = 2, value_names = ["OPTIONS", "URL"], allow_hyphen_values = true, action = clap::ArgAction::Append)]
    pub output: Vec<String>,
    /// All of it described in a TOML or JSON file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["global", "input", "output"])]
    pub job: Option<PathBuf>,
    /// Family of machines that may run it, such as intel, arm, amd or nvidia: the label compute of nodes
    #[arg(long, value_name = "FAMILY")]
    pub compute: Option<String>,
    /// Type of machine that may run it, such as c6i.4xlarge or c6i.*: the label instance-type of nodes
    #[arg(long, value_name = "TYPE")]
    pub instance_type: Option<String>,
    /// A name for people: the label name
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Free labels, as KEY=VALUE
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// 0 to 100; a coordinator serves higher ones first [default: 50]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub priority: Option<u8>,
    /// Replace outputs that exist, as -y does
    #[arg(long, short)]
    pub force: bool,
    /// Only say what FFmpeg would be given
    #[arg(long)]
    pub dry_run: bool,
    /// Hand the job to the cluster of these coordinators instead of working in this process
    #[arg(
        long,
        value_name = "URL",
        env = "RECODE_ENDPOINT",
        help_heading = "Cluster"
    )]
    pub endpoint: Option<String>,
    /// Stay until the job has ended; without a cluster that is always so
    #[arg(long, help_heading = "Cluster")]
    pub wait: bool,
    /// A name of your own for this request: submitting it again gives the same job [default: a new one]
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    pub request_id: Option<String>,
    /// Where.
    #[command(flatten)]
    pub machine: Machine,
    /// How much is said.
    #[command(flatten)]
    pub talk: Talk,
}
