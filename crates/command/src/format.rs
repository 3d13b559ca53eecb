//! Containers by FFmpeg's names. None that names further files, listens, or is a device.

/// How the files of a muxer come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// One.
    One,
    /// Pictures: one, or numbered.
    Pictures,
    /// Pieces: always numbered.
    Pieces,
}

/// Muxers with the endings of names that stand for them; the first ending is used for the file in scratch.
pub const MUXERS: &[(&str, &[&str], Files)] = &[
    ("mp4", &["mp4", "m4p"], Files::One),
    ("mov", &["mov", "qt"], Files::One),
    ("ipod", &["m4v", "m4a", "m4b"], Files::One),
    ("3gp", &["3gp"], Files::One),
    ("matroska", &["mkv", "mka", "mks"], Files::One),
    ("webm", &["webm"], Files::One),
    ("mpegts", &["ts", "m2t", "m2ts", "mts"], Files::One),
    ("mpeg", &["mpg", "mpeg"], Files::One),
    ("vob", &["vob"], Files::One),
    ("avi", &["avi"], Files::One),
    ("flv", &["flv"], Files::One),
    ("asf", &["wmv", "wma", "asf"], Files::One),
    ("mxf", &["mxf"], Files::One),
    ("nut", &["nut"], Files::One),
    ("ivf", &["ivf"], Files::One),
    ("yuv4mpegpipe", &["y4m"], Files::One),
    ("h264", &["h264", "264"], Files::One),
    ("hevc", &["h265", "hevc", "265"], Files::One),
    ("gif", &["gif"], Files::One),
    ("apng", &["apng"], Files::One),
    ("webp", &["webp"], Files::One),
    (
        "image2",
        &[
            "png", "jpg", "jpeg", "bmp", "tif", "tiff", "tga", "dpx", "exr", "jp2", "jxl", "ppm",
            "pgm",
        ],
        Files::Pictures,
    ),
    ("segment", &[], Files::Pieces),
    ("mp3", &["mp3"], Files::One),
    ("mp2", &["mp2"], Files::One),
    ("adts", &["aac"], Files::One),
    ("ac3", &["ac3"], Files::One),
    ("eac3", &["eac3", "ec3"], Files::One),
    ("flac", &["flac"], Files::One),
    ("wav", &["wav"], Files::One),
    ("w64", &["w64"], Files::One),
    ("aiff", &["aif", "aiff"], Files::One),
    ("au", &["au"], Files::One),
    ("caf", &["caf"], Files::One),
    ("ogg", &["ogg", "oga"], Files::One),
    ("ogv", &["ogv"], Files::One),
    ("opus", &["opus"], Files::One),
    ("wv", &["wv"], Files::One),
    ("s16le", &["sw"], Files::One),
    ("srt", &["srt"], Files::One),
    ("webvtt", &["vtt"], Files::One),
    ("ass", &["ass", "ssa"], Files::One),
    ("rawvideo", &["yuv", "rgb"], Files::One),
];

/// A muxer by its name.
pub fn muxer(name: &str) -> Option<&'static (&'static str, &'static [&'static str], Files)> {
    MUXERS.iter().find(|(known, ..)| *known == name)
}

/// The muxer that an ending stands for.
pub fn muxer_of(ending: &str) -> Option<&'static (&'static str, &'static [&'static str], Files)> {
    let ending = ending.to_ascii_lowercase();
    MUXERS
        .iter()
        .find(|(_, endings, _)| endings.contains(&ending.as_str()))
}

/// Demuxers. What is read is recognised by its content among these, whatever its name says.
pub const DEMUXERS: &[&str] = &[
    "mov",
    "mp4",
    "m4a",
    "3gp",
    "3g2",
    "mj2",
    "matroska",
    "webm",
    "mpegts",
    "mpeg",
    "mpegvideo",
    "avi",
    "flv",
    "live_flv",
    "asf",
    "mxf",
    "gxf",
    "nut",
    "ivf",
    "obu",
    "ogg",
    "dv",
    "rm",
    "wtv",
    "y4m",
    "yuv4mpegpipe",
    "h261",
    "h263",
    "h264",
    "hevc",
    "m4v",
    "mjpeg",
    "av1",
    "vc1",
    "dnxhd",
    "dirac",
    "gif",
    "apng",
    "webp_anim",
    "png_pipe",
    "jpeg_pipe",
    "bmp_pipe",
    "tiff_pipe",
    "webp_pipe",
    "gif_pipe",
    "ppm_pipe",
    "pgm_pipe",
    "dpx_pipe",
    "exr_pipe",
    "j2k_pipe",
    "jpegxl_pipe",
    "mp3",
    "aac",
    "ac3",
    "eac3",
    "dts",
    "dtshd",
    "truehd",
    "mlp",
    "flac",
    "wav",
    "w64",
    "aiff",
    "au",
    "caf",
    "amr",
    "ape",
    "tta",
    "wv",
    "mpc",
    "mpc8",
    "tak",
    "opus",
    "srt",
    "webvtt",
    "ass",
    "subviewer",
    "microdvd",
    "sup",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn an_ending_stands_for_one_muxer_and_none_that_opens_files_is_there() {
        let mut seen = BTreeSet::new();
        for (_, endings, _) in MUXERS {
            for ending in *endings {
                assert!(seen.insert(ending), "{ending} twice");
            }
        }
        let bad = [
            "hls",
            "dash",
            "concat",
            "tee",
            "fifo",
            "image2pipe",
            "lavfi",
            "rtp",
            "rtsp",
            "sdp",
            "ffmetadata",
            "webm_chunk",
            "webm_dash_manifest",
            "smoothstreaming",
            "stream_segment",
            "null",
            "image2",
            "vobsub",
        ];
        for name in bad {
            assert!(name == "image2" || muxer(name).is_none(), "{name}");
            assert!(!DEMUXERS.contains(&name), "{name}");
        }
    }
}
