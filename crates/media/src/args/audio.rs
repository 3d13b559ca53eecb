//! Sound of the Source as one continuous encode per track, all in one file.

use super::list::List;
use super::origin::{self, Cut};
use recode_types::rendition::AudioCodec;
use recode_types::request::OutputRequest;
use recode_types::source::{SourceFacts, Track, Trim};
use std::ffi::OsString;
use std::path::Path;

/// The container in between: sample-exact clock, priming and late starts as edit lists, holds all three codecs.
pub const MUXER: &str = "mp4";

/// Layouts libopus takes without being told how to spread the channels.
const OPUS_LAYOUTS: &str = "mono|stereo|3.0|quad|5.0|5.1|6.1|7.1";

/// The argument list: encodes the Source's audio tracks `tracks`, in this order, into `out`.
pub fn args(
    facts: &SourceFacts,
    output: &OutputRequest,
    tracks: &[u32],
    cut: Cut,
    source: &Path,
    out: &Path,
) -> Vec<OsString> {
    let mut list = origin::begin();
    let late = late_start(facts, tracks, cut);
    origin::push_from(&mut list, facts, source, cut, late);
    for &track in tracks {
        list.opt("-map", format!("0:{track}"));
    }
    for stream in 0..tracks.len() {
        push_encoder(&mut list, stream, output);
    }
    list.opt("-map_metadata", -1).opt("-map_chapters", -1);
    origin::skip(&mut list, late);
    list.opt("-strict", -2).opt("-fflags", "+bitexact");
    // Late starts are written in ticks of this clock: milliseconds, in old FFmpeg, if nothing is said.
    list.opt("-movie_timescale", 1_000_000);
    list.opt("-f", MUXER).file(out);
    origin::end(list, facts, Some(0))
}

/// As [`origin::late_start`]. After a seek, FFmpeg 9 leaves out of a track as much as its edit list hides at the start.
fn late_start(facts: &SourceFacts, tracks: &[u32], cut: Cut) -> i64 {
    let trimmed = |t: &Track| tracks.contains(&t.index) && t.trim != Trim::Whole;
    match facts.tracks.iter().any(trimmed) {
        true => cut.start_us.unwrap_or(0).max(0),
        false => origin::late_start(facts, cut),
    }
}

/// Appends the encoder of output stream `stream`.
pub(super) fn push_encoder(list: &mut List, stream: usize, output: &OutputRequest) {
    let codec = match output.audio_codec {
        Some(codec) if codec.encoder().is_some() => codec,
        _ => output.container.default_audio(),
    };
    let encoder = codec.encoder().unwrap_or("aac");
    list.opt(&format!("-c:{stream}"), encoder);
    if codec == AudioCodec::Opus {
        // The nearest of these is chosen; side speakers become back speakers.
        list.opt(
            &format!("-filter:{stream}"),
            format!("aformat=channel_layouts={OPUS_LAYOUTS}"),
        );
    }
    if let (Some(rate), AudioCodec::Aac | AudioCodec::Opus) = (output.audio_bitrate_bps, codec) {
        list.opt(&format!("-b:{stream}"), rate);
    }
}
