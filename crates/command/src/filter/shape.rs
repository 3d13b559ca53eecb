//! Filters that change which frames there are, and how large.

use super::Works::{Audio, Video};
use super::words::*;
use super::{Filter, arg, filter, named};
use crate::kind::Kind::{self, Color, Int, Number, One, Rate, Size, Time};

/// Size, time, choice, fields.
pub const SHAPE: &[Filter] = &[
    // Size and shape.
    filter(
        "scale",
        Video,
        &[
            arg(&["w", "width"], PICTURE),
            arg(&["h", "height"], PICTURE),
            arg(&["flags"], SCALERS),
            arg(&["interl"], One(&["-1", "0", "1"])),
            named(&["size", "s"], Size),
            named(&["in_color_matrix"], SPACES),
            named(&["out_color_matrix"], SPACES),
            named(&["in_range"], RANGES),
            named(&["out_range"], RANGES),
            named(
                &["force_original_aspect_ratio"],
                One(&["disable", "decrease", "increase", "0", "1", "2"]),
            ),
            named(&["force_divisible_by"], Int(1, 256)),
            named(&["reset_sar"], BOOL),
            named(&["eval"], One(&["init", "frame"])),
        ],
    ),
    filter(
        "zscale",
        Video,
        &[
            arg(&["w", "width"], PICTURE),
            arg(&["h", "height"], PICTURE),
            named(
                &["filter", "f"],
                One(&[
                    "point", "bilinear", "bicubic", "spline16", "spline36", "lanczos",
                ]),
            ),
            named(
                &["range", "r"],
                One(&["input", "limited", "full", "tv", "pc"]),
            ),
            named(
                &["primaries", "p"],
                One(&["input", "709", "bt709", "170m", "2020", "bt2020", "240m"]),
            ),
            named(
                &["transfer", "t"],
                One(&[
                    "input",
                    "709",
                    "bt709",
                    "2020_10",
                    "2020_12",
                    "linear",
                    "smpte2084",
                    "arib-std-b67",
                ]),
            ),
            named(
                &["matrix", "m"],
                One(&[
                    "input", "709", "bt709", "470bg", "170m", "2020_ncl", "bt2020nc",
                ]),
            ),
            named(&["npl"], Number(0, 10_000)),
        ],
    ),
    filter(
        "crop",
        Video,
        &[
            arg(&["out_w", "w"], PICTURE),
            arg(&["out_h", "h"], PICTURE),
            arg(&["x"], PICTURE),
            arg(&["y"], PICTURE),
            arg(&["keep_aspect"], BOOL),
            arg(&["exact"], BOOL),
        ],
    ),
    filter(
        "pad",
        Video,
        &[
            arg(&["width", "w"], PICTURE),
            arg(&["height", "h"], PICTURE),
            arg(&["x"], PICTURE),
            arg(&["y"], PICTURE),
            arg(&["color"], Color),
            named(&["aspect"], Kind::Aspect),
        ],
    ),
    filter(
        "setsar",
        Video,
        &[
            arg(&["sar", "ratio", "r"], Kind::Aspect),
            arg(&["max"], Int(1, 65_535)),
        ],
    ),
    filter(
        "setdar",
        Video,
        &[
            arg(&["dar", "ratio", "r"], Kind::Aspect),
            arg(&["max"], Int(1, 65_535)),
        ],
    ),
    filter(
        "transpose",
        Video,
        &[
            arg(
                &["dir"],
                One(&[
                    "0",
                    "1",
                    "2",
                    "3",
                    "cclock_flip",
                    "clock",
                    "cclock",
                    "clock_flip",
                ]),
            ),
            arg(&["passthrough"], One(&["none", "portrait", "landscape"])),
        ],
    ),
    filter("hflip", Video, &[]),
    filter("vflip", Video, &[]),
    filter(
        "rotate",
        Video,
        &[
            arg(&["angle", "a"], PICTURE),
            arg(&["out_w", "ow"], PICTURE),
            arg(&["out_h", "oh"], PICTURE),
            named(&["fillcolor", "c"], Color),
        ],
    ),
    // Time.
    filter(
        "fps",
        Video,
        &[
            arg(&["fps"], Rate),
            arg(&["start_time"], Number(-1_000_000, 1_000_000)),
            arg(&["round"], One(&["zero", "inf", "down", "up", "near"])),
            arg(&["eof_action"], One(&["round", "pass"])),
        ],
    ),
    filter("framestep", Video, &[arg(&["step"], Int(1, 1_000_000))]),
    filter(
        "minterpolate",
        Video,
        &[
            arg(&["fps"], Rate),
            arg(&["mi_mode"], One(&["dup", "blend", "mci"])),
            named(&["mc_mode"], One(&["obmc", "aobmc"])),
            named(&["me_mode"], One(&["bidir", "bilat"])),
            named(&["vsbmc"], BOOL),
        ],
    ),
    filter(
        "trim",
        Video,
        &[
            arg(&["start"], Time),
            arg(&["end"], Time),
            named(&["duration"], Time),
            named(&["start_frame"], MOST_FRAMES),
            named(&["end_frame"], MOST_FRAMES),
            named(&["start_pts"], Int(0, i64::MAX / 2)),
            named(&["end_pts"], Int(0, i64::MAX / 2)),
        ],
    ),
    filter(
        "atrim",
        Audio,
        &[
            arg(&["start"], Time),
            arg(&["end"], Time),
            named(&["duration"], Time),
            named(&["start_sample"], Int(0, i64::MAX / 2)),
            named(&["end_sample"], Int(0, i64::MAX / 2)),
        ],
    ),
    filter("setpts", Video, &[arg(&["expr"], STAMPS)]),
    filter("asetpts", Audio, &[arg(&["expr"], STAMPS)]),
    filter(
        "tpad",
        Video,
        &[
            arg(&["start"], Int(0, 100_000)),
            arg(&["stop"], Int(0, 100_000)),
            arg(&["start_mode"], One(&["add", "clone"])),
            arg(&["stop_mode"], One(&["add", "clone"])),
            arg(&["start_duration"], Time),
            arg(&["stop_duration"], Time),
            arg(&["color"], Color),
        ],
    ),
    filter(
        "loop",
        Video,
        &[
            arg(&["loop"], Int(0, 10_000)),
            arg(&["size"], Int(0, 1_000)),
            arg(&["start"], MOST_FRAMES),
        ],
    ),
    // Which frames.
    filter(
        "select",
        Video,
        &[arg(&["expr", "e"], CHOICE), arg(&["outputs", "n"], STREAMS)],
    ),
    filter(
        "aselect",
        Audio,
        &[arg(&["expr", "e"], CHOICE), arg(&["outputs", "n"], STREAMS)],
    ),
    filter("thumbnail", Video, &[arg(&["n"], Int(2, 1_000))]),
    filter(
        "mpdecimate",
        Video,
        &[
            arg(&["max"], Int(-100_000, 100_000)),
            named(&["hi"], Int(0, 1_000_000)),
            named(&["lo"], Int(0, 1_000_000)),
            named(&["frac"], Number(0, 1)),
        ],
    ),
    filter("decimate", Video, &[arg(&["cycle"], Int(2, 25))]),
    filter(
        "tile",
        Video,
        &[
            arg(&["layout"], Size),
            arg(&["nb_frames"], Int(0, 4_096)),
            arg(&["margin"], Int(0, 1_024)),
            arg(&["padding"], Int(0, 1_024)),
            arg(&["color"], Color),
        ],
    ),
    // Fields.
    filter("yadif", Video, FIELDS),
    filter("bwdif", Video, FIELDS),
    filter("idet", Video, &[]),
    filter(
        "fieldorder",
        Video,
        &[arg(&["order"], One(&["bff", "tff"]))],
    ),
    filter(
        "setfield",
        Video,
        &[arg(&["mode"], One(&["auto", "bff", "tff", "prog"]))],
    ),
    filter("separatefields", Video, &[]),
    filter(
        "weave",
        Video,
        &[arg(&["first_field"], One(&["top", "bottom", "t", "b"]))],
    ),
    filter(
        "interlace",
        Video,
        &[
            arg(&["scan"], One(&["tff", "bff"])),
            arg(
                &["lowpass"],
                One(&["0", "1", "2", "off", "linear", "complex"]),
            ),
        ],
    ),
    filter(
        "tinterlace",
        Video,
        &[arg(
            &["mode"],
            One(&[
                "merge",
                "drop_even",
                "drop_odd",
                "pad",
                "interleave_top",
                "interleave_bottom",
                "interlacex2",
                "mergex2",
            ]),
        )],
    ),
];
