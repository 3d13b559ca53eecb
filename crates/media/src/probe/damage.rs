//! Sound that does not decode cleanly. Copied, every player would stumble over it; encoded again, it is what a plain
//! FFmpeg process makes of it.

use crate::args::list::List;
use crate::args::origin;
use crate::run::{self, Invocation};
use crate::toolchain::Ffmpeg;
use recode_types::source::{Track, TrackKind};
use std::path::Path;

/// Bytes of FFmpeg's complaints that are read. One line is enough for each track.
const LOG_BYTES: usize = 1 << 20;

/// Decodes the sound of a Source of format `format` and marks tracks that do not decode. Only captures of broadcasts and
/// the like are looked at, which are read from beginning to end anyway; files with an index pass as they are.
/// # Errors
/// [`run::Error`]: the run was killed or hung. That FFmpeg gives up on the sound is an answer, not an error.
pub async fn mark_damage(
    ffmpeg: &Ffmpeg,
    source: &Path,
    format: &str,
    tracks: &mut [Track],
) -> Result<(), run::Error> {
    let heard = |t: &Track| t.kind == TrackKind::Audio && t.sample_rate.is_some_and(|r| r > 0);
    let audio: Vec<u32> = tracks
        .iter()
        .filter(|t| heard(t))
        .map(|t| t.index)
        .collect();
    if audio.is_empty() || !origin::is_loose_format(format) {
        return Ok(());
    }
    let mut list = List::default();
    list.opt("-loglevel", "level+error").input(source);
    for index in &audio {
        list.opt("-map", format!("0:{index}"));
    }
    list.opt("-f", "null").flag("-");
    let invocation = Invocation::new(list.0).with_stderr(LOG_BYTES);
    let log = match run::run(&ffmpeg.path, invocation).await {
        Ok(finished) => finished.stderr,
        Err(e) if e.status.is_some_and(|s| s.code().is_some()) => e.stderr,
        Err(e) => return Err(e),
    };
    let broken = complaints(&log, &audio);
    for track in tracks.iter_mut() {
        track.damaged |= broken.contains(&track.index);
    }
    Ok(())
}

/// Which of `audio` FFmpeg complains about. Pure.
fn complaints(log: &str, audio: &[u32]) -> Vec<u32> {
    let named = |line: &str| {
        // "[aist#0:1/eac3 @ 0x5] ..." from FFmpeg 7 on, "Error while decoding stream #0:1: ..." before.
        let (_, rest) = line
            .split_once("aist#0:")
            .or_else(|| line.split_once("stream #0:"))?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse::<u32>().ok()
    };
    let mut broken: Vec<u32> = match audio {
        // A decoder does not say which stream it is for; with one there is no doubt.
        [only] if log.lines().any(|line| line.contains("[error]")) => vec![*only],
        _ => log.lines().filter_map(named).collect(),
    };
    broken.sort_unstable();
    broken.dedup();
    broken.retain(|index| audio.contains(index));
    broken
}

#[cfg(test)]
mod tests {
    use super::complaints;

    #[test]
    fn complaints_are_told_apart_by_track_in_every_release() {
        let nine = "[eac3 @ 0x1] [error] exponent -1 is out-of-range\n\
                    [aist#0:2/eac3 @ 0x5] [dec:eac3 @ 0x6] [error] Error submitting packet to decoder: Invalid data\n";
        assert_eq!(complaints(nine, &[1, 2]), [2]);
        let five =
            "[error] Error while decoding stream #0:1: Invalid data found when processing input\n";
        assert_eq!(complaints(five, &[1, 2]), [1]);
        assert_eq!(
            complaints("[mp3 @ 0x1] [error] Header missing\n", &[4]),
            [4]
        );
        assert!(complaints("", &[1]).is_empty());
    }
}
