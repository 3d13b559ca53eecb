//! `recode-coordinator`: keeps the state of Jobs and hands their Tasks to nodes.

mod config;

use anyhow::Context as _;
use clap::Parser;
use config::Flags;
use recode_coordinator::assembly::start;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

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
    let settings = Flags::parse().settings()?;
    let filter = tracing_subscriber::EnvFilter::try_new(&settings.log)
        .with_context(|| format!("--log {} is not a log filter", settings.log))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let mut terminate = signal(SignalKind::terminate())?;
    let running = tokio::select! {
        running = start(settings.config) => running?,
        // It may wait for a cluster for a long time.
        signalled = tokio::signal::ctrl_c() => return Ok(signalled?),
        _ = terminate.recv() => return Ok(()),
    };
    // For people and for scripts that asked for port 0.
    println!("listening on http://{}", running.local_addr());
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
