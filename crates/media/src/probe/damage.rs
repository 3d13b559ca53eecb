//! Sound that does not decode cleanly, or not as one thing. Copied, every player would stumble over it; encoded again, it is
//! what a plain FFmpeg process makes of it.

use crate::args::list::List;
use crate::args::origin;
use crate::parse::framecrc;
use crate::run::{self, Invocation};
use crate::toolchain::Ffmpeg;
use recode_types::source::{Track, TrackKind};
use std::collections::BTreeMap;
use std::path::Path;

/// Bytes of FFmpeg's complaints that are read. One line is enough for each track.
const LOG_BYTES: usize = 1 << 20;

/// Whether [`mark_damage`] has anything to look at: only captures of broadcasts and the like are, which are read from
/// beginning to end anyway; files with an index pass as they are.
pub fn may_be_damaged(format: &str, tracks: &[Track]) -> bool {
    origin::is_loose_format(format) && tracks.iter().any(is_audio)
}

fn is_audio(track: &Track) -> bool {
    track.kind == TrackKind::Audio && track.has_codec()
}

/// Decodes the sound of a Source and marks the tracks of which a copy would not play as they decode. `format`: FFmpeg's name of
/// its demuxer.
/// # Errors
/// [`run::Error`]: the run was killed or hung. That FFmpeg gives up on the sound is an answer, not an error.
pub async fn mark_damage(
    ffmpeg: &Ffmpeg,
    source: &Path,
    format: &str,
    tracks: &mut [Track],
) -> Result<(), run::Error> {
    let audio: Vec<(u32, &str)> = tracks
        .iter()
        .filter(|t| is_audio(t) && t.is_seen())
        .map(|t| (t.index, t.codec.as_str()))
        .collect();
    let mut broken = Vec::new();
    if !audio.is_empty() {
        let indices: Vec<u32> = audio.iter().map(|(index, _)| *index).collect();
        let (log, _) = decode(ffmpeg, source, &indices).await?;
        broken = complaints(&log, &audio);
        broken.extend(changing(&log, &audio));
    }
    // Of these nobody knows whether there is any sound, and for a track without FFmpeg gives up on all of them.
    for track in tracks.iter().filter(|t| is_audio(t) && !t.is_seen()) {
        let (_, heard) = decode(ffmpeg, source, &[track.index]).await?;
        broken.extend(heard.then_some(track.index));
    }
    let aac: Vec<u32> = audio
        .iter()
        .filter(|(_, codec)| *codec == "aac" && SENDS_SETTINGS.contains(&format))
        .map(|(index, _)| *index)
        .collect();
    let resetting = match aac.is_empty() {
        true => Vec::new(),
        false => resetting(ffmpeg, source, &aac).await?,
    };
    for track in tracks.iter_mut() {
        track.damaged |= broken.contains(&track.index);
        track.resets |= resetting.contains(&track.index);
    }
    Ok(())
}

/// Formats that have the setting of AAC in a packet of its own, which some writers repeat.
const SENDS_SETTINGS: [&str; 3] = ["flv", "live_flv", "kux"];

/// Which of `tracks` bring a setting among their packets.
async fn resetting(ffmpeg: &Ffmpeg, source: &Path, tracks: &[u32]) -> Result<Vec<u32>, run::Error> {
    let mut list = List::default();
    list.opt("-loglevel", "level+error").input(source);
    for index in tracks {
        list.opt("-map", format!("0:{index}"));
    }
    list.opt("-c", "copy").opt("-f", "framecrc").flag("pipe:1");
    let invocation = Invocation::new(list.0).reading(source).with_stdout();
    let mut found = Vec::new();
    let child = run::spawn(ffmpeg, invocation).await?;
    let ended = child
        .wait_lines(|line| found.extend(framecrc::setting(line)), |_| {})
        .await;
    match ended {
        Ok(_) => {}
        Err(e) if e.status.is_some_and(|s| s.code().is_some()) => {}
        Err(e) => return Err(e),
    }
    Ok(found
        .into_iter()
        .filter_map(|n| tracks.get(n).copied())
        .collect())
}

/// Decodes audio tracks: what FFmpeg says, and whether it was content.
async fn decode(
    ffmpeg: &Ffmpeg,
    source: &Path,
    tracks: &[u32],
) -> Result<(String, bool), run::Error> {
    let mut list = List::default();
    list.opt("-loglevel", "level+verbose").input(source);
    for index in tracks {
        list.opt("-map", format!("0:{index}"));
    }
    list.opt("-f", "null").flag("-");
    let invocation = Invocation::new(list.0)
        .reading(source)
        .with_stderr(LOG_BYTES);
    match run::run(ffmpeg, invocation).await {
        Ok(finished) => Ok((finished.stderr, true)),
        Err(e) if e.status.is_some_and(|s| s.code().is_some()) => Ok((e.stderr, false)),
        Err(e) => Err(e),
    }
}

/// Which of `audio`, as (index, codec), change their sample rate or channels on the way, and keep what these are beside the
/// packets, where a copy has room for the first only. Pure.
fn changing(log: &str, audio: &[(u32, &str)]) -> Vec<u32> {
    let mut seen = BTreeMap::new();
    let mut changed = Vec::new();
    for line in log.lines() {
        // "[graph_-1_in_0:1 @ 0x5] [verbose] tb:1/48000 samplefmt:fltp samplerate:48000 chlayout:5.1", with "in_0_1" before
        // FFmpeg 7: each time that what decodes this stream gives something else than before.
        let found = line.split_once("_in_0").and_then(|(_, rest)| {
            let digits = rest.get(1..)?.split(|c: char| !c.is_ascii_digit()).next()?;
            let (_, sound) = rest.split_once("samplerate:")?;
            Some((digits.parse::<u32>().ok()?, sound.trim()))
        });
        if let Some((index, sound)) = found
            && *seen.entry(index).or_insert(sound) != sound
            && audio.contains(&(index, "aac"))
        {
            changed.push(index);
        }
    }
    changed
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
    use super::{changing, complaints};

    #[test]
    fn sound_that_is_set_up_anew_is_noticed_in_every_release() {
        let first = |graph: &str| {
            format!(
                "[{graph} @ 0x7f] [verbose] tb:1/48000 samplefmt:fltp samplerate:48000 chlayout:stereo\n"
            )
        };
        let then = |graph: &str| {
            format!(
                "[{graph} @ 0x80] [verbose] tb:1/48000 samplefmt:fltp samplerate:48000 chlayout:5.1\n"
            )
        };
        for (one, two) in [
            ("graph_-1_in_0:1", "graph_-1_in_0:12"),
            ("graph_0_in_0_1", "graph_1_in_0_12"),
        ] {
            let log = [first(one), first(two), first(one), then(two)].concat();
            assert_eq!(changing(&log, &[(1, "aac"), (12, "aac")]), [12]);
            // The packets of others say it themselves, in every container.
            assert!(changing(&log, &[(1, "aac"), (12, "ac3")]).is_empty());
        }
        assert!(changing("[graph_in_0", &[(0, "aac")]).is_empty());
    }

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
