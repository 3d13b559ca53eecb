//! `recode-coordinator`: keeps the state of Jobs and hands their Tasks to nodes.

use anyhow::Context as _;
use clap::Parser;
use recode_coordinator::assembly::{Config, start};
use recode_core::PlanPolicy;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// Keeps the state of jobs and hands their work to nodes.
#[derive(Debug, Parser)]
#[command(name = "recode-coordinator", version)]
struct Flags {
    /// Folder of the replicated log and its snapshots
    #[arg(long, env = "RECODE_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,

    /// Address to listen on
    #[arg(
        long,
        env = "RECODE_LISTEN",
        default_value = "127.0.0.1:7420",
        value_name = "ADDR:PORT"
    )]
    listen: SocketAddr,

    /// Where nodes keep what they make until it is an output: a folder or s3://BUCKET/PREFIX that all nodes can reach
    #[arg(long, env = "RECODE_WORK_STORE", value_name = "URL")]
    work_store: String,

    /// Listen on addresses that other machines can reach, although nobody is asked who they are
    #[arg(long, env = "RECODE_INSECURE")]
    insecure: bool,

    /// What to log, as in `info` or `recode_coordinator=debug`
    #[arg(
        long,
        env = "RECODE_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    log: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line with all causes, for people and for logs alike.
            eprintln!("recode-coordinator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let filter = tracing_subscriber::EnvFilter::try_new(&flags.log)
        .with_context(|| format!("--log {} is not a log filter", flags.log))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let running = start(Config {
        data_dir: flags.data_dir,
        listen: flags.listen,
        work_store: flags.work_store,
        insecure: flags.insecure,
        plan: PlanPolicy::default(),
        embedded: false,
    })
    .await?;
    // For people and for scripts that asked for port 0.
    println!("listening on http://{}", running.local_addr());
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        signalled = tokio::signal::ctrl_c() => signalled?,
        _ = terminate.recv() => {}
        () = running.failed() => {
            // Raft and leases recover from the end of a process; going on without a log would not.
            anyhow::bail!(running.failure().unwrap_or_default());
        }
    }
    running.stop().await;
    Ok(())
}
