//! The group of one node in one tree, below which its runs have theirs.
//!
//! ```text
//!  the node's own group, or one that was named
//!   └─ recode-node.PID.N    locked as long as that node lives
//!       ├─ node             the node itself, in trees where a group with members cannot divide what it has
//!       ├─ run-0            one FFmpeg with all it started
//!       └─ run-1
//! ```
//!
//! The lock tells the groups of living nodes from those of dead ones, whatever numbers their processes have where they can be
//! seen from. A dead node's groups are emptied and removed by the next one that starts beside them.

use super::folder::Folder;
use super::place::{Choice, Use, Version};
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// What the names of these groups begin with.
const PREFIX: &str = "recode-node.";

/// How often another name is tried.
const NAMES: u32 = 64;

/// See the module. Removed when dropped, as far as it is empty.
#[derive(Debug)]
pub(super) struct Home {
    pub folder: Folder,
    above: PathBuf,
    _lock: OwnedFd,
}

impl Drop for Home {
    fn drop(&mut self) {
        // What is not empty yet is left to the next node.
        let _ = fs::remove_dir(&self.folder.path);
    }
}

impl Home {
    /// Removes what dead nodes have left there, and makes a group.
    /// # Errors
    /// The folder is not to be written; a part of a sentence.
    pub fn claim(choice: &Choice) -> Result<Self, String> {
        sweep(choice);
        let refused =
            |e: io::Error| format!("no group can be made in {} ({e})", choice.above.display());
        for number in 0..NAMES {
            let name = format!("{PREFIX}{}.{number}", std::process::id());
            let path = choice.above.join(name);
            match fs::create_dir(&path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made.map_err(refused)?,
            }
            // Until it is locked, another node may take it for a dead one's and remove it.
            if let Some(lock) = lock(&path)
                && path.is_dir()
            {
                return Ok(Self {
                    folder: Folder {
                        version: choice.version,
                        path,
                        uses: choice.uses.clone(),
                    },
                    above: choice.above.clone(),
                    _lock: lock,
                });
            }
        }
        Err(refused(io::ErrorKind::AlreadyExists.into()))
    }

    /// Lets the runs below have limits. In trees of the second version the group above must hand its controllers down, which it
    /// may not while it has members: where that is the node alone, it moves into a group of its own. `is_named`: the group above
    /// is not the node's own.
    /// # Errors
    /// Others are in there, or it is not to be written; a part of a sentence.
    pub fn divide(&self, is_named: bool) -> Result<(), String> {
        let controllers = [(Use::Memory, "memory"), (Use::Tasks, "pids")];
        let wanted = controllers
            .into_iter()
            .filter(|(one, _)| self.folder.uses.contains(one));
        let wanted: Vec<&str> = wanted.map(|(_, name)| name).collect();
        if self.folder.version == Version::One || wanted.is_empty() {
            return Ok(());
        }
        let handed = |group: &Path| {
            let list = fs::read_to_string(group.join("cgroup.subtree_control"));
            let list = list.unwrap_or_default();
            wanted
                .iter()
                .all(|name| list.split_whitespace().any(|one| one == *name))
        };
        let hand_down = |group: &Path| {
            let words: Vec<String> = wanted.iter().map(|name| format!("+{name}")).collect();
            fs::write(group.join("cgroup.subtree_control"), words.join(" ")).map_err(|e| {
                format!(
                    "{} does not hand down {} ({e})",
                    group.display(),
                    wanted.join(" and ")
                )
            })
        };
        if !handed(&self.above) {
            let moved = self.make_way(is_named)?;
            if let Err(why) = hand_down(&self.above) {
                if moved {
                    self.move_back();
                }
                return Err(why);
            }
        }
        hand_down(&self.folder.path)
    }

    /// Takes the node out of the group above. Answers whether it was in there.
    fn make_way(&self, is_named: bool) -> Result<bool, String> {
        let above = Folder {
            path: self.above.clone(),
            ..self.folder.clone()
        };
        // The topmost group of a machine has no type, and may have members.
        if !self.above.join("cgroup.type").exists() {
            return Ok(false);
        }
        let own = rustix::process::getpid();
        match above.members().as_slice() {
            [] => Ok(false),
            [one] if *one == own && !is_named => {
                let group = self.own_group();
                let moved = fs::create_dir(&group)
                    .and_then(|()| fs::write(group.join("cgroup.procs"), own_number()));
                moved
                    .map(|()| true)
                    .map_err(|e| format!("the node cannot move into {} ({e})", group.display()))
            }
            others => Err(format!(
                "the control group {} holds {} processes, and such a group has no limits below it",
                self.above.display(),
                others.len()
            )),
        }
    }

    fn move_back(&self) {
        // Best effort: the node runs as well where it is.
        let _ = fs::write(self.above.join("cgroup.procs"), own_number());
        let _ = fs::remove_dir(self.own_group());
    }

    fn own_group(&self) -> PathBuf {
        self.folder.path.join("node")
    }
}

fn own_number() -> String {
    rustix::process::getpid().as_raw_nonzero().to_string()
}

/// `None`: somebody else has it.
fn lock(path: &Path) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    let locked = rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive);
    locked.is_ok().then_some(folder)
}

/// Removes the groups of dead nodes, and ends what still runs in them.
fn sweep(choice: &Choice) {
    let Ok(entries) = fs::read_dir(&choice.above) else {
        return;
    };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let path = entry.path();
        if is_ours
            && path.is_dir()
            && let Some(_lock) = lock(&path)
        {
            let left = Folder {
                version: choice.version,
                path,
                uses: choice.uses.clone(),
            };
            // Best effort: it costs nothing but its place.
            let _ = left.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A make-believe tree of the second version: its files are plain ones.
    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new(files: &[(&str, &str)]) -> Self {
            let tree = Self(tempfile::tempdir().unwrap());
            for (file, text) in files {
                fs::write(tree.0.path().join(file), text).unwrap();
            }
            tree
        }

        fn home(&self) -> Home {
            let choice = Choice {
                version: Version::Two,
                above: self.0.path().to_owned(),
                uses: [Use::Memory, Use::Tasks, Use::Kill].into(),
            };
            Home::claim(&choice).unwrap()
        }

        fn read(&self, file: impl AsRef<Path>) -> String {
            fs::read_to_string(self.0.path().join(file)).unwrap_or_default()
        }
    }

    const BOTH: &str = "+memory +pids";

    #[test]
    fn a_node_alone_in_its_group_moves_into_one_of_its_own() {
        let own = own_number();
        let tree = Tree::new(&[("cgroup.type", "domain"), ("cgroup.procs", &own)]);
        let home = tree.home();
        home.divide(false).unwrap();
        assert_eq!(tree.read("cgroup.subtree_control"), BOTH);
        assert_eq!(tree.read(home.own_group().join("cgroup.procs")), own);
        let handed = home.folder.path.join("cgroup.subtree_control");
        assert_eq!(tree.read(handed), BOTH);
    }

    #[test]
    fn nobody_moves_where_others_are_or_where_nobody_has_to() {
        let others = format!("{}\n1\n", own_number());
        let tree = Tree::new(&[("cgroup.type", "domain"), ("cgroup.procs", &others)]);
        let home = tree.home();
        let why = home.divide(false).unwrap_err();
        assert!(why.contains("holds 2 processes"), "{why}");
        assert!(!home.own_group().exists());
        assert_eq!(tree.read("cgroup.subtree_control"), "");

        // Handed down already, the topmost group, an empty one.
        let own = own_number();
        for files in [
            &[
                ("cgroup.type", "domain"),
                ("cgroup.procs", "1\n"),
                ("cgroup.subtree_control", "cpu memory pids"),
            ][..],
            &[("cgroup.procs", &own)],
            &[("cgroup.type", "domain"), ("cgroup.procs", "")],
        ] {
            let tree = Tree::new(files);
            let home = tree.home();
            home.divide(false).unwrap();
            assert!(!home.own_group().exists());
            assert_eq!(
                tree.read(home.folder.path.join("cgroup.subtree_control")),
                BOTH
            );
        }
        let tree = Tree::new(&[("cgroup.type", "domain"), ("cgroup.procs", &own)]);
        assert!(
            tree.home().divide(true).is_err(),
            "a named group is not the node's to leave"
        );
    }

    #[test]
    fn who_moved_in_vain_moves_back() {
        let own = own_number();
        let tree = Tree::new(&[("cgroup.type", "domain"), ("cgroup.procs", &own)]);
        let home = tree.home();
        // Not to be written.
        fs::create_dir(tree.0.path().join("cgroup.subtree_control")).unwrap();
        fs::write(tree.0.path().join("cgroup.procs"), &own).unwrap();
        let why = home.divide(false).unwrap_err();
        assert!(why.contains("does not hand down memory and pids"), "{why}");
        assert_eq!(tree.read("cgroup.procs"), own);
    }

    #[test]
    fn groups_of_dead_nodes_are_removed_and_those_of_living_ones_stay() {
        let tree = Tree::new(&[]);
        let living = tree.home();
        let dead = tree.0.path().join("recode-node.1.0");
        let foreign = tree.0.path().join("recode-1-0");
        for folder in [dead.join("run-3"), foreign.clone()] {
            fs::create_dir_all(folder).unwrap();
        }
        let second = tree.home();
        assert!(!dead.exists());
        assert!(foreign.is_dir() && living.folder.path.is_dir());
        assert_ne!(living.folder.path, second.folder.path);
        let was = living.folder.path.clone();
        drop(living);
        assert!(!was.exists());
    }
}
