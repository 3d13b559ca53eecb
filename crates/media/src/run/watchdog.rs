//! Tells a hanging child from a slow one.
//!
//! Evidence of life: a report that differs from the last, or a megabyte read or written (moving the index of a large MP4
//! to its front takes minutes without any report). CPU time is weak evidence, since an endless loop burns it, too: an encoder
//! that looks ahead over large pictures on a busy machine reports nothing for minutes, so who computes gets more time.

use super::plain;
use recode_types::task::{Failure, FailureClass};
use std::collections::VecDeque;
use std::time::Duration;

const STEPS: usize = 64;
const IO_BYTES: u64 = 1 << 20;

/// Who has used at least one part in so many of the silent time on a CPU is not waiting for something that never comes. A
/// share of a crowded machine is small; a process that waits uses none.
const BUSY_PART: u32 = 50;

/// How many times longer silence is borne from who computes.
const BUSY_PATIENCE: u32 = 20;

#[derive(Debug)]
pub(super) struct Watchdog {
    pid: rustix::process::Pid,
    patience: Duration,
    wall: Option<Duration>,
    steps: u64,
    io_bytes: u64,
    /// CPU time used at the last sign of life.
    cpu: Duration,
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
            cpu: Duration::ZERO,
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
        self.judge(now, steps, io_bytes(self.pid), cpu_time(self.pid))
    }

    fn judge(
        &mut self,
        now: Duration,
        steps: u64,
        io_bytes: u64,
        cpu: Duration,
    ) -> Option<Failure> {
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
            self.cpu = cpu;
            return None;
        }
        let mut gaps: Vec<Duration> = self.gaps.iter().copied().collect();
        gaps.sort_unstable();
        let usual = gaps.get(gaps.len() / 2).copied().unwrap_or_default();
        let silent = now - self.alive;
        let mut patience = self.patience.max(usual * 10);
        if cpu.saturating_sub(self.cpu) >= silent / BUSY_PART {
            patience *= BUSY_PATIENCE;
        }
        (silent > patience).then(|| {
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

/// CPU time the process has used so far; zero where the system does not tell.
fn cpu_time(pid: rustix::process::Pid) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    let ticks = cpu_ticks(&stat.unwrap_or_default()).unwrap_or(0);
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// User and system time out of `/proc/PID/stat`: the 14th and 15th field, where the second may hold anything in brackets.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
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
        assert_eq!(dog.judge(s(1), 1, 0, s(0)), None);
        assert_eq!(dog.judge(s(31), 1, 0, s(0)), None);
        let failure = dog.judge(s(32), 1, 0, s(0)).unwrap();
        assert_eq!(failure.class, FailureClass::Killed);
        assert!(failure.message.contains("no progress for 31 s"));
    }

    #[test]
    fn slow_steps_and_plain_reading_and_writing_are_life() {
        let mut dog = watchdog(None);
        for step in 1..10 {
            assert_eq!(dog.judge(s(20 * step), step, 0, s(0)), None);
        }
        assert_eq!(dog.judge(s(180 + 200), 9, 0, s(0)), None);
        assert!(dog.judge(s(180 + 201), 9, 0, s(0)).is_some());
        let mut dog = watchdog(None);
        for second in 1..100 {
            assert_eq!(dog.judge(s(second), 0, second * IO_BYTES, s(0)), None);
        }
    }

    #[test]
    fn who_computes_gets_more_time_but_not_for_ever() {
        let mut dog = watchdog(None);
        assert_eq!(dog.judge(s(1), 1, 0, s(1)), None);
        // A fiftieth of the time on a crowded machine.
        assert_eq!(dog.judge(s(101), 1, 0, s(3)), None);
        assert_eq!(dog.judge(s(600), 1, 0, s(500)), None);
        assert!(dog.judge(s(602), 1, 0, s(500)).is_some());
        // One that computed and then waits.
        let mut dog = watchdog(None);
        assert_eq!(dog.judge(s(1), 1, 0, s(100)), None);
        assert!(dog.judge(s(32), 1, 0, s(100)).is_some());
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 31 0 0 20 0";
        assert_eq!(cpu_ticks(stat), Some(281));
        assert_eq!(cpu_ticks(""), None);
    }

    #[test]
    fn the_wall_limit_holds_whatever_is_reported() {
        let mut dog = watchdog(Some(s(60)));
        assert_eq!(dog.judge(s(60), 1, 0, s(0)), None);
        assert!(
            dog.judge(s(61), 2, 0, s(0))
                .unwrap()
                .message
                .contains("longer than 60 s")
        );
    }
}
