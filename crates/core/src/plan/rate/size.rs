//! Bytes of a file that are not main video: copied tracks and the container itself. Predicted, so that a promised file size
//! leaves the right room.

use super::super::SourceBrief;
use super::super::tracks::Chosen;
use recode_types::source::{SourceFacts, Track, TrackKind};
use recode_types::{Container, OutputRequest};

/// Audio packets a second: 1024 samples at 48 kHz.
const AUDIO_PACKETS: f64 = 47.0;

/// Bytes of `output` that are neither main video nor tracks that recode encodes.
pub fn other_bytes(
    facts: &SourceFacts,
    output: &OutputRequest,
    chosen: &Chosen,
    source: &SourceBrief,
    file_bytes: u64,
) -> u64 {
    let seconds = source.seconds();
    let copied: f64 = facts
        .tracks
        .iter()
        .filter(|track| chosen.copied.contains(&track.index))
        .map(|track| payload(track, facts, seconds))
        .sum();
    let frames = source.frames as f64;
    let packets =
        (chosen.copied.len() + chosen.audio_to_encode.len()) as f64 * seconds * AUDIO_PACKETS;
    let container = match output.container {
        // Sample sizes, composition offsets, chunk offsets; shorter for audio, which has no reordering.
        Container::Mp4 | Container::Mov => 2_000.0 + frames * 13.0 + packets * 5.0,
        Container::Mkv | Container::Webm => 4_000.0 + frames * 8.0 + packets * 7.0,
        // 4 bytes of every 188, a header and stuffing for each frame, tables ten times a second.
        Container::Ts => {
            let payload = file_bytes as f64;
            payload * 4.0 / 188.0 + frames * 110.0 + packets * 40.0 + seconds * 4_000.0
        }
    };
    (copied + container).ceil() as u64
}

/// Bytes of a track over `seconds`: as its statistics say, else as its description says, else as is usual.
fn payload(track: &Track, facts: &SourceFacts, seconds: f64) -> f64 {
    let tag = |name: &str| {
        track
            .tags
            .iter()
            .find(|(key, _)| *key == name || key.starts_with(&format!("{name}-")))
            .and_then(|(_, value)| value.trim().parse::<f64>().ok())
    };
    let whole = facts.duration_us.map(|us| us as f64 / 1e6);
    if let (Some(bytes), Some(whole)) = (tag("NUMBER_OF_BYTES"), whole) {
        return bytes * (seconds / whole.max(0.001)).min(1.0);
    }
    let bps = tag("BPS").or_else(|| described_bps(&track.description));
    let usual = match track.kind {
        TrackKind::Audio => 128_000.0,
        _ => 100.0,
    };
    bps.unwrap_or(usual) * seconds / 8.0
}

/// The `128 kb/s` of FFmpeg's description of a stream.
fn described_bps(description: &str) -> Option<f64> {
    let (before, _) = description.split_once(" kb/s")?;
    let number = before.rsplit([' ', ',']).next()?;
    number.parse::<f64>().ok().map(|k| k * 1000.0)
}
