//! Sources on web servers. Read only, plain GET with Range: presigned addresses allow nothing else.

use crate::error::Error;
use crate::retry::{FIRST_PATIENCE, PATIENCE, Tries};
use bytes::Bytes;
use futures::StreamExt as _;
use reqwest::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_RANGE, ETAG, HeaderMap, IF_MATCH, IF_UNMODIFIED_SINCE,
    LAST_MODIFIED, RANGE,
};
use reqwest::{RequestBuilder, Response, StatusCode};
use std::io::Write as _;
use std::ops::Range;
use std::path::Path;
use std::sync::{Once, OnceLock};
use std::time::Duration;

/// Makes ring the TLS provider of this process, unless the program chose one.
pub(crate) fn use_ring() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Refused when the program installed one before us, which then is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// What a web server says about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) size: u64,
    /// Strong ETag, else date of change, else empty.
    pub(crate) version: String,
    /// Whether parts of it can be had.
    pub(crate) ranges: bool,
}

/// One file on a web server.
#[derive(Clone)]
pub(crate) struct Remote {
    client: reqwest::Client,
    url: url::Url,
    /// For messages: without secrets.
    name: String,
}

impl Remote {
    pub(crate) fn new(url: &url::Url, name: String) -> Result<Self, Error> {
        static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
        let client = match CLIENT.get() {
            Some(client) => client.clone(),
            None => {
                use_ring();
                let client = reqwest::Client::builder()
                    .connect_timeout(Duration::from_secs(4))
                    .read_timeout(Duration::from_secs(12))
                    .user_agent(concat!("recode/", env!("CARGO_PKG_VERSION")))
                    .build()
                    .map_err(|e| Error::Other {
                        what: "the web client cannot be set up".into(),
                        detail: e.to_string(),
                    })?;
                CLIENT.get_or_init(|| client).clone()
            }
        };
        Ok(Self {
            client,
            url: url.clone(),
            name,
        })
    }

    /// Asks for the first byte: servers that refuse HEAD, as presigned addresses do, still answer this.
    pub(crate) async fn head(&self) -> Result<Head, Error> {
        let mut tries = Tries::new(FIRST_PATIENCE, None);
        loop {
            match self.head_once().await {
                Err(e) => tries.again(e).await?,
                head => return head,
            }
        }
    }

    async fn head_once(&self) -> Result<Head, Error> {
        let answer = self.send(self.get().header(RANGE, "bytes=0-0")).await?;
        let headers = answer.headers();
        let version = version(headers);
        let (size, ranges) = match answer.status() {
            StatusCode::PARTIAL_CONTENT => (total(headers), true),
            // An empty file has no first byte; the answer says so in its Content-Range.
            StatusCode::RANGE_NOT_SATISFIABLE => (total(headers), true),
            _ => {
                let whole = headers.get(ACCEPT_RANGES).is_some_and(|v| v == "bytes");
                (
                    answer.content_length(),
                    whole && answer.content_length() == Some(0),
                )
            }
        };
        // Without Range, the length may be known only after reading everything.
        let size = match (size, ranges) {
            (Some(size), _) => size,
            (None, false) => u64::MAX,
            (None, true) => {
                return Err(Error::Other {
                    what: self.name.clone(),
                    detail: "the server does not say how long the file is; download it first"
                        .into(),
                });
            }
        };
        Ok(Head {
            size,
            version,
            ranges,
        })
    }

    /// Exactly `range` of the version that `head` described.
    pub(crate) async fn read(&self, range: Range<u64>, head: &Head) -> Result<Bytes, Error> {
        let mut tries = Tries::new(PATIENCE, None);
        loop {
            match self.read_once(range.clone(), head).await {
                Err(e) => tries.again(e).await?,
                read => return read,
            }
        }
    }

    async fn read_once(&self, range: Range<u64>, head: &Head) -> Result<Bytes, Error> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let mut request = self
            .get()
            .header(RANGE, format!("bytes={}-{}", range.start, range.end - 1));
        if head.version.starts_with('"') {
            request = request.header(IF_MATCH, &head.version);
        } else if !head.version.is_empty() && !head.version.starts_with("W/") {
            request = request.header(IF_UNMODIFIED_SINCE, &head.version);
        }
        let answer = self.send(request).await?;
        let headers = answer.headers();
        if answer.status() != StatusCode::PARTIAL_CONTENT {
            return Err(self.changed(format!(
                "the server answered a request for a part with {}",
                answer.status()
            )));
        }
        let (now, size) = (version(headers), total(headers));
        if now != head.version || size.is_some_and(|s| s != head.size) {
            return Err(self.changed(format!(
                "it was {} bytes of version {:?} and is {} of {now:?}",
                head.size,
                head.version,
                size.map_or("unknown".into(), |s| s.to_string()),
            )));
        }
        let wanted = range.end - range.start;
        let bytes = answer.bytes().await.map_err(|e| self.unreachable(&e))?;
        if bytes.len() as u64 != wanted {
            return Err(Error::Unreachable {
                what: self.name.clone(),
                detail: format!("{} bytes came instead of {wanted}", bytes.len()),
            });
        }
        Ok(bytes)
    }

    /// Reads everything into a new file, for servers without Range. Returns the length.
    pub(crate) async fn spool(&self, to: &Path, head: &Head) -> Result<u64, Error> {
        let answer = self.send(self.get()).await?;
        if version(answer.headers()) != head.version {
            return Err(self.changed("between two requests".into()));
        }
        let promised = answer.content_length();
        let mut file = std::fs::File::create_new(to).map_err(|e| Error::io("create", to, e))?;
        let mut blocks = answer.bytes_stream();
        let mut size = 0;
        while let Some(block) = blocks.next().await {
            let block = block.map_err(|e| self.unreachable(&e))?;
            file.write_all(&block)
                .map_err(|e| Error::io("write", to, e))?;
            size += block.len() as u64;
        }
        match promised {
            Some(promised) if promised != size => Err(Error::Unreachable {
                what: self.name.clone(),
                detail: format!("{size} bytes came instead of {promised}"),
            }),
            _ => Ok(size),
        }
    }

    fn get(&self) -> RequestBuilder {
        self.client
            .get(self.url.clone())
            .header(ACCEPT_ENCODING, "identity")
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let answer = request.send().await.map_err(|e| self.unreachable(&e))?;
        let status = answer.status();
        let what = || self.name.clone();
        match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(Error::NotFound {
                what: what(),
                remedy: "check the address".into(),
            }),
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED => Err(Error::Forbidden {
                what: what(),
                detail: format!(" ({status})"),
                remedy: "check the address; a signed one may have run out".into(),
            }),
            StatusCode::PRECONDITION_FAILED => {
                Err(self.changed("the server has another version".into()))
            }
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(answer),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Err(Error::Unreachable {
                    what: what(),
                    detail: format!("the server answered {status}"),
                })
            }
            _ if status.is_server_error() => Err(Error::Unreachable {
                what: what(),
                detail: format!("the server answered {status}"),
            }),
            _ if status.is_success() => Ok(answer),
            _ => Err(Error::Other {
                what: what(),
                detail: format!("the server answered {status}; check the address"),
            }),
        }
    }

    fn changed(&self, detail: String) -> Error {
        Error::Changed {
            what: self.name.clone(),
            detail,
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Error {
        let mut at: &dyn std::error::Error = error;
        while let Some(cause) = at.source() {
            at = cause;
        }
        let text = match error.is_timeout() {
            true => "no answer in time".into(),
            false => at.to_string(),
        };
        let text = text.split(" (os error").next().unwrap_or_default();
        Error::Unreachable {
            what: self.name.clone(),
            detail: text.to_owned(),
        }
    }
}

/// What tells versions apart: a strong ETag, else the date of change, else a weak ETag, else nothing.
fn version(headers: &HeaderMap) -> String {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
    match text(ETAG) {
        Some(tag) if !tag.starts_with("W/") => tag.to_owned(),
        weak => text(LAST_MODIFIED).or(weak).unwrap_or_default().to_owned(),
    }
}

/// The file's length out of `bytes 0-0/1234`.
fn total(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    text.rsplit('/').next()?.parse().ok()
}
