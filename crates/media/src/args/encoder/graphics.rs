//! The encoders of graphics processors: NVENC, Quick Sync, VAAPI, AMF, VideoToolbox.
//!
//! | engine | quality | peak beside it | pictures go in | source |
//! |---|---|---|---|---|
//! | nvenc | `-rc vbr -cq N -b:v 0` | `-maxrate`, `-bufsize` | from memory | libavcodec/nvenc.c, nvenc_h264.c |
//! | qsv | `-global_quality N`: ICQ | by quality alone | from memory | doc/encoders.texi "QSV Encoders", libavcodec/qsvenc.c |
//! | vaapi | `-rc_mode CQP -global_quality N` | by quality alone | `hwupload` on a device | doc/encoders.texi "VAAPI encoders", libavcodec/vaapi_encode.c |
//! | amf | `-rc cqp -qp_i N -qp_p N` | by quality alone | from memory | libavcodec/amfenc_h264.c, _hevc.c, _av1.c |
//! | videotoolbox | `-q:v 100-N` | by quality alone | from memory | doc/encoders.texi "VideoToolbox", libavcodec/videotoolboxenc.c |
//!
//! Names of options and of their values were held against `ffmpeg -h encoder=NAME` of FFmpeg 9; a test hands every list
//! to the FFmpeg at hand. None of this has run on a card: see README.md.
//!
//! Every list fixes the distance of key frames and closes the groups, so that a Chunk can be followed by any other. Key
//! frames are never forced inside a Chunk: the first frame is one with every engine.

use super::{Family, List, Wish, decimal, option, whole};
use recode_types::{Engine, Pixels};

/// Distance of key frames when none is asked for. The engines' own defaults differ (VAAPI 120, NVENC 250).
const USUAL_GOP: u32 = 250;

const NVENC_PRESETS: &[&str] = &["p1", "p2", "p3", "p4", "p5", "p6", "p7"];
const NVENC_TUNES: &[&str] = &["hq", "ll", "ull"];
const QSV_PRESETS: &[&str] = &[
    "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow",
];
const AMF_PRESETS: &[&str] = &["speed", "balanced", "quality"];
const EIGHT: &[&str] = &["nv12", "yuv420p"];
const TEN: &[&str] = &["nv12", "yuv420p", "p010le"];
const NVENC_EIGHT: &[&str] = &["yuv420p", "nv12", "yuv444p"];
const NVENC_TEN: &[&str] = &["yuv420p", "nv12", "yuv444p", "p010le"];

const fn family(
    encoder: &'static str,
    presets: &'static [&'static str],
    tunes: &'static [&'static str],
    profiles: &'static [&'static str],
    formats: &'static [&'static str],
    most: u32,
) -> Family {
    Family {
        encoder,
        presets,
        tunes,
        profiles,
        formats,
        quality: Some((most, false)),
        // All but NVENC keep a limit because quality gives way in a further round.
        peak: true,
    }
}

pub(super) const FAMILIES: &[Family] = &[
    family(
        "h264_nvenc",
        NVENC_PRESETS,
        NVENC_TUNES,
        &["baseline", "main", "high", "high444p"],
        NVENC_EIGHT,
        51,
    ),
    family(
        "hevc_nvenc",
        NVENC_PRESETS,
        NVENC_TUNES,
        &["main", "main10", "rext"],
        NVENC_TEN,
        51,
    ),
    family("av1_nvenc", NVENC_PRESETS, NVENC_TUNES, &[], TEN, 63),
    family(
        "h264_qsv",
        QSV_PRESETS,
        &[],
        &["baseline", "main", "high"],
        &["nv12"],
        51,
    ),
    family(
        "hevc_qsv",
        QSV_PRESETS,
        &[],
        &["main", "main10"],
        &["nv12", "p010le"],
        51,
    ),
    family(
        "av1_qsv",
        QSV_PRESETS,
        &[],
        &["main"],
        &["nv12", "p010le"],
        51,
    ),
    family(
        "h264_vaapi",
        &[],
        &[],
        &["constrained_baseline", "main", "high"],
        &["nv12"],
        51,
    ),
    family(
        "hevc_vaapi",
        &[],
        &[],
        &["main", "main10"],
        &["nv12", "p010le"],
        51,
    ),
    family("av1_vaapi", &[], &[], &["main"], &["nv12", "p010le"], 255),
    family(
        "h264_amf",
        AMF_PRESETS,
        &[],
        &["main", "high", "constrained_baseline", "constrained_high"],
        EIGHT,
        51,
    ),
    family("hevc_amf", AMF_PRESETS, &[], &["main"], TEN, 51),
    family("av1_amf", AMF_PRESETS, &[], &["main"], TEN, 255),
    family(
        "h264_videotoolbox",
        &[],
        &[],
        &["baseline", "main", "high"],
        EIGHT,
        99,
    ),
    family("hevc_videotoolbox", &[], &[], &["main", "main10"], TEN, 99),
];

/// x264's name of a preset in the engine's own words.
pub(super) fn counted_preset(engine: Engine, rank: usize) -> Option<&'static str> {
    let names: [&'static str; 10] = match engine {
        Engine::Nvenc => ["p1", "p1", "p2", "p3", "p3", "p4", "p5", "p6", "p7", "p7"],
        Engine::Qsv => [
            "veryfast", "veryfast", "veryfast", "faster", "fast", "medium", "slow", "slower",
            "veryslow", "veryslow",
        ],
        Engine::Amf => [
            "speed", "speed", "speed", "speed", "balanced", "balanced", "quality", "quality",
            "quality", "quality",
        ],
        Engine::Vaapi | Engine::Videotoolbox => return None,
    };
    names.get(rank).copied()
}

/// The pixel format that pictures of `source` are given to an engine in.
pub(super) fn pixel_format(encoder: &str, profile: Option<&str>, source: &str) -> &'static str {
    let formats = FAMILIES
        .iter()
        .find(|f| f.encoder == encoder)
        .map_or(EIGHT, |f| f.formats);
    let deep = Pixels::of(source).depth > 8;
    let deep = match profile {
        Some("main10") => true,
        // The first profile of HEVC holds 8 bits. That of AV1 holds 10.
        Some("main") if encoder.starts_with("hevc_") => false,
        _ => deep,
    };
    if deep && formats.contains(&"p010le") {
        "p010le"
    } else if source == "yuv420p" && formats.contains(&"yuv420p") {
        "yuv420p"
    } else {
        "nv12"
    }
}

/// Opens the device of an engine that pictures have to be uploaded to: before any input.
pub(super) fn device(list: &mut List, engine: Engine) {
    if engine == Engine::Vaapi {
        // Without a path FFmpeg takes the first render device that answers.
        list.opt("-init_hw_device", "vaapi=card");
        list.opt("-filter_hw_device", "card");
    }
}

/// The filter that hands pictures to the engine; `None`: its encoders read memory.
pub(super) fn upload(engine: Engine) -> Option<&'static str> {
    (engine == Engine::Vaapi).then_some("hwupload")
}

/// Appends what follows `-c:v NAME`.
pub(super) fn push(list: &mut List, engine: Engine, wish: &Wish<'_>) {
    let Wish {
        family,
        rendition,
        quality,
        peak,
        preset,
        tune,
        profile,
        latency,
        rate,
        ..
    } = *wish;
    // 0 means "as the driver likes" with most.
    let quality = quality.map(|milli| whole(milli).max(1));
    match engine {
        Engine::Nvenc => {
            option(list, "-preset", preset);
            option(list, "-tune", tune.or(latency.then_some("ll")));
            option(list, "-profile:v", profile);
            list.opt("-rc", "vbr");
            option(list, "-cq", quality);
            // Without this the default of 2 Mbit/s would bound the quality.
            list.opt("-b:v", 0);
            if let Some(peak) = peak {
                list.opt("-maxrate", peak.maxrate_bps);
                list.opt("-bufsize", peak.bufsize_bits);
            }
            if latency {
                list.opt("-zerolatency", 1).opt("-delay", 0).opt("-bf", 0);
            }
        }
        Engine::Qsv => {
            option(list, "-preset", preset);
            option(list, "-profile:v", profile);
            option(list, "-global_quality", quality);
            if latency {
                list.opt("-async_depth", 1).opt("-bf", 0);
            }
            if rendition.gop.is_some() && family.encoder != "av1_qsv" {
                list.opt("-adaptive_i", 0);
            }
            list.opt("-flags", "+cgop");
        }
        Engine::Vaapi => {
            option(list, "-profile:v", profile);
            list.opt("-rc_mode", "CQP");
            option(list, "-global_quality", quality);
            if latency {
                list.opt("-async_depth", 1).opt("-bf", 0);
            }
            list.opt("-idr_interval", 0).opt("-flags", "+cgop");
        }
        Engine::Amf => {
            let usage = if latency { "lowlatency" } else { "transcoding" };
            list.opt("-usage", usage);
            option(list, "-quality", preset);
            option(list, "-profile:v", profile);
            list.opt("-rc", "cqp");
            option(list, "-qp_i", quality);
            option(list, "-qp_p", quality);
            if family.encoder == "h264_amf" {
                option(list, "-qp_b", quality);
                if latency {
                    list.opt("-bf", 0);
                }
            }
        }
        Engine::Videotoolbox => {
            option(list, "-profile:v", profile);
            // The other way round: 100 is best. Constant quality exists on Apple's own processors only.
            if let Some(quality) = wish.quality {
                list.opt("-q:v", decimal(100_000 - quality.min(99_000)));
            }
            list.opt("-allow_sw", 0);
            if latency {
                list.opt("-realtime", 1).opt("-bf", 0);
            }
        }
    }
    list.opt("-g", rendition.gop.unwrap_or(USUAL_GOP));
    if wish.one {
        // FFmpeg would tell the engine the rate it guesses of each Segment apart.
        list.opt("-r", rate);
    }
}
