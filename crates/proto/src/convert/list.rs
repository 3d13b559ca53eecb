//! Lists of Jobs: the filter and the token of the next page.

use super::{Error, MAX_LISTED, MAX_TEXT_BYTES, at_most, invalid, plain, text};
use crate::v1;
use recode_types::{Digest, JobFilter, JobId};
use std::collections::BTreeMap;

/// What a page of a list is to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// Which Jobs.
    pub filter: JobFilter,
    /// Those after this one.
    pub after: Option<JobId>,
    /// At most this many, 1 to [`MAX_LISTED`].
    pub limit: usize,
}

impl ListQuery {
    /// The token with which the page after `last` is asked for. It names the Job and the filter: with another filter it is
    /// refused, since its pages would not follow each other.
    pub fn token(&self, last: JobId) -> String {
        format!("{last}.{}", mark(&self.filter))
    }
}

/// Tells filters apart. No secret: a token made by hand does no more than another filter would.
fn mark(filter: &JobFilter) -> String {
    let json = serde_json::to_vec(filter).expect("plain data always serialises");
    Digest::of(&json).to_string()[..16].to_owned()
}

impl TryFrom<v1::ListRequest> for ListQuery {
    type Error = Error;
    fn try_from(value: v1::ListRequest) -> Result<Self, Error> {
        at_most("states", value.states.len(), 16)?;
        at_most("labels", value.labels.len(), 64)?;
        let labels: BTreeMap<String, String> = value.labels.into_iter().collect();
        for (key, label) in &labels {
            at_most("labels", key.len() + label.len(), MAX_TEXT_BYTES)?;
        }
        let mut states = value
            .states
            .into_iter()
            .map(|state| plain::<v1::JobState, _>("states", state))
            .collect::<Result<Vec<_>, _>>()?;
        states.sort_unstable();
        states.dedup();
        let filter = JobFilter {
            states,
            labels,
            source_prefix: text("source_prefix", value.source_prefix)?,
            submitted_after_ms: value.submitted_after_ms,
            live_only: value.live_only,
            archived: value.archived,
        };
        let after = match value.page_token.as_str() {
            "" => None,
            token => Some(read(token, &filter)?),
        };
        let limit = match value.limit as usize {
            0 => MAX_LISTED,
            limit => limit.min(MAX_LISTED),
        };
        Ok(Self {
            filter,
            after,
            limit,
        })
    }
}

fn read(token: &str, filter: &JobFilter) -> Result<JobId, Error> {
    at_most("page_token", token.len(), 128)?;
    let bad = || {
        invalid(
            "page_token",
            "it comes from no earlier page: begin with an empty one",
        )
    };
    let (job, of) = token.split_once('.').ok_or_else(bad)?;
    let job = job.parse().map_err(|_| bad())?;
    if of != mark(filter) {
        return Err(invalid(
            "page_token",
            "it belongs to a list with other conditions: keep them, or begin with an empty one",
        ));
    }
    Ok(job)
}

impl From<JobFilter> for v1::ListRequest {
    fn from(value: JobFilter) -> Self {
        let states = value.states.into_iter();
        Self {
            live_only: value.live_only,
            limit: 0,
            states: states.map(|s| v1::JobState::from(s).into()).collect(),
            labels: value.labels.into_iter().collect(),
            source_prefix: value.source_prefix,
            submitted_after_ms: value.submitted_after_ms,
            archived: value.archived,
            page_token: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::JobState;

    fn full() -> JobFilter {
        JobFilter {
            states: vec![JobState::Running, JobState::Failed],
            labels: [("show".to_owned(), "one".to_owned())].into(),
            source_prefix: "s3://films/".into(),
            submitted_after_ms: 7,
            live_only: true,
            archived: true,
        }
    }

    #[test]
    fn a_filter_survives_the_wire_and_a_token_leads_on() {
        let mut wire = v1::ListRequest::from(full());
        wire.limit = 5_000;
        let query = ListQuery::try_from(wire.clone()).unwrap();
        assert_eq!((&query.filter, query.after), (&full(), None));
        assert_eq!(query.limit, MAX_LISTED);
        wire.page_token = query.token(JobId(9));
        // In whatever order states are named.
        wire.states.reverse();
        wire.limit = 3;
        let next = ListQuery::try_from(wire).unwrap();
        assert_eq!((next.after, next.limit), (Some(JobId(9)), 3));
    }

    #[test]
    fn what_cannot_be_listed_is_refused_by_name() {
        let check = |change: fn(&mut v1::ListRequest), expected: &str| {
            let mut wire = v1::ListRequest::from(full());
            change(&mut wire);
            let error = ListQuery::try_from(wire).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(expected.starts_with(error.field()), "{error}");
        };
        check(|r| r.states = vec![0], "states has the unknown value 0");
        check(|r| r.states = vec![4; 17], "states is too long");
        check(
            |r| r.source_prefix = "x".repeat(5000),
            "source_prefix is too long",
        );
        check(
            |r| r.labels = (0..65).map(|i| (i.to_string(), String::new())).collect(),
            "labels is too long",
        );
        check(
            |r| r.labels = [("x".repeat(5000), String::new())].into(),
            "labels is too long",
        );
        for bad in ["?", "job_12.ab", "x.y"] {
            let mut wire = v1::ListRequest::from(full());
            wire.page_token = bad.to_owned();
            let error = ListQuery::try_from(wire).unwrap_err().to_string();
            assert!(error.contains("page_token is not valid"), "{error}");
        }
        check(|r| r.page_token = "x".repeat(129), "page_token is too long");
        // A token of another list.
        let query = ListQuery::try_from(v1::ListRequest::default()).unwrap();
        let mut wire = v1::ListRequest::from(full());
        wire.page_token = query.token(JobId(9));
        let error = ListQuery::try_from(wire).unwrap_err().to_string();
        assert!(error.contains("other conditions"), "{error}");
    }
}
