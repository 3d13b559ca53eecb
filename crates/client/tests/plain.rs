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

fn tool(ffmpeg: &Path, dir: &Path, line: &str) {
    run(Command::new(ffmpeg)
        .args("-loglevel error -y".split_whitespace())
        .args(line.split_whitespace())
        .current_dir(dir));
}

/// PSNR of every frame of `ours` against the frame of the same number of `plain`, and how many each has.
fn compare(ffmpeg: &Path, dir: &Path, ours: &str, plain: &str) -> (Vec<f64>, usize) {
    let line = format!(
        "-i {ours} -i {plain} -lavfi \
         [0:v]settb=1/25,setpts=N[a];[1:v]settb=1/25,setpts=N,split[b][c];[a][b]psnr=stats_file=psnr.txt:eof_action=endall,nullsink;\
         [c]scale=8:8[d] -map [d] -fps_mode passthrough -f framecrc plain.txt"
    );
    tool(ffmpeg, dir, &line);
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

/// Of each of `codecs`, with its flags, `ours` shows what a plain process makes of all of `source`.
fn joined(ffmpeg: &Path, dir: &Path, source: &str, ours: &str, codecs: [&str; 2]) {
    let plain = format!("-i {source} -c:v libx264 -preset ultrafast -qp 0 plain.mkv");
    tool(ffmpeg, dir, &plain);
    for codec in codecs {
        let line = format!("transcode {source} -o {ours} --force --segment 1s --codec {codec}");
        client(ffmpeg, dir, &line);
        same(ffmpeg, dir, ours, codec);
    }
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
            "-f lavfi -i testsrc2=size=160x90:rate=24000/1001:duration=7 -c:v libx264 -preset ultrafast \
             -crf 10 -bf 3 -g 24 -x264-params open-gop=1:scenecut=0 {source}"
        );
        tool(&ffmpeg, dir, &line);
        for rate in rates {
            let plain = format!(
                "-i {source} -vf fps={rate} -c:v libx264 -preset ultrafast -qp 0 plain.mkv"
            );
            tool(&ffmpeg, dir, &plain);
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
            "-f lavfi -i testsrc2=size=160x90:rate=25:duration=5 -f lavfi -i sine=440:r=44100:d=5 -c:v libx264 \
             -preset ultrafast -crf 10 -bf 3 -g 40 -x264-params scenecut=0 -c:a libmp3lame {source}"
        );
        tool(&ffmpeg, dir, &line);
        // Decoded from the beginning: in a transport stream FFmpeg may seek to pictures whose references are missing.
        let plain = format!(
            "-i {source} -ss 1.31 -t 2.2 -an -c:v libx264 -preset ultrafast -qp 0 plain.mkv"
        );
        tool(&ffmpeg, dir, &plain);
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
    let line = "-f lavfi -i testsrc2=size=160x96:rate=24000/1001:duration=6 -vf telecine -c:v mpeg2video \
                -flags +ildct+ilme -g 12 -b:v 2M source.mpg";
    tool(&ffmpeg, dir, line);
    let codecs = ["h265 --preset ultrafast --crf 10", "prores"];
    joined(&ffmpeg, dir, "source.mpg", "ours.mov", codecs);
}

/// Parameter sets name the colours. A capture of programmes after each other, each of which names its own, is one Output all the same.
#[test]
fn a_source_that_changes_its_colours_is_joined() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    let mut source = Vec::new();
    for (offset, colors) in [
        (0, ""),
        (
            3,
            "-colorspace bt709 -color_primaries bt709 -color_trc bt709",
        ),
    ] {
        let line = format!(
            "-f lavfi -i testsrc2=size=160x90:rate=25:duration=3 {colors} -c:v libx264 -preset ultrafast -crf 10 -g 25 \
             -output_ts_offset {offset} part.ts"
        );
        tool(&ffmpeg, dir, &line);
        source.extend(std::fs::read(dir.join("part.ts")).expect("written"));
    }
    std::fs::write(dir.join("source.ts"), source).expect("writable");
    let codecs = [
        "h264 --preset ultrafast --crf 10",
        "h265 --preset ultrafast --crf 10",
    ];
    joined(&ffmpeg, dir, "source.ts", "ours.mp4", codecs);
}

/// Two frames for one moment, as broken recorders write them: both are in the Output.
#[test]
fn frames_of_one_time_are_all_kept() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    tool(
        &ffmpeg,
        dir,
        "-f lavfi -i testsrc2=size=160x90:rate=25:duration=4 -c:v libx264 -preset ultrafast -crf 10 -bf 0 -g 25 even.mkv",
    );
    tool(
        &ffmpeg,
        dir,
        "-i even.mkv -c:v libx264 -preset ultrafast -qp 0 plain.mkv",
    );
    for source in ["source.mp4", "source.mkv"] {
        let repeat = "setts=dts=DTS-0.2/TB:pts=PTS-eq(N\\,40)*0.04/TB";
        tool(
            &ffmpeg,
            dir,
            &format!("-i even.mkv -c copy -bsf:v {repeat} {source}"),
        );
        transcode(&ffmpeg, dir, source, "");
        same(&ffmpeg, dir, "ours.mp4", source);
    }
}

/// The sound of a file, 8,000 samples a second.
fn sound(ffmpeg: &Path, dir: &Path, file: &str, part: &str) -> Vec<f64> {
    tool(
        ffmpeg,
        dir,
        &format!("-i {file} {part} -map 0:a -ac 1 -ar 8000 -f f32le sound.raw"),
    );
    let bytes = std::fs::read(dir.join("sound.raw")).expect("written");
    let samples = bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    samples.map(f64::from).collect()
}

/// How much of the loudness of `wanted` is missing from, or wrong in, `heard`, where both begin within 30 ms of each other.
fn unlike(wanted: &[f64], heard: &[f64]) -> f64 {
    let all: f64 = wanted.iter().map(|x| x * x).sum();
    let at = |lag: i64, i: usize| {
        usize::try_from(i as i64 + lag)
            .ok()
            .and_then(|i| heard.get(i))
    };
    let wrong = |lag: i64| -> f64 {
        let pairs = wanted.iter().enumerate();
        pairs
            .map(|(i, x)| (x - at(lag, i).copied().unwrap_or(0.0)).powi(2))
            .sum()
    };
    (-240..=240).map(wrong).fold(f64::INFINITY, f64::min) / all
}

/// Puts `edits`, as (duration, first media time), into the edit list of the last track of an MP4 whose index is at its end.
fn edit(file: &Path, edits: &[(u32, i32)]) {
    let mut bytes = std::fs::read(file).expect("a file");
    let find =
        |bytes: &[u8], name: &[u8]| bytes.windows(4).rposition(|w| w == name).expect("a box");
    let at = find(&bytes, b"elst") - 4;
    let size = |bytes: &[u8], at: usize| {
        u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
    };
    let old = size(&bytes, at) as usize;
    let mut list = vec![0; 4];
    list.extend((edits.len() as u32).to_be_bytes());
    for (duration, time) in edits {
        list.extend(duration.to_be_bytes());
        list.extend(time.to_be_bytes());
        list.extend([0, 1, 0, 0]);
    }
    let grown = list.len() + 8 - old;
    for name in [&b"moov"[..], b"trak", b"edts", b"elst"] {
        let at = find(&bytes, name) - 4;
        let new = size(&bytes, at) + grown as u32;
        bytes[at..at + 4].copy_from_slice(&new.to_be_bytes());
    }
    bytes.splice(at + 8..at + old, list);
    std::fs::write(file, bytes).expect("writable");
}

/// A copy would play what the edit list hides (MP4 as Output), or leave out what it shows (the part in Matroska).
#[test]
fn what_an_edit_list_hides_of_the_sound_is_not_heard_and_all_else_is() {
    let Some(ffmpeg) = ffmpeg() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    tool(
        &ffmpeg,
        dir,
        "-f lavfi -i testsrc2=size=160x90:rate=25:duration=6 -f lavfi -i aevalsrc=0.4*sin(2*PI*(200+t*90)*t):s=48000:d=6 \
         -c:v libx264 -preset ultrafast -g 25 -c:a aac -b:a 128k -movie_timescale 1000 whole.mp4",
    );
    let ticks = |seconds: f64| (seconds * 48_000.0) as i32 + 1024;
    for (edits, ours, part, flags) in [
        (
            &[(1500, ticks(0.5)), (2000, ticks(3.5))][..],
            "ours.mp4",
            "",
            "",
        ),
        (
            &[(4000, ticks(1.5))][..],
            "ours.mkv",
            "-ss 1.3 -t 2",
            "--start 1.3 --duration 2",
        ),
    ] {
        std::fs::copy(dir.join("whole.mp4"), dir.join("edited.mp4")).expect("copied");
        edit(&dir.join("edited.mp4"), edits);
        let wanted = sound(&ffmpeg, dir, "edited.mp4", part);
        client(
            &ffmpeg,
            dir,
            &format!(
                "transcode edited.mp4 -o {ours} --force --codec h264 --preset ultrafast --segment 2s {flags}"
            ),
        );
        let heard = sound(&ffmpeg, dir, ours, "");
        let off = unlike(&wanted, &heard);
        assert!(off < 0.05, "{ours}: {off} of the sound is unlike");
        assert!(
            heard.len().abs_diff(wanted.len()) < 800,
            "{ours}: {} samples, {} wanted",
            heard.len(),
            wanted.len()
        );
    }
}
