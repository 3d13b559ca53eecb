//! What FFmpeg says when a card is the matter: it is not there, has no session to spare, or went away. Pure.
//!
//! Texts are those of FFmpeg's sources, files named beside them. Software encoders never print any of them.

use super::without_prefix;
use recode_types::task::FailureClass;

/// What is the matter with a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No card, no driver, or one that does not make this codec. Trying again here is no use.
    Absent,
    /// The card encodes as much as it may at once. It works when another encode has ended.
    NoSession,
    /// It worked and then did not.
    Lost,
}

/// The most telling first: a card that refuses a session is also reported as not capable.
const PHRASES: &[(&str, Trouble)] = &[
    // nvenc.c: nvenc_open_session; 10 is NV_ENC_ERR_OUT_OF_MEMORY, the limit of consumer cards, 21 that of older drivers.
    (
        "OpenEncodeSessionEx failed: out of memory (10)",
        Trouble::NoSession,
    ),
    (
        "OpenEncodeSessionEx failed: incompatible client key (21)",
        Trouble::NoSession,
    ),
    // vaapi_encode.c: 2 is VA_STATUS_ERROR_ALLOCATION_FAILED.
    (
        "Failed to create encode pipeline context: 2",
        Trouble::NoSession,
    ),
    // videotoolboxenc.c: kVTVideoEncoderNotAvailableNowErr.
    (
        "cannot create compression session: -12915",
        Trouble::NoSession,
    ),
    // nvenc.c: nvenc_send_frame, process_output_surface.
    ("EncodePicture failed!", Trouble::Lost),
    ("Failed locking bitstream buffer", Trouble::Lost),
    // qsvenc.c: encode_frame, ff_qsv_encode.
    ("Error during encoding", Trouble::Lost),
    ("Error submitting the frame for encoding", Trouble::Lost),
    // vaapi_encode.c: vaapi_encode_issue, vaapi_encode_wait.
    ("Failed to end picture encode", Trouble::Lost),
    ("Failed to sync to picture completion", Trouble::Lost),
    // amfenc.c: ff_amf_receive_packet.
    ("SubmitInput() failed with error", Trouble::Lost),
    ("QueryOutput() failed with error", Trouble::Lost),
    // videotoolboxenc.c: vtenc_output_callback.
    ("Error encoding frame", Trouble::Lost),
    // nvenc.c: nvenc_load_libraries, nvenc_setup_device, nvenc_check_codec_support; cuda_check.h.
    ("Cannot load libcuda.so.1", Trouble::Absent),
    ("Cannot load libnvidia-encode.so.1", Trouble::Absent),
    (
        "Driver does not support the required nvenc API version",
        Trouble::Absent,
    ),
    ("CUDA_ERROR_NO_DEVICE", Trouble::Absent),
    ("Codec not supported", Trouble::Absent),
    ("No capable devices found", Trouble::Absent),
    // qsvenc.c, qsv.c.
    ("Error creating a MFX session", Trouble::Absent),
    // hwcontext_vaapi.c, vaapi_encode.c.
    ("No VA display found", Trouble::Absent),
    ("Failed to initialise VAAPI connection", Trouble::Absent),
    ("No usable encoding profile found", Trouble::Absent),
    ("No usable encoding entrypoint found", Trouble::Absent),
    ("Driver does not support CQP RC mode", Trouble::Absent),
    // hwcontext_amf.c, amfenc.c.
    ("DLL libamfrt64.so.1 failed to open", Trouble::Absent),
    ("CreateComponent(", Trouble::Absent),
    // videotoolboxenc.c: kVTCouldNotFindVideoEncoderErr and others.
    ("cannot create compression session", Trouble::Absent),
    // ffmpeg_hw.c.
    ("Device creation failed", Trouble::Absent),
];

/// What is the matter, and the line that says so.
pub fn trouble(stderr_tail: &str) -> Option<(Trouble, &str)> {
    PHRASES.iter().find_map(|(phrase, trouble)| {
        let line = stderr_tail.lines().find(|l| l.contains(phrase))?;
        Some((*trouble, without_prefix(line)))
    })
}

impl Trouble {
    /// What can be done about it.
    pub fn class(self) -> FailureClass {
        match self {
            Self::Absent | Self::Lost => FailureClass::MissingCapability,
            Self::NoSession => FailureClass::OutOfResources,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_without_a_session_is_not_taken_for_one_that_is_not_there() {
        let full = "[h264_nvenc @ 0x5] [error] OpenEncodeSessionEx failed: out of memory (10): (no details)\n\
                    [h264_nvenc @ 0x5] [error] No capable devices found\n\
                    [vost#0:0/h264_nvenc @ 0x4] [error] Error while opening encoder";
        let line = "OpenEncodeSessionEx failed: out of memory (10): (no details)";
        assert_eq!(trouble(full), Some((Trouble::NoSession, line)));
        let gone = full.lines().skip(1).collect::<Vec<_>>().join("\n");
        let line = "No capable devices found";
        assert_eq!(trouble(&gone), Some((Trouble::Absent, line)));
        assert_eq!(
            trouble("[libx264 @ 0x1] [error] malloc of size 77 failed"),
            None
        );
    }
}
