//! Stream specifiers: `:v`, `:a:1`, `:3`.

use std::fmt;

/// Which streams of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Specifier {
    /// Kind of stream: `v`, `V`, `a`, `s`, `d` or `t`.
    pub kind: Option<char>,
    /// Number among those, from 0.
    pub number: Option<u16>,
}

impl Specifier {
    /// Reads what stands behind the first colon.
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let first = parts.next()?;
        let mut letters = first.chars();
        let (kind, number) = match (letters.next(), letters.next()) {
            (Some(kind @ ('v' | 'V' | 'a' | 's' | 'd' | 't')), None) => (Some(kind), parts.next()),
            _ => (None, Some(first)),
        };
        if parts.next().is_some() {
            return None;
        }
        let number = number.map(read_number);
        match number {
            Some(None) => None,
            number => Some(Self {
                kind,
                number: number.flatten(),
            }),
        }
    }
}

/// A number as FFmpeg counts files and streams.
pub fn read_number(text: &str) -> Option<u16> {
    let plain = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

impl fmt::Display for Specifier {
    /// With a colon before each part.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(kind) = self.kind {
            write!(f, ":{kind}")?;
        }
        match self.number {
            Some(number) => write!(f, ":{number}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifiers_read_back() {
        for text in ["v", "a:1", "3", "V:0", "s", "t:12"] {
            let read = Specifier::read(text).unwrap();
            assert_eq!(read.to_string(), format!(":{text}"));
        }
        for bad in [
            "",
            "x",
            "v:",
            "v:x",
            "v:0:1",
            "-1",
            "v:-1",
            "p:1",
            "m:title:a",
            "#1",
            "i:1",
            "u",
            "99999",
        ] {
            assert_eq!(Specifier::read(bad), None, "{bad}");
        }
    }
}
