//! The grammar of command jobs: what a person may write of FFmpeg's own options, read into types.
//!
//! ```text
//!   text ─words─► words ─option─► names and values of a table ─line─► CommandLine ─argv─► arguments
//! ```
//!
//! Promises: an argument list is made of what was read and of paths that the caller names, never of the text; nothing in it
//! names another file, host or device; what is not in the tables is refused with its place and a remedy. No IO, no FFmpeg:
//! whoever takes a request in and whoever runs it read it alike.
//!
//! Deliberately not here: options that open files (`-passlogfile`, `-sdp_file`, `-attach`, presets by file), filters that do
//! (`movie`, `drawtext`, `subtitles`, `lut3d`, `metadata=file`), formats that name further files (`hls`, `dash`, `concat`,
//! `tee`), devices (`lavfi`, `x11grab`), private options as free text.

mod codec;
mod expression;
mod filter;
mod format;
mod graph;
pub mod hostile;
mod kind;
mod line;
mod map;
mod needs;
mod numbered;
mod option;
mod refused;
mod specifier;
mod value;
mod words;

pub use line::{CommandLine, Made, parse};
pub use numbered::{MOST_FILES, Numbered, name_of};
pub use refused::{Place, Refused};

/// Inputs of one run at most.
pub const MOST_INPUTS: usize = 32;
/// Outputs of one run at most.
pub const MOST_OUTPUTS: usize = 32;
/// The longest text of options, in bytes.
pub const LONGEST_TEXT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const DOCS: &str = include_str!("../../../docs/command-jobs.md");

    #[test]
    fn everything_that_may_be_used_is_documented() {
        let words: std::collections::BTreeSet<&str> = DOCS
            .split(|c: char| c.is_whitespace() || "`(),".contains(c))
            .collect();
        let known = |word: &str| assert!(words.contains(word), "docs/command-jobs.md lacks {word}");
        for spec in [
            option::GLOBAL,
            option::INPUT,
            option::OUTPUT,
            option::IGNORED,
        ]
        .concat()
        {
            known(&format!("-{}", spec.name));
            spec.aliases
                .iter()
                .for_each(|(alias, _)| known(&format!("-{alias}")));
        }
        filter::all().for_each(|filter| known(filter.name));
        codec::ENCODERS.iter().for_each(|(name, _)| known(name));
        codec::DECODERS.iter().for_each(|(name, _)| known(name));
        for (name, endings, _) in format::MUXERS {
            known(name);
            endings.iter().for_each(|ending| known(ending));
        }
        format::DEMUXERS.iter().for_each(|name| known(name));
    }
}
