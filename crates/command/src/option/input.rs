//! Options of inputs.

use super::THREADS;
use super::{Spec, of_streams, option};
use crate::filter::PIXELS;
use crate::kind::Kind::{
    Bits, Decoder, Demuxer, Flag, Flags, Int, Number, Offset, One, Rate, Size, Time,
};

/// Options of an input.
pub const INPUT: &[Spec] = &[
    option("ss", Time),
    option("sseof", Offset),
    option("t", Time),
    option("to", Time),
    option("itsoffset", Offset),
    option("itsscale", Number(0, 1_000)),
    option("stream_loop", Int(0, 1_000)),
    option("loop", Int(0, 1)),
    option("framerate", Rate),
    option("accurate_seek", Flag),
    option("noaccurate_seek", Flag),
    option("seek_timestamp", Int(0, 1)),
    option("f", Demuxer),
    option("an", Flag),
    option("vn", Flag),
    option("sn", Flag),
    option("dn", Flag),
    of_streams("r", &[], Rate),
    of_streams(
        "c",
        &[
            ("codec", ""),
            ("vcodec", "v"),
            ("acodec", "a"),
            ("scodec", "s"),
        ],
        Decoder,
    ),
    of_streams(
        "hwaccel",
        &[],
        One(&[
            "none",
            "auto",
            "cuda",
            "nvdec",
            "qsv",
            "vaapi",
            "videotoolbox",
        ]),
    ),
    of_streams("hwaccel_device", &[], Int(0, 64)),
    of_streams(
        "hwaccel_output_format",
        &[],
        One(&[
            "cuda",
            "qsv",
            "vaapi",
            "nv12",
            "yuv420p",
            "videotoolbox_vld",
        ]),
    ),
    of_streams("threads", &[], THREADS),
    of_streams(
        "discard",
        &[],
        One(&["none", "default", "noref", "bidir", "nokey", "all"]),
    ),
    of_streams(
        "skip_frame",
        &[],
        One(&["none", "default", "noref", "bidir", "nokey", "all"]),
    ),
    of_streams("apply_cropping", &[], Int(0, 3)),
    option("autorotate", Flag),
    option("noautorotate", Flag),
    option("display_rotation", Number(-360, 360)),
    option("fix_sub_duration", Flag),
    option("ignore_editlist", Int(0, 1)),
    option("probesize", Bits),
    option("analyzeduration", Bits),
    option(
        "fflags",
        Flags(&[
            "genpts",
            "igndts",
            "discardcorrupt",
            "nobuffer",
            "sortdts",
            "fastseek",
            "nofillin",
        ]),
    ),
    option(
        "err_detect",
        Flags(&[
            "crccheck",
            "bitstream",
            "buffer",
            "explode",
            "ignore_err",
            "careful",
            "compliant",
            "aggressive",
        ]),
    ),
    option("s", Size),
    option("video_size", Size),
    option("pixel_format", PIXELS),
    option("pix_fmt", PIXELS),
    option("ar", Int(1, 768_000)),
    option("ac", Int(1, 64)),
    option("guess_layout_max", Int(0, 64)),
];
