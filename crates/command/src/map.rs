//! Which streams travel, and what is written about them.

use crate::specifier::{Specifier, read_number};
use std::fmt;

/// `-map`, `-map_metadata`, `-map_chapters`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Map {
    /// Streams of an input.
    Streams {
        /// They are taken away from what was mapped before.
        without: bool,
        /// Number of the input.
        input: u16,
        /// Which of its streams.
        streams: Specifier,
        /// No error where there are none.
        optional: bool,
    },
    /// A link of the filters, by its label.
    Link(String),
    /// What an input as a whole says; `None`: nothing.
    Input(Option<u16>),
}

impl Map {
    /// `-map`.
    pub fn streams(text: &str) -> Option<Self> {
        if let Some(label) = text.strip_prefix('[') {
            return label
                .strip_suffix(']')
                .filter(|label| is_label(label))
                .map(|label| Self::Link(label.to_owned()));
        }
        let (without, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (rest, optional) = match rest.strip_suffix('?') {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let (input, streams) = match rest.split_once(':') {
            Some((input, streams)) => (input, Specifier::read(streams)?),
            None => (rest, Specifier::default()),
        };
        Some(Self::Streams {
            without,
            input: read_number(input)?,
            streams,
            optional,
        })
    }

    /// `-map_metadata`, `-map_chapters`.
    pub fn input(text: &str) -> Option<Self> {
        match text {
            "-1" => Some(Self::Input(None)),
            text => Some(Self::Input(Some(read_number(text)?))),
        }
    }

    /// Number of the input it names.
    pub fn names(&self) -> Option<u16> {
        match self {
            Self::Streams { input, .. } => Some(*input),
            Self::Input(input) => *input,
            Self::Link(_) => None,
        }
    }
}

/// A name for a link of filters.
pub fn is_label(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !text.is_empty() && text.len() <= 32 && text.chars().all(plain)
}

impl fmt::Display for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Streams {
                without,
                input,
                streams,
                optional,
            } => {
                let without = if *without { "-" } else { "" };
                let optional = if *optional { "?" } else { "" };
                write!(f, "{without}{input}{streams}{optional}")
            }
            Self::Link(label) => write!(f, "[{label}]"),
            Self::Input(None) => f.write_str("-1"),
            Self::Input(Some(input)) => input.fmt(f),
        }
    }
}

/// `-metadata`: a key and free text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    key: String,
    text: String,
}

/// The longest free text, in bytes.
const LONGEST_TEXT: usize = 1024;

impl Metadata {
    /// Reads `key=text`. An empty text takes the key away.
    pub fn read(pair: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let good_key = |key: &str| {
            let first = key.chars().next();
            key.len() <= 64
                && first.is_some_and(|c| c.is_ascii_alphanumeric())
                && key.chars().all(plain)
        };
        match pair.split_once('=') {
            Some((key, text)) if good_key(key) && text.len() <= LONGEST_TEXT => Ok(Self {
                key: key.to_owned(),
                text: text.to_owned(),
            }),
            _ => Err(format!(
                "write a key of letters and digits, = and a text of at most {LONGEST_TEXT} bytes, as in title=\"My film\""
            )),
        }
    }
}

impl fmt::Display for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_read_back() {
        for text in ["0", "0:v", "0:a:1?", "-0:s", "1:3", "[out]", "[v_1]"] {
            assert_eq!(Map::streams(text).unwrap().to_string(), text);
        }
        for bad in [
            "",
            "a",
            "-",
            "0:",
            "0:x",
            "[a b]",
            "[]",
            "0:v,0:a",
            "[a];[b]",
            "0:m:language:eng",
            "/etc/passwd",
        ] {
            assert_eq!(Map::streams(bad), None, "{bad}");
        }
        assert_eq!(Map::input("-1").unwrap().to_string(), "-1");
        assert_eq!(Map::input("0").unwrap().to_string(), "0");
        assert_eq!(Map::input("0:s:0"), None);
    }

    #[test]
    fn metadata_is_a_key_and_free_text() {
        assert_eq!(
            Metadata::read("title=a = b").unwrap().to_string(),
            "title=a = b"
        );
        assert_eq!(Metadata::read("title=").unwrap().to_string(), "title=");
        for bad in ["title", "=x", "-x=y", "a b=c", "a/b=c", "a:b=c"] {
            assert!(Metadata::read(bad).is_err(), "{bad}");
        }
    }
}
