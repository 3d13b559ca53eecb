//! What went wrong, in one sentence, and the exit code that says what kind of thing it was.

use recode_types::task::FailureClass;
use serde_json::json;
use std::fmt;

/// What kind of thing went wrong. Decides the exit code; scripts may rely on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The job was tried and failed.
    Job,
    /// The flags or the job file ask for something impossible.
    Usage,
    /// The Source cannot be read or holds no picture that can be encoded.
    Input,
    /// The Output cannot be written where it was asked for.
    Output,
    /// This machine lacks something: FFmpeg, an encoder, disk space, the network.
    Environment,
    /// Ctrl-C. The job's state is kept.
    Interrupted,
}

impl Kind {
    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Job => 1,
            Self::Usage => 2,
            Self::Input => 3,
            Self::Output => 4,
            Self::Environment => 5,
            Self::Interrupted => 130,
        }
    }

    /// The word used in machine-readable errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Usage => "usage",
            Self::Input => "input",
            Self::Output => "output",
            Self::Environment => "environment",
            Self::Interrupted => "interrupted",
        }
    }
}

impl From<FailureClass> for Kind {
    fn from(class: FailureClass) -> Self {
        match class {
            FailureClass::BadInput | FailureClass::SourceChanged => Self::Input,
            FailureClass::OutputExists => Self::Output,
            FailureClass::MissingCapability
            | FailureClass::OutOfResources
            | FailureClass::Store => Self::Environment,
            FailureClass::Killed | FailureClass::IndexLied | FailureClass::Unknown => Self::Job,
        }
    }
}

/// Why a command ends without having done what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Decides the exit code.
    pub kind: Kind,
    /// One lower-case sentence that names the thing and the remedy.
    pub message: String,
    /// The last lines FFmpeg wrote, where FFmpeg failed.
    pub stderr_tail: Option<String>,
}

impl Fault {
    /// A fault of `kind`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            stderr_tail: None,
        }
    }
    /// The request contradicts itself or cannot be met by anything.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }
    /// The Source is at fault.
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(Kind::Input, message)
    }
    /// The Output's place is at fault.
    pub fn output(message: impl Into<String>) -> Self {
        Self::new(Kind::Output, message)
    }
    /// The machine is at fault.
    pub fn environment(message: impl Into<String>) -> Self {
        Self::new(Kind::Environment, message)
    }

    /// The same, naming the Source by what was typed: nodes know URLs and say "the source".
    pub fn of_source(mut self, typed: &str) -> Self {
        if let Some(rest) = self.message.strip_prefix("the source ") {
            self.message = format!("{typed} {rest}");
        }
        self
    }

    /// The machine-readable form printed with `--json`.
    pub fn json(&self) -> serde_json::Value {
        let mut error = json!({
            "code": self.kind.code(),
            "kind": self.kind.name(),
            "message": self.message,
        });
        if let Some(tail) = &self.stderr_tail {
            error["stderr_tail"] = json!(tail);
        }
        json!({ "error": error })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}
