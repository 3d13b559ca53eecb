//! What the tests of whole runs share.

use std::path::{Path, PathBuf};

/// FFmpeg as users' machines have it: `RECODE_FFMPEG`, the project's own build, `PATH`. `None`, said aloud: there is none.
pub fn ffmpeg() -> Option<PathBuf> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin/ffmpeg");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let named = std::env::var_os("RECODE_FFMPEG").map(PathBuf::from);
    let on_path = std::env::split_paths(&path).map(|dir| dir.join("ffmpeg"));
    let mut all = named.into_iter().chain([project]).chain(on_path);
    let found = all.find(|path| path.is_file());
    if found.is_none() {
        eprintln!("NOT TESTED: there is no FFmpeg here");
    }
    found
}
