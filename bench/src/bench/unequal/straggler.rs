//! One of eight nodes encodes at a tenth of the others' speed and says nothing of it.

use super::{Cluster, Wanted, accepted, flags, segments};
use crate::figure::Sheet;
use crate::plain;
use crate::tools::{self, Tools};
use anyhow::{Result, ensure};
use std::fs;
use std::time::{Duration, Instant};

/// Cores of each of the seven, and of the slow one: about one and a half cores together, so that nobody waits for the
/// machine rather than for its quota.
const FAST: f64 = 0.2;
const SLOW: f64 = 0.02;
const FAST_NODES: usize = 7;

/// Wanted length of a Segment.
const SEGMENT: &str = "2s";
/// Length of the film.
const SECONDS: f64 = 120.0;
/// How long a run may take.
const PATIENCE: Duration = Duration::from_secs(1200);

/// Measures wall time against (processor seconds / sum of speeds), and the processor time beyond that of accepted Chunks.
/// # Errors
/// A job fails, or the machine takes no control groups.
pub fn run(tools: &Tools, wanted: &Wanted, sheet: &mut Sheet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let seconds = wanted.seconds.unwrap_or(SECONDS);
    let looped = plain::looped(tools, &wanted.clip, seconds, folder.path())?;
    let source = folder.path().join("source.mp4");
    plain::head(tools, &looped, seconds, &source)?;
    let (mut walls, mut extras, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..wanted.runs {
        if wanted.deadline.passed() {
            break;
        }
        let folder = folder.path().join(run.to_string());
        fs::create_dir(&folder)?;
        let mut cluster = Cluster::start(tools, &folder)?;
        // The slow one has a number in the middle, so that no tie is broken for or against it.
        for node in 0..=FAST_NODES {
            cluster.join(if node == FAST_NODES / 2 { SLOW } else { FAST })?;
        }
        cluster.wait_for(FAST_NODES + 1)?;
        let before = cluster.cpu_seconds()?;
        let started = Instant::now();
        let job = cluster.submit(&source, &folder.join("output.mp4"), &flags(SEGMENT))?;
        while !cluster.is_done(job)? {
            ensure!(
                started.elapsed() < PATIENCE,
                "the job has not ended after {} s",
                PATIENCE.as_secs()
            );
            std::thread::sleep(Duration::from_millis(200));
        }
        let spent = cluster.cpu_seconds()? - before;
        let report = cluster.report(job)?;
        let bound = accepted(&report) / (FAST_NODES as f64 * FAST + SLOW);
        walls.push(report.wall_seconds / bound);
        extras.push(spent / accepted(&report) - 1.0);
        counts.push(segments(&report) as f64);
    }
    if !walls.is_empty() {
        let case = format!("{}, one of 8 at 10 %", tools::short_name(&wanted.clip));
        sheet.add(
            &case,
            "wall_ratio",
            "ratio",
            &walls,
            "CPU seconds / sum of speeds",
        );
        sheet.add(
            &case,
            "extra_cpu",
            "ratio",
            &extras,
            "CPU seconds of accepted Chunks",
        );
        sheet.add(&case, "segments", "count", &counts, "");
    }
    Ok(())
}
