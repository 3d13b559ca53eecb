//! Neighbours that lie, stall, or have no room.

use super::site::{Neighbour, film, introduce, read_all, where_home};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use recode_proto::v1::peer_service_server::{PeerService, PeerServiceServer};
use recode_proto::v1::{self, peer_service_client::PeerServiceClient};
use recode_testkit::http::Server;
use recode_types::{ArtifactRef, Digest};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status};

/// What a bad neighbour does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Badly {
    /// Zeros, with the digest of something else.
    Lies,
    /// Half of it, with the right digest of that.
    Short,
    /// More than was asked for.
    Long,
    /// Nothing, for ever.
    Stalls,
    /// Half of it, and the end of the stream.
    BreaksOff,
    /// Others are being served.
    Full,
}

struct Bad {
    badly: Badly,
    asked: Arc<AtomicU64>,
}

#[tonic::async_trait]
impl PeerService for Bad {
    type ReadSourceStream = BoxStream<'static, Result<v1::PeerFrame, Status>>;

    async fn read_source(
        &self,
        request: Request<v1::ReadSourceRequest>,
    ) -> Result<Response<Self::ReadSourceStream>, Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let wanted = request.into_inner();
        let size = (wanted.end - wanted.start) as usize;
        let frame = |size: usize, digest: Option<&[u8]>| v1::PeerFrame {
            bytes: vec![0; size],
            digest: digest.map_or_else(Vec::new, |of| Digest::of(of).0.to_vec()),
        };
        // A frame has room in a message.
        let whole = |size: usize| {
            let frames = size.div_ceil(1 << 20);
            (0..frames).map(move |n| v1::PeerFrame {
                bytes: vec![0; (size - (n << 20)).min(1 << 20)],
                digest: Vec::new(),
            })
        };
        let frames: Vec<v1::PeerFrame> = match self.badly {
            Badly::Full => return Err(Status::resource_exhausted("others are being served")),
            Badly::Stalls => return Ok(Response::new(stream::pending().boxed())),
            Badly::Lies => whole(size)
                .chain([frame(0, Some(b"something else"))])
                .collect(),
            Badly::Short => {
                let half = vec![0; size / 2];
                whole(size / 2).chain([frame(0, Some(&half))]).collect()
            }
            Badly::Long => whole(size + 1).collect(),
            Badly::BreaksOff => whole(size / 2).collect(),
        };
        Ok(Response::new(stream::iter(frames).map(Ok).boxed()))
    }

    type ReadChunkStream = Self::ReadSourceStream;

    async fn read_chunk(
        &self,
        _: Request<v1::ReadChunkRequest>,
    ) -> Result<Response<Self::ReadChunkStream>, Status> {
        Err(Status::unimplemented("as an earlier build says"))
    }
}

async fn bad(badly: Badly) -> (String, Arc<AtomicU64>, AbortOnDropHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(AtomicU64::new(0));
    let service = Bad {
        badly,
        asked: asked.clone(),
    };
    let serving = tonic::transport::Server::builder()
        .add_service(PeerServiceServer::new(service))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let serving = tokio::spawn(async move { serving.await.unwrap() });
    (address, asked, AbortOnDropHandle::new(serving))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_answers_wrongly_is_left_alone_and_the_bytes_are_right() {
    let film = film(64 << 20);
    let server = Server::start(film.clone()).unwrap();
    for badly in [
        Badly::Lies,
        Badly::Short,
        Badly::Long,
        Badly::BreaksOff,
        Badly::Stalls,
    ] {
        let site = [Neighbour::start()];
        let (address, asked, _serving) = bad(badly).await;
        introduce(&site, std::slice::from_ref(&address));
        let all = [site[0].address(), address.clone()];
        let near = site[0]
            .open(&where_home(&server, &all, &address, 3..=5).await)
            .await;
        let began = Instant::now();
        read_all(&near, &film, 8 << 20).await;
        assert_eq!(
            asked.load(Ordering::SeqCst),
            1,
            "{badly:?}: asked again although it was left alone"
        );
        assert_eq!(site[0].neighbours.traffic().from_store, film.len() as u64);
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{badly:?}: held up for {:?}",
            began.elapsed()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_busy_is_asked_again_and_nobody_waits_for_it() {
    let film = film(64 << 20);
    let server = Server::start(film.clone()).unwrap();
    let site = [Neighbour::start()];
    let (address, asked, _serving) = bad(Badly::Full).await;
    introduce(&site, std::slice::from_ref(&address));
    let all = [site[0].address(), address.clone()];
    let near = site[0]
        .open(&where_home(&server, &all, &address, 3..=3).await)
        .await;
    read_all(&near, &film, 8 << 20).await;
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    assert_eq!(site[0].neighbours.traffic().from_store, film.len() as u64);
}

/// What a node says to a question.
async fn ask(node: &Neighbour, request: v1::ReadSourceRequest) -> Result<u64, Status> {
    let address = format!("http://{}", node.address());
    let mut client = PeerServiceClient::connect(address).await.unwrap();
    let mut frames = client.read_source(request).await?.into_inner();
    let mut bytes = 0;
    while let Some(frame) = frames.message().await? {
        bytes += frame.bytes.len() as u64;
    }
    Ok(bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_reads_nothing_of_its_own_for_others_and_refuses_what_makes_no_sense() {
    let node = Neighbour::start();
    let secret = node.scratch().join("secret");
    std::fs::write(&secret, [1; 100]).unwrap();
    let server = Server::start(film(1 << 20)).unwrap();
    let right = v1::ReadSourceRequest {
        url: server.url(),
        size_bytes: 1 << 20,
        version: "\"one\"".into(),
        start: 0,
        end: 100,
    };
    assert_eq!(ask(&node, right.clone()).await.unwrap(), 100);
    let check = |change: &dyn Fn(&mut v1::ReadSourceRequest), expected: tonic::Code| {
        let mut request = right.clone();
        change(&mut request);
        let node = &node;
        async move {
            let refused = ask(node, request.clone()).await.expect_err("refused");
            assert_eq!(refused.code(), expected, "{request:?}: {refused}");
        }
    };
    let url = format!("file://{}", secret.display());
    check(&|r| r.url = url.clone(), tonic::Code::PermissionDenied).await;
    check(
        &|r| r.url = secret.display().to_string(),
        tonic::Code::PermissionDenied,
    )
    .await;
    check(
        &|r| r.url = "memory://a/b".into(),
        tonic::Code::PermissionDenied,
    )
    .await;
    check(
        &|r| r.version = "another".into(),
        tonic::Code::FailedPrecondition,
    )
    .await;
    check(&|r| r.size_bytes = 2 << 20, tonic::Code::FailedPrecondition).await;
    check(&|r| r.end = 0, tonic::Code::InvalidArgument).await;
    check(&|r| r.end = (1 << 20) + 1, tonic::Code::InvalidArgument).await;
    check(
        &|r| (r.size_bytes, r.end) = (1 << 30, 9 << 20),
        tonic::Code::InvalidArgument,
    )
    .await;
    check(
        &|r| r.url = format!("http://127.0.0.1/{}", "x".repeat(5000)),
        tonic::Code::InvalidArgument,
    )
    .await;
}

/// A Chunk of which only its maker knows.
fn chunk(node: &Neighbour) -> (ArtifactRef, Bytes) {
    let bytes = film(20 << 20);
    let path = node.scratch().join("chunk");
    std::fs::write(&path, &bytes).unwrap();
    let artifact = ArtifactRef {
        key: "jobs/job_1/chunks/x/0.1.mp4".into(),
        size_bytes: bytes.len() as u64,
        digest: Digest::of(&bytes),
    };
    node.neighbours.keep(&artifact, &path);
    assert!(!path.exists(), "it is taken");
    (artifact, bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_gives_parts_of_the_chunks_it_made_to_who_knows_their_digest() {
    let site = [Neighbour::start(), Neighbour::start()];
    let (artifact, bytes) = chunk(&site[0]);
    let (maker, asker) = (site[0].address(), &site[1].neighbours);
    let part = 5..(8 << 20) + 5;
    let stranger = asker.chunk(&maker, &artifact, part.clone()).await;
    assert_eq!(stranger, None, "it is of another site");
    introduce(&site, &[]);
    let got = asker.chunk(&maker, &artifact, part.clone()).await;
    assert!(got.unwrap() == bytes[5..(8 << 20) + 5]);
    let address = format!("http://{maker}");
    let right = v1::ReadChunkRequest {
        digest: artifact.digest.0.to_vec(),
        size_bytes: artifact.size_bytes,
        start: part.start,
        end: part.end,
    };
    let check = |change: &dyn Fn(&mut v1::ReadChunkRequest), expected: tonic::Code| {
        let mut request = right.clone();
        change(&mut request);
        let address = address.clone();
        async move {
            let mut client = PeerServiceClient::connect(address).await.unwrap();
            let refused = client.read_chunk(request.clone()).await;
            let refused = refused.expect_err("refused");
            assert_eq!(refused.code(), expected, "{request:?}: {refused}");
        }
    };
    check(&|r| r.digest[3] ^= 1, tonic::Code::NotFound).await;
    check(&|r| r.size_bytes += 1, tonic::Code::NotFound).await;
    check(&|r| r.digest.truncate(31), tonic::Code::InvalidArgument).await;
    check(&|r| r.end = r.start, tonic::Code::InvalidArgument).await;
    check(&|r| r.end += 1, tonic::Code::InvalidArgument).await;
    check(
        &|r| (r.start, r.end) = (20 << 20, (20 << 20) + 1),
        tonic::Code::InvalidArgument,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_earlier_build_that_serves_no_chunks_is_still_asked_for_sources() {
    let film = film(16 << 20);
    let server = Server::start(film.clone()).unwrap();
    let site = [Neighbour::start()];
    let (address, asked, _serving) = bad(Badly::Full).await;
    introduce(&site, std::slice::from_ref(&address));
    let (artifact, _) = chunk(&site[0]);
    let got = site[0].neighbours.chunk(&address, &artifact, 0..10).await;
    assert_eq!(got, None);
    let all = [site[0].address(), address.clone()];
    let url = where_home(&server, &all, &address, 2..=2).await;
    read_all(&site[0].open(&url).await, &film, 8 << 20).await;
    assert_eq!(asked.load(Ordering::SeqCst), 2, "it is left alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_serves_as_many_as_it_has_room_for_and_refuses_the_next() {
    let film = film(64 << 20);
    let server = Server::start(film.clone()).unwrap();
    // Room for four transfers.
    let node = Neighbour::with_room(64 << 20);
    let address = format!("http://{}", node.address());
    let mut held = Vec::new();
    let mut refused = 0;
    for stripe in 0..8u64 {
        // A line for each, and nobody reads: what was asked for stays under way.
        let mut client = PeerServiceClient::connect(address.clone()).await.unwrap();
        let answer = client
            .read_source(v1::ReadSourceRequest {
                url: server.url(),
                size_bytes: film.len() as u64,
                version: "\"one\"".into(),
                start: stripe << 23,
                end: (stripe + 1) << 23,
            })
            .await;
        match answer {
            Ok(frames) => held.push((client, frames.into_inner())),
            Err(status) => {
                assert_eq!(status.code(), tonic::Code::ResourceExhausted);
                refused += 1;
            }
        }
    }
    assert_eq!((held.len(), refused), (4, 4));
    let (_, mut frames) = held.pop().unwrap();
    let mut bytes = 0;
    while let Some(frame) = frames.message().await.unwrap() {
        bytes += frame.bytes.len();
    }
    assert_eq!(bytes, 8 << 20);
}
