//! What the `showinfo` filter logs about frames.

use super::banner::size;
use recode_types::Color;
use recode_types::time::{Rational, TimeBase};

/// The first frames of a video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// FFmpeg's index of the stream that was decoded.
    pub track: u32,
    /// Time base of decoded frames.
    pub time_base: TimeBase,
    /// Frame rate FFmpeg guesses; 0/1 or 1/0 where it knows none.
    pub frame_rate: Rational,
    /// The frames; at least one.
    pub frames: Vec<Frame>,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Presentation time; `None` where the Source gives none.
    pub pts: Option<i64>,
    /// Pixel format.
    pub pix_fmt: String,
    /// Sample aspect ratio; 0/1 where unknown.
    pub sample_aspect: Rational,
    /// Width and height.
    pub size: (u32, u32),
    /// `Some(true)`: interlaced, top field first.
    pub interlaced_top_first: Option<bool>,
    /// What it says of its colours.
    pub color: Option<Color>,
    /// Names of side data, in lower case.
    pub side_data: Vec<String>,
}

impl Frame {
    /// Whether any side data is named like this, in the words of any release.
    pub fn has(&self, names: &[&str]) -> bool {
        self.side_data
            .iter()
            .any(|s| names.iter().any(|n| s.starts_with(n)))
    }
}

impl Shown {
    /// Reads the log of a run with one `showinfo`. `None`: no frame was decoded.
    pub fn parse(text: &str) -> Option<Self> {
        let mut shown = Self {
            track: 0,
            time_base: TimeBase::new(1, 1_000_000),
            frame_rate: Rational::new(0, 1),
            frames: vec![],
        };
        for line in text.split(['\n', '\r']) {
            if let Some(stream) = line.strip_prefix("  Stream #0:")
                && let Some((index, _)) = stream.split_once(" -> #0:0 (")
            {
                shown.track = index.parse().unwrap_or(0);
            }
            let Some((_, said)) = line
                .split_once("[Parsed_showinfo_")
                .and_then(|(_, l)| l.split_once("] "))
            else {
                continue;
            };
            if let Some(config) = said.strip_prefix("config in time_base: ") {
                let (base, rate) = config.split_once(", frame_rate: ")?;
                shown.time_base = fraction(base)?;
                shown.frame_rate = fraction(rate.trim()).unwrap_or(shown.frame_rate);
            } else if said.trim_start().starts_with("n:") {
                shown.frames.extend(frame(said));
            } else if let Some(name) = said.trim_start().strip_prefix("side data - ")
                && let Some(frame) = shown.frames.last_mut()
            {
                frame.side_data.push(name.to_ascii_lowercase());
            } else if said.trim_start().starts_with("color_range:")
                && let Some(frame) = shown.frames.last_mut()
            {
                frame.color = color(said);
            }
        }
        (!shown.frames.is_empty()).then_some(shown)
    }
}

fn color(said: &str) -> Option<Color> {
    let value = |key: &str| {
        let mut words = said.split_whitespace();
        words.find_map(|word| Some(word.strip_prefix(key)?.to_owned()))
    };
    Some(Color {
        range: value("color_range:")?,
        space: value("color_space:")?,
        primaries: value("color_primaries:")?,
        transfer: value("color_trc:")?,
    })
}

fn frame(said: &str) -> Option<Frame> {
    let value = |key: &str| {
        let at = said.find(key)? + key.len();
        said[at..].split_whitespace().next()
    };
    Some(Frame {
        pts: value(" pts:").and_then(|p| p.parse().ok()),
        pix_fmt: value(" fmt:")?.to_owned(),
        sample_aspect: value(" sar:")
            .and_then(fraction)
            .unwrap_or(Rational::new(0, 1)),
        size: size(value(" s:")?)?,
        interlaced_top_first: match value(" i:")? {
            "T" => Some(true),
            "B" => Some(false),
            _ => None,
        },
        color: None,
        side_data: vec![],
    })
}

fn fraction(text: &str) -> Option<Rational> {
    let (num, den) = text.split_once('/')?;
    let (num, den): (i64, i64) = (num.parse().ok()?, den.parse().ok()?);
    (den != 0).then(|| Rational::new(num, den))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_both_releases_are_read() {
        let nine = Shown::parse(include_str!("fixtures/phone-9.txt")).unwrap();
        assert_eq!((nine.track, nine.time_base), (0, TimeBase::new(1, 600)));
        assert_eq!(nine.frame_rate, Rational::new(30000, 1001));
        assert_eq!(nine.frames.len(), 2);
        assert_eq!(
            (nine.frames[0].size, nine.frames[1].pts),
            ((1080, 1920), Some(20))
        );
        assert_eq!(nine.frames[0].pix_fmt, "yuv420p10le");
        assert_eq!(nine.frames[0].sample_aspect, Rational::new(0, 1));
        assert!(nine.frames[0].has(&["dolby vision"]) && !nine.frames[0].has(&["hdr10+"]));
        let color = nine.frames[0].color.as_ref().unwrap();
        let said = [
            &color.range,
            &color.space,
            &color.primaries,
            &color.transfer,
        ];
        assert_eq!(said, ["tv", "bt2020nc", "bt2020", "arib-std-b67"]);
        let five = Shown::parse(include_str!("fixtures/broadcast-5.txt")).unwrap();
        assert_eq!(five.frames[0].interlaced_top_first, Some(true));
        assert_eq!(five.frames[0].sample_aspect, Rational::new(16, 11));
        assert_eq!(five.frames[0].size, (704, 576));
    }

    #[test]
    fn without_a_frame_there_is_nothing() {
        let text = "[Parsed_showinfo_0 @ 0x1] config in time_base: 1/90000, frame_rate: 25/1\n";
        assert_eq!(Shown::parse(text), None);
    }
}
