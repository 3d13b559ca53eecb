//! The helper as a process, with real programs inside: what it lets through and what not, and how its end is told.

use recode_sandbox::trial::Proof;
use recode_sandbox::{Layer, Layers, Limits, Policy, Profile, Sandbox, trial};
use std::ffi::OsString;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const HELPER: &str = env!("CARGO_BIN_EXE_recode-sandbox");

/// The user and group id of `nobody` on every Linux.
const NOBODY: u32 = 65534;

/// Runs `program` under `profile`.
fn run(profile: &Profile, program: &str, args: &[&str]) -> Output {
    let mut command = helper(profile);
    command.arg(program).args(args);
    command.output().unwrap()
}

fn helper(profile: &Profile) -> Command {
    let mut command = Command::new(HELPER);
    command.args(profile.to_args());
    command
}

fn only(layers: &[Layer]) -> Profile {
    Profile {
        layers: layers.iter().copied().collect(),
        ..Profile::default()
    }
}

/// What this machine has, by other means than ours. What it lacks is said aloud.
fn layers() -> Layers {
    let is_there = |layer: &Layer| {
        let there = match layer {
            Layer::Mount => unshares("--mount"),
            Layer::Pid => unshares("--pid"),
            Layer::Network => unshares("--net"),
            // SAFETY: with this flag the call answers a version and reads nothing.
            #[allow(unsafe_code)]
            Layer::Landlock => unsafe {
                let nothing = std::ptr::null::<u8>();
                libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0, 1) > 0
            },
            Layer::Seccomp => {
                let status = std::fs::read_to_string("/proc/self/status").unwrap();
                status.contains("Seccomp:")
            }
        };
        if !there {
            eprintln!("NOT TESTED: {}, which this machine lacks", layer.title());
        }
        there
    };
    Layer::ALL.into_iter().filter(is_there).collect()
}

/// Whether util-linux can make such a namespace, with one for the user where it needs that.
fn unshares(namespace: &str) -> bool {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    let status = command
        .args([namespace, "--fork", "true"])
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

fn said(output: &Output) -> String {
    format!(
        "{} {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn nothing_is_left_behind_by_a_proof_and_all_of_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let proof = trial::ask(Path::new(HELPER), dir.path()).unwrap();
    assert!(proof.lacks(&[]).is_none(), "{proof:?}");
    assert_eq!(proof.layers(), layers(), "{proof:?}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(Proof::parse("landlock ok\n").is_none());
    let gone = trial::ask(Path::new(HELPER), Path::new("/nowhere")).unwrap_err();
    assert!(gone.contains("/nowhere"), "{gone}");
}

#[test]
fn only_named_files_can_be_read_and_written() {
    if !layers().contains(&Layer::Landlock) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let text = |name: &str| file(name).to_str().unwrap().to_owned();
    for name in ["named", "other"] {
        std::fs::write(file(name), name).unwrap();
    }
    std::os::unix::fs::symlink(file("named"), file("link")).unwrap();
    std::os::unix::fs::symlink(file("other"), file("way-out")).unwrap();
    let profile = Profile {
        reads: vec![file("link")],
        writes: vec![file("made")],
        ..only(&[Layer::Landlock])
    };
    let reads = |profile: &Profile, name: &str| run(profile, "/bin/cat", &[&text(name)]);
    // A link is as good as what it leads to, and no better.
    for name in ["named", "link"] {
        let output = reads(&profile, name);
        assert_eq!(output.stdout, b"named", "{}", said(&output));
    }
    for name in ["other", "way-out"] {
        let output = reads(&profile, name);
        assert!(!output.status.success(), "{}", said(&output));
        assert!(said(&output).contains("Permission denied"));
        // It can be read where nothing prevents it.
        assert_eq!(reads(&only(&[]), name).stdout, b"other");
    }
    let copies = |to: &str| run(&profile, "/bin/cp", &[&text("named"), &text(to)]);
    let output = copies("made");
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(std::fs::read(file("made")).unwrap(), b"named");
    for to in ["other", "new"] {
        assert!(!copies(to).status.success());
    }
    assert_eq!(std::fs::read(file("other")).unwrap(), b"other");
    assert!(!file("new").exists());
}

#[test]
fn only_named_devices_can_be_used() {
    if !layers().contains(&Layer::Landlock) {
        return;
    }
    // Whatever is written to it finds no room, which nothing else answers.
    let uses = |profile: &Profile| {
        run(
            profile,
            "/bin/dd",
            &["if=/dev/zero", "of=/dev/full", "count=1"],
        )
    };
    let commands = |profile: &Profile| run(profile, "/bin/stty", &["-F", "/dev/ptmx", "size"]);
    let devices = ["/dev/full", "/dev/ptmx"].map(PathBuf::from).to_vec();
    let all = layers();
    for layers in [[Layer::Landlock].into_iter().collect(), all] {
        let closed = Profile {
            layers,
            ..Profile::default()
        };
        let open = Profile {
            devices: devices.clone(),
            ..closed.clone()
        };
        let output = uses(&open);
        assert!(said(&output).contains("No space left"), "{}", said(&output));
        let output = commands(&open);
        assert!(output.status.success(), "{}", said(&output));
        for output in [uses(&closed), commands(&closed)] {
            assert!(
                said(&output).contains("Permission denied"),
                "{}",
                said(&output)
            );
        }
    }
}

#[test]
fn a_mount_namespace_is_read_only_but_for_the_folders_of_the_run() {
    if !layers().contains(&Layer::Mount) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let room = dir.path().join("room");
    std::fs::create_dir(&room).unwrap();
    let profile = Profile {
        writes: vec![room.clone()],
        ..only(&[Layer::Mount])
    };
    let touch = |path: PathBuf| {
        let mut command = helper(&profile);
        command.arg("/usr/bin/touch").arg(&path).current_dir(&room);
        command.output().unwrap()
    };
    let output = touch(room.join("inside"));
    assert!(output.status.success(), "{}", said(&output));
    assert!(touch("relative".into()).status.success());
    assert!(room.join("inside").exists() && room.join("relative").exists());
    let output = touch(dir.path().join("outside"));
    assert!(said(&output).contains("Read-only"), "{}", said(&output));
    assert!(!dir.path().join("outside").exists());
    // Nothing of it is seen by others.
    std::fs::write(dir.path().join("outside"), "").unwrap();
    std::fs::remove_dir_all(&room).unwrap();
}

#[test]
fn no_process_is_started_and_no_socket_made() {
    if !layers().contains(&Layer::Seccomp) {
        return;
    }
    let starts = |profile: &Profile| run(profile, "/bin/sh", &["-c", "/bin/true; exit 7"]);
    assert_eq!(starts(&only(&[])).status.code(), Some(7));
    let output = starts(&only(&[Layer::Seccomp]));
    assert_ne!(output.status.code(), Some(7), "{}", said(&output));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connects = |profile: &Profile| {
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
        run(profile, "/bin/bash", &["-c", &script]).status.success()
    };
    assert!(connects(&only(&[])));
    assert!(!connects(&only(&[Layer::Seccomp])));
    if layers().contains(&Layer::Network) {
        assert!(!connects(&only(&[Layer::Network])));
    }
}

#[test]
fn codes_and_signals_are_told_as_they_were() {
    let layers = layers();
    let profiles = [
        only(&[]),
        only(&[Layer::Landlock]),
        Profile {
            layers,
            ..Profile::default()
        },
    ];
    for profile in profiles {
        if profile
            .layers
            .iter()
            .any(|layer| !self::layers().contains(layer))
        {
            continue;
        }
        let ended = |script: &str| run(&profile, "/bin/sh", &["-c", script]).status;
        assert_eq!(ended("exit 0").code(), Some(0));
        assert_eq!(ended("exit 243").code(), Some(243));
        // A signal of its own, which a first process of a namespace would not feel.
        if !profile.layers.contains(&Layer::Seccomp) {
            assert_eq!(ended("kill -SEGV $$").signal(), Some(libc::SIGSEGV));
        }
        let limited = Profile {
            limits: Limits {
                cpu_seconds: Some(1),
                ..Limits::default()
            },
            ..profile.clone()
        };
        let output = run(&limited, "/bin/sh", &["-c", "while :; do :; done"]);
        assert_eq!(output.status.signal(), Some(libc::SIGKILL));
        let gone = run(&profile, "/nowhere/program", &[]);
        assert_eq!(gone.status.code(), Some(126));
        assert!(said(&gone).contains("exec 2"), "{}", said(&gone));
    }
}

#[test]
fn the_environment_is_what_was_named() {
    let profile = Profile {
        environment: vec!["NAMED=1".into()],
        ..only(&[])
    };
    let mut command = helper(&profile);
    command.arg("/usr/bin/env").env("FFREPORT", "file=/tmp/x");
    let output = command.output().unwrap();
    assert_eq!(output.stdout, b"NAMED=1\n", "{}", said(&output));
}

#[test]
fn pipes_end_with_the_program_and_what_it_used_is_counted() {
    let profile = Profile {
        layers: layers(),
        ..Profile::default()
    };
    let mut command = helper(&profile);
    command.args([
        "/bin/sh",
        "-c",
        "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo done",
    ]);
    // Reaped below, with what it used: the standard library has no wait for that.
    #[allow(clippy::zombie_processes)]
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut out = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut out).unwrap();
    assert_eq!(out, "done\n");
    let (mut status, pid) = (0, child.id() as i32);
    // SAFETY: all zeroes is a valid rusage, and both pointers lead to live values of the right type.
    #[allow(unsafe_code)]
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        assert_eq!(libc::wait4(pid, &mut status, 0, &mut usage), pid);
        usage
    };
    assert_eq!(status, 0);
    let micros = usage.ru_utime.tv_sec * 1_000_000 + usage.ru_utime.tv_usec;
    assert!(micros > 50_000, "{micros} us");
}

#[test]
fn everything_is_gone_with_the_group_and_with_the_helper() {
    let profile = Profile {
        layers: layers(),
        ..Profile::default()
    };
    // The keeper alone is killed, or the whole group.
    for group in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let named = dir.path().join("held");
        std::fs::write(&named, "").unwrap();
        let mut profile = profile.clone();
        profile.reads.push(named.clone());
        let mut command = helper(&profile);
        command.arg("/usr/bin/tail").arg("-f").arg(&named);
        let mut child = command
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("it holds the file", || holders(&named) > 0);
        let pid = rustix::process::Pid::from_child(&child);
        let kill = rustix::process::Signal::KILL;
        match group {
            true => rustix::process::kill_process_group(pid, kill).unwrap(),
            false => rustix::process::kill_process(pid, kill).unwrap(),
        }
        child.wait().unwrap();
        until("nobody holds the file", || holders(&named) == 0);
    }
}

/// How many processes have `path` open.
fn holders(path: &Path) -> usize {
    let held = |process: &std::fs::DirEntry| {
        let fds = std::fs::read_dir(process.path().join("fd"))
            .into_iter()
            .flatten();
        let mut links = fds
            .flatten()
            .filter_map(|fd| std::fs::read_link(fd.path()).ok());
        links.any(|link| link == path)
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.filter(held).count()
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(10), "not so: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn an_ordinary_user_is_confined_as_well() {
    if !rustix::process::geteuid().is_root() {
        // All other tests ran as one.
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(dir.path(), mode).unwrap();
    // The build folder may be closed to others, so the program is copied.
    let copy = dir.path().join("recode-sandbox");
    let copied = Command::new("cp").arg(HELPER).arg(&copy).status().unwrap();
    assert!(copied.success());
    let as_nobody = |args: &[OsString]| {
        let mut command = Command::new(&copy);
        command.args(args).uid(NOBODY).gid(NOBODY);
        command.output().unwrap()
    };
    let output = as_nobody(&["prove".into(), dir.path().into()]);
    let proof = Proof::parse(&String::from_utf8_lossy(&output.stdout)).unwrap();
    assert!(proof.lacks(&[]).is_none(), "{proof:?}");
    let layers = proof.layers();
    if !layers.contains(&Layer::Mount) {
        eprintln!("NOT TESTED: user namespaces, which this machine gives to root alone");
    }
    let profile = Profile {
        layers,
        ..Profile::default()
    };
    let mut args = profile.to_args();
    args.extend(["/bin/cat", "/etc/hostname"].map(OsString::from));
    assert!(said(&as_nobody(&args)).contains("Permission denied"));
}

#[test]
fn a_policy_is_carried_out_on_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    let (off, warning) = Sandbox::open(Policy::Off, Path::new("/bin/cat"), dir.path()).unwrap();
    assert!(warning.is_none() && off.layers().is_empty());
    assert!(off.wrap(Profile::default()).is_none());
    let required = layers().contains(&Layer::Landlock) && layers().contains(&Layer::Seccomp);
    let opened = Sandbox::open(Policy::Require, Path::new("/bin/cat"), dir.path());
    assert_eq!(opened.is_ok(), required, "{opened:?}");
    if let Ok((sandbox, _)) = opened {
        assert_eq!(sandbox.layers(), layers());
        let (helper, args) = sandbox.wrap(Profile::default()).unwrap();
        let output = Command::new(helper)
            .args(args)
            .args(["/bin/cat", "/etc/hostname"])
            .output();
        assert!(said(&output.unwrap()).contains("Permission denied"));
    }
}
