//! Sees what a coordinator applies. A simulation judges the log by it.

use recode_core::{Effect, Outcome, State};
use std::fmt::Debug;

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its index.
    pub index: u64,
    /// The term in which it was written.
    pub term: u64,
    /// Who wrote it: in openraft two may win one term.
    pub leader: u64,
}

/// See the module.
pub trait Witness: Debug + Send + Sync + 'static {
    /// An entry was applied. `sealed`: its commands as the log has them; `None` for entries of Raft's own. `state`: after it.
    fn applied(
        &self,
        at: Place,
        sealed: Option<&[u8]>,
        answers: &[(Outcome, Vec<Effect>)],
        state: &State,
    );

    /// The state was taken from a snapshot that holds everything up to `at`.
    fn restored(&self, at: Place, state: &State);
}
