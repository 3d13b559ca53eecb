//! Flags of the commands that talk to a cluster.

use super::recipe::{label, words};
use super::{EXIT_CODES, Recipe, exit_codes};
use crate::units::Span;
use clap::builder::TypedValueParser;
use clap::{Args, Subcommand};
use recode_mesh::subjects::UNNAMED;
use recode_types::{JobId, JobState, NodeId, TaskKey};

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

const SUBMIT_HELP: &str = concat!(
    "\
Examples:
  recode-client submit s3://in/film.mov -o s3://out/film.mp4 --crf 20
  recode-client submit s3://in/season1/ -o 's3://out/{path}.mp4' --codec h265 --label show=one
  recode-client submit a.mov b.mov -o 's3://out/{stem}.mkv' --upload
  recode-client submit s3://in/a.mov s3://in/b.mov --job ladder.toml --priority 80

In the name of an output {stem} stands for the name of the input without its ending, {ext} for
its ending, {path} for its folders below the prefix and its stem; {{ stands for a brace.

",
    exit_codes!()
);

/// `submit`
#[derive(Args, Debug)]
#[command(after_help = SUBMIT_HELP)]
pub struct Submit {
    /// URLs of videos, where every node can read them: s3://, http://, https://, or file:// on a disk they share;
    /// s3://BUCKET/PREFIX/ stands for all videos below it
    #[arg(value_name = "INPUT", required_unless_present = "job")]
    pub inputs: Vec<String>,
    /// What to make of each.
    #[command(flatten)]
    pub recipe: Recipe,
    /// Send local inputs to the cluster first; they go when their jobs are over
    #[arg(long, help_heading = "Cluster")]
    pub upload: bool,
    /// A name of your own for this request: submitting it again gives the same jobs [default: a new one]
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    pub request_id: Option<String>,
    /// Only say what would be submitted
    #[arg(long, help_heading = "Cluster")]
    pub dry_run: bool,
    /// Where.
    #[command(flatten)]
    pub remote: Remote,
}

/// `list`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  recode-client list --live
  recode-client list --state failed --label show=one --since 24h
  recode-client list --limit 50 --json")]
pub struct List {
    /// Only jobs that have not ended
    #[arg(long)]
    pub live: bool,
    /// Only jobs in one of these states
    #[arg(long, value_name = "STATES", value_delimiter = ',', value_parser = state())]
    pub state: Vec<JobState>,
    /// Only jobs with this label; all of them where it is given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Only jobs whose source's URL begins like this
    #[arg(long, value_name = "URL", default_value = "")]
    pub source: String,
    /// Only jobs submitted within this time, such as 2h or 30m
    #[arg(long, value_name = "TIME")]
    pub since: Option<Span>,
    /// Archived jobs too; only their ids, states and times are listed
    #[arg(long)]
    pub archived: bool,
    /// At most this many, the oldest first [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: Option<u32>,
    /// Go on after an earlier list with --limit, which named this
    #[arg(long, value_name = "TOKEN", requires = "limit")]
    pub page: Option<String>,
    /// Where.
    #[command(flatten)]
    pub remote: Remote,
}

/// Commands about one job that take nothing else.
#[derive(Args, Debug)]
pub struct OneJob {
    /// The job, as in job_0191...
    #[arg(value_name = "JOB")]
    pub job: JobId,
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
    pub job: JobId,
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
    pub job: JobId,
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

/// `logs`
#[derive(Args, Debug)]
pub struct Logs {
    /// The job, as in job_0191...
    #[arg(value_name = "JOB")]
    pub job: JobId,
    /// Only of this task, as in encode.0.12
    #[arg(long, value_name = "TASK")]
    pub task: Option<TaskKey>,
    /// Go on with those that come, until the job has ended
    #[arg(long, short)]
    pub follow: bool,
    /// Where.
    #[command(flatten)]
    pub remote: Remote,
}

/// `events`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  recode-client events --nats nats://10.0.0.9:4222
  recode-client events job_0191... --nats nats://10.0.0.9:4222 --json

The coordinators must have been started with --nats. docs/nats.md has the subjects, for listeners of your own.")]
pub struct Events {
    /// Only of this job, until it has ended [default: of all, until Ctrl-C]
    #[arg(value_name = "JOB")]
    pub job: Option<JobId>,
    /// The NATS server; several for the servers of one NATS cluster
    #[arg(
        long,
        env = "RECODE_NATS",
        value_name = "nats://HOST:PORT",
        value_delimiter = ',',
        required = true
    )]
    pub nats: Vec<String>,
    /// Name of the cluster on NATS, as its coordinators were told
    #[arg(long, env = "RECODE_NATS_CLUSTER", default_value = UNNAMED, value_name = "NAME")]
    pub nats_cluster: String,
    /// Print one JSON object for each event; errors too
    #[arg(long)]
    pub json: bool,
}

/// `nodes`
#[derive(Args, Debug)]
pub struct Nodes {
    /// Show this one: what it is, what it runs
    #[arg(value_name = "NODE", value_parser = node)]
    pub node: Option<NodeId>,
    /// Where.
    #[command(flatten)]
    pub remote: Remote,
}

/// Commands about one node that take nothing else.
#[derive(Args, Debug)]
pub struct OneNode {
    /// The node, as in node_3
    #[arg(value_name = "NODE", value_parser = node)]
    pub node: NodeId,
    /// Where.
    #[command(flatten)]
    pub remote: Remote,
}

/// `drain`
#[derive(Args, Debug)]
pub struct Drain {
    /// Come back when it runs nothing any more and may go
    #[arg(long)]
    pub wait: bool,
    /// Which.
    #[command(flatten)]
    pub node: OneNode,
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

impl ClusterAction {
    /// Which cluster it is for.
    pub fn remote(&self) -> &Remote {
        match self {
            Self::Status { remote }
            | Self::Add { remote, .. }
            | Self::Remove { remote, .. }
            | Self::Snapshot { remote } => remote,
        }
    }
}

fn state() -> impl TypedValueParser<Value = JobState> {
    words(&[
        ("probing", JobState::Probing),
        ("planning", JobState::Planning),
        ("running", JobState::Running),
        ("done", JobState::Done),
        ("failed", JobState::Failed),
        ("cancelled", JobState::Cancelled),
    ])
}

fn node(text: &str) -> Result<NodeId, String> {
    let number = text.strip_prefix("node_").unwrap_or(text);
    match number.parse() {
        Ok(number) if number > 0 => Ok(NodeId(number)),
        _ => Err(format!(
            "\"{text}\" is not a node such as node_3, which recode-client nodes lists"
        )),
    }
}
