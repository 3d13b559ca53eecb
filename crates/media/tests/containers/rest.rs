//! Everything but the pictures, staged Segment by Segment and put together again.

use crate::common::{Remote, ffmpeg, have_ffmpeg, run};
use bytes::Bytes;
use recode_media::bytes::{BoxFuture, ByteSource, FileSource};
use recode_media::{index, rest};
use recode_types::{FrameTable, Segment};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

fn generate(path: &Path, more: &[&str]) {
    let subtitles = path.with_extension("srt");
    std::fs::write(
        &subtitles,
        "1\n00:00:01,000 --> 00:00:02,000\nHello\n\n2\n00:00:07,500 --> 00:00:08,000\nWorld\n",
    )
    .unwrap();
    let mut args = vec![
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=640x360:rate=25:duration=10",
        "-f",
        "lavfi",
        "-i",
        "sine=duration=10",
        "-i",
        subtitles.to_str().unwrap(),
        "-map",
        "0",
        "-map",
        "1",
        "-map",
        "2",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-g",
        "25",
        "-crf",
        "10",
        "-c:a",
        "aac",
        "-b:a",
        "96k",
    ];
    args.extend_from_slice(more);
    args.push(path.to_str().unwrap());
    let (_, log) = run(&ffmpeg(), &args);
    assert!(path.exists(), "{log}");
}

fn segments(table: &FrameTable) -> Vec<Segment> {
    let keys: Vec<usize> = (0..table.rows.len())
        .filter(|i| table.rows[*i].key)
        .collect();
    let ends = keys[1..].iter().copied().chain([table.rows.len()]);
    keys.iter()
        .zip(ends)
        .enumerate()
        .map(|(index, (&from, to))| Segment {
            index: index as u32,
            first_row: from as u32,
            rows: (to - from) as u32,
            start_pts: table.rows[from].pts,
            end_pts: table.rows.get(to).map_or(table.end_pts(), |row| row.pts),
        })
        .collect()
}

/// Only what was said to be wanted is at hand.
struct Within<'a> {
    source: &'a dyn ByteSource,
    wanted: Vec<Range<u64>>,
}

impl ByteSource for Within<'_> {
    fn size(&self) -> u64 {
        self.source.size()
    }
    fn read(&self, range: Range<u64>) -> BoxFuture<'_, io::Result<Bytes>> {
        let mut wanted = self.wanted.iter();
        let said = wanted.any(|part| part.start <= range.start && range.end <= part.end);
        assert!(
            said,
            "bytes {range:?} are read, and wanted were {:?}",
            self.wanted
        );
        self.source.read(range)
    }
    fn is_remote(&self) -> bool {
        self.source.is_remote()
    }
}

fn packets(path: &Path) -> String {
    let (out, log) = run(
        &ffmpeg(),
        &[
            "-v",
            "error",
            "-copyts",
            "-i",
            path.to_str().unwrap(),
            "-map",
            "0:a",
            "-map",
            "0:s",
            "-c",
            "copy",
            "-f",
            "framecrc",
            "-",
        ],
    );
    assert!(out.contains("0x"), "{log}");
    out
}

#[tokio::test]
async fn sound_and_subtitles_come_back_whole() {
    if !have_ffmpeg() {
        return;
    }
    let cases: [(&str, &[&str], bool); 5] = [
        ("a.mp4", &["-c:s", "mov_text"], false),
        (
            "b.mp4",
            &["-c:s", "mov_text", "-movflags", "+frag_keyframe+empty_moov"],
            false,
        ),
        ("c.mkv", &["-c:s", "srt"], false),
        ("d.mkv", &["-c:s", "srt"], true),
        (
            "e.mp4",
            &["-c:s", "mov_text", "-movflags", "+faststart"],
            true,
        ),
    ];
    let mut moved = 0;
    for (name, more, remote) in cases {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        generate(&path, more);
        let file = FileSource::open(&path).unwrap();
        let remote_source = Remote(FileSource::open(&path).unwrap());
        let source: &dyn recode_media::bytes::ByteSource =
            if remote { &remote_source } else { &file };
        let index = index::read(source).await.unwrap().unwrap();
        let table = index.frame_table(0).unwrap();
        let segments = segments(&table);
        assert!(segments.len() >= 5, "{name}: {} segments", segments.len());
        let regions = rest::regions(&index, 0, &table, &segments).unwrap();
        assert_eq!(regions.first().unwrap().start, 0);
        assert_eq!(regions.last().unwrap().end, index.size_bytes);
        assert!(regions.windows(2).all(|pair| pair[0].end == pair[1].start));
        let whole = dir.path().join(format!("rest-{name}"));
        let mut restored = rest::Restored::create(&whole, index.size_bytes).unwrap();
        let mut staged = 0;
        let mut moves: Vec<rest::Move> = regions
            .iter()
            .flat_map(|region| rest::moves(&index, &[0], region))
            .collect();
        moves.sort_by_key(|m| m.from.start);
        let blocks = 2 * regions.len() as u64 + 8;
        for region in regions.into_iter().rev() {
            let part = dir.path().join("part");
            let source = Within {
                source,
                wanted: rest::wanted(&index, &[0], &region),
            };
            rest::stage(&index, &[0], region, &source, &part)
                .await
                .unwrap();
            staged += part.metadata().unwrap().len();
            restored.add(std::fs::File::open(&part).unwrap()).unwrap();
        }
        restored.relocate(&index, &moves).unwrap();
        assert!(
            staged < index.size_bytes / 4,
            "{name}: {staged} of {}",
            index.size_bytes
        );
        let taken = whole.metadata().unwrap().blocks() * 512;
        assert!(
            taken < index.size_bytes * 3 / 4,
            "{name}: {taken} of {}",
            index.size_bytes
        );
        if !moves.is_empty() {
            moved += 1;
            assert!(
                taken < staged + blocks * 4096,
                "{name}: {taken} of {staged}"
            );
        }
        assert_eq!(packets(&whole), packets(&path), "{name}");
    }
    assert!(moved >= 1, "no MP4 was packed");
}
