//! `RaftService`, and the [`Link`] that calls it.

use crate::raft::network::MAX_MESSAGE_BYTES;
use crate::raft::{Call, Consensus, CoordinatorId, Link, LinkError, Peer};
use futures::future::BoxFuture;
use recode_core::machine::level::LEVEL;
use recode_proto::convert::status::{bad_request, because};
use recode_proto::v1::raft_service_client::RaftServiceClient;
use recode_proto::v1::{self, raft_service_server::RaftService};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

/// Layout of the payloads that this build sends and understands.
const LAYOUT: u32 = 1;

/// Room for a message's frame around its payload.
const FRAME_BYTES: usize = 64 << 10;

/// See the module.
#[derive(Clone)]
pub struct Members {
    /// The log.
    pub consensus: Consensus,
}

fn refused(reason: &str, message: String) -> Status {
    because(Code::FailedPrecondition, reason, message, &[])
}

impl Members {
    async fn answer(
        &self,
        call: Call,
        request: Request<v1::RaftMessage>,
    ) -> Result<Response<v1::RaftAnswer>, Status> {
        let message = request.into_inner();
        let me = self.consensus.identity();
        if (message.cluster.as_str(), message.target) != (me.cluster.as_str(), me.id) {
            let named: String = message.cluster.chars().take(64).collect();
            return Err(refused(
                "OTHER_COORDINATOR",
                format!(
                    "this is coordinator {} of cluster {}, not {} of {named}",
                    me.id, me.cluster, message.target
                ),
            ));
        }
        if message.layout != LAYOUT {
            return Err(refused(
                "UNKNOWN_LAYOUT",
                format!(
                    "messages in layout {} are not understood here, {LAYOUT} is: do not skip a release when upgrading",
                    message.layout
                ),
            ));
        }
        let payload = self.consensus.answer(call, &message.payload).await;
        let payload = payload
            .map_err(|why| bad_request("payload", format!("payload is not valid: {why}")))?;
        Ok(Response::new(v1::RaftAnswer {
            payload,
            level: LEVEL,
        }))
    }
}

#[tonic::async_trait]
impl RaftService for Members {
    async fn append(
        &self,
        request: Request<v1::RaftMessage>,
    ) -> Result<Response<v1::RaftAnswer>, Status> {
        self.answer(Call::Append, request).await
    }

    async fn vote(
        &self,
        request: Request<v1::RaftMessage>,
    ) -> Result<Response<v1::RaftAnswer>, Status> {
        self.answer(Call::Vote, request).await
    }

    async fn install_snapshot(
        &self,
        request: Request<v1::RaftMessage>,
    ) -> Result<Response<v1::RaftAnswer>, Status> {
        self.answer(Call::InstallSnapshot, request).await
    }

    async fn adopt(
        &self,
        request: Request<v1::AdoptRequest>,
    ) -> Result<Response<v1::AdoptResponse>, Status> {
        let message = request.into_inner();
        let me = self.consensus.identity();
        if (message.cluster.as_str(), message.coordinator) == (me.cluster.as_str(), me.id) {
            return Ok(Response::new(v1::AdoptResponse {}));
        }
        Err(refused(
            "ADOPTED_ALREADY",
            format!(
                "this is coordinator {} of cluster {} already: a new one needs a data folder of its own",
                me.id, me.cluster
            ),
        ))
    }
}

/// Calls other coordinators over gRPC. One connection to each; it connects on first use and again whenever it broke.
#[derive(Debug)]
pub struct GrpcLink {
    cluster: String,
    lines: Mutex<HashMap<(CoordinatorId, String), RaftServiceClient<Channel>>>,
    /// What each announced when it answered last.
    levels: Arc<Mutex<HashMap<CoordinatorId, u32>>>,
}

impl GrpcLink {
    /// For a member of `cluster`.
    pub fn new(cluster: &str) -> Arc<Self> {
        Arc::new(Self {
            cluster: cluster.to_owned(),
            lines: Mutex::default(),
            levels: Arc::default(),
        })
    }

    fn line(&self, to: &Peer) -> Result<RaftServiceClient<Channel>, LinkError> {
        let mut lines = self.lines.lock().expect("nothing panics with it");
        let key = (to.id, to.address.clone());
        if let Some(line) = lines.get(&key) {
            return Ok(line.clone());
        }
        let line = client(&to.address).map_err(|e| LinkError::Unreachable(to.id, e))?;
        // One that moved is not called at its old address again.
        lines.retain(|(id, _), _| *id != to.id);
        lines.insert(key, line.clone());
        Ok(line)
    }
}

fn client(address: &str) -> Result<RaftServiceClient<Channel>, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|e| format!("{address} is no address: {e}"))?;
    let channel = endpoint
        .connect_timeout(Duration::from_secs(2))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .connect_lazy();
    Ok(RaftServiceClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES + FRAME_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES + FRAME_BYTES))
}

/// Most bytes that [`Members`] take in.
pub const MAX_INCOMING_BYTES: usize = MAX_MESSAGE_BYTES + FRAME_BYTES;

impl Link for GrpcLink {
    fn announced(&self, by: CoordinatorId) -> Option<u32> {
        let levels = self.levels.lock().expect("nothing panics with it");
        levels.get(&by).copied()
    }

    fn call(
        &self,
        to: Peer,
        call: Call,
        payload: Vec<u8>,
        within: Duration,
    ) -> BoxFuture<'static, Result<Vec<u8>, LinkError>> {
        let line = self.line(&to);
        let levels = Arc::clone(&self.levels);
        let message = v1::RaftMessage {
            cluster: self.cluster.clone(),
            target: to.id,
            layout: LAYOUT,
            payload,
        };
        Box::pin(async move {
            let mut line = line?;
            let mut request = Request::new(message);
            request.set_timeout(within);
            let answer = async {
                match call {
                    Call::Append => line.append(request).await,
                    Call::Vote => line.vote(request).await,
                    Call::InstallSnapshot => line.install_snapshot(request).await,
                }
            };
            match tokio::time::timeout(within, answer).await {
                Ok(Ok(answer)) => {
                    let answer = answer.into_inner();
                    let mut levels = levels.lock().expect("nothing panics with it");
                    levels.insert(to.id, answer.level);
                    Ok(answer.payload)
                }
                // A connection that cannot be made comes at once: asking again at once would spin.
                Ok(Err(status)) if status.code() == Code::Unavailable => {
                    Err(LinkError::Unreachable(to.id, status.message().to_owned()))
                }
                Ok(Err(status)) if status.code() == Code::FailedPrecondition => {
                    tracing::warn!(
                        coordinator = to.id,
                        address = to.address,
                        "{}",
                        status.message()
                    );
                    Err(LinkError::Unreachable(to.id, status.message().to_owned()))
                }
                Ok(Err(status)) => Err(LinkError::Lost(to.id, status.to_string())),
                Err(_) => Err(LinkError::Lost(to.id, "no answer in time".into())),
            }
        })
    }
}

/// Asks a coordinator that waits at `address` to take the number `id` in `cluster`, which is at this feature `level`.
/// # Errors
/// One sentence.
pub async fn adopt(
    cluster: &str,
    level: u32,
    id: CoordinatorId,
    address: &str,
) -> Result<(), String> {
    let mut line = client(address)?;
    let mut request = Request::new(v1::AdoptRequest {
        cluster: cluster.to_owned(),
        coordinator: id,
        address: address.to_owned(),
        level,
    });
    request.set_timeout(Duration::from_secs(10));
    match line.adopt(request).await {
        Ok(_) => Ok(()),
        Err(status) => Err(format!("{address}: {}", status.message())),
    }
}
