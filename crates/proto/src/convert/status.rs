//! gRPC status codes: one table for both directions.
//!
//! | code | meaning here | what the caller does |
//! |---|---|---|
//! | `INVALID_ARGUMENT` | the message is not what it should be | fix the request |
//! | `NOT_FOUND` | no such job | nothing to retry |
//! | `FAILED_PRECONDITION` | the state does not allow it | look at the state first |
//! | `RESOURCE_EXHAUSTED` | too much at once | try again later |
//! | `UNAVAILABLE` | no leader, stopping, or not reachable | try again, same request id |
//! | `DEADLINE_EXCEEDED`, `CANCELLED` | outcome unknown | try again, same request id |
//! | `INTERNAL` | a bug of ours | report it |

use super::Error;
use tonic::{Code, Status};

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Status::invalid_argument(error.to_string())
    }
}

/// Whether the same request may be sent again because its outcome is unknown or it was not served.
///
/// tonic reports an expired timeout as `CANCELLED`, so both that and `DEADLINE_EXCEEDED` mean "unknown".
pub fn may_retry(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::ResourceExhausted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_message_is_the_callers_fault_and_is_not_retried() {
        let status = Status::from(Error::Missing("source"));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "source is missing");
        assert!(!may_retry(status.code()));
        assert!(may_retry(Code::Unavailable));
    }
}
