//! The encoders that run on the processor.

use super::{Family, List, Wish, decimal, option, whole};
use recode_types::time::Rational;

pub(super) const X26X_PRESETS: &[&str] = &[
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
];

pub(super) const FAMILIES: &[Family] = &[
    Family {
        encoder: "libx264",
        presets: X26X_PRESETS,
        tunes: &[
            "film",
            "animation",
            "grain",
            "stillimage",
            "psnr",
            "ssim",
            "fastdecode",
            "zerolatency",
        ],
        profiles: &["baseline", "main", "high", "high10", "high422", "high444"],
        formats: &[
            "yuv420p",
            "yuvj420p",
            "yuv422p",
            "yuvj422p",
            "yuv444p",
            "yuvj444p",
            "nv12",
            "nv16",
            "nv21",
            "yuv420p10le",
            "yuv422p10le",
            "yuv444p10le",
            "gray",
            "gray10le",
        ],
        quality: Some((51, true)),
        peak: true,
    },
    Family {
        encoder: "libx265",
        presets: X26X_PRESETS,
        tunes: &[
            "psnr",
            "ssim",
            "grain",
            "zerolatency",
            "fastdecode",
            "animation",
        ],
        profiles: &[
            "main",
            "main10",
            "main12",
            "mainstillpicture",
            "main422-8",
            "main422-10",
            "main422-12",
            "main444-8",
            "main444-10",
            "main444-12",
        ],
        formats: &[
            "yuv420p",
            "yuvj420p",
            "yuv422p",
            "yuvj422p",
            "yuv444p",
            "yuvj444p",
            "gbrp",
            "yuv420p10le",
            "yuv422p10le",
            "yuv444p10le",
            "gbrp10le",
            "yuv420p12le",
            "yuv422p12le",
            "yuv444p12le",
            "gbrp12le",
            "gray",
            "gray10le",
            "gray12le",
        ],
        quality: Some((51, true)),
        peak: true,
    },
    Family {
        encoder: "libsvtav1",
        presets: &[
            "13", "12", "11", "10", "9", "8", "7", "6", "5", "4", "3", "2", "1", "0",
        ],
        tunes: &["vq", "psnr", "ssim"],
        profiles: &["main"],
        formats: &["yuv420p", "yuv420p10le"],
        quality: Some((63, false)),
        peak: true,
    },
    Family {
        encoder: "libaom-av1",
        presets: &["8", "7", "6", "5", "4", "3", "2", "1", "0"],
        tunes: &["psnr", "ssim"],
        profiles: &["main", "high", "professional"],
        formats: &[
            "yuv420p",
            "yuv422p",
            "yuv444p",
            "gbrp",
            "yuv420p10le",
            "yuv422p10le",
            "yuv444p10le",
            "yuv420p12le",
            "yuv422p12le",
            "yuv444p12le",
            "gbrp10le",
            "gbrp12le",
            "gray",
            "gray10le",
            "gray12le",
        ],
        quality: Some((63, false)),
        peak: true,
    },
    Family {
        encoder: "libvpx-vp9",
        presets: &["5", "4", "3", "2", "1", "0"],
        tunes: &["psnr", "ssim"],
        profiles: &["0", "1", "2", "3"],
        // 4:4:0 has no place in what an MP4 says of VP9, and Chunks are MP4.
        formats: &[
            "yuv420p",
            "yuva420p",
            "yuv422p",
            "yuv444p",
            "yuv420p10le",
            "yuv422p10le",
            "yuv444p10le",
            "yuv420p12le",
            "yuv422p12le",
            "yuv444p12le",
            "gbrp",
            "gbrp10le",
            "gbrp12le",
        ],
        quality: Some((63, false)),
        peak: true,
    },
    Family {
        encoder: "prores_ks",
        presets: &[],
        tunes: &[],
        profiles: &["proxy", "lt", "standard", "hq", "4444", "4444xq"],
        formats: &["yuv422p10le", "yuv444p10le", "yuva444p10le"],
        quality: None,
        peak: false,
    },
    Family {
        encoder: "mpeg2video",
        presets: &[],
        tunes: &[],
        profiles: &["simple", "main", "high", "422"],
        formats: &["yuv420p", "yuv422p"],
        quality: Some((31, true)),
        peak: true,
    },
];

/// The longest group of an encoder that counts frames from one key frame to the next, whatever they show, in a Segment: SVT-AV1
/// counts to 161 at 24 or 30 a second, libvpx to 128. A Segment begins with a key frame anyway, where the Source has a cut if it can be had,
/// and a Chunk that goes on counting has more of them than the whole film would. x264 and x265 go to 250 by themselves. Most Segments
/// of films at 24 to 30 a second are no longer than this.
const LONGEST_GROUP: u64 = 420;

/// x265's groups are open by itself and up to 250 frames long, and a key frame that begins one does not begin the count of pictures
/// anew: it tells its place in that count by the lowest bits. A decoder that leaves out all but key frames takes a step of 250 for
/// one of -6 where these are eight, shows them in a wrong order and drops some; with nine it sees any step under 256.
const OPEN_GROUPS: &str = "log2-max-poc-lsb=9";

/// Frames of a mini-GOP of SVT-AV1, the picture before the first apart. One that is cut short costs bits.
const MINI_GOP: u64 = 32;

/// A key frame every so many frames, so that these many have as few groups as possible, about equally long.
fn group(frames: u64, longest: u64) -> u64 {
    match frames.div_ceil(longest) {
        0 | 1 => longest,
        groups => frames.div_ceil(groups),
    }
}

/// The same for SVT-AV1, in whole mini-GOPs. By itself it makes groups of about five seconds, at high rates longer ones than [`LONGEST_GROUP`].
fn group_of_mini_gops(frames: u64, rate: Rational) -> u64 {
    let longest = LONGEST_GROUP.max((5.0 * rate.as_f64()) as u64);
    (group(frames, longest) - 1).next_multiple_of(MINI_GOP) + 1
}

/// Appends what follows `-c:v NAME`.
pub(super) fn push(list: &mut List, wish: &Wish<'_>) {
    let Wish {
        family,
        rendition,
        quality,
        peak,
        start,
        preset,
        tune,
        profile,
        latency,
        varied,
        interlaced,
        rate,
        major,
        one,
        frames,
    } = *wish;
    match family.encoder {
        "libx264" => {
            option(list, "-preset", preset);
            option(list, "-tune", tune.or(latency.then_some("zerolatency")));
            option(list, "-profile:v", profile);
            option(list, "-crf", quality.map(decimal));
            let mut params = vec![format!("fps={rate}")];
            if varied {
                params.push("stitchable=1".to_owned());
            }
            if let Some(peak) = peak {
                list.opt("-maxrate", peak.maxrate_bps);
                list.opt("-bufsize", peak.bufsize_bits);
                params.push(format!("vbv-init={}", decimal(start)));
            }
            if let Some(gop) = rendition.gop {
                list.opt("-g", gop).opt("-keyint_min", gop);
                list.opt("-sc_threshold", 0);
            }
            if interlaced {
                list.opt("-flags", "+ildct+ilme");
            }
            if one {
                list.opt("-threads", 1);
            }
            list.opt("-x264-params", params.join(":"));
        }
        "libx265" => {
            option(list, "-preset", preset);
            option(list, "-tune", tune.or(latency.then_some("zerolatency")));
            option(list, "-profile:v", profile);
            option(list, "-crf", quality.map(decimal));
            if major >= 8 {
                list.opt("-a53cc", 1);
            }
            let mut params = vec!["log-level=warning".to_owned(), format!("fps={rate}")];
            if varied {
                params.push("info=0".to_owned());
            }
            if one {
                params.extend(["pools=none".to_owned(), "frame-threads=1".to_owned()]);
            }
            if let Some(peak) = peak {
                list.opt("-maxrate", peak.maxrate_bps);
                list.opt("-bufsize", peak.bufsize_bits);
                params.push(format!("vbv-init={}", decimal(start)));
            }
            if let Some(gop) = rendition.gop {
                params.push(format!(
                    "keyint={gop}:min-keyint={gop}:scenecut=0:open-gop=0"
                ));
            } else {
                params.push(OPEN_GROUPS.to_owned());
            }
            list.opt("-x265-params", params.join(":"));
        }
        "libsvtav1" => {
            option(list, "-preset", preset);
            option(list, "-crf", quality.map(whole));
            let mut params = vec![];
            if one {
                params.push("lp=1".to_owned());
            }
            // Before 6.0 the wrapper reads fewer of the encoder's own options and sets the rate itself.
            if major >= 6 {
                params.push(format!("fps-num={}:fps-denom={}", rate.num, rate.den));
            }
            if let Some(tune) = tune {
                let number = ["vq", "psnr", "ssim"].iter().position(|t| *t == tune);
                params.push(format!(
                    "tune={}",
                    number.expect("it was chosen from these")
                ));
            }
            if latency {
                params.push("pred-struct=1".to_owned());
            }
            if let Some(peak) = peak {
                list.opt("-maxrate", peak.maxrate_bps);
                list.opt("-bufsize", peak.bufsize_bits);
            }
            let gop = rendition.gop.map(u64::from);
            option(
                list,
                "-g",
                gop.or_else(|| frames.map(|frames| group_of_mini_gops(frames, rate))),
            );
            if !params.is_empty() {
                list.opt("-svtav1-params", params.join(":"));
            }
        }
        "libaom-av1" | "libvpx-vp9" => {
            let aom = family.encoder == "libaom-av1";
            if aom {
                list.opt("-usage", if latency { "realtime" } else { "good" });
            } else {
                list.opt("-deadline", if latency { "realtime" } else { "good" });
            }
            option(list, "-cpu-used", preset);
            option(list, "-tune", tune);
            option(list, "-profile:v", profile);
            if let Some(quality) = quality {
                list.opt("-crf", whole(quality));
                // Constant quality is a bitrate of 0; with a peak it is the target not to be exceeded.
                list.opt("-b:v", peak.map_or(0, |p| p.maxrate_bps));
            }
            if let (Some(_), Some(peak)) = (quality, peak) {
                list.opt("-maxrate", peak.maxrate_bps);
                list.opt("-bufsize", peak.bufsize_bits);
                let initial = peak.bufsize_bits as f64 * f64::from(start) / 1000.0;
                list.opt("-rc_init_occupancy", initial as u64);
            }
            if latency {
                list.opt("-lag-in-frames", 0);
            }
            match (rendition.gop, frames) {
                (Some(gop), _) => {
                    list.opt("-g", gop).opt("-keyint_min", gop);
                }
                (None, Some(frames)) if !aom => {
                    list.opt("-g", group(frames, LONGEST_GROUP));
                }
                (None, _) => {}
            }
            if one {
                list.opt("-threads", 1);
            }
            list.opt("-row-mt", u8::from(!one));
        }
        "prores_ks" => {
            option(list, "-profile:v", profile);
            if interlaced {
                list.opt("-flags", "+ildct");
            }
            if one {
                list.opt("-threads", 1);
            }
        }
        "mpeg2video" => {
            option(list, "-profile:v", profile);
            if let Some(quality) = quality {
                let q = decimal(quality.max(1000));
                match peak {
                    None => {
                        list.opt("-q:v", q);
                    }
                    // A fixed quantiser would ignore the buffer: ask for the most that may be had, never better than q.
                    Some(peak) => {
                        list.opt("-b:v", peak.maxrate_bps);
                        list.opt("-maxrate", peak.maxrate_bps);
                        list.opt("-bufsize", peak.bufsize_bits);
                        let initial = peak.bufsize_bits as f64 * f64::from(start) / 1000.0;
                        list.opt("-rc_init_occupancy", initial as u64);
                        list.opt("-qmin", whole(quality.max(1000)));
                    }
                }
            }
            if let Some(gop) = rendition.gop {
                list.opt("-g", gop).opt("-sc_threshold", 1_000_000_000);
            }
            if latency {
                list.opt("-bf", 0);
            }
            let flags = [
                ("+cgop", rendition.gop.is_some()),
                ("+ildct+ilme", interlaced),
            ];
            let flags: String = flags.iter().filter(|f| f.1).map(|f| f.0).collect();
            if !flags.is_empty() {
                list.opt("-flags", flags);
            }
            if one {
                list.opt("-threads", 1);
            }
        }
        other => unreachable!("{other} is in the list of families"),
    }
}
