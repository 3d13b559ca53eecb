//! A folder to work in and a way to run the program there.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The user and group id of `nobody` on every Linux.
const NOBODY: u32 = 65534;

/// FFmpeg as the tests use it: `RECODE_FFMPEG`, the project's own build, `PATH`.
pub fn real_ffmpeg() -> Option<PathBuf> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin/ffmpeg");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let named = std::env::var_os("RECODE_FFMPEG").map(PathBuf::from);
    let on_path = std::env::split_paths(&path).map(|dir| dir.join("ffmpeg"));
    named
        .into_iter()
        .chain([project])
        .chain(on_path)
        .find(|p| p.is_file())
        .and_then(|p| p.canonicalize().ok())
}

/// A folder with the program in it.
pub struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    /// An empty folder that everybody may enter and write.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let bench = Self { dir };
        bench.chmod(".", 0o777);
        bench
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.file(name), bytes).expect("the folder is ours");
    }

    /// Changes permissions.
    pub fn chmod(&self, name: &str, mode: u32) {
        std::fs::set_permissions(self.file(name), std::fs::Permissions::from_mode(mode))
            .expect("the file is ours");
    }

    /// The program, ready to run in the folder with nothing of ours in its environment.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_recode-client"));
        command.current_dir(self.path());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("RECODE_") && name != "RECODE_FFMPEG" {
                command.env_remove(name);
            }
        }
        command.env("RECODE_STATE", self.file("state"));
        let helper =
            Path::new(env!("CARGO_BIN_EXE_recode-client")).with_file_name("recode-sandbox");
        if !helper.is_file() {
            eprintln!("NOT TESTED: the sandbox, since recode-sandbox is not built");
            command.env("RECODE_SANDBOX", "off");
        }
        command.args(line.split_whitespace());
        command
    }

    /// The program with an FFmpeg of its own.
    pub fn command_with(&self, ffmpeg: &Path, line: &str) -> Command {
        let mut command = self.command(&format!("transcode {line}"));
        command.env("RECODE_FFMPEG", ffmpeg);
        // Stand-ins are scripts, and no script can be confined.
        command.env("RECODE_SANDBOX", "off");
        command
    }

    /// A stand-in for FFmpeg: a shell script that does `body` and goes on as the real one, `$REAL`.
    pub fn stand_in(&self, name: &str, body: &str) -> PathBuf {
        let real = real_ffmpeg()
            .map(|p| p.display().to_string())
            .unwrap_or_default();
        let script = format!("#!/bin/sh\nREAL={real}\n{body}\nexec $REAL \"$@\"\n");
        // Written by a child: a program that another thread's child still holds open for writing cannot be run.
        self.shell(
            "printf %s \"$1\" > \"$2\" && chmod 755 \"$2\"",
            &script,
            name,
        );
        self.file(name)
    }

    /// Copies a program into the folder. By a child, as in [`Bench::stand_in`]; no link, which would be written through.
    fn bring(&self, program: &Path, name: &str) -> PathBuf {
        let from = program.to_str().expect("its path is text");
        self.shell("cp \"$1\" \"$2\"", from, name);
        self.file(name)
    }

    fn shell(&self, body: &str, first: &str, name: &str) {
        let status = Command::new("sh")
            .args(["-c", body, "sh", first])
            .arg(self.file(name))
            .status();
        assert!(status.is_ok_and(|s| s.success()), "{name} was not written");
    }

    /// Makes a small clip with sound, or says aloud that there is no FFmpeg to test with.
    pub fn clip(&self, name: &str) -> bool {
        let Some(ffmpeg) = real_ffmpeg() else {
            eprintln!("NOT TESTED: there is no FFmpeg here");
            return false;
        };
        let line = "-loglevel error -f lavfi -i testsrc2=size=160x120:rate=25:duration=4 -f lavfi \
                    -i sine=duration=4 -c:v libx264 -preset ultrafast -g 25 -c:a aac -y";
        let status = Command::new(ffmpeg)
            .args(line.split_whitespace())
            .arg(self.file(name))
            .stdin(std::process::Stdio::null())
            .status();
        assert!(status.is_ok_and(|s| s.success()), "the clip was not made");
        true
    }

    /// `transcode LINE` ends with `code`, says exactly `message`, and leaves no new file beside state and inputs.
    pub fn refused(&self, line: &str, code: i32, message: &str) {
        self.refused_by(
            self.command(&format!("transcode {line}")),
            line,
            code,
            message,
        );
    }

    /// The same as a user without rights; as ourselves where we are not root.
    pub fn refused_as_nobody(&self, line: &str, code: i32, message: &str) {
        let mut command = self.command(&format!("transcode {line}"));
        if rustix::process::geteuid().is_root() {
            // The folder that we are in may be closed to others.
            let program = Path::new(env!("CARGO_BIN_EXE_recode-client"));
            let mut copy = Command::new(self.bring(program, "recode-client"));
            if let Some(ffmpeg) = real_ffmpeg() {
                copy.env("RECODE_FFMPEG", self.bring(&ffmpeg, "ffmpeg"));
            }
            copy.args(command.get_args()).current_dir(self.path());
            copy.env("RECODE_STATE", self.file("state-nobody"));
            copy.env("RECODE_SANDBOX", "off");
            copy.uid(NOBODY).gid(NOBODY);
            command = copy;
        }
        self.refused_by(command, line, code, message);
    }

    /// Runs `command` and compares.
    pub fn refused_by(&self, mut command: Command, line: &str, code: i32, message: &str) {
        let before = self.listing();
        let out = command.output().expect("the program is built");
        let said = String::from_utf8_lossy(&out.stderr)
            .replace(&format!("{}/", self.path().display()), "DIR/")
            .replace(&self.path().display().to_string(), "DIR");
        assert_eq!(
            (out.status.code(), said.as_str()),
            (Some(code), format!("recode-client: {message}\n").as_str()),
            "transcode {line}"
        );
        assert_eq!(
            self.listing(),
            before,
            "transcode {line} left something behind"
        );
        // Counted by `make evidence LINE=1.12`.
        println!("message held: exit {code}: {message}");
    }

    /// Names of all files in the folder, except state.
    pub fn listing(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.path())
            .expect("the folder is ours")
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .filter(|name| !name.starts_with("state"))
            .collect();
        names.sort();
        names
    }
}
