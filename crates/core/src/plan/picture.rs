//! The picture of a Rendition with everything filled in: size, quality, peak.

use super::encoder::{self, Encoder, MOST_SIDE};
use super::error::PlanError;
use recode_types::rendition::{PeakLimit, Profile, RateControl, Rendition, Scale};
use recode_types::source::VideoFacts;
use recode_types::{Chroma, Metric, Pixels};

/// Fills in what the request left open. Afterwards `scale` is [`Scale::Exact`], `rate` is set where the encoder has such a
/// knob, and a peak limit has a buffer. What had to be changed is added to `losses`.
/// # Errors
/// [`PlanError::Size`], [`PlanError::Odd`], [`PlanError::Encoder`].
pub fn resolve(
    video: &VideoFacts,
    rendition: &mut Rendition,
    losses: &mut Vec<String>,
) -> Result<(), PlanError> {
    let encoder = encoder::named(&rendition.encoder).ok_or_else(|| PlanError::Encoder {
        encoder: rendition.encoder.clone(),
        codec: rendition.codec,
    })?;
    let (mut width, mut height) = size(video, rendition.scale);
    let fits = |side: u64| (u64::from(encoder.least_side)..=u64::from(MOST_SIDE)).contains(&side);
    if !fits(width) || !fits(height) {
        return Err(PlanError::Size {
            width,
            height,
            encoder: encoder.name.to_owned(),
            least: encoder.least_side,
            most: MOST_SIDE,
        });
    }
    let format = rendition.pix_fmt.as_deref().unwrap_or(&video.pix_fmt);
    let (across, down) = chroma(encoder, rendition, &video.pix_fmt).is_subsampled();
    let odd = (across && width % 2 != 0, down && height % 2 != 0);
    if encoder.needs_even && (odd.0 || odd.1) {
        if let Scale::Exact { width, height } = rendition.scale {
            return Err(PlanError::Odd {
                width,
                height,
                pix_fmt: format.to_owned(),
            });
        }
        // Nobody asked for this size: the nearest possible one it is.
        let was = (width, height);
        width -= u64::from(odd.0);
        height -= u64::from(odd.1);
        losses.push(format!(
            "{} takes even sizes only: the picture of {}x{} becomes {width}x{height}",
            encoder.name, was.0, was.1
        ));
    }
    let (width, height) = (width as u32, height as u32);
    rendition.scale = Scale::Exact { width, height };
    if rendition.rate.is_none() {
        rendition.rate = encoder.usual_quality_milli.map(RateControl::Crf);
    }
    rendition.peak = peak(rendition);
    Ok(())
}

/// Smallest side that libvmaf takes: VMAF's wavelets crash on less (seen with FFmpeg 9), and MS-SSIM halves the picture
/// four times before it compares 11x11 samples.
const LEAST_VMAF: u32 = 20;
const LEAST_MS_SSIM: u32 = 176;

/// Refuses pictures too small to be scored. `rendition` is resolved.
/// # Errors
/// [`PlanError::Score`].
pub fn check_score(rendition: &Rendition, metrics: &[Metric]) -> Result<(), PlanError> {
    let Scale::Exact { width, height } = rendition.scale else {
        return Ok(());
    };
    let side = width.min(height);
    if !metrics.is_empty() && side < LEAST_VMAF {
        return Err(PlanError::Score(
            "pictures below 20x20 are too small to be scored: leave --score out or choose a larger --scale",
        ));
    }
    if metrics.contains(&Metric::MsSsim) && side < LEAST_MS_SSIM {
        return Err(PlanError::Score(
            "pictures below 176x176 are too small for ms-ssim: leave it out of --score or choose a larger --scale",
        ));
    }
    Ok(())
}

/// The planned size: as the Source, or scaled with its shape kept. Scaled sides are even (subsampled chroma needs that);
/// the sample aspect ratio makes up for the rounding, as FFmpeg's `scale` does.
fn size(video: &VideoFacts, scale: Scale) -> (u64, u64) {
    let (w, h) = (u64::from(video.width), u64::from(video.height));
    let even = |n: u64, d: u64| ((n + d) / (2 * d) * 2).max(2);
    match scale {
        Scale::Source => (w, h),
        Scale::Exact { width, height } => (width.into(), height.into()),
        Scale::Height(_) | Scale::Fit { .. } if w == 0 || h == 0 => (0, 0),
        Scale::Height(height) if u64::from(height) == h => (w, h),
        Scale::Height(height) => {
            let height = u64::from(height) / 2 * 2;
            (even(w * height, h), height)
        }
        Scale::Fit { width, height } => {
            let (bw, bh) = (u64::from(width), u64::from(height));
            if (bw, bh) == (w, h) {
                (w, h)
            } else if w * bh > bw * h {
                (bw / 2 * 2, even(h * bw, w).min(bh.max(2)))
            } else {
                (even(w * bh, h).min(bw.max(2)), bh / 2 * 2)
            }
        }
    }
}

/// How an encoder that wants even sizes will sample the colour of such a Source.
pub(super) fn chroma(encoder: &Encoder, rendition: &Rendition, source: &str) -> Chroma {
    if let Some(wish) = &rendition.pix_fmt {
        return Pixels::of(wish).chroma;
    }
    let own = Pixels::of(source).chroma;
    match (encoder.name, rendition.encoder_profile.as_deref()) {
        ("libx264", Some("baseline" | "main" | "high" | "high10")) => Chroma::Quarter,
        ("libx265", Some("main" | "mainstillpicture" | "main10" | "main12")) => Chroma::Quarter,
        (_, Some(profile)) if profile.contains("422") => Chroma::Across,
        // Neither of the two has 4:4:0.
        ("libx264" | "libx265", _) if own == Chroma::Down => Chroma::Full,
        ("libx264" | "libx265", _) => own,
        // Cards.
        _ => Chroma::Quarter,
    }
}

/// The peak limit: what was asked, with the buffer of the profile where none was given. Under the latency profile a
/// bitrate is also its peak: a small buffer without one would bound nothing.
fn peak(rendition: &Rendition) -> Option<PeakLimit> {
    let mean = match rendition.rate {
        Some(RateControl::Bitrate(bps)) => Some(bps),
        _ => None,
    };
    let buffer = |bps: u64| match rendition.profile {
        Profile::Quality => bps * 2,
        Profile::Latency => (bps / 25).max(1),
    };
    match (rendition.peak, mean, rendition.profile) {
        (Some(peak), mean, _) if peak.bufsize_bits == 0 => Some(PeakLimit {
            bufsize_bits: buffer(mean.unwrap_or(peak.maxrate_bps)),
            ..peak
        }),
        (Some(peak), _, _) => Some(peak),
        (None, Some(bps), Profile::Latency) => Some(PeakLimit {
            maxrate_bps: bps,
            bufsize_bits: buffer(bps),
        }),
        (None, _, _) => None,
    }
}
