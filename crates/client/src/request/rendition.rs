//! The flags of one video encoding.

use crate::fault::Fault;
use crate::flags::OutputFlags;
use crate::units::{BitRate, Quality, Size};
use recode_types::rendition::{Deinterlace, PeakLimit, Profile, Scale};
use recode_types::{Codec, Container, Engine, RateControl, Rendition};

/// Lowest and highest mean or peak bit rate of video that is taken for serious.
const VIDEO_BPS: std::ops::RangeInclusive<u64> = 8_000..=2_000_000_000;
/// Largest width or height any of the encoders takes.
const LARGEST: u32 = 16_384;

/// Reads them.
/// # Errors
/// [`Kind::Usage`](crate::fault::Kind::Usage): they contradict each other, or the encoder cannot do it.
pub(super) fn rendition(flags: &OutputFlags, container: Container) -> Result<Rendition, Fault> {
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
             libvpx-vp9, prores_ks, mpeg2video, or a card's: {}",
            recode_types::engine::ENGINE_ENCODERS.join(", ")
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
        "av1_nvenc" => (1, 63, 32),
        "av1_vaapi" | "av1_amf" => (1, 255, 110),
        card => match Engine::of_encoder(card)? {
            Engine::Videotoolbox => (1, 99, 45),
            _ => (1, 51, 25),
        },
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
