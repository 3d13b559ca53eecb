//! What can be said of a request without having seen the Source.

use super::encoder;
use super::error::PlanError;
use recode_types::rendition::{AudioCodec, Deinterlace, RateControl, Scale};
use recode_types::{Codec, Container, JobRequest, OutputRequest, SegmentLength};
use std::collections::BTreeSet;

/// Lowest bitrate that can be promised.
const LEAST_BPS: u64 = 1_000;
/// Smallest file that can be promised.
const LEAST_BYTES: u64 = 10_000;

/// Refuses what contradicts itself. Called before a Job is accepted and again when it is planned.
/// # Errors
/// [`PlanError`] with its one sentence.
pub fn check(request: &JobRequest) -> Result<(), PlanError> {
    if request.outputs.is_empty() {
        return Err(PlanError::NoOutput);
    }
    let mut urls = BTreeSet::new();
    for output in &request.outputs {
        if output.url == request.source {
            return Err(PlanError::OutputIsSource(output.url.clone()));
        }
        if !urls.insert(&output.url) {
            return Err(PlanError::SameOutput(output.url.clone()));
        }
        check_output(request, output)?;
    }
    if request.start_us.is_some_and(|start| start < 0) {
        return Err(PlanError::WantedPart("a negative start"));
    }
    if request.duration_us.is_some_and(|duration| duration <= 0) {
        return Err(PlanError::WantedPart("a duration of nothing"));
    }
    if request.segment == SegmentLength::Millis(0) {
        return Err(PlanError::SegmentLength);
    }
    Ok(())
}

fn check_output(request: &JobRequest, output: &OutputRequest) -> Result<(), PlanError> {
    let rendition = &output.rendition;
    check_audio(output)?;
    if rendition.codec == Codec::Copy {
        return check_copy(request, output);
    }
    let wrong_encoder = || PlanError::Encoder {
        encoder: rendition.encoder.clone(),
        codec: rendition.codec,
    };
    let encoder = encoder::named(&rendition.encoder).ok_or_else(wrong_encoder)?;
    if Codec::of_encoder(encoder.name) != Some(rendition.codec) {
        return Err(wrong_encoder());
    }
    if !output.container.holds_video(rendition.codec) {
        return Err(PlanError::Container {
            container: output.container,
            codec: rendition.codec,
            fitting: Container::ALL
                .into_iter()
                .filter(|c| c.holds_video(rendition.codec))
                .collect(),
        });
    }
    let (least, most) = encoder.range_milli();
    match rendition.rate {
        Some(rate) if encoder.usual_quality_milli.is_none() => {
            return Err(PlanError::NoRate {
                encoder: encoder.name.to_owned(),
                wish: match rate {
                    RateControl::Crf(_) => "--crf",
                    RateControl::Bitrate(_) => "--bitrate",
                    RateControl::Size(_) => "--size",
                },
            });
        }
        // 0 is lossless or nearly so: below the range of rate control, but a fair wish.
        Some(RateControl::Crf(milli)) if milli > most || (milli > 0 && milli < least) => {
            return Err(PlanError::Quality {
                given: format!("{}", f64::from(milli) / 1000.0),
                encoder: encoder.name.to_owned(),
                least: 0,
                most: encoder.quality_most,
            });
        }
        Some(RateControl::Bitrate(bps)) if bps < LEAST_BPS => {
            return Err(PlanError::TooLittle {
                what: "a bitrate",
                given: format!("{bps} bit/s"),
                least: format!("{LEAST_BPS} bit/s"),
            });
        }
        Some(RateControl::Size(bytes)) if bytes < LEAST_BYTES => {
            return Err(PlanError::TooLittle {
                what: "a size",
                given: format!("{bytes} bytes"),
                least: format!("{LEAST_BYTES} bytes"),
            });
        }
        _ => {}
    }
    if encoder.has_one_quality()
        && let Some(wish) = match (rendition.rate, rendition.peak) {
            (Some(RateControl::Bitrate(_)), _) => Some("--bitrate"),
            (Some(RateControl::Size(_)), _) => Some("--size"),
            (_, Some(_)) => Some("--maxrate"),
            _ => None,
        }
    {
        return Err(PlanError::OneQuality {
            encoder: encoder.name.to_owned(),
            wish,
        });
    }
    if let Some(peak) = rendition.peak {
        if encoder.usual_quality_milli.is_none() {
            return Err(PlanError::NoRate {
                encoder: encoder.name.to_owned(),
                wish: "--maxrate",
            });
        }
        if peak.maxrate_bps == 0 {
            return Err(PlanError::Peak);
        }
        if let Some(RateControl::Bitrate(bps)) = rendition.rate
            && peak.maxrate_bps < bps
        {
            return Err(PlanError::TooLittle {
                what: "a peak rate below the mean",
                given: format!("{} bit/s", peak.maxrate_bps),
                least: format!("{bps} bit/s"),
            });
        }
    }
    if let Some(fps) = rendition.fps
        && (fps.num <= 0 || fps.num > fps.den.saturating_mul(1000))
    {
        return Err(PlanError::FrameRate(fps.to_string()));
    }
    if rendition.gop == Some(0) {
        return Err(PlanError::Gop);
    }
    if rendition.fps.is_some() && !request.score.is_empty() {
        return Err(PlanError::Score(
            "a score compares frame by frame, which is not possible with --fps: leave one of them out",
        ));
    }
    if rendition.deinterlace != Deinterlace::Off && !request.score.is_empty() {
        return Err(PlanError::Score(
            "a score against an interlaced source says nothing about a deinterlaced output: leave --score or \
             --deinterlace out",
        ));
    }
    Ok(())
}

fn check_audio(output: &OutputRequest) -> Result<(), PlanError> {
    let Some(codec) = output.audio_codec else {
        return Ok(());
    };
    let name = match codec {
        AudioCodec::Aac => "aac",
        AudioCodec::Opus => "opus",
        AudioCodec::Flac => "flac",
        AudioCodec::Copy | AudioCodec::None => return Ok(()),
    };
    if output.container.holds_audio(name) {
        return Ok(());
    }
    Err(PlanError::AudioContainer {
        container: output.container,
        codec,
        fitting: Container::ALL
            .into_iter()
            .filter(|c| c.holds_audio(name) && c.holds_video(output.rendition.codec))
            .collect(),
    })
}

fn check_copy(request: &JobRequest, output: &OutputRequest) -> Result<(), PlanError> {
    let r = &output.rendition;
    let wishes = [
        (r.rate.is_some(), "--crf, --bitrate or --size"),
        (r.peak.is_some(), "--maxrate"),
        (r.preset.is_some(), "--preset"),
        (r.tune.is_some(), "--tune"),
        (r.encoder_profile.is_some(), "--encoder-profile"),
        (r.scale != Scale::Source, "--scale"),
        (r.fps.is_some(), "--fps"),
        (r.deinterlace != Deinterlace::Off, "--deinterlace"),
        (r.pix_fmt.is_some(), "--pix-fmt"),
        (r.gop.is_some(), "--gop"),
        (!request.score.is_empty(), "--score"),
        (request.making.verify_full(), "--verify full"),
        (request.making.split_tail(), "--split-tail"),
    ];
    match wishes.into_iter().find(|(set, _)| *set) {
        Some((_, wish)) => Err(PlanError::CopyCannot { wish }),
        None => Ok(()),
    }
}
