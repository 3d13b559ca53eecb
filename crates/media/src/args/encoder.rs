//! What each encoder is told: presets, tunes, profiles, quality, limits, one thread. One entry per encoder family.
//!
//! A Rendition becomes the arguments that a user of plain FFmpeg would write for it, plus what makes chunks agree with
//! each other: one thread, the Source's frame rate where the encoder writes it down, a closed first group.

mod graphics;
mod software;

use super::list::List;
use recode_types::rendition::{Codec, Deinterlace, Knob, PeakLimit, Profile, Rendition, Scale};
use recode_types::source::VideoFacts;
use recode_types::time::Rational;
use recode_types::{Engine, Pixels};

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
}

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

fn families() -> impl Iterator<Item = &'static Family> {
    software::FAMILIES.iter().chain(graphics::FAMILIES)
}

fn family(encoder: &str) -> Result<&'static Family, Error> {
    families().find(|f| f.encoder == encoder).ok_or_else(|| {
        let known: Vec<&str> = families().map(|f| f.encoder).collect();
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
    if let Some(wish) = one_quality(rendition) {
        return Err(Error(format!(
            "{name} writes its quality into the parameter sets, so pieces of different quality cannot be joined: leave \
             {wish} out and use --crf"
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
    let rank = software::X26X_PRESETS
        .iter()
        .position(|p| *p == wish.to_ascii_lowercase());
    let counted = match family.encoder {
        "libsvtav1" => rank.map(|r| ["12", "11", "10", "9", "8", "6", "5", "4", "3", "2"][r]),
        "libaom-av1" => rank.map(|r| ["8", "8", "7", "6", "5", "4", "3", "2", "1", "0"][r]),
        "libvpx-vp9" => rank.map(|r| ["5", "5", "4", "4", "3", "2", "1", "1", "0", "0"][r]),
        other => Engine::of_encoder(other)
            .zip(rank)
            .and_then(|(engine, rank)| graphics::counted_preset(engine, rank)),
    };
    match counted {
        Some(found) => Ok(Some(found)),
        None => choose("preset", family, family.presets, Some(wish)),
    }
}

/// An encoder's own names of its presets, quickest first.
pub fn presets(encoder: &str) -> &'static [&'static str] {
    family(encoder).map_or(&[], |f| f.presets)
}

/// Place of a preset among the encoder's, 0 being the quickest; of the one FFmpeg takes by itself where none is named, and 0
/// where there are none. `None`: it has no such preset, or its own choice is not known.
pub fn preset_rank(encoder: &str, name: Option<&str>) -> Option<u32> {
    let family = family(encoder).ok()?;
    if family.presets.is_empty() {
        return name.is_none().then_some(0);
    }
    let usual = match encoder {
        "libx264" | "libx265" => "medium",
        "libaom-av1" | "libvpx-vp9" => "1",
        // What SVT-AV1 takes where FFmpeg gives it none.
        "libsvtav1" => "10",
        _ => match Engine::of_encoder(encoder)? {
            Engine::Nvenc => "p4",
            Engine::Qsv => "medium",
            _ => "balanced",
        },
    };
    let preset = preset(family, Some(name.unwrap_or(usual))).ok()??;
    let at = family.presets.iter().position(|p| *p == preset)?;
    Some(at as u32)
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

/// A wish that needs Chunks of different quality, with an encoder whose Chunks then could not be joined: FFmpeg writes
/// VAAPI's quantiser into the picture parameter sets (libavcodec/vaapi_encode_h264.c, _h265.c: `init_qp_minus26`).
fn one_quality(rendition: &Rendition) -> Option<&'static str> {
    use recode_types::RateControl as R;
    if !matches!(rendition.encoder.as_str(), "h264_vaapi" | "hevc_vaapi") {
        return None;
    }
    match (rendition.rate, rendition.peak) {
        (Some(R::Bitrate(_)), _) => Some("--bitrate"),
        (Some(R::Size(_)), _) => Some("--size"),
        (_, Some(_)) => Some("--maxrate"),
        _ => None,
    }
}

/// Opens the device that a Rendition's encoder needs, before any input. Several of one engine share it.
pub(super) fn push_device<'a>(list: &mut List, renditions: impl Iterator<Item = &'a Rendition>) {
    let engines: std::collections::BTreeSet<Engine> = renditions
        .filter_map(|r| Engine::of_encoder(&r.encoder))
        .collect();
    for engine in engines {
        graphics::device(list, engine);
    }
}

/// The last filter before the encoder, where it does not read memory.
pub(super) fn upload(rendition: &Rendition) -> Option<&'static str> {
    graphics::upload(Engine::of_encoder(&rendition.encoder)?)
}

/// Whether a Chunk of this encoder has the same parameter sets when it can be read while it is written
/// ([`super::encode::EncodeArgs::growing`]). Those of libaom are complete with its last frame only; cards and MPEG-2, which count
/// frames, were not tried.
pub fn grows(encoder: &str) -> bool {
    let grow = ["libx264", "libx265", "libsvtav1", "libvpx-vp9", "prores_ks"];
    grow.contains(&encoder)
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

/// The pixel format to encode in: the wish, or the Source's, or the nearest the encoder takes, see [`Pixels::nearest`]. `None` leaves
/// the choice to FFmpeg.
pub fn pixel_format(rendition: &Rendition, source: &str) -> Option<String> {
    if let Some(wish) = &rendition.pix_fmt {
        return Some(wish.to_ascii_lowercase());
    }
    let family = family(&rendition.encoder).ok()?;
    if Engine::of_encoder(family.encoder).is_some() {
        let profile = rendition.encoder_profile.as_deref();
        return Some(graphics::pixel_format(family.encoder, profile, source).to_owned());
    }
    // Profiles that are asked for by name limit depth and chroma, or stand for them.
    let allowed: &[&str] = match (family.encoder, rendition.encoder_profile.as_deref()) {
        ("libx264", Some("baseline" | "main" | "high"))
        | ("libx265", Some("main" | "mainstillpicture")) => &["yuv420p", "yuvj420p"],
        ("libx264", Some("high10")) | ("libx265", Some("main10")) => {
            &["yuv420p", "yuvj420p", "yuv420p10le"]
        }
        ("libx265", Some("main12")) => &["yuv420p", "yuvj420p", "yuv420p10le", "yuv420p12le"],
        ("libx264", Some("high422")) | ("libx265", Some("main422-10")) => &["yuv422p10le"],
        ("libx265", Some("main422-8")) => &["yuv422p", "yuvj422p"],
        ("libx265", Some("main422-12")) => &["yuv422p12le"],
        ("prores_ks", Some(p)) if p.starts_with("444") => &["yuv444p10le", "yuva444p10le"],
        ("prores_ks", Some(_)) => &["yuv422p10le"],
        _ => family.formats,
    };
    if allowed.contains(&source) {
        return Some(source.to_owned());
    }
    Pixels::of(source).nearest(allowed).map(str::to_owned)
}

/// Whether x264, which refuses others, can code the fields of such pictures.
fn has_equal_fields(rendition: &Rendition, video: &VideoFacts) -> bool {
    let height = match rendition.scale {
        Scale::Exact { height, .. } => height,
        _ => video.height,
    };
    let format = pixel_format(rendition, &video.pix_fmt).unwrap_or_default();
    Pixels::of(&format).chroma.has_equal_fields(height)
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
    /// How many frames it gets; `None`: nobody can say, or it is a whole track.
    pub frames: Option<u64>,
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
        frames,
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
    let interlaced = video.interlaced_top_first.is_some()
        && rendition.deinterlace == Deinterlace::Off
        && (family.encoder != "libx264" || has_equal_fields(rendition, video));
    let wish = Wish {
        family,
        rendition,
        quality,
        peak,
        start,
        preset,
        tune,
        profile,
        latency,
        varied,
        interlaced,
        rate,
        major,
        one,
        frames,
    };
    list.opt("-c:v", family.encoder);
    match Engine::of_encoder(family.encoder) {
        Some(engine) => graphics::push(list, engine, &wish),
        None => software::push(list, &wish),
    }
    Ok(())
}

/// A Setting, checked and read.
struct Wish<'a> {
    family: &'static Family,
    rendition: &'a Rendition,
    quality: Option<u32>,
    peak: Option<PeakLimit>,
    start: u32,
    preset: Option<&'static str>,
    tune: Option<&'static str>,
    profile: Option<&'static str>,
    latency: bool,
    varied: bool,
    interlaced: bool,
    rate: Rational,
    major: u32,
    one: bool,
    frames: Option<u64>,
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
