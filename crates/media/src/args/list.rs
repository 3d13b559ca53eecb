//! An argument list in the making.

use std::ffi::OsString;
use std::path::Path;

#[derive(Debug, Default)]
pub(crate) struct List(pub Vec<OsString>);

impl List {
    pub(crate) fn flag(&mut self, name: &str) -> &mut Self {
        self.0.push(name.into());
        self
    }

    pub(crate) fn opt(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        self.0.push(name.into());
        self.0.push(value.to_string().into());
        self
    }

    pub(crate) fn input(&mut self, path: &Path) -> &mut Self {
        self.0.push("-i".into());
        self.file(path)
    }

    /// A file by its path. `file:` keeps FFmpeg from reading a protocol or an option out of the name.
    pub(crate) fn file(&mut self, path: &Path) -> &mut Self {
        let mut name = OsString::from("file:");
        name.push(path);
        self.0.push(name);
        self
    }
}

#[cfg(test)]
pub(crate) fn shown(args: &[OsString]) -> String {
    args.iter()
        .map(|a| a.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}
