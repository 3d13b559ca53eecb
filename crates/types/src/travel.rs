//! Which tracks of a Source travel into an Output, and how. Tables here because the planner warns before the first encode
//! and the node acts on the same answer at the end.

use crate::container::Container;
use crate::rendition::AudioCodec;
use crate::request::{TrackChoice, TrackSelection};
use crate::source::{SourceFacts, Track, TrackKind, Trim};

/// What becomes of one track of the Source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its packets travel as they are.
    Copy,
    /// It is converted by FFmpeg's encoder of this name.
    Convert(&'static str),
    /// It is not needed as a track: what it says is kept in another way, or nobody asked for it.
    Omit,
    /// It cannot be kept; one sentence names it and says why.
    Lose(String),
}

impl TrackSelection {
    /// Whether `track` was asked for. Covers count as video without a number; the main video always travels.
    pub fn selects(&self, facts: &SourceFacts, track: &Track) -> bool {
        let Self::Only(choices) = self else {
            return true;
        };
        let main = facts.video.as_ref().is_some_and(|v| v.track == track.index);
        main || choices.iter().any(|choice| matches(choice, facts, track))
    }
}

fn matches(choice: &TrackChoice, facts: &SourceFacts, track: &Track) -> bool {
    let number = match choice.kind {
        Some(kind) => facts
            .tracks_of(kind)
            .position(|t| t.index == track.index)
            .map(|n| n as u32),
        None => Some(track.index),
    };
    choice.kind.is_none_or(|kind| kind == track.kind)
        && choice.number.is_none_or(|wanted| number == Some(wanted))
        && choice
            .language
            .as_ref()
            .is_none_or(|wanted| track.language.as_ref() == Some(wanted))
}

/// The Output, as far as it decides the fate of tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Its container.
    pub container: Container,
    /// The wanted audio codec; `None`: copied where the container holds it, else the container's usual codec.
    pub audio: Option<AudioCodec>,
    /// A Blu-ray style transport stream (`.m2ts`), which has a place for PGS subtitles.
    pub m2ts: bool,
    /// The Output begins later than the Source.
    pub later: bool,
}

impl Destination {
    /// Of an Output. `start_us`: where the wanted part of the Source begins.
    pub fn of(output: &crate::request::OutputRequest, start_us: Option<i64>) -> Self {
        let name = output.url.split(['?', '#']).next().unwrap_or_default();
        Self {
            container: output.container,
            audio: output.audio_codec,
            m2ts: output.container == Container::Ts && name.to_ascii_lowercase().ends_with(".m2ts"),
            later: start_us.is_some_and(|start| start > 0),
        }
    }

    /// What becomes of `track`, other than moving pictures.
    pub fn fate(self, track: &Track) -> Fate {
        match track.kind {
            TrackKind::Video if !track.is_seen() => lose(track, "FFmpeg cannot read it"),
            TrackKind::Video if track.attached_pic => self.cover(track),
            TrackKind::Video => Fate::Copy,
            TrackKind::Audio => self.audio(track),
            TrackKind::Subtitle => self.subtitle(track),
            TrackKind::Data => self.data(track),
            TrackKind::Attachment => match self.container {
                Container::Mkv if mime_type(track).is_some() => Fate::Copy,
                Container::Mkv => lose(track, "its kind of file is unknown"),
                _ => self.no_place(track),
            },
        }
    }

    fn no_place(self, track: &Track) -> Fate {
        lose(track, &format!("{} has no place for it", self.container))
    }

    fn audio(self, track: &Track) -> Fate {
        let seen = track.is_seen();
        if !track.has_codec() || !(seen || track.damaged) {
            return lose(track, "FFmpeg cannot read it");
        }
        let holds = self.container.holds_audio(&track.codec);
        match self.audio {
            Some(AudioCodec::None) => Fate::Omit,
            Some(AudioCodec::Copy) if holds && !seen => lose(
                track,
                "it begins too late to be copied; give --audio-codec an encoder",
            ),
            Some(AudioCodec::Copy) if holds && !self.takes(track) => lose(
                track,
                "FFmpeg cannot copy it into mkv; give --audio-codec an encoder",
            ),
            Some(AudioCodec::Copy) if holds => Fate::Copy,
            Some(AudioCodec::Copy) => self.no_place(track),
            None if holds && !track.damaged && self.takes(track) && self.keeps(track.trim) => {
                Fate::Copy
            }
            wanted => {
                let codec = wanted.unwrap_or_else(|| self.container.default_audio());
                codec.encoder().map_or(Fate::Omit, Fate::Convert)
            }
        }
    }

    /// Whether FFmpeg's muxer writes a copy of sound that can be read.
    fn takes(self, track: &Track) -> bool {
        !(track.resets && self.container == Container::Mkv)
    }

    /// Whether a copy of sound plays what `trim` leaves, no more and no less. FFmpeg's muxers write no edit list of several pieces. As
    /// Matroska has it, what is hidden at the start is the delay of the codec: it is hidden of a part that begins behind it, too.
    fn keeps(self, trim: Trim) -> bool {
        match trim {
            Trim::Whole => true,
            Trim::Later => {
                !(self.later && matches!(self.container, Container::Mkv | Container::Webm))
            }
            Trim::Pieces => false,
        }
    }

    fn subtitle(self, track: &Track) -> Fate {
        let codec = track.codec.as_str();
        if !track.has_codec() {
            return lose(track, "FFmpeg cannot read it");
        }
        let bitmap = matches!(
            codec,
            "hdmv_pgs_subtitle" | "dvd_subtitle" | "dvb_subtitle" | "xsub"
        );
        let copied = match self.container {
            Container::Mp4 => matches!(codec, "mov_text" | "dvd_subtitle" | "eia_608"),
            Container::Mov => matches!(codec, "mov_text" | "eia_608"),
            Container::Mkv => matches!(
                codec,
                "subrip"
                    | "ass"
                    | "webvtt"
                    | "hdmv_pgs_subtitle"
                    | "hdmv_text_subtitle"
                    | "dvd_subtitle"
                    | "dvb_subtitle"
                    | "arib_caption"
            ),
            Container::Webm => codec == "webvtt",
            Container::Ts => {
                matches!(codec, "dvb_subtitle" | "dvb_teletext" | "arib_caption")
                    || (self.m2ts && codec == "hdmv_pgs_subtitle")
            }
        };
        // Encoders exist in every FFmpeg build; teletext and captions inside other formats need libraries that most lack.
        let text = matches!(
            codec,
            "subrip"
                | "srt"
                | "ass"
                | "ssa"
                | "webvtt"
                | "mov_text"
                | "text"
                | "microdvd"
                | "mpl2"
                | "jacosub"
                | "sami"
                | "realtext"
                | "subviewer"
                | "subviewer1"
                | "vplayer"
                | "stl"
                | "pjs"
        );
        match self.container {
            _ if copied => Fate::Copy,
            Container::Mp4 | Container::Mov if text => Fate::Convert("mov_text"),
            Container::Mkv if text => Fate::Convert("ass"),
            Container::Webm if text => Fate::Convert("webvtt"),
            _ if bitmap => lose(
                track,
                &format!("{} has no place for bitmap subtitles", self.container),
            ),
            _ => self.no_place(track),
        }
    }

    fn data(self, track: &Track) -> Fate {
        let quicktime = matches!(self.container, Container::Mp4 | Container::Mov);
        // The demuxer copies the timecode into the tags of the video and lists the chapters by themselves; muxers write
        // both again from there.
        if track.description.contains("tmcd") {
            return if quicktime || self.container == Container::Mkv {
                Fate::Omit
            } else {
                self.no_place(track)
            };
        }
        if track.codec == "bin_data" && track.description.contains("text / 0x") {
            return Fate::Omit;
        }
        let copied = match self.container {
            Container::Mp4 | Container::Mov => {
                track.codec == "bin_data" && track.description.contains("gpmd")
            }
            Container::Ts => matches!(track.codec.as_str(), "klv" | "timed_id3"),
            Container::Mkv | Container::Webm => false,
        };
        if copied {
            Fate::Copy
        } else {
            self.no_place(track)
        }
    }

    fn cover(self, track: &Track) -> Fate {
        match self.container {
            Container::Mp4 if matches!(track.codec.as_str(), "mjpeg" | "png" | "bmp") => Fate::Copy,
            Container::Mkv if cover_mime(&track.codec).is_some() => Fate::Copy,
            _ => self.no_place(track),
        }
    }
}

/// The MIME type of an attachment, from its tags or from what FFmpeg made of it.
pub fn mime_type(track: &Track) -> Option<&str> {
    let tagged = track
        .tags
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case("mimetype"))
        .map(|(_, value)| value.as_str());
    tagged.or(match track.codec.as_str() {
        "ttf" => Some("application/x-truetype-font"),
        "otf" => Some("application/vnd.ms-opentype"),
        _ => None,
    })
}

/// The MIME type of a cover picture.
pub fn cover_mime(codec: &str) -> Option<&'static str> {
    Some(match codec {
        "mjpeg" => "image/jpeg",
        "png" => "image/png",
        "gif" => "image/gif",
        "bmp" => "image/bmp",
        "tiff" => "image/tiff",
        _ => return None,
    })
}

fn lose(track: &Track, why: &str) -> Fate {
    Fate::Lose(format!("{} is left out: {why}", name(track)))
}

/// How a track is called in messages: `audio track 2 (ger, dts)`.
pub fn name(track: &Track) -> String {
    let kind = match track.kind {
        TrackKind::Video if track.attached_pic => "the cover picture, track",
        TrackKind::Video => "video track",
        TrackKind::Audio => "audio track",
        TrackKind::Subtitle => "subtitle track",
        TrackKind::Data => "data track",
        TrackKind::Attachment => "the attached file, track",
    };
    let details: Vec<&str> = track
        .language
        .as_deref()
        .into_iter()
        .chain(Some(track.codec.as_str()))
        .filter(|d| !d.is_empty())
        .collect();
    format!("{kind} {} ({})", track.index, details.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn track(kind: TrackKind, codec: &str) -> Track {
        Track {
            index: 3,
            kind,
            codec: codec.to_owned(),
            description: String::new(),
            language: Some("ger".to_owned()),
            title: None,
            dispositions: Vec::new(),
            attached_pic: false,
            size: None,
            sample_rate: Some(48_000),
            channel_layout: None,
            tags: BTreeMap::new(),
            damaged: false,
            resets: false,
            trim: Trim::Whole,
        }
    }

    fn to(container: Container) -> Destination {
        Destination {
            container,
            audio: None,
            m2ts: false,
            later: false,
        }
    }

    #[test]
    fn subtitles_are_copied_converted_or_lost_with_a_reason() {
        let fate = |container, codec| to(container).fate(&track(TrackKind::Subtitle, codec));
        assert_eq!(fate(Container::Mp4, "mov_text"), Fate::Copy);
        assert_eq!(fate(Container::Mp4, "subrip"), Fate::Convert("mov_text"));
        assert_eq!(fate(Container::Mkv, "mov_text"), Fate::Convert("ass"));
        assert_eq!(fate(Container::Mkv, "dvb_subtitle"), Fate::Copy);
        assert_eq!(fate(Container::Webm, "ass"), Fate::Convert("webvtt"));
        assert_eq!(
            fate(Container::Mp4, "hdmv_pgs_subtitle"),
            Fate::Lose(
                "subtitle track 3 (ger, hdmv_pgs_subtitle) is left out: mp4 has no place for bitmap subtitles"
                    .to_owned()
            )
        );
    }

    #[test]
    fn what_ffmpeg_did_not_see_at_once_is_encoded_or_lost() {
        let audio = |damaged, resets, rate| Track {
            damaged,
            resets,
            sample_rate: rate,
            ..track(TrackKind::Audio, "aac")
        };
        let copy = |container| Destination {
            audio: Some(AudioCodec::Copy),
            ..to(container)
        };
        let encoded = Fate::Convert("aac");
        let lost = |fate| matches!(fate, Fate::Lose(_));
        let announced = audio(false, false, None);
        assert!(lost(to(Container::Mp4).fate(&announced)));
        let late = audio(true, false, None);
        assert_eq!(to(Container::Mp4).fate(&late), encoded);
        assert!(lost(copy(Container::Mp4).fate(&late)));
        let resetting = audio(false, true, Some(48_000));
        assert_eq!(to(Container::Mkv).fate(&resetting), encoded);
        assert!(lost(copy(Container::Mkv).fate(&resetting)));
        assert_eq!(to(Container::Mp4).fate(&resetting), Fate::Copy);
        let video = |size| Track {
            size,
            ..track(TrackKind::Video, "mpeg2video")
        };
        assert!(lost(to(Container::Mkv).fate(&video(None))));
        assert_eq!(to(Container::Mkv).fate(&video(Some((8, 8)))), Fate::Copy);
    }

    #[test]
    fn audio_is_copied_where_it_fits_and_encoded_elsewhere() {
        let pcm = track(TrackKind::Audio, "pcm_s16le");
        assert_eq!(to(Container::Mkv).fate(&pcm), Fate::Copy);
        assert_eq!(to(Container::Mp4).fate(&pcm), Fate::Convert("aac"));
        assert_eq!(to(Container::Webm).fate(&pcm), Fate::Convert("libopus"));
        for other in ["s302m", "cook"] {
            let other = track(TrackKind::Audio, other);
            assert_eq!(to(Container::Mkv).fate(&other), Fate::Convert("aac"));
        }
        let mut broken = pcm.clone();
        broken.damaged = true;
        assert_eq!(to(Container::Mkv).fate(&broken), Fate::Convert("aac"));
        let trimmed = |container, later, trim| {
            let track = Track {
                trim,
                ..track(TrackKind::Audio, "aac")
            };
            Destination {
                later,
                ..to(container)
            }
            .fate(&track)
        };
        let encoded = Fate::Convert("aac");
        assert_eq!(trimmed(Container::Mp4, true, Trim::Later), Fate::Copy);
        assert_eq!(trimmed(Container::Mkv, false, Trim::Later), Fate::Copy);
        assert_eq!(trimmed(Container::Mkv, true, Trim::Later), encoded);
        assert_eq!(trimmed(Container::Mkv, true, Trim::Whole), Fate::Copy);
        assert_eq!(trimmed(Container::Mp4, false, Trim::Pieces), encoded);
        let copy = Destination {
            audio: Some(AudioCodec::Copy),
            ..to(Container::Mp4)
        };
        assert!(matches!(copy.fate(&pcm), Fate::Lose(_)));
        let none = Destination {
            audio: Some(AudioCodec::None),
            ..to(Container::Mp4)
        };
        assert_eq!(none.fate(&pcm), Fate::Omit);
    }

    #[test]
    fn timecode_and_chapter_tracks_are_no_loss() {
        let mut data = track(TrackKind::Data, "none");
        data.description = "(tmcd / 0x64636D74)".to_owned();
        assert_eq!(to(Container::Mp4).fate(&data), Fate::Omit);
        assert!(matches!(to(Container::Webm).fate(&data), Fate::Lose(_)));
        data.codec = "bin_data".to_owned();
        data.description = "(text / 0x74786574)".to_owned();
        assert_eq!(to(Container::Mkv).fate(&data), Fate::Omit);
        data.description = "(gpmd / 0x646D7067)".to_owned();
        assert_eq!(to(Container::Mov).fate(&data), Fate::Copy);
        assert!(matches!(to(Container::Mkv).fate(&data), Fate::Lose(_)));
    }
}
