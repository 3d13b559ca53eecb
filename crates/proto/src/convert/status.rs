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

/// Metadata that names the Leader in the answer of a coordinator that does not lead: `HOST:PORT`.
const LEADER: &str = "recode-leader";

/// What a coordinator that does not lead answers. `leader`: HOST:PORT of the one that does, as far as it knows.
pub fn not_leading(leader: Option<&str>) -> Status {
    let mut status = match leader {
        Some(leader) => {
            Status::unavailable(format!("the coordinator at {leader} leads, ask there"))
        }
        None => Status::unavailable("no coordinator leads now: try again"),
    };
    let address = leader.and_then(|leader| leader.parse().ok());
    if let Some(address) = address {
        status.metadata_mut().insert(LEADER, address);
    }
    status
}

/// The Leader that [`not_leading`] named.
pub fn leader_of(status: &Status) -> Option<&str> {
    status.metadata().get(LEADER)?.to_str().ok()
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
    fn one_that_does_not_lead_names_the_one_that_does() {
        let status = not_leading(Some("10.0.0.2:7420"));
        assert_eq!(leader_of(&status), Some("10.0.0.2:7420"));
        assert!(may_retry(status.code()));
        assert_eq!(leader_of(&not_leading(None)), None);
    }

    #[test]
    fn a_bad_message_is_the_callers_fault_and_is_not_retried() {
        let status = Status::from(Error::Missing("source"));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "source is missing");
        assert!(!may_retry(status.code()));
        assert!(may_retry(Code::Unavailable));
    }
}
