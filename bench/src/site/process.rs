//! One process of a cluster, which may be killed, stopped for a while and started again.

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal};
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A process, ended when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// What it says, appended to what those before it said.
    log: PathBuf,
}

impl Process {
    /// Starts it.
    /// # Errors
    /// The system refuses.
    pub fn start(mut command: Command, log: PathBuf) -> Result<Self> {
        let file = File::options().create(true).append(true).open(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
        Ok(Self { child, log })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        // Not reaped yet, or the standard library would not have it: the number is still its own.
        Ok(rustix::process::kill_process(
            Pid::from_child(&self.child),
            signal,
        )?)
    }

    /// How it ended, where it has.
    /// # Errors
    /// What the system said.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// kill -9. `false`: it had ended before.
    /// # Errors
    /// What the system said.
    pub fn kill(&mut self) -> Result<bool> {
        if self.ended()?.is_some() {
            return Ok(false);
        }
        self.child.kill()?;
        self.child.wait()?;
        Ok(true)
    }

    /// SIGSTOP. `false`: it had ended before.
    /// # Errors
    /// What the system said.
    pub fn pause(&mut self) -> Result<bool> {
        if self.ended()?.is_some() {
            return Ok(false);
        }
        self.signal(Signal::STOP)?;
        Ok(true)
    }

    /// Whether it is stopped now, as the kernel says.
    pub fn is_paused(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()));
        stat.is_ok_and(|stat| {
            // The program's name may hold anything, brackets too.
            stat.rsplit_once(") ")
                .is_some_and(|(_, rest)| rest.starts_with('T'))
        })
    }

    /// SIGCONT.
    /// # Errors
    /// What the system said.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Asks it to end, and makes it end after `patience`.
    /// # Errors
    /// What the system said.
    pub fn stop(&mut self, patience: Duration) -> Result<()> {
        if self.ended()?.is_none() {
            self.signal(Signal::TERM)?;
        }
        let asked = Instant::now();
        while self.ended()?.is_none() {
            if asked.elapsed() > patience {
                self.child.kill()?;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The last lines it said.
    pub fn last_words(&self) -> String {
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(3)..].join(" / ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended cannot be killed, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
