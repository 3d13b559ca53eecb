//! Names of outputs: their ending, and the number in names that stand for many files.

/// Files that one output may be at most.
pub const MOST_FILES: u32 = 10_000;

/// A name with the place of a number in it, such as `img%03d.png`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    before: String,
    after: String,
    digits: usize,
}

impl Numbered {
    /// Reads a file's name; `None`: it has no number's place, `Err`: it has more than one, or one that cannot be.
    pub fn of(name: &str) -> Result<Option<Self>, String> {
        let Some((before, rest)) = name.split_once('%') else {
            return Ok(None);
        };
        let wrong = || {
            Err(format!(
                "{} has a % that is no number's place: write one such as %03d, and no other %",
                crate::refused::shown(name)
            ))
        };
        let Some((digits, after)) = rest.split_once('d') else {
            return wrong();
        };
        let width = match digits.strip_prefix('0') {
            _ if digits.is_empty() => Some(1),
            Some(width) => width.parse().ok().filter(|width| (1..=9).contains(width)),
            None => None,
        };
        match width {
            Some(digits) if !after.contains('%') => Ok(Some(Self {
                before: before.to_owned(),
                after: after.to_owned(),
                digits,
            })),
            _ => wrong(),
        }
    }

    /// The name of the file with this number.
    pub fn name(&self, number: u32) -> String {
        let Self {
            before,
            after,
            digits,
        } = self;
        format!("{before}{number:0digits$}{after}")
    }
}

/// The last part of a URL or path, as a file system or store would call it.
pub fn name_of(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let name = rest.rsplit('/').next().unwrap_or_default();
    match scheme.eq_ignore_ascii_case("file") {
        true => decoded(name),
        false => name.to_owned(),
    }
}

fn decoded(text: &str) -> String {
    let hex = |b: u8| (b as char).to_digit(16).map(|digit| digit as u8);
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let digits = bytes.get(at + 1).zip(bytes.get(at + 2));
        match digits.and_then(|(high, low)| Some(hex(*high)? * 16 + hex(*low)?)) {
            Some(decoded) if byte == b'%' => {
                out.push(decoded);
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_gets_its_place() {
        let of = |name: &str| Numbered::of(name).unwrap().unwrap();
        assert_eq!(of("img%03d.png").name(7), "img007.png");
        assert_eq!(of("img%03d.png").name(12345), "img12345.png");
        assert_eq!(of("%d").name(0), "0");
        assert_eq!(Numbered::of("plain.mp4"), Ok(None));
        for bad in [
            "100%.png",
            "%s.png",
            "%03d-%03d.png",
            "%%d.png",
            "%3d.png",
            "%00d",
            "%099d.png",
            "%-3d",
            "%n",
        ] {
            assert!(Numbered::of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_urls_are_what_their_stores_call_them() {
        for (url, name) in [
            ("s3://b/dir/img%03d.png", "img%03d.png"),
            ("file:///x/img%2503d%20a.png", "img%03d a.png"),
            ("/x/a.mp4", "a.mp4"),
            ("a.mp4", "a.mp4"),
            ("s3://b/dir/", ""),
            ("file:///x/%", "%"),
        ] {
            assert_eq!(name_of(url), name, "{url}");
        }
    }
}
