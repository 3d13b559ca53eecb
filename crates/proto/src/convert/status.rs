//! gRPC statuses and their details: one table for both directions. `job.proto` has it for clients.
//!
//! | code | meaning here | what the caller does |
//! |---|---|---|
//! | `INVALID_ARGUMENT` | the message is not what it should be | fix the request |
//! | `NOT_FOUND` | no such job or node | nothing to retry |
//! | `FAILED_PRECONDITION` | the state does not allow it | look at the state first |
//! | `RESOURCE_EXHAUSTED` | too much at once | try again later |
//! | `UNAVAILABLE` | no leader, stopping, or not reachable | try again, same request id |
//! | `DEADLINE_EXCEEDED`, `CANCELLED` | outcome unknown | try again, same request id |
//! | `INTERNAL` | a bug of ours | report it |
//!
//! Details are google.rpc's: BadRequest names fields, ResourceInfo what was not found, ErrorInfo a reason that programs can
//! tell apart. Whoever does not read them loses nothing but that: the message says the same.

use super::Error;
use std::collections::HashMap;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The domain of every reason in an ErrorInfo.
pub const DOMAIN: &str = "recode";

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        bad_request(error.field(), error.to_string())
    }
}

/// Metadata that names the Leader in the answer of a coordinator that does not lead: `HOST:PORT`.
const LEADER: &str = "recode-leader";

/// What a coordinator that does not lead answers. `leader`: HOST:PORT of the one that does, as far as it knows.
pub fn not_leading(leader: Option<&str>) -> Status {
    let message = match leader {
        Some(leader) => format!("the coordinator at {leader} leads, ask there"),
        None => "no coordinator leads now: try again".to_owned(),
    };
    let mut status = because(Code::Unavailable, "NOT_LEADING", message, &[]);
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

/// `INVALID_ARGUMENT` about one field.
pub fn bad_request(field: &str, message: String) -> Status {
    let details = ErrorDetails::with_bad_request_violation(field, message.clone());
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// A status with a reason, and what else programs may want to know.
pub fn because(code: Code, reason: &str, message: String, more: &[(&str, String)]) -> Status {
    let more: HashMap<String, String> = more
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    let details = ErrorDetails::with_error_info(reason, DOMAIN, more);
    Status::with_error_details(code, message, details)
}

/// `NOT_FOUND` about the `kind` of thing called `name`.
pub fn not_found(kind: &str, name: &str, reason: &str, message: String) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    details.set_resource_info(kind, name, "", message.clone());
    Status::with_error_details(Code::NotFound, message, details)
}

/// The reason in the details of a status, where it is one of ours.
pub fn reason(status: &Status) -> Option<String> {
    let info = status.get_details_error_info()?;
    (info.domain == DOMAIN).then_some(info.reason)
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
        assert_eq!(reason(&not_leading(None)).as_deref(), Some("NOT_LEADING"));
    }

    #[test]
    fn a_bad_message_is_the_callers_fault_and_is_not_retried() {
        let status = Status::from(Error::Missing("source"));
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "source is missing");
        let details = status.get_details_bad_request().unwrap();
        assert_eq!(details.field_violations[0].field, "source");
        assert_eq!(reason(&status), None);
        assert!(!may_retry(status.code()));
        assert!(may_retry(Code::Unavailable));
    }

    #[test]
    fn reasons_can_be_told_apart() {
        let status = not_found("job", "job_1", "UNKNOWN_JOB", "no such job".into());
        assert_eq!(reason(&status).as_deref(), Some("UNKNOWN_JOB"));
        let found = status.get_details_resource_info().unwrap();
        assert_eq!(
            (&*found.resource_type, &*found.resource_name),
            ("job", "job_1")
        );
        let status = because(
            Code::FailedPrecondition,
            "JOB_ENDED",
            "it has ended".into(),
            &[("job", "job_1".into())],
        );
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.metadata["job"], "job_1");
    }
}
