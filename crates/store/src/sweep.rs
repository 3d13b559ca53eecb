//! Removes what no log entry names.
//!
//! The caller says what the log names; a listing says what is there. Listings may lag and uploads may be under way, so
//! only what is older than a guard goes.

use crate::error::Error;
use crate::uploads;
use crate::work::{Listed, WorkStore};
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Objects removed.
    pub removed: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that the log names, or that are too young to tell.
    pub kept: u64,
}

/// Removes everything below `prefix`, and ends uploads that notes there tell of, where `named` does not hold it and it was written more than `guard` before `now`.
/// `now` is compared with the store's clock: let `guard` cover what the two may differ.
///
/// # Errors
/// What listing or a removal met; what was removed before stays removed.
pub async fn sweep(
    store: &WorkStore,
    prefix: &str,
    named: &BTreeSet<String>,
    now: SystemTime,
    guard: Duration,
) -> Result<Swept, Error> {
    let mut swept = Swept::default();
    for listed in store.list(prefix).await? {
        if is_waste(&listed, named, now, guard) {
            if uploads::is_note(&listed.key) {
                match uploads::end(store, &listed).await {
                    // Nobody will ever read it: the bucket's own rule ends that upload.
                    Err(error @ Error::Damaged { .. }) => tracing::warn!(%error),
                    ended => ended?,
                }
            }
            store.remove(&listed.key).await?;
            swept.removed += 1;
            swept.bytes += listed.size_bytes;
        } else {
            swept.kept += 1;
        }
    }
    Ok(swept)
}

/// The decision alone. An object from the future (clocks differ) is young.
fn is_waste(listed: &Listed, named: &BTreeSet<String>, now: SystemTime, guard: Duration) -> bool {
    let age = now.duration_since(listed.modified).unwrap_or_default();
    !named.contains(&listed.key) && age > guard
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_and_unnamed_objects_are_waste() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let hour = Duration::from_secs(3600);
        let named = BTreeSet::from(["jobs/a".to_owned()]);
        let check = |key: &str, modified: SystemTime, expected: bool| {
            let listed = Listed {
                key: key.into(),
                size_bytes: 1,
                modified,
            };
            assert_eq!(is_waste(&listed, &named, now, hour), expected, "{key}");
        };
        check("jobs/a", now - 2 * hour, false);
        check("jobs/b", now - 2 * hour, true);
        check("jobs/b", now - hour, false);
        check("jobs/b", now + hour, false);
    }
}
