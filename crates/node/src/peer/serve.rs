//! Answering neighbours.

use super::home::STRIPE_BYTES;
use super::shelf::Admission;
use super::{Config, Error, Neighbours, Traffic};
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, BoxStream, StreamExt as _};
use recode_proto::convert::status::bad_request;
use recode_proto::v1::{
    self, peer_service_server::PeerService, peer_service_server::PeerServiceServer,
};
use recode_store::ranges::Guard;
use recode_types::SourceIdentity;
use sha2::Digest as _;
use std::net::TcpListener;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};

/// Bytes of a frame.
const FRAME_BYTES: u64 = 256 << 10;

/// How often one that waits for the store says so.
const STILL_AT_IT: Duration = Duration::from_secs(2);

/// Questions at once on one connection.
const STREAMS_PER_CONNECTION: u32 = 64;

/// The longest URL or version.
const MOST_TEXT: usize = 4096;

/// How often what nobody has asked about is looked for.
const TIDY: Duration = Duration::from_secs(30);

/// Takes the address that neighbours will dial, and says what it is.
/// # Errors
/// [`Error`]: nothing listens.
pub fn listen(config: &Config) -> Result<(TcpListener, String), Error> {
    let address = config.listen;
    if !address.ip().is_loopback() {
        if !config.insecure {
            return Err(Error::Exposed(address));
        }
        tracing::warn!(%address, "serving neighbours without asking anybody who they are");
    }
    let failed = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let own = match &config.advertise {
        Some(own) => own.clone(),
        None if bound.ip().is_unspecified() => return Err(Error::Nowhere(bound)),
        None => bound.to_string(),
    };
    Ok((listener, own))
}

/// Serves neighbours until told to stop.
/// # Panics
/// Outside a tokio runtime.
pub async fn serve(neighbours: Neighbours, listener: TcpListener, stop: CancellationToken) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(%error, "this node serves no neighbours");
            return;
        }
    };
    let stopped = stop.clone();
    let serving = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(5)))
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .add_service(PeerServiceServer::new(Desk(neighbours.clone())))
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            async move { stopped.cancelled().await },
        );
    let tidying = async {
        let mut tick = tokio::time::interval(TIDY);
        loop {
            tick.tick().await;
            neighbours.shared.shelf.tidy(Instant::now());
        }
    };
    tokio::select! {
        served = serving => if let Err(error) = served {
            tracing::warn!(%error, "this node serves no neighbours any more");
        },
        () = tidying => {}
        // A transfer that goes on does not keep the node: whoever asked goes to the store.
        () = stop.cancelled() => {}
    }
}

struct Desk(Neighbours);

/// What is told, frame by frame.
type Frames = BoxStream<'static, Result<v1::PeerFrame, Status>>;

/// How far an answer is.
enum At {
    Fetching(BoxFuture<'static, Result<Guard, Status>>),
    Sending(Guard, Range<u64>),
}

/// An answer under way.
struct Answer {
    at: At,
    range: Range<u64>,
    hasher: sha2::Sha256,
    traffic: Arc<Traffic>,
    _admission: Admission,
}

impl Answer {
    async fn next(mut self) -> Result<Option<(v1::PeerFrame, Option<Self>)>, Status> {
        let (guard, left) = match self.at {
            At::Sending(guard, left) => (guard, left),
            At::Fetching(mut fetching) => {
                match tokio::time::timeout(STILL_AT_IT, &mut fetching).await {
                    Ok(guard) => (guard?, self.range.clone()),
                    Err(_) => {
                        self.at = At::Fetching(fetching);
                        return Ok(Some((v1::PeerFrame::default(), Some(self))));
                    }
                }
            }
        };
        let end = left.end.min(left.start + FRAME_BYTES);
        let bytes = guard.read(left.start..end).await.map_err(|e| refused(&e))?;
        self.hasher.update(&bytes);
        Traffic::add(&self.traffic.to_peers, bytes.len() as u64);
        let mut frame = v1::PeerFrame {
            bytes: bytes.to_vec(),
            digest: Vec::new(),
        };
        if end == left.end {
            frame.digest = self.hasher.finalize().to_vec();
            return Ok(Some((frame, None)));
        }
        self.at = At::Sending(guard, end..left.end);
        Ok(Some((frame, Some(self))))
    }
}

#[tonic::async_trait]
impl PeerService for Desk {
    type ReadSourceStream = Frames;

    async fn read_source(
        &self,
        request: Request<v1::ReadSourceRequest>,
    ) -> Result<Response<Frames>, Status> {
        let wanted = request.into_inner();
        for (field, text) in [("url", &wanted.url), ("version", &wanted.version)] {
            if text.len() > MOST_TEXT {
                return Err(bad_request(field, format!("{field} is too long")));
            }
        }
        let range = wanted.start..wanted.end;
        let fits = range.start < range.end && range.end <= wanted.size_bytes;
        if !fits || range.end - range.start > STRIPE_BYTES {
            let message = "end is to be after start, within the source, and 8 MiB on at most";
            return Err(bad_request("end", message.to_owned()));
        }
        let shared = &self.0.shared;
        let Some(admission) = shared.shelf.admit() else {
            return Err(Status::resource_exhausted("it serves as many as it can"));
        };
        let source = SourceIdentity {
            url: wanted.url,
            size_bytes: wanted.size_bytes,
            version: wanted.version,
        };
        let (held, part) = (Arc::clone(shared), range.clone());
        let fetching = async move {
            let held = held.shelf.hold(&source, part).await;
            held.map_err(|e| refused(&e))
        };
        let answer = Answer {
            at: At::Fetching(fetching.boxed()),
            range,
            hasher: sha2::Sha256::new(),
            traffic: Arc::clone(&shared.traffic),
            _admission: admission,
        };
        let frames = stream::try_unfold(Some(answer), |answer| async {
            match answer {
                Some(answer) => answer.next().await,
                None => Ok(None),
            }
        });
        Ok(Response::new(frames.boxed()))
    }
}

/// What a neighbour is told of a failure to read.
fn refused(error: &recode_store::Error) -> Status {
    use recode_store::Error as E;
    let code = match error {
        E::Forbidden { .. } => Code::PermissionDenied,
        E::Changed { .. } => Code::FailedPrecondition,
        _ => Code::Aborted,
    };
    Status::new(code, error.to_string())
}
