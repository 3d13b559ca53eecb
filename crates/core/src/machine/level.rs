//! Feature levels: what a cluster whose coordinators are of several builds may put into its log.
//!
//! Every build knows the commands up to its own [`LEVEL`]. The state holds the level of the cluster, which a Leader raises
//! ([`Command::RaiseLevel`]) once all members have announced that they know it; before that nobody proposes anything later,
//! so no member meets an entry, or a snapshot, that it cannot read. It never falls: a build that is older than the cluster
//! is refused as a new member, and stops at the first entry that says so.
//!
//! | level | brought |
//! |---|---|
//! | 0 | everything up to [`Command::RaiseLevel`] |
//! | 1 | [`Command::TurnKnobs`]; snapshots that hold the level |
//! | 2 | [`Command::SubmitCommand`] and the results of such Jobs; snapshots that hold them |

use super::Command;
use recode_types::task::{AttemptOutcome, TaskResult};

/// The level of this build. The first where it stands in for an earlier build.
pub const LEVEL: u32 = if cfg!(feature = "earlier") { 0 } else { 2 };

/// The level that brought command jobs.
pub const COMMANDS: u32 = 2;

impl Command {
    /// The level that knows it first.
    pub fn level(&self) -> u32 {
        match self {
            Self::TurnKnobs { .. } => 1,
            Self::SubmitCommand { .. } => COMMANDS,
            Self::CompleteAttempt { outcome, .. } => of_outcome(outcome),
            _ => 0,
        }
    }
}

/// The level that knows first how an Attempt ended.
pub fn of_outcome(outcome: &AttemptOutcome) -> u32 {
    match outcome {
        AttemptOutcome::Done {
            result: TaskResult::Commanded { .. },
            ..
        } => COMMANDS,
        _ => 0,
    }
}

/// The level that all members know; `None`: somebody has not been heard yet.
pub fn common(announced: impl IntoIterator<Item = Option<u32>>) -> Option<u32> {
    let announced: Option<Vec<u32>> = announced.into_iter().collect();
    announced?.into_iter().min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_member_decides_and_silence_is_no_consent() {
        assert_eq!(common([Some(2), Some(1), Some(3)]), Some(1));
        assert_eq!(common([Some(2), None]), None);
        assert_eq!(common([]), None);
    }
}
