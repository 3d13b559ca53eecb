//! What the errors of `object_store` mean.

use super::Objects;
use crate::error::Error;
use crate::s3;

impl Objects {
    /// Translates an error about the object at `key`.
    pub(super) fn error(&self, key: &str, error: &object_store::Error) -> Error {
        use object_store::Error as E;
        let what = self.name(key);
        let text = chain(error);
        match error {
            E::NotFound { .. } => Error::NotFound {
                what,
                remedy: "check bucket and key".into(),
            },
            E::PermissionDenied { .. } | E::Unauthenticated { .. } => self.forbidden(what, &text),
            _ if text.contains("ExpiredToken") || text.contains("InvalidToken") => {
                self.forbidden(what, &text)
            }
            // One that answers, and badly, is a bad moment; one that does not answer is not there.
            _ if asks_for_credentials(&text) && !text.contains("status code: 5") => {
                Error::Forbidden {
                    what,
                    detail: ": no credentials were found".into(),
                    remedy: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws, or AWS_SKIP_SIGNATURE=true for a public bucket".into(),
                }
            }
            E::Precondition { .. } => Error::Changed {
                what,
                detail: "its ETag is another".into(),
            },
            E::AlreadyExists { .. } => Error::Exists { what },
            E::InvalidPath { .. } => Error::Invalid(format!("{what} is not a usable key: {}", cause(error))),
            E::NotSupported { .. } | E::NotImplemented { .. } => Error::Other {
                what,
                detail: format!("the store does not support this ({})", cause(error)),
            },
            _ => Error::Unreachable {
                what,
                detail: cause(error),
            },
        }
    }

    fn forbidden(&self, what: String, text: &str) -> Error {
        let said = [
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "RequestTimeTooSkewed",
            "ExpiredToken",
            "InvalidToken",
            "AccessDenied",
        ]
        .iter()
        .find(|code| text.contains(**code));
        let remedy = match said {
            Some(&"RequestTimeTooSkewed") => "set this machine's clock",
            Some(&"ExpiredToken") => "renew the session token",
            _ if !s3::has_credentials() => {
                "no credentials are set: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a profile in ~/.aws"
            }
            _ => "check the AWS keys or profile in use and the rights of the bucket",
        };
        Error::Forbidden {
            what,
            detail: said.map(|code| format!(" ({code})")).unwrap_or_default(),
            remedy: remedy.into(),
        }
    }
}

fn asks_for_credentials(text: &str) -> bool {
    text.contains("169.254.169.254") || text.contains("latest/api/token")
}

/// Everything an error and its causes say, for looking things up in.
pub(super) fn chain(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    let mut at: &dyn std::error::Error = error;
    while let Some(cause) = at.source() {
        text = format!("{text}: {cause}");
        at = cause;
    }
    text
}

/// What really happened, for people: the last cause, on one line of bearable length.
fn cause(error: &object_store::Error) -> String {
    let mut at: &dyn std::error::Error = error;
    while let Some(cause) = at.source() {
        at = cause;
    }
    let text = at.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(200) {
        line.truncate(end);
        line.push('…');
    }
    line
}
