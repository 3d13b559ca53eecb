//! FFmpeg's words, as it prints them with `-loglevel level+warning`.

use recode_types::Engine;

/// What every encoder that does not open ends with.
fn not_opened(encoder: &str) -> String {
    format!(
        "[vost#0:0/{encoder} @ 0x55e580898900] [enc:{encoder} @ 0x55e580899180] [error] Error while opening encoder - maybe \
         incorrect parameters such as bit_rate, rate, width or height.\n\
         [vost#0:0/{encoder} @ 0x55e580898900] [error] Task finished with error code: -22 (Invalid argument)\n\
         [out#0/mp4 @ 0x55e580897b40] [error] Nothing was written into output file, because at least one of its streams \
         received no packets.\n"
    )
}

/// The machine has no such card, or no driver for it. Seen with FFmpeg 9 on such a machine; that of VideoToolbox is from
/// libavcodec/videotoolboxenc.c.
pub(super) fn absent(engine: Engine, encoder: &str) -> (String, u8) {
    let head = match engine {
        Engine::Nvenc => {
            format!("[{encoder} @ 0x55ac56105240] [error] Cannot load libcuda.so.1\n")
        }
        Engine::Qsv => {
            format!("[{encoder} @ 0x56331afca240] [error] Error creating a MFX session: -9.\n")
        }
        Engine::Vaapi => {
            return (
                "[VAAPI @ 0x5649462ffd40] [error] No VA display found for any default device.\n\
                 [error] Device creation failed: -22.\n\
                 [error] Failed to set value 'vaapi=card' for option 'init_hw_device': Invalid argument\n\
                 [fatal] Error parsing global options: Invalid argument\n"
                    .to_owned(),
                234,
            );
        }
        Engine::Amf => format!(
            "[AMF @ 0x7f22d4004400] [error] DLL libamfrt64.so.1 failed to open\n\
             [{encoder} @ 0x56016ff5a640] [error] Failed to create  hardware device context (AMF) : Unknown error occurred\n"
        ),
        Engine::Videotoolbox => format!(
            "[{encoder} @ 0x7f87d8058a00] [error] Error: cannot create compression session: -12908\n\
             [{encoder} @ 0x7f87d8058a00] [error] Try -allow_sw 1. The hardware encoder may be busy, or not supported.\n"
        ),
    };
    (head + &not_opened(encoder), 187)
}

/// The card is there and does not make this codec.
pub(super) fn lacks(engine: Engine, encoder: &str) -> (String, u8) {
    let head = match engine {
        // nvenc.c: nvenc_check_codec_support, nvenc_setup_device.
        Engine::Nvenc => "[error] Codec not supported\n[error] No capable devices found\n",
        // qsvenc.c: ff_qsv_print_error(MFX_ERR_UNSUPPORTED).
        Engine::Qsv => {
            "[error] Current codec type is unsupported\n[error] Error creating a MFX session: -3.\n"
        }
        // vaapi_encode.c: vaapi_encode_profile_entrypoint.
        Engine::Vaapi => "[error] No usable encoding profile found.\n",
        // amfenc.c: amf_init_encoder.
        Engine::Amf => "[error] CreateComponent(AMFVideoEncoderHW_AV1) failed with error 30\n",
        Engine::Videotoolbox => "[error] Error: cannot create compression session: -12908\n",
    };
    (head.to_owned() + &not_opened(encoder), 218)
}

/// All sessions are taken. `None`: no limit of this engine is known.
pub(super) fn no_session(engine: Engine, encoder: &str) -> Option<(String, u8)> {
    let head = match engine {
        Engine::Nvenc => {
            "[error] OpenEncodeSessionEx failed: out of memory (10): (no details)\n[error] No capable devices found\n"
        }
        Engine::Vaapi => {
            "[error] Failed to create encode pipeline context: 2 (resource allocation failed).\n"
        }
        Engine::Videotoolbox => "[error] Error: cannot create compression session: -12915\n",
        Engine::Qsv | Engine::Amf => return None,
    };
    Some((head.to_owned() + &not_opened(encoder), 244))
}

/// It encoded, and went away while it did.
pub(super) fn lost(engine: Engine) -> (String, u8) {
    let head = match engine {
        Engine::Nvenc => "[error] EncodePicture failed!: generic error (20): (no details)\n",
        Engine::Qsv => "[error] Error during encoding: device failed (-17)\n",
        Engine::Vaapi => "[error] Failed to end picture encode issue: 1 (operation failed).\n",
        Engine::Amf => "[error] SubmitInput() failed with error 1\n",
        Engine::Videotoolbox => "[error] Error encoding frame: -12911\n",
    };
    let tail = "[error] Error submitting video frame to the encoder\nConversion failed!\n";
    (head.to_owned() + tail, 187)
}

/// No encoder knows this option.
pub(super) fn no_option(name: &str) -> (String, u8) {
    (
        format!(
            "[error] Unrecognized option '{name}'.\n[fatal] Error splitting the argument list: Option not found\n"
        ),
        8,
    )
}

/// The option does not take this.
pub(super) fn no_value(encoder: &str, name: &str, value: &str) -> (String, u8) {
    (
        format!(
            "[{encoder} @ 0x55e580899480] [error] Unable to parse \"{name}\" option value \"{value}\"\n\
             [{encoder} @ 0x55e580899480] [error] Error setting option {name} to value {value}.\n\
             [error] Error applying encoder options: Invalid argument\n\
             [fatal] Error opening output files: Invalid argument\n"
        ),
        234,
    )
}

/// Pictures in memory for an encoder that reads a device only.
pub(super) fn not_uploaded() -> (String, u8) {
    (
        "[error] Impossible to convert between the formats supported by the filter 'Parsed_format_3' and the filter \
         'auto_scale_0'\n[error] Error reinitializing filters!\n"
            .to_owned(),
        218,
    )
}
