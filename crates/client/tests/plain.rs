//! Joined Segments show what one plain process shows: at another frame rate, and of a part of the Source.

mod common;

use common::ffmpeg;
use std::path::Path;
use std::process::Command;

fn run(command: &mut Command) {
    let out = command.output().expect("it starts");
    let log = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{log}");
}

/// PSNR of every frame of `ours` against the frame of the same number of `plain`, and how many each has.
fn compare(ffmpeg: &Path, dir: &Path, ours: &str, plain: &str) -> (Vec<f64>, usize) {
    let line = format!(
        "-loglevel error -y -i {ours} -i {plain} -lavfi \
         [0:v]settb=1/25,setpts=N[a];[1:v]settb=1/25,setpts=N,split[b][c];[a][b]psnr=stats_file=psnr.txt:eof_action=endall,nullsink;\
         [c]scale=8:8[d] -map [d] -fps_mode passthrough -f framecrc plain.txt"
    );
    run(Command::new(ffmpeg)
        .args(line.split_whitespace())
        .current_dir(dir));
    let psnr = std::fs::read_to_string(dir.join("psnr.txt")).expect("written");
    let values = psnr.lines().filter_map(|line| {
        let (_, rest) = line.split_once("psnr_avg:")?;
        let word = rest.split(' ').next()?;
        Some(word.parse().unwrap_or(f64::INFINITY))
    });
    let plain = std::fs::read_to_string(dir.join("plain.txt")).expect("written");
    let frames = plain.lines().filter(|line| !line.starts_with('#')).count();
    (values.collect(), frames)
}

/// Makes `ours.mp4` of a Source.
fn transcode(ffmpeg: &Path, dir: &Path, source: &str, flags: &str) {
    let line = format!(
        "transcode {source} -o ours.mp4 --force --codec h264 --preset ultrafast --crf 10 --segment 1s {flags}"
    );
    client(ffmpeg, dir, &line);
}

fn client(ffmpeg: &Path, dir: &Path, line: &str) {
    run(Command::new(env!("CARGO_BIN_EXE_recode-client"))
        .args(line.split_whitespace())
        .env("RECODE_STATE", dir.join("state"))
        .env("RECODE_FFMPEG", ffmpeg)
        .current_dir(dir));
}

/// `ours` shows what `plain.mkv` does.
fn same(ffmpeg: &Path, dir: &Path, ours: &str, what: &str) {
    let (psnr, frames) = compare(ffmpeg, dir, ours, "plain.mkv");
    // A plain process rounds the end of the last frame, ours shows it to its end.
    assert!(
        psnr.len() == frames,
        "{what}: {} frames compared of {frames}",
        psnr.len()
    );
    let worst = psnr.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(worst > 30.0, "{what}: {worst} dB at worst");
}

#[test]
fn a_changed_frame_rate_shows_what_a_plain_process_shows() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    let all = ["25", "30000/1001", "12", "60"];
    // The last two have no times that can be relied on, and are decoded from the start.
    for (source, rates) in [
        ("source.mkv", &all[..]),
        ("source.mp4", &all[..]),
        ("source.avi", &all[..1]),
        ("source.h264", &all[2..3]),
    ] {
        let line = format!(
            "-loglevel error -y -f lavfi -i testsrc2=size=160x90:rate=24000/1001:duration=7 -c:v libx264 -preset ultrafast \
             -crf 10 -bf 3 -g 24 -x264-params open-gop=1:scenecut=0 {source}"
        );
        run(Command::new(&ffmpeg)
            .args(line.split_whitespace())
            .current_dir(dir));
        for rate in rates {
            let plain = format!(
                "-loglevel error -y -i {source} -vf fps={rate} -c:v libx264 -preset ultrafast -qp 0 plain.mkv"
            );
            run(Command::new(&ffmpeg)
                .args(plain.split_whitespace())
                .current_dir(dir));
            transcode(&ffmpeg, dir, source, &format!("--fps {rate}"));
            same(&ffmpeg, dir, "ours.mp4", &format!("{source} at {rate}"));
        }
    }
}

/// Where the wanted part begins between two key frames, and between two frames, of a Source with reordered pictures. Formats without an
/// index are not sought in.
#[test]
fn a_part_shows_what_a_plain_process_shows_of_it_whatever_the_container() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    for source in ["source.ts", "source.flv", "source.avi", "source.mkv"] {
        let line = format!(
            "-loglevel error -y -f lavfi -i testsrc2=size=160x90:rate=25:duration=5 -f lavfi -i sine=440:r=44100:d=5 -c:v libx264 \
             -preset ultrafast -crf 10 -bf 3 -g 40 -x264-params scenecut=0 -c:a libmp3lame {source}"
        );
        run(Command::new(&ffmpeg)
            .args(line.split_whitespace())
            .current_dir(dir));
        // Decoded from the beginning: in a transport stream FFmpeg may seek to pictures whose references are missing.
        let plain = format!(
            "-loglevel error -y -i {source} -ss 1.31 -t 2.2 -an -c:v libx264 -preset ultrafast -qp 0 plain.mkv"
        );
        run(Command::new(&ffmpeg)
            .args(plain.split_whitespace())
            .current_dir(dir));
        transcode(&ffmpeg, dir, source, "--start 1.31 --duration 2.2");
        same(&ffmpeg, dir, "ours.mp4", source);
    }
}

/// Some of its frames are marked as interlaced and some are not; HEVC and ProRes say of a whole Chunk what its first frame was.
#[test]
fn a_telecined_film_is_joined_whatever_its_frames_are_marked_as() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    let line = "-loglevel error -y -f lavfi -i testsrc2=size=160x96:rate=24000/1001:duration=6 -vf telecine -c:v mpeg2video \
                -flags +ildct+ilme -g 12 -b:v 2M source.mpg";
    run(Command::new(&ffmpeg)
        .args(line.split_whitespace())
        .current_dir(dir));
    let plain = "-loglevel error -y -i source.mpg -c:v libx264 -preset ultrafast -qp 0 plain.mkv";
    run(Command::new(&ffmpeg)
        .args(plain.split_whitespace())
        .current_dir(dir));
    for codec in ["h265 --preset ultrafast --crf 10", "prores"] {
        let line = format!("transcode source.mpg -o ours.mov --force --segment 1s --codec {codec}");
        client(&ffmpeg, dir, &line);
        same(&ffmpeg, dir, "ours.mov", codec);
    }
}
