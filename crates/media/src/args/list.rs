//! An argument list in the making.

use std::ffi::OsString;
use std::path::Path;

#[derive(Debug, Default)]
pub(super) struct List(pub Vec<OsString>);

impl List {
    pub(super) fn flag(&mut self, name: &str) -> &mut Self {
        self.0.push(name.into());
        self
    }

    pub(super) fn opt(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        self.0.push(name.into());
        self.0.push(value.to_string().into());
        self
    }

    pub(super) fn input(&mut self, path: &Path) -> &mut Self {
        self.0.push("-i".into());
        self.file(path)
    }

    /// A file by its path. `file:` keeps FFmpeg from reading a protocol or an option out of the name.
    pub(super) fn file(&mut self, path: &Path) -> &mut Self {
        let mut name = OsString::from("file:");
        name.push(path);
        self.0.push(name);
        self
    }
}

#[cfg(test)]
pub(super) fn shown(args: &[OsString]) -> String {
    args.iter()
        .map(|a| a.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
