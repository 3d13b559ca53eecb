//! The options of FFmpeg's engine encoders that recode uses: which there are, and what they take.
//!
//! From `ffmpeg -h encoder=NAME` of FFmpeg 9 and, for VideoToolbox, libavcodec/videotoolboxenc.c. A test compares them with
//! the FFmpeg at hand.

/// What an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number between these, ends included.
    Number(i64, i64),
    /// One of these words.
    Word(&'static [&'static str]),
}

/// One encoder's own options.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The encoder.
    pub encoder: &'static str,
    /// Name without the dash, and what it takes.
    pub own: &'static [(&'static str, Value)],
}

use Value::{Number, Word};

const BOOL: Value = Number(0, 1);
const MANY: Value = Number(0, i32::MAX as i64);
const NVENC_PRESETS: Value = Word(&[
    "slow", "medium", "fast", "p1", "p2", "p3", "p4", "p5", "p6", "p7",
]);
const NVENC_RC: Value = Word(&["constqp", "vbr", "cbr"]);
const QSV_PRESETS: Value = Word(&[
    "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow",
]);
const VAAPI_RC: Value = Word(&["auto", "CQP", "CBR", "VBR", "ICQ", "QVBR", "AVBR"]);
const AMF_USAGE: Value = Word(&["transcoding", "ultralowlatency", "lowlatency", "webcam"]);
const AMF_RC: Value = Word(&["cqp", "cbr", "vbr_peak", "vbr_latency"]);
const AMF_QUALITY: Value = Word(&["balanced", "speed", "quality"]);

/// Every encoder's.
pub const OPTIONS: &[Options] = &[
    Options {
        encoder: "h264_nvenc",
        own: &[
            ("preset", NVENC_PRESETS),
            ("tune", Word(&["hq", "ll", "ull", "lossless"])),
            (
                "profile",
                Word(&["baseline", "main", "high", "high10", "high422", "high444p"]),
            ),
            ("rc", NVENC_RC),
            ("cq", Number(0, 51)),
            ("zerolatency", BOOL),
            ("delay", MANY),
        ],
    },
    Options {
        encoder: "hevc_nvenc",
        own: &[
            ("preset", NVENC_PRESETS),
            ("tune", Word(&["hq", "ll", "ull", "lossless"])),
            ("profile", Word(&["main", "main10", "rext"])),
            ("rc", NVENC_RC),
            ("cq", Number(0, 51)),
            ("zerolatency", BOOL),
            ("delay", MANY),
        ],
    },
    Options {
        encoder: "av1_nvenc",
        own: &[
            ("preset", NVENC_PRESETS),
            ("tune", Word(&["hq", "ll", "ull", "lossless"])),
            ("rc", NVENC_RC),
            ("cq", Number(0, 63)),
            ("zerolatency", BOOL),
            ("delay", MANY),
        ],
    },
    Options {
        encoder: "h264_qsv",
        own: &[
            ("preset", QSV_PRESETS),
            ("profile", Word(&["unknown", "baseline", "main", "high"])),
            ("async_depth", MANY),
            ("adaptive_i", Number(-1, 1)),
        ],
    },
    Options {
        encoder: "hevc_qsv",
        own: &[
            ("preset", QSV_PRESETS),
            ("profile", Word(&["unknown", "main", "main10"])),
            ("async_depth", MANY),
            ("adaptive_i", Number(-1, 1)),
        ],
    },
    Options {
        encoder: "av1_qsv",
        own: &[
            ("preset", QSV_PRESETS),
            ("profile", Word(&["unknown", "main"])),
            ("async_depth", MANY),
        ],
    },
    Options {
        encoder: "h264_vaapi",
        own: &[
            ("rc_mode", VAAPI_RC),
            (
                "profile",
                Word(&["constrained_baseline", "main", "high", "high10"]),
            ),
            ("async_depth", Number(1, 64)),
            ("idr_interval", MANY),
        ],
    },
    Options {
        encoder: "hevc_vaapi",
        own: &[
            ("rc_mode", VAAPI_RC),
            ("profile", Word(&["main", "main10", "rext"])),
            ("async_depth", Number(1, 64)),
            ("idr_interval", MANY),
        ],
    },
    Options {
        encoder: "av1_vaapi",
        own: &[
            ("rc_mode", VAAPI_RC),
            ("profile", Word(&["main", "high", "professional"])),
            ("async_depth", Number(1, 64)),
            ("idr_interval", MANY),
        ],
    },
    Options {
        encoder: "h264_amf",
        own: &[
            ("usage", AMF_USAGE),
            ("quality", AMF_QUALITY),
            (
                "profile",
                Word(&["main", "high", "constrained_baseline", "constrained_high"]),
            ),
            ("rc", AMF_RC),
            ("qp_i", Number(-1, 51)),
            ("qp_p", Number(-1, 51)),
            ("qp_b", Number(-1, 51)),
        ],
    },
    Options {
        encoder: "hevc_amf",
        own: &[
            ("usage", AMF_USAGE),
            ("quality", AMF_QUALITY),
            ("profile", Word(&["main"])),
            ("rc", AMF_RC),
            ("qp_i", Number(-1, 51)),
            ("qp_p", Number(-1, 51)),
        ],
    },
    Options {
        encoder: "av1_amf",
        own: &[
            ("usage", AMF_USAGE),
            ("quality", AMF_QUALITY),
            ("profile", Word(&["main"])),
            ("rc", AMF_RC),
            ("qp_i", Number(-1, 255)),
            ("qp_p", Number(-1, 255)),
        ],
    },
    Options {
        encoder: "h264_videotoolbox",
        own: &[
            (
                "profile",
                Word(&[
                    "baseline",
                    "constrained_baseline",
                    "main",
                    "high",
                    "constrained_high",
                    "extended",
                ]),
            ),
            ("allow_sw", BOOL),
            ("realtime", Number(-1, 1)),
        ],
    },
    Options {
        encoder: "hevc_videotoolbox",
        own: &[
            ("profile", Word(&["main", "main10", "main42210", "rext"])),
            ("allow_sw", BOOL),
            ("realtime", Number(-1, 1)),
        ],
    },
];

/// Options of every encoder and every output, which FFmpeg itself reads.
pub(super) const COMMON: &[&str] = &[
    "b",
    "maxrate",
    "bufsize",
    "g",
    "r",
    "bf",
    "flags",
    "global_quality",
    "q",
    "threads",
    "fps_mode",
    "enc_time_base",
    "fflags",
    "map_metadata",
    "map_chapters",
    "movie_timescale",
    "frames",
    "f",
];
