//! Options and where they may stand.

mod encoder;
mod input;
mod output;

pub use input::INPUT;
pub use output::OUTPUT;

use crate::graph::Use;
use crate::kind::Kind::{self, Any, Flag, Graph, Int, Number, One, Time};

/// An option.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// What is written.
    pub name: &'static str,
    /// Other names, with the stream specifier that they stand for.
    pub aliases: &'static [(&'static str, &'static str)],
    /// A stream specifier may follow.
    pub streams: bool,
    /// What its value may be.
    pub kind: Kind,
}

const fn option(name: &'static str, kind: Kind) -> Spec {
    Spec {
        name,
        aliases: &[],
        streams: false,
        kind,
    }
}

/// One that may be for some streams only.
const fn of_streams(
    name: &'static str,
    aliases: &'static [(&'static str, &'static str)],
    kind: Kind,
) -> Spec {
    Spec {
        name,
        aliases,
        streams: true,
        kind,
    }
}

const LEVELS: Kind = One(&[
    "quiet",
    "panic",
    "fatal",
    "error",
    "warning",
    "info",
    "verbose",
    "repeat+info",
]);
const THREADS: Kind = Any(&[One(&["auto"]), Int(0, 256)]);

/// What command jobs take and do not hand on: how FFmpeg talks is the node's to say.
pub const IGNORED: &[Spec] = &[
    option("y", Flag),
    option("n", Flag),
    option("hide_banner", Flag),
    option("nostdin", Flag),
    option("stats", Flag),
    option("nostats", Flag),
    option("benchmark", Flag),
    option("stats_period", Time),
    Spec {
        name: "loglevel",
        aliases: &[("v", "")],
        streams: false,
        kind: LEVELS,
    },
];

/// Options of the whole run.
pub const GLOBAL: &[Spec] = &[
    option("copyts", Flag),
    option("start_at_zero", Flag),
    option("xerror", Flag),
    option("ignore_unknown", Flag),
    option("copy_unknown", Flag),
    option("max_error_rate", Number(0, 1)),
    option("filter_complex_threads", Int(0, 256)),
    option("filter_threads", Int(0, 256)),
    Spec {
        name: "filter_complex",
        aliases: &[("lavfi", "")],
        streams: false,
        kind: Graph(Use::Complex),
    },
];

/// Why an option that people know is not taken, and what to write instead.
pub const REFUSED: &[(&str, &str)] = &[
    (
        "i",
        "inputs are named beside their options, not within: use --input",
    ),
    (
        "pass",
        "a second pass would need the first one's file: use -crf, or submit a job with a bitrate, whose rate is controlled over the whole film",
    ),
    (
        "passlogfile",
        "it names a file: use -crf, or submit a job with a bitrate",
    ),
    (
        "progress",
        "progress is reported as every job's is: leave it out",
    ),
    (
        "report",
        "it writes a file: `recode-client logs` shows what FFmpeg said last",
    ),
    ("vstats", "it writes a file: leave it out"),
    ("vstats_file", "it names a file: leave it out"),
    ("attach", "it names a file: leave it out"),
    ("dump_attachment", "it names a file: leave it out"),
    (
        "filter_complex_script",
        "it names a file: write the filters into -filter_complex",
    ),
    (
        "filter_script",
        "it names a file: write the filters into -vf or -af",
    ),
    ("sdp_file", "it names a file: leave it out"),
    (
        "protocol_whitelist",
        "inputs are read as files only: leave it out",
    ),
    ("format_whitelist", "it is always set: leave it out"),
    (
        "safe",
        "it belongs to concat lists, which name other files: give the inputs one by one and use the filter concat",
    ),
    ("init_hw_device", "devices are the node's: use -hwaccel"),
    ("filter_hw_device", "devices are the node's: use -hwaccel"),
    ("vaapi_device", "devices are the node's: use -hwaccel vaapi"),
    ("qsv_device", "devices are the node's: use -hwaccel qsv"),
    (
        "segment_list",
        "it names a file: the report lists the files that were made",
    ),
    (
        "hls_time",
        "HLS makes files that name each other: use -f segment with a number such as %03d in the output's name",
    ),
    (
        "hls_segment_filename",
        "it names files: use -f segment with a number such as %03d in the output's name",
    ),
    ("re", "a job does not wait for the clock: leave it out"),
    (
        "readrate",
        "a job does not wait for the clock: leave it out",
    ),
];
