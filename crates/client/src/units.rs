//! How people write quantities on the command line and in job files: times, sizes, bit rates, picture sizes, tracks.
//!
//! Each quantity is a newtype that reads from text ([`FromStr`]), so the same words work as a flag and in a job file,
//! where a bare number is taken as well. Nothing here knows what a quantity is used for.

use recode_types::amount::{self, nanos, scaled, split_unit};
use recode_types::rendition::Scale;
use recode_types::request::{TrackChoice, TrackSelection};
use recode_types::{Rational, TrackKind};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use std::fmt;
use std::str::FromStr;

/// Reads a job-file value through [`FromStr`], from a string or a bare number.
macro_rules! read_from_text {
    ($($name:ident: $expected:literal),+ $(,)?) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }
                    fn visit_str<E: de::Error>(self, v: &str) -> Result<$name, E> {
                        v.parse().map_err(E::custom)
                    }
                    fn visit_i64<E: de::Error>(self, v: i64) -> Result<$name, E> {
                        self.visit_str(&v.to_string())
                    }
                    fn visit_u64<E: de::Error>(self, v: u64) -> Result<$name, E> {
                        self.visit_str(&v.to_string())
                    }
                    fn visit_f64<E: de::Error>(self, v: f64) -> Result<$name, E> {
                        self.visit_str(&v.to_string())
                    }
                }
                from.deserialize_any(Text)
            }
        }
    )+};
}

read_from_text! {
    Span: "a time such as 90s, 1:23.5 or 250ms",
    ByteSize: "a size such as 700MB or 1.5GiB",
    BitRate: "a bit rate such as 4M or 4000k",
    Quality: "a number such as 18 or 23.5",
    Frames: "a frame rate such as 25, 30000/1001 or 23.976",
    Size: "a size such as 1080p, 1280x720 or source",
    Tracks: "tracks such as all, or video,audio:0,subtitle:eng",
}

/// A length of time or a point in time, in microseconds. Reads `90`, `90s`, `1:23.5`, `1:02:03`, `250ms`, `1h2m3s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub i64);

/// A number of bytes. Reads `700MB` (millions), `700MiB` (2^20), `1.5G`, `4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// Bits per second. Reads `4M`, `4000k`, `2.5Mbps`, `4000000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BitRate(pub u64);

/// A CRF or quantiser in thousandths. Reads `18` and `23.5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quality(pub u32);

/// A frame rate. Reads `25`, `30000/1001`, `23.976`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frames(pub Rational);

/// A picture size. Reads `source`, `1080p`, `1280x720`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// As the Source.
    Source,
    /// This many lines.
    Height(u32),
    /// Width and height.
    Box(u32, u32),
}

/// Which tracks travel. Reads `all` and lists such as `video,audio:0,audio:eng,subtitle,#4,deu`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracks(pub TrackSelection);

impl Size {
    /// The wanted size; with `stretch` a box is taken to the pixel instead of being fitted into.
    pub fn scale(self, stretch: bool) -> Scale {
        match self {
            Self::Source => Scale::Source,
            Self::Height(lines) => Scale::Height(lines),
            Self::Box(width, height) if stretch => Scale::Exact { width, height },
            Self::Box(width, height) => Scale::Fit { width, height },
        }
    }
}

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("\"{text}\" is not a time such as 90s, 1:23.5 or 250ms");
        let trimmed = text.trim();
        let (negative, mut rest) = match trimmed.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, trimmed),
        };
        let mut total: u128 = 0;
        if rest.contains(':') {
            let parts: Vec<&str> = rest.split(':').collect();
            if parts.len() > 3 {
                return Err(bad());
            }
            for (i, part) in parts.iter().enumerate() {
                let last = i + 1 == parts.len();
                let value = nanos(part)
                    .filter(|n| last || n % 1_000_000_000 == 0)
                    .ok_or_else(bad)?;
                // Minutes and seconds after a colon stay below 60, or it is not a clock reading.
                if (i > 0 && value >= 60_000_000_000) || (!last && part.contains('.')) {
                    return Err(bad());
                }
                total = total * 60 + value;
            }
        } else {
            if rest.is_empty() {
                return Err(bad());
            }
            let mut previous = u128::MAX;
            while !rest.is_empty() {
                let (number, tail) = split_unit(rest);
                let unit_len = tail
                    .find(|c: char| c.is_ascii_digit())
                    .unwrap_or(tail.len());
                let unit: u128 = match tail[..unit_len].trim() {
                    "h" => 3_600_000_000,
                    "m" | "min" => 60_000_000,
                    "s" => 1_000_000,
                    "" if previous == u128::MAX && tail.is_empty() => 1_000_000,
                    "ms" => 1_000,
                    "us" => 1,
                    _ => return Err(bad()),
                };
                if unit >= previous {
                    return Err(bad());
                }
                previous = unit;
                total += nanos(number).ok_or_else(bad)? * unit / 1_000_000;
                rest = &tail[unit_len..];
            }
        }
        let us = i64::try_from(total / 1_000).map_err(|_| bad())?;
        Ok(Self(if negative { -us } else { us }))
    }
}

impl FromStr for ByteSize {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        amount::bytes(text).map(Self)
    }
}

impl FromStr for BitRate {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("\"{text}\" is not a bit rate such as 4M or 4000k");
        let (number, unit) = split_unit(text.trim());
        let unit = unit.to_ascii_lowercase();
        let unit = ["bit/s", "bps", "b/s"]
            .iter()
            .find_map(|tail| unit.strip_suffix(tail))
            .unwrap_or(&unit);
        let unit: u128 = match unit {
            "" => 1,
            "k" => 1_000,
            "m" => 1_000_000,
            "g" => 1_000_000_000,
            _ => return Err(bad()),
        };
        scaled(number, unit).map(Self).ok_or_else(bad)
    }
}

impl FromStr for Quality {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        nanos(text.trim())
            .and_then(|n| u32::try_from(n / 1_000_000).ok())
            .map(Self)
            .ok_or_else(|| format!("\"{text}\" is not a number such as 18 or 23.5"))
    }
}

impl FromStr for Frames {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        // Rates that broadcasters mean when they write three digits.
        let rate = match text.trim() {
            "23.976" | "23.98" => Rational::new(24000, 1001),
            "29.97" => Rational::new(30000, 1001),
            "47.952" | "47.95" => Rational::new(48000, 1001),
            "59.94" => Rational::new(60000, 1001),
            "119.88" => Rational::new(120000, 1001),
            other => other.parse::<Rational>().map_err(|_| {
                format!("\"{text}\" is not a frame rate such as 25, 30000/1001 or 23.976")
            })?,
        };
        if rate.num <= 0 || rate.as_f64() > 1000.0 || rate.as_f64() < 0.01 {
            return Err(format!(
                "a frame rate of {text} is not possible; name one between 0.01 and 1000"
            ));
        }
        Ok(Self(rate.reduced()))
    }
}

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("\"{text}\" is not a picture size such as 1080p, 1280x720 or source");
        let lower = text.trim().to_ascii_lowercase();
        if lower == "source" {
            return Ok(Self::Source);
        }
        if let Some(lines) = lower.strip_suffix('p') {
            return lines.parse().map(Self::Height).map_err(|_| bad());
        }
        let (width, height) = lower.split_once('x').ok_or_else(bad)?;
        Ok(Self::Box(
            width.parse().map_err(|_| bad())?,
            height.parse().map_err(|_| bad())?,
        ))
    }
}

impl FromStr for Tracks {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "all" {
            return Ok(Self(TrackSelection::All));
        }
        text.split(',')
            .map(|part| choice(part.trim()))
            .collect::<Result<Vec<_>, _>>()
            .map(|choices| Self(TrackSelection::Only(choices)))
    }
}

fn choice(text: &str) -> Result<TrackChoice, String> {
    let bad = || {
        format!(
            "\"{text}\" names no tracks; write all, a kind (video, audio, subtitle, data, attachment), \
             a kind with a number or language (audio:0, subtitle:eng), a track number (#2) or a language (eng)"
        )
    };
    let (head, tail) = match text.split_once(':') {
        Some((head, tail)) => (head, Some(tail)),
        None => (text, None),
    };
    let kind = match head.to_ascii_lowercase().as_str() {
        "video" | "v" => Some(TrackKind::Video),
        "audio" | "a" => Some(TrackKind::Audio),
        "subtitle" | "subtitles" | "s" => Some(TrackKind::Subtitle),
        "data" | "d" => Some(TrackKind::Data),
        "attachment" | "attachments" | "t" => Some(TrackKind::Attachment),
        _ => None,
    };
    let one = |text: &str, kind| {
        let number = text.strip_prefix('#').unwrap_or(text);
        if let Ok(number) = number.parse() {
            return Ok(TrackChoice {
                kind,
                number: Some(number),
                language: None,
            });
        }
        let language =
            text.len() >= 2 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        language
            .then(|| TrackChoice {
                kind,
                number: None,
                language: Some(text.to_owned()),
            })
            .ok_or_else(bad)
    };
    match (kind, tail) {
        (Some(_), None) => Ok(TrackChoice {
            kind,
            ..TrackChoice::default()
        }),
        (Some(_), Some(tail)) => one(tail, kind),
        (None, None) => one(head, None),
        (None, Some(_)) => Err(bad()),
    }
}

/// Bytes as people read them: `812 B`, `3.4 MB`, `1.20 GB`.
pub fn show_bytes(bytes: u64) -> String {
    let value = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", value / 1e6),
        _ => format!("{:.2} GB", value / 1e9),
    }
}

/// Bits per second as people read them: `812 b/s`, `950 kb/s`, `3.42 Mb/s`.
pub fn show_rate(bps: f64) -> String {
    if bps < 1e3 {
        format!("{bps:.0} b/s")
    } else if bps < 1e6 {
        format!("{:.0} kb/s", bps / 1e3)
    } else {
        format!("{:.2} Mb/s", bps / 1e6)
    }
}

/// Seconds as people read them: `0.42 s`, `59.9 s`, `1:23.5`, `2:03:04`.
pub fn show_seconds(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "?".into();
    }
    if seconds < 10.0 {
        return format!("{seconds:.2} s");
    }
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    let tenths = (seconds * 10.0).round() as u64;
    let (whole, tenth) = (tenths / 10, tenths % 10);
    let (h, m, s) = (whole / 3600, whole / 60 % 60, whole % 60);
    if h > 0 {
        format!("{h}:{m:02}:{s:02}")
    } else {
        format!("{m}:{s:02}.{tenth}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads<T: FromStr<Err = String> + PartialEq + fmt::Debug>(text: &str, expected: T) {
        assert_eq!(text.parse::<T>().as_ref(), Ok(&expected), "{text}");
    }
    fn refuses<T: FromStr<Err = String> + fmt::Debug>(texts: &[&str]) {
        for text in texts {
            let got = text.parse::<T>();
            assert!(got.is_err(), "{text} was read as {got:?}");
        }
    }

    #[test]
    fn times_read_as_people_write_them() {
        for (text, us) in [
            ("90", 90_000_000),
            ("90s", 90_000_000),
            ("1:23.5", 83_500_000),
            ("1:02:03", 3_723_000_000),
            ("250ms", 250_000),
            ("1h2m3s", 3_723_000_000),
            ("2m", 120_000_000),
            ("0.000001", 1),
            ("-1", -1_000_000),
            ("90:00", 5_400_000_000),
        ] {
            reads(text, Span(us));
        }
        refuses::<Span>(&[
            "", "s", "1:60", "1:2:3:4", "1.5:00", "5x", "3s1h", "1m5", "1e3", "--1",
        ]);
    }

    #[test]
    fn bit_rates_read_with_any_usual_unit() {
        reads("4M", BitRate(4_000_000));
        reads("4000k", BitRate(4_000_000));
        reads("2.5Mbps", BitRate(2_500_000));
        reads("128 kbit/s", BitRate(128_000));
        refuses::<BitRate>(&["", "fast", "4MB4", "-4M"]);
    }

    #[test]
    fn picture_sizes_and_rates_read() {
        reads("1080p", Size::Height(1080));
        reads("1280X720", Size::Box(1280, 720));
        reads("source", Size::Source);
        refuses::<Size>(&["big", "x720", "1280x", "-2p", "1280x720x3"]);
        reads("23.976", Frames(Rational::new(24000, 1001)));
        reads("50", Frames(Rational::new(50, 1)));
        refuses::<Frames>(&["0", "fast", "1/0", "2000", "-25"]);
        reads("23.5", Quality(23_500));
        refuses::<Quality>(&["", "-1", "q"]);
    }

    #[test]
    fn tracks_read_by_kind_number_and_language() {
        reads("all", Tracks(TrackSelection::All));
        let choice = |kind, number, language: Option<&str>| TrackChoice {
            kind,
            number,
            language: language.map(str::to_owned),
        };
        reads(
            "video,audio:1,subtitle:eng,#4,deu",
            Tracks(TrackSelection::Only(vec![
                choice(Some(TrackKind::Video), None, None),
                choice(Some(TrackKind::Audio), Some(1), None),
                choice(Some(TrackKind::Subtitle), None, Some("eng")),
                choice(None, Some(4), None),
                choice(None, None, Some("deu")),
            ])),
        );
        refuses::<Tracks>(&["", "audio:", "foo:1", "au dio"]);
    }

    #[test]
    fn quantities_print_short() {
        assert_eq!(show_bytes(999), "999 B");
        assert_eq!(show_bytes(3_440_000), "3.4 MB");
        assert_eq!(show_rate(3_421_000.0), "3.42 Mb/s");
        assert_eq!(show_seconds(59.99), "1:00.0");
        assert_eq!(show_seconds(7384.0), "2:03:04");
    }
}
