//! A folder to work in and a way to run the program there.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The user and group id of `nobody` on every Linux.
const NOBODY: u32 = 65534;

/// A folder with the program in it.
pub struct Bench {
    dir: tempfile::TempDir,
}

#[allow(dead_code, reason = "each test binary uses a part of it")]
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
        command.args(line.split_whitespace());
        command
    }

    /// Runs a command line to its end.
    pub fn run(&self, line: &str) -> Output {
        self.command(line).output().expect("the program is built")
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
            // The build folder may be closed to others, so the program is copied.
            let program = self.file("recode-client");
            std::fs::copy(env!("CARGO_BIN_EXE_recode-client"), &program).expect("there is room");
            let mut copy = Command::new(program);
            copy.args(command.get_args()).current_dir(self.path());
            copy.env("RECODE_STATE", self.file("state-nobody"));
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
