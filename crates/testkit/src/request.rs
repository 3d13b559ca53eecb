//! What tests ask for.

use recode_types::OutputRequest;

/// An Output of all tracks, encoded with libx264 at so many thousandths of CRF.
pub fn h264(url: &str, container: &str, crf_milli: u32) -> OutputRequest {
    let request = serde_json::json!({
        "url": url, "container": container, "tracks": "all",
        "rendition": {
            "codec": "h264", "encoder": "libx264", "rate": { "crf": crf_milli }, "preset": "ultrafast",
            "profile": "quality", "scale": "source", "deinterlace": "off"
        }
    });
    serde_json::from_value(request).expect("it is a request")
}
