//! One control group in one tree: a folder whose files are its limits, its counters and its members.

use super::place::{Use, Version};
use rustix::process::{Pid, Signal};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the kernel may take to end the members of a group, and to let go of them.
const EMPTYING: Duration = Duration::from_secs(5);
/// How long it may take to freeze them.
const FREEZING: Duration = Duration::from_millis(50);
/// Between two looks at what the kernel is still doing.
const LOOK: Duration = Duration::from_millis(1);

/// What the members of a group may use together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Memory in bytes, without any swap.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub tasks: u64,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folder {
    pub version: Version,
    pub path: PathBuf,
    pub uses: BTreeSet<Use>,
}

/// What its counters tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Members that the kernel killed for want of memory.
    pub killed: u64,
    /// How often its members wanted more memory than they may have.
    pub refused_memory: u64,
    /// How often they wanted more processes or threads.
    pub refused_tasks: u64,
}

impl Folder {
    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        fs::write(self.path.join(file), text)
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path.join(file)).unwrap_or_default()
    }

    /// Sets its limits.
    /// # Errors
    /// The kernel does not take one.
    pub fn limit(&self, limits: Limits) -> io::Result<()> {
        for (file, limit, there) in self.limits(limits) {
            if there || self.path.join(file).exists() {
                self.write(file, &limit.to_string())?;
            }
        }
        Ok(())
    }

    /// Files and what to write into them, and whether every kernel has them: swap is counted by some only.
    fn limits(&self, limits: Limits) -> Vec<(&'static str, u64, bool)> {
        let mut files = Vec::new();
        let memory = limits.memory_bytes;
        if self.uses.contains(&Use::Memory) {
            // Without swap: who is slow for it helps nobody. The limit that the first version has for both together does not
            // count how often it is met (Linux 6.18), so there the group is told not to swap.
            files.extend(match self.version {
                Version::One => [
                    ("memory.limit_in_bytes", memory, true),
                    ("memory.swappiness", 0, false),
                ],
                Version::Two => [("memory.max", memory, true), ("memory.swap.max", 0, false)],
            });
        }
        if self.uses.contains(&Use::Tasks) {
            files.push(("pids.max", limits.tasks, true));
        }
        files
    }

    /// What happened in it so far.
    pub fn counted(&self) -> Counted {
        let mut counted = Counted::default();
        if self.uses.contains(&Use::Memory) {
            (counted.killed, counted.refused_memory) = match self.version {
                Version::One => (
                    value(&self.read("memory.oom_control"), "oom_kill"),
                    number(&self.read("memory.failcnt")),
                ),
                Version::Two => {
                    let events = self.read("memory.events");
                    (value(&events, "oom_kill"), value(&events, "max"))
                }
            };
        }
        if self.uses.contains(&Use::Tasks) {
            counted.refused_tasks = value(&self.read("pids.events"), "max");
        }
        counted
    }

    /// Its processes, as far as they can be seen from here.
    pub fn members(&self) -> Vec<Pid> {
        let listed = self.read("cgroup.procs");
        let pids = listed.lines().filter_map(|line| line.parse().ok());
        pids.filter_map(Pid::from_raw).collect()
    }

    /// Ends every process in it, and waits for that. `false`: some are left.
    pub fn empty(&self) -> bool {
        let begin = Instant::now();
        while !self.members().is_empty() {
            if begin.elapsed() > EMPTYING {
                return false;
            }
            self.kill();
            std::thread::sleep(LOOK);
        }
        true
    }

    /// Ends every process in it without waiting, where the kernel has one word for that.
    pub fn kill_at_once(&self) -> bool {
        self.version == Version::Two && self.write("cgroup.kill", "1").is_ok()
    }

    /// One that forks faster than it is killed has to be frozen first.
    fn kill(&self) {
        if self.kill_at_once() {
            return;
        }
        let freezes = self.uses.contains(&Use::Kill);
        let (file, frozen, thawed) = match self.version {
            Version::One => ("freezer.state", "FROZEN", "THAWED"),
            Version::Two => ("cgroup.freeze", "1", "0"),
        };
        if freezes && self.write(file, frozen).is_ok() {
            let begin = Instant::now();
            while !self.is_frozen() && begin.elapsed() < FREEZING {
                std::thread::sleep(LOOK);
            }
        }
        for pid in self.members() {
            // Only "no such process" is possible here.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        if freezes {
            // The killed die when they may run again.
            let _ = self.write(file, thawed);
        }
    }

    fn is_frozen(&self) -> bool {
        match self.version {
            Version::One => self.read("freezer.state").trim() == "FROZEN",
            Version::Two => value(&self.read("cgroup.events"), "frozen") == 1,
        }
    }

    /// Removes it, with all processes and all groups in it.
    /// # Errors
    /// The kernel does not let go of it.
    pub fn remove(&self) -> io::Result<()> {
        remove(&self.path, |path| {
            let below = Self {
                path: path.to_owned(),
                ..self.clone()
            };
            below.empty();
        })
    }
}

/// Removes a folder of groups from the bottom up.
fn remove(path: &Path, empty: impl Fn(&Path) + Copy) -> io::Result<()> {
    for below in fs::read_dir(path)?.flatten() {
        if below.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&below.path(), empty)?;
        }
    }
    let begin = Instant::now();
    loop {
        match fs::remove_dir(path) {
            // A process that has just ended is let go of a moment later.
            Err(e) if e.raw_os_error() == Some(libc::EBUSY) && begin.elapsed() < EMPTYING => {
                empty(path);
                std::thread::sleep(LOOK);
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            done => return done,
        }
    }
}

/// The number after a word, in a list of lines; 0 where there is none.
fn value(list: &str, word: &str) -> u64 {
    let mut lines = list.lines().filter_map(|line| line.split_once(' '));
    let found = lines.find(|(name, _)| *name == word);
    found.map_or(0, |(_, text)| number(text))
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(version: Version, path: &Path) -> Folder {
        Folder {
            version,
            path: path.to_owned(),
            uses: [Use::Memory, Use::Tasks, Use::Kill].into(),
        }
    }

    const LIMITS: Limits = Limits {
        memory_bytes: 1 << 30,
        tasks: 99,
    };

    #[test]
    fn limits_are_written_where_each_version_has_them() {
        let check = |version, swap: &str, expected: &[(&str, &str)]| {
            let dir = tempfile::tempdir().unwrap();
            let read = |file: &str| fs::read_to_string(dir.path().join(file)).ok();
            let folder = folder(version, dir.path());
            folder.limit(LIMITS).unwrap();
            assert_eq!(read(swap), None, "this kernel does not count swap");
            fs::write(dir.path().join(swap), "max").unwrap();
            folder.limit(LIMITS).unwrap();
            for (file, text) in expected {
                assert_eq!(read(file).as_deref(), Some(*text), "{file}");
            }
        };
        let memory = "1073741824";
        check(
            Version::Two,
            "memory.swap.max",
            &[
                ("memory.max", memory),
                ("memory.swap.max", "0"),
                ("pids.max", "99"),
            ],
        );
        check(
            Version::One,
            "memory.swappiness",
            &[
                ("memory.limit_in_bytes", memory),
                ("memory.swappiness", "0"),
                ("pids.max", "99"),
            ],
        );
        let dir = tempfile::tempdir().unwrap();
        let only_kills = Folder {
            uses: [Use::Kill].into(),
            ..folder(Version::Two, dir.path())
        };
        only_kills.limit(LIMITS).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn counters_are_read_as_each_version_writes_them() {
        let dir = tempfile::tempdir().unwrap();
        let put = |file: &str, text: &str| fs::write(dir.path().join(file), text).unwrap();
        let nothing = Counted::default();
        for version in [Version::One, Version::Two] {
            assert_eq!(folder(version, dir.path()).counted(), nothing);
        }
        put(
            "memory.events",
            "low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\noom_group_kill 0\n",
        );
        put(
            "memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
        );
        put("memory.failcnt", "12\n");
        put("pids.events", "max 4\n");
        let counted = |killed, refused_memory| Counted {
            killed,
            refused_memory,
            refused_tasks: 4,
        };
        assert_eq!(folder(Version::Two, dir.path()).counted(), counted(1, 7));
        assert_eq!(folder(Version::One, dir.path()).counted(), counted(3, 12));
    }

    #[test]
    fn members_are_those_that_can_be_seen() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(Version::Two, dir.path());
        assert!(folder.members().is_empty());
        fs::write(dir.path().join("cgroup.procs"), "12\n0\n7\n").unwrap();
        let raw = folder.members().into_iter().map(Pid::as_raw_nonzero);
        assert_eq!(raw.map(i32::from).collect::<Vec<_>>(), [12, 7]);
        assert!(folder.kill_at_once());
        let written = fs::read_to_string(dir.path().join("cgroup.kill"));
        assert_eq!(written.unwrap(), "1");
    }
}
