//! Values of options and of filters' arguments, read. What is shown of one is what FFmpeg is given.

use crate::expression::Expression;
use crate::graph::Graph;
use crate::map::{Map, Metadata};
use std::fmt;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A word of a table.
    Name(&'static str),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Number(Decimal),
    /// A level of sound in decibels.
    Decibel(Decimal),
    /// A point in time or a duration, in microseconds.
    Time(i64),
    /// A fraction, such as a frame rate or an aspect.
    Ratio(i64, i64),
    /// Width and height.
    Size(u32, u32),
    /// Words of a table, all of which are switched on.
    Flags(Vec<&'static str>),
    /// Red, green, blue, and how opaque in hundredths.
    Color([u8; 3], Option<u8>),
    /// Hours, minutes, seconds and frames; whether numbers are dropped.
    Timecode([u8; 4], bool),
    /// Green, blue, red, white point and brightness of a mastering display.
    Mastering([(u32, u32); 5]),
    /// Four letters that name a codec in a container.
    Tag([char; 4]),
    /// Several values, with what stands between them.
    List(Vec<Value>, char),
    /// Private parameters of an encoder.
    Params(Vec<(&'static str, Option<Value>)>),
    /// A computation.
    Expression(Expression),
    /// Filters.
    Graph(Graph),
    /// Streams that travel.
    Map(Map),
    /// A key and its free text. FFmpeg writes it into the file and reads nothing from it.
    Metadata(Metadata),
}

/// A decimal number, exact: millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decimal(pub i64);

/// Millionths in one.
pub const MILLION: i64 = 1_000_000;

impl Decimal {
    /// Reads `-12.5`. At most nine digits before the point and six behind it.
    pub fn read(text: &str) -> Option<Self> {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty())
            || whole.len() > 9
            || fraction.len() > 6
            || !plain(whole)
            || !plain(fraction)
        {
            return None;
        }
        let whole: i64 = if whole.is_empty() {
            0
        } else {
            whole.parse().ok()?
        };
        let fraction: i64 = format!("{fraction:0<6}").parse().ok()?;
        Some(Self(sign * (whole * MILLION + fraction)))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, fraction) = (self.0.abs() / MILLION, self.0.abs() % MILLION);
        if fraction == 0 {
            return write!(f, "{sign}{whole}");
        }
        let fraction = format!("{fraction:06}");
        write!(f, "{sign}{whole}.{}", fraction.trim_end_matches('0'))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Int(number) => number.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Decibel(level) => write!(f, "{level}dB"),
            Self::Time(us) => Decimal(*us).fmt(f),
            Self::Ratio(num, den) => write!(f, "{num}/{den}"),
            Self::Size(width, height) => write!(f, "{width}x{height}"),
            Self::Flags(names) => names.iter().try_for_each(|name| write!(f, "+{name}")),
            Self::Color([r, g, b], alpha) => {
                write!(f, "0x{r:02X}{g:02X}{b:02X}")?;
                match alpha {
                    Some(hundredths) => write!(f, "@{}", Decimal(i64::from(*hundredths) * 10_000)),
                    None => Ok(()),
                }
            }
            Self::Timecode([h, m, s, frame], drop) => {
                let before = if *drop { ';' } else { ':' };
                write!(f, "{h:02}:{m:02}:{s:02}{before}{frame:02}")
            }
            Self::Mastering([g, b, r, w, l]) => {
                let named = [("G", g), ("B", b), ("R", r), ("WP", w), ("L", l)];
                named
                    .iter()
                    .try_for_each(|(name, (x, y))| write!(f, "{name}({x},{y})"))
            }
            Self::Tag(letters) => letters.iter().try_for_each(|letter| write!(f, "{letter}")),
            Self::List(values, between) => {
                for (n, value) in values.iter().enumerate() {
                    if n > 0 {
                        write!(f, "{between}")?;
                    }
                    value.fmt(f)?;
                }
                Ok(())
            }
            Self::Params(params) => {
                for (n, (name, value)) in params.iter().enumerate() {
                    let colon = if n > 0 { ":" } else { "" };
                    match value {
                        Some(value) => write!(f, "{colon}{name}={value}")?,
                        None => write!(f, "{colon}{name}")?,
                    }
                }
                Ok(())
            }
            Self::Expression(expression) => expression.fmt(f),
            Self::Graph(graph) => graph.fmt(f),
            Self::Map(map) => map.fmt(f),
            Self::Metadata(metadata) => metadata.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_and_read_back() {
        for (text, shown) in [
            ("12", "12"),
            ("-0.5", "-0.5"),
            ("+3.250", "3.25"),
            (".5", "0.5"),
            ("5.", "5"),
            ("999999999.999999", "999999999.999999"),
        ] {
            let read = Decimal::read(text).unwrap();
            assert_eq!(read.to_string(), shown);
            assert_eq!(Decimal::read(shown), Some(read));
        }
        for bad in [
            "",
            ".",
            "-",
            "1e5",
            "0x10",
            "1.2.3",
            "1234567890",
            "1.1234567",
            "--1",
            "nan",
            "１",
        ] {
            assert_eq!(Decimal::read(bad), None, "{bad}");
        }
    }
}
