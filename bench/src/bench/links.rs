//! `links`: clusters whose links are broken, as processes.
//!
//! ```text
//!   faults.rs        nodes on NATS only, whose server is killed, started again and flooded, against undisturbed outputs
//!   conformance.rs   the conformance suite of the mesh, by gRPC without NATS and by NATS alone
//!   gone.rs          all coordinators gone for a while in the middle of the work
//! ```

mod conformance;
mod faults;
mod gone;

use super::Deadline;
use super::chaos::check::{self, Found, Stored};
use super::chaos::clients::Told;
use super::chaos::jobs::{Request, local};
use super::chaos::keeper::Kept;
use crate::figure::Sheet;
use crate::site::{COORDINATORS, Site};
use crate::tools::Tools;
use anyhow::{Result, bail, ensure};
use recode_types::{Digest, JobId};
use std::fs;

/// What is measured.
#[derive(Clone, Debug, clap::Args)]
pub struct Wanted {
    /// Jobs on nodes that reach only NATS, whose server is killed, started again and flooded; and the conformance suite
    #[arg(long)]
    pub nats_faults: bool,
    /// All coordinators are killed in the middle of the work and come back later
    #[arg(long)]
    pub coordinator_gone: bool,
    /// Runs of each
    #[arg(long, default_value_t = 1)]
    pub runs: usize,
    /// Jobs of a run with faults of NATS
    #[arg(long, default_value_t = 50)]
    pub jobs: usize,
    /// How long the coordinators are gone
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub gone: u64,
    /// Seed of what is broken when
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Measures.
/// # Errors
/// The stage cannot be set, or nothing was asked for.
pub fn run(tools: &Tools, wanted: &Wanted, deadline: Deadline, sheet: &mut Sheet) -> Result<()> {
    if !wanted.nats_faults && !wanted.coordinator_gone {
        bail!("say what is to be broken: --nats-faults, --coordinator-gone, or both");
    }
    if wanted.nats_faults {
        conformance::run(tools, sheet)?;
        faults::run(tools, wanted, deadline, sheet)?;
    }
    if wanted.coordinator_gone {
        gone::run(tools, wanted, deadline, sheet)?;
    }
    Ok(())
}

/// Submits a job, which must be taken.
fn submit(site: &Site, request: Request) -> Result<Told> {
    let mut arguments = vec!["submit", "--request-id", &request.id];
    arguments.extend(request.arguments.iter().map(String::as_str));
    let submitted = site.ask(&arguments)?;
    ensure!(
        submitted.status.success(),
        "{} was not taken: {}",
        request.id,
        String::from_utf8_lossy(&submitted.stderr).trim()
    );
    let job: JobId = String::from_utf8(submitted.stdout)?.trim().parse()?;
    Ok(Told {
        job: Some(job),
        cancelled: false,
        request,
    })
}

/// Holds a cluster that has stopped against what was promised.
fn checked(site: &Site, told: &[Told], kept: &Kept) -> Result<Found> {
    let dumps: Vec<String> = (1..=COORDINATORS)
        .map(|coordinator| site.dump(coordinator))
        .collect::<Result<_>>()?;
    let found = check::check(
        &dumps,
        told,
        &Stored {
            object: &|key| kept.object(key),
            output: &|url| {
                let bytes = fs::read(local(url)).ok()?;
                Some((bytes.len() as u64, Digest::of(&bytes)))
            },
        },
    )?;
    for broken in found.broken() {
        eprintln!("BROKEN: {broken}");
    }
    Ok(found)
}

/// The counts that both kinds of runs must keep at nought.
fn add_found(sheet: &mut Sheet, case: &str, found: &[Found]) {
    let mut count = |metric, of: &dyn Fn(&Found) -> usize| {
        let values: Vec<f64> = found.iter().map(|one| of(one) as f64).collect();
        sheet.add(
            case,
            metric,
            "count",
            &values,
            "log dump and stored objects",
        );
    };
    count("jobs", &|found| found.jobs);
    count("chunks", &|found| found.chunks);
    count("attempts_repeated", &|found| found.repeated);
    count("jobs_lost", &|found| found.lost.len());
    count("segments_twice", &|found| found.twice.len());
    count("segments_missing", &|found| found.missing.len());
    count("objects_wrong", &|found| found.objects.len());
    count("logs_apart", &|found| found.logs.len());
}
