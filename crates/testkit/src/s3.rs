//! A real S3 server (s3s-fs) over a directory, on a port of its own, that counts and misbehaves.

use crate::serve::{AnyError, Mishap, Running, Watched, serve};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// The access key and secret the server takes.
pub const KEY: &str = "test";

/// A running S3 server. Dropping it stops it; the directory stays.
pub struct Server {
    running: Running,
    dir: PathBuf,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    counts: Mutex<BTreeMap<Kind, Count>>,
    faults: Mutex<Vec<(Kind, Fault)>>,
}

/// Kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Reading an object or a part of it.
    Get,
    /// Looking at an object.
    Head,
    /// Writing an object in one request.
    Put,
    /// One part of a multipart upload.
    Part,
    /// Beginning a multipart upload.
    Begin,
    /// Completing a multipart upload.
    Complete,
    /// Giving up a multipart upload.
    Abort,
    /// Removing an object.
    Delete,
    /// Listing.
    List,
    /// Anything else.
    Other,
}

impl Kind {
    fn of<B>(request: &Request<B>) -> Self {
        let query = request.uri().query().unwrap_or_default();
        let has = |name: &str| {
            query
                .split('&')
                .any(|pair| pair.split('=').next() == Some(name))
        };
        let object = request.uri().path().trim_matches('/').contains('/');
        match *request.method() {
            Method::GET if object => Kind::Get,
            Method::GET => Kind::List,
            Method::HEAD if object => Kind::Head,
            Method::PUT if has("partNumber") => Kind::Part,
            Method::PUT if object => Kind::Put,
            Method::POST if has("uploads") => Kind::Begin,
            Method::POST if has("uploadId") => Kind::Complete,
            Method::DELETE if has("uploadId") => Kind::Abort,
            Method::DELETE => Kind::Delete,
            _ => Kind::Other,
        }
    }
}

/// How often and how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Requests that came in.
    pub requests: u64,
    /// Bytes of bodies that went out.
    pub bytes_sent: u64,
}

/// One thing that goes wrong once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request is not carried out; this status is the answer.
    Refuse(u16),
    /// The request is carried out, and the connection closed without an answer.
    LoseAnswer,
    /// The answer's body breaks off after so many bytes.
    CutBody(u64),
    /// One bit of this byte of the answer's body is turned over.
    FlipBit(u64),
}

impl Server {
    /// Serves `dir`, whose sub-directories are the buckets.
    ///
    /// # Errors
    /// What opening a socket, or a directory that is missing, may meet.
    pub fn start(dir: &Path) -> io::Result<Self> {
        let files = s3s_fs::FileSystem::new(dir).map_err(|e| io::Error::other(format!("{e:?}")))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(KEY, KEY));
        let service = builder.build();
        let state = Arc::new(State::default());
        let running = serve({
            let state = state.clone();
            move |request| answer(service.clone(), state.clone(), request)
        })?;
        Ok(Self {
            running,
            dir: dir.to_owned(),
            state,
        })
    }

    /// `http://127.0.0.1:port`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.running.addr)
    }

    /// The environment that makes a process use this server.
    pub fn env(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", KEY.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("NO_PROXY", "127.0.0.1".to_owned()),
        ]
    }

    /// Makes an empty bucket.
    ///
    /// # Errors
    /// What creating a directory may meet.
    pub fn create_bucket(&self, bucket: &str) -> io::Result<()> {
        std::fs::create_dir_all(self.dir.join(bucket))
    }

    /// Puts a file into a bucket without sending it through the network, by a hard link where possible. It gets an ETag
    /// from its inode, length and time of change: hashing a long film for every request would make the server the bottleneck.
    ///
    /// # Errors
    /// What linking or copying a file may meet.
    pub fn place(&self, bucket: &str, key: &str, file: &Path) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt as _;
        let target = self.dir.join(bucket).join(key);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let _ = std::fs::remove_file(&target);
        if std::fs::hard_link(file, &target).is_err() {
            std::fs::copy(file, &target)?;
        }
        let meta = std::fs::metadata(&target)?;
        let time = meta.mtime() ^ meta.mtime_nsec();
        let tag = format!("{:08x}{:012x}{time:012x}", meta.ino(), meta.len());
        let name = |text: &str| URL_SAFE_NO_PAD.encode(text);
        // Where s3s-fs keeps what it knows of an object.
        let notes = format!(
            ".bucket-{}.object-{}.internal.json",
            name(bucket),
            name(key)
        );
        std::fs::write(
            self.dir.join(notes),
            serde_json::json!({ "e_tag": tag }).to_string(),
        )
    }

    /// Where an object's bytes lie on this machine.
    pub fn path_of(&self, bucket: &str, key: &str) -> PathBuf {
        self.dir.join(bucket).join(key)
    }

    /// What was asked and sent since the start or the last [`Server::reset`].
    pub fn counts(&self) -> BTreeMap<Kind, Count> {
        self.state.counts.lock().expect("not poisoned").clone()
    }

    /// The count of one kind.
    pub fn count(&self, kind: Kind) -> Count {
        self.counts().get(&kind).copied().unwrap_or_default()
    }

    /// Everything that left the server's sockets, headers included.
    pub fn wire_bytes_sent(&self) -> u64 {
        self.running.wire_bytes_sent.load(Ordering::Relaxed)
    }

    /// Sets all counters to zero and forgets faults that have not happened.
    pub fn reset(&self) {
        self.state.counts.lock().expect("not poisoned").clear();
        self.state.faults.lock().expect("not poisoned").clear();
        self.running.wire_bytes_sent.store(0, Ordering::Relaxed);
    }

    /// Lets the next request of a kind go wrong. Faults of one kind happen in the order they were asked for.
    pub fn inject(&self, kind: Kind, fault: Fault) {
        self.state
            .faults
            .lock()
            .expect("not poisoned")
            .push((kind, fault));
    }
}

impl State {
    fn note(&self, kind: Kind, change: impl FnOnce(&mut Count)) {
        change(
            self.counts
                .lock()
                .expect("not poisoned")
                .entry(kind)
                .or_default(),
        );
    }

    fn take_fault(&self, kind: Kind) -> Option<Fault> {
        let mut faults = self.faults.lock().expect("not poisoned");
        let at = faults.iter().position(|(of, _)| *of == kind)?;
        Some(faults.remove(at).1)
    }
}

async fn answer(
    service: S3Service,
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Watched<s3s::Body>>, AnyError> {
    let kind = Kind::of(&request);
    state.note(kind, |count| count.requests += 1);
    let fault = state.take_fault(kind);
    let watch = |body, mishap| {
        let state = state.clone();
        Watched::new(body, mishap, move |n| {
            state.note(kind, |count| count.bytes_sent += n);
        })
    };
    if let Some(Fault::Refuse(status)) = fault {
        let mut refusal = Response::new(watch(s3s::Body::empty(), Mishap::default()));
        *refusal.status_mut() = StatusCode::from_u16(status)?;
        return Ok(refusal);
    }
    let answer = service
        .call(request.map(s3s::Body::from))
        .await
        .map_err(|e| format!("{e:?}"))?;
    let mishap = match fault {
        Some(Fault::LoseAnswer) => return Err("the test lost this answer".into()),
        Some(Fault::CutBody(after)) => Mishap {
            cut_after: Some(after),
            ..Mishap::default()
        },
        Some(Fault::FlipBit(at)) => Mishap {
            flip_at: Some(at),
            ..Mishap::default()
        },
        Some(Fault::Refuse(_)) | None => Mishap::default(),
    };
    Ok(answer.map(|body| watch(body, mishap)))
}
