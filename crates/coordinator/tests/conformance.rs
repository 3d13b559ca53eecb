//! The conformance suite of the mesh (`recode_testkit::conformance`): by gRPC with no NATS anywhere, and by NATS alone.

use anyhow::{Context as _, Result, ensure};
use recode_coordinator::assembly::{Config, Running, start};
use recode_mesh::{Leader, Link, nats};
use recode_testkit::conformance::{Ground, NAMES, hold};
use recode_testkit::nats::Server;
use std::net::SocketAddr;

/// A coordinator in this process.
struct Here {
    folder: tempfile::TempDir,
    nats: Option<nats::Settings>,
    address: SocketAddr,
    running: Option<Running>,
}

impl Here {
    async fn start(nats: Option<nats::Settings>) -> Result<Self> {
        let mut here = Self {
            folder: tempfile::tempdir()?,
            nats,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            running: None,
        };
        here.run().await?;
        Ok(here)
    }

    async fn run(&mut self) -> Result<()> {
        let store = format!("file://{}", self.folder.path().join("store").display());
        let running = start(Config {
            embedded: false,
            listen: self.address,
            nats: self.nats.clone(),
            ..Config::embedded(self.folder.path().join("raft"), store)
        });
        let running = running.await?;
        self.address = running.local_addr();
        self.running = Some(running);
        Ok(())
    }

    async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }
}

impl Ground for Here {
    fn link(&self) -> Link {
        match &self.nats {
            Some(settings) => Link::nats(settings.clone(), "a scripted node".to_owned()),
            None => Link::Grpc(self.leader()),
        }
    }

    fn leader(&self) -> Leader {
        Leader::at(&self.address.to_string()).expect("it is an address")
    }

    async fn restart(&mut self) -> Result<()> {
        self.stop().await;
        self.run().await
    }
}

/// All behaviours beside each other, each on a coordinator of its own; over NATS they share the server.
async fn all_hold(server: Option<&Server>) -> Result<()> {
    let mut playing = tokio::task::JoinSet::new();
    for name in NAMES {
        let settings = server
            .map(|server| nats::Settings::new(&[server.url()], name))
            .transpose()?;
        playing.spawn(async move {
            let mut here = Here::start(settings).await?;
            let held = hold(name, &mut here).await;
            here.stop().await;
            held
        });
    }
    let played = playing.join_all().await;
    let broken: Vec<String> = played
        .into_iter()
        .filter_map(|held| Some(format!("{:#}", held.err()?)))
        .collect();
    ensure!(broken.is_empty(), "{}", broken.join("\n"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_behaviour_holds_by_grpc_without_nats() -> Result<()> {
    all_hold(None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_behaviour_holds_by_nats_alone() -> Result<()> {
    let server = Server::start().context("a NATS server")?;
    all_hold(Some(&server)).await
}

#[tokio::test]
async fn what_is_no_behaviour_does_not_hold() -> Result<()> {
    let mut here = Here::start(None).await?;
    assert!(hold("made_up", &mut here).await.is_err());
    here.stop().await;
    Ok(())
}
