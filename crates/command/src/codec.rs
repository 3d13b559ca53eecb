//! Codecs by FFmpeg's names.

/// What an encoder makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// Moving pictures.
    Video,
    /// A picture, or a few: cheap.
    Picture,
    /// Sound.
    Audio,
    /// Subtitles.
    Subtitle,
}

use Medium::{Audio, Picture, Subtitle, Video};

/// Encoders. Ones that need hardware are among them: a node announces only those that it has tried.
pub const ENCODERS: &[(&str, Medium)] = &[
    ("libx264", Video),
    ("libx264rgb", Video),
    ("libx265", Video),
    ("libsvtav1", Video),
    ("libaom-av1", Video),
    ("librav1e", Video),
    ("libvpx", Video),
    ("libvpx-vp9", Video),
    ("libopenh264", Video),
    ("libkvazaar", Video),
    ("libvvenc", Video),
    ("libtheora", Video),
    ("libxvid", Video),
    ("h264_nvenc", Video),
    ("hevc_nvenc", Video),
    ("av1_nvenc", Video),
    ("h264_qsv", Video),
    ("hevc_qsv", Video),
    ("av1_qsv", Video),
    ("vp9_qsv", Video),
    ("mpeg2_qsv", Video),
    ("h264_vaapi", Video),
    ("hevc_vaapi", Video),
    ("av1_vaapi", Video),
    ("vp8_vaapi", Video),
    ("vp9_vaapi", Video),
    ("h264_amf", Video),
    ("hevc_amf", Video),
    ("av1_amf", Video),
    ("h264_videotoolbox", Video),
    ("hevc_videotoolbox", Video),
    ("prores_videotoolbox", Video),
    ("h264_v4l2m2m", Video),
    ("hevc_v4l2m2m", Video),
    ("mpsoc_vcu_h264", Video),
    ("mpsoc_vcu_hevc", Video),
    ("prores", Video),
    ("prores_aw", Video),
    ("prores_ks", Video),
    ("dnxhd", Video),
    ("dvvideo", Video),
    ("mpeg1video", Video),
    ("mpeg2video", Video),
    ("mpeg4", Video),
    ("h263", Video),
    ("msmpeg4", Video),
    ("wmv2", Video),
    ("flv", Video),
    ("ffv1", Video),
    ("ffvhuff", Video),
    ("huffyuv", Video),
    ("utvideo", Video),
    ("magicyuv", Video),
    ("cfhd", Video),
    ("jpeg2000", Video),
    ("libopenjpeg", Video),
    ("qtrle", Video),
    ("v210", Video),
    ("rawvideo", Video),
    ("mjpeg", Picture),
    ("png", Picture),
    ("apng", Picture),
    ("bmp", Picture),
    ("gif", Picture),
    ("tiff", Picture),
    ("targa", Picture),
    ("dpx", Picture),
    ("exr", Picture),
    ("libwebp", Picture),
    ("libwebp_anim", Picture),
    ("libjxl", Picture),
    ("ppm", Picture),
    ("pgm", Picture),
    ("aac", Audio),
    ("libfdk_aac", Audio),
    ("ac3", Audio),
    ("eac3", Audio),
    ("libmp3lame", Audio),
    ("libopus", Audio),
    ("opus", Audio),
    ("libvorbis", Audio),
    ("vorbis", Audio),
    ("libtwolame", Audio),
    ("mp2", Audio),
    ("flac", Audio),
    ("alac", Audio),
    ("truehd", Audio),
    ("dca", Audio),
    ("wavpack", Audio),
    ("wmav2", Audio),
    ("g722", Audio),
    ("adpcm_ima_wav", Audio),
    ("adpcm_ms", Audio),
    ("pcm_s16le", Audio),
    ("pcm_s16be", Audio),
    ("pcm_s24le", Audio),
    ("pcm_s24be", Audio),
    ("pcm_s32le", Audio),
    ("pcm_f32le", Audio),
    ("pcm_f64le", Audio),
    ("pcm_u8", Audio),
    ("pcm_alaw", Audio),
    ("pcm_mulaw", Audio),
    ("mov_text", Subtitle),
    ("srt", Subtitle),
    ("subrip", Subtitle),
    ("ass", Subtitle),
    ("ssa", Subtitle),
    ("webvtt", Subtitle),
    ("ttml", Subtitle),
    ("text", Subtitle),
    ("dvbsub", Subtitle),
    ("dvdsub", Subtitle),
];

/// Names that FFmpeg takes for a codec, and the encoder it takes then.
const USUAL: &[(&str, &str)] = &[
    ("h264", "libx264"),
    ("hevc", "libx265"),
    ("h265", "libx265"),
    ("av1", "libsvtav1"),
    ("vp8", "libvpx"),
    ("vp9", "libvpx-vp9"),
    ("mp3", "libmp3lame"),
];

/// An encoder by its name or by the codec's; `copy` for none.
pub fn encoder(name: &str) -> Option<&'static str> {
    if name == "copy" {
        return Some("copy");
    }
    let usual = USUAL.iter().find(|(codec, _)| *codec == name);
    let name = usual.map_or(name, |(_, encoder)| encoder);
    ENCODERS
        .iter()
        .map(|(known, _)| *known)
        .find(|known| *known == name)
}

/// What an encoder makes.
pub fn medium(encoder: &str) -> Option<Medium> {
    let known = ENCODERS.iter().find(|(known, _)| *known == encoder);
    known.map(|(_, medium)| *medium)
}

/// Decoders that may be chosen, and the encoder that a node with their hardware has.
pub const DECODERS: &[(&str, Option<&str>)] = &[
    ("h264", None),
    ("hevc", None),
    ("av1", None),
    ("libdav1d", None),
    ("libaom-av1", None),
    ("vp8", None),
    ("vp9", None),
    ("libvpx", None),
    ("libvpx-vp9", None),
    ("mpeg1video", None),
    ("mpeg2video", None),
    ("mpeg4", None),
    ("prores", None),
    ("dnxhd", None),
    ("mjpeg", None),
    ("png", None),
    ("rawvideo", None),
    ("aac", None),
    ("ac3", None),
    ("eac3", None),
    ("mp3", None),
    ("mp3float", None),
    ("flac", None),
    ("opus", None),
    ("libopus", None),
    ("vorbis", None),
    ("pcm_s16le", None),
    ("pcm_s16be", None),
    ("pcm_s24le", None),
    ("pcm_s32le", None),
    ("h264_cuvid", Some("h264_nvenc")),
    ("hevc_cuvid", Some("h264_nvenc")),
    ("av1_cuvid", Some("h264_nvenc")),
    ("vp9_cuvid", Some("h264_nvenc")),
    ("mpeg2_cuvid", Some("h264_nvenc")),
    ("h264_qsv", Some("h264_qsv")),
    ("hevc_qsv", Some("h264_qsv")),
    ("av1_qsv", Some("h264_qsv")),
    ("vp9_qsv", Some("h264_qsv")),
    ("mpsoc_vcu_h264", Some("mpsoc_vcu_h264")),
    ("mpsoc_vcu_hevc", Some("mpsoc_vcu_hevc")),
];

/// Ways to decode in hardware, and the encoder that a node with it has.
pub const HARDWARE: &[(&str, Option<&str>)] = &[
    ("auto", None),
    ("none", None),
    ("cuda", Some("h264_nvenc")),
    ("nvdec", Some("h264_nvenc")),
    ("qsv", Some("h264_qsv")),
    ("vaapi", Some("h264_vaapi")),
    ("videotoolbox", Some("h264_videotoolbox")),
];
