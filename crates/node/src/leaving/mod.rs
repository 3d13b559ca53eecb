//! Leaving: why a node goes, until when it has time, and what it tells whoever started it. What it still finishes is
//! decided in [`judge`]; whether whoever lends the machine wants it back is seen by [`spot`].

pub mod flags;
pub mod judge;
pub mod spot;

use std::time::{Duration, Instant};

/// When a node leaves of its own accord, and when it waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Habits {
    /// It had nothing to do for so long.
    pub idle_exit: Option<Duration>,
    /// It was drained, and nothing is left.
    pub exit_when_drained: bool,
    /// It begins nothing while its disk is full, rather than fail at that.
    pub waits_for_disk: bool,
    /// Where it looks whether the machine will be taken back.
    pub lookout: spot::Lookout,
}

/// Why a node leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Somebody asked the process to end.
    Asked,
    /// Its coordinator drained it, and nothing is left.
    Drained,
    /// It had nothing to do for long enough.
    Idle,
    /// Whoever lends the machine wants it back.
    Reclaimed,
}

/// A wish that the node leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leave {
    /// Why.
    pub cause: Cause,
    /// It must be gone by then. `None`: it finishes whatever it has.
    pub deadline: Option<Instant>,
}

impl Leave {
    /// Both wishes in one: the later one's cause, the earlier deadline.
    pub fn and(self, later: Self) -> Self {
        let deadline = match (self.deadline, later.deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self {
            cause: later.cause,
            deadline,
        }
    }
}

/// How a node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Farewell {
    /// Why it left.
    pub cause: Cause,
    /// A coordinator took over all that it held. Else its Leases end with its silence.
    pub handed_over: bool,
}

impl Farewell {
    /// What the process tells whoever started it; the table is in docs/nodes.md.
    pub fn exit_code(self) -> u8 {
        match (self.handed_over, self.cause) {
            (false, _) => 6,
            (true, Cause::Asked) => 0,
            (true, Cause::Idle) => 3,
            (true, Cause::Drained) => 4,
            (true, Cause::Reclaimed) => 5,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_wishes_the_earlier_deadline_holds() {
        let now = Instant::now();
        let wish = |cause, deadline: Option<f64>| Leave {
            cause,
            deadline: deadline.map(|s| now + Duration::from_secs_f64(s)),
        };
        let (asked, reclaimed) = (Cause::Asked, Cause::Reclaimed);
        let check = |first: Leave, later, expected| assert_eq!(first.and(later), expected);
        check(
            wish(reclaimed, None),
            wish(asked, Some(30.0)),
            wish(asked, Some(30.0)),
        );
        check(
            wish(asked, Some(30.0)),
            wish(reclaimed, Some(120.0)),
            wish(reclaimed, Some(30.0)),
        );
    }

    #[test]
    fn who_started_the_process_can_tell_how_it_ended() {
        let code = |handed_over, cause| Farewell { cause, handed_over }.exit_code();
        let causes = [Cause::Asked, Cause::Idle, Cause::Drained, Cause::Reclaimed];
        assert_eq!(causes.map(|cause| code(true, cause)), [0, 3, 4, 5]);
        assert_eq!(causes.map(|cause| code(false, cause)), [6; 4]);
    }
}
