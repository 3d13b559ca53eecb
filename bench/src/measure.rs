//! Wall and CPU seconds of one child process.

use anyhow::{Context as _, Result, bail};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What one finished child cost.
#[derive(Clone, Debug)]
pub struct Run {
    /// Seconds from exec to exit.
    pub wall: f64,
    /// User and system seconds of the child and of all its descendants that were waited for, in steps of 10 ms.
    pub cpu: f64,
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Run {
    /// The last line a failed child said, for an error message.
    pub fn last_words(&self) -> &str {
        self.stderr
            .lines()
            .rev()
            .find(|line| !line.trim().is_empty())
            .unwrap_or("it said nothing")
    }

    /// The run itself, or an error when the child failed.
    pub fn succeeded(self, what: &str) -> Result<Self> {
        if self.code != Some(0) {
            bail!(
                "{what} failed ({}): {}",
                self.code
                    .map_or("by a signal".to_owned(), |code| format!("exit {code}")),
                self.last_words()
            );
        }
        Ok(self)
    }
}

/// Runs a child to its end. Children must be measured one after another: CPU seconds are those of every child that
/// ended meanwhile.
pub fn run(command: &mut Command) -> Result<Run> {
    let before = children_cpu()?;
    let started = Instant::now();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
    let wall = started.elapsed().as_secs_f64();
    Ok(Run {
        wall,
        cpu: children_cpu()? - before,
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// CPU seconds of this process's ended children, from the kernel. (The alternative, `getrusage`, is an unsafe call.)
fn children_cpu() -> Result<f64> {
    seconds_in("/proc/self/stat", OF_CHILDREN)
}

/// CPU seconds of a process so far, without those of its children.
/// # Errors
/// There is no such process.
pub fn cpu_of(pid: u32) -> Result<f64> {
    seconds_in(&format!("/proc/{pid}/stat"), OF_ITSELF)
}

fn seconds_in(path: &str, first: usize) -> Result<f64> {
    let stat = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    parse_ticks(&stat, first)
        .map(|ticks| ticks as f64 / TICKS_PER_SECOND)
        .with_context(|| format!("unexpected form of {path}"))
}

/// The kernel's user-visible clock: 100 on every Linux architecture recode builds for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Where user and system time of a process, and of its ended children, stand in `proc(5)` stat: fields 14 and 16, counted
/// from the last `)`, since the program's name may hold spaces and brackets.
const OF_ITSELF: usize = 11;
const OF_CHILDREN: usize = 13;

fn parse_ticks(stat: &str, first: usize) -> Option<u64> {
    let mut fields = stat[stat.rfind(')')? + 1..]
        .split_ascii_whitespace()
        .skip(first);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_an_odd_program_name() {
        let stat = "12 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 130 40 20 0 1";
        assert_eq!(parse_ticks(stat, OF_CHILDREN), Some(170));
        assert_eq!(parse_ticks(stat, OF_ITSELF), Some(23));
    }

    #[test]
    fn a_busy_child_costs_cpu_and_its_failure_is_told() {
        let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo oh no >&2; exit 3";
        let run = run(Command::new("sh").args(["-c", busy])).expect("sh runs");
        assert!(run.cpu > 0.0 && run.wall > 0.0, "{run:?}");
        let error = run.succeeded("sh").expect_err("exit 3").to_string();
        assert_eq!(error, "sh failed (exit 3): oh no");
    }
}
