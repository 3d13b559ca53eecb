//! What an encode cannot keep of the picture: named before it starts, refused under `--strict`.

use super::encoder;
use super::picture::chroma;
use recode_types::rendition::{Deinterlace, Scale};
use recode_types::source::VideoFacts;
use recode_types::{OutputRequest, Pixels};

/// Adds one sentence for each thing that `output` will lose. `build` is FFmpeg's first version line.
pub fn of_picture(
    video: &VideoFacts,
    output: &OutputRequest,
    build: &str,
    losses: &mut Vec<String>,
) {
    let rendition = &output.rendition;
    let Some(encoder) = encoder::named(&rendition.encoder) else {
        return;
    };
    let name = encoder.name;
    if let Some(profile) = video.dolby_vision_profile {
        losses.push(format!(
            "the Dolby Vision (profile {profile}) metadata of the source is not kept by {name}: the output shows its \
             base layer"
        ));
    }
    if video.hdr10_plus {
        losses.push(format!(
            "the dynamic HDR10+ metadata of the source is not kept by {name}: the output has static HDR only"
        ));
    }
    let pixels = Pixels::of(&video.pix_fmt);
    if encoder.flattens() && pixels.depth > 8 {
        losses.push(format!(
            "the source has more than 8 bits a sample ({}) and {name} makes 8 of them",
            video.pix_fmt
        ));
    }
    let before = |release| major(build).is_some_and(|major| major < release);
    // FFmpeg hands the mastering display and the light level to these two since version 7.1.
    if video.hdr10_static && matches!(name, "libx264" | "libx265") && before(7) {
        losses.push(format!(
            "the HDR10 metadata (mastering display, light level) of the source is not kept by {name} of this ffmpeg"
        ));
    }
    let why = match rendition.scale {
        _ if !encoder.keeps_interlace => Some(format!("{name} cannot mark that")),
        Scale::Exact { height, .. }
            if name == "libx264"
                && !chroma(encoder, rendition, &video.pix_fmt).has_equal_fields(height) =>
        {
            Some(format!(
                "two fields of {height} lines are not alike, which {name} asks for"
            ))
        }
        _ => None,
    };
    if video.interlaced_top_first.is_some()
        && rendition.deinterlace == Deinterlace::Off
        && let Some(why) = why
    {
        losses.push(format!(
            "the source is interlaced and {why}: fields stay woven into progressive frames; --deinterlace auto makes clean \
             frames"
        ));
    }
    // FFmpeg hands captions to x265 since version 8.
    let too_old = name == "libx265" && before(8);
    if video.captions && (!encoder.keeps_captions || too_old) {
        losses.push(format!(
            "the closed captions inside the pictures of the source are not kept by {name}{}",
            if too_old { " of this ffmpeg" } else { "" }
        ));
    }
    // ProRes has it in its largest profiles alone.
    let profile = rendition.encoder_profile.as_deref();
    let opaque = name == "prores_ks" && profile.is_some_and(|p| !p.starts_with("444"));
    if (video.alpha || pixels.alpha) && (opaque || !encoder.keeps_alpha) {
        losses.push(format!(
            "the transparency (alpha) of the source is not kept by {name}"
        ));
    } else if video.alpha {
        // FFmpeg's own VP8 and VP9 decoders do not show the plane that lies beside the pictures.
        losses.push(
            "the transparency (alpha) of the source is not decoded by ffmpeg and is not kept"
                .to_owned(),
        );
    }
}

/// The number after `version`; `None` for builds that are named otherwise.
fn major(build: &str) -> Option<u32> {
    let number = build.split("version ").nth(1)?;
    let digits = number.trim_start_matches('n');
    digits
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}
