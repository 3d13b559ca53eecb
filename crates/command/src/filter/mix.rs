//! Filters of several pictures, and of sound.

use super::Works::{Audio, Both, Video};
use super::words::*;
use super::{Filter, arg, filter, named};
use crate::kind::Kind::{Color, Int, List, Number, One, Size, Time};

/// Pictures beside and over each other; sound.
pub const MIX: &[Filter] = &[
    // Several pictures.
    filter(
        "overlay",
        Video,
        &[
            arg(&["x"], PLACE),
            arg(&["y"], PLACE),
            named(&["eof_action"], AT_END),
            named(&["eval"], One(&["init", "frame"])),
            named(&["shortest"], BOOL),
            named(
                &["format"],
                One(&[
                    "yuv420",
                    "yuv420p10",
                    "yuv422",
                    "yuv444",
                    "rgb",
                    "gbrp",
                    "auto",
                ]),
            ),
            named(&["repeatlast"], BOOL),
            named(&["alpha"], One(&["straight", "premultiplied", "auto"])),
            WHEN,
        ],
    ),
    filter("hstack", Video, STACK),
    filter("vstack", Video, STACK),
    filter(
        "xstack",
        Video,
        &[
            arg(&["inputs"], Int(2, 64)),
            named(&["grid"], Size),
            arg(&["shortest"], BOOL),
        ],
    ),
    filter("alphamerge", Video, &[]),
    filter(
        "colorkey",
        Video,
        &[
            arg(&["color"], Color),
            arg(&["similarity"], Number(0, 1)),
            arg(&["blend"], Number(0, 1)),
        ],
    ),
    filter(
        "chromakey",
        Video,
        &[
            arg(&["color"], Color),
            arg(&["similarity"], Number(0, 1)),
            arg(&["blend"], Number(0, 1)),
        ],
    ),
    filter("split", Video, SPLIT),
    filter("null", Video, &[]),
    filter(
        "concat",
        Both,
        &[
            arg(&["n"], Int(2, 64)),
            arg(&["v"], Int(0, 16)),
            arg(&["a"], Int(0, 16)),
            arg(&["unsafe"], BOOL),
        ],
    ),
    filter(
        "showwavespic",
        Both,
        &[arg(&["size", "s"], Size), arg(&["split_channels"], BOOL)],
    ),
    filter(
        "showspectrumpic",
        Both,
        &[arg(&["size", "s"], Size), named(&["legend"], BOOL)],
    ),
    // Sound.
    filter("anull", Audio, &[]),
    filter("asplit", Audio, SPLIT),
    filter(
        "amix",
        Audio,
        &[
            arg(&["inputs"], Int(1, 64)),
            arg(&["duration"], One(&["longest", "shortest", "first"])),
            arg(&["dropout_transition"], Number(0, 10_000)),
            named(&["weights"], List(&Number(-100, 100), ' ', 64)),
            named(&["normalize"], BOOL),
        ],
    ),
    filter("amerge", Audio, &[arg(&["inputs"], Int(1, 64))]),
    filter(
        "volume",
        Audio,
        &[
            arg(&["volume"], LEVEL),
            arg(&["precision"], One(&["fixed", "float", "double"])),
            WHEN,
        ],
    ),
    filter(
        "loudnorm",
        Audio,
        &[
            arg(&["I", "i"], Number(-70, -5)),
            arg(&["LRA", "lra"], Number(1, 50)),
            arg(&["TP", "tp"], Number(-9, 0)),
            named(&["measured_I", "measured_i"], Number(-99, 0)),
            named(&["measured_LRA", "measured_lra"], Number(0, 99)),
            named(&["measured_TP", "measured_tp"], Number(-99, 99)),
            named(&["measured_thresh"], Number(-99, 0)),
            named(&["offset"], Number(-99, 99)),
            named(&["linear"], BOOL),
            named(&["dual_mono"], BOOL),
            named(&["print_format"], One(&["none", "json", "summary"])),
        ],
    ),
    filter(
        "dynaudnorm",
        Audio,
        &[
            arg(&["framelen", "f"], Int(10, 8_000)),
            arg(&["gausssize", "g"], Int(3, 301)),
            arg(&["peak", "p"], Number(0, 1)),
            arg(&["maxgain", "m"], Number(1, 100)),
        ],
    ),
    filter(
        "acompressor",
        Audio,
        &[
            arg(&["level_in"], Number(0, 64)),
            named(&["threshold"], LEVEL),
            named(&["ratio"], Number(1, 20)),
            named(&["attack"], Number(0, 2_000)),
            named(&["release"], Number(0, 9_000)),
            named(&["makeup"], Number(1, 64)),
        ],
    ),
    filter(
        "aresample",
        Audio,
        &[
            arg(&["sample_rate"], HERTZ),
            named(&["async"], Int(0, 1_000_000)),
            named(&["first_pts"], Int(0, 1_000_000_000)),
            named(&["resampler"], One(&["swr", "soxr"])),
            named(&["osf", "out_sample_fmt"], SAMPLES),
            named(&["ochl", "out_chlayout"], LAYOUTS),
        ],
    ),
    filter(
        "aformat",
        Audio,
        &[
            arg(&["sample_fmts", "f"], List(&SAMPLES, '|', 16)),
            arg(&["sample_rates", "r"], List(&HERTZ, '|', 16)),
            arg(&["channel_layouts", "cl"], List(&LAYOUTS, '|', 16)),
        ],
    ),
    filter("asetrate", Audio, &[arg(&["sample_rate", "r"], HERTZ)]),
    filter("atempo", Audio, &[arg(&["tempo"], Number(0, 100))]),
    filter(
        "adelay",
        Audio,
        &[
            arg(&["delays"], List(&Int(0, 3_600_000), '|', 64)),
            arg(&["all"], BOOL),
        ],
    ),
    filter(
        "apad",
        Audio,
        &[
            named(&["packet_size"], Int(0, 1_000_000)),
            named(&["whole_dur"], Time),
            named(&["pad_dur"], Time),
        ],
    ),
    filter(
        "afade",
        Audio,
        &[
            arg(&["type", "t"], FADES),
            arg(&["start_sample", "ss"], Int(0, i64::MAX / 2)),
            arg(&["nb_samples", "ns"], Int(0, i64::MAX / 2)),
            arg(&["start_time", "st"], Time),
            arg(&["duration", "d"], Time),
            arg(&["curve", "c"], CURVES),
        ],
    ),
    filter("highpass", Audio, PASS),
    filter("lowpass", Audio, PASS),
    filter(
        "equalizer",
        Audio,
        &[
            arg(&["frequency", "f"], Int(0, 400_000)),
            arg(&["width_type", "t"], One(&["h", "q", "o", "s", "k"])),
            arg(&["width", "w"], Number(0, 99_999)),
            arg(&["gain", "g"], Number(-900, 900)),
        ],
    ),
    filter(
        "silenceremove",
        Audio,
        &[
            arg(&["start_periods"], Int(0, 9_000)),
            arg(&["start_duration"], Time),
            arg(&["start_threshold"], LEVEL),
            named(&["stop_periods"], Int(-9_000, 9_000)),
            named(&["stop_duration"], Time),
            named(&["stop_threshold"], LEVEL),
            named(&["detection"], One(&["avg", "rms", "peak"])),
        ],
    ),
    filter("channelsplit", Audio, &[arg(&["channel_layout"], LAYOUTS)]),
];
