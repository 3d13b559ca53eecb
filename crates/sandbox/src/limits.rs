//! Resource limits of one child process.

use rustix::process::{Resource, Rlimit};

/// Resource limits. `None`: as the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest file it may write, in bytes.
    pub file_bytes: Option<u64>,
    /// Address space in bytes. FFmpeg reserves far more than it uses, so leave ample room.
    pub memory_bytes: Option<u64>,
    /// CPU seconds, user and system.
    pub cpu_seconds: Option<u64>,
    /// Open descriptors.
    pub descriptors: Option<u64>,
}

impl Default for Limits {
    /// Descriptors only: FFmpeg needs few.
    fn default() -> Self {
        Self {
            file_bytes: None,
            memory_bytes: None,
            cpu_seconds: None,
            descriptors: Some(256),
        }
    }
}

impl Limits {
    /// Sets them for the calling process, never above what it was given itself. No core is ever dumped. Makes system calls
    /// only, so it may run between fork and exec.
    /// # Errors
    /// What the system said.
    pub fn apply(self) -> rustix::io::Result<()> {
        let limits = [
            (Resource::Core, Some(0)),
            (Resource::Fsize, self.file_bytes),
            (Resource::As, self.memory_bytes),
            (Resource::Cpu, self.cpu_seconds),
            (Resource::Nofile, self.descriptors),
        ];
        for (resource, limit) in limits {
            if let Some(limit) = limit {
                let most = rustix::process::getrlimit(resource).maximum;
                let limit = most.map_or(limit, |most| limit.min(most));
                let limit = Rlimit {
                    current: Some(limit),
                    maximum: Some(limit),
                };
                rustix::process::setrlimit(resource, limit)?;
            }
        }
        Ok(())
    }
}
