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

/// Whether [`mark_damage`] has anything to look at: only captures of broadcasts and the like are, which are read from
/// beginning to end anyway; files with an index pass as they are.
pub fn may_be_damaged(format: &str, tracks: &[Track]) -> bool {
    origin::is_loose_format(format) && tracks.iter().any(is_heard)
}

fn is_heard(track: &Track) -> bool {
    track.kind == TrackKind::Audio && track.sample_rate.is_some_and(|rate| rate > 0)
}

/// Decodes the sound of a Source and marks the tracks that do not decode.
/// # Errors
/// [`run::Error`]: the run was killed or hung. That FFmpeg gives up on the sound is an answer, not an error.
pub async fn mark_damage(
    ffmpeg: &Ffmpeg,
    source: &Path,
    tracks: &mut [Track],
) -> Result<(), run::Error> {
    let audio: Vec<(u32, &str)> = tracks
        .iter()
        .filter(|t| is_heard(t))
        .map(|t| (t.index, t.codec.as_str()))
        .collect();
    let mut list = List::default();
    list.opt("-loglevel", "level+error").input(source);
    for (index, _) in &audio {
        list.opt("-map", format!("0:{index}"));
    }
    list.opt("-f", "null").flag("-");
    let invocation = Invocation::new(list.0)
        .reading(source)
        .with_stderr(LOG_BYTES);
    let log = match run::run(ffmpeg, invocation).await {
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

/// Which of `audio`, as (index, codec), FFmpeg complains about. Pure.
fn complaints(log: &str, audio: &[(u32, &str)]) -> Vec<u32> {
    let mut broken = Vec::new();
    for line in log.lines().filter(|line| line.contains("[error]")) {
        // "[aist#0:1/eac3 @ 0x5] ..." from FFmpeg 7 on, "Error while decoding stream #0:1: ..." before.
        let named = line
            .split_once("aist#0:")
            .or_else(|| line.split_once("stream #0:"))
            .and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next())
            .and_then(|digits| digits.parse::<u32>().ok());
        // A decoder names itself, such as "[mp3float @ 0x5]", not its stream. Those of pictures speak, too, when FFmpeg
        // opens the file.
        let spoke = |codec: &str| {
            let speaker = line.strip_prefix('[').unwrap_or_default();
            !codec.is_empty() && speaker.starts_with(codec)
        };
        broken.extend(
            audio
                .iter()
                .filter(|(index, codec)| named.map_or_else(|| spoke(codec), |n| n == *index))
                .map(|(index, _)| *index),
        );
    }
    broken.sort_unstable();
    broken.dedup();
    broken
}

#[cfg(test)]
mod tests {
    use super::complaints;

    #[test]
    fn complaints_are_told_apart_by_track_in_every_release() {
        let two = [(1, "mp2"), (2, "eac3")];
        let nine = "[eac3 @ 0x1] [error] exponent -1 is out-of-range\n\
                    [aist#0:2/eac3 @ 0x5] [dec:eac3 @ 0x6] [error] Error submitting packet to decoder\n";
        assert_eq!(complaints(nine, &two), [2]);
        let five =
            "[error] Error while decoding stream #0:1: Invalid data found when processing input\n";
        assert_eq!(complaints(five, &two), [1]);
    }

    #[test]
    fn complaints_about_pictures_and_mere_warnings_do_not_count() {
        let log =
            "[h264 @ 0x1] [error] non-existing PPS 0 referenced\n[mp3float @ 0x2] [warning] junk\n";
        assert!(complaints(log, &[(1, "mp3")]).is_empty());
        let header = "[mp3float @ 0x2] [error] Header missing\n";
        assert_eq!(complaints(header, &[(1, "mp3")]), [1]);
    }
}
