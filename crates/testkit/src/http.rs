//! A small web server for one file, as obliging or as awkward as a test needs.

use crate::serve::{AnyError, Mishap, Running, Watched, serve};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{ACCEPT_RANGES, CONTENT_RANGE, ETAG, IF_MATCH, LOCATION, RANGE};
use hyper::{Method, Request, Response, StatusCode};
use std::io;
use std::sync::{Arc, Mutex};

/// How the server behaves. All fields can be changed while it runs.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// What it serves at `/file`.
    pub body: Bytes,
    /// Its ETag, in quotes.
    pub etag: Option<&'static str>,
    /// Whether it heeds Range.
    pub ranges: bool,
    /// Whether it refuses everything but GET, as a presigned address does.
    pub get_only: bool,
    /// The next answers are these statuses instead; taken from the end.
    pub refusals: Vec<u16>,
    /// The next body breaks off after so many bytes.
    pub cut_once: Option<u64>,
}

/// A running server. Dropping it stops it.
pub struct Server {
    running: Running,
    shared: Arc<Mutex<(Behaviour, Counts)>>,
}

/// What was asked and sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that came in.
    pub requests: u64,
    /// Bytes of bodies that went out.
    pub bytes_sent: u64,
}

impl Server {
    /// Serves `body` with ranges and an ETag.
    ///
    /// # Errors
    /// What opening a socket may meet.
    pub fn start(body: impl Into<Bytes>) -> io::Result<Self> {
        let behaviour = Behaviour {
            body: body.into(),
            etag: Some("\"one\""),
            ranges: true,
            get_only: true,
            refusals: Vec::new(),
            cut_once: None,
        };
        let shared = Arc::new(Mutex::new((behaviour, Counts::default())));
        let running = serve({
            let shared = shared.clone();
            move |request| {
                let shared = shared.clone();
                async move { answer(&shared, &request) }
            }
        })?;
        Ok(Self { running, shared })
    }

    /// Address of the file.
    pub fn url(&self) -> String {
        format!("http://{}/file", self.running.addr)
    }

    /// Address that leads to the file by a redirect.
    pub fn redirecting_url(&self) -> String {
        format!("http://{}/elsewhere", self.running.addr)
    }

    /// Changes how it behaves from the next request on.
    pub fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared.lock().expect("not poisoned").0);
    }

    /// What was asked and sent so far.
    pub fn counts(&self) -> Counts {
        self.shared.lock().expect("not poisoned").1
    }
}

fn answer(
    shared: &Arc<Mutex<(Behaviour, Counts)>>,
    request: &Request<Incoming>,
) -> Result<Response<Watched<s3s::Body>>, AnyError> {
    let mut guard = shared.lock().expect("not poisoned");
    let (behaviour, counts) = &mut *guard;
    counts.requests += 1;
    let mishap = Mishap {
        cut_after: behaviour.cut_once.take(),
        ..Mishap::default()
    };
    let body = |bytes: Bytes| {
        let shared = shared.clone();
        Watched::new(s3s::Body::from(bytes), mishap, move |n| {
            shared.lock().expect("not poisoned").1.bytes_sent += n;
        })
    };
    let plain = |status: StatusCode| {
        let mut answer = Response::new(body(Bytes::new()));
        *answer.status_mut() = status;
        Ok(answer)
    };
    if let Some(status) = behaviour.refusals.pop() {
        return plain(StatusCode::from_u16(status)?);
    }
    match request.uri().path() {
        "/file" => {}
        "/elsewhere" => {
            let mut answer = Response::new(body(Bytes::new()));
            *answer.status_mut() = StatusCode::FOUND;
            answer.headers_mut().insert(LOCATION, "/file".parse()?);
            return Ok(answer);
        }
        _ => return plain(StatusCode::NOT_FOUND),
    }
    if behaviour.get_only && request.method() != Method::GET {
        return plain(StatusCode::FORBIDDEN);
    }
    if let (Some(wanted), Some(etag)) = (request.headers().get(IF_MATCH), behaviour.etag)
        && wanted != etag
    {
        return plain(StatusCode::PRECONDITION_FAILED);
    }
    let total = behaviour.body.len();
    let range = request
        .headers()
        .get(RANGE)
        .filter(|_| behaviour.ranges)
        .and_then(|v| v.to_str().ok()?.strip_prefix("bytes=")?.split_once('-'))
        .and_then(|(start, end)| Some((start.parse::<usize>().ok()?, end.parse::<usize>().ok()?)));
    let mut answer = match range {
        Some((start, _)) if start >= total => {
            let mut answer = Response::new(body(Bytes::new()));
            *answer.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            answer
                .headers_mut()
                .insert(CONTENT_RANGE, format!("bytes */{total}").parse()?);
            answer
        }
        Some((start, end)) => {
            let end = end.min(total - 1);
            let mut answer = Response::new(body(behaviour.body.slice(start..=end)));
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            answer.headers_mut().insert(
                CONTENT_RANGE,
                format!("bytes {start}-{end}/{total}").parse()?,
            );
            answer
        }
        None => Response::new(body(behaviour.body.clone())),
    };
    if behaviour.ranges {
        answer.headers_mut().insert(ACCEPT_RANGES, "bytes".parse()?);
    }
    if let Some(etag) = behaviour.etag {
        answer.headers_mut().insert(ETAG, etag.parse()?);
    }
    Ok(answer)
}
