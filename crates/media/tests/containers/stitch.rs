//! Chunks that FFmpeg encoded, joined, and read back by FFmpeg from a pipe.

use crate::common::{ffmpeg, frames, have_ffmpeg, run};
use recode_media::mp4::{ChunkIndex, Stitched, Stitcher, read_chunk};
use recode_types::time::TimeBase;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One encoder's spelling, and the container of its Chunks.
struct Case {
    name: &'static str,
    encoder: &'static [&'static str],
    ending: &'static str,
}

const CASES: [Case; 6] = [
    Case {
        name: "libx264",
        encoder: &[
            "-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-threads", "1",
        ],
        ending: "mp4",
    },
    Case {
        name: "libx265",
        encoder: &[
            "-c:v",
            "libx265",
            "-preset",
            "ultrafast",
            "-x265-params",
            "open-gop=0:bframes=4:log-level=0:pools=none:frame-threads=1",
        ],
        ending: "mp4",
    },
    Case {
        name: "libsvtav1",
        encoder: &["-c:v", "libsvtav1", "-preset", "12"],
        ending: "mp4",
    },
    Case {
        name: "libvpx-vp9",
        encoder: &[
            "-c:v",
            "libvpx-vp9",
            "-cpu-used",
            "8",
            "-deadline",
            "realtime",
        ],
        ending: "mp4",
    },
    Case {
        name: "mpeg2video",
        encoder: &["-c:v", "mpeg2video", "-bf", "2", "-q:v", "4"],
        ending: "mp4",
    },
    Case {
        name: "prores_ks",
        encoder: &["-c:v", "prores_ks", "-profile:v", "1"],
        ending: "mov",
    },
];

fn encode(case: &Case, number: usize, count: usize, dir: &Path) -> PathBuf {
    let path = dir.join(format!("{number}.{}", case.ending));
    let source = format!(
        "testsrc2=size=192x128:rate=30000/1001,format=yuv420p,trim=start_frame={}:end_frame={}",
        number * 100,
        number * 100 + count
    );
    let mut args = vec!["-v", "error", "-f", "lavfi", "-i", &source];
    args.extend_from_slice(case.encoder);
    args.extend_from_slice(&["-y", path.to_str().unwrap()]);
    let (_, log) = run(&ffmpeg(), &args);
    assert!(path.exists(), "{}: {log}", case.name);
    path
}

/// Frame times FFmpeg shows for the stitched file, read from a pipe.
fn shown(stitched: &Stitched, paths: &[PathBuf]) -> (TimeBase, Vec<(i64, i64, bool)>) {
    let mut child = Command::new(ffmpeg())
        .args([
            "-v", "error", "-copyts", "-f", "mp4", "-i", "pipe:0", "-map", "0:v", "-c", "copy",
            "-f", "framecrc", "-",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(&stitched.header).unwrap();
    for span in &stitched.spans {
        let mut file = std::fs::File::open(&paths[span.chunk as usize]).unwrap();
        file.seek(std::io::SeekFrom::Start(span.range.start))
            .unwrap();
        let mut part = file.take(span.range.end - span.range.start);
        std::io::copy(&mut part, &mut pipe).unwrap();
    }
    drop(pipe);
    let out = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let base = out
        .lines()
        .find_map(|l| l.strip_prefix("#tb 0: "))
        .unwrap()
        .parse()
        .unwrap();
    let packets = out
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            (
                fields[1].parse().unwrap(),
                fields[2].parse().unwrap(),
                !line.contains("F=0x0"),
            )
        })
        .collect();
    (base, packets)
}

#[test]
fn joined_chunks_have_the_times_of_the_table_and_all_their_frames() {
    if !have_ffmpeg() {
        return;
    }
    let (encoders, _) = run(&ffmpeg(), &["-encoders"]);
    for case in &CASES {
        if !encoders.contains(case.name) {
            eprintln!("SKIPPED: this FFmpeg has no {}", case.name);
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let counts = [40, 1, 25, 31];
        let paths: Vec<PathBuf> = counts
            .iter()
            .enumerate()
            .map(|(i, n)| encode(case, i, *n, dir.path()))
            .collect();
        let chunks: Vec<ChunkIndex> = paths.iter().map(|path| read_chunk(path).unwrap()).collect();
        // Variable frame distances, a first frame that is not at 0.
        let total: usize = counts.iter().sum();
        let table: Vec<i64> = (0..total as i64)
            .map(|i| 70_000 + i * 3003 + i % 3 * 7)
            .collect();
        let mut stitcher = Stitcher::new(TimeBase::new(1, 90_000));
        let mut from = 0;
        for (chunk, count) in chunks.iter().zip(counts) {
            assert_eq!(chunk.samples.len(), count, "{}", case.name);
            assert!(chunk.samples[0].key, "{}", case.name);
            stitcher.push(chunk, &table[from..from + count]).unwrap();
            from += count;
        }
        let stitched = stitcher.finish(3003).unwrap();
        assert_eq!(stitched.first_pts, 70_000);
        let (base, packets) = shown(&stitched, &paths);
        assert_eq!(base, TimeBase::new(1, 90_000), "{}", case.name);
        let mut pts: Vec<i64> = packets.iter().map(|p| p.1 + 70_000).collect();
        assert!(
            packets.iter().all(|(dts, pts, _)| dts <= pts),
            "{}",
            case.name
        );
        assert!(
            packets.windows(2).all(|pair| pair[0].0 < pair[1].0),
            "{}",
            case.name
        );
        pts.sort_unstable();
        assert_eq!(pts, table, "{}", case.name);
        for start in [0, 40, 41, 66] {
            assert!(
                packets[start].2,
                "{}: frame {start} is no key frame",
                case.name
            );
        }

        // The pictures are those of the Chunks, one after another.
        let file = dir.path().join("joined.mp4");
        let mut bytes = stitched.header.clone();
        for span in &stitched.spans {
            let chunk = std::fs::read(&paths[span.chunk as usize]).unwrap();
            bytes.extend_from_slice(&chunk[span.range.start as usize..span.range.end as usize]);
        }
        std::fs::write(&file, bytes).unwrap();
        let joined = frames(&ffmpeg(), &["-i", file.to_str().unwrap()], "0:v", "");
        let apart = paths
            .iter()
            .flat_map(|path| frames(&ffmpeg(), &["-i", path.to_str().unwrap()], "0:v", ""));
        assert!(
            joined
                .iter()
                .map(|f| &f.1)
                .eq(apart.map(|f| f.1).collect::<Vec<_>>().iter()),
            "{}: other pictures",
            case.name
        );
    }
}
