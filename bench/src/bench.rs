//! The measurements, one per file. Each takes what it needs and adds its figures to a sheet.

pub mod chaos;
pub mod control_plane;
pub mod crash;
pub mod hostile;
pub mod leaving;
pub mod links;
pub mod many_chunks;
pub mod mesh;
pub mod mixed;
pub mod overhead;
pub mod peers;
pub mod predict;
pub mod quality;
pub mod rate;
pub mod s3_bytes;
pub mod s3_faults;
pub mod same_bytes;
pub mod sandbox_cost;
pub mod score_cost;
pub mod score_exact;
pub mod unequal;
pub mod versus;

use std::time::{Duration, Instant};

/// When a measurement stops to begin new runs.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// That many minutes from now; `None`: never.
    pub fn after(minutes: Option<f64>) -> Self {
        Self(minutes.map(|minutes| Instant::now() + Duration::from_secs_f64(minutes * 60.0)))
    }

    /// Whether it is over.
    pub fn passed(&self) -> bool {
        self.0.is_some_and(|end| Instant::now() >= end)
    }
}
