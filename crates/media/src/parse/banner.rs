//! The description of an input that FFmpeg prints before it starts: format, times, tags, chapters, streams.

use recode_types::source::{Track, TrackKind};
use std::collections::BTreeMap;

/// One input as FFmpeg describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Banner {
    /// Demuxer name, such as `mov,mp4,m4a,3gp,3g2,mj2`.
    pub format: String,
    /// Start of the whole input in microseconds.
    pub start_us: i64,
    /// Declared duration in microseconds.
    pub duration_us: Option<i64>,
    /// Number of chapters.
    pub chapters: u32,
    /// Tags of the container.
    pub tags: BTreeMap<String, String>,
    /// Streams by index.
    pub tracks: Vec<Track>,
    /// Side data of streams, by stream index: one line each.
    pub side_data: BTreeMap<u32, Vec<String>>,
    /// Start of streams in microseconds, where FFmpeg prints it.
    pub starts_us: BTreeMap<u32, i64>,
}

/// Whose tags the next lines are.
enum Owner {
    Container,
    Stream,
    Other,
}

#[derive(PartialEq)]
enum Section {
    None,
    Metadata,
    SideData,
}

/// Dispositions as FFmpeg prints them. As options they are written with an underscore.
const DISPOSITIONS: &[&str] = &[
    "default",
    "dub",
    "original",
    "comment",
    "lyrics",
    "karaoke",
    "forced",
    "hearing impaired",
    "visual impaired",
    "clean effects",
    "attached pic",
    "timed thumbnails",
    "non-diegetic",
    "captions",
    "descriptions",
    "metadata",
    "dependent",
    "still image",
    "multilayer",
];

impl Banner {
    /// Reads the description of the first input out of everything FFmpeg printed. `None`: it has opened none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().skip_while(|l| !l.starts_with("Input #0, "));
        let first = lines.next()?;
        let mut banner = Self {
            format: first["Input #0, ".len()..]
                .split(", from '")
                .next()?
                .to_owned(),
            ..Self::default()
        };
        let mut owner = Owner::Container;
        let mut section = Section::None;
        let mut current: Option<Track> = None;
        let mut last_key: Option<String> = None;
        for line in lines {
            // The description is indented; what follows it, and log lines in between, are not.
            if !line.starts_with("  ") {
                if line.starts_with("Stream mapping:") || line.starts_with("Output #") {
                    break;
                }
                continue;
            }
            let text = line.trim_start();
            if text == "Metadata:" {
                section = Section::Metadata;
                last_key = None;
            } else if text.trim_end().eq_ignore_ascii_case("side data:") {
                section = Section::SideData;
            } else if text == "Chapters:" {
                section = Section::None;
            } else if text.starts_with("Chapter #0") {
                banner.chapters += 1;
                (owner, section) = (Owner::Other, Section::None);
            } else if text.starts_with("Duration: ") && matches!(owner, Owner::Container) {
                banner.duration(text);
                section = Section::None;
            } else if text.starts_with("Program ") || text.starts_with("Stream group #0") {
                banner.close(current.take());
                (owner, section) = (Owner::Other, Section::None);
            } else if let Some(described) = text.strip_prefix("Stream #0:") {
                banner.close(current.take());
                current = banner.stream(described);
                (owner, section) = (Owner::Stream, Section::None);
            } else if section == Section::SideData {
                if let Some(track) = &current {
                    let all = banner.side_data.entry(track.index).or_default();
                    all.push(text.to_owned());
                }
            } else if section == Section::Metadata {
                let tags = match (&owner, &mut current) {
                    (Owner::Container, _) => &mut banner.tags,
                    (Owner::Stream, Some(track)) => &mut track.tags,
                    _ => continue,
                };
                if let (Some(more), Some(key)) = (text.strip_prefix(": "), &last_key) {
                    if let Some(value) = tags.get_mut(key) {
                        value.push('\n');
                        value.push_str(more);
                    }
                } else if let Some((key, value)) = text.split_once(": ") {
                    let key = key.trim_end().to_owned();
                    last_key = Some(key.clone());
                    tags.insert(key, value.to_owned());
                }
            }
        }
        banner.close(current);
        banner.tracks.sort_by_key(|t| t.index);
        Some(banner)
    }

    fn duration(&mut self, text: &str) {
        for part in text.split(", ") {
            if let Some(duration) = part.strip_prefix("Duration: ") {
                self.duration_us = clock(duration);
            } else if let Some(start) = part.strip_prefix("start: ") {
                self.start_us = seconds(start).unwrap_or(0);
            }
        }
    }

    /// Adds a finished stream. One that several programs share is printed several times.
    fn close(&mut self, track: Option<Track>) {
        let Some(mut track) = track else { return };
        if self.tracks.iter().any(|t| t.index == track.index) {
            return;
        }
        track.title = tag(&track.tags, "title")
            .or_else(|| tag(&track.tags, "name"))
            .filter(|t| !t.is_empty());
        self.tracks.push(track);
    }

    /// `0[0x1](und): Video: h264 (High) (avc1 / 0x31637661), yuv420p, 1280x720, ... (default)`
    fn stream(&mut self, text: &str) -> Option<Track> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let index: u32 = text[..digits].parse().ok()?;
        let mut rest = &text[digits..];
        if let Some(id) = rest.strip_prefix('[') {
            rest = id.split_once(']')?.1;
        }
        let mut language = None;
        if let Some(tagged) = rest.strip_prefix('(') {
            let (tag, after) = tagged.split_once(')')?;
            language = Some(tag.to_owned()).filter(|t| t != "und" && !t.is_empty());
            rest = after;
        }
        let rest = rest.strip_prefix(": ")?;
        let (kind, mut description) = rest.split_once(": ")?;
        let kind = match kind {
            "Video" => TrackKind::Video,
            "Audio" => TrackKind::Audio,
            "Subtitle" => TrackKind::Subtitle,
            "Attachment" => TrackKind::Attachment,
            _ => TrackKind::Data,
        };
        let mut dispositions = vec![];
        description = description.trim_end();
        while let Some((before, name)) = description
            .strip_suffix(')')
            .and_then(|d| d.rsplit_once(" ("))
            && DISPOSITIONS.contains(&name)
        {
            dispositions.insert(0, name.replace(' ', "_"));
            description = before;
        }
        let parts = split_outside_brackets(description);
        let codec = parts[0].split(' ').next().unwrap_or("none").to_owned();
        let mut track = Track {
            index,
            kind,
            codec,
            description: description.to_owned(),
            language,
            title: None,
            attached_pic: dispositions.iter().any(|d| d == "attached_pic"),
            dispositions,
            size: None,
            sample_rate: None,
            channel_layout: None,
            tags: BTreeMap::new(),
            damaged: false,
            resets: false,
            trim: recode_types::Trim::Whole,
        };
        for (i, part) in parts.iter().enumerate() {
            if kind == TrackKind::Video && i > 0 && track.size.is_none() {
                track.size = size(part.split(' ').next().unwrap_or_default());
            }
            if kind == TrackKind::Audio
                && let Some(rate) = part.strip_suffix(" Hz")
            {
                // It may know the one from the container and never have seen the other.
                let layout = parts.get(i + 1).copied().filter(|l| *l != "0 channels");
                track.sample_rate = rate.parse().ok().filter(|_| layout.is_some());
                track.channel_layout = layout.map(str::to_owned);
            }
            if let Some(start) = part.strip_prefix("start ").and_then(seconds) {
                self.starts_us.insert(index, start);
            }
        }
        Some(track)
    }
}

/// A tag, whatever its case.
pub fn tag(tags: &BTreeMap<String, String>, name: &str) -> Option<String> {
    let found = tags.iter().find(|(k, _)| k.eq_ignore_ascii_case(name))?;
    Some(found.1.clone())
}

/// `1280x720`
pub(super) fn size(text: &str) -> Option<(u32, u32)> {
    let (w, h) = text.split_once('x')?;
    Some((w.parse().ok()?, h.parse().ok()?))
}

fn split_outside_brackets(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut begin) = (vec![], 0i32, 0);
    for (i, c) in text.char_indices() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            ',' if depth <= 0 => {
                parts.push(text[begin..i].trim());
                begin = i + 1;
            }
            _ => {}
        }
    }
    parts.push(text[begin..].trim());
    parts
}

/// `-9.708333` in microseconds, without going through a float.
fn seconds(text: &str) -> Option<i64> {
    let (negative, digits) = match text.trim().strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.trim()),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let fraction: i64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    let us = whole.parse::<i64>().ok()?.checked_mul(1_000_000)? + fraction;
    Some(if negative { -us } else { us })
}

/// `00:00:02.55` in microseconds.
fn clock(text: &str) -> Option<i64> {
    let mut parts = text.trim().splitn(3, ':');
    let hours: i64 = parts.next()?.parse().ok()?;
    let minutes: i64 = parts.next()?.parse().ok()?;
    Some((hours * 60 + minutes) * 60_000_000 + seconds(parts.next()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHONE: &str = include_str!("fixtures/phone-9.txt");
    const BROADCAST: &str = include_str!("fixtures/broadcast-5.txt");
    const BOOK: &str = include_str!("fixtures/book-9.txt");

    #[test]
    fn a_phone_clip_is_read() {
        let b = Banner::parse(PHONE).unwrap();
        assert_eq!(b.format, "mov,mp4,m4a,3gp,3g2,mj2");
        assert_eq!(
            (b.start_us, b.duration_us, b.chapters),
            (0, Some(2_550_000), 0)
        );
        assert_eq!(b.tracks.len(), 4);
        let video = &b.tracks[0];
        assert_eq!(
            (video.kind, video.codec.as_str()),
            (TrackKind::Video, "hevc")
        );
        assert_eq!(
            (video.size, video.language.as_deref()),
            (Some((1920, 1080)), None)
        );
        assert_eq!(video.dispositions, ["default"]);
        assert_eq!(video.tags["handler_name"], "Core Media Video");
        assert!(b.side_data[&0][0].contains("DOVI configuration record"));
        assert!(b.side_data[&0][1].contains("-90.00 degrees"));
        let audio = &b.tracks[1];
        assert_eq!(audio.sample_rate, Some(44100));
        assert_eq!(audio.channel_layout.as_deref(), Some("stereo"));
        assert_eq!(b.tracks[3].kind, TrackKind::Data);
    }

    #[test]
    fn a_broadcast_stream_is_read() {
        let b = Banner::parse(BROADCAST).unwrap();
        assert_eq!((b.format.as_str(), b.start_us), ("mpegts", 13_582_024_544));
        assert_eq!(b.tracks.len(), 7);
        assert_eq!(b.tracks[2].kind, TrackKind::Subtitle);
        assert_eq!(b.tracks[2].language.as_deref(), Some("eng"));
        assert_eq!(
            (b.tracks[3].kind, b.tracks[3].codec.as_str()),
            (TrackKind::Data, "none")
        );
        assert!(
            b.tags.is_empty(),
            "a program's name is not the container's: {:?}",
            b.tags
        );
    }

    #[test]
    fn chapters_covers_and_long_tags_are_read() {
        let b = Banner::parse(BOOK).unwrap();
        assert_eq!(b.chapters, 2);
        assert_eq!(b.tags["comment"], "first line\nsecond: line");
        assert_eq!((b.start_us, b.duration_us), (-21_000, None));
        let cover = &b.tracks[2];
        assert!(cover.attached_pic && cover.dispositions == ["attached_pic"]);
        assert_eq!(b.tracks[1].dispositions, ["default", "hearing_impaired"]);
        assert_eq!(b.tracks[1].title.as_deref(), Some("Commentary: part 1"));
        assert_eq!(b.starts_us[&1], -21_000);
        assert_eq!(b.tracks[1].channel_layout.as_deref(), Some("5.1(side)"));
    }

    #[test]
    fn no_input_is_no_banner() {
        assert_eq!(Banner::parse("[in#0] moov atom not found\n"), None);
    }

    #[test]
    fn times_are_exact() {
        assert_eq!(seconds("-0.000001"), Some(-1));
        assert_eq!(seconds("47721.858833"), Some(47_721_858_833));
        assert_eq!(clock("13:15:21.86"), Some(47_721_860_000));
        assert_eq!(clock("N/A"), None);
    }
}
