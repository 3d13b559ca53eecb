//! What happened, as one number that two runs of a seed must agree on, and as lines where somebody wants to read them.

use crate::rng::mix;
use std::collections::VecDeque;

/// Lines kept of a run that is read.
const KEPT: usize = 60;

/// See the module. Lines cost more than the run itself, so a broken run is run again with lines.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Over everything that happened.
    pub digest: u64,
    lines: Option<VecDeque<String>>,
}

impl Trace {
    /// `lines`: somebody will read it.
    pub fn new(lines: bool) -> Self {
        Self {
            digest: 0,
            lines: lines.then(VecDeque::new),
        }
    }

    /// Adds to the digest.
    pub fn note(&mut self, words: &[u64]) {
        for &word in words {
            self.digest = mix(self.digest, word);
        }
    }

    /// Adds a line, where lines are kept.
    pub fn line(&mut self, now_ms: u64, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            if lines.len() == KEPT {
                lines.pop_front();
            }
            lines.push_back(format!("{:9.3} {}", now_ms as f64 / 1000.0, line()));
        }
    }

    /// The last lines.
    pub fn last(self) -> Vec<String> {
        self.lines.map(Vec::from).unwrap_or_default()
    }
}
