//! `control-plane`: what the coordinators bear. They are real processes with real logs and default timings; nodes and clients
//! are those of this process, over real gRPC, and their encoders need no time.

pub mod calm;
pub mod failover;
pub mod film;
pub mod herd;
pub mod large_job;
pub mod latency;
pub mod log_size;
pub mod nodes;
pub mod processes;
pub mod rate;
pub mod restore;
pub mod writer;

use super::Deadline;
use crate::figure::Sheet;
use crate::tools::{self, Tools};
use anyhow::Result;
use film::Film;
use processes::PATIENCE;
use recode_mesh::Jobs;
use recode_mesh::retry::retry;
use recode_types::JobId;

/// What is measured, in this order. Nothing asked for: the rate.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Wanted {
    /// Transitions a second, and how long each takes at half the highest rate; so many rounds
    #[arg(long, value_name = "ROUNDS")]
    rate: Option<usize>,
    /// kill -9 of the leader, so many times, under a writer every 20 ms
    #[arg(long, value_name = "KILLS")]
    failover: Option<usize>,
    /// Elections without a fault during so many minutes of real encodes on all cores
    #[arg(long, value_name = "MINUTES")]
    calm: Option<f64>,
    /// One job of 100,000 segments in 10 renditions
    #[arg(long)]
    large_job: bool,
    /// A million tasks restored from snapshot and log, so many times
    #[arg(long, value_name = "TIMES")]
    restore: Option<usize>,
    /// 1,000 nodes and 300 clients through so many failovers
    #[arg(long, value_name = "ROUNDS")]
    herd: Option<usize>,
    /// Segments of the large job, for a quick look
    #[arg(long, value_name = "N", default_value_t = large_job::FILM.segments)]
    segments: u32,
}

impl Wanted {
    fn asks_for_nothing(&self) -> bool {
        let counts = [self.rate, self.failover, self.restore, self.herd];
        counts.iter().all(Option::is_none) && self.calm.is_none() && !self.large_job
    }
}

/// Hands in a film.
async fn submit(jobs: &Jobs, id: &str, film: Film) -> Result<JobId> {
    let request = film.request();
    let (job, _) = retry(PATIENCE, || jobs.submit(id, &request)).await?;
    Ok(job)
}

/// Measures what is wanted.
pub fn run(wanted: &Wanted, deadline: Deadline, sheet: &mut Sheet) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(measure(wanted, deadline, sheet))
}

async fn measure(wanted: &Wanted, deadline: Deadline, sheet: &mut Sheet) -> Result<()> {
    let rounds = wanted.rate.or(wanted.asks_for_nothing().then_some(1));
    if let Some(rounds) = rounds {
        rate::run(rounds, deadline, sheet).await?;
    }
    if let Some(kills) = wanted.failover {
        failover::run(kills, deadline, sheet).await?;
    }
    if let Some(minutes) = wanted.calm {
        let clip = tools::media("samples/sintel_trailer_720p24.mp4")?;
        calm::run(&Tools::find()?, &clip, minutes, sheet).await?;
    }
    let film = Film {
        segments: wanted.segments,
        ..large_job::FILM
    };
    if wanted.large_job {
        large_job::run(film, sheet).await?;
    }
    if let Some(times) = wanted.restore {
        restore::run(film, times, sheet).await?;
    }
    if let Some(rounds) = wanted.herd {
        herd::run(rounds, deadline, sheet).await?;
    }
    Ok(())
}
