//! Damaged input: never a panic, never an absurd allocation, whatever is cut or flipped.

use crate::common::{ffmpeg, have_ffmpeg, run};
use bytes::Bytes;
use recode_media::bytes::ByteSource;
use recode_media::clip::{self, ClipContext};
use recode_media::index::{self, SourceIndex};
use recode_types::Segment;
use std::path::Path;

/// Small files of every structure the readers know.
fn originals(dir: &Path) -> Vec<Vec<u8>> {
    let kinds: [(&str, &[&str]); 6] = [
        ("a.mp4", &[]),
        ("b.mp4", &["-movflags", "+frag_keyframe+empty_moov"]),
        ("c.mov", &["-movflags", "+faststart"]),
        ("d.mkv", &[]),
        ("e.mkv", &["-live", "1"]),
        (
            "f.mp4",
            &["-movflags", "+frag_keyframe+default_base_moof+delay_moov"],
        ),
    ];
    kinds
        .iter()
        .map(|(name, more)| {
            let path = dir.join(name);
            let mut args = vec![
                "-f",
                "lavfi",
                "-i",
                "testsrc2=size=64x64:rate=25:duration=2",
                "-f",
                "lavfi",
                "-i",
                "sine=duration=2",
                "-c:v",
                "mpeg4",
                "-bf",
                "2",
                "-g",
                "10",
                "-c:a",
                "aac",
            ];
            args.extend_from_slice(more);
            args.push(path.to_str().unwrap());
            let (_, log) = run(&ffmpeg(), &args);
            std::fs::read(&path).unwrap_or_else(|e| panic!("{name}: {e}: {log}"))
        })
        .collect()
}

/// Reads, tabulates, stores and cuts whatever an index says.
async fn exercise(source: &dyn ByteSource, out: &Path) -> bool {
    let Ok(Some(index)) = index::read(source).await else {
        return false;
    };
    let index = SourceIndex::decode(&index.encode()).expect("what was encoded decodes");
    for track in index
        .tracks
        .iter()
        .filter(|track| !track.packets.is_empty())
    {
        let table = index.frame_table(track.stream).unwrap();
        assert!(table.rows.windows(2).all(|pair| pair[0].pts < pair[1].pts));
        let half = table.rows.len() / 2;
        if half == 0 {
            continue;
        }
        let segment = Segment {
            index: 0,
            first_row: half as u32 / 2,
            rows: half as u32,
            start_pts: table.rows[half / 2].pts,
            end_pts: table.rows[half / 2 + half].pts,
        };
        let context = ClipContext {
            gops_before: 1,
            frames_after: 1,
        };
        let _ = clip::ranges(&index, track.stream, &table, &segment, context);
        let _ = clip::build(&index, track.stream, &table, &segment, context, source, out).await;
    }
    true
}

/// A small generator with a seed: the same damage in every run.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % n
    }
}

#[tokio::test]
async fn cut_and_flipped_files_never_panic() {
    if !have_ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("clip");
    let mut random = Seeded(7);
    for original in originals(dir.path()) {
        assert!(exercise(&Bytes::from(original.clone()), &out).await);
        // Where the index is: its bytes are worth more damage than those of pictures.
        let index = index::read(&Bytes::from(original.clone()))
            .await
            .unwrap()
            .unwrap();
        let places: Vec<usize> = index
            .head
            .iter()
            .flat_map(|range| range.start as usize..range.end as usize)
            .collect();
        for _ in 0..400 {
            let mut damaged = original.clone();
            for _ in 0..1 + random.below(3) {
                let at = places[random.below(places.len())];
                damaged[at] = match random.below(3) {
                    0 => 0xff,
                    1 => 0,
                    _ => damaged[at] ^ 1 << random.below(8),
                };
            }
            if random.below(4) == 0 {
                damaged.truncate(random.below(original.len()));
            }
            exercise(&Bytes::from(damaged), &out).await;
        }
    }
}
