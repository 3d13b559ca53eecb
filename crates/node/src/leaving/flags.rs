//! The flags that say when a node leaves, and how much time it takes.

use super::{Cause, Habits, Leave};
use crate::units::wait;
use clap::Args;
use std::time::{Duration, Instant};

/// See the module.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Leaving")]
#[group(skip)]
pub struct Flags {
    /// At the first SIGTERM or SIGINT, finish what can be finished within this time and give back the rest at once; a second
    /// one ends at once
    #[arg(long, env = "RECODE_GRACE", default_value = "30s", value_name = "TIME", value_parser = wait)]
    grace: Duration,

    /// Leave (exit code 3) after so long without work [default: stay]
    #[arg(long, env = "RECODE_IDLE_EXIT", value_name = "TIME", value_parser = wait)]
    idle_exit: Option<Duration>,

    /// Leave (exit code 4) once the node was drained, as by `recode-client drain`, and nothing is left [default: stay, for it
    /// may be undrained]
    #[arg(long, env = "RECODE_EXIT_WHEN_DRAINED")]
    exit_when_drained: bool,
}

impl Flags {
    /// When the node leaves of its own accord.
    pub fn habits(&self) -> Habits {
        Habits {
            idle_exit: self.idle_exit,
            exit_when_drained: self.exit_when_drained,
        }
    }

    /// What a signal at `now` asks for.
    pub fn asked(&self, now: Instant) -> Leave {
        Leave {
            cause: Cause::Asked,
            deadline: Some(now + self.grace),
        }
    }
}
