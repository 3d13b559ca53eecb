//! `recode-node`: runs Attempts for a coordinator elsewhere.
//!
//! Its exit code tells whoever started it why it ended; docs/nodes.md has the table.

use anyhow::{Context as _, bail};
use clap::{Parser, ValueEnum};
use recode_mesh::nats;
use recode_mesh::subjects::UNNAMED;
use recode_node::assembly::{Config, start};
use recode_node::labels;
use recode_node::leaving::{self, Cause, Farewell};
use recode_node::memory::{self, Allowance};
use recode_node::peer;
use recode_node::sandbox::{Groups, Policy, Wish};
use recode_node::toolchain;
use recode_types::amount;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;
use tokio::signal::unix::{SignalKind, signal};

/// Encodes, scores and joins for a coordinator.
#[derive(Debug, Parser)]
#[command(name = "recode-node", version)]
struct Flags {
    /// Address of the coordinator
    #[arg(
        long,
        env = "RECODE_COORDINATOR",
        default_value = "http://127.0.0.1:7420",
        value_name = "http://HOST:PORT"
    )]
    coordinator: String,

    /// How the coordinators are reached: dialled by gRPC, or by NATS alone
    #[arg(
        long,
        env = "RECODE_LINK",
        value_enum,
        default_value = "grpc",
        value_name = "LINK"
    )]
    link: LinkKind,

    /// With --link nats, the NATS server; several for the servers of one NATS cluster
    #[arg(
        long,
        env = "RECODE_NATS",
        value_name = "nats://HOST:PORT",
        value_delimiter = ','
    )]
    nats: Vec<String>,

    /// Name of the cluster on NATS, as its coordinators were told
    #[arg(
        long,
        env = "RECODE_NATS_CLUSTER",
        default_value = UNNAMED,
        value_name = "NAME"
    )]
    nats_cluster: String,

    /// Folder for what is being worked on; only this node may use it, and it is emptied at start
    #[arg(long, env = "RECODE_SCRATCH", value_name = "DIR")]
    scratch: PathBuf,

    /// Bytes of it that this node may use at most, as in 20GB [default: all there are]
    #[arg(long, env = "RECODE_SCRATCH_BUDGET", value_name = "SIZE", value_parser = budget)]
    scratch_budget: Option<u64>,

    /// Encoders at once [default: one for each core; fewer run where their memory does not suffice]
    #[arg(long, env = "RECODE_WORKERS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    workers: Option<u32>,

    /// Encodes held beyond those that run, with their input in scratch: what is worked on while no coordinator answers
    /// [default: 1]
    #[arg(long, env = "RECODE_AHEAD", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    ahead: Option<u32>,

    /// What this machine is, for jobs that ask for it, as in compute=intel or instance-type=c6i.large; several times
    #[arg(
        long = "label",
        env = "RECODE_LABELS",
        value_name = "KEY=VALUE",
        value_delimiter = ',',
        value_parser = label
    )]
    labels: Vec<(String, String)>,

    #[command(flatten)]
    leaving: leaving::flags::Flags,

    #[command(flatten)]
    peer: peer::flags::Flags,

    /// Try every encoder before it is offered, and measure how fast it is; what came of it is remembered beside the scratch folder
    #[arg(long, env = "RECODE_MEASURE", default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    measure: bool,

    /// How FFmpeg is confined: require Landlock and seccomp, prefer them, or off
    #[arg(
        long,
        env = "RECODE_SANDBOX",
        default_value = "require",
        value_name = "require|prefer|off"
    )]
    sandbox: Policy,

    /// Control groups that hold each FFmpeg: auto for groups below the node's own, as far as it may make any, off, or the path of
    /// one that the node may divide, as in /recode
    #[arg(
        long,
        env = "RECODE_CGROUP",
        default_value = "auto",
        value_name = "auto|off|PATH"
    )]
    cgroup: Wish,

    /// Memory that one FFmpeg may have, as in 2GB; a second try gets three times as much [default: by picture and encoder]
    #[arg(long, env = "RECODE_RUN_MEMORY", value_name = "SIZE", value_parser = run_memory)]
    run_memory: Option<u64>,

    /// Memory that all FFmpegs together may have, as in 12GB: what does not fit in it waits [default: seven eighths of what the
    /// machine, or the group around the node, has]
    #[arg(long, env = "RECODE_MEMORY", value_name = "SIZE", value_parser = run_memory)]
    memory: Option<u64>,

    /// What to log, as in `info` or `recode_node=debug`
    #[arg(
        long,
        env = "RECODE_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    log: String,
}

fn label(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=');
    let pair = pair.filter(|(key, value)| !key.is_empty() && !value.is_empty());
    let (key, value) = pair.ok_or_else(|| {
        format!("\"{text}\" is not a label: write KEY=VALUE, as in compute=intel")
    })?;
    recode_types::node::check_label(key, value)?;
    Ok((key.to_owned(), value.to_owned()))
}

/// How the coordinators are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LinkKind {
    /// Dialled at --coordinator.
    Grpc,
    /// Over --nats; no coordinator is dialled.
    Nats,
}

impl Flags {
    /// # Errors
    /// One sentence that names the flag and the remedy.
    fn nats(&self) -> anyhow::Result<Option<nats::Settings>> {
        match self.link {
            LinkKind::Grpc if self.nats.is_empty() => Ok(None),
            LinkKind::Grpc => bail!("--nats is of use with --link nats only"),
            LinkKind::Nats if self.nats.is_empty() => {
                bail!("--nats is missing: which NATS server do the coordinators listen on?")
            }
            LinkKind::Nats => {
                let settings = nats::Settings::new(&self.nats, &self.nats_cluster);
                Ok(Some(settings.context("--nats")?))
            }
        }
    }
}

/// Less is not worth while: an Attempt keeps logs and an index of some megabytes.
const LEAST_BUDGET: u64 = 32_000_000;

fn budget(text: &str) -> Result<u64, String> {
    match amount::bytes(text)? {
        small if small < LEAST_BUDGET => Err("give it 32MB or more".to_owned()),
        bytes => Ok(bytes),
    }
}

/// FFmpeg takes nearly as much by itself.
const LEAST_MEMORY: u64 = 64_000_000;

fn run_memory(text: &str) -> Result<u64, String> {
    match amount::bytes(text)? {
        small if small < LEAST_MEMORY => Err("give it 64MB or more".to_owned()),
        bytes => Ok(bytes),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(farewell) => ExitCode::from(farewell.exit_code()),
        Err(error) => {
            // One line with all causes, for people and for logs alike.
            eprintln!("recode-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<Farewell> {
    let flags = Flags::parse();
    let filter = tracing_subscriber::EnvFilter::try_new(&flags.log)
        .with_context(|| format!("--log {} is not a log filter", flags.log))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let nats = flags.nats()?;
    let to = match &nats {
        Some(nats) => nats.at(),
        None => flags.coordinator.clone(),
    };
    let ffmpeg = toolchain::find_confined(None, flags.sandbox)?;
    let (groups, missing) = Groups::open(&flags.cgroup)?;
    let allowance = Allowance::new(flags.run_memory, memory::of_machine(groups.memory_bytes()));
    let allowance = allowance.together(flags.memory);
    let ffmpeg = Arc::new(ffmpeg.within(groups, allowance));
    if let Some(warning) = &ffmpeg.warning {
        tracing::warn!("{warning}");
    }
    tracing::info!(layers = %ffmpeg.sandbox, groups = %ffmpeg.groups, "sandbox");
    if let Some(missing) = missing {
        tracing::warn!(
            missing,
            "FFmpeg is not held by control groups in every way; docs/nodes.md says how it can be"
        );
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut measured = flags.scratch.clone().into_os_string();
    measured.push(".measured.json");
    let habits = flags.leaving.habits();
    let mut labels = flags.labels.into_iter().collect();
    labels::complete(&mut labels, &habits.lookout).await;
    let mut running = start(Config {
        coordinator: flags.coordinator,
        nats,
        measured: flags.measure.then(|| measured.into()),
        scratch: flags.scratch,
        scratch_budget: flags.scratch_budget,
        workers: flags.workers,
        ahead: flags.ahead,
        ffmpeg: ffmpeg.clone(),
        cache: None,
        labels,
        habits,
        peer: flags.peer.config(),
    })?;
    // For people and for scripts.
    println!("reporting to {to} with {}", ffmpeg.version_line());
    let mut asked = false;
    loop {
        tokio::select! {
            left = running.left() => {
                return left.context("the node's own code failed; this is a defect of recode, please report it");
            }
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if asked {
            running.stop().await;
            return Ok(Farewell {
                cause: Cause::Asked,
                handed_over: false,
            });
        }
        asked = true;
        running.leave(flags.leaving.asked(Instant::now())).await;
    }
}
