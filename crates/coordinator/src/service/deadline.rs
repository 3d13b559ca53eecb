//! Deadlines of streams. tonic ends a call whose first answer is late; how long a stream may go on is for us to see to.

use std::time::Duration;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

/// When a caller no longer waits. `None`: it set no deadline.
/// # Source
/// `grpc-timeout` in the specification of gRPC over HTTP/2: at most eight digits and a unit.
pub fn of(metadata: &MetadataMap) -> Option<Instant> {
    let timeout = read(metadata.get("grpc-timeout")?.to_str().ok()?)?;
    Instant::now().checked_add(timeout)
}

fn read(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// Resolves at the deadline; never, where there is none.
pub async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// What a caller hears then.
pub fn status() -> Status {
    Status::new(
        Code::DeadlineExceeded,
        "the deadline of this stream has passed: open it again where it ended",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_specification_has_them() {
        assert_eq!(read("1H"), Some(Duration::from_secs(3600)));
        assert_eq!(read("2M"), Some(Duration::from_secs(120)));
        assert_eq!(read("20S"), Some(Duration::from_secs(20)));
        assert_eq!(read("99999999m"), Some(Duration::from_millis(99_999_999)));
        assert_eq!(read("5u"), Some(Duration::from_micros(5)));
        assert_eq!(read("7n"), Some(Duration::from_nanos(7)));
        for bad in ["", "S", "1", "1s", "-1S", "123456789S", "1.5S", "1ü", "+1S"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
