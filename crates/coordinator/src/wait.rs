//! A coordinator with an empty folder that waits for a cluster to adopt it.

use crate::raft::Identity;
use recode_core::machine::level::LEVEL;
use recode_proto::convert::status::{bad_request, because};
use recode_proto::v1;
use recode_proto::v1::cluster_service_client::ClusterServiceClient;
use recode_proto::v1::raft_service_server::{RaftService, RaftServiceServer};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};

/// How often the coordinator that is to adopt this one is asked.
const ASK_EVERY: Duration = Duration::from_secs(2);

struct Waiting {
    adopted: mpsc::Sender<Identity>,
}

fn not_yet() -> Status {
    let message = "this coordinator belongs to no cluster yet: `recode-client cluster add` makes it part of one";
    because(
        Code::FailedPrecondition,
        "NOT_ADOPTED",
        message.to_owned(),
        &[],
    )
}

#[tonic::async_trait]
impl RaftService for Waiting {
    async fn append(
        &self,
        _: Request<v1::RaftMessage>,
    ) -> Result<Response<v1::RaftAnswer>, Status> {
        Err(not_yet())
    }

    async fn vote(&self, _: Request<v1::RaftMessage>) -> Result<Response<v1::RaftAnswer>, Status> {
        Err(not_yet())
    }

    async fn install_snapshot(
        &self,
        _: Request<v1::RaftMessage>,
    ) -> Result<Response<v1::RaftAnswer>, Status> {
        Err(not_yet())
    }

    async fn adopt(
        &self,
        request: Request<v1::AdoptRequest>,
    ) -> Result<Response<v1::AdoptResponse>, Status> {
        let message = request.into_inner();
        let checks = [
            ("cluster", (1..=64).contains(&message.cluster.len())),
            ("coordinator", message.coordinator > 0),
        ];
        if let Some((field, _)) = checks.iter().find(|(_, good)| !good) {
            return Err(bad_request(field, format!("{field} is not valid")));
        }
        if message.level > LEVEL {
            let message = format!(
                "the cluster is at feature level {} and this build knows {LEVEL}: start the newer build",
                message.level
            );
            return Err(because(
                Code::FailedPrecondition,
                "UNKNOWN_LEVEL",
                message,
                &[],
            ));
        }
        let identity = Identity {
            cluster: message.cluster,
            id: message.coordinator,
        };
        tracing::info!(?identity, "adopted");
        self.adopted.try_send(identity).map_err(|_| {
            let message = "another cluster was quicker".to_owned();
            because(Code::FailedPrecondition, "ADOPTED_ALREADY", message, &[])
        })?;
        Ok(Response::new(v1::AdoptResponse {}))
    }
}

/// Serves on `listener` until a cluster adopts this coordinator, asking the one at `ask` to do so; `None`: it cannot
/// serve.
pub async fn adopted(
    listener: &TcpListener,
    advertise: &str,
    ask: Option<&str>,
) -> Option<Identity> {
    // The socket stays bound when this server goes and the real one comes.
    let socket = rustix::io::dup(listener).ok()?;
    let socket = TcpListener::from_std(std::net::TcpListener::from(socket)).ok()?;
    // The first one counts.
    let (adopted, mut identities) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let server = Server::builder()
        .add_service(RaftServiceServer::new(Waiting { adopted }))
        .serve_with_incoming_shutdown(TcpIncoming::from(socket), async move {
            stopped.cancelled().await;
        });
    let server = tokio::spawn(server);
    tracing::info!(
        address = advertise,
        "waiting for a cluster to adopt this coordinator"
    );
    let asking = async {
        let Some(peer) = ask else {
            return std::future::pending::<()>().await;
        };
        loop {
            if let Err(error) = ask_once(peer, advertise).await {
                tracing::warn!(peer, "not adopted yet: {error}");
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    };
    let identity = tokio::select! {
        identity = identities.recv() => identity,
        () = asking => None,
    };
    stop.cancel();
    // The answer to the one that adopted us goes out first.
    let _ = server.await;
    identity
}

async fn ask_once(peer: &str, advertise: &str) -> Result<(), String> {
    let mut to = peer.to_owned();
    // Asked of one that does not lead, the answer names the one that does.
    for _ in 0..2 {
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{to}"))
            .map_err(|e| format!("{to} is no address: {e}"))?
            .connect_timeout(Duration::from_secs(2))
            .connect_lazy();
        let message = v1::AddCoordinatorRequest {
            address: advertise.to_owned(),
        };
        let mut request = Request::new(message);
        request.set_timeout(Duration::from_secs(30));
        match ClusterServiceClient::new(channel).add(request).await {
            Ok(_) => return Ok(()),
            Err(status) => match recode_proto::convert::status::leader_of(&status) {
                Some(leader) if leader != to => to = leader.to_owned(),
                _ => return Err(status.message().to_owned()),
            },
        }
    }
    Err(format!("{to} does not lead either"))
}
