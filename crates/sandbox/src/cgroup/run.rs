//! The group of one run: what a program and all it starts are held in.

use super::folder::{Counted, Folder, Limits};
use super::place::{Use, Version};
use rustix::fs::{Mode, OFlags};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// What a run was short of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// It wanted more memory than it may have, and the kernel killed it.
    Memory {
        /// Bytes that it may have.
        limit_bytes: u64,
    },
    /// The kernel killed it since there was no memory left outside of it: on the machine, or in a group around the node.
    MemoryAround,
    /// It wanted more processes and threads than it may have.
    Tasks {
        /// How many those are.
        limit: u64,
    },
}

impl fmt::Display for Shortage {
    /// As a clause about it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { limit_bytes } => {
                let limit = *limit_bytes as f64 / 1e6;
                write!(
                    f,
                    "needed more than the {limit:.0} MB of memory that it may have"
                )
            }
            Self::MemoryAround => f.write_str("was ended since the machine ran out of memory"),
            Self::Tasks { limit } => {
                write!(
                    f,
                    "wanted more than the {limit} processes and threads that it may have"
                )
            }
        }
    }
}

/// See the module. Whatever is left in it when it is dropped is killed, and the group removed; that may take a moment.
#[derive(Debug)]
pub struct RunGroup {
    folders: Vec<Folder>,
    limits: Limits,
    /// Files of trees of the first version: who writes `0` into one enters.
    entrances: Vec<File>,
    /// The folder in the tree of the second version.
    unified: Option<OwnedFd>,
    procs: Option<File>,
}

impl RunGroup {
    /// Makes it, in each tree.
    /// # Errors
    /// What the system said; nothing is left.
    pub(super) fn make(folders: Vec<Folder>, limits: Limits) -> io::Result<Self> {
        // From here on what was made is removed whatever happens.
        let mut made = Self {
            folders: Vec::with_capacity(folders.len()),
            limits,
            entrances: Vec::new(),
            unified: None,
            procs: None,
        };
        for folder in folders {
            fs::create_dir(&folder.path)?;
            made.folders.push(folder);
            let folder = made.folders.last().expect("just put there");
            folder.limit(limits)?;
            let open = |file: &str| File::options().write(true).open(folder.path.join(file));
            match folder.version {
                // Through this file a process with one thread enters in less than 0.1 ms; through `cgroup.procs` the kernel
                // waits until no process of the whole machine is between two groups, which took 14 ms (Linux 6.18).
                Version::One => made.entrances.push(open("tasks")?),
                Version::Two => {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                    made.unified = Some(rustix::fs::open(&folder.path, flags, Mode::empty())?);
                    made.procs = Some(open("cgroup.procs")?);
                }
            }
        }
        Ok(made)
    }

    /// Has the process that `command` starts begin in here; the group has to live until it was started. `has_helper`: that is the
    /// helper, which is told [`RunGroup::unified`] and puts its program there.
    pub fn admit(&self, command: &mut Command, has_helper: bool) {
        let entrances = self.entrances(has_helper);
        let kept = self.unified().filter(|_| has_helper);
        // SAFETY: the closure runs in the child between fork and exec, makes system calls only, and the group holds the
        // descriptors across the fork.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(move || {
                for entrance in &entrances {
                    rustix::io::write(BorrowedFd::borrow_raw(*entrance), b"0")?;
                }
                if let Some(kept) = kept {
                    let kept = BorrowedFd::borrow_raw(kept);
                    rustix::io::fcntl_setfd(kept, rustix::io::FdFlags::empty())?;
                }
                Ok(())
            });
        }
    }

    /// Descriptors of files into which a process with one thread writes `0` to enter.
    pub(super) fn entrances(&self, has_helper: bool) -> Vec<RawFd> {
        let procs = self.procs.as_ref().filter(|_| !has_helper);
        let files = self.entrances.iter().chain(procs);
        files.map(File::as_raw_fd).collect()
    }

    /// For [`crate::Profile::group`].
    pub fn unified(&self) -> Option<RawFd> {
        self.unified.as_ref().map(OwnedFd::as_raw_fd)
    }

    /// Ends all that is in it, without waiting; where the kernel has no word for that, [`RunGroup::end`] does it.
    pub fn kill(&self) {
        for folder in &self.folders {
            folder.kill_at_once();
        }
    }

    /// Ends what is left in it and removes it. Answers what it was short of. Blocks, as a rule for less than a millisecond.
    pub fn end(mut self) -> Option<Shortage> {
        let counted = self.folders.iter().map(Folder::counted);
        let counted = counted.fold(Counted::default(), |a, b| Counted {
            killed: a.killed + b.killed,
            refused_memory: a.refused_memory + b.refused_memory,
            refused_tasks: a.refused_tasks + b.refused_tasks,
        });
        self.remove();
        short_of(counted, self.limits)
    }

    /// Whether it is empty afterwards.
    pub(super) fn remove(&mut self) -> bool {
        let kills = |folder: &&Folder| folder.uses.contains(&Use::Kill);
        let killer = self.folders.iter().find(kills).or(self.folders.first());
        let is_empty = killer.is_none_or(Folder::empty);
        for folder in std::mem::take(&mut self.folders) {
            // What the kernel does not let go of is removed with the node's own group, by the next node.
            let _ = folder.remove();
        }
        is_empty
    }

    pub(super) fn counted(&self, one: Use) -> Counted {
        let folder = self
            .folders
            .iter()
            .find(|folder| folder.uses.contains(&one));
        folder.map(Folder::counted).unwrap_or_default()
    }
}

impl Drop for RunGroup {
    fn drop(&mut self) {
        self.remove();
    }
}

fn short_of(counted: Counted, limits: Limits) -> Option<Shortage> {
    match counted {
        Counted {
            killed: 1..,
            refused_memory: 1..,
            ..
        } => Some(Shortage::Memory {
            limit_bytes: limits.memory_bytes,
        }),
        Counted { killed: 1.., .. } => Some(Shortage::MemoryAround),
        Counted {
            refused_tasks: 1.., ..
        } => Some(Shortage::Tasks {
            limit: limits.tasks,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_killed_at_its_own_limit_is_told_from_who_was_in_the_way() {
        let check = |killed, refused_memory, refused_tasks, said: Option<&str>| {
            let counted = Counted {
                killed,
                refused_memory,
                refused_tasks,
            };
            let limits = Limits {
                memory_bytes: 256_000_000,
                tasks: 99,
            };
            let shortage = short_of(counted, limits).map(|s| s.to_string());
            assert_eq!(shortage.as_deref(), said);
        };
        check(0, 0, 0, None);
        // At its limit the kernel first takes back what was read from files.
        check(0, 9, 0, None);
        check(
            1,
            9,
            3,
            Some("needed more than the 256 MB of memory that it may have"),
        );
        check(
            1,
            0,
            0,
            Some("was ended since the machine ran out of memory"),
        );
        check(
            0,
            9,
            3,
            Some("wanted more than the 99 processes and threads that it may have"),
        );
    }
}
