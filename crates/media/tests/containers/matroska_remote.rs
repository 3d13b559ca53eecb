//! Remote Matroska: Segments from Cues, rows from the bytes that are fetched.

use crate::common::{Remote, decoded, ffmpeg, frames, have_ffmpeg, run};
use recode_media::bytes::FileSource;
use recode_media::clip::{self, ClipContext};
use recode_media::index;
use recode_types::Segment;
use std::collections::BTreeMap;
use std::path::Path;

/// A clip with sound, B-frames, open GOPs and 12 key frames.
fn generate(path: &Path) {
    let (_, log) = run(
        &ffmpeg(),
        &[
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=320x180:rate=24000/1001:duration=12",
            "-f",
            "lavfi",
            "-i",
            "sine=duration=12",
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-bf",
            "3",
            "-g",
            "24",
            "-x264-params",
            "open-gop=1:scenecut=0",
            "-c:a",
            "aac",
            "-b:a",
            "64k",
            path.to_str().unwrap(),
        ],
    );
    assert!(path.exists(), "{log}");
}

#[tokio::test]
async fn segments_from_cues_give_every_frame_once() {
    if !have_ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("source.mkv");
    let out = dir.path().join("clip.mkv");
    generate(&path);
    let source = Remote(FileSource::open(&path).unwrap());
    let index = index::read(&source).await.unwrap().unwrap();
    let head_bytes = source.0.bytes_read();
    assert!(head_bytes < 200_000, "{head_bytes} bytes for the index");
    assert!(!index.tracks[0].complete);
    let table = index.frame_table(0).unwrap();
    assert!(table.rows.len() >= 10, "{} rows", table.rows.len());
    let (_, all) = decoded(&ffmpeg(), &path, 0);
    let whole: BTreeMap<i64, String> =
        frames(&ffmpeg(), &["-i", path.to_str().unwrap()], "0:0", "")
            .into_iter()
            .collect();

    for context in [
        ClipContext::default(),
        ClipContext {
            gops_before: 1,
            frames_after: 1,
        },
    ] {
        let mut rows = Vec::new();
        for (index_no, first) in (0..table.rows.len()).step_by(2).enumerate() {
            let to = (first + 2).min(table.rows.len());
            let segment = Segment {
                index: index_no as u32,
                first_row: first as u32,
                rows: (to - first) as u32,
                start_pts: table.rows[first].pts,
                end_pts: table.rows.get(to).map_or(table.end_pts(), |row| row.pts),
            };
            let clip = clip::build(&index, 0, &table, &segment, context, &source, &out)
                .await
                .unwrap();
            let ranges = clip::ranges(&index, 0, &table, &segment, context).unwrap();
            let known: u64 = ranges.iter().map(|r| r.end - r.start).sum();
            assert!(
                clip.bytes_read <= known + (128 << 10),
                "{} of {known}",
                clip.bytes_read
            );
            let trim = format!(
                "trim=start_pts={}:end_pts={}",
                clip.trim_start, clip.trim_end
            );
            let input = ["-f", clip.demuxer, "-i", out.to_str().unwrap()];
            for (pts, sum) in frames(&ffmpeg(), &input, "0:0", &trim) {
                assert_eq!(whole.get(&pts), Some(&sum), "frame at {pts}");
                rows.push(pts);
            }
            assert!(
                clip.rows
                    .iter()
                    .map(|r| r.pts)
                    .eq(clip.expected.iter().copied())
            );
        }
        assert_eq!(rows, all);
    }
}
