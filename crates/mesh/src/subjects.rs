//! The NATS subjects of one cluster, and nothing else: docs/nats.md has the same list for people.
//!
//! ```text
//!   recode.CLUSTER.hello                    nodes ask who leads; the Leader answers
//!   recode.CLUSTER.report.OFFICE            nodes report to one Leader
//!   recode.CLUSTER.orders.OFFICE.SESSION    that Leader's orders to one node
//!   recode.CLUSTER.bell                     the Leader: work is waiting
//!   recode.CLUSTER.events.JOB               the Leader: what happened to a Job
//! ```

use recode_types::JobId;
use std::fmt::Write as _;
use std::str::FromStr;

/// The name of a cluster that was given none.
pub const UNNAMED: &str = "main";

/// The longest name of a cluster on NATS.
const LONGEST: usize = 64;

/// The subjects of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subjects {
    prefix: String,
}

/// A name that cannot be part of a subject.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" cannot name a cluster on NATS: use letters, digits, - and _, at most {LONGEST} of them"
)]
pub struct BadName(String);

impl FromStr for Subjects {
    type Err = BadName;

    /// Those of the cluster of this name.
    fn from_str(cluster: &str) -> Result<Self, BadName> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if cluster.is_empty() || cluster.len() > LONGEST || !cluster.bytes().all(fits) {
            return Err(BadName(cluster.to_owned()));
        }
        Ok(Self {
            prefix: format!("recode.{cluster}"),
        })
    }
}

impl Default for Subjects {
    /// Those of a cluster that was given no name.
    fn default() -> Self {
        UNNAMED.parse().expect("letters only")
    }
}

impl Subjects {
    /// The name of the cluster.
    pub fn cluster(&self) -> &str {
        &self.prefix["recode.".len()..]
    }

    /// Where nodes look for the Leader.
    pub(crate) fn hello(&self) -> String {
        format!("{}.hello", self.prefix)
    }

    /// Where work is announced.
    pub(crate) fn bell(&self) -> String {
        format!("{}.bell", self.prefix)
    }

    /// Where the events of one Job are said, or those of all.
    pub(crate) fn events(&self, job: Option<JobId>) -> String {
        match job {
            Some(job) => format!("{}.events.{job}", self.prefix),
            None => format!("{}.events.*", self.prefix),
        }
    }

    /// Where nodes report to the Leader of an office.
    pub(crate) fn reports(&self, office: &str) -> String {
        format!("{}.report.{office}", self.prefix)
    }

    /// Where one node hears the Leader of an office.
    pub(crate) fn orders(&self, office: &str, session: u64) -> String {
        let mut subject = format!("{}.orders.{office}.", self.prefix);
        write!(subject, "{session}").expect("a string takes everything");
        subject
    }
}

/// Whether `office` is one: letters and digits, so that it cannot be anything else in a subject.
pub(crate) fn is_office(office: &str) -> bool {
    !office.is_empty()
        && office.len() <= LONGEST
        && office.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_word_of_a_subject() {
        let subjects: Subjects = "site-7_a".parse().unwrap();
        assert_eq!(subjects.cluster(), "site-7_a");
        assert_eq!(subjects.hello(), "recode.site-7_a.hello");
        assert_eq!(
            subjects.orders("f00d", 12),
            "recode.site-7_a.orders.f00d.12"
        );
        let job = JobId(7);
        assert_eq!(
            subjects.events(Some(job)),
            format!("recode.site-7_a.events.{job}")
        );
        for bad in ["", "a.b", "*", ">", "a b", "ä", &"a".repeat(65)] {
            assert!(bad.parse::<Subjects>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_office_cannot_widen_a_subject() {
        assert!(is_office("0a1b2c"));
        for bad in ["", ">", "a.*", "a.b", &"a".repeat(65)] {
            assert!(!is_office(bad), "{bad}");
        }
    }
}
