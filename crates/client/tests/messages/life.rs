//! What becomes of a job that is interrupted, killed, started twice, or done.

use crate::bench::Bench;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const LINE: &str = "in.mp4 -o out.mp4 --segment 1s --workers 1";

/// Starts a job whose third encode waits until `state-go` exists, and waits for that encode to begin: of four chunks one
/// is finished then, or two.
fn held(bench: &Bench) -> (Child, std::path::PathBuf) {
    let ffmpeg = bench.stand_in(
        "ffmpeg",
        &format!(
            "case \"$*\" in *'-c:v libx264'*) echo x >> '{0}/state-encodes'; [ -e '{0}/state-go' ] || \
             [ \"$(/bin/grep -c x '{0}/state-encodes')\" -le 2 ] || exec /bin/sleep 600;; esac",
            bench.path().display()
        ),
    );
    let child = bench
        .command_with(&ffmpeg, LINE)
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program is built");
    let since = Instant::now();
    while encodes(bench) < 3 {
        assert!(
            since.elapsed() < Duration::from_secs(60),
            "the third encode never began"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    (child, ffmpeg)
}

fn encodes(bench: &Bench) -> usize {
    std::fs::read_to_string(bench.file("state-encodes")).map_or(0, |text| text.lines().count())
}

fn send(child: &Child, signal: rustix::process::Signal) {
    let id = rustix::process::Pid::from_raw(child.id() as i32).expect("it runs");
    rustix::process::kill_process(id, signal).expect("it runs");
}

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

fn jobs(bench: &Bench) -> usize {
    std::fs::read_dir(bench.file("state/jobs")).map_or(0, Iterator::count)
}

/// Lets the encodes go on and runs the same command again.
fn again(bench: &Bench, ffmpeg: &std::path::Path) {
    std::fs::write(bench.file("state-go"), b"").expect("the folder is ours");
    let before = encodes(bench);
    let out = bench
        .command_with(ffmpeg, LINE)
        .output()
        .expect("the program is built");
    assert_eq!(out.status.code(), Some(0), "{}", said(&out));
    assert!(
        said(&out).starts_with("recode-client: going on where an earlier run stopped\n"),
        "{}",
        said(&out)
    );
    let made = encodes(bench) - before;
    assert!(
        (2..=3).contains(&made),
        "of four chunks one was finished, or two when the second's report came through before the end: {made} were made"
    );
    assert!(bench.file("out.mp4").exists());
    assert_eq!(jobs(bench), 0, "a done job leaves nothing");
}

#[test]
fn an_interrupted_job_says_how_to_go_on_and_does() {
    let bench = Bench::new();
    if !bench.clip("in.mp4") {
        return;
    }
    let (child, ffmpeg) = held(&bench);
    let twice = bench
        .command_with(&ffmpeg, LINE)
        .output()
        .expect("the program is built");
    assert_eq!(
        (twice.status.code(), said(&twice)),
        (
            Some(1),
            format!(
                "recode-client: process {} is already working on exactly this; wait for it, or give this one its own \
                 --state DIR\n",
                child.id()
            )
        )
    );
    send(&child, rustix::process::Signal::INT);
    let out = child.wait_with_output().expect("it was started here");
    assert_eq!(
        (out.status.code(), said(&out).as_str()),
        (
            Some(130),
            "recode-client: interrupted; run the same command again to go on where it stopped\n"
        )
    );
    assert!(!bench.file("out.mp4").exists());
    assert_eq!(jobs(&bench), 1);
    again(&bench, &ffmpeg);
}

#[test]
fn a_killed_job_goes_on_where_it_stopped() {
    let bench = Bench::new();
    if !bench.clip("in.mp4") {
        return;
    }
    let (mut child, ffmpeg) = held(&bench);
    child.kill().expect("it runs");
    child.wait().expect("it was started here");
    assert!(!bench.file("out.mp4").exists());
    again(&bench, &ffmpeg);
}

#[test]
fn a_failed_job_is_tried_anew_and_kept_chunks_are_found_again() {
    let bench = Bench::new();
    if !bench.clip("in.mp4") {
        return;
    }
    let broken = bench.stand_in("broken", "case \"$*\" in *libx264*) kill -9 $$;; esac");
    let line = format!("{LINE} --cache 1GB --report report.json");
    let out = bench
        .command_with(&broken, &line)
        .output()
        .expect("the program is built");
    assert_eq!(out.status.code(), Some(1), "{}", said(&out));
    assert_eq!(jobs(&bench), 0, "a failed job is not gone on with");
    let run = |line: &str| {
        let mut command: Command = bench.command(&format!("transcode {line}"));
        if let Some(ffmpeg) = crate::bench::real_ffmpeg() {
            command.env("RECODE_FFMPEG", ffmpeg);
        }
        let out = command.output().expect("the program is built");
        assert_eq!(out.status.code(), Some(0), "{}", said(&out));
        let report = std::fs::read(bench.file("report.json")).expect("it was asked for");
        let report: serde_json::Value = serde_json::from_slice(&report).expect("a report is JSON");
        report["chunks_reused"].as_u64().expect("it is counted")
    };
    assert_eq!(run(&line), 0);
    assert_eq!(
        run(&format!("{line} --force")),
        4,
        "all chunks are in the cache"
    );
    let listed = bench
        .command("cache list")
        .output()
        .expect("the program is built");
    assert!(
        String::from_utf8_lossy(&listed.stdout).starts_with("0 jobs, 4 cached chunks, "),
        "{listed:?}"
    );
    let pruned = bench
        .command("cache prune")
        .output()
        .expect("the program is built");
    assert!(
        String::from_utf8_lossy(&pruned.stdout).starts_with("removed 4 entries, "),
        "{pruned:?}"
    );
}

#[test]
fn a_full_disk_is_named_and_leaves_nothing_behind() {
    let bench = Bench::new();
    if !bench.clip("in.mp4") {
        return;
    }
    std::fs::create_dir(bench.file("small")).expect("the folder is ours");
    // A disk of its own needs rights that a test rarely has.
    let mounted = Command::new("unshare")
        .args([
            "-m", "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", "small",
        ])
        .current_dir(bench.path())
        .stderr(Stdio::null())
        .status();
    if !mounted.is_ok_and(|s| s.success()) {
        eprintln!("NOT TESTED: no small disk can be made here");
        return;
    }
    let mut command = Command::new("unshare");
    let program = env!("CARGO_BIN_EXE_recode-client");
    command
        .args(["-m", "sh", "-c"])
        .arg(format!(
            "mount -t tmpfs -o size=64k tmpfs small && '{program}' transcode in.mp4 -o small/out.mp4; code=$?; \
             ls -A small; exit $code"
        ))
        .current_dir(bench.path())
        .env("RECODE_STATE", bench.file("state"));
    if let Some(ffmpeg) = crate::bench::real_ffmpeg() {
        command.env("RECODE_FFMPEG", ffmpeg);
    }
    let out = command.output().expect("it ran a moment ago");
    assert_eq!(out.status.code(), Some(5), "{}", said(&out));
    let said = said(&out);
    assert!(
        said.to_lowercase().contains("no space left on device") && said.contains("--state"),
        "{said}"
    );
    assert!(
        out.stdout.is_empty(),
        "left behind: {}",
        String::from_utf8_lossy(&out.stdout)
    );
}
