//! A film that does not exist: what a probe would learn of it, and what encoders would make of it.

use anyhow::Result;
use recode_store::WorkStore;
use recode_types::task::{ChunkFacts, EncodeWork, OutputFacts, StitchWork};
use recode_types::{
    ArtifactRef, AttemptNo, Digest, FrameRow, FrameTable, JobRequest, Rational, TaskId, TimeBase,
};
use serde_json::json;

/// Frames of each Segment; the first of them is a key frame.
const ROWS: u32 = 10;
/// Frames a second.
const RATE: i64 = 10;

/// A job that is cut into this many Segments, each made in this many Renditions.
#[derive(Clone, Copy, Debug)]
pub struct Film {
    /// Segments of a second each.
    pub segments: u32,
    /// Outputs.
    pub renditions: u32,
}

/// The source of every film; a Segment count is the only thing that differs.
const SOURCE: &str = "file:///made-up/";

impl Film {
    /// The film that a Source names; `None`: it is none of ours.
    pub fn of_source(source: &str) -> Option<Self> {
        let (segments, renditions) = source
            .strip_prefix(SOURCE)?
            .strip_suffix(".mp4")?
            .split_once('x')?;
        Some(Self {
            segments: segments.parse().ok()?,
            renditions: renditions.parse().ok()?,
        })
    }

    fn source(self) -> String {
        format!("{SOURCE}{}x{}.mp4", self.segments, self.renditions)
    }

    /// The job.
    pub fn request(self) -> JobRequest {
        let output = |number: u32| {
            json!({
                "url": format!("file:///made-up/out-{number}.mp4"), "container": "mp4", "tracks": "all",
                "rendition": {
                    "codec": "h264", "encoder": "libx264", "profile": "quality", "deinterlace": "off",
                    "scale": "source"
                }
            })
        };
        let outputs: Vec<_> = (0..self.renditions).map(output).collect();
        serde_json::from_value(json!({
            "source": self.source(), "outputs": outputs, "segment_ms": 1000, "score": [], "verify_full": false,
            "strict": false, "overwrite": true, "labels": {}, "priority": 50
        }))
        .expect("it has every field")
    }

    fn frames(self) -> u32 {
        self.segments * ROWS
    }

    /// Stores what a probe learns; answers the facts.
    pub async fn probe(
        self,
        store: &WorkStore,
        task: &TaskId,
        attempt: AttemptNo,
    ) -> Result<ArtifactRef> {
        let table = FrameTable {
            time_base: TimeBase::new(1, RATE),
            rows: (0..self.frames())
                .map(|row| FrameRow {
                    pts: i64::from(row),
                    key: row % ROWS == 0,
                    signature: None,
                })
                .collect(),
            last_duration: 1,
        };
        let key = |name| recode_store::key::of_attempt(task, attempt, name);
        let table = store.put(&key("table.bin"), table.encode()).await?;
        let rational = |num, den| json!(Rational::new(num, den));
        let facts = json!({
            "identity": {"url": self.source(), "size_bytes": 1000, "version": "1"},
            "format": "mov", "start_us": 0, "duration_us": i64::from(self.segments) * 1_000_000,
            "tracks": [{
                "index": 0, "kind": "video", "codec": "h264", "description": "", "dispositions": [],
                "attached_pic": false, "size": [320, 240], "tags": {}
            }],
            "chapters": 0, "tags": {},
            "video": {
                "track": 0, "codec": "h264", "time_base": rational(1, RATE), "frames": self.frames(),
                "start_pts": 0, "end_pts": self.frames(), "width": 320, "height": 240, "pix_fmt": "yuv420p",
                "sample_aspect": rational(1, 1), "frame_rate": rational(RATE, 1), "hdr10_plus": false,
                "hdr10_static": false, "captions": false, "alpha": false
            },
            "read_mode": "clip", "deep": false, "table": table, "ffmpeg": "make-believe", "warnings": []
        });
        let facts = serde_json::to_vec(&facts)?;
        Ok(store.put(&key("facts.json"), facts).await?)
    }
}

/// The Chunks of a Segment, as an encoder that needs no time would make them. Nothing is stored: who keeps the state
/// never reads Chunks.
pub fn encoded(task: &TaskId, attempt: AttemptNo, work: &EncodeWork) -> Vec<ChunkFacts> {
    let segment = &work.segment;
    // As of the decoded frames: neighbours see the same at their joint, whoever encodes them.
    let signature = |row: u32| row.wrapping_mul(2_654_435_761);
    let (first, last) = (segment.first_row, segment.first_row + segment.rows - 1);
    work.renditions
        .iter()
        .map(|rendition| {
            let mut digest = rendition.address;
            digest.0.reverse();
            let key = recode_store::key::chunk(
                task.job,
                &rendition.address,
                rendition.output,
                attempt,
                "mp4",
            );
            ChunkFacts {
                output: rendition.output,
                segment: segment.index,
                address: rendition.address,
                artifact: ArtifactRef {
                    key,
                    size_bytes: 1_000_000 + u64::from(segment.index),
                    digest,
                },
                frames: segment.rows,
                payload_bytes: 990_000 + u64::from(segment.index),
                params: Digest([rendition.output as u8; 32]),
                signature_before: first.checked_sub(1).map(signature),
                signature_first: signature(first),
                signature_last: signature(last),
                signature_after: Some(signature(last + 1)),
                score_frames: None,
                scores: Vec::new(),
                reused: false,
            }
        })
        .collect()
}

/// The Output that a stitch would make.
pub fn stitched(work: &StitchWork) -> OutputFacts {
    OutputFacts {
        output: work.output_index,
        url: work.output.url.clone(),
        size_bytes: 1,
        frames: 1,
        duration_us: 1,
        video_bytes: 1,
        scores: Vec::new(),
        score_frames_url: None,
        warnings: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_film_is_known_by_its_source() {
        let film = Film {
            segments: 100_000,
            renditions: 10,
        };
        let request = film.request();
        assert_eq!(request.outputs.len(), 10);
        let found = Film::of_source(&request.source).expect("one of ours");
        assert_eq!((found.segments, found.renditions), (100_000, 10));
        assert!(Film::of_source("file:///made-up/in.mp4").is_none());
    }
}
