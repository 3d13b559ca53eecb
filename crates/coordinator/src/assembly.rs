//! The one place where the coordinator is put together.

use crate::actor::copier::{self, Copies};
use crate::artifacts::Store;
use crate::leader::Policy;
use crate::raft::{
    self, Consensus, CoordinatorId, FIRST, FOUNDERS_BELOW, Identity, Keep, Setup, Timings,
};
use crate::room::{self, Door};
use crate::seat::Seat;
use crate::service::gate::GateLayer;
use crate::service::raft::{GrpcLink, MAX_INCOMING_BYTES};
use crate::service::{Services, health};
use crate::wait;
use recode_core::PlanPolicy;
use recode_core::machine::Retention;
use recode_mesh::{Nats, nats};
use recode_proto::convert::MAX_MESSAGE_BYTES;
use recode_proto::v1::cluster_service_server::ClusterServiceServer;
use recode_proto::v1::job_service_server::JobServiceServer;
use recode_proto::v1::node_service_server::NodeServiceServer;
use recode_proto::v1::raft_service_server::RaftServiceServer;
use recode_store::WorkStore;
use recode_types::Digest;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
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
    /// Where others reach it, HOST:PORT. `None`: where it listens.
    pub advertise: Option<String>,
    /// What an empty folder becomes.
    pub beginning: Beginning,
    /// How soon a lost Leader is noticed.
    pub timings: Timings,
    /// How long ended Jobs stay, and how many. That of whoever leads counts.
    pub retention: Retention,
    /// Copies of snapshots in the work store. That of whoever leads counts.
    pub copies: Copies,
    /// Also takes nodes that reach only NATS. `None`: no server is needed, nor used.
    pub nats: Option<nats::Settings>,
    /// Coordinator, nodes and work store come and go with one process: nodes in the log are gone at start, and ended
    /// Jobs are not swept, since the folder goes as a whole.
    pub embedded: bool,
}

/// What a coordinator with an empty folder does. One that has been somewhere goes on there, whatever this says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// Founds a cluster and is its only coordinator.
    Alone,
    /// Founds a cluster with others, who are given the same list.
    Together {
        /// Its own number among them.
        me: CoordinatorId,
        /// Numbers and addresses (HOST:PORT) of all founders.
        founders: BTreeMap<CoordinatorId, String>,
    },
    /// Waits until a cluster adopts it.
    Wait {
        /// A coordinator (HOST:PORT) that is asked to do so; `None`: an operator tells the cluster.
        ask: Option<String>,
    },
}

impl Beginning {
    /// # Errors
    /// One sentence: what is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        let Self::Together { me, founders } = self else {
            return Ok(());
        };
        if !founders.contains_key(me) {
            return Err(format!(
                "coordinator {me} is not among the founders: give every coordinator the whole list, and its own number"
            ));
        }
        if founders.len().is_multiple_of(2) {
            return Err(format!(
                "{} founders cannot bear the loss of more than {} can: use 1, 3 or 5",
                founders.len(),
                founders.len() - 1
            ));
        }
        if founders.keys().any(|id| *id == 0 || *id >= FOUNDERS_BELOW) {
            return Err(format!(
                "founders are numbered from 1 to {}",
                FOUNDERS_BELOW - 1
            ));
        }
        let mut addresses: Vec<&String> = founders.values().collect();
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.len() != founders.len() {
            return Err("two founders have the same address".into());
        }
        Ok(())
    }
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
            advertise: None,
            beginning: Beginning::Alone,
            timings: Timings::default(),
            retention: Retention::default(),
            copies: Copies::default(),
            nats: None,
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
    /// The list of founders, or the timings.
    #[error("{0}")]
    Setup(String),
    /// The folder belongs to another coordinator than the one that is to run.
    #[error(
        "the data folder {folder} is that of coordinator {found} and this is to be coordinator {wanted}: correct one of the two"
    )]
    Other {
        /// Which folder.
        folder: PathBuf,
        /// Whose it is.
        found: CoordinatorId,
        /// Who is asked for.
        wanted: CoordinatorId,
    },
    /// It waited, and was told to stop.
    #[error("it was not adopted by a cluster")]
    NotAdopted,
    /// The log or the state.
    #[error(transparent)]
    Raft(#[from] raft::Error),
    /// The connection with NATS cannot be tried.
    #[error(transparent)]
    Nats(#[from] recode_mesh::Error),
    /// The work store.
    #[error(transparent)]
    Store(#[from] recode_store::Error),
    /// A part of the Leader did not start.
    #[error("the coordinator did not begin to lead: {0}")]
    Lead(String),
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

/// Who is to run, and what an empty log begins with.
async fn setup(config: &Config, listener: &TcpListener, advertise: &str) -> Result<Setup, Error> {
    config.beginning.check().map_err(Error::Setup)?;
    config.timings.check().map_err(Error::Setup)?;
    if config.embedded {
        return Ok(Setup::alone());
    }
    let folder = |source| {
        Error::Raft(raft::Error::Folder {
            path: config.data_dir.clone(),
            source,
        })
    };
    std::fs::create_dir_all(&config.data_dir).map_err(folder)?;
    let found = Identity::read(&config.data_dir).map_err(folder)?;
    let founders = match &config.beginning {
        Beginning::Alone => BTreeMap::from([(FIRST, advertise.to_owned())]),
        Beginning::Together { founders, .. } => founders.clone(),
        Beginning::Wait { .. } => BTreeMap::new(),
    };
    let identity = match (found, &config.beginning) {
        (Some(found), Beginning::Together { me, .. }) if found.id != *me => {
            return Err(Error::Other {
                folder: config.data_dir.clone(),
                found: found.id,
                wanted: *me,
            });
        }
        (Some(found), _) => found,
        (None, Beginning::Alone) => Identity {
            cluster: raft::new_cluster(),
            id: FIRST,
        },
        (None, Beginning::Together { me, founders }) => Identity {
            // All founders come to the same name by themselves.
            cluster: Digest::of(format!("{founders:?}").as_bytes()).to_string()[..32].to_owned(),
            id: *me,
        },
        (None, Beginning::Wait { ask }) => {
            let waited = wait::adopted(listener, advertise, ask.as_deref()).await;
            waited.ok_or(Error::NotAdopted)?
        }
    };
    identity.write(&config.data_dir).map_err(folder)?;
    Ok(Setup {
        link: GrpcLink::new(&identity.cluster),
        identity,
        founders,
        timings: config.timings,
        keep: Keep::default(),
        disk: raft::disk::Real::shared(),
        witness: None,
    })
}

/// Starts a coordinator. One that is alone leads, and serves, when this returns; others take part.
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
    let advertise = config
        .advertise
        .clone()
        .unwrap_or_else(|| local_addr.to_string());
    let nats = match &config.nats {
        Some(settings) => Some(Nats::connect(settings, &format!("coordinator {advertise}")).await?),
        None => None,
    };
    let setup = setup(&config, &listener, &advertise).await?;
    let founded = !setup.founders.is_empty();
    let (consensus, work_store) = tokio::try_join!(
        async {
            Consensus::open(&config.data_dir, setup)
                .await
                .map_err(Error::from)
        },
        async {
            WorkStore::open(&config.work_store)
                .await
                .map_err(Error::from)
        },
    )?;
    let store: Store = Arc::new(work_store.clone());
    let me = consensus.identity().id;
    let alone = founded && consensus.voters().await.into_iter().eq([me]);
    let stop = CancellationToken::new();
    let policy = Policy {
        plan: config.plan.clone(),
        nodes_died: config.embedded,
        sweep: !config.embedded,
        retention: config.retention,
    };
    let (seat, handle) = Seat::new(
        consensus.clone(),
        store.clone(),
        policy,
        (!config.embedded).then(|| advertise.clone()),
    );
    let mut seat = tokio::spawn(seat.run(stop.clone()));
    if alone {
        let mut serving = handle.serving.clone();
        let led = tokio::select! {
            led = tokio::time::timeout(Duration::from_secs(10), serving.wait_for(|s| *s)) => match led {
                Ok(Ok(_)) => Ok(()),
                _ => Err("it took too long".to_owned()),
            },
            ended = &mut seat => Err(format!("{ended:?}")),
            reason = consensus.ended() => Err(reason.unwrap_or_default()),
        };
        if let Err(reason) = led {
            stop.cancel();
            consensus.stop().await;
            return Err(Error::Lead(reason));
        }
    }
    let readers = TaskTracker::new();
    let door = if config.embedded {
        Door::open()
    } else {
        let (door, watching) = room::watch(&config.data_dir, consensus.clone(), stop.clone());
        readers.spawn(watching);
        door
    };
    let Services {
        jobs,
        nodes,
        members,
        cluster,
        gate,
    } = Services::new(&consensus, &store, &handle, door, &readers, &stop);
    if let Some(nats) = nats {
        let (nodes, gate, serving) = (nodes.clone(), gate.clone(), handle.serving.clone());
        readers.spawn(crate::nats::serve(nats, nodes, gate, serving, stop.clone()));
    }
    let jobs = JobServiceServer::new(jobs)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let nodes = NodeServiceServer::new(nodes)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let members = RaftServiceServer::new(members)
        .max_decoding_message_size(MAX_INCOMING_BYTES)
        .max_encoding_message_size(MAX_INCOMING_BYTES);
    let cluster = ClusterServiceServer::new(cluster)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let (reporter, checks) = tonic_health::server::health_reporter();
    readers.spawn(health::report(gate.clone(), reporter, stop.clone()));
    if !config.embedded {
        let copier = copier::Copier::new(
            consensus.clone(),
            work_store,
            config.copies,
            handle.serving.clone(),
        );
        readers.spawn(copier.run(stop.clone()));
    }
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(recode_proto::DESCRIPTORS)
        .build_v1()
        .expect("the descriptors were made by the build");
    let served = stop.clone();
    let serving = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(5)))
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .layer(GateLayer(gate))
        .add_service(jobs)
        .add_service(nodes)
        .add_service(members)
        .add_service(cluster)
        .add_service(checks)
        .add_service(reflection)
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            async move { served.cancelled().await },
        );
    tracing::info!(
        address = %local_addr,
        coordinator = consensus.identity().id,
        data = %config.data_dir.display(),
        "the coordinator listens"
    );
    let (failed, failure) = watch::channel(None);
    let life = tokio::spawn(live(
        consensus,
        seat,
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

/// Resolves when the log or the Leader's seat has failed, with the reason.
pub async fn cannot_go_on(
    consensus: &Consensus,
    seat: &mut JoinHandle<Result<(), String>>,
) -> String {
    tokio::select! {
        biased;
        reason = consensus.ended() => {
            format!("the replicated log has stopped: {}", reason.unwrap_or_default())
        }
        ended = seat => match ended {
            Ok(Ok(())) => "the leader's seat has ended".to_owned(),
            Ok(Err(reason)) => reason,
            Err(panic) => format!("a part of the leader failed: {panic}"),
        },
    }
}

/// Runs until told to stop or something fails, then ends everything in order.
async fn live(
    consensus: Consensus,
    mut seat: JoinHandle<Result<(), String>>,
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
        reason = cannot_go_on(&consensus, &mut seat) => Some(reason),
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
    if !seat.is_finished() {
        // A panic there is over by now, and the process ends all the same.
        let _ = seat.await;
    }
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
