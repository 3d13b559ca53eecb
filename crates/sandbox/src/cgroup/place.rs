//! Where this process stands in the trees of control groups, and which of them serves for what. Pure: it is given the text of
//! `/proc/self/cgroup` and `/proc/self/mountinfo`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// What a control group is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// Holds the memory of all its processes together below a limit.
    Memory,
    /// Holds the number of its processes and threads below a limit.
    Tasks,
    /// Ends all its processes, wherever they have got to.
    Kill,
}

impl Use {
    /// The controller of the first version that does it.
    fn controller(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Tasks => "pids",
            Self::Kill => "freezer",
        }
    }
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Tasks => "tasks",
            Self::Kill => "kill",
        })
    }
}

/// The two kinds of trees that Linux has. A machine may have both at once, with each controller in one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// A tree for each controller.
    One,
    /// One tree for all.
    Two,
}

/// Where this process, or a group that was named, is in each tree: folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// In the tree of the second version.
    pub unified: Option<PathBuf>,
    /// In those of the first version, by controller.
    pub split: BTreeMap<String, PathBuf>,
}

/// A group below which groups are made, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The kind of its tree.
    pub version: Version,
    /// Its folder.
    pub above: PathBuf,
    /// What it serves for.
    pub uses: BTreeSet<Use>,
}

impl Places {
    /// Reads them. `cgroup`: what `/proc/self/cgroup` holds; `mountinfo`: likewise. `named`: a group below the mounts, in place
    /// of the one that this process is in.
    pub fn read(cgroup: &str, mountinfo: &str, named: Option<&Path>) -> Self {
        let mut places = Self::default();
        for mount in mountinfo.lines().filter_map(Mount::read) {
            let own = |controller: Option<&str>| {
                if let Some(named) = named {
                    return Some(mount.at.join(named.strip_prefix("/").unwrap_or(named)));
                }
                mount.folder_of(own_path(cgroup, controller)?)
            };
            match &mount.controllers {
                None => {
                    if places.unified.is_none() {
                        places.unified = own(None);
                    }
                }
                Some(controllers) => {
                    for controller in controllers {
                        if let Some(folder) = own(Some(controller)) {
                            places.split.entry(controller.clone()).or_insert(folder);
                        }
                    }
                }
            }
        }
        places
    }

    /// Which group serves for what. `controllers`: what the unified one may use, as its `cgroup.controllers` says.
    ///
    /// A controller is in one tree only. Killing works in every unified tree, and is left to it where it serves for something else
    /// already: each further tree costs a little at every start.
    pub fn choose(&self, controllers: &str) -> Vec<Choice> {
        let mut unified = BTreeSet::new();
        let mut choices = Vec::new();
        for one in [Use::Memory, Use::Tasks, Use::Kill] {
            let controller = one.controller();
            let here = controllers.split_whitespace().any(|c| c == controller);
            if self.unified.is_some() && (here || one == Use::Kill && !unified.is_empty()) {
                unified.insert(one);
            } else if let Some(above) = self.split.get(controller) {
                choices.push(Choice {
                    version: Version::One,
                    above: above.clone(),
                    uses: [one].into(),
                });
            } else if one == Use::Kill && self.unified.is_some() {
                unified.insert(one);
            }
        }
        if let Some(above) = self.unified.clone().filter(|_| !unified.is_empty()) {
            choices.push(Choice {
                version: Version::Two,
                above,
                uses: unified,
            });
        }
        choices
    }
}

/// A mounted tree.
struct Mount {
    /// The group that is seen at its top.
    root: PathBuf,
    /// Where.
    at: PathBuf,
    /// `None`: the second version.
    controllers: Option<Vec<String>>,
}

impl Mount {
    /// `36 35 98:0 /root /at rw,noatime shared:1 - type source options`; `None`: something else is mounted there.
    fn read(line: &str) -> Option<Self> {
        let (mount, system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, at) = (plain(fields.next()?), plain(fields.next()?));
        let mut system = system.split(' ');
        let controllers = match system.next()? {
            "cgroup2" => None,
            "cgroup" => {
                let options = system.nth(1)?.split(',').map(str::to_owned);
                Some(options.collect())
            }
            _ => return None,
        };
        Some(Self {
            root,
            at,
            controllers,
        })
    }

    /// `None`: the group cannot be seen from here.
    fn folder_of(&self, path: &str) -> Option<PathBuf> {
        let below = Path::new(path).strip_prefix(&self.root).ok()?;
        let leads_out = below.components().any(|c| c.as_os_str() == "..");
        (!leads_out).then(|| match below.as_os_str().is_empty() {
            true => self.at.clone(),
            false => self.at.join(below),
        })
    }
}

/// This process's group: `4:memory:/path` in trees of the first version, `0::/path` in the other.
fn own_path<'a>(cgroup: &'a str, controller: Option<&str>) -> Option<&'a str> {
    cgroup.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let found = match controller {
            None => controllers.is_empty(),
            Some(wanted) => controllers.split(',').any(|c| c == wanted),
        };
        found.then_some(path)
    })
}

/// The kernel writes blanks and the like as three octal digits.
fn plain(field: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let [first, after @ ..] = rest {
        let code = after.get(..3).filter(|_| *first == b'\\');
        let code =
            code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match code {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[3..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    use std::os::unix::ffi::OsStringExt as _;
    std::ffi::OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows the places and what is chosen, as `version folder uses`.
    fn check(
        cgroup: &str,
        mountinfo: &str,
        named: Option<&str>,
        controllers: &str,
        expected: &[&str],
    ) {
        let places = Places::read(cgroup, mountinfo, named.map(Path::new));
        let shown: Vec<String> = places
            .choose(controllers)
            .iter()
            .map(|choice| {
                let uses: Vec<String> = choice.uses.iter().map(Use::to_string).collect();
                format!(
                    "{:?} {} {}",
                    choice.version,
                    choice.above.display(),
                    uses.join(" ")
                )
            })
            .collect();
        assert_eq!(shown, expected);
    }

    const UNIFIED: &str = "24 1 0:22 / /proc rw - proc proc rw\n\
        30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";

    #[test]
    fn one_tree_serves_for_all_that_it_has() {
        let own = "0::/system.slice/recode.service\n";
        let at = "/sys/fs/cgroup/system.slice/recode.service";
        check(
            own,
            UNIFIED,
            None,
            "cpu memory pids",
            &[&format!("Two {at} memory tasks kill")],
        );
        check(
            own,
            UNIFIED,
            None,
            "cpu pids",
            &[&format!("Two {at} tasks kill")],
        );
        check(own, UNIFIED, None, "", &[&format!("Two {at} kill")]);
        check(
            own,
            UNIFIED,
            Some("/ours"),
            "memory",
            &["Two /sys/fs/cgroup/ours memory kill"],
        );
        check("", "", None, "", &[]);
    }

    #[test]
    fn of_a_tree_that_is_seen_in_part_only_what_is_seen_is_taken() {
        // Mounted into a container without a name space of its own.
        let part = "30 23 0:26 /docker/ab /sys/fs/cgroup rw - cgroup2 cgroup rw";
        check(
            "0::/docker/ab/in",
            part,
            None,
            "memory",
            &["Two /sys/fs/cgroup/in memory kill"],
        );
        check(
            "0::/docker/ab",
            part,
            None,
            "memory",
            &["Two /sys/fs/cgroup memory kill"],
        );
        check("0::/other", part, None, "memory", &[]);
        check("0::/docker/ab/../cd", part, None, "memory", &[]);
    }

    const SPLIT: &str = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        37 31 0:34 / /sys/fs/cgroup/free\\040zer rw - cgroup cgroup rw,freezer\n\
        39 31 0:36 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
        40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n";
    const OWN: &str = "9:name=systemd:/\n8:pids:/\n6:freezer:/f\n4:memory:/a/b\n1:cpu,cpuacct:/\n";

    #[test]
    fn each_controller_has_a_tree_of_its_own_in_the_first_version() {
        let expected = [
            "One /sys/fs/cgroup/memory/a/b memory",
            "One /sys/fs/cgroup/pids tasks",
            "One /sys/fs/cgroup/free zer/f kill",
        ];
        check(OWN, SPLIT, None, "", &expected);
        check("4:memory:/a/b\n", SPLIT, None, "", &expected[..1]);
        let named = [
            "One /sys/fs/cgroup/memory/x/y memory",
            "One /sys/fs/cgroup/pids/x/y tasks",
            "One /sys/fs/cgroup/free zer/x/y kill",
        ];
        check(OWN, SPLIT, Some("x/y"), "", &named);
    }

    #[test]
    fn where_there_are_both_each_controller_is_taken_from_the_tree_that_has_it() {
        let both = format!("{SPLIT}41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
        let own = format!("{OWN}0::/u\n");
        let alone = [
            "One /sys/fs/cgroup/memory/a/b memory",
            "One /sys/fs/cgroup/pids tasks",
            "One /sys/fs/cgroup/free zer/f kill",
        ];
        check(&own, &both, None, "hugetlb", &alone);
        let mixed = [alone[0], "Two /sys/fs/cgroup/unified/u tasks kill"];
        check(&own, &both, None, "pids", &mixed);
        let unfrozen = both.replace("rw,freezer", "rw,other");
        let mixed = [alone[0], alone[1], "Two /sys/fs/cgroup/unified/u kill"];
        check(&own, &unfrozen, None, "", &mixed);
    }
}
