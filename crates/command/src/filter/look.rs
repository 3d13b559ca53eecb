//! Filters that change what a frame looks like.

use super::Works::Video;
use super::words::*;
use super::{Filter, arg, filter, named};
use crate::kind::Kind::{Any, Color, Int, List, Number, One, Time};

/// Colour, noise, boxes.
pub const LOOK: &[Filter] = &[
    // Colour.
    filter(
        "format",
        Video,
        &[arg(&["pix_fmts"], List(&PIXELS, '|', 32))],
    ),
    filter(
        "colorspace",
        Video,
        &[
            arg(
                &["all"],
                One(&[
                    "bt470m",
                    "bt470bg",
                    "bt601-6-525",
                    "bt601-6-625",
                    "bt709",
                    "smpte170m",
                    "smpte240m",
                    "bt2020",
                ]),
            ),
            named(
                &["iall"],
                One(&[
                    "bt470m",
                    "bt470bg",
                    "bt601-6-525",
                    "bt601-6-625",
                    "bt709",
                    "smpte170m",
                    "smpte240m",
                    "bt2020",
                ]),
            ),
            named(
                &["format"],
                One(&[
                    "yuv420p",
                    "yuv420p10",
                    "yuv420p12",
                    "yuv422p",
                    "yuv422p10",
                    "yuv444p",
                    "yuv444p10",
                ]),
            ),
            named(&["range"], One(&["tv", "mpeg", "pc", "jpeg"])),
        ],
    ),
    filter(
        "tonemap",
        Video,
        &[
            arg(
                &["tonemap"],
                One(&[
                    "none", "linear", "gamma", "clip", "reinhard", "hable", "mobius",
                ]),
            ),
            arg(&["param"], Number(0, 1_000)),
            arg(&["desat"], Number(0, 1_000)),
            arg(&["peak"], Number(0, 10_000)),
        ],
    ),
    filter(
        "eq",
        Video,
        &[
            arg(&["contrast"], Number(-1_000, 1_000)),
            arg(&["brightness"], ONE_TO_ONE),
            arg(&["saturation"], Number(0, 3)),
            arg(&["gamma"], Number(0, 10)),
        ],
    ),
    filter(
        "hue",
        Video,
        &[
            arg(&["h"], Number(-3_600, 3_600)),
            arg(&["s"], Number(-10, 10)),
            named(&["b"], Number(-10, 10)),
        ],
    ),
    filter(
        "colorbalance",
        Video,
        &[
            arg(&["rs"], ONE_TO_ONE),
            arg(&["gs"], ONE_TO_ONE),
            arg(&["bs"], ONE_TO_ONE),
            arg(&["rm"], ONE_TO_ONE),
            arg(&["gm"], ONE_TO_ONE),
            arg(&["bm"], ONE_TO_ONE),
            arg(&["rh"], ONE_TO_ONE),
            arg(&["gh"], ONE_TO_ONE),
            arg(&["bh"], ONE_TO_ONE),
        ],
    ),
    filter(
        "curves",
        Video,
        &[arg(
            &["preset"],
            One(&[
                "none",
                "color_negative",
                "cross_process",
                "darker",
                "increase_contrast",
                "lighter",
                "linear_contrast",
                "medium_contrast",
                "negative",
                "strong_contrast",
                "vintage",
            ]),
        )],
    ),
    filter("negate", Video, &[]),
    filter(
        "setparams",
        Video,
        &[
            arg(&["field_mode"], One(&["auto", "bff", "tff", "prog"])),
            arg(
                &["range"],
                One(&["auto", "unspecified", "limited", "tv", "full", "pc"]),
            ),
            named(
                &["color_primaries"],
                One(&[
                    "auto",
                    "bt709",
                    "bt470m",
                    "bt470bg",
                    "smpte170m",
                    "smpte240m",
                    "bt2020",
                ]),
            ),
            named(
                &["color_trc"],
                One(&[
                    "auto",
                    "bt709",
                    "smpte170m",
                    "linear",
                    "bt2020-10",
                    "bt2020-12",
                    "smpte2084",
                    "arib-std-b67",
                ]),
            ),
            named(
                &["colorspace"],
                One(&[
                    "auto",
                    "bt709",
                    "bt470bg",
                    "smpte170m",
                    "smpte240m",
                    "bt2020nc",
                    "bt2020c",
                ]),
            ),
        ],
    ),
    // Looks.
    filter(
        "hqdn3d",
        Video,
        &[
            arg(&["luma_spatial"], Number(0, 1_000)),
            arg(&["chroma_spatial"], Number(0, 1_000)),
            arg(&["luma_tmp"], Number(0, 1_000)),
            arg(&["chroma_tmp"], Number(0, 1_000)),
        ],
    ),
    filter(
        "nlmeans",
        Video,
        &[
            arg(&["s"], Number(1, 30)),
            arg(&["p"], Int(0, 99)),
            arg(&["pc"], Int(0, 99)),
            arg(&["r"], Int(0, 99)),
            arg(&["rc"], Int(0, 99)),
        ],
    ),
    filter(
        "unsharp",
        Video,
        &[
            arg(&["luma_msize_x", "lx"], Int(3, 23)),
            arg(&["luma_msize_y", "ly"], Int(3, 23)),
            arg(&["luma_amount", "la"], Number(-2, 5)),
            arg(&["chroma_msize_x", "cx"], Int(3, 23)),
            arg(&["chroma_msize_y", "cy"], Int(3, 23)),
            arg(&["chroma_amount", "ca"], Number(-2, 5)),
        ],
    ),
    filter(
        "gblur",
        Video,
        &[
            arg(&["sigma"], Number(0, 1_024)),
            arg(&["steps"], Int(1, 6)),
        ],
    ),
    filter(
        "boxblur",
        Video,
        &[
            arg(&["luma_radius", "lr"], PICTURE),
            arg(&["luma_power", "lp"], Int(0, 100)),
            arg(&["chroma_radius", "cr"], PICTURE),
            arg(&["chroma_power", "cp"], Int(0, 100)),
        ],
    ),
    filter(
        "fade",
        Video,
        &[
            arg(&["type", "t"], FADES),
            arg(&["start_frame", "s"], MOST_FRAMES),
            arg(&["nb_frames", "n"], MOST_FRAMES),
            arg(&["alpha"], BOOL),
            arg(&["start_time", "st"], Time),
            arg(&["duration", "d"], Time),
            arg(&["color", "c"], Color),
        ],
    ),
    filter(
        "drawbox",
        Video,
        &[
            arg(&["x"], PICTURE),
            arg(&["y"], PICTURE),
            arg(&["width", "w"], PICTURE),
            arg(&["height", "h"], PICTURE),
            arg(&["color", "c"], Color),
            arg(
                &["thickness", "t"],
                Any(&[One(&["fill", "max"]), Int(0, 10_000)]),
            ),
            WHEN,
        ],
    ),
    filter(
        "delogo",
        Video,
        &[
            arg(&["x"], Int(0, 32_768)),
            arg(&["y"], Int(0, 32_768)),
            arg(&["w"], Int(1, 32_768)),
            arg(&["h"], Int(1, 32_768)),
            WHEN,
        ],
    ),
    filter(
        "palettegen",
        Video,
        &[
            arg(&["max_colors"], Int(2, 256)),
            arg(&["reserve_transparent"], BOOL),
            named(&["stats_mode"], One(&["full", "diff", "single"])),
        ],
    ),
    filter(
        "paletteuse",
        Video,
        &[
            arg(
                &["dither"],
                One(&[
                    "bayer",
                    "heckbert",
                    "floyd_steinberg",
                    "sierra2",
                    "sierra2_4a",
                    "sierra3",
                    "burkes",
                    "atkinson",
                    "none",
                ]),
            ),
            arg(&["bayer_scale"], Int(0, 5)),
            arg(&["diff_mode"], One(&["rectangle"])),
            arg(&["new"], BOOL),
            arg(&["alpha_threshold"], Int(0, 255)),
        ],
    ),
];
