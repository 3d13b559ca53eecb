//! The layers of the sandbox, by name.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// One thing that holds a child back. Each holds without the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// A mount namespace in which only the run's own folders and files can be written.
    Mount,
    /// A PID namespace: no other process can be seen, and none outlives the run.
    Pid,
    /// A network namespace without any interface that is up.
    Network,
    /// Only named files can be opened.
    Landlock,
    /// No sockets, no further processes, none of the calls that reach around the other layers.
    Seccomp,
}

/// A set of layers.
pub type Layers = BTreeSet<Layer>;

impl Layer {
    /// All, in the order in which they are entered.
    pub const ALL: [Self; 5] = [
        Self::Mount,
        Self::Pid,
        Self::Network,
        Self::Landlock,
        Self::Seccomp,
    ];

    /// As in arguments and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mount => "mount",
            Self::Pid => "pid",
            Self::Network => "network",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
        }
    }

    /// As in sentences.
    pub fn title(self) -> &'static str {
        match self {
            Self::Mount => "a mount namespace",
            Self::Pid => "a PID namespace",
            Self::Network => "a network namespace",
            Self::Landlock => "Landlock",
            Self::Seccomp => "seccomp",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No layer has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no layer {0}; the layers are mount, pid, network, landlock and seccomp")]
pub struct Unknown(pub String);

impl FromStr for Layer {
    type Err = Unknown;

    fn from_str(name: &str) -> Result<Self, Unknown> {
        let found = Self::ALL.into_iter().find(|layer| layer.name() == name);
        found.ok_or_else(|| Unknown(name.to_owned()))
    }
}
