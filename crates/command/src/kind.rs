//! Kinds of values: how the text of one is read.

use crate::codec::{self, DECODERS};
use crate::expression::Expression;
use crate::format;
use crate::graph::{Graph, Use};
use crate::map::{Map, Metadata};
use crate::refused::shown;
use crate::value::{Decimal, MILLION, Value};

/// What a value may be.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Nothing: the option stands alone.
    Flag,
    /// A whole number between two.
    Int(i64, i64),
    /// A number with a fraction between two whole ones.
    Number(i64, i64),
    /// One of these words.
    One(&'static [&'static str]),
    /// Any of these kinds.
    Any(&'static [Kind]),
    /// Words with `+` or `|` between them, all of them switched on.
    Flags(&'static [&'static str]),
    /// A duration, or a point in time from the beginning.
    Time,
    /// A point in time that may be before the beginning.
    Offset,
    /// Bits per second, bits or bytes: `2M`, `128k`, `500000`.
    Bits,
    /// Frames per second.
    Rate,
    /// An aspect, as in `16:9`.
    Aspect,
    /// What becomes of frames that come too early or too late.
    Pace,
    /// Width and height.
    Size,
    /// A colour.
    Color,
    /// A level of sound in decibels: `-3dB`.
    Decibel,
    /// A timecode: `01:00:00:00`.
    Timecode,
    /// Colours and brightness of a mastering display, as x265 wants them.
    Mastering,
    /// Four letters.
    Tag,
    /// At most so many values with this between them.
    List(&'static Kind, char, usize),
    /// A computation over these names.
    Expression(&'static [&'static str]),
    /// An encoder, or `copy`.
    Encoder,
    /// A decoder.
    Decoder,
    /// A muxer.
    Muxer,
    /// A demuxer.
    Demuxer,
    /// Streams that travel.
    Streams,
    /// An input whose words travel.
    Input,
    /// A key and a text.
    Metadata,
    /// Private parameters of an encoder: `name=value`, with colons between.
    Params(&'static [(&'static str, Kind)]),
    /// Filters.
    Graph(Use),
}

const SIZES: &[(&str, u32, u32)] = &[
    ("qcif", 176, 144),
    ("cif", 352, 288),
    ("qvga", 320, 240),
    ("vga", 640, 480),
    ("svga", 800, 600),
    ("ntsc", 720, 480),
    ("pal", 720, 576),
    ("hd480", 852, 480),
    ("hd720", 1280, 720),
    ("hd1080", 1920, 1080),
    ("2k", 2048, 1080),
    ("4k", 4096, 2160),
    ("uhd2160", 3840, 2160),
];

const COLORS: &[(&str, [u8; 3])] = &[
    ("black", [0, 0, 0]),
    ("white", [255, 255, 255]),
    ("gray", [128, 128, 128]),
    ("red", [255, 0, 0]),
    ("green", [0, 128, 0]),
    ("lime", [0, 255, 0]),
    ("blue", [0, 0, 255]),
    ("yellow", [255, 255, 0]),
    ("cyan", [0, 255, 255]),
    ("magenta", [255, 0, 255]),
    ("orange", [255, 165, 0]),
];

/// Reads a value. What is wrong comes as the second half of a sentence.
pub fn read(kind: &Kind, text: &str) -> Result<Value, String> {
    let wrong = |what: &str| format!("{} is not {what}", shown(text));
    match kind {
        Kind::Flag => Err(wrong("expected here: the option stands alone")),
        Kind::Int(least, most) => {
            let number = plain_int(text).filter(|n| (least..=most).contains(&n));
            let what = format!("a whole number from {least} to {most}");
            number.map(Value::Int).ok_or_else(|| wrong(&what))
        }
        Kind::Number(least, most) => {
            let range = least * MILLION..=most * MILLION;
            let number = Decimal::read(text).filter(|n| range.contains(&n.0));
            let what = format!("a number from {least} to {most}");
            number.map(Value::Number).ok_or_else(|| wrong(&what))
        }
        Kind::One(words) => {
            let found = words.iter().find(|word| **word == text);
            found.map(|word| Value::Name(word)).ok_or_else(|| wrong(&listed(words)))
        }
        Kind::Any(kinds) => {
            let mut last = wrong("understood");
            for kind in *kinds {
                match read(kind, text) {
                    Ok(value) => return Ok(value),
                    Err(why) => last = why,
                }
            }
            Err(last)
        }
        Kind::Flags(words) => flags(words, text).ok_or_else(|| wrong(&listed(words))),
        Kind::Time => time(text, false).ok_or_else(|| wrong("a time such as 90, 1.5, 00:01:30 or 500ms")),
        Kind::Offset => time(text, true).ok_or_else(|| wrong("a time such as 1.5, -0.25 or 00:01:30")),
        Kind::Bits => bits(text).ok_or_else(|| wrong("a number of bits such as 2M, 128k or 500000")),
        Kind::Rate => rate(text).ok_or_else(|| wrong("a frame rate such as 25, 29.97 or 30000/1001")),
        Kind::Aspect => aspect(text).ok_or_else(|| wrong("an aspect such as 16:9 or 1.85")),
        Kind::Pace => {
            let names = [("passthrough", "0"), ("cfr", "1"), ("vfr", "2"), ("auto", "-1")];
            let found = names.iter().find(|(name, number)| [name, number].contains(&&text));
            let name = found.map(|(name, _)| Value::Name(name));
            name.ok_or_else(|| wrong("one of passthrough, cfr, vfr, auto"))
        }
        Kind::Size => size(text).ok_or_else(|| wrong("a size such as 1280x720 or hd720")),
        Kind::Color => color(text).ok_or_else(|| wrong("a color such as black, 0x102030 or white@0.5")),
        Kind::Decibel => {
            let number = text.strip_suffix("dB").and_then(Decimal::read);
            let number = number.filter(|n| (-200 * MILLION..=100 * MILLION).contains(&n.0));
            number.map(Value::Decibel).ok_or_else(|| wrong("a level such as -3dB"))
        }
        Kind::Timecode => timecode(text).ok_or_else(|| wrong("a timecode such as 01:00:00:00")),
        Kind::Mastering => {
            let what = "a mastering display such as G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)";
            mastering(text).ok_or_else(|| wrong(what))
        }
        Kind::Tag => tag(text).ok_or_else(|| wrong("four letters such as hvc1")),
        Kind::List(kind, between, most) => {
            let parts: Vec<&str> = text.split(*between).collect();
            if parts.len() > *most {
                return Err(format!("{} values are too many, at most {most} are taken", parts.len()));
            }
            let values: Result<_, _> = parts.into_iter().map(|part| read(kind, part)).collect();
            Ok(Value::List(values?, *between))
        }
        Kind::Expression(names) => Expression::read(text, names).map(Value::Expression),
        Kind::Encoder => codec::encoder(text).map(Value::Name).ok_or_else(|| {
            wrong("an encoder that command jobs know, such as libx264, libx265, aac or copy: docs/command-jobs.md lists them")
        }),
        Kind::Decoder => {
            let found = DECODERS.iter().find(|(known, _)| *known == text);
            let what = "a decoder that command jobs know: leave it out, and FFmpeg takes the usual one";
            found.map(|(known, _)| Value::Name(known)).ok_or_else(|| wrong(what))
        }
        Kind::Muxer => format::muxer(text).map(|(known, ..)| Value::Name(known)).ok_or_else(|| match text {
            "hls" | "dash" | "smoothstreaming" | "stream_segment" => format!(
                "{text} makes files that name each other, which a command job cannot publish together: use -f segment with a \
                 number such as %03d in the output's name"
            ),
            _ => wrong("a format that command jobs write, such as mp4, matroska, image2 or segment"),
        }),
        Kind::Demuxer => {
            let found = format::DEMUXERS.iter().find(|known| **known == text);
            let what = "a format that command jobs read: leave it out, and it is recognised";
            found.map(|known| Value::Name(known)).ok_or_else(|| wrong(what))
        }
        Kind::Streams => Map::streams(text).map(Value::Map).ok_or_else(|| wrong("a map such as 0:v:0, 0:a?, -0:s or [label]")),
        Kind::Input => Map::input(text).map(Value::Map).ok_or_else(|| wrong("the number of an input, or -1")),
        Kind::Metadata => Metadata::read(text).map(Value::Metadata),
        Kind::Params(known) => params(known, text),
        Kind::Graph(purpose) => Graph::read(text, *purpose).map(Value::Graph),
    }
}

fn listed(words: &[&str]) -> String {
    const SHOWN: usize = 12;
    let some = words[..words.len().min(SHOWN)].join(", ");
    match words.len() > SHOWN {
        true => format!("one of {some} and {} others", words.len() - SHOWN),
        false => format!("one of {some}"),
    }
}

fn plain_int(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain =
        !digits.is_empty() && digits.len() <= 18 && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

fn flags(words: &[&'static str], text: &str) -> Option<Value> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let named: Option<Vec<&'static str>> = text
        .split(['+', '|'])
        .map(|word| words.iter().find(|known| **known == word).copied())
        .collect();
    named.map(Value::Flags)
}

/// Ten thousand hours, in microseconds.
const LONGEST_TIME: i64 = 36_000_000 * MILLION;

fn time(text: &str, signed: bool) -> Option<Value> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) if signed => (-1, rest),
        Some(_) => return None,
        None => (1, text),
    };
    if rest.contains(['+', '-']) {
        return None;
    }
    let units = [("ms", 1_000), ("us", 1), ("s", MILLION)];
    let unit = units.iter().find(|(unit, _)| rest.ends_with(unit));
    let us = if let Some((unit, factor)) = unit {
        let number = Decimal::read(rest.strip_suffix(unit)?)?;
        number.0.checked_mul(*factor)? / MILLION
    } else {
        let mut parts = rest.rsplitn(3, ':');
        let seconds = Decimal::read(parts.next()?)?.0;
        let whole = |text: Option<&str>| match text {
            None => Some(0),
            Some(text) if text.len() <= 5 && !text.starts_with('-') => plain_int(text),
            Some(_) => None,
        };
        let minutes = whole(parts.next())?;
        let hours = whole(parts.next())?;
        seconds.checked_add((hours * 3600 + minutes * 60) * MILLION)?
    };
    (us <= LONGEST_TIME).then_some(Value::Time(sign * us))
}

fn bits(text: &str) -> Option<Value> {
    let factors = [
        ("k", 1_000),
        ("K", 1_000),
        ("M", 1_000_000),
        ("m", 1_000_000),
        ("G", 1_000_000_000),
    ];
    let (digits, factor) = factors
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
        .unwrap_or((text, 1));
    let number = Decimal::read(digits)?.0;
    let bits = i128::from(number) * i128::from(factor) / i128::from(MILLION);
    (0..=10_000_000_000_000)
        .contains(&bits)
        .then_some(Value::Int(bits as i64))
}

fn ratio(text: &str, between: char) -> Option<(i64, i64)> {
    if let Some((num, den)) = text.split_once(between) {
        let good = |n: &i64| (1..=1_000_000_000).contains(n);
        return Some((plain_int(num).filter(good)?, plain_int(den).filter(good)?));
    }
    let number = Decimal::read(text)?.0;
    let fits = number > 0 && number <= 100_000 * MILLION;
    let (mut a, mut b) = (number, MILLION);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    fits.then(|| (number / a, MILLION / a))
}

fn rate(text: &str) -> Option<Value> {
    let (num, den) = match text {
        "ntsc" | "29.97" => (30_000, 1_001),
        "film" => (24, 1),
        "pal" => (25, 1),
        "23.976" | "ntsc-film" | "ntsc_film" | "23.98" => (24_000, 1_001),
        "59.94" => (60_000, 1_001),
        text => ratio(text, '/')?,
    };
    Some(Value::Ratio(num, den))
}

fn aspect(text: &str) -> Option<Value> {
    let (num, den) = ratio(text, ':').or_else(|| ratio(text, '/'))?;
    Some(Value::Ratio(num, den))
}

fn size(text: &str) -> Option<Value> {
    if let Some((_, width, height)) = SIZES.iter().find(|(name, ..)| *name == text) {
        return Some(Value::Size(*width, *height));
    }
    let (width, height) = text.split_once('x')?;
    let side = |text: &str| {
        let number = plain_int(text).filter(|n| (1..=32_768).contains(n));
        number.map(|n| n as u32)
    };
    Some(Value::Size(side(width)?, side(height)?))
}

fn color(text: &str) -> Option<Value> {
    let (name, alpha) = match text.split_once('@') {
        None => (text, None),
        Some((name, alpha)) => {
            let alpha = Decimal::read(alpha).filter(|a| (0..=MILLION).contains(&a.0))?;
            (name, Some((alpha.0 / 10_000) as u8))
        }
    };
    if let Some((_, rgb)) = COLORS.iter().find(|(known, _)| *known == name) {
        return Some(Value::Color(*rgb, alpha));
    }
    let hex = name.strip_prefix("0x").or_else(|| name.strip_prefix('#'))?;
    if hex.len() != 6 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).ok();
    Some(Value::Color([byte(0)?, byte(2)?, byte(4)?], alpha))
}

fn tag(text: &str) -> Option<Value> {
    let letters: Vec<char> = text.chars().collect();
    let letters: [char; 4] = letters.try_into().ok()?;
    letters
        .iter()
        .all(char::is_ascii_alphanumeric)
        .then_some(Value::Tag(letters))
}

fn timecode(text: &str) -> Option<Value> {
    let drop = text.contains(';');
    let parts: Vec<&str> = text.split([':', ';']).collect();
    let parts: [&str; 4] = parts.try_into().ok()?;
    let mut numbers = [0; 4];
    for (number, (part, most)) in numbers.iter_mut().zip(parts.iter().zip([23, 59, 59, 119])) {
        let two = (2..=3).contains(&part.len());
        *number = plain_int(part).filter(|n| two && (0..=most).contains(n))? as u8;
    }
    Some(Value::Timecode(numbers, drop))
}

/// The parts of a mastering display and how many numbers each has.
const MASTERING: [&str; 5] = ["G", "B", "R", "WP", "L"];

fn mastering(text: &str) -> Option<Value> {
    let mut numbers = [(0, 0); 5];
    let mut rest = text;
    for (pair, name) in numbers.iter_mut().zip(MASTERING) {
        let (inside, after) = rest
            .strip_prefix(name)?
            .strip_prefix('(')?
            .split_once(')')?;
        let (x, y) = inside.split_once(',')?;
        let number = |text: &str| plain_int(text).filter(|n| (0..=1_000_000_000).contains(n));
        *pair = (number(x)? as u32, number(y)? as u32);
        rest = after;
    }
    rest.is_empty().then_some(Value::Mastering(numbers))
}

fn params(known: &'static [(&'static str, Kind)], text: &str) -> Result<Value, String> {
    let read_one = |pair: &str| {
        let (name, value) = match pair.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (pair, None),
        };
        let Some((name, kind)) = known.iter().find(|(known, _)| *known == name) else {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            return Err(format!(
                "the parameter {} is not {}",
                shown(name),
                listed(&names)
            ));
        };
        let value = match (kind, value) {
            (Kind::Flag, None) => None,
            (_, None) => {
                return Err(format!(
                    "the parameter {name} needs a value: write {name}=..."
                ));
            }
            (kind, Some(value)) => {
                Some(read(kind, value).map_err(|why| format!("in {name}, {why}"))?)
            }
        };
        Ok((*name, value))
    };
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 64 {
        return Err(format!(
            "{} parameters are too many, at most 64 are taken",
            parts.len()
        ));
    }
    parts
        .into_iter()
        .map(read_one)
        .collect::<Result<_, _>>()
        .map(Value::Params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_exactly() {
        for (kind, text, shown) in [
            (Kind::Time, "00:01:30.5", "90.5"),
            (Kind::Time, "1:30", "90"),
            (Kind::Time, "500ms", "0.5"),
            (Kind::Offset, "-0.25", "-0.25"),
            (Kind::Bits, "2.5M", "2500000"),
            (Kind::Bits, "128k", "128000"),
            (Kind::Rate, "29.97", "30000/1001"),
            (Kind::Rate, "12.5", "25/2"),
            (Kind::Aspect, "16:9", "16/9"),
            (Kind::Aspect, "1.85", "37/20"),
            (Kind::Size, "hd720", "1280x720"),
            (Kind::Color, "white@0.5", "0xFFFFFF@0.5"),
            (Kind::Color, "#102030", "0x102030"),
            (Kind::Tag, "hvc1", "hvc1"),
            (Kind::Decibel, "-3.5dB", "-3.5dB"),
            (
                Kind::Flags(&["faststart", "frag_keyframe"]),
                "+faststart+frag_keyframe",
                "+faststart+frag_keyframe",
            ),
            (Kind::List(&Kind::Time, ',', 9), "10,20,00:30", "10,20,30"),
        ] {
            assert_eq!(read(&kind, text).unwrap().to_string(), shown, "{text}");
        }
    }

    #[test]
    fn values_that_are_not_what_they_should_be_are_refused() {
        for (kind, text) in [
            (Kind::Time, "-1"),
            (Kind::Time, "1:2:3:4"),
            (Kind::Time, "99999999999"),
            (Kind::Time, "1:-2"),
            (Kind::Time, "+-1"),
            (Kind::Int(0, 51), "52"),
            (Kind::Int(0, 51), "0x10"),
            (Kind::Int(0, 51), ""),
            (Kind::Number(0, 51), "-1"),
            (Kind::Bits, "-2M"),
            (Kind::Bits, "2Mi"),
            (Kind::Rate, "0"),
            (Kind::Rate, "25/0"),
            (Kind::Size, "0x0"),
            (Kind::Size, "99999x1"),
            (Kind::Color, "0x1020"),
            (Kind::Color, "red@2"),
            (Kind::Tag, "../x"),
            (Kind::Flags(&["faststart"]), "faststart+x"),
            (Kind::Flags(&["faststart"]), "-faststart"),
            (Kind::Muxer, "tee"),
            (Kind::Demuxer, "concat"),
            (Kind::Encoder, "libx264; rm"),
        ] {
            assert!(read(&kind, text).is_err(), "{kind:?} took {text}");
        }
        assert!(
            read(&Kind::Muxer, "hls")
                .unwrap_err()
                .contains("-f segment")
        );
    }
}
