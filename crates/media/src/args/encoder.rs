//! What each encoder is told: presets, tunes, profiles, quality, limits, one thread. One entry per encoder family.
//!
//! A Rendition becomes the arguments that a user of plain FFmpeg would write for it, plus what makes chunks agree with
//! each other: one thread, the Source's frame rate where the encoder writes it down, a closed first group.

use super::list::List;
use recode_types::rendition::{Codec, Deinterlace, Knob, Profile, Rendition};
use recode_types::source::VideoFacts;
use recode_types::time::Rational;

/// What recode knows about an encoder.
#[derive(Debug)]
struct Family {
    encoder: &'static str,
    /// Names of presets, quickest first; empty: it has none.
    presets: &'static [&'static str],
    tunes: &'static [&'static str],
    profiles: &'static [&'static str],
    /// Pixel formats it takes, in FFmpeg's words.
    formats: &'static [&'static str],
    /// Largest value of its quality scale, and whether fractions count.
    quality: Option<(u32, bool)>,
    /// Can hold a peak limit while quality is constant.
    peak: bool,
    /// Keeps interlaced pictures as such.
    interlace: bool,
}

const X26X_PRESETS: &[&str] = &[
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
];
const YUV8: [&str; 3] = ["yuv420p", "yuv422p", "yuv444p"];

const FAMILIES: &[Family] = &[
    Family {
        encoder: "libx264",
        presets: X26X_PRESETS,
        tunes: &[
            "film",
            "animation",
            "grain",
            "stillimage",
            "psnr",
            "ssim",
            "fastdecode",
            "zerolatency",
        ],
        profiles: &["baseline", "main", "high", "high10", "high422", "high444"],
        formats: &[
            "yuv420p",
            "yuvj420p",
            "yuv422p",
            "yuvj422p",
            "yuv444p",
            "yuvj444p",
            "nv12",
            "nv16",
            "nv21",
            "yuv420p10le",
            "yuv422p10le",
            "yuv444p10le",
            "gray",
            "gray10le",
        ],
        quality: Some((51, true)),
        peak: true,
        interlace: true,
    },
    Family {
        encoder: "libx265",
        presets: X26X_PRESETS,
        tunes: &[
            "psnr",
            "ssim",
            "grain",
            "zerolatency",
            "fastdecode",
            "animation",
        ],
        profiles: &[
            "main",
            "main10",
            "main12",
            "mainstillpicture",
            "main422-8",
            "main422-10",
            "main422-12",
            "main444-8",
            "main444-10",
            "main444-12",
        ],
        formats: &[
            "yuv420p",
            "yuvj420p",
            "yuv422p",
            "yuvj422p",
            "yuv444p",
            "yuvj444p",
            "gbrp",
            "yuv420p10le",
            "yuv422p10le",
            "yuv444p10le",
            "gbrp10le",
            "yuv420p12le",
            "yuv422p12le",
            "yuv444p12le",
            "gbrp12le",
            "gray",
            "gray10le",
            "gray12le",
        ],
        quality: Some((51, true)),
        peak: true,
        interlace: false,
    },
    Family {
        encoder: "libsvtav1",
        presets: &[
            "13", "12", "11", "10", "9", "8", "7", "6", "5", "4", "3", "2", "1", "0",
        ],
        tunes: &["vq", "psnr", "ssim"],
        profiles: &["main"],
        formats: &["yuv420p", "yuv420p10le"],
        quality: Some((63, false)),
        peak: true,
        interlace: false,
    },
    Family {
        encoder: "libaom-av1",
        presets: &["8", "7", "6", "5", "4", "3", "2", "1", "0"],
        tunes: &["psnr", "ssim"],
        profiles: &["main", "high", "professional"],
        formats: &[
            "yuv420p",
            "yuv422p",
            "yuv444p",
            "gbrp",
            "yuv420p10le",
            "yuv422p10le",
            "yuv444p10le",
            "yuv420p12le",
            "yuv422p12le",
            "yuv444p12le",
            "gbrp10le",
            "gbrp12le",
            "gray",
            "gray10le",
            "gray12le",
        ],
        quality: Some((63, false)),
        peak: true,
        interlace: false,
    },
    Family {
        encoder: "libvpx-vp9",
        presets: &["5", "4", "3", "2", "1", "0"],
        tunes: &["psnr", "ssim"],
        profiles: &["0", "1", "2", "3"],
        formats: &[
            "yuv420p",
            "yuva420p",
            "yuv422p",
            "yuv440p",
            "yuv444p",
            "yuv420p10le",
            "yuv422p10le",
            "yuv440p10le",
            "yuv444p10le",
            "yuv420p12le",
            "yuv422p12le",
            "yuv440p12le",
            "yuv444p12le",
            "gbrp",
            "gbrp10le",
            "gbrp12le",
        ],
        quality: Some((63, false)),
        peak: true,
        interlace: false,
    },
    Family {
        encoder: "prores_ks",
        presets: &[],
        tunes: &[],
        profiles: &["proxy", "lt", "standard", "hq", "4444", "4444xq"],
        formats: &["yuv422p10le", "yuv444p10le", "yuva444p10le"],
        quality: None,
        peak: false,
        interlace: true,
    },
    Family {
        encoder: "mpeg2video",
        presets: &[],
        tunes: &[],
        profiles: &["simple", "main", "high", "422"],
        formats: &["yuv420p", "yuv422p"],
        quality: Some((31, true)),
        peak: true,
        interlace: true,
    },
];

/// Frame rates that MPEG-2 can write down.
const MPEG2_RATES: [Rational; 8] = [
    Rational::new(24000, 1001),
    Rational::new(24, 1),
    Rational::new(25, 1),
    Rational::new(30000, 1001),
    Rational::new(30, 1),
    Rational::new(50, 1),
    Rational::new(60000, 1001),
    Rational::new(60, 1),
];

/// A wish the encoder cannot meet. One sentence with the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Error(pub String);

fn family(encoder: &str) -> Result<&'static Family, Error> {
    FAMILIES
        .iter()
        .find(|f| f.encoder == encoder)
        .ok_or_else(|| {
            let known: Vec<&str> = FAMILIES.iter().map(|f| f.encoder).collect();
            Error(format!(
                "recode does not drive the encoder {encoder}: choose one of {}",
                known.join(", ")
            ))
        })
}

/// Checks everything about a Rendition that depends on its encoder alone, before any work.
/// # Errors
/// [`Error`]: one sentence naming the wish and what is possible instead.
pub fn check(rendition: &Rendition) -> Result<(), Error> {
    if rendition.codec == Codec::Copy {
        return Ok(());
    }
    let family = family(&rendition.encoder)?;
    let name = family.encoder;
    if Codec::of_encoder(name) != Some(rendition.codec) {
        return Err(Error(format!(
            "{name} does not make {}: leave --encoder out or choose the codec it makes",
            rendition.codec
        )));
    }
    preset(family, rendition.preset.as_deref())?;
    choose("tune", family, family.tunes, rendition.tune.as_deref())?;
    profile(family, rendition.encoder_profile.as_deref())?;
    if let Some(format) = &rendition.pix_fmt {
        choose("pixel format", family, family.formats, Some(format))?;
    }
    if rendition.profile == Profile::Latency && rendition.tune.is_some() {
        return Err(Error(
            "the latency profile sets the encoder's tune itself: leave --tune or --profile out"
                .to_owned(),
        ));
    }
    if rendition.rate.is_some() && family.quality.is_none() {
        return Err(Error(format!(
            "{name} takes its quality from the codec profile: leave --crf, --bitrate and --size out and choose --encoder-profile {}",
            family.profiles.join("|")
        )));
    }
    if rendition.peak.is_some() && !family.peak {
        return Err(Error(format!(
            "{name} has no peak limit: leave --maxrate and --bufsize out"
        )));
    }
    if let (Some(recode_types::RateControl::Crf(milli)), Some((most, _))) =
        (rendition.rate, family.quality)
        && milli > most * 1000
    {
        return Err(Error(format!(
            "--crf {} is beyond {name}'s scale: choose 0 to {most}",
            f64::from(milli) / 1000.0
        )));
    }
    if rendition.gop == Some(0) {
        return Err(Error("--gop must be at least 1".to_owned()));
    }
    Ok(())
}

fn choose<'a>(
    what: &str,
    family: &Family,
    possible: &[&'a str],
    wish: Option<&str>,
) -> Result<Option<&'a str>, Error> {
    let Some(wish) = wish else { return Ok(None) };
    let lower = wish.to_ascii_lowercase();
    match possible.iter().find(|p| **p == lower) {
        Some(found) => Ok(Some(found)),
        None if possible.is_empty() => Err(Error(format!(
            "{} has no {what} to choose: leave {wish} out",
            family.encoder
        ))),
        None => Err(Error(format!(
            "{} has no {what} {wish}: choose one of {}",
            family.encoder,
            possible.join(", ")
        ))),
    }
}

/// The encoder's own word for a preset. Encoders that count their presets also understand x264's names.
fn preset(family: &Family, wish: Option<&str>) -> Result<Option<&'static str>, Error> {
    let Some(wish) = wish else { return Ok(None) };
    let rank = X26X_PRESETS
        .iter()
        .position(|p| *p == wish.to_ascii_lowercase());
    let counted = match family.encoder {
        "libsvtav1" => rank.map(|r| ["12", "11", "10", "9", "8", "6", "5", "4", "3", "2"][r]),
        "libaom-av1" => rank.map(|r| ["8", "8", "7", "6", "5", "4", "3", "2", "1", "0"][r]),
        "libvpx-vp9" => rank.map(|r| ["5", "5", "4", "4", "3", "2", "1", "1", "0", "0"][r]),
        _ => None,
    };
    match counted {
        Some(found) => Ok(Some(found)),
        None => choose("preset", family, family.presets, Some(wish)),
    }
}

fn profile(family: &Family, wish: Option<&str>) -> Result<Option<&'static str>, Error> {
    let wish = wish.map(|w| {
        let lower = w.to_ascii_lowercase();
        match (family.encoder, lower.as_str()) {
            ("prores_ks", "422") => "standard".to_owned(),
            ("prores_ks", "444") => "4444".to_owned(),
            ("prores_ks", "444_xq" | "4444_xq" | "444xq" | "xq") => "4444xq".to_owned(),
            _ => lower,
        }
    });
    choose("profile", family, family.profiles, wish.as_deref())
}

/// Whether a peak limit can be asked of this encoder beside a constant quality.
pub fn holds_peak(encoder: &str) -> bool {
    family(encoder).is_ok_and(|f| f.peak)
}

/// The smallest step of the quality knob that makes a difference, in thousandths.
pub fn knob_step_milli(encoder: &str) -> u32 {
    match family(encoder).map(|f| f.quality) {
        Ok(Some((_, true))) => 1,
        _ => 1000,
    }
}

/// Whether interlaced pictures stay interlaced.
pub fn keeps_interlace(encoder: &str) -> bool {
    family(encoder).is_ok_and(|f| f.interlace)
}

/// The pixel format to encode in: the wish, or the Source's, or the nearest the encoder takes (as plain FFmpeg
/// chooses: same chroma and depth first, never less where there is a choice). `None` leaves the choice to FFmpeg.
pub fn pixel_format(rendition: &Rendition, source: &str) -> Option<String> {
    if let Some(wish) = &rendition.pix_fmt {
        return Some(wish.to_ascii_lowercase());
    }
    let family = family(&rendition.encoder).ok()?;
    // H.264 and HEVC profiles that are asked for by name limit the depth and chroma.
    let limited = match (family.encoder, rendition.encoder_profile.as_deref()) {
        ("libx264", Some("baseline" | "main" | "high"))
        | ("libx265", Some("main" | "mainstillpicture")) => Some("yuv420p"),
        ("libx264", Some("high10")) | ("libx265", Some("main10")) => Some("yuv420p10le"),
        ("libx264", Some("high422")) | ("libx265", Some("main422-10")) => Some("yuv422p10le"),
        ("prores_ks", Some(p)) if p.starts_with("444") => Some("yuv444p10le"),
        ("prores_ks", Some(_)) => Some("yuv422p10le"),
        _ => None,
    };
    if let Some(limited) = limited {
        let same_depth = source == limited
            || limited.starts_with("yuv420p") && source == "yuv420p"
            || source == "yuvj420p" && family.formats.contains(&"yuvj420p");
        return Some(if same_depth { source } else { limited }.to_owned());
    }
    if family.formats.contains(&source) {
        return Some(source.to_owned());
    }
    let chroma = ["444", "422", "440", "420"]
        .into_iter()
        .find(|c| source.contains(c))
        .unwrap_or("420");
    let depth = if source.contains("12") {
        12
    } else if source.contains("10") {
        10
    } else {
        8
    };
    let chromas = match chroma {
        "444" => ["444", "422", "420"],
        "422" | "440" => ["422", "444", "420"],
        _ => ["420", "422", "444"],
    };
    let depths: &[u32] = match depth {
        12 => &[12, 10, 8],
        10 => &[10, 12, 8],
        _ => &[8, 10, 12],
    };
    for chroma in chromas {
        for depth in depths {
            let name = match depth {
                8 => format!("yuv{chroma}p"),
                depth => format!("yuv{chroma}p{depth}le"),
            };
            if family.formats.contains(&name.as_str()) {
                return Some(name);
            }
        }
    }
    YUV8.iter()
        .find(|f| family.formats.contains(f))
        .map(|f| (*f).to_owned())
}

/// The frame rate MPEG-2 writes down for frames that come at `rate`: the nearest it knows.
pub fn mpeg2_rate(rate: Rational) -> Rational {
    let distance = |r: &Rational| (r.as_f64() / rate.as_f64().max(0.001)).ln().abs();
    MPEG2_RATES
        .into_iter()
        .min_by(|a, b| distance(a).total_cmp(&distance(b)))
        .expect("the list is not empty")
}

/// What the arguments of one encoder depend on.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// The Rendition.
    pub rendition: &'a Rendition,
    /// Quality and peak of this Chunk; `None` for a whole track at the Rendition's own CRF.
    pub knob: Option<Knob>,
    /// The Source's video.
    pub video: &'a VideoFacts,
    /// Frame rate to write down.
    pub rate: Rational,
    /// Release series of FFmpeg.
    pub major: u32,
    /// Threads for the encoder; one per Chunk.
    pub threads: Threads,
}

/// How many threads an encoder may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// One, wherever the encoder hides its switches for that.
    One,
    /// As plain FFmpeg.
    All,
}

/// Appends `-c:v ...` and everything that belongs to it.
pub(super) fn push(list: &mut List, setting: &Setting<'_>) -> Result<(), Error> {
    let Setting {
        rendition,
        knob,
        video,
        rate,
        major,
        threads,
    } = *setting;
    check(rendition)?;
    let family = family(&rendition.encoder)?;
    let one = threads == Threads::One;
    let quality = knob.map(|k| k.quality_milli).or(match rendition.rate {
        Some(recode_types::RateControl::Crf(milli)) => Some(milli),
        _ => None,
    });
    let peak = knob.map_or(rendition.peak, |k| k.peak);
    let start = knob.map_or(900, |k| k.buffer_start_milli);
    let preset = preset(family, rendition.preset.as_deref())?;
    let tune = choose("tune", family, family.tunes, rendition.tune.as_deref())?;
    let profile = profile(family, rendition.encoder_profile.as_deref())?;
    let latency = rendition.profile == Profile::Latency;
    // Chunks of one Output get different qualities where a bitrate, a size or a peak is promised. x264 writes the quality
    // into the parameter sets and x265 into a message that travels beside them: both have to agree over all Chunks.
    let varied = peak.is_some()
        || matches!(
            rendition.rate,
            Some(recode_types::RateControl::Bitrate(_) | recode_types::RateControl::Size(_))
        );
    let interlaced =
        video.interlaced_top_first.is_some() && rendition.deinterlace == Deinterlace::Off;
    list.opt("-c:v", family.encoder);
    match family.encoder {
        "libx264" => {
            option(list, "-preset", preset);
            option(list, "-tune", tune.or(latency.then_some("zerolatency")));
            option(list, "-profile:v", profile);
            option(list, "-crf", quality.map(decimal));
            let mut params = vec![format!("fps={rate}")];
            if varied {
                params.push("stitchable=1".to_owned());
            }
            if let Some(peak) = peak {
                list.opt("-maxrate", peak.maxrate_bps);
                list.opt("-bufsize", peak.bufsize_bits);
                params.push(format!("vbv-init={}", decimal(start)));
            }
            if let Some(gop) = rendition.gop {
                list.opt("-g", gop).opt("-keyint_min", gop);
                list.opt("-sc_threshold", 0);
            }
            if interlaced {
                list.opt("-flags", "+ildct+ilme");
            }
            if one {
                list.opt("-threads", 1);
            }
            list.opt("-x264-params", params.join(":"));
        }
        "libx265" => {
            option(list, "-preset", preset);
            option(list, "-tune", tune.or(latency.then_some("zerolatency")));
            option(list, "-profile:v", profile);
            option(list, "-crf", quality.map(decimal));
            if major >= 8 {
                list.opt("-a53cc", 1);
            }
            let mut params = vec!["log-level=warning".to_owned(), format!("fps={rate}")];
            if varied {
                params.push("info=0".to_owned());
            }
            if one {
                params.extend(["pools=none".to_owned(), "frame-threads=1".to_owned()]);
            }
            if let Some(peak) = peak {
                list.opt("-maxrate", peak.maxrate_bps);
                list.opt("-bufsize", peak.bufsize_bits);
                params.push(format!("vbv-init={}", decimal(start)));
            }
            if let Some(gop) = rendition.gop {
                params.push(format!(
                    "keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0"
                ));
            }
            list.opt("-x265-params", params.join(":"));
        }
        "libsvtav1" => {
            option(list, "-preset", preset);
            option(list, "-crf", quality.map(whole));
            let mut params = vec![];
            if one {
                params.push("lp=1".to_owned());
            }
            // Before 6.0 the wrapper reads fewer of the encoder's own options and sets the rate itself.
            if major >= 6 {
                params.push(format!("fps-num={}:fps-denom={}", rate.num, rate.den));
            }
            if let Some(tune) = tune {
                let number = ["vq", "psnr", "ssim"].iter().position(|t| *t == tune);
                params.push(format!(
                    "tune={}",
                    number.expect("it was chosen from these")
                ));
            }
            if latency {
                params.push("pred-struct=1".to_owned());
            }
            if let Some(peak) = peak {
                list.opt("-maxrate", peak.maxrate_bps);
                list.opt("-bufsize", peak.bufsize_bits);
            }
            option(list, "-g", rendition.gop);
            if !params.is_empty() {
                list.opt("-svtav1-params", params.join(":"));
            }
        }
        "libaom-av1" | "libvpx-vp9" => {
            let aom = family.encoder == "libaom-av1";
            if aom {
                list.opt("-usage", if latency { "realtime" } else { "good" });
            } else {
                list.opt("-deadline", if latency { "realtime" } else { "good" });
            }
            option(list, "-cpu-used", preset);
            option(list, "-tune", tune);
            option(list, "-profile:v", profile);
            if let Some(quality) = quality {
                list.opt("-crf", whole(quality));
                // Constant quality is a bitrate of 0; with a peak it is the target not to be exceeded.
                list.opt("-b:v", peak.map_or(0, |p| p.maxrate_bps));
            }
            if let (Some(_), Some(peak)) = (quality, peak) {
                list.opt("-maxrate", peak.maxrate_bps);
                list.opt("-bufsize", peak.bufsize_bits);
                let initial = peak.bufsize_bits as f64 * f64::from(start) / 1000.0;
                list.opt("-rc_init_occupancy", initial as u64);
            }
            if latency {
                list.opt("-lag-in-frames", 0);
            }
            if let Some(gop) = rendition.gop {
                list.opt("-g", gop).opt("-keyint_min", gop);
            }
            if one {
                list.opt("-threads", 1);
            }
            list.opt("-row-mt", u8::from(!one));
        }
        "prores_ks" => {
            option(list, "-profile:v", profile);
            if interlaced {
                list.opt("-flags", "+ildct");
            }
            if one {
                list.opt("-threads", 1);
            }
        }
        "mpeg2video" => {
            option(list, "-profile:v", profile);
            if let Some(quality) = quality {
                let q = decimal(quality.max(1000));
                match peak {
                    None => {
                        list.opt("-q:v", q);
                    }
                    // A fixed quantiser would ignore the buffer: ask for the most that may be had, never better than q.
                    Some(peak) => {
                        list.opt("-b:v", peak.maxrate_bps);
                        list.opt("-maxrate", peak.maxrate_bps);
                        list.opt("-bufsize", peak.bufsize_bits);
                        let initial = peak.bufsize_bits as f64 * f64::from(start) / 1000.0;
                        list.opt("-rc_init_occupancy", initial as u64);
                        list.opt("-qmin", whole(quality.max(1000)));
                    }
                }
            }
            if let Some(gop) = rendition.gop {
                list.opt("-g", gop).opt("-sc_threshold", 1_000_000_000);
            }
            if latency {
                list.opt("-bf", 0);
            }
            if interlaced {
                list.opt("-flags", "+ildct+ilme");
            }
            if one {
                list.opt("-threads", 1);
            }
        }
        other => unreachable!("{other} is in the list of families"),
    }
    Ok(())
}

fn option(list: &mut List, name: &str, value: Option<impl std::fmt::Display>) {
    if let Some(value) = value {
        list.opt(name, value);
    }
}

/// Thousandths as a short decimal: `23`, `23.5`.
fn decimal(milli: u32) -> String {
    let text = format!("{}.{:03}", milli / 1000, milli % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Thousandths rounded to a whole number.
fn whole(milli: u32) -> u32 {
    (milli + 500) / 1000
}
