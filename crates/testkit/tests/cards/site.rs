//! A folder with a scripted FFmpeg in it, and what encodes need.

use recode_media::args::encode::{EncodeArgs, EncodeOutput};
use recode_media::args::{Clock, Input, Span};
use recode_media::run::{self, Invocation};
use recode_media::toolchain::{self, Ffmpeg};
use recode_testkit::card::{Card, Played, Script};
use recode_types::rendition::{Codec, Deinterlace, Knob, Profile, Rendition, Scale};
use recode_types::source::VideoFacts;
use recode_types::{Engine, Rational};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Frames of the clip.
pub const FRAMES: u64 = 50;

pub struct Site {
    folder: tempfile::TempDir,
    pub ffmpeg: Ffmpeg,
    script: Script,
}

impl Site {
    /// A machine with these cards.
    pub fn with(cards: impl IntoIterator<Item = (Engine, Card)>) -> Self {
        Self::listing(cards, None)
    }

    /// The same, whose FFmpeg has no other encoders than these.
    pub fn listing(
        cards: impl IntoIterator<Item = (Engine, Card)>,
        lists: Option<Vec<String>>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = Script {
            real: real().path,
            cards: cards.into_iter().collect(),
            lists,
        };
        let program = Path::new(env!("CARGO_BIN_EXE_recode-ffmpeg-cards"));
        let ffmpeg = script.install(program, folder.path()).unwrap();
        let ffmpeg = toolchain::open(&ffmpeg, None).unwrap();
        Self {
            folder,
            ffmpeg,
            script,
        }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// From now on the machine has these.
    pub fn now_with(&mut self, cards: impl IntoIterator<Item = (Engine, Card)>) {
        self.script.cards = cards.into_iter().collect();
        self.script.rewrite(self.folder.path()).unwrap();
    }

    /// What was asked of the cards so far.
    pub fn played(&self) -> Vec<Played> {
        Played::all(self.folder.path())
    }

    /// Two seconds of 320x180.
    pub async fn clip(&self) -> PathBuf {
        let out = self.file("clip.mp4");
        let list = "-y -f lavfi -i testsrc2=s=320x180:r=25:d=2 -c:v libx264 -preset ultrafast -g 20 -threads 1";
        let mut args: Vec<OsString> = list.split(' ').map(Into::into).collect();
        args.push((&out).into());
        let made = run::run(&self.ffmpeg, Invocation::new(args)).await;
        made.expect("a clip can be made");
        out
    }
}

/// The FFmpeg at hand.
pub fn real() -> Ffmpeg {
    toolchain::find(None).expect("there is an ffmpeg: make setup brings one")
}

pub fn rendition(encoder: &str) -> Rendition {
    Rendition {
        codec: Codec::of_encoder(encoder).expect("recode drives it"),
        encoder: encoder.to_owned(),
        rate: None,
        peak: None,
        preset: None,
        tune: None,
        encoder_profile: None,
        profile: Profile::Quality,
        scale: Scale::Source,
        fps: None,
        deinterlace: Deinterlace::Off,
        pix_fmt: None,
        gop: None,
    }
}

pub fn video() -> VideoFacts {
    VideoFacts {
        track: 0,
        codec: "h264".to_owned(),
        time_base: Rational::new(1, 12_800),
        frames: FRAMES,
        start_pts: 0,
        end_pts: 25_600,
        width: 320,
        height: 180,
        pix_fmt: "yuv420p".to_owned(),
        sample_aspect: Rational::new(1, 1),
        frame_rate: Rational::new(25, 1),
        interlaced_top_first: None,
        dolby_vision_profile: None,
        hdr10_plus: false,
        hdr10_static: false,
        captions: false,
        alpha: false,
        color: None,
    }
}

/// Arguments for frames `first..first + count` of the clip.
pub fn encode(
    rendition: &Rendition,
    (first, count): (u64, u64),
    quality: u32,
    clip: &Path,
    out: &Path,
    major: u32,
) -> Vec<OsString> {
    let at = |frame: u64| frame as i64 * 512;
    let last = first + count == FRAMES;
    let video = video();
    let args = EncodeArgs {
        input: Input {
            path: clip.to_owned(),
            demuxer: Some("mp4"),
            stream: 0,
            clock: Clock::Stored,
            threads: 1,
        },
        span: Span::Time {
            start_pts: at(first),
            end_pts: (!last).then_some(at(first + count)),
            before_pts: None,
            after_pts: None,
        },
        time_base: video.time_base,
        shift: 0,
        video: &video,
        frames: count,
        outputs: vec![EncodeOutput {
            rendition,
            knob: Knob {
                quality_milli: quality * 1000,
                peak: rendition.peak,
                buffer_start_milli: 900,
            },
            size: (320, 180),
            path: out.to_owned(),
        }],
        score: None,
        check: None,
        growing: false,
        major,
    };
    args.build().expect("the encoder can do it")
}
