//! Answering neighbours.

use super::home::STRIPE_BYTES;
use super::made::Made;
use super::shelf::Admission;
use super::{Config, Error, Neighbours, Traffic};
use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{self, BoxStream, StreamExt as _};
use recode_proto::convert::status::bad_request;
use recode_proto::v1::{
    self, peer_service_server::PeerService, peer_service_server::PeerServiceServer,
};
use recode_store::ranges::Guard;
use recode_types::{Digest, SourceIdentity};
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

/// What an answer is read from.
enum Held {
    Source(Guard),
    Chunk(Made),
}

impl Held {
    async fn read(&self, range: Range<u64>) -> Result<Bytes, Status> {
        match self {
            Self::Source(guard) => guard.read(range).await.map_err(|e| refused(&e)),
            Self::Chunk(made) => made
                .read(range)
                .map_err(|e| Status::aborted(format!("it cannot read the chunk: {e}"))),
        }
    }
}

/// How far an answer is.
enum At {
    Fetching(BoxFuture<'static, Result<Held, Status>>),
    Sending(Held, Range<u64>),
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
        let (held, left) = match self.at {
            At::Sending(held, left) => (held, left),
            At::Fetching(mut fetching) => {
                match tokio::time::timeout(STILL_AT_IT, &mut fetching).await {
                    Ok(held) => (held?, self.range.clone()),
                    Err(_) => {
                        self.at = At::Fetching(fetching);
                        return Ok(Some((v1::PeerFrame::default(), Some(self))));
                    }
                }
            }
        };
        let end = left.end.min(left.start + FRAME_BYTES);
        let bytes = held.read(left.start..end).await?;
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
        self.at = At::Sending(held, end..left.end);
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
        let shared = &self.0.shared;
        let admission = self.admit(&range, wanted.size_bytes, "source")?;
        let source = SourceIdentity {
            url: wanted.url,
            size_bytes: wanted.size_bytes,
            version: wanted.version,
        };
        let (held, part) = (Arc::clone(shared), range.clone());
        let fetching = async move {
            let held = held.shelf.hold(&source, part).await;
            held.map(Held::Source).map_err(|e| refused(&e))
        };
        let at = At::Fetching(fetching.boxed());
        Ok(Response::new(self.answer(at, range, admission)))
    }

    type ReadChunkStream = Frames;

    async fn read_chunk(
        &self,
        request: Request<v1::ReadChunkRequest>,
    ) -> Result<Response<Frames>, Status> {
        let wanted = request.into_inner();
        let Ok(digest) = <[u8; 32]>::try_from(wanted.digest) else {
            let message = "digest is to be 32 bytes long";
            return Err(bad_request("digest", message.to_owned()));
        };
        let range = wanted.start..wanted.end;
        let admission = self.admit(&range, wanted.size_bytes, "chunk")?;
        let made = self.0.shared.shelf.made();
        let Some(made) = made.open(&Digest(digest), wanted.size_bytes) else {
            return Err(Status::not_found("it does not have this chunk"));
        };
        let at = At::Sending(Held::Chunk(made), range.clone());
        Ok(Response::new(self.answer(at, range, admission)))
    }
}

impl Desk {
    /// Lets a question in that makes sense.
    fn admit(&self, range: &Range<u64>, size_bytes: u64, of: &str) -> Result<Admission, Status> {
        let fits = range.start < range.end && range.end <= size_bytes;
        if !fits || range.end - range.start > STRIPE_BYTES {
            let message =
                format!("end is to be after start, within the {of}, and 8 MiB on at most");
            return Err(bad_request("end", message));
        }
        let admission = self.0.shared.shelf.admit();
        admission.ok_or_else(|| Status::resource_exhausted("it serves as many as it can"))
    }

    fn answer(&self, at: At, range: Range<u64>, admission: Admission) -> Frames {
        let answer = Answer {
            at,
            range,
            hasher: sha2::Sha256::new(),
            traffic: Arc::clone(&self.0.shared.traffic),
            _admission: admission,
        };
        let frames = stream::try_unfold(Some(answer), |answer| async {
            match answer {
                Some(answer) => answer.next().await,
                None => Ok(None),
            }
        });
        frames.boxed()
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
