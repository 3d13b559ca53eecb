//! The index of an MP4 at its front: FFmpeg's own bytes, without FFmpeg's second pass.

use crate::common::{ffmpeg, have_ffmpeg, run};
use recode_media::bytes::ByteSource as _;
use recode_media::mp4::{index_first, takes_packets};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// A film with sound, subtitles, chapters and a cover.
fn film(dir: &Path, name: &str) {
    let text = "1\n00:00:01,000 --> 00:00:02,000\nOne\n\n2\n00:00:05,000 --> 00:00:07,500\nTwo\n";
    std::fs::write(dir.join("s.srt"), text).unwrap();
    let chapter = |start, end, title| {
        format!("[CHAPTER]\nTIMEBASE=1/1000\nSTART={start}\nEND={end}\ntitle={title}\n")
    };
    let chapters = [chapter(0, 5000, "A"), chapter(5000, 9000, "B")].concat();
    std::fs::write(dir.join("c.txt"), format!(";FFMETADATA1\n{chapters}")).unwrap();
    let at = |name: &str| dir.join(name).display().to_string();
    let made = run(
        &ffmpeg(),
        &format!(
            "-v error -f lavfi -i color=red:s=320x240:d=1 -frames:v 1 {} -f lavfi -i testsrc2=s=320x180:d=9:r=25 \
             -f lavfi -i sine=d=9 -map 1 -map 2 -c:v mpeg4 -bf 2 -b:v 2M -c:a aac {}",
            at("c.jpg"),
            at("av.mp4")
        )
        .split_whitespace()
        .collect::<Vec<_>>(),
    );
    assert_eq!(made.1, "");
    let made = run(
        &ffmpeg(),
        &format!(
            "-v error -i {} -i {} -i {} -i {} -map 0 -map 1 -map 3 -map_metadata 2 -map_chapters 2 -c copy -c:s mov_text \
             -disposition:v:1 attached_pic {}",
            at("av.mp4"),
            at("s.srt"),
            at("c.txt"),
            at("c.jpg"),
            at(name)
        )
        .split_whitespace()
        .collect::<Vec<_>>(),
    );
    assert_eq!(made.1, "");
}

#[tokio::test]
async fn an_index_put_first_makes_the_bytes_that_faststart_makes() {
    if !have_ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    film(dir.path(), "in.mp4");
    for container in ["mp4", "mov"] {
        let mux = |name: &str, flags: &str| {
            let out = dir.path().join(name);
            let args = format!(
                "-v error -i {} -map 0 -map -0:d -c copy {flags} -movie_timescale 90000 -fflags +bitexact -f {container} {}",
                dir.path().join("in.mp4").display(),
                out.display()
            );
            let (_, log) = run(&ffmpeg(), &args.split_whitespace().collect::<Vec<_>>());
            assert_eq!(log, "");
            out
        };
        let wanted = std::fs::read(mux("fast", "-movflags +faststart")).unwrap();
        let plain = mux("plain", "");
        let file = Arc::new(File::open(&plain).unwrap());
        assert!(!takes_packets(&file).unwrap());
        let made = index_first(&file).unwrap();
        let bytes = made.read(0..made.size()).await.unwrap();
        assert!(bytes == wanted, "{container}");
        assert!(std::fs::read(&plain).unwrap() != wanted, "it was moved");
        // One that is not what is expected is refused.
        let cut = File::options().write(true).open(&plain).unwrap();
        cut.set_len(cut.metadata().unwrap().len() - 1).unwrap();
        for name in ["fast", "plain"] {
            let file = Arc::new(File::open(dir.path().join(name)).unwrap());
            let refused = index_first(&file).unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::InvalidData, "{refused}");
        }
        std::fs::remove_file(plain).unwrap();
        std::fs::remove_file(dir.path().join("fast")).unwrap();
    }
}

#[test]
fn a_growing_file_takes_packets_until_ffmpeg_ends() {
    if !have_ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for container in ["mp4", "mov"] {
        let out = dir.path().join(container);
        let args = format!(
            "-v error -f rawvideo -s 320x180 -pix_fmt yuv420p -i - -c:v mpeg4 -b:v 4M -f {container}"
        );
        let mut child = Command::new(ffmpeg())
            .args(args.split_whitespace())
            .arg(&out)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut state = 1u32;
        let mut frame = || {
            let noise = (0..320 * 180 * 3 / 2).map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            });
            stdin.write_all(&noise.collect::<Vec<_>>()).unwrap();
        };
        let length = || out.metadata().map_or(0, |meta| meta.len());
        while length() < 100_000 {
            frame();
        }
        let file = File::open(&out).unwrap();
        assert!(takes_packets(&file).unwrap(), "{container}");
        drop(stdin);
        assert!(child.wait().unwrap().success());
        assert!(!takes_packets(&file).unwrap(), "{container}");
    }
}
