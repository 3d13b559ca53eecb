//! What an encode cannot keep of the picture: named before it starts, refused under `--strict`.

use super::encoder;
use recode_types::OutputRequest;
use recode_types::rendition::Deinterlace;
use recode_types::source::VideoFacts;

/// Adds one sentence for each thing that `output` will lose.
pub fn of_picture(video: &VideoFacts, output: &OutputRequest, losses: &mut Vec<String>) {
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
    if video.interlaced_top_first.is_some()
        && rendition.deinterlace == Deinterlace::Off
        && !encoder.keeps_interlace
    {
        losses.push(format!(
            "the source is interlaced and {name} cannot mark that: fields stay woven into progressive frames; \
             --deinterlace auto makes clean frames"
        ));
    }
    if video.captions && !encoder.keeps_captions {
        losses.push(format!(
            "the closed captions inside the pictures of the source are not kept by {name}"
        ));
    }
    if (video.alpha || has_alpha(&video.pix_fmt)) && !encoder.keeps_alpha {
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

fn has_alpha(format: &str) -> bool {
    ["yuva", "rgba", "bgra", "argb", "abgr", "gbrap", "ya8", "ya16", "pal8"]
        .iter()
        .any(|alpha| format.starts_with(alpha))
        // Palettes have an alpha entry that is almost never used.
        && !format.starts_with("pal8")
}
