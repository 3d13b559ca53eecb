//! From flags to a [`JobRequest`]. Pure: what contradicts itself is refused here, in one sentence, before anything is
//! touched. What depends on the Source is the planner's business.

mod rendition;

use crate::fault::Fault;
use crate::flags::{JobFlags, OutputFlags};
use crate::place::{Place, Use};
use crate::units::BitRate;
use recode_types::rendition::AudioCodec;
use recode_types::{Codec, Container, JobRequest, Making, OutputRequest, SegmentLength};
use rendition::rendition;
use std::path::Path;

/// Lowest and highest bit rate of an audio track that is taken for serious.
const AUDIO_BPS: std::ops::RangeInclusive<u64> = 6_000..=1_536_000;

/// Builds the request.
/// # Errors
/// [`Kind::Usage`](crate::fault::Kind::Usage): the flags contradict each other or ask for something no encoder or
/// container can do. `Input` and `Output`: a place cannot be one.
pub fn build(
    source: &Place,
    work: &JobFlags,
    outputs: &[OutputFlags],
    cwd: &Path,
) -> Result<JobRequest, Fault> {
    if outputs.is_empty() {
        return Err(Fault::usage(
            "no output is described; add at least one [[output]] with a path",
        ));
    }
    let mut out: Vec<OutputRequest> = Vec::with_capacity(outputs.len());
    for flags in outputs {
        let output = output(flags, cwd)?;
        let typed = flags.path.as_deref().unwrap_or_default();
        if output.url == source.url {
            return Err(Fault::usage(format!(
                "{typed} is both input and output; name another output, the source is never written to"
            )));
        }
        if out.iter().any(|other| other.url == output.url) {
            return Err(Fault::usage(format!(
                "{typed} is named as output twice; give each output its own name"
            )));
        }
        if output.rendition.codec == Codec::Copy && !work.score.is_empty() {
            return Err(Fault::usage(
                "--score has nothing to measure with --codec copy, since the pictures stay the same; leave one of them out",
            ));
        }
        if output.rendition.codec == Codec::Copy && outputs.len() > 1 {
            return Err(Fault::usage(
                "--codec copy does not go together with other outputs in one job; run it on its own",
            ));
        }
        out.push(output);
    }
    if work.start.is_some_and(|s| s.0 < 0) {
        return Err(Fault::usage(
            "--start lies before the beginning; count it from the start of the source, as in --start 1:30",
        ));
    }
    if work.duration.is_some_and(|d| d.0 <= 0) {
        return Err(Fault::usage(
            "--duration must be longer than nothing, as in --duration 90s",
        ));
    }
    let segment = match work.segment {
        Some(_) if work.spread => {
            return Err(Fault::usage(
                "--segment and --spread contradict each other; name one length, or leave the lengths to --spread",
            ));
        }
        Some(span) if span.0 < 100_000 => {
            return Err(Fault::usage(
                "--segment must be at least 100ms; 2s to 30s make sense, and leaving it out lets recode choose",
            ));
        }
        Some(span) => SegmentLength::Millis(span.0 as u64 / 1000),
        None if work.spread => SegmentLength::Spread,
        None => SegmentLength::Usual,
    };
    let full = work.verify.as_deref() == Some("full");
    if full && work.split_tail {
        return Err(Fault::usage(
            "--verify full and --split-tail contradict each other: not every frame of a piece that several workers made can be \
             compared; leave one of them out",
        ));
    }
    let mut score = work.score.clone();
    score.sort();
    score.dedup();
    let mut labels = work.labels.clone();
    labels.extend(work.label.iter().cloned());
    Ok(JobRequest {
        source: source.url.clone(),
        start_us: work.start.map(|s| s.0).filter(|us| *us > 0),
        duration_us: work.duration.map(|d| d.0),
        outputs: out,
        segment,
        score,
        making: Making::of(full, work.split_tail),
        strict: work.strict,
        overwrite: work.force,
        labels,
        priority: work.priority.unwrap_or(50),
    })
}

fn output(flags: &OutputFlags, cwd: &Path) -> Result<OutputRequest, Fault> {
    let typed = flags
        .path
        .as_deref()
        .ok_or_else(|| Fault::usage("no output is named; add -o OUTPUT"))?;
    let place = Place::parse(typed, cwd, Use::Write)?;
    let container = Container::from_name(&place.url).ok_or_else(|| {
        Fault::usage(format!(
            "the name {typed} does not say which container to make; let it end in .mp4, .mov, .mkv, .webm or .ts"
        ))
    })?;
    let rendition = rendition(flags, container)?;
    if !container.holds_video(rendition.codec) && rendition.codec != Codec::Copy {
        return Err(Fault::usage(format!(
            "{container} cannot hold {}; name the output {}",
            rendition.codec,
            or_list(
                Container::ALL
                    .iter()
                    .filter(|c| c.holds_video(rendition.codec))
                    .map(|c| format!(".{c}"))
            )
        )));
    }
    check_audio(flags, container)?;
    Ok(OutputRequest {
        url: place.url,
        container,
        rendition,
        audio_codec: flags.audio_codec,
        audio_bitrate_bps: flags.audio_bitrate.map(|b| b.0),
        tracks: flags.tracks.clone().map(|t| t.0).unwrap_or_default(),
    })
}

fn check_audio(flags: &OutputFlags, container: Container) -> Result<(), Fault> {
    let encoded = |codec| match codec {
        AudioCodec::Aac => Some("aac"),
        AudioCodec::Opus => Some("opus"),
        AudioCodec::Flac => Some("flac"),
        AudioCodec::Copy | AudioCodec::None => None,
    };
    if let Some(codec) = flags.audio_codec.and_then(encoded)
        && !container.holds_audio(codec)
    {
        let fitting = [AudioCodec::Aac, AudioCodec::Opus, AudioCodec::Flac]
            .into_iter()
            .filter_map(encoded)
            .filter(|name| container.holds_audio(name));
        return Err(Fault::usage(format!(
            "{container} cannot hold {codec} audio; use --audio-codec {}, or name the output {}",
            or_list(fitting),
            or_list(
                Container::ALL
                    .iter()
                    .filter(|c| c.holds_audio(codec))
                    .map(|c| format!(".{c}"))
            )
        )));
    }
    let Some(BitRate(bps)) = flags.audio_bitrate else {
        return Ok(());
    };
    match flags.audio_codec {
        Some(AudioCodec::Copy) => Err(Fault::usage(
            "--audio-bitrate has no effect with --audio-codec copy; leave one of them out",
        )),
        Some(AudioCodec::None) => Err(Fault::usage(
            "--audio-bitrate has no effect with --audio-codec none; leave one of them out",
        )),
        Some(AudioCodec::Flac) => Err(Fault::usage(
            "--audio-bitrate has no effect with flac, which is lossless; leave it out or use --audio-codec aac",
        )),
        None => Err(Fault::usage(
            "--audio-bitrate needs --audio-codec aac or opus, since audio is copied where possible",
        )),
        Some(_) if !AUDIO_BPS.contains(&bps) => Err(Fault::usage(format!(
            "an audio bit rate of {bps} b/s is out of range; name one from 6k to 1536k, such as 128k"
        ))),
        Some(_) => Ok(()),
    }
}

/// `a`, `a or b`, `a, b or c`.
fn or_list<T: Into<String>>(items: impl Iterator<Item = T>) -> String {
    let items: Vec<String> = items.map(Into::into).collect();
    match items.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, head)) => format!("{} or {last}", head.join(", ")),
    }
}

#[cfg(test)]
mod tests;
