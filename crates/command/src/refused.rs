//! What is wrong with a command, where, and what to do.

use std::fmt;

/// Which text of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The global options.
    Global,
    /// The options or the URL of an input, from 0.
    Input(usize),
    /// The options or the URL of an output, from 0.
    Output(usize),
    /// None of them: the command as a whole.
    Whole,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("the global options"),
            Self::Input(n) => write!(f, "input {}", n + 1),
            Self::Output(n) => write!(f, "output {}", n + 1),
            Self::Whole => f.write_str("the command"),
        }
    }
}

/// A command that is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refused {
    /// Which text.
    pub place: Place,
    /// The character in it where the refused word begins, from 1; 0: all of it.
    pub at: usize,
    /// What is wrong and what to do, in one sentence.
    pub why: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            0 => write!(f, "{}: {}", self.place, self.why),
            at => write!(f, "{}, character {at}: {}", self.place, self.why),
        }
    }
}

impl Refused {
    pub(crate) fn new(place: Place, at: usize, why: impl Into<String>) -> Self {
        let why = why.into();
        Self { place, at, why }
    }
}

/// A refused text as it can be shown: short, on one line, without what a terminal would act on.
pub(crate) fn shown(text: &str) -> String {
    let mut out: String = text.chars().take(60).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    format!("{out:?}")
}
