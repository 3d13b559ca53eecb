//! Where something is. One rule per scheme, written down once.
//!
//! * A text without `scheme://` is a **path**, taken byte for byte: `100%.mp4` and `a#b.mp4` are ordinary names.
//! * `file:///abs/path` is percent-decoded; a host other than `localhost` is refused.
//! * `s3://bucket/key` is taken as written, as the AWS tools do: no percent-decoding, no query.
//! * `http://` and `https://` follow the URL standard and can only be read.

use crate::error::Error;
use std::fmt;
use std::path::{Path, PathBuf};

/// The longest key S3 takes, in bytes.
const LONGEST_S3_KEY: usize = 1024;

/// A place that holds a Source, an Output or a work store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// A path of this machine, as given (relative ones stay relative until they are opened).
    File(PathBuf),
    /// An object, or everything below a prefix when `key` is used as the root of a store.
    S3 {
        /// The bucket.
        bucket: String,
        /// The key; empty for the bucket itself.
        key: String,
    },
    /// Something a web server offers. Read only.
    Http(::url::Url),
    /// Nowhere: a store of this name that lives as long as the process. For tests.
    Memory(String),
}

impl Location {
    /// Reads what a person or a message wrote.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the text and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let invalid = |why: String| Err(Error::Invalid(why));
        if text.is_empty() {
            return invalid("an empty text is not a path or URL; name a file".into());
        }
        if text.contains('\0') {
            return invalid(format!(
                "{text:?} holds a zero byte, which no path can hold"
            ));
        }
        let Some((scheme, rest)) = scheme(text) else {
            return Ok(Location::File(PathBuf::from(text)));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "file" => {
                let url = ::url::Url::parse(text)
                    .map_err(|e| Error::Invalid(format!("\"{text}\" is not a file URL: {e}")))?;
                if url.query().is_some() || url.fragment().is_some() {
                    return invalid(format!(
                        "\"{text}\" has a query or fragment; write ? as %3F and # as %23 in a file URL"
                    ));
                }
                match url.to_file_path() {
                    Ok(path) => Ok(Location::File(path)),
                    Err(()) => invalid(format!(
                        "\"{text}\" does not name a file of this machine; write file:///absolute/path"
                    )),
                }
            }
            "s3" => parse_s3(text, rest),
            "http" | "https" => match ::url::Url::parse(text) {
                Ok(mut url) => {
                    url.set_fragment(None);
                    Ok(Location::Http(url))
                }
                Err(e) => invalid(format!("\"{text}\" is not a web address: {e}")),
            },
            "memory" => Ok(Location::Memory(rest.to_owned())),
            other => invalid(format!(
                "{other}:// is not supported in \"{text}\"; use a path, file://, s3://, http:// or https://"
            )),
        }
    }

    /// The path, when it is one of this machine.
    pub fn local_path(&self) -> Option<&Path> {
        match self {
            Location::File(path) => Some(path),
            _ => None,
        }
    }

    /// Whether it lies on this machine's file system.
    pub fn is_local(&self) -> bool {
        self.local_path().is_some()
    }

    /// The last component of the name, decoded; what the container is guessed from.
    pub fn file_name(&self) -> Option<String> {
        match self {
            Location::File(path) => path.file_name().map(|n| n.to_string_lossy().into_owned()),
            Location::S3 { key: text, .. } | Location::Memory(text) => text
                .rsplit('/')
                .next()
                .filter(|n| !n.is_empty())
                .map(str::to_owned),
            Location::Http(url) => url
                .path_segments()
                .and_then(|mut segments| segments.next_back())
                .filter(|n| !n.is_empty())
                .map(percent_decode),
        }
    }

    /// The same place with another last component: where something that belongs to an Output goes beside it.
    pub fn with_file_name(&self, name: &str) -> Self {
        let replaced = |text: &str| match text.rfind('/') {
            Some(at) => format!("{}/{name}", &text[..at]),
            None => name.to_owned(),
        };
        match self {
            Location::File(path) => Location::File(path.with_file_name(name)),
            Location::S3 { bucket, key } => Location::S3 {
                bucket: bucket.clone(),
                key: replaced(key),
            },
            Location::Memory(text) => Location::Memory(replaced(text)),
            Location::Http(url) => {
                let mut url = url.clone();
                if let Ok(mut segments) = url.path_segments_mut() {
                    segments.pop().push(name);
                }
                Location::Http(url)
            }
        }
    }

    /// The text that [`Location::parse`] reads back as the same place: paths become absolute, secrets are kept.
    /// For messages between processes; people are shown `Display`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a path is not valid UTF-8, [`Error::Other`] when the working directory is gone.
    pub fn to_url(&self) -> Result<String, Error> {
        match self {
            Location::File(path) => {
                let absolute = std::path::absolute(path).map_err(|e| Error::io("find", path, e))?;
                absolute.into_os_string().into_string().map_err(|bad| {
                    Error::Invalid(format!(
                        "the name {bad:?} is not valid UTF-8; rename it or use a link with a plain name"
                    ))
                })
            }
            Location::Http(url) => Ok(url.to_string()),
            Location::S3 { .. } | Location::Memory(_) => Ok(self.to_string()),
        }
    }
}

impl fmt::Display for Location {
    /// For people: without the secrets a web address may hold.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::File(path) => write!(f, "{}", path.display()),
            Location::S3 { bucket, key } => write!(f, "s3://{bucket}/{key}"),
            Location::Memory(name) => write!(f, "memory://{name}"),
            Location::Http(url) => {
                let mut shown = url.clone();
                let _ = shown.set_password(None);
                let _ = shown.set_username("");
                let secret = shown.query().is_some();
                shown.set_query(None);
                write!(f, "{shown}{}", if secret { "?…" } else { "" })
            }
        }
    }
}

/// The part before `://` when it looks like a scheme; `C:/x` and `a:b` do not.
fn scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let mut letters = scheme.chars();
    let good = letters.next().is_some_and(|c| c.is_ascii_alphabetic())
        && letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    good.then_some((scheme, rest))
}

fn parse_s3(text: &str, rest: &str) -> Result<Location, Error> {
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if bucket.is_empty() || bucket.len() > 255 || !bucket.chars().all(plain) {
        return Err(Error::Invalid(format!(
            "\"{text}\" does not name a bucket; write s3://bucket/key"
        )));
    }
    if key.len() > LONGEST_S3_KEY {
        return Err(Error::Invalid(format!(
            "the key of \"{text}\" is longer than the {LONGEST_S3_KEY} bytes S3 takes; shorten it"
        )));
    }
    let trimmed = key.strip_suffix('/').unwrap_or(key);
    if !key.is_empty()
        && let Err(e) = object_store::path::Path::parse(trimmed)
    {
        return Err(Error::Invalid(format!(
            "the key of \"{text}\" cannot be used: it has an empty part, a control character, or . or .. as a part ({e})"
        )));
    }
    Ok(Location::S3 {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
    })
}

fn percent_decode(text: &str) -> String {
    let hex = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at..] {
            [b'%', high, low, ..] if hex(high).is_some() && hex(low).is_some() => {
                out.push(hex(high).unwrap_or(0) * 16 + hex(low).unwrap_or(0));
                at += 3;
            }
            [byte, ..] => {
                out.push(byte);
                at += 1;
            }
            [] => break,
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Location {
        Location::parse(text).unwrap()
    }

    #[test]
    fn a_path_is_taken_as_it_is() {
        for text in [
            "a b.mp4",
            "100%25.mp4",
            "a#b?.mp4",
            "C:/x.mp4",
            "-x",
            "://x",
            "1a://x",
        ] {
            assert_eq!(parse(text), Location::File(text.into()), "{text}");
        }
    }

    #[test]
    fn a_file_url_is_decoded() {
        assert_eq!(
            parse("file:///a%20b/c%23.mp4"),
            Location::File("/a b/c#.mp4".into())
        );
        assert_eq!(parse("file://localhost/x"), Location::File("/x".into()));
        assert!(Location::parse("file://elsewhere/x").is_err());
        assert!(Location::parse("file:///x?y").is_err());
    }

    #[test]
    fn an_s3_key_is_taken_as_it_is() {
        let location = parse("s3://b.u-c/dir/a%20b #1.mp4");
        assert_eq!(
            location,
            Location::S3 {
                bucket: "b.u-c".into(),
                key: "dir/a%20b #1.mp4".into()
            }
        );
        assert_eq!(location.file_name().unwrap(), "a%20b #1.mp4");
        assert_eq!(
            location.with_file_name("x.json").to_string(),
            "s3://b.u-c/dir/x.json"
        );
        for bad in [
            "s3://",
            "s3:///key",
            "s3://b/../x",
            "s3://b/a//c",
            "s3://b%20/x",
        ] {
            assert!(Location::parse(bad).is_err(), "{bad}");
        }
        assert!(Location::parse(&format!("s3://b/{}", "x".repeat(1025))).is_err());
    }

    #[test]
    fn secrets_of_a_web_address_are_not_shown_but_kept() {
        let location = parse("https://me:pw@host/dir/a%20b.mp4?X-Amz-Signature=1#part");
        assert_eq!(location.to_string(), "https://host/dir/a%20b.mp4?…");
        assert_eq!(location.file_name().unwrap(), "a b.mp4");
        assert_eq!(parse(&location.to_url().unwrap()), location);
    }

    #[test]
    fn an_unknown_scheme_is_refused_with_those_that_work() {
        let message = Location::parse("ftp://host/x").unwrap_err().to_string();
        assert_eq!(
            message,
            "ftp:// is not supported in \"ftp://host/x\"; use a path, file://, s3://, http:// or https://"
        );
    }
}
