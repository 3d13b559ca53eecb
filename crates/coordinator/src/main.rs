//! `recode-coordinator`: keeps the state of Jobs and hands their Tasks to nodes.

mod config;

use anyhow::Context as _;
use clap::Parser;
use config::{Action, Flags};
use recode_coordinator::assembly::start;
use std::io::{self, Write as _};
use std::path::Path;
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
    let flags = Flags::parse();
    match &flags.action {
        None => {}
        Some(Action::Dump { data_dir, json }) => return dump(data_dir, *json),
        Some(Action::Restore {
            from,
            cluster,
            data_dir,
        }) => return restore(from, cluster.as_deref(), data_dir).await,
    }
    let settings = flags.settings()?;
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

fn dump(data_dir: &Path, json: bool) -> anyhow::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    recode_coordinator::dump(data_dir, |line| {
        if json {
            serde_json::to_writer(&mut out, &line)?;
            writeln!(out)
        } else {
            writeln!(out, "{line}")
        }
    })?;
    Ok(out.flush()?)
}

async fn restore(from: &str, cluster: Option<&str>, data_dir: &Path) -> anyhow::Result<()> {
    let restored = recode_coordinator::restore::restore(from, cluster, data_dir).await?;
    println!(
        "{}: cluster {}, with the {} jobs that cluster {} knew at entry {}",
        data_dir.display(),
        restored.cluster,
        restored.jobs,
        restored.from,
        restored.index
    );
    Ok(())
}
