//! Kinds of S3 requests, and how often they came.

use hyper::{Method, Request};
use std::fmt;

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
    /// All of them, with their names in rules and reports.
    pub const NAMES: [(Kind, &'static str); 10] = [
        (Kind::Get, "get"),
        (Kind::Head, "head"),
        (Kind::Put, "put"),
        (Kind::Part, "part"),
        (Kind::Begin, "begin"),
        (Kind::Complete, "complete"),
        (Kind::Abort, "abort"),
        (Kind::Delete, "delete"),
        (Kind::List, "list"),
        (Kind::Other, "other"),
    ];

    /// What a request asks for.
    pub fn of<B>(request: &Request<B>) -> Self {
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

    /// Whether it changes what is stored.
    pub fn is_write(self) -> bool {
        !matches!(self, Kind::Get | Kind::Head | Kind::List | Kind::Other)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Kind::NAMES.iter().find(|(kind, _)| kind == self);
        f.write_str(named.map_or("other", |(_, name)| name))
    }
}

/// How often and how much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Requests that came in.
    pub requests: u64,
    /// Bytes of bodies that came in, as their headers announced them.
    pub bytes_received: u64,
    /// Bytes of bodies that went out.
    pub bytes_sent: u64,
}
