use super::*;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// A make-believe FFmpeg: a shell script whose last argument is the script's own business, run as `ffmpeg` would be.
fn script(dir: &Path, body: &str) -> Ffmpeg {
    let at = dir.join("ffmpeg");
    // `$P` is the descriptor that `-progress pipe:N` names.
    let head = "#!/bin/sh\nfor a in \"$@\"; do case $a in pipe:*) P=${a#pipe:};; esac; done\nexport PATH=/usr/bin:/bin\n";
    std::fs::write(&at, format!("{head}{body}\n")).unwrap();
    std::fs::set_permissions(&at, std::fs::Permissions::from_mode(0o755)).unwrap();
    Ffmpeg::stand_in(at)
}

fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|s| !s.contains(") Z "))
}

async fn gone(pid: u32) {
    let begin = Instant::now();
    while alive(pid) {
        assert!(
            begin.elapsed() < Duration::from_secs(2),
            "{pid} still lives"
        );
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn progress_output_and_usage_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let ffmpeg = script(
        dir.path(),
        r#"printf 'frame=7\ntotal_size=99\nprogress=end\n' >/proc/self/fd/$P; echo one; echo two; echo said >&2; env"#,
    );
    let child = spawn(&ffmpeg, Invocation::new(vec![]).with_stdout())
        .await
        .unwrap();
    let (mut lines, mut reports) = (vec![], vec![]);
    let finished = child
        .wait_lines(|l| lines.push(l.to_owned()), |p| reports.push(p))
        .await
        .unwrap();
    assert_eq!(lines[..2], ["one", "two"]);
    // The shell sets PWD, OLDPWD, SHLVL and `_` itself; PATH is the script's, and the tunable is ours.
    let inherited = lines[2..].iter().filter(|l| {
        ![
            "PWD=",
            "OLDPWD=",
            "SHLVL=",
            "_=",
            "PATH=",
            "GLIBC_TUNABLES=",
        ]
        .iter()
        .any(|k| l.starts_with(k))
    });
    assert_eq!(inherited.count(), 0, "environment is not empty: {lines:?}");
    assert_eq!(
        (
            reports.len(),
            finished.progress.frames,
            finished.progress.bytes
        ),
        (1, 7, 99)
    );
    assert_eq!(finished.stderr_tail, "said");
    assert!(finished.usage.peak_rss_bytes > 100_000 && finished.usage.wall > Duration::ZERO);
}

#[tokio::test]
async fn stdin_is_fed_and_closed() {
    use tokio::io::AsyncWriteExt as _;
    let dir = tempfile::tempdir().unwrap();
    let ffmpeg = script(dir.path(), "wc -c");
    let mut child = spawn(&ffmpeg, Invocation::new(vec![]).with_stdin().with_stdout())
        .await
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut counted = String::new();
    let feed = async {
        stdin.write_all(&vec![0; 300_000]).await.unwrap();
        drop(stdin);
    };
    let (finished, ()) = tokio::join!(child.wait_lines(|l| counted += l, |_| {}), feed);
    finished.unwrap();
    assert_eq!(counted.trim(), "300000");
}

#[tokio::test]
async fn a_failure_keeps_the_last_lines_and_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let ffmpeg = script(
        dir.path(),
        "i=0; while [ $i -lt 300 ]; do echo \"line $i\" >&2; i=$((i+1)); done; head -c 100000 /dev/zero | tr '\\0' x >&2; exit 3",
    );
    let error = run(&ffmpeg, Invocation::new(vec!["-i".into()]))
        .await
        .unwrap_err();
    let tail = error.failure.stderr_tail.unwrap();
    assert_eq!(tail.lines().count(), TAIL_LINES);
    assert_eq!(tail.lines().last().unwrap().len(), LINE_BYTES);
    assert!(!tail.contains("line 200\n") && tail.contains("line 201\n"));
    assert_eq!(
        (error.status.unwrap().code(), error.args.len()),
        (Some(3), 1)
    );
}

#[tokio::test]
async fn a_missing_executable_is_named() {
    let error = run(
        &Ffmpeg::stand_in("/nowhere/ffmpeg"),
        Invocation::new(vec![]),
    )
    .await
    .unwrap_err();
    assert_eq!(error.failure.class, FailureClass::MissingCapability);
    assert!(
        error
            .failure
            .message
            .contains("/nowhere/ffmpeg cannot be started")
    );
}

#[tokio::test]
async fn a_run_behind_others_lets_them_go_first() {
    let dir = tempfile::tempdir().unwrap();
    let ffmpeg = script(dir.path(), "nice");
    let mut heard = Vec::new();
    for behind in [false, true] {
        let mut invocation = Invocation::new(vec![]).with_stdout();
        invocation.behind = behind;
        let child = spawn(&ffmpeg, invocation).await.unwrap();
        let mut said = String::new();
        let ended = child.wait_lines(|line| said.push_str(line), |_| {}).await;
        ended.unwrap();
        heard.push(said.trim().parse::<i32>().unwrap());
    }
    assert_eq!(heard[1], (heard[0] + 10).min(19), "{heard:?}");
}

#[tokio::test]
async fn threads_of_a_run_do_not_interrupt_each_other() {
    let dir = tempfile::tempdir().unwrap();
    // `policy` of proc_pid_stat(5).
    let ffmpeg = script(dir.path(), "cut -d' ' -f41 /proc/self/stat");
    let invocation = Invocation::new(vec![]).with_stdout();
    let child = spawn(&ffmpeg, invocation).await.unwrap();
    let mut said = String::new();
    let ended = child.wait_lines(|line| said.push_str(line), |_| {}).await;
    ended.unwrap();
    assert_eq!(said.trim(), libc::SCHED_BATCH.to_string());
}

#[tokio::test]
async fn dropping_a_child_kills_its_whole_group() {
    let dir = tempfile::tempdir().unwrap();
    let ffmpeg = script(dir.path(), "trap '' TERM; sleep 600 & echo $!; wait");
    let mut child = spawn(&ffmpeg, Invocation::new(vec![]).with_stdout())
        .await
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let grandchild: u32 = lines.next_line().await.unwrap().unwrap().parse().unwrap();
    let pid = child.pid();
    assert!(alive(pid) && alive(grandchild));
    let waiting = tokio::time::timeout(Duration::from_millis(50), child.wait(|_| {})).await;
    assert!(waiting.is_err(), "it ended by itself");
    gone(pid).await;
    gone(grandchild).await;
}

/// With control groups that serve for `one`, and `bytes` of memory for each run; `None`: this user may have none here.
fn held(ffmpeg: Ffmpeg, one: cgroup::Use, bytes: u64) -> Option<Ffmpeg> {
    let (groups, missing) = cgroup::Groups::open(&cgroup::Wish::Auto).unwrap();
    if !groups.uses().contains(&one) {
        eprintln!("NOT TESTED: control groups, since {}", missing.unwrap());
        return None;
    }
    let allowance = memory::Allowance::new(Some(bytes), None);
    Some(ffmpeg.within(groups, allowance))
}

#[tokio::test]
async fn too_much_memory_is_out_of_resources_and_a_larger_class_is_enough() {
    let dir = tempfile::tempdir().unwrap();
    // Keeps what it reads.
    let ffmpeg = script(
        dir.path(),
        "head -c 100000000 /dev/zero | tail -c 100000000",
    );
    let Some(ffmpeg) = held(ffmpeg, cgroup::Use::Memory, 64_000_000) else {
        return;
    };
    let keep = || Invocation::new(vec![]).with_stdout();
    let child = spawn(&ffmpeg, keep()).await.unwrap();
    let error = child.wait_lines(|_| {}, |_| {}).await.unwrap_err();
    assert_eq!(error.failure.class, FailureClass::OutOfResources);
    let said = &error.failure.message;
    assert!(
        said.starts_with("ffmpeg needed more than the 64 MB"),
        "{said}"
    );
    let child = spawn(&ffmpeg.roomier(), keep()).await.unwrap();
    child.wait_lines(|_| {}, |_| {}).await.unwrap();
    // A signal from elsewhere is still one.
    let ffmpeg = script(dir.path(), "kill -9 $$").within(ffmpeg.groups, ffmpeg.allowance);
    let error = run(&ffmpeg, Invocation::new(vec![])).await.unwrap_err();
    assert_eq!(error.failure.class, FailureClass::Killed);
}

#[tokio::test]
async fn who_has_left_the_group_of_a_child_ends_with_it_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    // It ends with its input.
    let body = "setsid sh -c 'echo $$; exec sleep 600' & read word; exit 0";
    for is_dropped in [true, false] {
        let ffmpeg = script(dir.path(), body);
        let Some(ffmpeg) = held(ffmpeg, cgroup::Use::Kill, 64_000_000) else {
            return;
        };
        let both = Invocation::new(vec![]).with_stdin().with_stdout();
        let mut child = spawn(&ffmpeg, both).await.unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let left: u32 = lines.next_line().await.unwrap().unwrap().parse().unwrap();
        assert!(alive(left));
        match is_dropped {
            true => drop(child),
            false => drop(child.wait(|_| {}).await.unwrap()),
        }
        gone(left).await;
    }
}

#[tokio::test]
async fn a_child_stands_still_for_as_long_as_it_has_to_and_is_not_blamed() {
    let dir = tempfile::tempdir().unwrap();
    let ffmpeg = script(dir.path(), "while :; do echo x; done");
    let mut busy = Invocation::new(vec![]).with_stdout();
    busy.patience = Duration::from_millis(200);
    let mut child = spawn(&ffmpeg, busy).await.unwrap();
    let (pid, brake) = (child.pid(), child.brake());
    let state = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(')')
            .next()
            .unwrap()
            .trim()
            .chars()
            .next()
            .unwrap()
    };
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let waiting = tokio::spawn(child.wait(|_| {}));
    lines.next_line().await.unwrap();
    // Longer than its patience.
    for _ in 0..50 {
        brake.set(true);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(state(), 'T');
    assert!(!waiting.is_finished(), "it was blamed");
    brake.set(false);
    // More than a pipe holds.
    for _ in 0..100_000 {
        lines.next_line().await.unwrap();
    }
    brake.set(true);
    waiting.abort();
    gone(pid).await;
}

#[tokio::test]
async fn a_hanging_child_is_stopped_and_so_is_an_endless_one() {
    let dir = tempfile::tempdir().unwrap();
    let ffmpeg = script(dir.path(), "exec sleep 600");
    let mut hanging = Invocation::new(vec![]);
    hanging.patience = Duration::from_millis(200);
    let error = run(&ffmpeg, hanging).await.unwrap_err();
    assert_eq!(error.failure.class, FailureClass::Killed);
    assert!(error.failure.message.contains("no progress"));
    let ffmpeg = script(
        dir.path(),
        r#"i=0; while :; do i=$((i+1)); printf 'frame=%s\nprogress=continue\n' $i >/proc/self/fd/$P; done"#,
    );
    let mut endless = Invocation::new(vec![]);
    endless.patience = Duration::from_millis(200);
    endless.wall = Some(Duration::from_millis(900));
    let error = run(&ffmpeg, endless).await.unwrap_err();
    assert!(error.failure.message.contains("longer than 0.9 s"));
    assert!(error.usage.wall >= Duration::from_millis(900));
}

#[tokio::test]
async fn a_file_limit_is_out_of_resources() {
    let dir = tempfile::tempdir().unwrap();
    let ffmpeg = script(dir.path(), "exec head -c 1000000 /dev/zero > big");
    let mut invocation = Invocation::new(vec![]);
    invocation.directory = Some(dir.path().to_owned());
    invocation.limits.file_bytes = Some(4096);
    let error = run(&ffmpeg, invocation).await.unwrap_err();
    assert_eq!(error.failure.class, FailureClass::OutOfResources);
    assert_eq!(
        std::fs::metadata(dir.path().join("big")).unwrap().len(),
        4096
    );
}

/// Not a test of its own: run again by the next test as the process that is killed.
#[tokio::test]
async fn parent_that_is_killed() {
    let Some(dir) = std::env::var_os("RECODE_TEST_PARENT") else {
        return;
    };
    let dir = PathBuf::from(dir);
    let ffmpeg = script(&dir, "exec sleep 600");
    let child = spawn(&ffmpeg, Invocation::new(vec![])).await.unwrap();
    std::fs::write(dir.join("pid.new"), child.pid().to_string()).unwrap();
    std::fs::rename(dir.join("pid.new"), dir.join("pid")).unwrap();
    let _ = child.wait(|_| {}).await;
}

#[tokio::test]
async fn children_die_with_a_parent_that_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut parent = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "run::tests::parent_that_is_killed"])
        .env("RECODE_TEST_PARENT", dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begin = Instant::now();
    let pid: u32 = loop {
        if let Ok(pid) = std::fs::read_to_string(dir.path().join("pid")) {
            break pid.parse().unwrap();
        }
        assert!(begin.elapsed() < Duration::from_secs(20));
        tokio::task::yield_now().await;
    };
    assert!(alive(pid));
    parent.kill().unwrap();
    parent.wait().unwrap();
    gone(pid).await;
}
