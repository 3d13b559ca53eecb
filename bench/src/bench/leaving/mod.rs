//! `leaving`: what becomes of the work of nodes whose machines are taken back, and of nodes whose disk is small.

mod budget;
mod cluster;
mod spot;
mod work;

use super::Deadline;
use crate::figure::Sheet;
use crate::tools::Tools;
use anyhow::{Result, bail};
use std::path::Path;

/// What is measured.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Wanted {
    /// Machines that are taken back while they encode
    #[arg(long)]
    spot: bool,
    /// Notices
    #[arg(long, default_value_t = 100)]
    notices: u32,
    /// Time between a notice and the end of its machine, in seconds
    #[arg(long, default_value_t = 10)]
    notice_seconds: u64,
    /// Seed of who gets notice when
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A node that may use little scratch
    #[arg(long)]
    budget: bool,
    /// How little, in megabytes
    #[arg(long, default_value_t = 1000)]
    budget_mb: u64,
    /// Megabytes that it is to read and write
    #[arg(long, default_value_t = 20_000)]
    work_mb: u64,
}

/// Measures.
/// # Errors
/// Nothing was asked for, the cluster does not come up, or a job fails.
pub fn run(
    tools: &Tools,
    clip: &Path,
    wanted: Wanted,
    deadline: Deadline,
    sheet: &mut Sheet,
) -> Result<()> {
    if !wanted.spot && !wanted.budget {
        bail!("say what to measure: --spot, --budget");
    }
    if wanted.spot {
        spot::run(tools, clip, wanted, deadline, sheet)?;
    }
    if wanted.budget {
        budget::run(tools, wanted, deadline, sheet)?;
    }
    Ok(())
}
