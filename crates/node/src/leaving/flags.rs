//! The flags that say when a node leaves, and how much time it takes.

use super::spot::Lookout;
use super::{Cause, Habits, Leave};
use crate::imds::Metadata;
use crate::imds::Service;
use crate::units::wait;
use clap::Args;
use std::time::{Duration, Instant};

/// See the module.
#[derive(Clone, Debug, Args)]
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

    /// Where to look for notices that this machine will be taken back (exit code 5): the instance metadata service, `auto` for the
    /// usual one if it is there within a second, `off`
    #[arg(long, env = "RECODE_METADATA", default_value = "auto", value_name = "URL|auto|off", value_parser = metadata)]
    metadata: Metadata,

    /// How often to look there
    #[arg(long, env = "RECODE_METADATA_POLL", default_value = "5s", value_name = "TIME", value_parser = poll)]
    metadata_poll: Duration,
}

fn metadata(text: &str) -> Result<Metadata, String> {
    Ok(match text {
        "off" => Metadata::Off,
        "auto" => Metadata::Auto,
        url => {
            Service::at(url).map_err(|error| error.to_string())?;
            Metadata::At(url.to_owned())
        }
    })
}

fn poll(text: &str) -> Result<Duration, String> {
    let every = wait(text)?;
    match every < Duration::from_millis(10) {
        true => Err("look there every 10ms at most".to_owned()),
        false => Ok(every),
    }
}

impl Flags {
    /// When the node leaves of its own accord.
    pub fn habits(&self) -> Habits {
        Habits {
            idle_exit: self.idle_exit,
            exit_when_drained: self.exit_when_drained,
            waits_for_disk: true,
            lookout: Lookout {
                metadata: self.metadata.clone(),
                every: self.metadata_poll,
            },
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
