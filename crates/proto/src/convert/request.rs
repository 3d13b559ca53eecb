//! Job requests.

use super::{Error, MAX_OUTPUTS, MAX_REQUEST_BYTES, MAX_TEXT_BYTES, at_most, invalid, plain, text};
use crate::v1;
use recode_types::request::{TrackChoice, TrackSelection};
use recode_types::{JobRequest, Making, OutputRequest, SegmentLength};

impl From<TrackChoice> for v1::TrackChoice {
    fn from(value: TrackChoice) -> Self {
        Self {
            kind: value.kind.map(|kind| v1::TrackKind::from(kind).into()),
            number: value.number,
            language: value.language,
        }
    }
}

impl TryFrom<v1::TrackChoice> for TrackChoice {
    type Error = Error;
    fn try_from(value: v1::TrackChoice) -> Result<Self, Error> {
        Ok(Self {
            kind: value
                .kind
                .map(|kind| plain::<v1::TrackKind, _>("tracks.kind", kind))
                .transpose()?,
            number: value.number,
            language: value
                .language
                .map(|language| text("tracks.language", language))
                .transpose()?,
        })
    }
}

impl From<OutputRequest> for v1::OutputRequest {
    fn from(value: OutputRequest) -> Self {
        Self {
            url: value.url,
            container: v1::Container::from(value.container).into(),
            rendition: Some(value.rendition.into()),
            audio_codec: value
                .audio_codec
                .map(|codec| v1::AudioCodec::from(codec).into()),
            audio_bitrate_bps: value.audio_bitrate_bps,
            tracks: match value.tracks {
                TrackSelection::All => None,
                TrackSelection::Only(choices) => Some(v1::TrackSelection {
                    choices: choices.into_iter().map(Into::into).collect(),
                }),
            },
        }
    }
}

impl TryFrom<v1::OutputRequest> for OutputRequest {
    type Error = Error;
    fn try_from(value: v1::OutputRequest) -> Result<Self, Error> {
        Ok(Self {
            url: text("outputs.url", value.url)?,
            container: plain::<v1::Container, _>("container", value.container)?,
            rendition: value
                .rendition
                .ok_or(Error::Missing("outputs.rendition"))?
                .try_into()?,
            audio_codec: value
                .audio_codec
                .map(|codec| plain::<v1::AudioCodec, _>("audio_codec", codec))
                .transpose()?,
            audio_bitrate_bps: value.audio_bitrate_bps,
            tracks: match value.tracks {
                None => TrackSelection::All,
                Some(only) if only.choices.len() > 64 => {
                    return Err(Error::TooLong {
                        field: "outputs.tracks",
                        length: only.choices.len(),
                        limit: 64,
                    });
                }
                Some(only) => TrackSelection::Only(
                    only.choices
                        .into_iter()
                        .map(TryInto::try_into)
                        .collect::<Result<_, _>>()?,
                ),
            },
        })
    }
}

impl From<JobRequest> for v1::JobRequest {
    fn from(value: JobRequest) -> Self {
        Self {
            source: value.source,
            start_us: value.start_us,
            duration_us: value.duration_us,
            outputs: value.outputs.into_iter().map(Into::into).collect(),
            segment_ms: value.segment.millis(),
            score: value
                .score
                .into_iter()
                .map(|metric| v1::Metric::from(metric).into())
                .collect(),
            verify_full: value.making.verify_full(),
            strict: value.strict,
            overwrite: value.overwrite,
            labels: value.labels.into_iter().collect(),
            priority: value.priority.into(),
            spread: value.segment == SegmentLength::Spread,
            split_tail: value.making.split_tail(),
        }
    }
}

/// What two fields of the wire say of the length of Segments.
fn segment(millis: Option<u64>, spread: bool) -> Result<SegmentLength, Error> {
    match (millis, spread) {
        (None, false) => Ok(SegmentLength::Usual),
        (Some(ms), false) => Ok(SegmentLength::Millis(ms)),
        (None, true) => Ok(SegmentLength::Spread),
        (Some(_), true) => Err(invalid(
            "spread",
            "it chooses many lengths and segment_ms one: leave either out",
        )),
    }
}

impl TryFrom<v1::JobRequest> for JobRequest {
    type Error = Error;
    fn try_from(value: v1::JobRequest) -> Result<Self, Error> {
        if value.source.is_empty() {
            return Err(Error::Missing("source"));
        }
        if value.outputs.is_empty() {
            return Err(Error::Missing("outputs"));
        }
        for (field, length, limit) in [
            ("outputs", value.outputs.len(), MAX_OUTPUTS),
            ("score", value.score.len(), 16),
            ("labels", value.labels.len(), 64),
        ] {
            at_most(field, length, limit)?;
        }
        if value.priority > 100 {
            return Err(invalid(
                "priority",
                format!("{} is not between 0 and 100", value.priority),
            ));
        }
        if let Some((key, _)) = value
            .labels
            .iter()
            .find(|(key, label)| key.len() + label.len() > MAX_TEXT_BYTES)
        {
            return Err(Error::TooLong {
                field: "labels",
                length: key.len(),
                limit: MAX_TEXT_BYTES,
            });
        }
        let bytes = prost::Message::encoded_len(&value);
        let plain_request = Self {
            source: text("source", value.source)?,
            start_us: value.start_us,
            duration_us: value.duration_us,
            outputs: value
                .outputs
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
            segment: segment(value.segment_ms, value.spread)?,
            score: value
                .score
                .into_iter()
                .map(|metric| plain::<v1::Metric, _>("score", metric))
                .collect::<Result<_, _>>()?,
            making: Making::of(value.verify_full, value.split_tail),
            strict: value.strict,
            overwrite: value.overwrite,
            labels: value.labels.into_iter().collect(),
            priority: value.priority as u8,
        };
        // Last, since a single field that is too long says more.
        at_most("request", bytes, MAX_REQUEST_BYTES)?;
        Ok(plain_request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::rendition::{AudioCodec, Deinterlace, PeakLimit, Profile, Scale};
    use recode_types::source::TrackKind;
    use recode_types::{Codec, Container, Metric, RateControl, Rational, Rendition};

    /// Every field away from its default, so that a forgotten one shows.
    fn full() -> JobRequest {
        let rendition = Rendition {
            codec: Codec::H265,
            encoder: "libx265".into(),
            rate: Some(RateControl::Bitrate(4_000_000)),
            peak: Some(PeakLimit {
                maxrate_bps: 6_000_000,
                bufsize_bits: 12_000_000,
            }),
            preset: Some("slow".into()),
            tune: Some("grain".into()),
            encoder_profile: Some("main10".into()),
            profile: Profile::Latency,
            scale: Scale::Fit {
                width: 1280,
                height: 720,
            },
            fps: Some(Rational::new(30000, 1001)),
            deinterlace: Deinterlace::Auto,
            pix_fmt: Some("yuv420p10le".into()),
            gop: Some(48),
        };
        let first = OutputRequest {
            url: "file:///out/a.mkv".into(),
            container: Container::Mkv,
            rendition,
            audio_codec: Some(AudioCodec::None),
            audio_bitrate_bps: Some(192_000),
            tracks: TrackSelection::Only(vec![TrackChoice {
                kind: Some(TrackKind::Subtitle),
                number: Some(0),
                language: Some("deu".into()),
            }]),
        };
        let mut second = first.clone();
        second.url = "file:///out/b.webm".into();
        second.rendition.rate = Some(RateControl::Crf(23_500));
        second.rendition.scale = Scale::Source;
        second.tracks = TrackSelection::Only(vec![]);
        JobRequest {
            source: "file:///in.mp4".into(),
            start_us: Some(-1),
            duration_us: Some(5_000_000),
            outputs: vec![first, second],
            segment: SegmentLength::Millis(2000),
            score: vec![Metric::Vmaf, Metric::MsSsim],
            making: Making::Verified,
            strict: true,
            overwrite: true,
            labels: [("show".to_owned(), "one".to_owned())].into(),
            priority: 100,
        }
    }

    #[test]
    fn a_request_survives_the_wire() {
        let wire = v1::JobRequest::from(full());
        assert_eq!(JobRequest::try_from(wire).unwrap(), full());
        for segment in [SegmentLength::Usual, SegmentLength::Spread] {
            let request = JobRequest { segment, ..full() };
            let wire = v1::JobRequest::from(request.clone());
            assert_eq!(JobRequest::try_from(wire).unwrap(), request);
        }
        for making in [Making::Usual, Making::SplitTail] {
            let request = JobRequest { making, ..full() };
            let wire = v1::JobRequest::from(request.clone());
            assert_eq!(JobRequest::try_from(wire).unwrap(), request);
        }
        let both = v1::JobRequest {
            split_tail: true,
            ..full().into()
        };
        let read = JobRequest::try_from(both).unwrap();
        assert_eq!(read.making, Making::Verified, "compared, so made in one go");
    }

    #[test]
    fn a_request_that_is_not_whole_is_refused_by_name() {
        let check = |change: fn(&mut v1::JobRequest), expected: &str| {
            let mut wire = v1::JobRequest::from(full());
            change(&mut wire);
            let error = JobRequest::try_from(wire).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} does not name {expected}");
        };
        check(|r| r.source.clear(), "source is missing");
        check(|r| r.outputs.clear(), "outputs is missing");
        check(
            |r| r.outputs[0].rendition = None,
            "outputs.rendition is missing",
        );
        check(
            |r| r.outputs[0].container = 77,
            "container has the unknown value 77",
        );
        check(
            |r| r.outputs[0].rendition.as_mut().unwrap().codec = 0,
            "codec has the unknown value 0",
        );
        check(|r| r.priority = 101, "priority is not valid");
        check(|r| r.spread = true, "spread is not valid");
        check(
            |r| r.outputs[0].url = "x".repeat(5000),
            "outputs.url is too long",
        );
        check(
            |r| {
                r.outputs[0].rendition.as_mut().unwrap().fps = Some(v1::Rational { num: 1, den: 0 })
            },
            "fps is not valid",
        );
        check(|r| r.score = vec![9], "score has the unknown value 9");
        check(
            |r| {
                let choices = vec![v1::TrackChoice::default(); 65];
                r.outputs[0].tracks = Some(v1::TrackSelection { choices });
            },
            "outputs.tracks is too long",
        );
        check(
            |r| {
                let mut output = r.outputs[0].clone();
                output.url = "x".repeat(4000);
                r.outputs = vec![output; 17];
            },
            "request is too long",
        );
    }
}
