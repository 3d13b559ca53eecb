//! The one place where the coordinator is put together.

use crate::leader::{Leader, Policy};
use crate::raft::{self, Consensus, ProposeError};
use crate::service::{job::Jobs, node::Nodes};
use recode_core::PlanPolicy;
use recode_proto::convert::MAX_MESSAGE_BYTES;
use recode_proto::v1::job_service_server::JobServiceServer;
use recode_proto::v1::node_service_server::NodeServiceServer;
use recode_store::WorkStore;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::server::{Server, TcpIncoming};

/// How long open streams get to end by themselves.
const FAREWELL: Duration = Duration::from_secs(1);

/// Streams of one connection: a node uses one, a client one per Job it watches.
const STREAMS_PER_CONNECTION: u32 = 256;

/// What a coordinator needs to start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Folder of log and snapshots; made where it is missing.
    pub data_dir: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// URL below which artifacts are kept, reachable by all nodes.
    pub work_store: String,
    /// Listen on an address that others can reach, although nobody is asked who they are.
    pub insecure: bool,
    /// How Plans are made.
    pub plan: PlanPolicy,
    /// Coordinator, nodes and work store come and go with one process: nodes in the log are gone at start, and ended
    /// Jobs are not swept, since the folder goes as a whole.
    pub embedded: bool,
}

impl Config {
    /// For one process that is client, coordinator and node at once: any free port of the loopback.
    pub fn embedded(data_dir: PathBuf, work_store: String) -> Self {
        Self {
            data_dir,
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            work_store,
            insecure: false,
            plan: PlanPolicy::default(),
            embedded: true,
        }
    }
}

/// A coordinator that did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It would be open to everybody.
    #[error(
        "{0} can be reached from other machines and nobody is asked who they are: listen on 127.0.0.1, or say --insecure"
    )]
    Exposed(SocketAddr),
    /// The address is taken or not ours.
    #[error("cannot listen on {address}; choose another address")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The log or the state.
    #[error(transparent)]
    Raft(#[from] raft::Error),
    /// The work store.
    #[error(transparent)]
    Store(#[from] recode_store::Error),
    /// The log took nothing.
    #[error(transparent)]
    Propose(#[from] ProposeError),
}

/// A coordinator that runs.
#[derive(Debug)]
pub struct Running {
    local_addr: SocketAddr,
    stop: CancellationToken,
    failure: watch::Receiver<Option<String>>,
    life: JoinHandle<()>,
}

impl Running {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Resolves when it cannot go on: the log cannot be written, or a part of it has failed.
    pub async fn failed(&self) {
        let mut failure = self.failure.clone();
        if failure.wait_for(Option::is_some).await.is_err() {
            // It ended without a failure.
            std::future::pending().await
        }
    }

    /// Why it failed.
    pub fn failure(&self) -> Option<String> {
        self.failure.borrow().clone()
    }

    /// Stops it. What was acknowledged is on disk already.
    pub async fn stop(self) {
        self.stop.cancel();
        // A panic was told through `failed`.
        let _ = self.life.await;
    }
}

/// Starts a coordinator; it leads, and serves, when this returns.
/// # Errors
/// [`Error`]; nothing runs then.
pub async fn start(config: Config) -> Result<Running, Error> {
    if !config.listen.ip().is_loopback() {
        if !config.insecure {
            return Err(Error::Exposed(config.listen));
        }
        tracing::warn!(address = %config.listen, "listening without asking anybody who they are");
    }
    let listen = |source| Error::Listen {
        address: config.listen,
        source,
    };
    let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
    let local_addr = listener.local_addr().map_err(listen)?;
    let (consensus, store) = tokio::try_join!(
        async { Consensus::open(&config.data_dir).await.map_err(Error::from) },
        async {
            WorkStore::open(&config.work_store)
                .await
                .map_err(Error::from)
        },
    )?;
    let stop = CancellationToken::new();
    let led = lead(&config, &consensus, &store, &stop).await;
    let leader = match led {
        Ok(leader) => leader,
        Err(error) => {
            consensus.stop().await;
            return Err(error);
        }
    };
    let readers = TaskTracker::new();
    let jobs = JobServiceServer::new(Jobs {
        consensus: consensus.clone(),
        running: leader.dispatcher().running(),
        stop: stop.clone(),
    })
    .max_decoding_message_size(MAX_MESSAGE_BYTES)
    .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let nodes = NodeServiceServer::new(Nodes {
        dispatcher: leader.dispatcher().clone(),
        readers: readers.clone(),
        stop: stop.clone(),
    })
    .max_decoding_message_size(MAX_MESSAGE_BYTES)
    .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let (health, checks) = tonic_health::server::health_reporter();
    health
        .set_service_status("recode.v1.JobService", tonic_health::ServingStatus::Serving)
        .await;
    let served = stop.clone();
    let serving = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(5)))
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .add_service(jobs)
        .add_service(nodes)
        .add_service(checks)
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            async move { served.cancelled().await },
        );
    tracing::info!(address = %local_addr, data = %config.data_dir.display(), "the coordinator leads and serves");
    let (failed, failure) = watch::channel(None);
    let life = tokio::spawn(live(
        consensus,
        leader,
        readers,
        serving,
        failed,
        stop.clone(),
    ));
    Ok(Running {
        local_addr,
        stop,
        failure,
        life,
    })
}

async fn lead(
    config: &Config,
    consensus: &Consensus,
    store: &WorkStore,
    stop: &CancellationToken,
) -> Result<Leader, Error> {
    consensus.leading().await?;
    let policy = Policy {
        plan: config.plan.clone(),
        nodes_died: config.embedded,
        sweep: !config.embedded,
    };
    Ok(Leader::start(consensus, store, policy, stop).await?)
}

/// Runs until told to stop or something fails, then ends everything in order.
async fn live(
    consensus: Consensus,
    mut leader: Leader,
    readers: TaskTracker,
    serving: impl Future<Output = Result<(), tonic::transport::Error>>,
    failed: watch::Sender<Option<String>>,
    stop: CancellationToken,
) {
    let mut serving = std::pin::pin!(serving);
    let mut served = false;
    let reason = tokio::select! {
        biased;
        () = stop.cancelled() => None,
        reason = consensus.ended() => {
            Some(format!("the replicated log has stopped: {}", reason.unwrap_or_default()))
        }
        reason = leader.broken() => Some(reason),
        ended = &mut serving => {
            served = true;
            Some(format!("the listener has ended: {ended:?}"))
        }
    };
    if let Some(reason) = reason {
        tracing::error!(reason, "the coordinator cannot go on");
        failed.send_replace(Some(reason));
    }
    stop.cancel();
    leader.ended().await;
    readers.close();
    let farewell = async {
        readers.wait().await;
        if !served {
            // Why a connection ended badly is of no interest any more.
            let _ = serving.await;
        }
    };
    if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
        tracing::debug!("some connections did not end by themselves");
    }
    consensus.stop().await;
}
