//! Whether a Chunk decodes, and to what. Evidence before acceptance.
//!
//! Two grades. [`Depth::Sample`] decodes the key frames and the frames at both ends that decode cheaply; [`Depth::Full`]
//! decodes everything and lists a signature of every frame, to be compared with the frames that went in.

use crate::args::list::List;
use crate::parse::framecrc::{self, Item};
use crate::run::{self, ChildUsage, Invocation};
use crate::toolchain::Ffmpeg;
use recode_types::task::{Failure, FailureClass};
use std::ffi::OsString;
use std::path::Path;

/// How much to decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The first frames and every key frame: what players and joints depend on.
    Sample,
    /// Every frame.
    Full,
}

/// What a Chunk decoded to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Frames that came out, in order: checksum of each.
    pub frames: Vec<u32>,
    /// What the run used.
    pub usage: ChildUsage,
}

/// A Chunk that must not be accepted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The decoder complains.
    #[error("the encoded chunk does not decode cleanly: {line}")]
    Damaged {
        /// Its first complaint.
        line: String,
    },
    /// Too few or too many frames.
    #[error("the encoded chunk decodes to {found} frames instead of {expected}")]
    Count {
        /// As planned.
        expected: u64,
        /// As decoded.
        found: u64,
    },
    /// FFmpeg failed.
    #[error(transparent)]
    Run(#[from] Box<run::Error>),
}

impl Error {
    /// As the outcome of an Attempt.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Run(e) => e.failure.clone(),
            other => Failure {
                class: FailureClass::Unknown,
                message: other.to_string(),
                stderr_tail: None,
            },
        }
    }
}

/// The argument list.
fn args(chunk: &Path, depth: Depth, threads: u32) -> Vec<OsString> {
    let mut list = List::default();
    list.opt("-loglevel", "level+error");
    list.opt("-filter_threads", 1).opt("-threads", threads);
    if depth == Depth::Sample {
        list.opt("-skip_frame", "nokey");
    }
    // Damage is an error here, not something to paint over.
    list.opt("-err_detect", "explode").input(chunk);
    list.opt("-map", "0:v:0").opt("-fps_mode", "passthrough");
    // Small, so that the checksum costs less than the decode. A fixed size, whatever the picture's.
    list.opt("-vf", "scale=64:36:flags=neighbor,format=gray");
    list.opt("-f", "framecrc").flag("pipe:1");
    list.0
}

/// Decodes a Chunk of `frames` frames.
/// # Errors
/// [`Error`]: encode the Segment again.
pub async fn decode(
    ffmpeg: &Ffmpeg,
    chunk: &Path,
    frames: u64,
    depth: Depth,
) -> Result<Decoded, Error> {
    let invocation = Invocation::new(args(chunk, depth, 1)).with_stdout();
    let child = run::spawn(&ffmpeg.path, invocation)
        .await
        .map_err(Box::new)?;
    let mut seen = vec![];
    let finished = child
        .wait_lines(
            |line| {
                if let Some(Item::Packet(line)) = framecrc::read(line) {
                    seen.push(line.checksum);
                }
            },
            |_| {},
        )
        .await
        .map_err(Box::new)?;
    judge(frames, depth, seen.len() as u64, &finished.stderr_tail)?;
    Ok(Decoded {
        frames: seen,
        usage: finished.usage,
    })
}

/// Whether what came out will do. Pure.
fn judge(expected: u64, depth: Depth, found: u64, stderr: &str) -> Result<(), Error> {
    if let Some(line) = complaint(stderr) {
        return Err(Error::Damaged {
            line: line.to_owned(),
        });
    }
    let enough = match depth {
        Depth::Full => found == expected,
        Depth::Sample => (1..=expected).contains(&found),
    };
    if enough {
        Ok(())
    } else {
        Err(Error::Count { expected, found })
    }
}

/// The first error line of a log that was asked for with `-loglevel level+...`.
pub fn complaint(stderr: &str) -> Option<&str> {
    stderr
        .lines()
        .find(|l| {
            ["[error]", "[fatal]", "[panic]"]
                .iter()
                .any(|t| l.contains(t))
        })
        .map(run::without_prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_judged_by_its_frames_and_by_what_the_decoder_says() {
        assert!(judge(10, Depth::Full, 10, "").is_ok());
        assert!(matches!(
            judge(10, Depth::Full, 9, ""),
            Err(Error::Count { found: 9, .. })
        ));
        assert!(judge(10, Depth::Sample, 1, "[h264 @ 0x1] [warning] odd").is_ok());
        assert!(judge(10, Depth::Sample, 0, "").is_err());
        let log = "[h264 @ 0x1] [error] Invalid NAL unit size (-1 > 551).\nmore";
        let error = judge(10, Depth::Full, 10, log).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the encoded chunk does not decode cleanly: Invalid NAL unit size (-1 > 551)."
        );
    }

    #[tokio::test]
    async fn a_whole_chunk_passes_and_a_damaged_one_does_not() {
        let Ok(ffmpeg) = crate::toolchain::find(None) else {
            eprintln!("NOT TESTED: there is no ffmpeg here");
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let chunk = dir.path().join("chunk.mp4");
        let mut make: Vec<OsString> =
            "-y -f lavfi -i testsrc2=s=320x180:r=25:d=2 -c:v libx264 -preset ultrafast -g 20 -threads 1"
                .split(' ')
                .map(Into::into)
                .collect();
        make.push(chunk.clone().into());
        run::run(&ffmpeg.path, Invocation::new(make)).await.unwrap();
        let full = decode(&ffmpeg, &chunk, 50, Depth::Full).await.unwrap();
        assert_eq!(full.frames.len(), 50);
        let sample = decode(&ffmpeg, &chunk, 50, Depth::Sample).await.unwrap();
        assert_eq!(
            sample.frames,
            [full.frames[0], full.frames[20], full.frames[40]]
        );
        assert!(decode(&ffmpeg, &chunk, 51, Depth::Full).await.is_err());
        let mut bytes = std::fs::read(&chunk).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 2000].fill(0xff);
        std::fs::write(&chunk, &bytes).unwrap();
        assert!(decode(&ffmpeg, &chunk, 50, Depth::Full).await.is_err());
    }
}
