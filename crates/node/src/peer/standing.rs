//! Which neighbours are left alone for a while, since they did not answer or answered wrongly. Pure: time is an argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long. Others do what it would have done; the bytes are there all the same.
const LEFT_ALONE: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug, Default)]
pub struct Standing {
    until: BTreeMap<String, Instant>,
}

impl Standing {
    /// It served badly. Whether that is news.
    pub fn blame(&mut self, node: &str, now: Instant) -> bool {
        self.until.retain(|_, until| now < *until);
        let until = self.until.insert(node.to_owned(), now + LEFT_ALONE);
        until.is_none()
    }

    /// Whether it is asked.
    pub fn is_asked(&self, node: &str, now: Instant) -> bool {
        self.until.get(node).is_none_or(|until| *until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_served_badly_is_left_alone_and_then_asked_again() {
        let now = Instant::now();
        let mut standing = Standing::default();
        assert!(standing.is_asked("a", now));
        assert!(standing.blame("a", now), "news");
        assert!(!standing.blame("a", now));
        assert!(!standing.is_asked("a", now) && standing.is_asked("b", now));
        assert!(standing.is_asked("a", now + LEFT_ALONE));
        assert!(standing.blame("a", now + LEFT_ALONE), "news again");
    }
}
