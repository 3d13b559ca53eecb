//! Tells a hanging child from a slow one.
//!
//! Evidence of life: a report that differs from the last, or a megabyte read or written (moving the index of a large MP4
//! to its front takes minutes without any report). CPU time is no evidence: an endless loop burns it, too.

use super::plain;
use recode_types::task::{Failure, FailureClass};
use std::collections::VecDeque;
use std::time::Duration;

const STEPS: usize = 64;
const IO_BYTES: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct Watchdog {
    pid: rustix::process::Pid,
    patience: Duration,
    wall: Option<Duration>,
    steps: u64,
    io_bytes: u64,
    alive: Duration,
    gaps: VecDeque<Duration>,
}

impl Watchdog {
    pub(super) fn new(
        pid: rustix::process::Pid,
        patience: Duration,
        wall: Option<Duration>,
    ) -> Self {
        Self {
            pid,
            patience,
            wall,
            steps: 0,
            io_bytes: 0,
            alive: Duration::ZERO,
            gaps: VecDeque::new(),
        }
    }

    /// How often to [`Watchdog::check`].
    pub(super) fn period(&self) -> Duration {
        let shortest = self.wall.map_or(self.patience, |w| w.min(self.patience));
        (shortest / 8).clamp(Duration::from_millis(20), Duration::from_secs(5))
    }

    /// `now` since the start, `steps` so far. Says why to kill the child, when it must be.
    pub(super) fn check(&mut self, now: Duration, steps: u64) -> Option<Failure> {
        let io = io_bytes(self.pid);
        self.judge(now, steps, io)
    }

    fn judge(&mut self, now: Duration, steps: u64, io_bytes: u64) -> Option<Failure> {
        if let Some(wall) = self.wall.filter(|&wall| now > wall) {
            let message = format!(
                "ffmpeg ran longer than {} s and was stopped",
                wall.as_secs_f64()
            );
            return Some(plain(FailureClass::Killed, message));
        }
        if steps != self.steps || io_bytes >= self.io_bytes + IO_BYTES {
            if self.gaps.len() == STEPS {
                self.gaps.pop_front();
            }
            self.gaps.push_back(now - self.alive);
            (self.steps, self.io_bytes, self.alive) = (steps, io_bytes, now);
            return None;
        }
        let mut gaps: Vec<Duration> = self.gaps.iter().copied().collect();
        gaps.sort_unstable();
        let usual = gaps.get(gaps.len() / 2).copied().unwrap_or_default();
        let silent = now - self.alive;
        (silent > self.patience.max(usual * 10)).then(|| {
            let message = format!(
                "ffmpeg made no progress for {} s and was stopped",
                silent.as_secs()
            );
            plain(FailureClass::Killed, message)
        })
    }
}

/// Bytes the process has read and written so far; 0 where the system does not tell.
fn io_bytes(pid: rustix::process::Pid) -> u64 {
    std::fs::read_to_string(format!("/proc/{}/io", pid.as_raw_nonzero()))
        .unwrap_or_default()
        .lines()
        .filter(|l| l.starts_with("rchar:") || l.starts_with("wchar:"))
        .filter_map(|l| l.split(' ').nth(1)?.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watchdog(wall: Option<Duration>) -> Watchdog {
        Watchdog::new(rustix::process::getpid(), Duration::from_secs(30), wall)
    }
    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn silence_ends_a_run_after_its_patience() {
        let mut dog = watchdog(None);
        assert_eq!(dog.judge(s(1), 1, 0), None);
        assert_eq!(dog.judge(s(31), 1, 0), None);
        let failure = dog.judge(s(32), 1, 0).unwrap();
        assert_eq!(failure.class, FailureClass::Killed);
        assert!(failure.message.contains("no progress for 31 s"));
    }

    #[test]
    fn slow_steps_and_plain_reading_and_writing_are_life() {
        let mut dog = watchdog(None);
        for step in 1..10 {
            assert_eq!(dog.judge(s(20 * step), step, 0), None);
        }
        assert_eq!(dog.judge(s(180 + 200), 9, 0), None);
        assert!(dog.judge(s(180 + 201), 9, 0).is_some());
        let mut dog = watchdog(None);
        for second in 1..100 {
            assert_eq!(dog.judge(s(second), 0, second * IO_BYTES), None);
        }
    }

    #[test]
    fn the_wall_limit_holds_whatever_is_reported() {
        let mut dog = watchdog(Some(s(60)));
        assert_eq!(dog.judge(s(60), 1, 0), None);
        assert!(
            dog.judge(s(61), 2, 0)
                .unwrap()
                .message
                .contains("longer than 60 s")
        );
    }
}
