//! Where Sources and Outputs are: from what someone typed to the URL that travels in the request, and back to what
//! people like to read.

use crate::fault::{Fault, Kind};
use std::path::{Path, PathBuf};
use url::Url;

/// Schemes a Source may have.
const READABLE: [&str; 4] = ["file", "s3", "http", "https"];

/// A Source or an Output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// As typed, for messages.
    pub typed: String,
    /// Absolute URL.
    pub url: String,
    /// The path, where it is local.
    pub path: Option<PathBuf>,
}

/// Whether a place is read from or written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A Source.
    Read,
    /// An Output.
    Write,
}

impl Place {
    /// Understands a path or URL; relative paths start at `cwd`.
    /// # Errors
    /// [`Kind::Input`] or [`Kind::Output`], by `purpose`: the scheme is unknown or the text names no file.
    pub fn parse(typed: &str, cwd: &Path, purpose: Use) -> Result<Self, Fault> {
        let kind = match purpose {
            Use::Read => Kind::Input,
            Use::Write => Kind::Output,
        };
        let fault = |message: String| Err(Fault::new(kind, message));
        if typed.is_empty() {
            return fault("an empty name was given where a path or URL is needed".into());
        }
        if typed == "-" {
            return fault(match purpose {
                Use::Read => {
                    "standard input cannot be read more than once; save it to a file first".into()
                }
                Use::Write => "standard output cannot take a video; name a file".into(),
            });
        }
        if let Some((scheme, rest)) = typed.split_once("://") {
            let scheme = scheme.to_ascii_lowercase();
            if !READABLE.contains(&scheme.as_str()) {
                return fault(format!(
                    "{typed} begins with {scheme}://, which recode cannot use; write a path or a URL with {}",
                    match purpose {
                        Use::Read => "file://, s3://, http:// or https://",
                        Use::Write => "file:// or s3://",
                    }
                ));
            }
            if purpose == Use::Write && scheme.starts_with("http") {
                return fault(format!(
                    "{typed} cannot be written, since {scheme} is read-only here; name a path or an s3:// URL"
                ));
            }
            if scheme == "file" {
                let path = Url::parse(typed)
                    .ok()
                    .and_then(|url| url.to_file_path().ok());
                return match path {
                    Some(path) => Self::local(typed, path, kind),
                    None => fault(format!(
                        "{typed} is not a file URL of this machine; write file:///absolute/path"
                    )),
                };
            }
            let (host, key) = rest.split_once('/').unwrap_or((rest, ""));
            if host.is_empty() || (scheme == "s3" && key.is_empty()) {
                return fault(format!(
                    "{typed} is incomplete; write {}",
                    if scheme == "s3" {
                        "s3://bucket/key"
                    } else {
                        "http://host/path"
                    }
                ));
            }
            return Ok(Self {
                typed: typed.to_owned(),
                url: format!("{scheme}://{rest}"),
                path: None,
            });
        }
        Self::local(typed, cwd.join(typed), kind)
    }

    /// A path of this machine, rather than a URL that says that others see it too.
    pub fn is_plain(&self) -> bool {
        let scheme = self.typed.get(..7);
        let named = scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("file://"));
        self.path.is_some() && !named
    }

    fn local(typed: &str, path: PathBuf, kind: Kind) -> Result<Self, Fault> {
        let path = tidy(&path);
        let url = Url::from_file_path(&path)
            .map_err(|()| Fault::new(kind, format!("{typed} cannot be made an absolute path")))?;
        Ok(Self {
            typed: typed.to_owned(),
            url: url.into(),
            path: Some(path),
        })
    }
}

/// The same file without `.` and `..`, which URLs cannot carry. Asks the file system only where the path has `..`, as
/// the folder before it may be a link.
fn tidy(path: &Path) -> PathBuf {
    use std::path::Component;
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                if let Ok(real) = out.canonicalize() {
                    out = real;
                }
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// A URL or absolute path as people like to read it: local files as paths, relative where they lie below `cwd`.
pub fn show(url: &str, cwd: &Path) -> String {
    let Some(path) = path_of(url).or_else(|| url.starts_with('/').then(|| PathBuf::from(url)))
    else {
        return url.to_owned();
    };
    path.strip_prefix(cwd)
        .unwrap_or(&path)
        .display()
        .to_string()
}

/// The path of a `file://` URL.
pub fn path_of(url: &str) -> Option<PathBuf> {
    Url::parse(url)
        .ok()
        .filter(|url| url.scheme() == "file")?
        .to_file_path()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(typed: &str, purpose: Use) -> Result<String, String> {
        Place::parse(typed, Path::new("/home/me"), purpose)
            .map(|place| place.url)
            .map_err(|fault| fault.message)
    }

    #[test]
    fn paths_become_absolute_urls_and_come_back() {
        assert_eq!(
            url("a b%.mp4", Use::Read).unwrap(),
            "file:///home/me/a%20b%25.mp4"
        );
        assert_eq!(url("/x/./y.mp4", Use::Write).unwrap(), "file:///x/y.mp4");
        assert_eq!(
            url("file:///x/ä.mp4", Use::Read).unwrap(),
            "file:///x/%C3%A4.mp4"
        );
        let cwd = Path::new("/home/me");
        assert_eq!(show("file:///home/me/a%20b%25.mp4", cwd), "a b%.mp4");
        assert_eq!(show("file:///x/y.mp4", cwd), "/x/y.mp4");
        assert_eq!(show("s3://b/k.mp4", cwd), "s3://b/k.mp4");
        assert_eq!(show("/home/me/y.mp4", cwd), "y.mp4");
    }

    #[test]
    fn remote_places_keep_their_url() {
        assert_eq!(url("S3://b/k.mp4", Use::Write).unwrap(), "s3://b/k.mp4");
        assert_eq!(
            url("https://h/a.mp4?x=1", Use::Read).unwrap(),
            "https://h/a.mp4?x=1"
        );
    }

    #[test]
    fn places_that_cannot_work_are_refused() {
        for (typed, purpose) in [
            ("ftp://h/a.mp4", Use::Read),
            ("http://h/a.mp4", Use::Write),
            ("s3://bucket", Use::Read),
            ("s3:///k", Use::Read),
            ("file://other/a.mp4", Use::Read),
            ("-", Use::Read),
            ("-", Use::Write),
            ("", Use::Read),
        ] {
            assert!(url(typed, purpose).is_err(), "{typed} was taken");
        }
    }
}
