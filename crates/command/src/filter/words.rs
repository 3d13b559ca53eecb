//! What several filters have in common.

use super::{Arg, arg, named};
use crate::kind::Kind::{self, Any, Expression, Flags, Int, Number, One};

/// Yes or no.
pub const BOOL: Kind = One(&["0", "1", "false", "true"]);
/// A number of points, from what is known of a picture.
pub const PICTURE: Kind = Expression(&[
    "in_w", "in_h", "iw", "ih", "out_w", "out_h", "ow", "oh", "a", "sar", "dar", "hsub", "vsub",
    "x", "y", "n", "t", "w", "h",
]);
/// A place, from what is known of two pictures.
pub const PLACE: Kind = Expression(&[
    "main_w",
    "main_h",
    "W",
    "H",
    "overlay_w",
    "overlay_h",
    "w",
    "h",
    "x",
    "y",
    "hsub",
    "vsub",
    "n",
    "t",
]);
/// A time stamp.
pub const STAMPS: Kind = Expression(&[
    "FRAME_RATE",
    "FR",
    "INTERLACED",
    "N",
    "NB_CONSUMED_SAMPLES",
    "NB_SAMPLES",
    "PREV_INPTS",
    "PREV_INT",
    "PREV_OUTPTS",
    "PREV_OUTT",
    "PTS",
    "SAMPLE_RATE",
    "SR",
    "S",
    "STARTPTS",
    "STARTT",
    "T",
    "TB",
]);
/// Whether a frame is taken.
pub const CHOICE: Kind = Expression(&[
    "n",
    "selected_n",
    "prev_selected_n",
    "TB",
    "pts",
    "t",
    "prev_pts",
    "prev_selected_pts",
    "prev_selected_t",
    "start_pts",
    "start_t",
    "pict_type",
    "I",
    "P",
    "B",
    "interlace_type",
    "PROGRESSIVE",
    "TOPFIRST",
    "BOTTOMFIRST",
    "key",
    "scene",
    "concatdec_select",
    "consumed_samples_n",
    "samples_n",
    "sample_rate",
]);
/// When a filter works.
pub const WHEN: Arg = named(&["enable"], Expression(&["t", "n", "w", "h"]));
/// A level of sound.
pub const LEVEL: Kind = Any(&[Kind::Decibel, Number(0, 100)]);
/// From -1 to 1.
pub const ONE_TO_ONE: Kind = Number(-1, 1);

/// Pixel formats.
pub const PIXELS: Kind = One(&[
    "yuv420p",
    "yuv422p",
    "yuv444p",
    "yuv410p",
    "yuv411p",
    "yuv440p",
    "yuvj420p",
    "yuvj422p",
    "yuvj444p",
    "yuva420p",
    "yuva422p",
    "yuva444p",
    "yuv420p10le",
    "yuv422p10le",
    "yuv444p10le",
    "yuv420p10",
    "yuv422p10",
    "yuv444p10",
    "yuv420p12le",
    "yuv422p12le",
    "yuv444p12le",
    "yuva444p10le",
    "yuva444p12le",
    "nv12",
    "nv16",
    "nv21",
    "p010le",
    "p010",
    "p016le",
    "gray",
    "gray8",
    "gray10le",
    "gray12le",
    "gray16le",
    "monob",
    "monow",
    "pal8",
    "rgb24",
    "bgr24",
    "rgba",
    "bgra",
    "argb",
    "abgr",
    "rgb0",
    "bgr0",
    "0rgb",
    "0bgr",
    "gbrp",
    "gbrap",
    "gbrp10le",
    "gbrp12le",
    "rgb48le",
    "rgb48be",
    "rgba64le",
    "rgba64be",
    "uyvy422",
    "yuyv422",
    "cuda",
    "qsv",
    "vaapi",
    "videotoolbox_vld",
]);

/// Layouts of channels.
pub const LAYOUTS: Kind = One(&[
    "mono",
    "stereo",
    "2.1",
    "3.0",
    "3.1",
    "4.0",
    "quad",
    "5.0",
    "5.0(side)",
    "5.1",
    "5.1(side)",
    "6.1",
    "7.0",
    "7.1",
    "downmix",
]);

/// Sample formats.
pub const SAMPLES: Kind = One(&[
    "u8", "s16", "s32", "flt", "dbl", "u8p", "s16p", "s32p", "fltp", "dblp", "s64", "s64p",
]);
/// Samples per second.
pub const HERTZ: Kind = Int(1, 768_000);
/// Colour matrices.
pub const SPACES: Kind = One(&[
    "auto",
    "bt709",
    "fcc",
    "bt470",
    "bt470bg",
    "bt601",
    "bt601-6-525",
    "bt601-6-625",
    "smpte170m",
    "smpte240m",
    "bt2020",
    "bt2020nc",
    "bt2020ncl",
    "bt2020c",
    "unknown",
]);
/// Ranges of values.
pub const RANGES: Kind = One(&[
    "auto", "unknown", "full", "jpeg", "pc", "limited", "mpeg", "tv",
]);
/// How sizes are changed.
pub const SCALERS: Kind = Flags(&[
    "fast_bilinear",
    "bilinear",
    "bicubic",
    "experimental",
    "neighbor",
    "area",
    "bicublin",
    "gauss",
    "sinc",
    "lanczos",
    "spline",
    "print_info",
    "accurate_rnd",
    "full_chroma_int",
    "full_chroma_inp",
    "bitexact",
]);
/// What happens when an input ends.
pub const AT_END: Kind = One(&["repeat", "endall", "pass"]);
/// Which way.
pub const FADES: Kind = One(&["in", "out"]);
/// Curves of a fade.
pub const CURVES: Kind = One(&[
    "tri", "qsin", "esin", "hsin", "log", "ipar", "qua", "cub", "squ", "cbr", "par", "exp",
    "iqsin", "ihsin", "dese", "desi", "losi", "sinc", "isinc", "nofade",
]);
/// Arguments of deinterlacers.
pub const FIELDS: &[Arg] = &[
    arg(
        &["mode"],
        One(&[
            "0",
            "1",
            "2",
            "3",
            "send_frame",
            "send_field",
            "send_frame_nospatial",
            "send_field_nospatial",
        ]),
    ),
    arg(&["parity"], One(&["-1", "0", "1", "tff", "bff", "auto"])),
    arg(&["deint"], One(&["0", "1", "all", "interlaced"])),
];
/// A number of a frame.
pub const MOST_FRAMES: Kind = Int(0, 1_000_000_000);
/// A number of streams.
pub const STREAMS: Kind = Int(1, 64);
/// Arguments of filters that let some frequencies pass.
pub const PASS: &[Arg] = &[
    arg(&["frequency", "f"], Int(1, 400_000)),
    named(&["poles", "p"], Int(1, 2)),
    named(&["width_type", "t"], One(&["h", "q", "o", "s", "k"])),
    named(&["width", "w"], Number(0, 99_999)),
    named(&["mix", "m"], Number(0, 1)),
];
/// Arguments of what stands beside each other.
pub const STACK: &[Arg] = &[arg(&["inputs"], Int(2, 64)), arg(&["shortest"], BOOL)];
/// Arguments of what is there several times.
pub const SPLIT: &[Arg] = &[arg(&["outputs"], STREAMS)];
