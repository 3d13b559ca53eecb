//! Runs a hyper service on a thread of its own until it is dropped, and counts what leaves its sockets.

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::Sleep;

/// Any error; the connection is closed when a service returns one.
pub(crate) type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// A server on a port of its own at 127.0.0.1. Dropping it closes every connection.
pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    pub(crate) wire_bytes_sent: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Serves on a free port until the result is dropped.
pub(crate) fn serve<S, F, B>(service: S) -> io::Result<Running>
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<B>, AnyError>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<AnyError>,
{
    serve_at(SocketAddr::from(([127, 0, 0, 1], 0)), service)
}

/// Serves until the result is dropped.
pub(crate) fn serve_at<S, F, B>(listen: SocketAddr, service: S) -> io::Result<Running>
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<B>, AnyError>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<AnyError>,
{
    let listener = std::net::TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let addr = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("testkit-server")
        .enable_all()
        .build()?;
    let (stop, stopped) = oneshot::channel::<Infallible>();
    let wire = Arc::new(AtomicU64::new(0));
    let sent = wire.clone();
    let thread = std::thread::spawn(move || {
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).expect("the socket is non-blocking");
            tokio::select! {
                () = accept(listener, service, sent) => {}
                _ = stopped => {}
            }
        });
        runtime.shutdown_background();
    });
    Ok(Running {
        addr,
        wire_bytes_sent: wire,
        stop: Some(stop),
        thread: Some(thread),
    })
}

async fn accept<S, F, B>(listener: TcpListener, service: S, sent: Arc<AtomicU64>)
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<B>, AnyError>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<AnyError>,
{
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let _ = socket.set_nodelay(true);
        let (service, sent) = (service.clone(), sent.clone());
        connections.spawn(async move {
            let io = TokioIo::new(Counted { socket, sent });
            let service = hyper::service::service_fn(service);
            // A client that leaves, or a fault that was asked for: both are the test's business, not ours.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(io, service)
                .await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Counts everything written to a socket, headers included.
struct Counted {
    socket: TcpStream,
    sent: Arc<AtomicU64>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.socket).poll_write(cx, buf))?;
        self.sent.fetch_add(n as u64, Ordering::Relaxed);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, bufs))?;
        self.sent.fetch_add(n as u64, Ordering::Relaxed);
        Poll::Ready(Ok(n))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// What happens to a body on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mishap {
    /// The connection breaks after so many bytes.
    pub(crate) cut_after: Option<u64>,
    /// One bit of this byte is turned over.
    pub(crate) flip_at: Option<u64>,
    /// The body ends well after so many bytes.
    pub(crate) end_after: Option<u64>,
    /// The body stands still for this long once so many bytes have gone.
    pub(crate) stall: Option<(u64, Duration)>,
}

/// A body that reports how many bytes it gave, and suffers a [`Mishap`].
pub(crate) struct Watched<B> {
    body: Pin<Box<B>>,
    given: u64,
    mishap: Mishap,
    pause: Option<Pin<Box<Sleep>>>,
    count: Box<dyn Fn(u64) + Send + Sync>,
}

impl<B> Watched<B> {
    pub(crate) fn new(
        body: B,
        mishap: Mishap,
        count: impl Fn(u64) + Send + Sync + 'static,
    ) -> Self {
        Self {
            body: Box::pin(body),
            given: 0,
            mishap,
            pause: None,
            count: Box::new(count),
        }
    }
}

impl<B> Body for Watched<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<AnyError>,
{
    type Data = Bytes;
    type Error = AnyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnyError>>> {
        let Mishap {
            cut_after,
            flip_at,
            end_after,
            stall,
        } = self.mishap;
        if let Some((after, pause)) = stall
            && self.given >= after
        {
            let pause = self
                .pause
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
            ready!(pause.as_mut().poll(cx));
            self.mishap.stall = None;
        }
        if end_after.is_some_and(|end| self.given >= end) {
            return Poll::Ready(None);
        }
        if cut_after.is_some_and(|cut| self.given >= cut) {
            return Poll::Ready(Some(Err("the test cut this body".into())));
        }
        let frame = match ready!(self.body.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(e)) => return Poll::Ready(Some(Err(e.into()))),
            None => return Poll::Ready(None),
        };
        let mut data = match frame.into_data() {
            Ok(data) => data,
            Err(other) => return Poll::Ready(Some(Ok(other))),
        };
        let start = self.given;
        if let Some(cut) = cut_after.or(end_after) {
            data.truncate(usize::try_from(cut - start).unwrap_or(usize::MAX));
        }
        let end = start + data.len() as u64;
        if let Some(at) = flip_at.filter(|at| (start..end).contains(at)) {
            let mut damaged = data.to_vec();
            damaged[(at - start) as usize] ^= 1;
            data = damaged.into();
        }
        self.given = end;
        (self.count)(data.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self.mishap.end_after {
            Some(end) => http_body::SizeHint::with_exact(end),
            None => self.body.size_hint(),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.mishap == Mishap::default() && self.body.is_end_stream()
    }
}
