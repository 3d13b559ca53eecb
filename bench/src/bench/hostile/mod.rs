//! `hostile`: files and option strings made to reach what they should not, and canaries that see it.
//!
//! ```text
//!  control     FFmpeg told to obey everything, no sandbox      every kind of canary must fire, or nothing is shown
//!  sandbox     the same, in the sandbox: no validator          no canary
//!  validator   recode-client --sandbox off                     no canary, no string accepted
//!  node        a cluster, both on, file after file             no canary; the next plain job is done within seconds
//! ```
//!
//! As root and as `nobody`, in a network of its own whose only resolver is a canary. The strings are a plain list
//! ([`strings::strings`]), so that whatever else parses options can be given the same ones.

pub mod canary;
pub mod media;
pub mod strings;

use crate::bench::sandbox_cost::Helper;
use crate::figure::Sheet;
use crate::measure;
use crate::site::{self, Programs, Site};
use crate::tools::Tools;
use anyhow::{Context as _, Result, ensure};
use canary::{Canaries, Kind};
use media::Hostile;
use rustix::process::{Pid, Signal};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Set in the process that runs in the network of its own.
const INSIDE: &str = "RECODE_HOSTILE_INSIDE";
/// The user and group id of `nobody` on every Linux.
const NOBODY: u32 = 65534;
/// How long a careless FFmpeg may wait for hosts that do not answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long one command of ours may take.
const OURS: Duration = Duration::from_secs(60);
/// What an FFmpeg without any care reads through.
const EVERY_PROTOCOL: &str = "file,http,https,tls,tcp,udp,rtp,srtp,rtmp,rtmpt,gopher,crypto,data,concat,subfile,cache,async,\
                              pipe,hls,unix,ftp,mmst,mmsh,httpproxy,icecast,fd";
/// Exit codes of `recode-client` that say no before anything is encoded.
const REFUSED: [i32; 3] = [2, 3, 5];

/// Runs all of it.
/// # Errors
/// It takes root; a program is missing; what was measured is in the sheet, not here.
pub fn run(tools: &Tools, sheet: &mut Sheet) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the canaries take a network of their own: run this as root"
    );
    if std::env::var_os(INSIDE).is_none() {
        return again_inside();
    }
    let folder = tempfile::tempdir()?;
    open_to_all(folder.path(), 0o755)?;
    own_network(folder.path())?;
    let stage = Stage::set(tools, folder.path())?;
    for user in User::ALL {
        control(&stage, user, sheet)?;
        confined(&stage, user, sheet)?;
        validated(&stage, user, sheet)?;
    }
    node(tools, &stage, sheet)
}

fn again_inside() -> Result<()> {
    let status = Command::new("unshare")
        .args(["--net", "--mount", "--"])
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .status()
        .context("unshare is missing: install util-linux")?;
    ensure!(status.success(), "it failed inside its own network");
    Ok(())
}

fn own_network(folder: &Path) -> Result<()> {
    let resolver = folder.join("resolv.conf");
    fs::write(
        &resolver,
        "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
    )?;
    let mut up = Command::new("ip");
    up.args(["link", "set", "lo", "up"]);
    measure::run(&mut up)?.succeeded("ip link")?;
    let mut bind = Command::new("mount");
    bind.arg("--bind").arg(&resolver).arg("/etc/resolv.conf");
    measure::run(&mut bind)?.succeeded("mount")?;
    Ok(())
}

fn open_to_all(path: &Path, mode: u32) -> Result<()> {
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

/// Who runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum User {
    Root,
    Nobody,
}

impl User {
    const ALL: [Self; 2] = [Self::Root, Self::Nobody];

    fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Nobody => "nobody",
        }
    }
}

struct Stage {
    canaries: Canaries,
    helper: Helper,
    ffmpeg: PathBuf,
    client: PathBuf,
    attacker: PathBuf,
    /// Where runs work; everybody may write it.
    room: PathBuf,
    sample: PathBuf,
    files: Vec<Hostile>,
    strings: Vec<String>,
    has_picky: bool,
}

impl Stage {
    fn set(tools: &Tools, folder: &Path) -> Result<Self> {
        let room = folder.join("room");
        fs::create_dir(&room)?;
        open_to_all(&room, 0o777)?;
        let sample = folder.join("sample.mp4");
        let mut make = tools.ffmpeg();
        make.args([
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=160x120:rate=25:duration=1",
        ]);
        make.args(["-c:v", "libx264", "-preset", "ultrafast"])
            .arg(&sample);
        measure::run(&mut make)?.succeeded("making the sample")?;
        // Where they were built may be closed to others.
        let bin = folder.join("bin");
        fs::create_dir(&bin)?;
        let copied = |from: &Path| -> Result<PathBuf> {
            let to = bin.join(from.file_name().context("a program has a name")?);
            fs::copy(from, &to)
                .with_context(|| format!("no {}: run `make build`", from.display()))?;
            open_to_all(&to, 0o755)?;
            Ok(to)
        };
        let beside = |name: &str| tools.client.with_file_name(name);
        let client = copied(&tools.client)?;
        copied(&beside("recode-sandbox"))?;
        let attacker = copied(&std::env::current_exe()?.with_file_name("recode-hostile-acts"))?;
        let ffmpeg = copied(&tools.ffmpeg)?;
        let helper = Helper::find(&Tools {
            client: client.clone(),
            ..tools.clone()
        })?;
        let canaries = Canaries::set(folder, &sample)?;
        let files = media::corpus(&canaries.targets, &fs::read(&sample)?);
        for file in &files {
            fs::write(room.join(&file.name), &file.bytes)?;
        }
        let strings = strings::strings(&canaries.targets);
        let mut help = Command::new(&ffmpeg);
        help.args(["-hide_banner", "-h", "demuxer=hls"]);
        let has_picky = measure::run(&mut help)?.stdout.contains("extension_picky");
        canaries.hits()?;
        Ok(Self {
            canaries,
            helper,
            ffmpeg,
            client,
            attacker,
            room,
            sample,
            files,
            strings,
            has_picky,
        })
    }

    /// Runs `command` in the room and counts what it touched. `None`: no program takes such arguments.
    fn fire(&self, mut command: Command, user: User, patience: Duration) -> Result<Option<Fired>> {
        if user == User::Nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
            .current_dir(&self.room)
            .env("HOME", &self.room)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let began = Instant::now();
        let mut child = match command.spawn() {
            Err(e) if e.kind() == std::io::ErrorKind::InvalidInput => return Ok(None),
            spawned => spawned?,
        };
        let group = Pid::from_child(&child);
        let code = loop {
            if let Some(status) = child.try_wait()? {
                break status.code();
            }
            if began.elapsed() > patience {
                rustix::process::kill_process_group(group, Signal::KILL)?;
                child.wait()?;
                break None;
            }
            self.canaries.answer(None)?;
            // How often to look; nothing is decided by it.
            std::thread::sleep(Duration::from_millis(2));
        };
        let hits = self.canaries.hits()?.into_iter().collect();
        Ok(Some(Fired { code, hits }))
    }

    /// FFmpeg, or the attacker in its place, as a node would start it, or as it is.
    fn start(&self, program: &Path, reads: &[&Path], confined: bool) -> Command {
        let mut command = match confined {
            true => self.helper.command(program, reads, &[&self.room], None),
            false => Command::new(program),
        };
        command.env_clear();
        command
    }

    /// All attacks on a careless FFmpeg: what was attacked, and the command.
    fn attacks(&self, confined: bool) -> Vec<(String, Command)> {
        let mut all = Vec::new();
        let quiet = ["-nostdin", "-hide_banner", "-loglevel", "error", "-y"];
        for file in &self.files {
            let path = self.room.join(&file.name);
            let mut command = self.start(&self.ffmpeg, &[&path], confined);
            command
                .args(quiet)
                .args(["-protocol_whitelist", EVERY_PROTOCOL]);
            let mut careless = file.careless.iter();
            while let Some(word) = careless.next() {
                match *word == "-extension_picky" && !self.has_picky {
                    true => _ = careless.next(),
                    false => _ = command.arg(word),
                }
            }
            command.arg("-i").arg(&path);
            command.args(["-map", "0", "-c", "copy", "-t", "0.2", "-f", "null", "-"]);
            all.push((format!("file {}", file.name), command));
        }
        for string in &self.strings {
            let mut command = self.start(&self.ffmpeg, &[&self.sample], confined);
            command.args(quiet).arg("-i").arg(&self.sample);
            command.args(string.split_whitespace());
            command.args(["-t", "0.2", "-f", "null", "-"]);
            all.push((format!("string {string:?}"), command));
        }
        let at = &self.canaries.targets;
        for kind in Kind::ALL {
            let target = match kind {
                Kind::Read => at.secrets.join("secret.txt").display().to_string(),
                Kind::Write => at.outside.join("made").display().to_string(),
                Kind::Tcp => at.tcp.to_string(),
                Kind::Udp => at.udp.to_string(),
                Kind::Dns => "53".to_owned(),
                Kind::Spawn => at.program.display().to_string(),
            };
            let mut command = self.start(&self.attacker, &[], confined);
            command.args([kind.name(), &target]);
            all.push((format!("act {}", kind.name()), command));
        }
        all
    }
}

struct Fired {
    code: Option<i32>,
    hits: Vec<Kind>,
}

/// Every attack without any defence: only what fires here can show something there.
fn control(stage: &Stage, user: User, sheet: &mut Sheet) -> Result<()> {
    let mut fired: BTreeMap<Kind, u32> = Kind::ALL.map(|kind| (kind, 0)).into();
    for (_, command) in stage.attacks(false) {
        let Some(run) = stage.fire(command, user, PATIENCE)? else {
            continue;
        };
        for kind in run.hits {
            *fired.entry(kind).or_default() += 1;
        }
    }
    let case = format!("control, {}", user.name());
    for (kind, count) in fired {
        let case = format!("{case}, {}", kind.name());
        sheet.add(&case, "control_fired", "count", &[f64::from(count)], "");
    }
    Ok(())
}

/// The same attacks in the sandbox.
fn confined(stage: &Stage, user: User, sheet: &mut Sheet) -> Result<()> {
    let mut hits = 0;
    for (what, command) in stage.attacks(true) {
        let Some(run) = stage.fire(command, user, PATIENCE)? else {
            continue;
        };
        hits += report("in the sandbox", user, &what, &run.hits);
    }
    let case = format!("sandbox, {}", user.name());
    count(sheet, &case, "hits", hits);
    count(sheet, &case, "files", stage.files.len());
    count(sheet, &case, "strings", stage.strings.len());
    Ok(())
}

/// `recode-client` without sandbox: what is left is that it asks FFmpeg for nothing of the kind.
fn validated(stage: &Stage, user: User, sheet: &mut Sheet) -> Result<()> {
    let state = stage.room.join(format!("state-{}", user.name()));
    let client = |words: &[&str]| {
        let mut command = Command::new(&stage.client);
        command
            .args(words)
            .args(["--sandbox", "off", "--state"])
            .arg(&state);
        command.env("RECODE_FFMPEG", &stage.ffmpeg);
        command.env_remove("RECODE_ENDPOINT");
        command
    };
    let output = stage.room.join(format!("out-{}.mp4", user.name()));
    let output = output.to_str().context("the folder's name is text")?;
    let encode = [
        "-o",
        output,
        "--codec",
        "h264",
        "--preset",
        "ultrafast",
        "--force",
        "--quiet",
    ];
    let (mut hits, mut accepted) = (0, 0);
    for file in &stage.files {
        let probe = client(&["probe", &file.name]);
        let transcode = client(&[&["transcode", &file.name], &encode[..]].concat());
        for command in [probe, transcode] {
            if let Some(run) = stage.fire(command, user, OURS)? {
                hits += report("by the client", user, &file.name, &run.hits);
            }
        }
    }
    let sample = stage.sample.to_str().context("the folder's name is text")?;
    let mut given = 0;
    for (number, string) in stage.strings.iter().enumerate() {
        for (which, flag) in strings::FLAGS.iter().enumerate() {
            // Who asks makes no difference to the words, so one user tries each flag with each string.
            if user == User::Nobody && which != number % strings::FLAGS.len() {
                continue;
            }
            let value = format!("{flag}={string}");
            let words = [
                "transcode",
                sample,
                "-o",
                output,
                "--force",
                "--quiet",
                &value,
            ];
            let Some(run) = stage.fire(client(&words), user, OURS)? else {
                given += 1;
                continue;
            };
            given += 1;
            hits += report("by the client", user, &value, &run.hits);
            if !run.code.is_some_and(|code| REFUSED.contains(&code)) {
                eprintln!("accepted from {}: {value:?} ({:?})", user.name(), run.code);
                accepted += 1;
            }
        }
    }
    let case = format!("validator, {}", user.name());
    count(sheet, &case, "hits", hits);
    count(sheet, &case, "accepted", accepted);
    count(sheet, &case, "files", stage.files.len());
    count(sheet, &case, "strings", stage.strings.len());
    count(sheet, &case, "values_given", given);
    Ok(())
}

/// A cluster with one node is given every file; after each, a plain job must be done soon.
fn node(tools: &Tools, stage: &Stage, sheet: &mut Sheet) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let wanted = site::Wanted {
        programs: Programs::beside(tools, &tools.ffmpeg)?,
        nodes: 1,
        workers: 1,
        cuttable: false,
        fillable: Vec::new(),
    };
    let mut site = Site::start(wanted, folder.path())?;
    let url = |path: &Path| format!("file://{}", path.display());
    let output = url(&folder.path().join("out.mp4"));
    let job = |source: &Path| {
        let words = [
            "-o",
            &output,
            "--codec",
            "h264",
            "--preset",
            "ultrafast",
            "--force",
            "--quiet",
        ];
        let mut command = site.client(&[&["transcode", &url(source)], &words[..]].concat());
        command.env("RECODE_FFMPEG", &tools.ffmpeg);
        command
    };
    let plain = |patience: Duration| -> Result<f64> {
        let began = Instant::now();
        let run = stage.fire(job(&stage.sample), User::Root, patience)?;
        let code = run.and_then(|run| run.code);
        ensure!(code == Some(0), "a plain job is not done: {code:?}");
        Ok(began.elapsed().as_secs_f64())
    };
    // Until the node has joined.
    plain(OURS)?;
    let (mut hits, mut healthy) = (0, Vec::new());
    for file in &stage.files {
        if let Some(run) = stage.fire(job(&stage.room.join(&file.name)), User::Root, OURS)? {
            hits += report("on the node", User::Root, &file.name, &run.hits);
        }
        healthy.push(plain(OURS)?);
    }
    site.stop()?;
    count(sheet, "node, root", "hits", hits);
    count(sheet, "node, root", "files", stage.files.len());
    sheet.add(
        "node, root",
        "healthy_after",
        "s",
        &healthy,
        "a plain job of one second, to its end",
    );
    Ok(())
}

/// Names what got out, and counts it.
fn report(place: &str, user: User, what: &str, hits: &[Kind]) -> usize {
    for kind in hits {
        eprintln!("{} {place}, as {}: {what}", kind.name(), user.name());
    }
    hits.len()
}

fn count(sheet: &mut Sheet, case: &str, metric: &'static str, number: usize) {
    sheet.add(case, metric, "count", &[number as f64], "");
}
