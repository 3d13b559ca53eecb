//! Filters and their arguments. Arguments stand in the order in which FFmpeg takes them without their names.
//!
//! A filter that opens a file, talks to the outside, writes into FFmpeg's log what a program could be meant to read, or takes
//! free text has no place here; nor has an argument of that kind of a filter that is here (`loudnorm`'s `stats_file`).

mod look;
mod mix;
mod shape;
mod words;

pub use words::{LAYOUTS, PIXELS};

use crate::kind::Kind;

/// What a filter works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Works {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Both.
    Both,
}

/// A filter that may be used.
#[derive(Clone, Copy, Debug)]
pub struct Filter {
    /// FFmpeg's name.
    pub name: &'static str,
    /// What it works on.
    pub works: Works,
    /// Its arguments, with all their names.
    pub args: &'static [Arg],
}

/// An argument: its names, the first of which is written, and what it may be.
#[derive(Clone, Copy, Debug)]
pub struct Arg {
    /// Names.
    pub names: &'static [&'static str],
    /// What it may be.
    pub kind: Kind,
    /// It may be given without its name, in its turn.
    pub in_turn: bool,
}

const fn arg(names: &'static [&'static str], kind: Kind) -> Arg {
    Arg {
        names,
        kind,
        in_turn: true,
    }
}

/// Only by its name.
const fn named(names: &'static [&'static str], kind: Kind) -> Arg {
    Arg {
        names,
        kind,
        in_turn: false,
    }
}

const fn filter(name: &'static str, works: Works, args: &'static [Arg]) -> Filter {
    Filter { name, works, args }
}

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Filter> {
    [shape::SHAPE, look::LOOK, mix::MIX].into_iter().flatten()
}

/// A filter by its name.
pub fn find(name: &str) -> Option<&'static Filter> {
    all().find(|filter| filter.name == name)
}
