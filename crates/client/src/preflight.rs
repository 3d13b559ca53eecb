//! A look at local files before any work starts, so that the usual mistakes are told in milliseconds and in one
//! sentence. Not a promise: everything is checked again when it is used.

use crate::fault::Fault;
use crate::place::{Place, path_of};
use recode_types::JobRequest;
use std::fs::{File, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

/// Checks that a Source can be read. `None` for remote ones, which the node looks at.
/// # Errors
/// [`Kind::Input`](crate::fault::Kind::Input).
pub fn source(place: &Place) -> Result<Option<Metadata>, Fault> {
    let Some(path) = &place.path else {
        return Ok(None);
    };
    let typed = &place.typed;
    let fault = |message: String| Err(Fault::input(message));
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) => {
            return fault(match e.kind() {
                ErrorKind::NotFound => format!("{typed} does not exist; check the path"),
                ErrorKind::PermissionDenied => format!(
                    "{typed} cannot be looked at, since a folder on its path may not be entered; change its permissions"
                ),
                ErrorKind::NotADirectory => {
                    format!(
                        "{typed} does not exist, since a part of its path is a file; check the path"
                    )
                }
                _ => format!("{typed} cannot be looked at ({e}); check the path"),
            });
        }
    };
    let kind = meta.file_type();
    if kind.is_dir() {
        return fault(format!("{typed} is a directory; name a video file in it"));
    }
    if kind.is_fifo() || kind.is_socket() || kind.is_char_device() {
        return fault(format!(
            "{typed} is not a regular file, and recode reads its source more than once; save it to a file first"
        ));
    }
    if meta.len() == 0 {
        return fault(format!(
            "{typed} is empty; it was probably not copied completely"
        ));
    }
    match File::open(path) {
        Ok(_) => Ok(Some(meta)),
        Err(e) if e.kind() == ErrorKind::PermissionDenied => fault(format!(
            "{typed} may not be read by this user; change its permissions (chmod +r)"
        )),
        Err(e) => fault(format!("{typed} cannot be opened ({e})")),
    }
}

/// Checks that the Outputs can be written. `resumes`: an earlier run of the same job left its state, so an Output that
/// exists may be its own; the node compares.
/// # Errors
/// [`Kind::Output`](crate::fault::Kind::Output), or [`Kind::Usage`](crate::fault::Kind::Usage) where an Output is the
/// Source under another name.
pub fn outputs(
    request: &JobRequest,
    source: Option<&Metadata>,
    resumes: bool,
) -> Result<(), Fault> {
    for wanted in &request.outputs {
        let Some(path) = path_of(&wanted.url) else {
            continue;
        };
        let source: Vec<Metadata> = source.into_iter().cloned().collect();
        output(&path, &source, request.overwrite || resumes)?;
    }
    Ok(())
}

/// Checks that one file can be written. `sources`: what it must not be under another name.
/// # Errors
/// As [`outputs`].
pub fn output(path: &Path, sources: &[Metadata], replace: bool) -> Result<(), Fault> {
    let name = path.display();
    let folder = path.parent().unwrap_or(Path::new("/"));
    let shown = folder.display();
    match std::fs::metadata(folder) {
        Ok(meta) if !meta.is_dir() => {
            return Err(Fault::output(format!(
                "{name} cannot be made, since {shown} is not a directory; name another place"
            )));
        }
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Err(Fault::output(format!(
                "the directory {shown} does not exist; make it with mkdir -p {shown}"
            )));
        }
        Err(e) => {
            return Err(Fault::output(format!(
                "the directory {shown} cannot be looked at ({e}); name another place"
            )));
        }
    }
    writable(folder)?;
    match std::fs::metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Fault::output(format!("{name} cannot be looked at ({e})"))),
        Ok(meta) if meta.is_dir() => Err(Fault::output(format!(
            "{name} is a directory; name a file in it"
        ))),
        Ok(meta)
            if sources
                .iter()
                .any(|s| (s.dev(), s.ino()) == (meta.dev(), meta.ino())) =>
        {
            Err(Fault::usage(format!(
                "{name} is the input under another name; name another output, the source is never written to"
            )))
        }
        Ok(_) if replace => Ok(()),
        Ok(_) => Err(Fault::output(format!(
            "{name} exists; add --force to replace it, or name another output"
        ))),
    }
}

/// Whether files can be made in `folder`.
/// # Errors
/// [`Kind::Output`](crate::fault::Kind::Output).
pub fn writable(folder: &Path) -> Result<(), Fault> {
    use rustix::fs::{Access, access};
    access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|e| {
        let shown = folder.display();
        Fault::output(match e {
            rustix::io::Errno::ROFS => format!("{shown} is on a read-only file system; name another place"),
            _ => format!("no file may be made in {shown} by this user; change its permissions or name another place"),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Use;

    fn message(typed: &str, dir: &Path) -> String {
        let place = Place::parse(typed, dir, Use::Read).unwrap();
        source(&place).unwrap_err().message
    }

    #[test]
    fn sources_that_cannot_be_read_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("empty.mp4"), b"").unwrap();
        std::fs::write(dir.path().join("file"), b"x").unwrap();
        for (typed, part) in [
            ("none.mp4", "does not exist"),
            (".", "is a directory"),
            ("empty.mp4", "is empty"),
            ("file/x.mp4", "part of its path is a file"),
            ("/dev/null", "not a regular file"),
        ] {
            let message = message(typed, dir.path());
            assert!(message.contains(part), "{typed}: {message}");
        }
    }

    #[test]
    fn outputs_that_cannot_be_written_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let d = dir.path();
        std::fs::write(d.join("there.mp4"), b"x").unwrap();
        std::fs::hard_link(d.join("there.mp4"), d.join("link.mp4")).unwrap();
        std::fs::create_dir(d.join("folder.mp4")).unwrap();
        let source = std::fs::metadata(d.join("there.mp4")).unwrap();
        let check = |name: &str, source: Option<&Metadata>, replace| {
            let sources: Vec<Metadata> = source.into_iter().cloned().collect();
            output(&d.join(name), &sources, replace).map_err(|f| f.message)
        };
        assert!(
            check("there.mp4", None, false)
                .unwrap_err()
                .contains("--force")
        );
        assert!(check("there.mp4", None, true).is_ok());
        assert!(
            check("link.mp4", Some(&source), true)
                .unwrap_err()
                .contains("another name")
        );
        assert!(
            check("folder.mp4", None, true)
                .unwrap_err()
                .contains("is a directory")
        );
        assert!(
            check("no/such.mp4", None, true)
                .unwrap_err()
                .contains("mkdir -p")
        );
        assert!(
            check("there.mp4/x.mp4", None, true)
                .unwrap_err()
                .contains("not a directory")
        );
        assert!(check("new.mp4", None, false).is_ok());
    }
}
