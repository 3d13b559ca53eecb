//! One encoder on one sample: does it work, is what comes out the sample, how fast is it, what does it take.

use super::sample::{RATE, Sample};
use recode_media::args::encode::{EncodeArgs, EncodeOutput};
use recode_media::args::{Clock, Input, Span};
use recode_media::mp4::read_chunk;
use recode_media::run::{ChildUsage, Error, Invocation, Trouble, spawn, trouble};
use recode_media::toolchain::Ffmpeg;
use recode_types::rendition::{Codec, Deinterlace, Knob, Profile, Rendition, Scale};
use recode_types::source::VideoFacts;
use recode_types::{Engine, Rational};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The sample that every encoder has to copy.
pub const KNOWN: Sample = Sample {
    size: (640, 360),
    frames: 24,
};
/// Fewer decibels than this are another picture: at these qualities every encoder of FFmpeg 9 that runs on the processor
/// has more than 33 on this sample (see the tests), a negative, a green or a shifted one less than 20.
pub const LEAST_PSNR: f64 = 26.0;
/// A sample that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);
/// As above, where what jobs do goes first.
const PATIENCE_BEHIND: Duration = Duration::from_secs(300);

/// A folder with samples in it, and the FFmpeg to try.
pub struct Bench<'a> {
    /// The build.
    pub ffmpeg: &'a Arc<Ffmpeg>,
    /// An empty folder of ours.
    pub folder: &'a Path,
}

/// What one encode took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Took {
    /// CPU, wall and memory.
    pub usage: ChildUsage,
    /// Frames.
    pub frames: u32,
}

/// The rendition that a sample is made in.
pub fn rendition(encoder: &str, preset: Option<&str>) -> Option<Rendition> {
    Some(Rendition {
        codec: Codec::of_encoder(encoder)?,
        encoder: encoder.to_owned(),
        rate: None,
        peak: None,
        preset: preset.map(str::to_owned),
        tune: None,
        encoder_profile: None,
        profile: Profile::Quality,
        scale: Scale::Source,
        fps: None,
        deinterlace: Deinterlace::Off,
        pix_fmt: None,
        gop: None,
    })
}

/// A usual quality on the encoder's scale, in thousandths.
fn quality_milli(encoder: &str) -> u32 {
    match encoder {
        "mpeg2video" => 4_000,
        "av1_vaapi" | "av1_amf" => 110_000,
        _ => match Codec::of_encoder(encoder) {
            Some(Codec::Av1 | Codec::Vp9) => 32_000,
            _ if Engine::of_encoder(encoder) == Some(Engine::Videotoolbox) => 45_000,
            _ => 25_000,
        },
    }
}

impl Bench<'_> {
    /// The file of a sample, written once.
    fn sample(&self, sample: Sample) -> Result<PathBuf, String> {
        let (width, height) = sample.size;
        let path = self
            .folder
            .join(format!("{width}x{height}x{}.y4m", sample.frames));
        if !path.is_file() {
            sample
                .write(&path)
                .map_err(|e| format!("the sample cannot be written: {e}"))?;
        }
        Ok(path)
    }

    fn list(
        &self,
        rendition: &Rendition,
        sample: Sample,
        (first, count): (u32, u32),
        out: &Path,
    ) -> Result<Vec<OsString>, String> {
        let video = VideoFacts {
            track: 0,
            codec: "rawvideo".to_owned(),
            time_base: Rational::new(1, i64::from(RATE)),
            frames: u64::from(sample.frames),
            start_pts: 0,
            end_pts: i64::from(sample.frames),
            width: sample.size.0,
            height: sample.size.1,
            pix_fmt: "yuv420p".to_owned(),
            sample_aspect: Rational::new(1, 1),
            frame_rate: Rational::new(i64::from(RATE), 1),
            interlaced_top_first: None,
            dolby_vision_profile: None,
            hdr10_plus: false,
            hdr10_static: false,
            captions: false,
            alpha: false,
            color: None,
        };
        let args = EncodeArgs {
            input: Input {
                path: self.sample(sample)?,
                demuxer: Some("yuv4mpegpipe"),
                stream: 0,
                clock: Clock::Stored,
                threads: 1,
            },
            span: Span::Time {
                start_pts: i64::from(first),
                end_pts: Some(i64::from(first + count)),
                before_pts: None,
                after_pts: None,
            },
            time_base: video.time_base,
            shift: 0,
            video: &video,
            frames: u64::from(count),
            outputs: vec![EncodeOutput {
                rendition,
                knob: Knob {
                    quality_milli: quality_milli(&rendition.encoder),
                    peak: None,
                    buffer_start_milli: 900,
                },
                size: sample.size,
                path: out.to_owned(),
            }],
            score: None,
            check: None,
            growing: false,
            major: self.ffmpeg.major(),
        };
        args.build().map_err(|e| e.to_string())
    }

    fn invocation(&self, engine: Option<Engine>, args: Vec<OsString>) -> Invocation {
        let mut invocation = Invocation::new(args)
            .with_stdout()
            .writing(self.folder)
            .on_cards(engine);
        invocation.wall = Some(PATIENCE);
        invocation
    }

    async fn run(&self, invocation: Invocation) -> Result<ChildUsage, Error> {
        let child = spawn(self.ffmpeg, invocation).await?;
        Ok(child.wait_lines(|_| {}, |_| {}).await?.usage)
    }

    /// Shows whether something works, and not how fast it is. Jobs wait for what a card shows, and for nothing that the processor
    /// does, which they are to have themselves.
    async fn try_out(
        &self,
        engine: Option<Engine>,
        args: Vec<OsString>,
    ) -> Result<ChildUsage, Error> {
        let mut invocation = self.invocation(engine, args);
        if engine.is_none() {
            invocation.behind = true;
            invocation.patience = PATIENCE_BEHIND;
            invocation.wall = Some(PATIENCE_BEHIND);
        }
        self.run(invocation).await
    }

    /// Encodes frames of a sample and throws them away.
    /// # Errors
    /// A sentence.
    pub async fn time(&self, rendition: &Rendition, sample: Sample) -> Result<Took, String> {
        let out = self.folder.join("timed.mp4");
        let list = self.list(rendition, sample, (0, sample.frames), &out)?;
        let engine = Engine::of_encoder(&rendition.encoder);
        let usage = self
            .run(self.invocation(engine, list))
            .await
            .map_err(|e| e.failure.message)?;
        Ok(Took {
            usage,
            frames: sample.frames,
        })
    }

    /// Encodes both halves of the known sample and holds them against it and against each other. The answer: decibels,
    /// and the most that one half took.
    /// # Errors
    /// Why the encoder is not to be used: a sentence.
    pub async fn prove(&self, rendition: &Rendition) -> Result<(f64, Took), String> {
        let half = KNOWN.frames / 2;
        let mut sets = Vec::new();
        let mut worst = 100.0f64;
        let mut most = Took::default();
        for first in [0, half] {
            let out = self.folder.join(format!("proof-{first}.mp4"));
            let list = self.list(rendition, KNOWN, (first, half), &out)?;
            let engine = Engine::of_encoder(&rendition.encoder);
            let usage = self
                .try_out(engine, list)
                .await
                .map_err(|e| e.failure.message)?;
            let index = read_chunk(&out).map_err(|e| format!("its output cannot be read: {e}"))?;
            if index.samples.len() != half as usize {
                return Err(format!(
                    "{half} frames went in and {} came out",
                    index.samples.len()
                ));
            }
            if !index.samples[0].key {
                return Err("its first frame is not a key frame".to_owned());
            }
            let decoded = self.decode(&out).await?;
            let psnr = KNOWN.psnr(first, half, &decoded)?;
            if psnr < LEAST_PSNR {
                return Err(format!(
                    "the picture is not the sample's: {psnr:.1} dB where {LEAST_PSNR} are the least"
                ));
            }
            worst = worst.min(psnr);
            if usage.peak_rss_bytes > most.usage.peak_rss_bytes {
                most = Took {
                    usage,
                    frames: half,
                };
            }
            sets.push(index.sample_description);
        }
        if sets[0] != sets[1] {
            return Err(
                "the parameter sets of two encodes differ, so pieces could not be joined"
                    .to_owned(),
            );
        }
        Ok((worst, most))
    }

    async fn decode(&self, chunk: &Path) -> Result<Vec<u8>, String> {
        let raw = self.folder.join("decoded.yuv");
        let mut args: Vec<OsString> = ["-loglevel", "level+warning", "-y", "-threads", "1", "-i"]
            .map(Into::into)
            .to_vec();
        args.push(file(chunk));
        let out = "-map 0:v:0 -fps_mode passthrough -pix_fmt yuv420p -f rawvideo";
        args.extend(out.split(' ').map(Into::into));
        args.push(file(&raw));
        self.try_out(None, args)
            .await
            .map_err(|e| format!("what it makes cannot be decoded: {}", e.failure.message))?;
        std::fs::read(&raw).map_err(|e| format!("the decoded sample cannot be read: {e}"))
    }

    /// How many encodes an engine bears at once, tried up to `most`; `None`: it bore them all.
    ///
    /// Each is fed at the sample's own speed, so that all are open at the same time whatever the card makes of them.
    pub async fn sessions(&self, rendition: &Rendition, most: u32) -> Option<u32> {
        let mut trials = tokio::task::JoinSet::new();
        for n in 0..most {
            let out = self.folder.join(format!("session-{n}.mp4"));
            let long = Sample {
                frames: 2 * RATE,
                size: (320, 180),
            };
            let Ok(mut list) = self.list(rendition, long, (0, long.frames), &out) else {
                return None;
            };
            let input = list.iter().position(|a| a == "-i")?;
            list.insert(input, "-re".into());
            let (ffmpeg, invocation) = (
                Arc::clone(self.ffmpeg),
                self.invocation(Engine::of_encoder(&rendition.encoder), list),
            );
            trials.spawn(async move {
                let ended = match spawn(&ffmpeg, invocation).await {
                    Ok(child) => child.wait_lines(|_| {}, |_| {}).await,
                    Err(e) => Err(e),
                };
                match ended {
                    Ok(_) => true,
                    Err(e) => {
                        let said = e.failure.stderr_tail.unwrap_or_default();
                        !matches!(trouble(&said), Some((Trouble::NoSession, _)))
                    }
                }
            });
        }
        let ended = trials.join_all().await;
        let borne = ended.iter().filter(|bore| **bore).count() as u32;
        (borne < most).then_some(borne)
    }
}

fn file(path: &Path) -> OsString {
    let mut name = OsString::from("file:");
    name.push(path);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those that run on the processor, with a quick preset where they have one.
    const SOFTWARE: [(&str, Option<&str>); 7] = [
        ("libx264", Some("veryfast")),
        ("libx265", Some("veryfast")),
        ("libsvtav1", Some("10")),
        ("libaom-av1", Some("8")),
        ("libvpx-vp9", Some("5")),
        ("prores_ks", None),
        ("mpeg2video", None),
    ];

    #[tokio::test]
    async fn every_encoder_of_the_processor_copies_the_sample_with_room_to_spare() {
        let found = recode_media::toolchain::find(None).expect("make setup brings an ffmpeg");
        let ffmpeg = Arc::new(found);
        let folder = tempfile::tempdir().unwrap();
        let bench = Bench {
            ffmpeg: &ffmpeg,
            folder: folder.path(),
        };
        let mut tried = 0;
        for (encoder, preset) in SOFTWARE {
            if !ffmpeg.has_encoder(encoder) {
                continue;
            }
            let rendition = rendition(encoder, preset).unwrap();
            let (psnr, took) = bench.prove(&rendition).await.unwrap();
            println!("{encoder} {psnr:.1} dB {took:?}");
            assert!(psnr > LEAST_PSNR + 4.0, "{encoder} has {psnr:.1} dB only");
            assert!(took.usage.peak_rss_bytes > 10 << 20);
            tried += 1;
        }
        assert!(tried >= 3, "this ffmpeg has hardly an encoder");
    }
}
