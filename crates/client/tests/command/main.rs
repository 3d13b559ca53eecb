//! Command jobs with the real FFmpeg: within the program, and on a cluster.

#[path = "../common/cluster.rs"]
mod cluster;
#[path = "../common/mod.rs"]
mod common;

mod embedded;
mod remote;
mod wire;

use std::path::Path;
use std::process::Command;

/// The digest of what FFmpeg decodes of a file, with these options.
fn decoded(ffmpeg: &Path, file: &Path, options: &[&str]) -> String {
    let out = Command::new(ffmpeg)
        .args(["-loglevel", "error", "-i"])
        .arg(file)
        .args(options)
        .args(["-f", "md5", "-"])
        .output()
        .expect("it starts");
    let log = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{}: {log}", file.display());
    String::from_utf8(out.stdout).expect("it is text")
}

/// The colour of one point of a file's first frame.
fn color(ffmpeg: &Path, file: &Path, x: u32, y: u32) -> [u8; 3] {
    let out = Command::new(ffmpeg)
        .args(["-loglevel", "error", "-i"])
        .arg(file)
        .args(["-frames:v", "1", "-vf"])
        .arg(format!("format=rgb24,crop=1:1:{x}:{y}"))
        .args(["-f", "rawvideo", "-"])
        .output()
        .expect("it starts");
    out.stdout.try_into().expect("one point has three bytes")
}

/// Runs FFmpeg itself.
fn plain(ffmpeg: &Path, dir: &Path, line: &str) {
    let status = Command::new(ffmpeg)
        .args(["-loglevel", "error", "-y"])
        .args(line.split_whitespace())
        .current_dir(dir)
        .status();
    assert!(status.is_ok_and(|status| status.success()), "{line}");
}
