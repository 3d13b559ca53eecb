//! From flags to a [`JobRequest`]. Pure: what contradicts itself is refused here, in one sentence, before anything is
//! touched. What depends on the Source is the planner's business.

use crate::fault::Fault;
use crate::flags::{JobFlags, OutputFlags};
use crate::place::{Place, Use};
use crate::units::{BitRate, Quality, Size};
use recode_types::rendition::{AudioCodec, Deinterlace, PeakLimit, Profile, Scale};
use recode_types::{Codec, Container, JobRequest, OutputRequest, RateControl, Rendition};
use std::path::Path;

/// Lowest and highest mean or peak bit rate of video that is taken for serious.
const VIDEO_BPS: std::ops::RangeInclusive<u64> = 8_000..=2_000_000_000;
/// The same for an audio track.
const AUDIO_BPS: std::ops::RangeInclusive<u64> = 6_000..=1_536_000;
/// Largest width or height any of the encoders takes.
const LARGEST: u32 = 16_384;

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
    let segment_ms = match work.segment {
        Some(span) if span.0 < 100_000 => {
            return Err(Fault::usage(
                "--segment must be at least 100ms; 2s to 30s make sense, and leaving it out lets recode choose",
            ));
        }
        Some(span) => Some(span.0 as u64 / 1000),
        None => None,
    };
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
        segment_ms,
        score,
        verify_full: work.verify.as_deref() == Some("full"),
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

fn rendition(flags: &OutputFlags, container: Container) -> Result<Rendition, Fault> {
    let (codec, encoder) = codec_and_encoder(flags, container)?;
    if codec == Codec::Copy {
        refuse_with_copy(flags)?;
    }
    let rate = rate(flags, &encoder)?;
    let peak = peak(flags)?;
    let scale = scale(flags)?;
    if flags.gop == Some(0) {
        return Err(Fault::usage(
            "--gop must be at least 1, the distance of key frames in frames",
        ));
    }
    if flags.gop.is_some_and(|gop| gop > 10_000) {
        return Err(Fault::usage(
            "--gop goes up to 10000 frames; leave it out for the encoder's usual distance",
        ));
    }
    for (flag, text) in [
        ("--preset", &flags.preset),
        ("--tune", &flags.tune),
        ("--encoder-profile", &flags.encoder_profile),
        ("--pix-fmt", &flags.pix_fmt),
    ] {
        if text.as_ref().is_some_and(|text| !is_word(text)) {
            return Err(Fault::usage(format!(
                "{flag} takes one plain word, such as {}",
                match flag {
                    "--preset" => "medium",
                    "--tune" => "film",
                    "--encoder-profile" => "high",
                    _ => "yuv420p",
                }
            )));
        }
    }
    Ok(Rendition {
        codec,
        encoder,
        rate,
        peak,
        preset: flags.preset.clone(),
        tune: flags.tune.clone(),
        encoder_profile: flags.encoder_profile.clone(),
        profile: flags.profile.unwrap_or(Profile::Quality),
        scale,
        fps: flags.fps.map(|f| f.0),
        deinterlace: flags.deinterlace.unwrap_or(Deinterlace::Off),
        pix_fmt: flags.pix_fmt.clone(),
        gop: flags.gop,
    })
}

/// Values of options that reach an encoder are single words: nothing that an option parser could take apart.
fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 32
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn codec_and_encoder(flags: &OutputFlags, container: Container) -> Result<(Codec, String), Fault> {
    let usual = match container {
        Container::Webm => Codec::Vp9,
        _ => Codec::H264,
    };
    let Some(encoder) = &flags.encoder else {
        let codec = flags.codec.unwrap_or(usual);
        return Ok((codec, codec.default_encoder().to_owned()));
    };
    let makes = Codec::of_encoder(encoder).filter(|made| *made != Codec::Copy);
    match (makes, flags.codec) {
        (None, _) => Err(Fault::usage(format!(
            "recode does not know the encoder {encoder}; use one of libx264, libx265, libsvtav1, libaom-av1, \
             libvpx-vp9, prores_ks, mpeg2video"
        ))),
        (Some(makes), Some(codec)) if codec != makes => Err(Fault::usage(format!(
            "--encoder {encoder} makes {makes}, not {codec}; use --codec {makes}{}",
            if codec == Codec::Copy {
                " or leave --encoder out".to_owned()
            } else {
                format!(" or --encoder {}", codec.default_encoder())
            }
        ))),
        (Some(makes), _) => Ok((makes, encoder.clone())),
    }
}

fn refuse_with_copy(flags: &OutputFlags) -> Result<(), Fault> {
    let given = [
        ("--crf", flags.crf.is_some()),
        ("--bitrate", flags.bitrate.is_some()),
        ("--size", flags.size.is_some()),
        ("--maxrate", flags.maxrate.is_some()),
        ("--bufsize", flags.bufsize.is_some()),
        ("--preset", flags.preset.is_some()),
        ("--tune", flags.tune.is_some()),
        ("--encoder-profile", flags.encoder_profile.is_some()),
        ("--profile", flags.profile.is_some()),
        ("--scale", flags.scale.is_some_and(|s| s != Size::Source)),
        ("--fps", flags.fps.is_some()),
        (
            "--deinterlace",
            flags.deinterlace.is_some_and(|d| d != Deinterlace::Off),
        ),
        ("--pix-fmt", flags.pix_fmt.is_some()),
        ("--gop", flags.gop.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(Fault::usage(format!(
            "{flag} has no effect with --codec copy, which keeps the video as it is; leave it out or name a codec"
        ))),
        None => Ok(()),
    }
}

/// The CRF or quantiser scale of an encoder: lowest, highest, a good value.
fn quality_scale(encoder: &str) -> Option<(u32, u32, u32)> {
    Some(match encoder {
        "libx264" => (0, 51, 23),
        "libx265" => (0, 51, 28),
        "libsvtav1" => (1, 63, 35),
        "libaom-av1" => (0, 63, 32),
        "libvpx-vp9" => (0, 63, 32),
        "mpeg2video" => (1, 31, 4),
        "prores_ks" => (1, 64, 9),
        _ => return None,
    })
}

fn rate(flags: &OutputFlags, encoder: &str) -> Result<Option<RateControl>, Fault> {
    let given: Vec<&str> = [
        ("--crf", flags.crf.is_some()),
        ("--bitrate", flags.bitrate.is_some()),
        ("--size", flags.size.is_some()),
    ]
    .into_iter()
    .filter_map(|(flag, given)| given.then_some(flag))
    .collect();
    if let [first, second, ..] = given[..] {
        return Err(Fault::usage(format!(
            "{first} and {second} contradict each other; give one of --crf (quality), --bitrate and --size"
        )));
    }
    if let Some(Quality(milli)) = flags.crf {
        if let Some((lowest, highest, good)) = quality_scale(encoder)
            && !(lowest * 1000..=highest * 1000).contains(&milli)
        {
            return Err(Fault::usage(format!(
                "--crf {} is outside the scale of {encoder}, which goes from {lowest} (best) to {highest}; {good} is a usual value",
                thousandths(milli)
            )));
        }
        return Ok(Some(RateControl::Crf(milli)));
    }
    if (flags.bitrate.is_some() || flags.size.is_some()) && encoder == "prores_ks" {
        return Err(Fault::usage(format!(
            "{} has no effect with prores, whose --encoder-profile (proxy, lt, standard, hq, 4444, 4444xq) decides the size; use that",
            given[0]
        )));
    }
    if let Some(BitRate(bps)) = flags.bitrate {
        in_video_range("--bitrate", bps)?;
        return Ok(Some(RateControl::Bitrate(bps)));
    }
    if let Some(size) = flags.size {
        if size.0 < 1_000 {
            return Err(Fault::usage(format!(
                "--size of {} bytes is too small for any video; write it as 700MB or 1.5GB",
                size.0
            )));
        }
        return Ok(Some(RateControl::Size(size.0)));
    }
    Ok(None)
}

fn in_video_range(flag: &str, bps: u64) -> Result<(), Fault> {
    if VIDEO_BPS.contains(&bps) {
        return Ok(());
    }
    Err(Fault::usage(format!(
        "{flag} of {bps} b/s is out of range; name one from 8k to 2000M, such as 4M or 4000k"
    )))
}

fn peak(flags: &OutputFlags) -> Result<Option<PeakLimit>, Fault> {
    let (maxrate, bufsize) = match (flags.maxrate, flags.bufsize) {
        (None, None) => return Ok(None),
        (Some(_), None) => {
            return Err(Fault::usage(
                "--maxrate needs --bufsize, the buffer over which the peak is measured; twice the rate is usual",
            ));
        }
        (None, Some(_)) => {
            return Err(Fault::usage(
                "--bufsize needs --maxrate, the rate at which the buffer fills",
            ));
        }
        (Some(maxrate), Some(bufsize)) => (maxrate.0, bufsize.0),
    };
    in_video_range("--maxrate", maxrate)?;
    if bufsize < maxrate / 100 || bufsize > maxrate.saturating_mul(100) {
        return Err(Fault::usage(format!(
            "--bufsize of {bufsize} bits does not go with --maxrate of {maxrate} b/s; once or twice the rate is usual"
        )));
    }
    if let Some(BitRate(bps)) = flags.bitrate
        && maxrate < bps
    {
        return Err(Fault::usage(format!(
            "--maxrate {maxrate} lies below --bitrate {bps}; the peak is at least the mean"
        )));
    }
    Ok(Some(PeakLimit {
        maxrate_bps: maxrate,
        bufsize_bits: bufsize,
    }))
}

fn scale(flags: &OutputFlags) -> Result<Scale, Fault> {
    let size = flags.scale.unwrap_or(Size::Source);
    if flags.stretch && !matches!(size, Size::Box(..)) {
        return Err(Fault::usage(
            "--stretch needs --scale with width and height, as in --scale 1280x720 --stretch",
        ));
    }
    let sides: &[u32] = match &size {
        Size::Source => &[],
        Size::Height(h) => &[*h],
        Size::Box(w, h) => &[*w, *h],
    };
    if let Some(side) = sides.iter().find(|side| !(2..=LARGEST).contains(*side)) {
        return Err(Fault::usage(format!(
            "a picture cannot be {side} pixels wide or high; --scale goes from 2 to {LARGEST}"
        )));
    }
    // Formats that keep colour at full resolution have no even-ness rule.
    let any_size = flags.pix_fmt.as_deref().is_some_and(|p| {
        p.contains("444") || p.starts_with("gbr") || p.starts_with("rgb") || p.starts_with("gray")
    });
    let exact = flags.stretch || matches!(size, Size::Height(_));
    if let Some(odd) = sides.iter().find(|side| *side % 2 == 1)
        && exact
        && !any_size
    {
        return Err(Fault::usage(format!(
            "{odd} is odd, and pictures with shared colour samples have even sizes; use {} or {}, or --pix-fmt yuv444p",
            odd - 1,
            odd + 1
        )));
    }
    Ok(size.scale(flags.stretch))
}

/// `18`, `23.5`.
fn thousandths(milli: u32) -> String {
    let text = format!("{}.{:03}", milli / 1000, milli % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
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
mod tests {
    use super::*;
    use crate::flags::{Cli, Command};
    use clap::Parser as _;

    fn request(line: &str) -> Result<JobRequest, String> {
        let words = ["recode-client", "transcode"];
        let cli = Cli::try_parse_from(words.into_iter().chain(line.split_whitespace()))
            .map_err(|e| e.to_string())?;
        let Command::Transcode(t) = cli.command else {
            unreachable!("transcode was asked for");
        };
        let cwd = Path::new("/w");
        let source = Place::parse(
            t.input.as_deref().expect("an input is in the line"),
            cwd,
            Use::Read,
        )
        .map_err(|f| f.message)?;
        build(&source, &t.work, &[t.output], cwd).map_err(|f| f.message)
    }

    fn refused(line: &str, part: &str) {
        match request(line) {
            Ok(request) => panic!("{line} was taken: {request:?}"),
            Err(message) => {
                assert!(message.contains(part), "{line}: {message}");
                assert!(
                    !message.ends_with('.') && !message.contains('\n'),
                    "{message}"
                );
            }
        }
    }

    #[test]
    fn plain_flags_get_the_usual_values() {
        let r = request("in.mp4 -o out.mkv").unwrap();
        assert_eq!(r.source, "file:///w/in.mp4");
        let o = &r.outputs[0];
        assert_eq!(
            (o.url.as_str(), o.container),
            ("file:///w/out.mkv", Container::Mkv)
        );
        assert_eq!(
            (o.rendition.codec, o.rendition.encoder.as_str()),
            (Codec::H264, "libx264")
        );
        assert_eq!(o.rendition.rate, None);
        assert_eq!(
            request("in.mp4 -o a.webm").unwrap().outputs[0]
                .rendition
                .codec,
            Codec::Vp9
        );
    }

    #[test]
    fn quantities_arrive_in_their_units() {
        let r = request(
            "in.mp4 -o o.mp4 --bitrate 4M --maxrate 6M --bufsize 8M --start 1:30 --duration 90s --segment 2s \
             --scale 1280x720 --fps 29.97 --audio-codec aac --audio-bitrate 128k --score psnr,vmaf",
        )
        .unwrap();
        let v = &r.outputs[0].rendition;
        assert_eq!(v.rate, Some(RateControl::Bitrate(4_000_000)));
        assert_eq!(v.peak.unwrap().bufsize_bits, 8_000_000);
        assert_eq!(
            v.scale,
            Scale::Fit {
                width: 1280,
                height: 720
            }
        );
        assert_eq!(r.start_us, Some(90_000_000));
        assert_eq!(r.segment_ms, Some(2000));
        assert_eq!(r.score.len(), 2);
        let r = request("in.mp4 -o o.mp4 --scale 720x576 --stretch").unwrap();
        assert_eq!(
            r.outputs[0].rendition.scale,
            Scale::Exact {
                width: 720,
                height: 576
            }
        );
    }

    #[test]
    fn contradictions_are_refused_with_the_remedy() {
        for (line, part) in [
            (
                "i.mp4 -o o.mp4 --crf 20 --bitrate 4M",
                "--crf and --bitrate contradict",
            ),
            (
                "i.mp4 -o o.mp4 --crf 20 --size 7MB",
                "--crf and --size contradict",
            ),
            (
                "i.mp4 -o o.mp4 --bitrate 4M --size 7MB",
                "--bitrate and --size contradict",
            ),
            ("i.mp4 -o o.mp4 --bitrate 4000", "4000k"),
            ("i.mp4 -o o.mp4 --maxrate 4M", "needs --bufsize"),
            ("i.mp4 -o o.mp4 --bufsize 4M", "needs --maxrate"),
            (
                "i.mp4 -o o.mp4 --bitrate 4M --maxrate 2M --bufsize 4M",
                "lies below",
            ),
            ("i.mp4 -o o.mp4 --crf 60", "from 0 (best) to 51"),
            ("i.mp4 -o o.avi", ".mp4, .mov, .mkv, .webm or .ts"),
            ("i.mp4 -o o", ".mp4, .mov"),
            ("i.mp4", "add -o OUTPUT"),
            (
                "i.mp4 -o o.webm --codec h264",
                "webm cannot hold h264; name the output .mp4, .mov, .mkv or .ts",
            ),
            ("i.mp4 -o o.mp4 --codec prores", ".mov or .mkv"),
            (
                "i.mp4 -o o.mp4 --codec h265 --encoder libx264",
                "makes h264, not h265",
            ),
            ("i.mp4 -o o.mp4 --encoder magic", "libx264, libx265"),
            ("i.mp4 -o o.webm --audio-codec aac", "--audio-codec opus"),
            (
                "i.mp4 -o o.mp4 --audio-codec copy --audio-bitrate 128k",
                "leave one of them out",
            ),
            ("i.mp4 -o o.mp4 --audio-bitrate 128k", "needs --audio-codec"),
            (
                "i.mp4 -o o.mp4 --audio-codec aac --audio-bitrate 128",
                "out of range",
            ),
            ("i.mp4 -o i.mp4", "both input and output"),
            ("i.mp4 -o ./i.mp4", "both input and output"),
            ("i.mp4 -o o.mp4 --scale 721p", "720 or 722"),
            ("i.mp4 -o o.mp4 --scale 1281x720 --stretch", "1280 or 1282"),
            ("i.mp4 -o o.mp4 --scale 100000x100000", "2 to 16384"),
            ("i.mp4 -o o.mp4 --scale 0p", "2 to 16384"),
            ("i.mp4 -o o.mp4 --stretch", "--stretch needs --scale"),
            ("i.mp4 -o o.mp4 --gop 0", "at least 1"),
            (
                "i.mp4 -o o.mp4 --codec copy --crf 20",
                "no effect with --codec copy",
            ),
            (
                "i.mp4 -o o.mp4 --codec copy --score vmaf",
                "nothing to measure",
            ),
            (
                "i.mp4 -o o.mov --codec prores --bitrate 4M",
                "--encoder-profile",
            ),
            ("i.mp4 -o o.mp4 --start -5", "before the beginning"),
            ("i.mp4 -o o.mp4 --duration 0", "longer than nothing"),
            ("i.mp4 -o o.mp4 --segment 1ms", "at least 100ms"),
            ("i.mp4 -o o.mp4 --size 10", "too small"),
            ("i.mp4 -o o.mp4 --preset a:b=c", "one plain word"),
            ("i.mp4 -o http://h/o.mp4", "read-only"),
        ] {
            refused(line, part);
        }
    }
}
