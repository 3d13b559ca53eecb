//! Renditions.

use super::{Error, invalid, mirror_enum, plain, text};
use crate::v1;
use recode_types::rendition::{AudioCodec, Deinterlace, PeakLimit, Profile, Scale};
use recode_types::score::Metric;
use recode_types::source::TrackKind;
use recode_types::{Codec, Container, RateControl, Rational, Rendition};

mirror_enum!(v1::Codec, Codec, "codec", { H264, H265, Av1, Vp9, Prores, Mpeg2, Copy });
mirror_enum!(v1::AudioCodec, AudioCodec, "audio_codec", { Aac, Opus, Flac, Copy, None });
mirror_enum!(v1::Container, Container, "container", { Mp4, Mov, Mkv, Webm, Ts });
mirror_enum!(v1::Metric, Metric, "score", { Vmaf, Psnr, Ssim, MsSsim });
mirror_enum!(v1::Profile, Profile, "profile", { Quality, Latency });
mirror_enum!(v1::Deinterlace, Deinterlace, "deinterlace", { Off, Auto, On });
mirror_enum!(v1::TrackKind, TrackKind, "track kind", { Video, Audio, Subtitle, Data, Attachment });

impl From<Rational> for v1::Rational {
    fn from(value: Rational) -> Self {
        Self {
            num: value.num,
            den: value.den,
        }
    }
}

impl TryFrom<v1::Rational> for Rational {
    type Error = Error;
    fn try_from(value: v1::Rational) -> Result<Self, Error> {
        // Bounds beyond which products of two fractions could overflow.
        let sane = |v: i64| v.unsigned_abs() <= 1 << 31;
        if value.den == 0 || !sane(value.num) || !sane(value.den) {
            return Err(invalid(
                "fps",
                format!("{}/{} is not a usable fraction", value.num, value.den),
            ));
        }
        Ok(Self::new(value.num, value.den))
    }
}

impl From<RateControl> for v1::RateControl {
    fn from(value: RateControl) -> Self {
        use v1::rate_control::Promise;
        Self {
            promise: Some(match value {
                RateControl::Crf(milli) => Promise::CrfMilli(milli),
                RateControl::Bitrate(bps) => Promise::BitrateBps(bps),
                RateControl::Size(bytes) => Promise::SizeBytes(bytes),
            }),
        }
    }
}

impl TryFrom<v1::RateControl> for RateControl {
    type Error = Error;
    fn try_from(value: v1::RateControl) -> Result<Self, Error> {
        use v1::rate_control::Promise;
        Ok(match value.promise.ok_or(Error::Missing("rate.promise"))? {
            Promise::CrfMilli(milli) => Self::Crf(milli),
            Promise::BitrateBps(bps) => Self::Bitrate(bps),
            Promise::SizeBytes(bytes) => Self::Size(bytes),
        })
    }
}

impl From<PeakLimit> for v1::PeakLimit {
    fn from(value: PeakLimit) -> Self {
        Self {
            maxrate_bps: value.maxrate_bps,
            bufsize_bits: value.bufsize_bits,
        }
    }
}

impl From<v1::PeakLimit> for PeakLimit {
    fn from(value: v1::PeakLimit) -> Self {
        Self {
            maxrate_bps: value.maxrate_bps,
            bufsize_bits: value.bufsize_bits,
        }
    }
}

/// `None` on the wire is the Source's own size.
fn scale_to_wire(value: Scale) -> Option<v1::Scale> {
    use v1::scale::{Kind, Size};
    let kind = match value {
        Scale::Source => return None,
        Scale::Height(height) => Kind::Height(height),
        Scale::Fit { width, height } => Kind::Fit(Size { width, height }),
        Scale::Exact { width, height } => Kind::Exact(Size { width, height }),
    };
    Some(v1::Scale { kind: Some(kind) })
}

fn scale_from_wire(value: Option<v1::Scale>) -> Result<Scale, Error> {
    use v1::scale::{Kind, Size};
    let Some(value) = value else {
        return Ok(Scale::Source);
    };
    Ok(match value.kind.ok_or(Error::Missing("scale.kind"))? {
        Kind::Height(height) => Scale::Height(height),
        Kind::Fit(Size { width, height }) => Scale::Fit { width, height },
        Kind::Exact(Size { width, height }) => Scale::Exact { width, height },
    })
}

impl From<Rendition> for v1::Rendition {
    fn from(value: Rendition) -> Self {
        Self {
            codec: v1::Codec::from(value.codec).into(),
            encoder: value.encoder,
            rate: value.rate.map(Into::into),
            peak: value.peak.map(Into::into),
            preset: value.preset,
            tune: value.tune,
            encoder_profile: value.encoder_profile,
            profile: v1::Profile::from(value.profile).into(),
            scale: scale_to_wire(value.scale),
            fps: value.fps.map(Into::into),
            deinterlace: v1::Deinterlace::from(value.deinterlace).into(),
            pix_fmt: value.pix_fmt,
            gop: value.gop,
        }
    }
}

impl TryFrom<v1::Rendition> for Rendition {
    type Error = Error;
    fn try_from(value: v1::Rendition) -> Result<Self, Error> {
        let word = |field, value: Option<String>| value.map(|v| text(field, v)).transpose();
        Ok(Self {
            codec: plain::<v1::Codec, _>("codec", value.codec)?,
            encoder: text("encoder", value.encoder)?,
            rate: value.rate.map(TryInto::try_into).transpose()?,
            peak: value.peak.map(Into::into),
            preset: word("preset", value.preset)?,
            tune: word("tune", value.tune)?,
            encoder_profile: word("encoder_profile", value.encoder_profile)?,
            profile: plain::<v1::Profile, _>("profile", value.profile)?,
            scale: scale_from_wire(value.scale)?,
            fps: value.fps.map(TryInto::try_into).transpose()?,
            deinterlace: plain::<v1::Deinterlace, _>("deinterlace", value.deinterlace)?,
            pix_fmt: word("pix_fmt", value.pix_fmt)?,
            gop: value.gop,
        })
    }
}
