//! What can go wrong with stored bytes, named for what the caller does next.

use std::io;
use std::path::Path;

/// Why an operation on a Source, an artifact or an Output failed.
///
/// `Display` is one sentence for the person who started the Job: what, where, and the remedy. Secrets in URLs (query,
/// user and password) never appear in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The URL, or the settings needed for it, make no sense: the user has to change the request.
    #[error("{0}")]
    Invalid(String),
    /// Nothing is there.
    #[error("{what} does not exist; {remedy}")]
    NotFound {
        /// Where it was looked for.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// Something is there, or may be, but these credentials or this user may not touch it.
    #[error("access to {what} was denied{detail}; {remedy}")]
    Forbidden {
        /// Where.
        what: String,
        /// What the other side said, with a leading separator, or nothing.
        detail: String,
        /// What to do.
        remedy: String,
    },
    /// The other side did not answer, or not with sense, for as long as we were willing to try.
    #[error(
        "{what} cannot be reached: {detail}; check the address and the network, then try again"
    )]
    Unreachable {
        /// Where.
        what: String,
        /// What happened last.
        detail: String,
    },
    /// The Source is not what it was when it was first opened.
    #[error("{what} changed while it was being read ({detail}); start again when it is complete")]
    Changed {
        /// Where.
        what: String,
        /// What differs.
        detail: String,
    },
    /// The name is taken.
    #[error("{what} exists already; choose another name or allow it to be replaced with --force")]
    Exists {
        /// The name.
        what: String,
    },
    /// The disk or the quota is full.
    #[error("no space is left for {what}; free some space or choose another place")]
    NoSpace {
        /// What was being written.
        what: String,
    },
    /// Stored bytes are not those that were put there.
    #[error("{what} is damaged: {detail}; it has to be made again")]
    Damaged {
        /// The artifact.
        what: String,
        /// What differs.
        detail: String,
    },
    /// Anything else the system said.
    #[error("{what}: {detail}")]
    Other {
        /// What was being done to what.
        what: String,
        /// What the system said.
        detail: String,
    },
}

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Soon, with growing pauses.
    Backoff,
    /// Not without a person.
    Never,
}

impl Error {
    /// Whether trying again can help. Short faults have already been tried again when an error comes out of this crate.
    pub fn retry(&self) -> Retry {
        match self {
            Error::Unreachable { .. } | Error::NoSpace { .. } | Error::Other { .. } => {
                Retry::Backoff
            }
            Error::Invalid(_)
            | Error::NotFound { .. }
            | Error::Forbidden { .. }
            | Error::Changed { .. }
            | Error::Exists { .. }
            | Error::Damaged { .. } => Retry::Never,
        }
    }

    /// Translates what the system said about a local path. `doing` completes the sentence "cannot ... PATH".
    pub(crate) fn io(doing: &str, path: &Path, error: io::Error) -> Self {
        let what = format!("\"{}\"", path.display());
        match error.kind() {
            io::ErrorKind::NotFound => Error::NotFound {
                what,
                remedy: "check the spelling of the path".into(),
            },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Error::Forbidden {
                    what,
                    detail: format!(" when trying to {doing} it"),
                    remedy: "change its permissions or run as a user who may".into(),
                }
            }
            io::ErrorKind::AlreadyExists => Error::Exists { what },
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Error::NoSpace { what },
            _ => Error::Other {
                what: format!("cannot {doing} {what}"),
                detail: reason(&error),
            },
        }
    }
}

/// The system's words without Rust's "(os error 5)".
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_lowercase(),
        None => text,
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Invalid(_) => io::ErrorKind::InvalidInput,
            Error::NotFound { .. } => io::ErrorKind::NotFound,
            Error::Forbidden { .. } => io::ErrorKind::PermissionDenied,
            Error::Unreachable { .. } => io::ErrorKind::NotConnected,
            Error::Exists { .. } => io::ErrorKind::AlreadyExists,
            Error::NoSpace { .. } => io::ErrorKind::StorageFull,
            Error::Changed { .. } | Error::Damaged { .. } => io::ErrorKind::InvalidData,
            Error::Other { .. } => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
