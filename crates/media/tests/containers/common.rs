//! Running FFmpeg to see what a plain process shows.

use bytes::Bytes;
use recode_media::bytes::{BoxFuture, ByteSource, FileSource};
use recode_types::time::TimeBase;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The FFmpeg build to test against.
pub fn ffmpeg() -> PathBuf {
    std::env::var_os("RECODE_FFMPEG").map_or_else(|| "ffmpeg".into(), PathBuf::from)
}

/// Whether that build runs at all; says so when it does not.
pub fn have_ffmpeg() -> bool {
    let runs = Command::new(ffmpeg())
        .arg("-version")
        .output()
        .is_ok_and(|out| out.status.success());
    if !runs {
        eprintln!("SKIPPED: no FFmpeg (RECODE_FFMPEG or PATH)");
    }
    runs
}

/// All files of the media set that may have an index.
pub fn media() -> Option<Vec<PathBuf>> {
    let Some(dir) = std::env::var_os("RECODE_MEDIA") else {
        eprintln!("SKIPPED: RECODE_MEDIA does not name a folder of test media");
        return None;
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .expect("RECODE_MEDIA is a folder")
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let ending = path.extension().and_then(|e| e.to_str()).unwrap_or("");
            matches!(ending, "mp4" | "mov" | "mkv" | "webm" | "m4v")
        })
        .filter(|path| {
            let only = std::env::var("ONLY").unwrap_or_default();
            path.to_str().unwrap().contains(&only)
        })
        .collect();
    files.sort();
    Some(files)
}

/// Runs FFmpeg and returns what it printed.
pub fn run(ffmpeg: &Path, args: &[&str]) -> (String, String) {
    let out = Command::new(ffmpeg)
        .args(["-nostdin", "-hide_banner"])
        .args(args)
        .output()
        .expect("ffmpeg runs");
    (
        String::from_utf8_lossy(&out.stdout).into_owned(),
        String::from_utf8_lossy(&out.stderr).into_owned(),
    )
}

/// Times of all frames FFmpeg decodes from one stream, and their time base.
pub fn decoded(ffmpeg: &Path, path: &Path, stream: u32) -> (TimeBase, Vec<i64>) {
    let map = format!("0:{stream}");
    let args = [
        "-copyts",
        "-i",
        path.to_str().unwrap(),
        "-map",
        &map,
        "-fps_mode",
        "passthrough",
        "-vf",
        "showinfo=checksum=0",
        "-f",
        "null",
        "-",
    ];
    let (_, log) = run(ffmpeg, &args);
    let mut base = TimeBase::new(1, 1);
    let mut pts = Vec::new();
    for line in log.lines().filter(|line| line.contains("Parsed_showinfo")) {
        if let Some(at) = line.find("config in time_base:") {
            let text = line[at + 20..]
                .split([',', ' '])
                .find(|s| !s.is_empty())
                .unwrap();
            base = text.parse().unwrap();
        }
        if let Some(at) = line.find(" pts:") {
            let text = line[at + 5..].split_whitespace().next().unwrap();
            pts.push(text.parse().unwrap());
        }
    }
    (base, pts)
}

/// How a build spells "the time base of the input".
fn demuxer_time_base(ffmpeg: &Path) -> &'static str {
    let (version, _) = run(ffmpeg, &["-version"]);
    if version.contains("version 5.") {
        "-1"
    } else {
        "demux"
    }
}

/// Times and checksums of all frames FFmpeg decodes.
pub fn frames(ffmpeg: &Path, input: &[&str], map: &str, filter: &str) -> Vec<(i64, String)> {
    let mut args = vec!["-copyts"];
    args.extend_from_slice(input);
    args.extend_from_slice(&[
        "-map",
        map,
        "-fps_mode",
        "passthrough",
        "-enc_time_base",
        demuxer_time_base(ffmpeg),
        "-noautoscale",
    ]);
    if !filter.is_empty() {
        args.extend_from_slice(&["-vf", filter]);
    }
    args.extend_from_slice(&["-f", "framecrc", "-"]);
    let (out, log) = run(ffmpeg, &args);
    assert!(!out.is_empty(), "no output: {args:?}\n{log}");
    out.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let mut fields = line.split(',').map(str::trim);
            let pts = fields.nth(2).unwrap().parse().unwrap();
            (pts, fields.next_back().unwrap().to_owned())
        })
        .collect()
}

/// A local file that passes for a remote one.
pub struct Remote(pub FileSource);

impl ByteSource for Remote {
    fn size(&self) -> u64 {
        self.0.size()
    }
    fn read(&self, range: Range<u64>) -> BoxFuture<'_, std::io::Result<Bytes>> {
        self.0.read(range)
    }
    fn is_remote(&self) -> bool {
        true
    }
}
