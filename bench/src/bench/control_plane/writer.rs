//! A client that has a write every 20 ms.

use super::film::Film;
use anyhow::{Result, bail, ensure};
use recode_mesh::{Jobs, Leader};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Between two writes.
const EVERY: Duration = Duration::from_millis(20);
/// Jobs that are asked for in turn: a request that is known is written to the log as well, and adds nothing to the state.
const REQUESTS: u64 = 200;
/// How long a gap may be before it is none.
const LONGEST: Duration = Duration::from_secs(30);

/// Writes, and remembers when a write was last acknowledged.
pub struct Writer {
    acknowledged: Arc<Mutex<Vec<Instant>>>,
    _tasks: JoinSet<()>,
}

impl Writer {
    /// Starts to write to the cluster at `endpoints`.
    pub fn start(endpoints: &str) -> Result<Self> {
        let jobs = Jobs::new(Leader::at(endpoints)?);
        let acknowledged = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let told = acknowledged.clone();
        tasks.spawn(async move {
            let mut tick = tokio::time::interval(EVERY);
            let mut writes = JoinSet::new();
            for number in 0u64.. {
                tick.tick().await;
                let (jobs, told) = (jobs.clone(), told.clone());
                // One does not wait for the other, so that a write that hangs is not taken for a gap.
                writes.spawn(async move {
                    let id = format!("write {}", number % REQUESTS);
                    // There is no such film: the job ends as soon as somebody looks.
                    let film = Film {
                        segments: 1,
                        renditions: 1,
                    };
                    let mut request = film.request();
                    request.source = "file:///made-up/none".into();
                    if jobs.submit(&id, &request).await.is_ok() {
                        told.lock()
                            .expect("nothing panics with it")
                            .push(Instant::now());
                    }
                });
                while writes.try_join_next().is_some() {}
            }
        });
        Ok(Self {
            acknowledged,
            _tasks: tasks,
        })
    }

    /// When a write was last acknowledged.
    pub fn last(&self) -> Option<Instant> {
        self.acknowledged().last().copied()
    }

    fn acknowledged(&self) -> MutexGuard<'_, Vec<Instant>> {
        self.acknowledged.lock().expect("nothing panics with it")
    }

    /// Waits until writes are acknowledged as they are asked for: without one before it, a gap has no beginning.
    pub async fn regular(&self, patience: Duration) -> Result<()> {
        let started = Instant::now();
        loop {
            tokio::time::sleep(EVERY).await;
            if regular(&self.acknowledged(), Instant::now()) {
                return Ok(());
            }
            ensure!(
                started.elapsed() < patience,
                "writes are not acknowledged regularly within {patience:?}"
            );
        }
    }

    /// The longest pause between two acknowledged writes since `moment`.
    pub fn longest_pause(&self, moment: Instant) -> Duration {
        let acknowledged = self.acknowledged();
        let from = acknowledged.partition_point(|at| *at < moment);
        let pauses = acknowledged[from..].windows(2).map(|p| p[1] - p[0]);
        pauses.max().unwrap_or_default()
    }

    /// The longest time without an acknowledged write in which `moment` lies, in seconds. Acknowledgements that were under way
    /// may arrive after the moment, so this waits until writes are regular again. Ends with what `check` says is wrong.
    pub async fn gap_after(
        &self,
        moment: Instant,
        mut check: impl FnMut() -> Result<()>,
    ) -> Result<f64> {
        loop {
            tokio::time::sleep(EVERY).await;
            check()?;
            if moment.elapsed() > LONGEST {
                let since = self.last().map(|last| last.elapsed());
                bail!(
                    "writes were to pause and to go on after the leader was killed; within {LONGEST:?} the longest pause was \
                     {:?}, and the last write was taken {since:?} ago",
                    self.longest_pause(moment)
                );
            }
            if let Some(gap) = gap(&self.acknowledged(), moment) {
                return Ok(gap.as_secs_f64());
            }
        }
    }
}

/// Acknowledgements after a gap that show it to be over.
const REGULAR: usize = 10;

/// How long writes are watched before a Leader is killed under them.
const WATCHED: Duration = Duration::from_secs(1);

/// A gap is at least so long: what is shorter happens without any failure.
const LEAST: Duration = Duration::from_millis(300);

/// For one [`WATCHED`] no pause is as long as a gap.
fn regular(acknowledged: &[Instant], now: Instant) -> bool {
    let watched = acknowledged.partition_point(|at| now.duration_since(*at) > WATCHED);
    let last = &acknowledged[watched.saturating_sub(1)..];
    let pauses = last.windows(2).map(|pair| pair[1] - pair[0]);
    let open = last.last().map_or(WATCHED, |at| now.duration_since(*at));
    watched > 0 && pauses.chain([open]).all(|pause| pause < LEAST)
}

/// The longest pause between acknowledgements from the last one before `moment` on; `None`: it is not over yet.
fn gap(acknowledged: &[Instant], moment: Instant) -> Option<Duration> {
    let from = acknowledged
        .partition_point(|at| *at <= moment)
        .checked_sub(1)?;
    let pauses = acknowledged[from..]
        .windows(2)
        .map(|pair| pair[1] - pair[0]);
    let (at, longest) = pauses.enumerate().max_by_key(|(_, pause)| *pause)?;
    let after = acknowledged.len() - (from + at + 1);
    (longest >= LEAST && after >= REGULAR).then_some(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_regular_after_a_second_without_a_gap() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert!(!regular(&[], at(5000)), "nothing was written");
        let acknowledged: Vec<Instant> = (0..60).map(|i| at(20 * i)).collect();
        assert!(
            !regular(&acknowledged[..40], at(790)),
            "not for a second yet"
        );
        assert!(regular(&acknowledged, at(1190)));
        assert!(!regular(&acknowledged, at(1500)), "it has stopped");
        let mut paused = acknowledged.clone();
        paused.drain(20..40);
        assert!(!regular(&paused, at(1190)), "a gap within the second");
    }

    #[test]
    fn the_gap_is_the_pause_after_a_moment_once_writes_are_regular_again() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut acknowledged: Vec<Instant> = (0..10).map(|i| at(20 * i)).collect();
        let moment = at(185);
        assert_eq!(gap(&acknowledged, moment), None);
        // One that was under way.
        acknowledged.push(at(190));
        acknowledged.extend((0..9).map(|i| at(2000 + 20 * i)));
        assert_eq!(gap(&acknowledged, moment), None);
        acknowledged.push(at(2200));
        assert_eq!(
            gap(&acknowledged, moment),
            Some(Duration::from_millis(1810))
        );
    }
}
