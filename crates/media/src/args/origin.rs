//! The Source as an input, on the one clock that pictures, sound and subtitles share.
//!
//! A plain FFmpeg process counts time from the start of its input. For most formats that is the start of the file. For
//! those whose timestamps may jump (MPEG-TS, MPEG-PS, Ogg) it is the earliest start among the streams *in use*, and jumps
//! are mended by what streams in use show. So every run on such a Source uses the same ones, wanted or not.

use super::list::List;
use recode_types::source::SourceFacts;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The wanted part of the Source, in microseconds from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Where it starts.
    pub start_us: Option<i64>,
    /// How long it is.
    pub duration_us: Option<i64>,
}

/// The Source, or what a node has of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Where it is.
    pub path: PathBuf,
    /// FFmpeg's indices, in the Source, of the streams of this file, in order; `None`: it is the Source itself.
    pub holds: Option<Vec<u32>>,
}

impl SourceFile {
    /// The Source itself.
    pub fn whole(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            holds: None,
        }
    }

    /// FFmpeg's index, in this file, of the Source's track `index`.
    pub(super) fn stream(&self, index: u32) -> Option<u32> {
        match &self.holds {
            None => Some(index),
            Some(held) => held.iter().position(|&i| i == index).map(|i| i as u32),
        }
    }
}

/// FFmpeg's name of the demuxer that probing found, so that nothing is guessed twice.
fn demuxer(format: &str) -> &str {
    format.split(',').next().unwrap_or_default()
}

/// Whether the clock depends on the streams in use, and seeking is a matter of luck.
pub(super) fn is_loose(facts: &SourceFacts) -> bool {
    is_loose_format(&facts.format)
}

/// As [`is_loose`], by FFmpeg's name of the format.
pub(crate) fn is_loose_format(format: &str) -> bool {
    !matches!(demuxer(format), "mov" | "matroska")
}

/// Appends the Source as an input.
pub(super) fn push(list: &mut List, facts: &SourceFacts, source: &Path, cut: Cut) {
    push_from(list, facts, source, cut, late_start(facts, cut));
}

/// As [`push`], with the wanted part at time 0 also where seeking cannot be relied on: what lies before it has times below 0.
/// For runs that only copy from it, and drop that. An option of the output ([`skip`]) would drop packets of other inputs too:
/// it goes by the time a packet is decoded, which for pictures is before the time they are shown, and without its first
/// packet a track begins at its next key frame. `later`: where time 0 goes, in microseconds.
pub(super) fn push_moved(
    list: &mut List,
    facts: &SourceFacts,
    source: &Path,
    cut: Cut,
    later: i64,
) {
    let late = late_start(facts, cut);
    if later != late {
        list.opt("-itsoffset", format!("{}us", later - late));
    }
    push_from(list, facts, source, cut, 0);
}

/// As [`push`]. `skip`: how much lies before the wanted part, by the clock of this input, where it is not sought in.
pub(super) fn push_from(list: &mut List, facts: &SourceFacts, source: &Path, cut: Cut, skip: i64) {
    // AVI and old MPEG have packets without a presentation time, which no muxer takes.
    if is_loose(facts) {
        list.opt("-fflags", "+genpts");
    }
    if let Some(start) = cut
        .start_us
        .filter(|&s| s > 0 && skip == 0 && !is_loose(facts))
    {
        list.opt("-ss", format!("{start}us"));
    }
    if let Some(duration) = cut.duration_us {
        list.opt("-t", format!("{}us", duration + skip));
    }
    if !demuxer(&facts.format).is_empty() {
        list.opt("-f", demuxer(&facts.format));
    }
    list.input(source);
}

/// What every output of a run on the Source skips, in microseconds: the start of the wanted part, where seeking cannot be
/// relied on. Then it is an option of the output ([`skip`]).
pub(super) fn late_start(facts: &SourceFacts, cut: Cut) -> i64 {
    match is_loose(facts) {
        true => cut.start_us.unwrap_or(0).max(0),
        false => 0,
    }
}

/// Appends the output option that belongs to [`late_start`].
pub(super) fn skip(list: &mut List, start: i64) {
    if start > 0 {
        list.opt("-ss", format!("{start}us"));
    }
}

/// Appends an output that uses every stream of input `input` which has a say in its clock, and writes nothing. Comes last. Streams
/// that FFmpeg found announced, but of which it did not see what they are, are left out: it refuses to copy those.
pub(crate) fn pin(list: &mut List, input: usize) {
    // FFmpeg 9 takes no "?" behind "u". The picture is one such stream.
    list.opt("-map", format!("{input}:u"));
    for kind in ["d", "t"] {
        list.opt("-map", format!("-{input}:{kind}?"));
    }
    list.opt("-c", "copy").opt("-f", "null").flag("-");
}

/// A whole argument list's usual beginning.
pub(super) fn begin() -> List {
    let mut list = List::default();
    list.opt("-loglevel", "level+warning").flag("-y");
    list
}

/// Ends a run on the Source.
pub(super) fn end(mut list: List, facts: &SourceFacts, source: Option<usize>) -> Vec<OsString> {
    if let Some(input) = source
        && is_loose(facts)
    {
        pin(&mut list, input);
    }
    list.0
}
