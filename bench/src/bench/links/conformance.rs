//! The conformance suite against coordinators as processes, which are killed where it wants a restart.

use crate::figure::Sheet;
use crate::site::Programs;
use crate::site::process::Process;
use crate::tools::Tools;
use anyhow::{Context as _, Result};
use recode_mesh::retry::retry;
use recode_mesh::{Jobs, Leader, Link, nats};
use recode_testkit::conformance::{Ground, NAMES, hold};
use recode_testkit::nats::Server;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// How long a coordinator may take to lead.
const PATIENCE: Duration = Duration::from_secs(30);

/// A coordinator that is alone.
struct Alone {
    program: PathBuf,
    folder: tempfile::TempDir,
    address: SocketAddr,
    nats: Option<(String, nats::Settings)>,
    name: &'static str,
    process: Option<Process>,
}

impl Alone {
    async fn start(program: PathBuf, server: Option<String>, name: &'static str) -> Result<Self> {
        let settings = |url: String| {
            let settings = nats::Settings::new(std::slice::from_ref(&url), name)?;
            Ok::<_, recode_mesh::Error>((url, settings))
        };
        let mut alone = Self {
            program,
            folder: tempfile::tempdir()?,
            // Free now, and nobody else looks for one that was in use a moment ago.
            address: TcpListener::bind("127.0.0.1:0")?.local_addr()?,
            nats: server.map(settings).transpose()?,
            name,
            process: None,
        };
        alone.run().await?;
        Ok(alone)
    }

    async fn run(&mut self) -> Result<()> {
        let mut command = Command::new(&self.program);
        command
            .args(["--listen", &self.address.to_string()])
            .arg("--data-dir")
            .arg(self.folder.path().join("data"))
            .arg("--work-store")
            .arg(self.folder.path().join("store"));
        if let Some((url, _)) = &self.nats {
            command.args(["--nats", url, "--nats-cluster", self.name]);
        }
        let log = self.folder.path().join("log");
        self.process = Some(Process::start(command, log)?);
        let jobs = Jobs::new(self.leader());
        let leads = retry(PATIENCE, || jobs.list(true)).await;
        leads.context("the coordinator does not lead")?;
        Ok(())
    }
}

impl Ground for Alone {
    fn link(&self) -> Link {
        match &self.nats {
            Some((_, settings)) => Link::nats(settings.clone(), "a scripted node".to_owned()),
            None => Link::Grpc(self.leader()),
        }
    }

    fn leader(&self) -> Leader {
        Leader::at(&self.address.to_string()).expect("it is an address")
    }

    async fn restart(&mut self) -> Result<()> {
        // kill -9
        self.process = None;
        self.run().await
    }
}

/// Plays every behaviour by either link and counts those that hold.
/// # Errors
/// There is no coordinator, or no NATS server.
pub fn run(tools: &Tools, sheet: &mut Sheet) -> Result<()> {
    let programs = Programs::beside(tools, &tools.ffmpeg)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let server = Server::start()?;
    for (case, url) in [
        ("conformance by gRPC, without NATS", None),
        ("conformance by NATS alone", Some(server.url())),
    ] {
        let broken = runtime.block_on(async {
            let mut playing = tokio::task::JoinSet::new();
            for name in NAMES {
                let (program, url) = (programs.coordinators[0].clone(), url.clone());
                playing.spawn(async move {
                    let mut alone = Alone::start(program, url, name).await?;
                    hold(name, &mut alone).await
                });
            }
            let played = playing.join_all().await;
            played
                .into_iter()
                .filter_map(Result::err)
                .collect::<Vec<_>>()
        });
        for error in &broken {
            eprintln!("BROKEN: {case}: {error:#}");
        }
        let all = NAMES.len() as f64;
        sheet.add(case, "behaviours", "count", &[all], "");
        sheet.add(
            case,
            "behaviours_broken",
            "count",
            &[broken.len() as f64],
            "",
        );
    }
    Ok(())
}
