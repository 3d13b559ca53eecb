//! Control groups as this machine has them, with real processes inside. What it does not let this user have is said aloud.

use recode_sandbox::cgroup::{
    Choice, Groups, Limits, Places, RunGroup, Shortage, Use, Version, Wish,
};
use recode_sandbox::{Layer, Profile};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const HELPER: &str = env!("CARGO_BIN_EXE_recode-sandbox");

const LIMITS: Limits = Limits {
    memory_bytes: 64 << 20,
    tasks: 32,
};

/// Where this process stands.
fn places() -> Places {
    let text = |path: &str| std::fs::read_to_string(path).unwrap();
    Places::read(
        &text("/proc/self/cgroup"),
        &text("/proc/self/mountinfo"),
        None,
    )
}

/// Whether this user can make a group beside this process, by other means than ours.
fn is_open(folder: &Path) -> bool {
    let group = folder.join(format!("recode-test.{}", std::process::id()));
    std::fs::create_dir(&group)
        .and_then(|()| std::fs::remove_dir(&group))
        .is_ok()
}

/// The groups of this machine; `None`: it has none that serve for all of `uses`.
fn groups(uses: &[Use]) -> Option<Groups> {
    let (groups, missing) = Groups::open(&Wish::Auto).unwrap();
    let held = groups.uses();
    // What can be written is to be found.
    let places = places();
    if places.split.get("memory").is_some_and(|at| is_open(at)) {
        assert!(held.contains(&Use::Memory), "{missing:?}");
    }
    let all = uses.iter().all(|one| held.contains(one));
    if !all {
        eprintln!(
            "NOT TESTED: control groups for {uses:?}: {}",
            missing.unwrap()
        );
    }
    all.then_some(groups)
}

/// Starts a program in `group`.
fn start(group: &RunGroup, command: &mut Command) -> Child {
    group.admit(command, false);
    command.spawn().unwrap()
}

fn shell(words: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", words]).stderr(Stdio::null());
    command
}

/// Keeps in memory all that it reads, and reads 300 MB.
const EATER: &str = "head -c 300000000 /dev/zero | tail -c 300000000 | wc -c";

/// Folders, out of what shows them.
fn paths(shown: &str) -> Vec<PathBuf> {
    let homes = shown.split("path: \"").skip(1);
    homes
        .map(|rest| PathBuf::from(rest.split('"').next().unwrap()))
        .collect()
}

/// Groups of runs that are there.
fn run_groups(groups: &Groups) -> usize {
    let homes = paths(&format!("{groups:?}")).into_iter();
    let runs = homes.map(|home| {
        let entries = std::fs::read_dir(home).unwrap().flatten();
        entries.filter(|entry| entry.path().is_dir()).count()
    });
    runs.sum()
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(10), "not so: {what}");
        std::thread::yield_now();
    }
}

fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn who_takes_too_much_memory_dies_alone_and_is_told_apart() {
    let Some(groups) = groups(&[Use::Memory, Use::Kill]) else {
        return;
    };
    let (greedy, modest) = (
        groups.make(LIMITS).unwrap().unwrap(),
        groups.make(LIMITS).unwrap().unwrap(),
    );
    let mut beside = start(&modest, shell("read word; exit 7").stdin(Stdio::piped()));
    let child = start(&greedy, shell(EATER).stdout(Stdio::piped()));
    let output = child.wait_with_output().unwrap();
    assert_ne!(String::from_utf8_lossy(&output.stdout).trim(), "300000000");
    let limit_bytes = LIMITS.memory_bytes;
    assert_eq!(greedy.end(), Some(Shortage::Memory { limit_bytes }));
    drop(beside.stdin.take());
    assert_eq!(beside.wait().unwrap().code(), Some(7));
    assert_eq!(modest.end(), None);
    assert_eq!(run_groups(&groups), 0);
    // With room for it there is nothing to tell.
    let roomy = Limits {
        memory_bytes: 2 << 30,
        ..LIMITS
    };
    let group = groups.make(roomy).unwrap().unwrap();
    let child = start(&group, shell(EATER).stdout(Stdio::piped()));
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "300000000");
    assert_eq!(group.end(), None);
}

#[test]
fn a_fork_bomb_stops_at_its_limit_and_none_of_it_is_left() {
    let Some(groups) = groups(&[Use::Tasks, Use::Kill]) else {
        return;
    };
    let group = groups.make(LIMITS).unwrap().unwrap();
    // Each of them starts two more in sessions of their own, and waits.
    let bomb = "b() { setsid sh -c \"$0\" \"$0\" & setsid sh -c \"$0\" \"$0\" & sleep 600; }; b";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", bomb, bomb]).stderr(Stdio::null());
    let mut child = start(&group, &mut command);
    let folders = paths(&format!("{group:?}"));
    let mut folders = folders
        .into_iter()
        .filter(|at| at.join("pids.events").exists());
    let folder = folders.next().unwrap();
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap_or_default();
    let members = || read("cgroup.procs");
    until("the bomb has gone off", || {
        !read("pids.events").contains("max 0")
    });
    assert!(members().lines().count() <= LIMITS.tasks as usize);
    let some: Vec<u32> = members().lines().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(
        group.end(),
        Some(Shortage::Tasks {
            limit: LIMITS.tasks
        })
    );
    assert!(!some.iter().any(|pid| is_alive(*pid)));
    child.wait().unwrap();
    assert_eq!(run_groups(&groups), 0);
}

/// Starts a program that leaves its process group and its session behind, and ends; kills it with `group`.
fn kills_who_has_left(group: RunGroup, mut command: Command) -> ExitStatus {
    let mut child = start(&group, command.process_group(0).stdout(Stdio::piped()));
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let pid: u32 = line.trim().parse().unwrap();
    assert!(is_alive(pid));
    let leader = rustix::process::Pid::from_child(&child);
    let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
    let status = child.wait().unwrap();
    assert!(is_alive(pid), "the process group would have been enough");
    assert_eq!(group.end(), None);
    assert!(!is_alive(pid));
    // Nobody holds the pipe any more.
    assert_eq!(out.read_to_end(&mut Vec::new()).unwrap(), 0);
    status
}

const LEAVER: &str = "setsid sh -c 'echo $$; exec sleep 600' & wait";

#[test]
fn who_leaves_its_process_group_is_killed_with_its_control_group() {
    if let Some(groups) = groups(&[Use::Kill]) {
        let group = groups.make(LIMITS).unwrap().unwrap();
        let status = kills_who_has_left(group, shell(LEAVER));
        assert_eq!(status.signal(), Some(libc::SIGKILL));
        assert_eq!(run_groups(&groups), 0);
    }
}

/// In the tree of the second version, which kills in one go, whatever else it is good for on this machine.
fn unified() -> Option<Groups> {
    let Some(above) = places().unified.filter(|at| is_open(at)) else {
        eprintln!("NOT TESTED: groups of the second version, of which this user may make none");
        return None;
    };
    let choice = Choice {
        version: Version::Two,
        above,
        uses: [Use::Kill].into(),
    };
    let (groups, missing) = Groups::among(&[choice], false);
    assert!(groups.uses().contains(&Use::Kill), "{missing:?}");
    Some(groups)
}

#[test]
fn so_it_is_in_a_tree_of_the_second_version() {
    if let Some(groups) = unified() {
        let group = groups.make(LIMITS).unwrap().unwrap();
        kills_who_has_left(group, shell(LEAVER));
        assert_eq!(run_groups(&groups), 0);
    }
}

#[test]
fn the_helper_starts_its_program_in_the_group() {
    let Some(groups) = unified() else { return };
    let mut pid_namespace = Profile {
        layers: [Layer::Pid].into(),
        ..Profile::default()
    };
    if !Command::new("unshare")
        .args(["--pid", "--fork", "true"])
        .status()
        .is_ok_and(|s| s.success())
    {
        eprintln!(
            "NOT TESTED: a program that is born in its group, since this user may make no PID namespace"
        );
        pid_namespace.layers.clear();
    }
    for mut profile in [Profile::default(), pid_namespace] {
        let group = groups.make(LIMITS).unwrap().unwrap();
        profile.group = group.unified();
        let mut command = Command::new(HELPER);
        command.args(profile.to_args()).args([
            "/bin/sh",
            "-c",
            "cat /proc/self/cgroup; ls -l /proc/self/fd",
        ]);
        group.admit(&mut command, true);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            said.contains("/run-"),
            "{said} {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            !said.contains("sys/fs/cgroup"),
            "it holds the folder: {said}"
        );
        assert_eq!(group.end(), None);
    }
    assert_eq!(run_groups(&groups), 0);
}

/// Not a test of its own: run again by the next one as the node that is killed.
#[test]
fn node_that_is_killed() {
    if std::env::var_os("RECODE_TEST_NODE").is_none() {
        return;
    }
    let (groups, _) = Groups::open(&Wish::Auto).unwrap();
    let group = groups.make(LIMITS).unwrap().unwrap();
    let mut child = start(&group, shell(LEAVER).stdout(Stdio::inherit()));
    child.wait().unwrap();
}

#[test]
fn what_a_killed_node_left_is_ended_and_removed_by_the_next_and_the_living_are_spared() {
    let Some(living) = groups(&[Use::Kill]) else {
        return;
    };
    let group = living.make(LIMITS).unwrap().unwrap();
    let mut spared = start(&group, shell("read word; exit 7").stdin(Stdio::piped()));
    let mut node = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "node_that_is_killed", "--nocapture"])
        .env("RECODE_TEST_NODE", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(node.stdout.take().unwrap()).lines();
    let mut numbers = lines
        .map_while(Result::ok)
        .filter_map(|line| line.trim().parse().ok());
    let left: u32 = numbers
        .next()
        .expect("it tells the number of its grandchild");
    let dead = node.id();
    let is_there = || {
        let homes = places();
        let homes = homes.unified.iter().chain(homes.split.values());
        let mut names = homes.flat_map(|at| std::fs::read_dir(at).into_iter().flatten().flatten());
        names.any(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with(&format!("recode-node.{dead}."))
        })
    };
    assert!(is_there());
    node.kill().unwrap();
    node.wait().unwrap();
    assert!(is_there() && is_alive(left), "there is nothing to remove");
    let (next, _) = Groups::open(&Wish::Auto).unwrap();
    assert!(!is_there() && !is_alive(left));
    drop(spared.stdin.take());
    assert_eq!(spared.wait().unwrap().code(), Some(7));
    assert_eq!(group.end(), None);
    drop(next);
}

#[test]
fn a_group_that_was_named_is_used_or_refused() {
    let name = format!("/recode-test.{}", std::process::id());
    let wish: Wish = name.parse().unwrap();
    let opened = Groups::open(&wish);
    if let Err(refused) = &opened {
        let refused = refused.to_string();
        assert!(
            refused.starts_with(&format!("--cgroup {name}: ")),
            "{refused}"
        );
        let (found, _) = Groups::open(&Wish::Auto).unwrap();
        assert_ne!(found.uses().len(), 3, "{refused}");
        eprintln!("NOT TESTED: a group that was named: {refused}");
        return;
    }
    let (groups, missing) = opened.unwrap();
    assert_eq!((groups.uses().len(), missing), (3, None));
    assert!(format!("{groups:?}").contains(&name));
    drop(groups);
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let places = Places::read("", &mountinfo, Some(Path::new(&name)));
    for folder in places.unified.iter().chain(places.split.values()) {
        let _ = std::fs::remove_dir(folder);
        assert!(!folder.exists(), "{}", folder.display());
    }
}
