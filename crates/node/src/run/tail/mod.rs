//! Jobs that split the tail: what an encode has finished outlives its Attempt, however that ends.
//!
//! While a Chunk of such a Job is encoded, all closed groups of pictures that are whole in its file are put into the work store
//! as a *part*, with what shows that the right frames went in ([`keep`]). The next Attempt at the same Chunk takes the longest run
//! of parts from the first row on ([`chain`]), encodes only the rows after it as if they were a Segment, and joins both
//! ([`resume`]). Nobody else knows of it: what is delivered is a Chunk like any other.
//!
//! ```text
//!   rows of the Segment   0         48        72              144
//!   an Attempt            [  part   ][ part   ][ lost ..
//!   the next one          [  part   ][ part   ][   encoded     ]
//! ```
//!
//! The bytes depend on when the first Attempt ended, which is why a Job has to ask for it. Only encodes that know nothing of
//! frames in other groups take part ([`splits`]); the others begin anew, as in any Job.

mod chain;
mod keep;
mod part;
mod resume;

pub(super) use keep::Keeper;
pub(super) use resume::{Head, find, whole};

use recode_media::args::encoder;
use recode_types::rendition::{Deinterlace, RateControl};
use recode_types::source::ReadMode;
use recode_types::task::{EncodeRendition, EncodeWork};
use recode_types::{Digest, SourceFacts};

/// Which parts an encode makes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    /// Identity of the FFmpeg: parts of several are not joined.
    pub build: Digest,
    /// Rows of the Chunk before the first that is encoded.
    pub after: u32,
}

/// Whether the encodes of some work are taken up where they ended. Not where frames of a group depend on what lies before it
/// (buffers, rates that are converted, fields), where every frame is compared with its original, and where the frame table is
/// not known to be what a decode from any key frame gives.
pub(super) fn splits(work: &EncodeWork, facts: &SourceFacts) -> bool {
    let exact = work.read_mode == ReadMode::Clip && !facts.deep && !facts.rows_estimated;
    let compared = work.verify_full || !work.score.is_empty();
    work.split_tail && exact && !compared && work.renditions.iter().all(has_parts)
}

fn has_parts(wanted: &EncodeRendition) -> bool {
    let rendition = &wanted.rendition;
    let constant = matches!(rendition.rate, None | Some(RateControl::Crf(_)))
        && rendition.peak.is_none()
        && wanted.knob.peak.is_none();
    constant
        && rendition.fps.is_none()
        && rendition.deinterlace == Deinterlace::Off
        && encoder::grows(&rendition.encoder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn facts() -> SourceFacts {
        serde_json::from_value(json!({
            "identity": { "url": "file:///a.mp4", "size_bytes": 1, "version": "" },
            "format": "mp4", "start_us": 0, "tracks": [], "chapters": 0, "tags": {},
            "read_mode": "clip", "deep": false, "ffmpeg": "", "warnings": []
        }))
        .unwrap()
    }

    fn work() -> Value {
        let digest = [0; 32];
        json!({
            "facts": { "key": "", "size_bytes": 0, "digest": digest },
            "segment": { "index": 0, "first_row": 0, "rows": 9, "start_pts": 0, "end_pts": 9 },
            "read_mode": "clip",
            "renditions": [{
                "output": 0,
                "rendition": {
                    "codec": "h264", "encoder": "libx264", "rate": { "crf": 23000 }, "profile": "quality",
                    "scale": "source", "deinterlace": "off"
                },
                "knob": { "quality_milli": 23000, "peak": null, "buffer_start_milli": 0 },
                "address": digest
            }],
            "score": [], "verify_full": false, "split_tail": true, "params": [null]
        })
    }

    #[test]
    fn only_encodes_whose_groups_know_nothing_of_each_other_are_split() {
        let asked = |work: Value| splits(&serde_json::from_value(work).unwrap(), &facts());
        assert!(asked(work()));
        let rendition = "/renditions/0/rendition";
        let peak = json!({ "maxrate_bps": 1, "bufsize_bits": 1 });
        for (at, key, value) in [
            ("", "split_tail", json!(false)),
            ("", "verify_full", json!(true)),
            ("", "score", json!(["vmaf"])),
            ("", "read_mode", json!("linear")),
            (rendition, "rate", json!({ "bitrate": 1_000_000 })),
            (rendition, "rate", json!({ "size": 1_000_000 })),
            (rendition, "peak", peak.clone()),
            (rendition, "fps", json!({ "num": 25, "den": 1 })),
            (rendition, "deinterlace", json!("auto")),
            (rendition, "encoder", json!("libaom-av1")),
            (rendition, "encoder", json!("mpeg2video")),
            (rendition, "encoder", json!("h264_nvenc")),
            ("/renditions/0/knob", "peak", peak),
        ] {
            let mut other = work();
            other.pointer_mut(at).unwrap()[key] = value.clone();
            assert!(!asked(other), "{key} is {value}");
        }
        let with = |change: fn(&mut SourceFacts)| {
            let mut facts = facts();
            change(&mut facts);
            splits(&serde_json::from_value(work()).unwrap(), &facts)
        };
        assert!(!with(|facts| facts.deep = true));
        assert!(!with(|facts| facts.rows_estimated = true));
    }
}
