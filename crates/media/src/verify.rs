//! Whether a Chunk decodes, and to what. Evidence before acceptance.
//!
//! Two [`Grade`]s, and two ways. An FFmpeg with loop-back decoders decodes in the process that encodes, which costs next to
//! nothing ([`judge_log`] reads what it wrote); for older ones [`decode`] starts a process of its own.

use crate::args::list::List;
use crate::parse::framecrc::{self, Item};
use crate::run::{self, ChildUsage, Invocation};
use crate::toolchain::Ffmpeg;
use recode_types::rendition::Codec;
use recode_types::task::{Failure, FailureClass};
use std::ffi::OsString;
use std::path::Path;

/// What a Chunk is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// The key frames decode, each of them.
    Sample,
    /// Every frame decodes, to the picture that was encoded.
    Full,
}

/// Whether the decoder of a codec cannot leave frames out: a sample would cost it more than the whole.
pub fn decodes_whole(codec: Codec) -> bool {
    codec == Codec::Vp9
}

/// How alike a decoded frame and its original must be when both are averaged to 64x36 grey: PSNR in dB. The coarsest
/// quantiser leaves 20 dB and more; pictures that have nothing to do with each other have about 10.
const LEAST_LIKENESS_DB: f64 = 15.0;

/// Judges what the loop-back decoder wrote: of a sample, one framecrc line for each of `expected` frames; of all, one line
/// of the `psnr` filter's.
/// # Errors
/// [`Error`]: encode the Segment again.
pub fn judge_log(log: &str, grade: Grade, expected: u64) -> Result<(), Error> {
    let found = match grade {
        Grade::Sample => log
            .lines()
            .filter(|line| matches!(framecrc::read(line), Some(Item::Packet(_))))
            .count(),
        Grade::Full => {
            let mut found = 0;
            for line in log.lines() {
                let Some(likeness) = line.split(' ').find_map(|f| f.strip_prefix("psnr_avg:"))
                else {
                    continue;
                };
                // Of equal pictures: `inf`.
                let unlike = likeness
                    .parse::<f64>()
                    .is_ok_and(|db| db < LEAST_LIKENESS_DB);
                if unlike {
                    return Err(Error::Unlike {
                        frame: found as u64,
                        likeness: likeness.to_owned(),
                    });
                }
                found += 1;
            }
            found
        }
    } as u64;
    if found == expected {
        Ok(())
    } else {
        Err(Error::Count { expected, found })
    }
}

/// How much [`decode`] decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Every key frame, and from the last one on all frames that others refer to: the first and the last frames and a
    /// sample between.
    Sample {
        /// When the last key frame is shown, in microseconds from the first frame. `None`: so many frames follow it that
        /// decoding them would cost several percent of the encode; the key frames have to do.
        last_key_us: Option<i64>,
    },
    /// Every frame.
    Full,
}

impl Depth {
    /// Whether key frames and the end are decoded apart.
    fn is_split(self) -> bool {
        matches!(self, Self::Sample { last_key_us: Some(us) } if us != 0)
    }
}

impl Depth {
    /// The sample that a Chunk gets for about a percent of its encode. `last_key`: when the last key frame is shown, in
    /// microseconds from the first frame, and how many frames follow it.
    pub fn sample((last_key_us, following): (i64, usize)) -> Self {
        let cheap = following < MOST_END_FRAMES;
        Self::Sample {
            last_key_us: cheap.then_some(last_key_us),
        }
    }
}

/// Frames after the last key frame that are still decoded. Half of x264's are not referred to, and decoding one costs 7 %
/// of its encode at preset medium: of a Segment of 8 s this is half a percent.
const MOST_END_FRAMES: usize = 24;

/// Added to the time of a key frame that is sought: seeking rounds, and no two frames are as close as this.
const SEEK_MARGIN_US: i64 = 500;

/// What a Chunk decoded to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Frames that came out, in order: checksum of each. Of a sample, the key frames.
    pub frames: Vec<u32>,
    /// Frames that came out from the last key frame on; of a sample only, else all.
    pub end: u64,
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
    /// A frame decodes to something else than what was encoded.
    #[error(
        "frame {frame} of the encoded chunk does not show what was encoded (likeness {likeness} dB)"
    )]
    Unlike {
        /// Counted from 0.
        frame: u64,
        /// PSNR of the two when averaged to 64x36, in dB.
        likeness: String,
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

/// The argument list. Stream 0 of its output is the whole, stream 1 the end of a sample.
fn args(chunk: &Path, depth: Depth, threads: u32) -> Vec<OsString> {
    let mut list = List::default();
    list.opt("-loglevel", "level+error");
    list.opt("-filter_threads", 1);
    let mut input = |skip: Option<&str>, from_us: Option<i64>| {
        list.opt("-threads", threads);
        if let Some(skip) = skip {
            list.opt("-skip_frame", skip);
        }
        // Damage is an error here, not something to paint over.
        list.opt("-err_detect", "explode");
        if let Some(from) = from_us {
            // A demuxer that seeks a little later than asked for must not miss the key frame.
            list.opt("-ss", format!("{}us", from + SEEK_MARGIN_US));
            list.flag("-noaccurate_seek");
        }
        list.input(chunk);
    };
    match depth {
        Depth::Full => input(None, None),
        Depth::Sample { last_key_us: None } => input(Some("nokey"), None),
        // The only key frame is the first: the end is all there is.
        Depth::Sample {
            last_key_us: Some(0),
        } => input(Some("noref"), None),
        Depth::Sample { last_key_us } => {
            input(Some("nokey"), None);
            input(Some("noref"), last_key_us);
        }
    }
    list.opt("-map", "0:v:0");
    if depth.is_split() {
        list.opt("-map", "1:v:0");
    }
    list.opt("-fps_mode", "passthrough");
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
    let invocation = Invocation::new(args(chunk, depth, 1))
        .reading(chunk)
        .with_stdout();
    let child = run::spawn(ffmpeg, invocation).await.map_err(Box::new)?;
    let (mut seen, mut end) = (vec![], 0);
    let finished = child
        .wait_lines(
            |line| {
                if let Some(Item::Packet(line)) = framecrc::read(line) {
                    seen.push(line.checksum);
                }
                end += u64::from(line.starts_with("1,"));
            },
            |_| {},
        )
        .await
        .map_err(Box::new)?;
    if !depth.is_split() {
        end = seen.len() as u64;
    }
    judge(frames, depth, seen.len() as u64, end, &finished.stderr_tail)?;
    Ok(Decoded {
        frames: seen,
        end,
        usage: finished.usage,
    })
}

/// Whether what came out will do. Pure.
fn judge(expected: u64, depth: Depth, found: u64, end: u64, stderr: &str) -> Result<(), Error> {
    if let Some(line) = complaint(stderr) {
        return Err(Error::Damaged {
            line: line.to_owned(),
        });
    }
    let enough = match depth {
        Depth::Full => found == expected,
        Depth::Sample { .. } => (1..=expected).contains(&found) && (1..=expected).contains(&end),
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
        assert!(judge(10, Depth::Full, 10, 0, "").is_ok());
        assert!(matches!(
            judge(10, Depth::Full, 9, 0, ""),
            Err(Error::Count { found: 9, .. })
        ));
        let sample = Depth::Sample {
            last_key_us: Some(0),
        };
        assert!(judge(10, sample, 1, 1, "[h264 @ 0x1] [warning] odd").is_ok());
        assert!(judge(10, sample, 0, 1, "").is_err());
        assert!(judge(10, sample, 1, 0, "").is_err());
        let log = "[h264 @ 0x1] [error] Invalid NAL unit size (-1 > 551).\nmore";
        let error = judge(10, Depth::Full, 10, 0, log).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the encoded chunk does not decode cleanly: Invalid NAL unit size (-1 > 551)."
        );
    }

    #[test]
    fn the_log_of_a_loop_back_decoder_is_judged_frame_by_frame() {
        let keys = "#tb 0: 1/25\n0, 0, 0, 1, 2304, 0xbfd6718e\n0, 50, 50, 1, 2304, 0xbc6155f3\n";
        assert!(judge_log(keys, Grade::Sample, 2).is_ok());
        assert!(matches!(
            judge_log(keys, Grade::Sample, 3),
            Err(Error::Count { found: 2, .. })
        ));
        let all = "n:1 mse_avg:0.00 mse_y:0.00 psnr_avg:inf psnr_y:inf \n\
                   n:2 mse_avg:26.00 mse_y:26.00 psnr_avg:33.98 psnr_y:33.98 \n";
        assert!(judge_log(all, Grade::Full, 2).is_ok());
        assert!(judge_log(all, Grade::Full, 3).is_err());
        let other = all.replace("33.98", "9.10");
        assert!(matches!(
            judge_log(&other, Grade::Full, 2),
            Err(Error::Unlike { frame: 1, .. })
        ));
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
        run::run(&ffmpeg, Invocation::new(make)).await.unwrap();
        let full = decode(&ffmpeg, &chunk, 50, Depth::Full).await.unwrap();
        assert_eq!(full.frames.len(), 50);
        let depth = Depth::Sample {
            last_key_us: Some(1_600_000),
        };
        let sample = decode(&ffmpeg, &chunk, 50, depth).await.unwrap();
        assert_eq!(
            sample.frames,
            [full.frames[0], full.frames[20], full.frames[40]]
        );
        // No B-frames at this preset: all ten from the last key frame on.
        assert_eq!(sample.end, 10);
        assert!(decode(&ffmpeg, &chunk, 51, Depth::Full).await.is_err());
        // The last frame is no key frame, and its damage is seen all the same.
        let index = crate::mp4::read_chunk(&chunk).unwrap();
        let last = index.samples.last().unwrap();
        let whole = std::fs::read(&chunk).unwrap();
        let mut bytes = whole.clone();
        let body = last.offset as usize + 8..last.offset as usize + last.size as usize;
        bytes[body].fill(0);
        std::fs::write(&chunk, &bytes).unwrap();
        assert!(decode(&ffmpeg, &chunk, 50, depth).await.is_err());
        std::fs::write(&chunk, &whole).unwrap();
        let mut bytes = std::fs::read(&chunk).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 2000].fill(0xff);
        std::fs::write(&chunk, &bytes).unwrap();
        assert!(decode(&ffmpeg, &chunk, 50, Depth::Full).await.is_err());
    }
}
