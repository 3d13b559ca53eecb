//! One Segment in one or several Renditions from one decode, with the signature of every decoded frame on stdout and,
//! where asked for, scores from the same process.

use super::encoder::{self, Setting, Threads};
use super::graph::{self, Path, Reference};
use super::list::List;
use super::origin;
use super::{Clock, Input, Span};
use crate::verify::{self, Grade};
use recode_types::Engine;
use recode_types::pixels::Pixels;
use recode_types::rendition::{Codec, Deinterlace, Knob, Rendition};
use recode_types::score::Metric;
use recode_types::source::{Color, VideoFacts};
use recode_types::time::{Rational, TimeBase};
use std::ffi::OsString;
use std::path::PathBuf;

/// Least time between two fragments of a Chunk that can be read while it is written, in microseconds.
const LEAST_FRAGMENT_US: u32 = 250_000;

/// Everything that decides the argument list of an encode.
#[derive(Clone, Debug)]
pub struct EncodeArgs<'a> {
    /// What to decode.
    pub input: Input,
    /// Which frames to encode.
    pub span: Span,
    /// Time base of the decoded frames: the clip's, or the frame table's.
    pub time_base: TimeBase,
    /// Ticks to add to the input's timestamps to reach the Output's timeline. Only a change of the frame rate looks at
    /// it, so that all Segments share one phase.
    pub shift: i64,
    /// The Source's video.
    pub video: &'a VideoFacts,
    /// How many frames are wanted.
    pub frames: u64,
    /// What to make; at least one.
    pub outputs: Vec<EncodeOutput<'a>>,
    /// Score in the same process. Needs [`crate::toolchain::Ffmpeg::has_loopback_decoder`].
    pub score: Option<FusedScore>,
    /// Decode what was encoded in the same process. Needs the same; has nothing to add where `score` is there.
    pub check: Option<FusedCheck>,
    /// Chunks can be read while they are written: each group of pictures is in its file as soon as it is whole.
    pub growing: bool,
    /// Release series of FFmpeg.
    pub major: u32,
}

/// One Rendition of an encode.
#[derive(Clone, Debug)]
pub struct EncodeOutput<'a> {
    /// The encoding.
    pub rendition: &'a Rendition,
    /// Quality and peak of this Chunk.
    pub knob: Knob,
    /// Planned picture size.
    pub size: (u32, u32),
    /// Where the Chunk goes.
    pub path: PathBuf,
}

/// Scoring in the process that encodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FusedScore {
    /// What to measure.
    pub metrics: Vec<Metric>,
    /// One log file per output. The first line of frames is context where [`Span::neighbours`] has a frame before, and
    /// the last where it has one after: the reader of the log drops them.
    pub logs: Vec<PathBuf>,
}

/// Decoding in the process that encodes: [`crate::verify`] reads the logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FusedCheck {
    /// How much is decoded. All of it is also compared with the pictures that entered the encoder.
    pub grade: Grade,
    /// One log file per output.
    pub logs: Vec<PathBuf>,
}

impl EncodeArgs<'_> {
    /// Muxer of a Chunk: MP4, or MOV for ProRes, which MP4 has no code for.
    pub fn chunk_muxer(codec: Codec) -> &'static str {
        match codec {
            Codec::Prores => "mov",
            _ => "mp4",
        }
    }

    /// Frames that output `i` will have: as many as are wanted, unless the frame rate changes. `None` where only the run itself
    /// shows it (the last Segment at a changed rate).
    pub fn output_frames(&self, i: usize) -> Option<u64> {
        let Some(fps) = self.outputs[i].rendition.fps else {
            return Some(self.frames);
        };
        let grid = |pts| graph::on_grid(pts + self.shift, self.time_base, fps);
        let (start, after) = self.span.shown();
        Some((grid(after?) - grid(start)).unsigned_abs())
    }

    /// The argument list.
    /// # Errors
    /// [`encoder::Error`]: a Rendition its encoder cannot make.
    pub fn build(&self) -> Result<Vec<OsString>, encoder::Error> {
        let mut list = List::default();
        list.opt("-loglevel", "level+warning").flag("-y");
        // Graphs of their own would each bring a pool of threads; one core is all a Chunk has.
        list.opt("-filter_threads", 1);
        list.opt("-filter_complex_threads", 1);
        encoder::push_device(&mut list, self.outputs.iter().map(|o| o.rendition));
        if self.input.clock == Clock::Stored {
            list.flag("-copyts");
        }
        list.opt("-threads", self.input.threads);
        if let Some(demuxer) = self.input.demuxer {
            list.opt("-f", demuxer);
        }
        // A picture that changes its size on the way is scaled, rather than the graph started anew: a new graph would
        // forget which frame it is at.
        list.opt("-reinit_filter", 0);
        list.input(&self.input.path);
        let formats: Vec<Option<String>> = self
            .outputs
            .iter()
            .map(|o| encoder::pixel_format(o.rendition, &self.video.pix_fmt))
            .collect();
        let rates: Vec<Rational> = self.outputs.iter().map(|o| self.rate(o)).collect();
        let paths: Vec<Path<'_>> = self
            .outputs
            .iter()
            .enumerate()
            .map(|(i, o)| Path {
                color: color(self.video),
                deinterlace: o.rendition.deinterlace,
                fps: o.rendition.fps,
                size: o.size,
                aspect: aspect(self.video, o.size),
                format: formats[i].as_deref(),
                even: self.is_even(o).then(|| (rates[i], self.ticks(o, rates[i]))),
                fields: fields(self.video, o.rendition),
                reference: self.reference(),
                upload: encoder::upload(o.rendition),
            })
            .collect();
        let from = graph::From {
            input: &self.input,
            time_base: self.time_base,
            span: self.span,
            shift: self.shift,
        };
        for graph in graph::graphs(&from, true, &paths) {
            list.opt("-filter_complex", graph);
        }
        for (i, output) in self.outputs.iter().enumerate() {
            list.opt("-map", format!("[v{i}]"));
            let ticks = self.ticks(output, rates[i]);
            encoder::push(
                &mut list,
                &Setting {
                    rendition: output.rendition,
                    knob: Some(output.knob),
                    video: self.video,
                    rate: rates[i],
                    major: self.major,
                    threads: Threads::One,
                    frames: self.output_frames(i),
                },
            )?;
            // Engines are told a rate, which FFmpeg allows with constant steps only. They are constant already.
            let told = Engine::of_encoder(&output.rendition.encoder).is_some();
            list.opt("-fps_mode", if told { "cfr" } else { "passthrough" });
            list.opt("-enc_time_base", format!("{}:{}", ticks.num, ticks.den));
            list.opt("-fflags", "+bitexact");
            // A time code among the Source's tags would become a track of the Chunk.
            list.opt("-map_metadata", -1);
            if self.growing {
                list.opt("-movflags", "+frag_keyframe+empty_moov+default_base_moof");
                // Where every frame is a key frame, a fragment for each would be many.
                list.opt("-min_frag_duration", LEAST_FRAGMENT_US);
                list.opt("-flush_packets", 1);
            }
            list.opt("-f", Self::chunk_muxer(output.rendition.codec));
            list.file(&output.path);
        }
        list.opt("-map", "[sig]");
        list.opt("-fps_mode", "passthrough");
        let ticks = self.time_base;
        list.opt("-enc_time_base", format!("{}:{}", ticks.num, ticks.den));
        if self.growing {
            // Who reads along wants to know what went in.
            list.opt("-flush_packets", 1);
        }
        list.opt("-f", "framecrc").flag("pipe:1");
        if self.input.clock == Clock::Plain {
            origin::pin(&mut list, 0);
        }
        if let Some(score) = &self.score {
            self.push_score(&mut list, score);
        } else if let Some(check) = &self.check {
            self.push_check(&mut list, check);
        }
        Ok(list.0)
    }

    fn reference(&self) -> Reference {
        match (&self.score, &self.check) {
            (Some(_), _) => Reference::Wide,
            (None, Some(check)) if check.grade == Grade::Full => Reference::Exact,
            _ => Reference::None,
        }
    }

    /// The frame rate an output's encoder is told.
    fn rate(&self, output: &EncodeOutput<'_>) -> Rational {
        let rate = output.rendition.fps.unwrap_or(self.video.frame_rate);
        let rate = if rate.num > 0 {
            rate
        } else {
            Rational::new(25, 1)
        };
        match output.rendition.codec {
            Codec::Mpeg2 => encoder::mpeg2_rate(rate),
            _ => rate,
        }
    }

    /// Time base of an output's encoder. Chunks of one Output may be read by time or by counting, and encoders write the
    /// time base into their parameter sets, so both count in the table's ticks wherever those tell frames apart.
    fn ticks(&self, output: &EncodeOutput<'_>, rate: Rational) -> TimeBase {
        let coarse = self.time_base.num * rate.num > self.time_base.den * rate.den;
        let constant = output.rendition.counts_frames() || output.rendition.fps.is_some();
        if constant || (coarse && self.is_even(output)) {
            Rational::new(rate.den, rate.num)
        } else {
            self.time_base
        }
    }

    /// Whether frames reach the encoder evenly spaced instead of at their own times. The Output's timestamps come from
    /// the frame table either way.
    fn is_even(&self, output: &EncodeOutput<'_>) -> bool {
        // A Source read by counting has timestamps an encoder may refuse.
        output.rendition.counts_frames() || matches!(self.span, Span::Ordinal { .. })
    }

    fn push_check(&self, list: &mut List, check: &FusedCheck) {
        for (i, (output, log)) in self.outputs.iter().zip(&check.logs).enumerate() {
            list.opt("-threads", 1);
            if check.grade == Grade::Sample && !verify::decodes_whole(output.rendition.codec) {
                list.opt("-skip_frame", "nokey");
            }
            // Damage is an error here, not something to paint over.
            list.opt("-err_detect", "explode");
            list.opt("-dec", format!("{i}:0"));
            let graph = match check.grade {
                // Small, so that the checksum costs less than the decode.
                Grade::Sample => {
                    format!("[dec:{i}]scale=64:36:flags=neighbor,format=gray[k{i}]")
                }
                // Averages of what each part of the picture shows: hardly any loss of an encode reaches them.
                Grade::Full => format!(
                    "[dec:{i}]scale=64:36:flags=area,format=gray,settb=1/1000,setpts=N[m{i}];\
                     [r{i}]scale=64:36:flags=area,format=gray,settb=1/1000,setpts=N[q{i}];\
                     [m{i}][q{i}]psnr=shortest=1:stats_file={}[k{i}]",
                    escape(&log.to_string_lossy())
                ),
            };
            list.opt("-filter_complex", graph);
            list.opt("-map", format!("[k{i}]"));
            list.opt("-fps_mode", "passthrough");
            match check.grade {
                Grade::Sample => list.opt("-f", "framecrc").file(log),
                Grade::Full => list
                    .opt("-c:v", "wrapped_avframe")
                    .opt("-f", "null")
                    .flag("-"),
            };
        }
    }

    fn push_score(&self, list: &mut List, score: &FusedScore) {
        let (before, after) = self.span.neighbours();
        for (i, log) in score.logs.iter().enumerate() {
            list.opt("-threads", 1);
            list.opt("-dec", format!("{i}:0"));
            // Context exists on the reference side only: all features but motion look at one frame, and motion looks at
            // the reference. Frames are paired by number.
            let pad = match (before, after) {
                (false, false) => String::new(),
                _ => format!(
                    "tpad=start={}:stop={}:start_mode=clone:stop_mode=clone,",
                    u8::from(before),
                    u8::from(after)
                ),
            };
            list.opt(
                "-filter_complex",
                format!(
                    "[dec:{i}]{pad}settb=1/1000,setpts=N[m{i}];[r{i}]settb=1/1000,setpts=N[q{i}];[m{i}][q{i}]{}[o{i}]",
                    libvmaf(&score.metrics, log)
                ),
            );
            list.opt("-map", format!("[o{i}]"));
            list.opt("-fps_mode", "passthrough");
            list.opt("-c:v", "wrapped_avframe");
            list.opt("-f", "null").flag("-");
        }
    }
}

/// What frames are marked as where a Chunk says of all what its first frame was marked as. A telecined film changes that on the way,
/// and Chunks would not fit together. H.264 says it of each picture.
fn fields(video: &VideoFacts, rendition: &Rendition) -> Option<&'static str> {
    if rendition.codec == Codec::H264 {
        return None;
    }
    let woven = video
        .interlaced_top_first
        .filter(|_| rendition.deinterlace == Deinterlace::Off);
    Some(match woven {
        Some(true) => "tff",
        Some(false) => "bff",
        None => "prog",
    })
}

/// What all frames are marked with, as parameter sets say it of a whole Chunk: a Source of several parts may change it on the way. What
/// is red, green and blue is converted, which follows what its frames say.
fn color(video: &VideoFacts) -> Option<&Color> {
    let color = video.color.as_ref();
    color.filter(|_| !Pixels::of(&video.pix_fmt).rgb)
}

/// The shape of a pixel when the Source's first picture is shown at another size; 0/1 where it is unknown.
fn aspect(video: &VideoFacts, (width, height): (u32, u32)) -> Rational {
    let from = video.sample_aspect;
    if from.num <= 0 || from.den <= 0 || video.height == 0 || width == 0 {
        return Rational::new(0, 1);
    }
    Rational::new(
        from.num * i64::from(video.width) * i64::from(height),
        from.den * i64::from(video.height) * i64::from(width),
    )
    .reduced()
}

/// The scoring filter. libvmaf always computes VMAF; the others are further features.
pub(crate) fn libvmaf(metrics: &[Metric], log: &std::path::Path) -> String {
    let features: Vec<&str> = metrics
        .iter()
        .filter_map(|m| match m {
            Metric::Vmaf => None,
            Metric::Psnr => Some("name=psnr"),
            Metric::Ssim => Some("name=float_ssim"),
            Metric::MsSsim => Some("name=float_ms_ssim"),
        })
        .collect();
    let mut filter = format!(
        "libvmaf=log_fmt=json:n_threads=1:model='version=vmaf_v0.6.1':log_path={}",
        escape(&log.to_string_lossy())
    );
    if !features.is_empty() {
        filter += &format!(":feature='{}'", features.join("|"));
    }
    filter
}

/// Escapes a value for use inside a filter graph: once for the option, once for the graph.
fn escape(value: &str) -> String {
    let once: String = value.chars().fold(String::new(), |mut out, c| {
        if matches!(c, '\\' | '\'' | ':') {
            out.push('\\');
        }
        out.push(c);
        out
    });
    once.chars().fold(String::new(), |mut out, c| {
        if matches!(c, '\\' | '\'' | '[' | ']' | ',' | ';') {
            out.push('\\');
        }
        out.push(c);
        out
    })
}

#[cfg(test)]
pub(crate) mod tests;
