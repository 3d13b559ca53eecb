//! Control groups: each run in one of its own, which limits the memory and the number of all its processes together and ends
//! them together.
//!
//! [`Places`] finds out where the node stands in the trees of either version; `Home` is the node's own group there, below which
//! each run gets a [`RunGroup`]; a trial shows that it works before anything relies on it. What a machine or a user may not have
//! is left out and said: process group and resource limits hold without.

mod folder;
mod home;
mod place;
mod run;
mod trial;

pub use folder::Limits;
pub use place::{Choice, Places, Use, Version};
pub use run::{RunGroup, Shortage};

use folder::Folder;
use home::Home;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What an operator wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// Groups below the node's own, as far as it may make any.
    #[default]
    Auto,
    /// None.
    Off,
    /// Groups below this one, which is a path below the mounts; without them the node does not start.
    At(PathBuf),
}

impl FromStr for Wish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            path if path.starts_with('/') && !path.contains("/..") => Ok(Self::At(path.into())),
            _ => Err("write auto, off, or the path of a control group, as in /recode".to_owned()),
        }
    }
}

/// The group that was named cannot be used; the text names it and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

/// The node's groups, if it has any. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Groups(Option<Arc<Shown>>);

#[derive(Debug)]
struct Shown {
    homes: Vec<Home>,
    /// What the node itself may use, by the groups around it.
    memory_bytes: Option<u64>,
    next: AtomicU64,
}

impl fmt::Display for Groups {
    /// What they serve for, for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(shown) = &self.0 else {
            return f.write_str("none");
        };
        let uses = shown.homes.iter().flat_map(|home| {
            let version = match home.folder.version {
                Version::One => "v1",
                Version::Two => "v2",
            };
            let uses = home.folder.uses.iter();
            uses.map(move |one| format!("{one} ({version})"))
        });
        f.write_str(&uses.collect::<Vec<_>>().join(", "))
    }
}

impl Groups {
    /// None: runs are held by process group and resource limits alone.
    pub fn off() -> Self {
        Self::default()
    }

    /// Finds out which groups this process may make, makes its own, and shows that they work. Blocks for some 30 ms. The second
    /// value says what could not be had and why, as a sentence without its end.
    ///
    /// In a tree of the second version this process may be moved into a group below its own.
    /// # Errors
    /// [`Error`]: the group that was named cannot be used.
    pub fn open(wish: &Wish) -> Result<(Self, Option<String>), Error> {
        let named = match wish {
            Wish::Off => return Ok((Self::off(), None)),
            Wish::Auto => None,
            Wish::At(path) => Some(path.as_path()),
        };
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let places = Places::read(
            &text("/proc/self/cgroup"),
            &text("/proc/self/mountinfo"),
            named,
        );
        let unified = places.unified.as_deref();
        if let Some(group) = unified.filter(|_| named.is_some()) {
            // It shows what it has when it is there. Whether it has to be is seen then.
            let _ = std::fs::create_dir_all(group);
        }
        let controllers = unified.map(|at| text(&at.join("cgroup.controllers").to_string_lossy()));
        let choices = places.choose(&controllers.unwrap_or_default());
        let mut unmade = None;
        if named.is_some() {
            for group in choices.iter().map(|choice| &choice.above) {
                if let Err(e) = std::fs::create_dir_all(group) {
                    unmade = Some(format!("{} cannot be made ({e})", group.display()));
                }
            }
            if let Some(unused) = unified.filter(|at| !choices.iter().any(|c| c.above == *at)) {
                let _ = std::fs::remove_dir(unused);
            }
        }
        let refused = |named: &Path, why: &str| {
            Err(Error(format!(
                "--cgroup {}: {why}; name one that this user may write and that holds no process, or leave it to --cgroup auto",
                named.display(),
            )))
        };
        if let (Some(named), Some(why)) = (named, &unmade) {
            return refused(named, why);
        }
        let (groups, missing) = Self::among(&choices, named.is_some());
        match (named, &missing) {
            (Some(named), Some(why)) => refused(named, why),
            _ => Ok((groups, missing)),
        }
    }

    /// As [`Groups::open`], among these.
    pub fn among(choices: &[Choice], is_named: bool) -> (Self, Option<String>) {
        let mut missing = Vec::new();
        let mut homes = Vec::new();
        for choice in choices {
            let home = Home::claim(choice).and_then(|home| {
                home.divide(is_named)?;
                Ok(home)
            });
            match home {
                Ok(home) => homes.push(home),
                Err(why) => missing.push(why),
            }
        }
        let wanted = [Use::Memory, Use::Tasks, Use::Kill];
        if choices.is_empty() {
            missing.push("there are no control groups here".to_owned());
        } else if let Some(none) = wanted
            .iter()
            .find(|one| !choices.iter().any(|c| c.uses.contains(one)))
        {
            missing.push(format!("no control group serves for {none}"));
        }
        let mut shown = Shown {
            memory_bytes: memory_above(choices),
            homes,
            next: AtomicU64::new(0),
        };
        missing.extend(shown.try_out());
        let groups = match shown.homes.is_empty() {
            true => Self::off(),
            false => Self(Some(Arc::new(shown))),
        };
        (
            groups,
            (!missing.is_empty()).then(|| missing.join(", and ")),
        )
    }

    /// What their runs are held by.
    pub fn uses(&self) -> BTreeSet<Use> {
        let homes = self.0.iter().flat_map(|shown| &shown.homes);
        homes.flat_map(|home| home.folder.uses.clone()).collect()
    }

    /// Memory in bytes that all runs together may have, by the groups around the node; `None`: as much as the machine has.
    pub fn memory_bytes(&self) -> Option<u64> {
        self.0.as_ref()?.memory_bytes
    }

    /// A group for one run; `None`: there are none here. Blocks for less than a millisecond, unless the kernel is busy.
    /// # Errors
    /// What the system said.
    pub fn make(&self, limits: Limits) -> io::Result<Option<RunGroup>> {
        let shown = self.0.as_ref();
        shown.map(|shown| shown.make(limits)).transpose()
    }
}

impl Shown {
    fn make(&self, limits: Limits) -> io::Result<RunGroup> {
        let name = format!("run-{}", self.next.fetch_add(1, Ordering::Relaxed));
        let folders = self.homes.iter().map(|home| Folder {
            path: home.folder.path.join(&name),
            ..home.folder.clone()
        });
        RunGroup::make(folders.collect(), limits)
    }

    /// Gives up what does not hold, and says why.
    fn try_out(&mut self) -> Vec<String> {
        if self.homes.is_empty() {
            return Vec::new();
        }
        let uses = self.homes.iter().flat_map(|home| home.folder.uses.clone());
        let uses: BTreeSet<Use> = uses.collect();
        let shown = self
            .make(trial::LIMITS)
            .map_err(|e| format!("no group can be made for a run ({e})"))
            .and_then(|group| trial::show(group, &uses));
        match shown {
            Err(why) => {
                self.homes.clear();
                vec![why]
            }
            Ok(shown) => {
                for home in &mut self.homes {
                    home.folder.uses.retain(|one| shown[one].is_ok());
                }
                self.homes.retain(|home| !home.folder.uses.is_empty());
                let faults = shown.into_values().filter_map(Result::err);
                faults.collect()
            }
        }
    }
}

/// The least limit of the groups around.
fn memory_above(choices: &[Choice]) -> Option<u64> {
    let choice = choices.iter().find(|c| c.uses.contains(&Use::Memory))?;
    match choice.version {
        Version::One => {
            let stat = std::fs::read_to_string(choice.above.join("memory.stat")).ok()?;
            let limit = stat
                .lines()
                .find_map(|line| line.strip_prefix("hierarchical_memory_limit "));
            limit?.trim().parse().ok()
        }
        Version::Two => {
            let limit = |group: &Path| {
                let limit = std::fs::read_to_string(group.join("memory.max")).ok()?;
                limit.trim().parse::<u64>().ok()
            };
            choice.above.ancestors().filter_map(limit).min()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_read() {
        assert_eq!("auto".parse(), Ok(Wish::Auto));
        assert_eq!("off".parse(), Ok(Wish::Off));
        assert_eq!("/a/b".parse(), Ok(Wish::At("/a/b".into())));
        for text in ["", "a/b", "/a/../b"] {
            assert!(text.parse::<Wish>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_least_limit_around_the_node_is_what_it_may_use() {
        let dir = tempfile::tempdir().unwrap();
        let above = dir.path().join("a/b");
        std::fs::create_dir_all(&above).unwrap();
        let mut choice = Choice {
            version: Version::Two,
            above: above.clone(),
            uses: [Use::Memory].into(),
        };
        assert_eq!(memory_above(&[choice.clone()]), None);
        std::fs::write(above.join("memory.max"), "max\n").unwrap();
        std::fs::write(dir.path().join("memory.max"), "5000\n").unwrap();
        std::fs::write(dir.path().join("a/memory.max"), "7000\n").unwrap();
        assert_eq!(memory_above(&[choice.clone()]), Some(5000));
        choice.version = Version::One;
        let stat = "cache 1\nhierarchical_memory_limit 9000\nhierarchical_memsw_limit 1\n";
        std::fs::write(above.join("memory.stat"), stat).unwrap();
        assert_eq!(memory_above(&[choice.clone()]), Some(9000));
        choice.uses = [Use::Kill].into();
        assert_eq!(memory_above(&[choice]), None);
    }

    #[test]
    fn nothing_is_believed_of_a_tree_that_does_nothing() {
        // Folders and files, but no kernel behind them.
        let dir = tempfile::tempdir().unwrap();
        let choice = Choice {
            version: Version::One,
            above: dir.path().to_owned(),
            uses: [Use::Memory].into(),
        };
        let (groups, missing) = Groups::among(&[choice], false);
        assert!(groups.uses().is_empty());
        let missing = missing.unwrap();
        assert!(
            missing.contains("no group can be made for a run"),
            "{missing}"
        );
        assert!(groups.make(trial::LIMITS).unwrap().is_none());
        let (groups, missing) = Groups::among(&[], false);
        assert_eq!(groups.to_string(), "none");
        assert_eq!(missing.as_deref(), Some("there are no control groups here"));
    }
}
