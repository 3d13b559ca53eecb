//! Sources in S3: every byte is fetched once, and what comes out is what a local Source gives.

mod common;

use common::ffmpeg;
use recode_testkit::s3::{Kind, Server};
use std::path::Path;
use std::process::Command;

fn run(command: &mut Command) -> String {
    let out = command.output().expect("it starts");
    let log = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{log}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// 12 s with B-frames, open GOPs, key frames, sound and subtitles. Every seventh frame is missing, so that no rate tells how
/// many there are.
fn generate(ffmpeg: &Path, dir: &Path) {
    std::fs::write(
        dir.join("in.srt"),
        "1\n00:00:01,000 --> 00:00:02,000\nHello\n\n2\n00:00:10,500 --> 00:00:11,000\nWorld\n",
    )
    .expect("written");
    let line = "-loglevel error -f lavfi -i testsrc2=size=640x360:rate=24000/1001:duration=12 -f lavfi \
                -i sine=duration=12 -i in.srt -map 0 -map 1 -map 2 -vf select=mod(n\\,7) -fps_mode vfr \
                -c:v libx264 -preset ultrafast -crf 4 -bf 3 -g 24 \
                -x264-params open-gop=1:scenecut=0 -c:a aac -b:a 96k -c:s srt source.mkv";
    run(Command::new(ffmpeg)
        .args(line.split_whitespace())
        .current_dir(dir));
}

fn transcode(dir: &Path, server: &Server, source: &str, output: &str, more: &str) {
    let line = format!(
        "transcode {source} -o {output} --codec h264 --preset ultrafast --segment 2s {more}"
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_recode-client"));
    command.args(line.split_whitespace()).current_dir(dir);
    command.env("RECODE_STATE", dir.join(format!("state-{output}")));
    run(command.envs(server.env()));
}

/// Times, sizes and digests of all packets of all tracks.
fn packets(ffmpeg: &Path, dir: &Path, file: &str) -> String {
    let line = format!("-loglevel error -i {file} -map 0 -c copy -f framehash -");
    run(Command::new(ffmpeg)
        .args(line.split_whitespace())
        .current_dir(dir))
}

#[test]
fn matroska_is_fetched_once_and_comes_out_as_from_a_local_file() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    generate(&ffmpeg, dir);
    std::fs::create_dir(dir.join("s3")).expect("made");
    let server = Server::start(&dir.join("s3")).expect("it starts");
    server.create_bucket("media").expect("made");
    server
        .place("media", "source.mkv", &dir.join("source.mkv"))
        .expect("placed");
    let size = std::fs::metadata(dir.join("source.mkv"))
        .expect("it is there")
        .len();
    for (name, more) in [
        ("all.mkv", ""),
        ("scored.mkv", "--scale 320x180 --score vmaf"),
        ("part.mkv", "--start 3.3 --duration 5.5"),
    ] {
        server.reset();
        transcode(dir, &server, "s3://media/source.mkv", name, more);
        let sent = server.count(Kind::Get).bytes_sent;
        let local = format!("local-{name}");
        transcode(dir, &server, "source.mkv", &local, more);
        // What follows a cut inside a GOP is encoded in other Segments than those of a file whose frames are known.
        if !more.contains("--start") {
            assert!(sent * 100 <= size * 105, "{name}: {sent} bytes of {size}");
            assert_eq!(
                packets(&ffmpeg, dir, name),
                packets(&ffmpeg, dir, &local),
                "{name}"
            );
        }
        let times = |file: &str| -> Vec<String> {
            let all = packets(&ffmpeg, dir, file);
            let lines = all.lines().filter(|line| !line.starts_with('#'));
            let mut times: Vec<String> = lines
                .map(|line| {
                    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
                    format!("{} {:>9}", fields[0], fields[2])
                })
                .collect();
            times.sort();
            times
        };
        assert_eq!(times(name), times(&local), "{name}");
    }
}

#[test]
fn every_container_comes_out_as_from_a_local_file() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    std::fs::create_dir(dir.join("s3")).expect("made");
    let server = Server::start(&dir.join("s3")).expect("it starts");
    server.create_bucket("media").expect("made");
    // MP4 with the index at the end and in front, of one block and of several, and in fragments; and what is fetched whole.
    for (name, size, flags) in [
        ("small-end.mp4", "160x120", ""),
        ("small-front.mp4", "160x120", "-movflags +faststart"),
        ("large-end.mp4", "1280x720", ""),
        ("large-front.mp4", "1280x720", "-movflags +faststart"),
        (
            "parts.mp4",
            "640x360",
            "-movflags +frag_keyframe+empty_moov",
        ),
        ("end.mov", "320x180", ""),
        ("a.ts", "640x360", ""),
        ("a.flv", "640x360", "-ar 44100"),
        ("a.avi", "640x360", ""),
        ("a.mkv", "640x360", ""),
        // Times below 0, which no cluster can have: FFmpeg writes them all the same, and skips that cluster when it reads.
        (
            "negative.mkv",
            "640x360",
            "-output_ts_offset -1 -avoid_negative_ts disabled",
        ),
        ("a.nut", "640x360", ""),
        (
            "dash.mp4",
            "640x360",
            "-movflags +dash+global_sidx -frag_duration 1000000",
        ),
        (
            "defaultbase.mp4",
            "640x360",
            "-movflags +frag_keyframe+empty_moov+default_base_moof",
        ),
        ("hybrid.mp4", "640x360", "-movflags +frag_keyframe"),
    ] {
        let line = format!(
            "-loglevel error -f lavfi -i testsrc2=size={size}:rate=25:duration=4 -f lavfi -i sine=duration=4 -c:v libx264 \
             -preset ultrafast -crf 4 -g 25 -c:a aac {flags} {name}"
        );
        run(Command::new(&ffmpeg)
            .args(line.split_whitespace())
            .current_dir(dir));
        server
            .place("media", name, &dir.join(name))
            .expect("placed");
        transcode(
            dir,
            &server,
            &format!("s3://media/{name}"),
            &format!("far-{name}.mkv"),
            "",
        );
        transcode(dir, &server, name, &format!("near-{}.mkv", name), "");
        let far = packets(&ffmpeg, dir, &format!("far-{name}.mkv"));
        let near = packets(&ffmpeg, dir, &format!("near-{name}.mkv"));
        let differs = far
            .lines()
            .zip(near.lines())
            .find(|(far, near)| far != near);
        assert_eq!(differs, None, "{name}");
        assert_eq!(far.len(), near.len(), "{name}");
    }
}
