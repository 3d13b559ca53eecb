//! Learning about a Source by asking FFmpeg: what it is, where its frames are, what they look like. No ffprobe needed.

use crate::args::list::List;
use crate::args::origin;
use crate::memory;
use crate::parse::banner::{Banner, tag};
use crate::parse::framecrc::{self, Item};
use crate::parse::progress::Progress;
use crate::parse::showinfo::Shown;
use crate::run::{self, ChildUsage, Invocation};
use crate::toolchain::Ffmpeg;
use recode_types::Color;
use recode_types::source::TrackKind;
use recode_types::table::{FrameRow, FrameTable};
use recode_types::task::{Failure, FailureClass};
use recode_types::time::{Rational, TimeBase};
use std::path::Path;
use std::time::Duration;
use tokio::process::ChildStdin;

mod damage;
mod packets;

pub use damage::{mark_damage, may_be_damaged};
pub use packets::{Packet, are_sane};

/// Bytes of FFmpeg's log that are looked at.
const LOG_BYTES: usize = 8 << 20;
/// What FFmpeg says of a format that is not among those it was told to read.
const NOT_READ: &str = "Format not on whitelist";
/// Frames that are decoded to see what they look like.
const FRAMES: u32 = 4;

/// Why a Source cannot be probed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// FFmpeg cannot open it.
    #[error(
        "the source cannot be opened as video: {reason}; check that it is a media file and was copied completely"
    )]
    CannotOpen {
        /// FFmpeg's reason.
        reason: String,
        /// The last lines FFmpeg printed.
        stderr_tail: String,
    },
    /// It has a video stream, but no frame of it can be decoded.
    #[error("no frame of the video can be decoded: {reason}")]
    NoFrame {
        /// FFmpeg's reason.
        reason: String,
        /// The last lines FFmpeg printed.
        stderr_tail: String,
    },
    /// FFmpeg failed otherwise.
    #[error(transparent)]
    Run(#[from] Box<run::Error>),
}

impl From<run::Error> for Error {
    fn from(e: run::Error) -> Self {
        Self::Run(Box::new(e))
    }
}

impl Error {
    /// As the outcome of an Attempt.
    pub fn failure(&self) -> Failure {
        match self {
            Self::CannotOpen { stderr_tail, .. } | Self::NoFrame { stderr_tail, .. } => Failure {
                class: FailureClass::BadInput,
                message: self.to_string(),
                stderr_tail: Some(stderr_tail.clone()),
            },
            Self::Run(e) => e.failure.clone(),
        }
    }
}

/// What one short run showed.
#[derive(Clone, Debug)]
pub struct Prelude {
    /// What the container says.
    pub banner: Banner,
    /// The main video; `None`: there is no picture but at most a cover.
    pub picture: Option<Picture>,
    /// What the run used.
    pub usage: ChildUsage,
}

/// What decoding the first frames of the main video showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// FFmpeg's stream index.
    pub track: u32,
    /// FFmpeg's codec name.
    pub codec: String,
    /// Size after FFmpeg has turned the picture upright.
    pub width: u32,
    /// See `width`.
    pub height: u32,
    /// Pixel format.
    pub pix_fmt: String,
    /// Sample aspect ratio after turning; 0/1 where unknown.
    pub sample_aspect: Rational,
    /// `Some(true)`: interlaced, top field first.
    pub interlaced_top_first: Option<bool>,
    /// Time base of decoded frames.
    pub time_base: TimeBase,
    /// Frame rate as FFmpeg guesses it; 25/1 where it guesses none, as FFmpeg itself assumes.
    pub frame_rate: Rational,
    /// PTS of the first frame on the plain timeline.
    pub first_pts: Option<i64>,
    /// Dolby Vision profile, from the container or the frames (then 0).
    pub dolby_vision_profile: Option<u32>,
    /// HDR10+ metadata on frames.
    pub hdr10_plus: bool,
    /// Mastering display or light level.
    pub hdr10_static: bool,
    /// CEA-608/708 captions on frames.
    pub captions: bool,
    /// An alpha plane beside the pictures.
    pub alpha: bool,
    /// What the first frame says of its colours.
    pub color: Option<Color>,
}

/// Opens a Source and decodes its first frames, in one run.
/// # Errors
/// [`Error`]; a Source without any picture is no error here.
pub async fn prelude(ffmpeg: &Ffmpeg, source: &Path) -> Result<Prelude, Error> {
    let mut list = List::default();
    list.opt("-threads", 1).input(source);
    // `V` leaves covers out.
    list.opt("-map", "0:V:0?");
    list.opt("-vf", "showinfo=checksum=0")
        .opt("-frames:v", FRAMES);
    list.opt("-fps_mode", "passthrough");
    list.opt("-f", "null").flag("-");
    let invocation = Invocation::new(list.0).reading(source);
    let ended = run::run(ffmpeg, invocation.with_stderr(LOG_BYTES)).await;
    let (log, usage, failed) = match ended {
        Ok(finished) => (finished.stderr, finished.usage, None),
        Err(e) => (e.stderr.clone(), e.usage, Some(e)),
    };
    // Killed, hung, not started: that says nothing about the Source.
    if let Some(e) = &failed
        && e.status.is_none_or(|s| s.code().is_none())
    {
        return Err(failed.expect("looked at above").into());
    }
    let reason = |e: &Option<run::Error>| {
        let e = e.as_ref().map(|e| &e.failure);
        (
            e.map_or("ffmpeg decoded nothing", |f| {
                f.message.trim_start_matches("ffmpeg failed: ")
            })
            .to_owned(),
            e.and_then(|f| f.stderr_tail.clone()).unwrap_or_default(),
        )
    };
    let Some(banner) = Banner::parse(&log) else {
        if log.contains(NOT_READ) {
            return Err(Error::CannotOpen {
                reason: "it is a playlist, a script or another list of files, or of a format that recode does not read"
                    .to_owned(),
                stderr_tail: String::new(),
            });
        }
        let (reason, stderr_tail) = reason(&failed);
        return Err(Error::CannotOpen {
            reason,
            stderr_tail,
        });
    };
    let moving = |t: &&recode_types::Track| t.kind == TrackKind::Video && !t.attached_pic;
    // Where nothing is mapped, FFmpeg chooses by itself: a cover, too.
    let is_main = |shown: &Shown| {
        let found = banner.tracks.iter().find(|t| t.index == shown.track);
        found.is_none_or(|t| moving(&t))
    };
    let picture = match Shown::parse(&log).filter(is_main) {
        Some(shown) => Some(picture(&banner, &shown)),
        None if banner.tracks.iter().any(|t| moving(&t)) => {
            let (reason, stderr_tail) = reason(&failed);
            return Err(Error::NoFrame {
                reason,
                stderr_tail,
            });
        }
        None => None,
    };
    Ok(Prelude {
        banner,
        picture,
        usage,
    })
}

/// Puts together what the container and the frames say. Pure.
fn picture(banner: &Banner, shown: &Shown) -> Picture {
    let first = &shown.frames[0];
    let track = banner.tracks.iter().find(|t| t.index == shown.track);
    let side = banner.side_data.get(&shown.track);
    let any = |names: &[&str]| {
        shown.frames.iter().any(|f| f.has(names))
            || side
                .into_iter()
                .flatten()
                .any(|s| names.iter().any(|n| s.to_ascii_lowercase().starts_with(n)))
    };
    let declared = side.into_iter().flatten().find_map(|s| {
        let record = s.strip_prefix("DOVI configuration record:")?;
        let (_, profile) = record.split_once("profile: ")?;
        profile.split(',').next()?.trim().parse::<u32>().ok()
    });
    let rate = shown.frame_rate;
    Picture {
        track: shown.track,
        codec: track.map_or_else(String::new, |t| t.codec.clone()),
        width: first.size.0,
        height: first.size.1,
        pix_fmt: first.pix_fmt.clone(),
        sample_aspect: first.sample_aspect,
        interlaced_top_first: shown.frames.iter().find_map(|f| f.interlaced_top_first),
        time_base: shown.time_base,
        frame_rate: if rate.num > 0 {
            rate
        } else {
            Rational::new(25, 1)
        },
        first_pts: first.pts,
        dolby_vision_profile: declared.or_else(|| any(&["dolby vision"]).then_some(0)),
        hdr10_plus: any(&["hdr10+", "hdr dynamic metadata smpte2094-40"]),
        hdr10_static: any(&["mastering display", "content light level"]),
        captions: any(&["atsc a53", "a/53 closed captions"]),
        alpha: track.is_some_and(|t| tag(&t.tags, "alpha_mode").is_some_and(|v| v == "1")),
        color: first.color.clone(),
    }
}

/// Lists the packets of one video stream without decoding, on the plain timeline. Reads the whole Source.
/// # Errors
/// [`Error::Run`]
pub async fn scan_packets(
    ffmpeg: &Ffmpeg,
    source: &Path,
    stream: u32,
    on_progress: impl FnMut(Progress),
) -> Result<(TimeBase, Vec<Packet>, ChildUsage), Error> {
    let mut list = List::default();
    list.opt("-loglevel", "level+error").input(source);
    list_packets(&mut list, stream);
    let invocation = Invocation::new(list.0).reading(source);
    let child = run::spawn(ffmpeg, invocation.with_stdout()).await?;
    listed(child, on_progress).await
}

/// As [`scan_packets`], of an MPEG-TS that `feed` writes into a pipe. `patience`: how long it may write nothing. Returns what
/// `feed` does as well.
/// # Errors
/// [`Error::Run`]
pub async fn scan_piped<F: Future>(
    ffmpeg: &Ffmpeg,
    stream: u32,
    patience: Duration,
    feed: impl FnOnce(ChildStdin) -> F,
) -> Result<(TimeBase, Vec<Packet>, ChildUsage, F::Output), Error> {
    let mut list = List::default();
    list.opt("-loglevel", "level+error").opt("-f", "mpegts");
    list.only_itself().opt("-i", "pipe:0");
    list_packets(&mut list, stream);
    let mut invocation = Invocation::new(list.0).with_stdin().with_stdout();
    invocation.patience = patience;
    let mut child = run::spawn(ffmpeg, invocation).await?;
    let stdin = child.stdin.take().expect("asked for");
    let (listed, fed) = tokio::join!(listed(child, |_| {}), feed(stdin));
    let (time_base, packets, usage) = listed?;
    Ok((time_base, packets, usage, fed))
}

fn list_packets(list: &mut List, stream: u32) {
    list.opt("-map", format!("0:{stream}")).opt("-c", "copy");
    list.opt("-f", "framecrc").flag("pipe:1");
    origin::pin(list, 0);
}

async fn listed(
    child: run::Child,
    on_progress: impl FnMut(Progress),
) -> Result<(TimeBase, Vec<Packet>, ChildUsage), Error> {
    let mut time_base = TimeBase::new(1, 90_000);
    let mut packets = vec![];
    let finished = child
        .wait_lines(
            |line| match framecrc::read(line) {
                Some(Item::TimeBase(base)) => time_base = base,
                Some(Item::Packet(line)) => packets.push(Packet::from(line)),
                None => {}
            },
            on_progress,
        )
        .await?;
    Ok((time_base, packets, finished.usage))
}

/// Decoder threads that FFmpeg gives itself on `cores` cores for a picture of `height` lines.
pub fn plain_threads(cores: usize, height: u32) -> u32 {
    const MOST: u32 = 16;
    match (cores as u32).min(height.div_ceil(16)) {
        0 | 1 => 1,
        cores => (cores + 1).min(MOST),
    }
}

/// What a full decode showed.
#[derive(Clone, Debug)]
pub struct DeepScan {
    /// The frames a plain FFmpeg process gets from the Source, each with its signature; only the first row is marked as
    /// a key frame, since decoding is the only way to reach the others.
    pub table: FrameTable,
    /// What the run used.
    pub usage: ChildUsage,
}

/// Decodes the Source from its start to its end as a plain FFmpeg process would, and lists every frame. `time_base` as
/// [`Picture::time_base`]. What is made of damage, even how many frames, depends on the number of `threads`: a plain
/// process has [`plain_threads`], an encode of a clip has one.
/// # Errors
/// [`Error::NoFrame`], [`Error::Run`]
pub async fn deep(
    ffmpeg: &Ffmpeg,
    source: &Path,
    stream: u32,
    time_base: TimeBase,
    threads: u32,
    on_progress: impl FnMut(Progress),
) -> Result<DeepScan, Error> {
    let mut list = List::default();
    list.opt("-loglevel", "level+error");
    list.opt("-threads", threads);
    list.opt("-filter_complex_threads", 1);
    list.opt("-reinit_filter", 0).input(source);
    let filter = "scale=64:36:flags=neighbor,format=gray";
    list.opt("-filter_complex", format!("[0:{stream}]{filter}[sig]"));
    list.opt("-map", "[sig]");
    list.opt("-fps_mode", "passthrough");
    list.opt(
        "-enc_time_base",
        format!("{}:{}", time_base.num, time_base.den),
    );
    list.opt("-f", "framecrc").flag("pipe:1");
    origin::pin(&mut list, 0);
    let mut invocation = Invocation::new(list.0).reading(source);
    invocation.need_bytes = memory::of_decode(threads);
    let child = run::spawn(ffmpeg, invocation.with_stdout()).await?;
    let mut rows = Rows::default();
    let finished = child
        .wait_lines(
            |line| {
                if let Some(Item::Packet(line)) = framecrc::read(line) {
                    rows.push(line.pts, line.duration, line.checksum);
                }
            },
            on_progress,
        )
        .await?;
    if rows.rows.is_empty() {
        return Err(Error::NoFrame {
            reason: "a decode of the whole source gave none".to_owned(),
            stderr_tail: finished.stderr_tail,
        });
    }
    Ok(DeepScan {
        table: rows.table(time_base),
        usage: finished.usage,
    })
}

/// Decoded frames in the order in which they came.
#[derive(Debug, Default)]
struct Rows {
    rows: Vec<FrameRow>,
    last_duration: i64,
}

impl Rows {
    /// A frame without a time, or one that repeats a time, comes a tick after the one before.
    fn push(&mut self, pts: Option<i64>, duration: i64, signature: u32) {
        let least = self.rows.last().map(|row| row.pts + 1);
        let pts = match (pts, least) {
            (Some(pts), Some(least)) => pts.max(least),
            (Some(pts), None) => pts,
            (None, least) => least.unwrap_or(0),
        };
        self.rows.push(FrameRow {
            pts,
            key: self.rows.is_empty(),
            signature: Some(signature),
        });
        self.last_duration = duration;
    }

    fn table(self, time_base: TimeBase) -> FrameTable {
        FrameTable {
            time_base,
            last_duration: self.last_duration.max(1),
            rows: self.rows,
        }
    }
}

/// Copies one video stream into an indexed file, on the plain timeline. MP4 where it has a place for the codec, since its
/// clock is exact; else Matroska.
/// # Errors
/// [`Error::Run`]: the container refuses the codec or the packets.
pub async fn rewrap(
    ffmpeg: &Ffmpeg,
    source: &Path,
    stream: u32,
    out: &Path,
    on_progress: impl FnMut(Progress),
) -> Result<ChildUsage, Error> {
    let mut list = List::default();
    list.opt("-loglevel", "level+error")
        .flag("-y")
        .input(source);
    list.opt("-map", format!("0:{stream}")).opt("-c", "copy");
    list.opt("-map_metadata", -1).opt("-map_chapters", -1);
    let matroska = out.extension().is_some_and(|e| e == "mkv");
    list.opt("-f", if matroska { "matroska" } else { "mp4" });
    list.file(out);
    origin::pin(&mut list, 0);
    let invocation = Invocation::new(list.0).reading(source).writing(out);
    let child = run::spawn(ffmpeg, invocation).await?;
    Ok(child.wait(on_progress).await?.usage)
}

/// The ending of the file that [`rewrap`] should write for a codec.
pub fn rewrap_ending(codec: &str) -> &'static str {
    match codec {
        "h264" | "hevc" | "av1" | "vp9" | "mpeg2video" | "mpeg1video" | "mpeg4" | "mjpeg" => "mp4",
        _ => "mkv",
    }
}

#[cfg(test)]
mod tests;
