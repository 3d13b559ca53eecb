//! What can go wrong between two processes.

use tonic::{Code, Status};

/// A call that did not succeed. Variants are named for what the caller does next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The address is not one. Fix it.
    #[error("\"{0}\" is not a coordinator address (expected http://HOST:PORT)")]
    Address(String),
    /// The address of a NATS server is not one. Fix it.
    #[error("\"{0}\" is not a NATS server (expected nats://HOST:PORT or tls://HOST:PORT)")]
    Nats(String),
    /// The request is not acceptable. Fix it.
    #[error("{0}")]
    Invalid(String),
    /// There is no such job.
    #[error("{0}")]
    NotFound(String),
    /// The state does not allow it. Look at the state first.
    #[error("{0}")]
    Precondition(String),
    /// Nobody served it, or its outcome is unknown. Try again with the same request id.
    #[error("the coordinator at {endpoint} does not answer: {reason}")]
    Unavailable {
        /// Who was asked.
        endpoint: String,
        /// What the transport said.
        reason: String,
    },
    /// The answer makes no sense: programs of two versions, or a bug.
    #[error("the coordinator answered wrongly: {0}")]
    Internal(String),
}

impl Error {
    /// The same request may be sent again.
    pub fn may_retry(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    pub(crate) fn from_status(endpoint: &str, status: Status) -> Self {
        let message = said(&status);
        match status.code() {
            Code::InvalidArgument => Self::Invalid(message),
            Code::NotFound => Self::NotFound(message),
            Code::FailedPrecondition => Self::Precondition(message),
            code if recode_proto::convert::status::may_retry(code) => Self::Unavailable {
                endpoint: endpoint.to_owned(),
                reason: message,
            },
            // A broken connection in the middle of an answer comes as UNKNOWN, with the transport's error as source.
            Code::Unknown if std::error::Error::source(&status).is_some() => Self::Unavailable {
                endpoint: endpoint.to_owned(),
                reason: message,
            },
            code => Self::Internal(format!("{code:?}: {message}")),
        }
    }
}

/// What the other side said. Where nobody did, the transport's last cause says more than its "tcp connect error".
fn said(status: &Status) -> String {
    let mut cause = std::error::Error::source(status);
    while let Some(deeper) = cause.and_then(std::error::Error::source) {
        cause = Some(deeper);
    }
    match cause.and_then(|cause| cause.downcast_ref::<std::io::Error>()) {
        Some(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            "nothing listens there; check the address, or start it".to_owned()
        }
        Some(error) => {
            let text = error.to_string();
            text.split(" (os error")
                .next()
                .unwrap_or_default()
                .to_owned()
        }
        None => status.message().to_owned(),
    }
}

impl From<recode_proto::convert::Error> for Error {
    fn from(error: recode_proto::convert::Error) -> Self {
        Self::Internal(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_says_what_to_do_next() {
        let of = |code| Error::from_status("http://h:1", Status::new(code, "m"));
        assert_eq!(of(Code::InvalidArgument), Error::Invalid("m".into()));
        assert_eq!(of(Code::NotFound), Error::NotFound("m".into()));
        assert!(of(Code::Unavailable).may_retry());
        assert!(
            of(Code::Cancelled).may_retry(),
            "tonic's own timeouts come as cancelled"
        );
        assert!(!of(Code::Internal).may_retry());
        assert!(!of(Code::FailedPrecondition).may_retry());
    }
}
