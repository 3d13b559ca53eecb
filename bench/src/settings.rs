//! Encoder settings that both sides are given, in both spellings.

use anyhow::{Context as _, Result};

/// One encoder with its preset and quality.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Name in the case of a figure and on the command line of a bench.
    pub name: &'static str,
    /// recode's `--codec`.
    pub codec: &'static str,
    /// FFmpeg's encoder.
    pub encoder: &'static str,
    /// The encoder's preset; `cpu-used` for VP9.
    pub preset: &'static str,
    /// Quality used where one point is measured.
    pub crf: u32,
    /// Five points, best first, for rate-distortion curves.
    pub curve: [u32; 5],
}

/// What is measured: the encoders of the promises.
pub const ALL: [Settings; 4] = [
    Settings {
        name: "x264-medium",
        codec: "h264",
        encoder: "libx264",
        preset: "medium",
        crf: 23,
        curve: [19, 23, 27, 31, 35],
    },
    Settings {
        name: "x265-medium",
        codec: "h265",
        encoder: "libx265",
        preset: "medium",
        crf: 26,
        curve: [20, 24, 28, 32, 36],
    },
    Settings {
        name: "svtav1-6",
        codec: "av1",
        encoder: "libsvtav1",
        preset: "6",
        crf: 32,
        curve: [24, 31, 38, 45, 52],
    },
    Settings {
        name: "vp9-3",
        codec: "vp9",
        encoder: "libvpx-vp9",
        preset: "3",
        crf: 32,
        curve: [24, 31, 38, 45, 52],
    },
];

/// Finds settings by name.
/// # Errors
/// When there are none of that name; the message lists those there are.
pub fn by_name(name: &str) -> Result<Settings> {
    ALL.into_iter()
        .find(|settings| settings.name == name)
        .with_context(|| {
            let names: Vec<_> = ALL.iter().map(|settings| settings.name).collect();
            format!("no settings `{name}` (there are {})", names.join(", "))
        })
}

/// How many threads an encoder may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// What the encoder does when left alone: all cores.
    All,
    /// One, also for threads the encoder starts beside `-threads`.
    One,
}

impl Settings {
    /// What `recode-client transcode` is told.
    pub fn recode_args(&self, crf: u32) -> Vec<String> {
        let crf = crf.to_string();
        [
            "--codec",
            self.codec,
            "--preset",
            self.preset,
            "--crf",
            &crf,
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// What plain FFmpeg is told for the same. With `gop`, a key frame every so many frames and nowhere else.
    pub fn plain_args(&self, crf: u32, threads: Threads, gop: Option<u32>) -> Vec<String> {
        let one = threads == Threads::One;
        let mut args: Vec<String> = ["-c:v", self.encoder].map(str::to_owned).to_vec();
        let mut add = |words: &[&str]| args.extend(words.iter().map(|&word| word.to_owned()));
        match self.encoder {
            "libvpx-vp9" => {
                add(&["-deadline", "good", "-cpu-used", self.preset, "-b:v", "0"]);
                add(if one {
                    &["-threads", "1", "-row-mt", "0"]
                } else {
                    &["-row-mt", "1"]
                });
            }
            "libx265" => {
                let mut params = vec!["log-level=error".to_owned()];
                if one {
                    params.push("pools=none:frame-threads=1".to_owned());
                }
                if let Some(gop) = gop {
                    // Groups are closed, as recode's are and as those of the other encoders here are by themselves.
                    params.push(format!(
                        "keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0"
                    ));
                }
                add(&["-preset", self.preset, "-x265-params", &params.join(":")]);
            }
            "libsvtav1" => {
                add(&["-preset", self.preset]);
                if one {
                    add(&["-svtav1-params", "lp=1"]);
                }
            }
            _ => {
                add(&["-preset", self.preset]);
                if one {
                    add(&["-threads:v", "1"]);
                }
            }
        }
        if let Some(gop) = gop {
            let gop = gop.to_string();
            match self.encoder {
                "libx265" => {}
                "libx264" => add(&["-g", &gop, "-keyint_min", &gop, "-sc_threshold", "0"]),
                _ => add(&["-g", &gop, "-keyint_min", &gop]),
            }
        }
        add(&["-crf", &crf.to_string()]);
        args
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_is_spelled_as_each_encoder_wants_it() {
        let told = |name: &str, threads| {
            by_name(name)
                .expect("known")
                .plain_args(30, threads, None)
                .join(" ")
        };
        assert_eq!(
            told("x264-medium", Threads::One),
            "-c:v libx264 -preset medium -threads:v 1 -crf 30"
        );
        assert!(told("x265-medium", Threads::One).contains("pools=none:frame-threads=1"));
        assert!(told("svtav1-6", Threads::One).contains("lp=1"));
        assert!(told("vp9-3", Threads::One).contains("-threads 1 -row-mt 0"));
        assert!(told("vp9-3", Threads::All).contains("-row-mt 1"));
    }

    #[test]
    fn a_fixed_gop_joins_the_other_words_of_an_encoder() {
        let told = |name: &str| {
            by_name(name)
                .expect("known")
                .plain_args(30, Threads::One, Some(48))
                .join(" ")
        };
        assert!(told("x264-medium").contains("-g 48 -keyint_min 48 -sc_threshold 0"));
        let x265 = told("x265-medium");
        assert!(
            x265.contains("frame-threads=1:keyint=48:min-keyint=48:scenecut=0:open-gop=0"),
            "{x265}"
        );
        assert!(!x265.contains("-g 48"), "{x265}");
    }

    #[test]
    fn unknown_settings_are_answered_with_the_known_ones() {
        let error = by_name("x263").expect_err("unknown").to_string();
        assert_eq!(
            error,
            "no settings `x263` (there are x264-medium, x265-medium, svtav1-6, vp9-3)"
        );
    }
}
