//! Sources that are not what they should be, and requests that do not fit the Source.

use crate::bench::{Bench, real_ffmpeg};
use std::process::Command;

#[test]
fn files_that_hold_no_video_are_told_apart() {
    let bench = Bench::new();
    if !bench.clip("in.mp4") {
        return;
    }
    let whole = std::fs::read(bench.file("in.mp4")).expect("it was just made");
    bench.write(
        "text.mp4",
        b"this is a text about videos and not one of them\n",
    );
    bench.write("short.mp4", &whole[..whole.len() / 2]);
    let sound = Command::new(real_ffmpeg().expect("it made the clip"))
        .args("-loglevel error -i in.mp4 -vn -c copy sound.mp4".split(' '))
        .current_dir(bench.path())
        .status();
    assert!(sound.is_ok_and(|s| s.success()));
    for name in ["text.mp4", "short.mp4"] {
        bench.refused(
            &format!("{name} -o out.mp4"),
            3,
            &format!(
                "{name} cannot be opened as video: moov atom not found; check that it is a media file and was copied \
                 completely (Error opening input files: Invalid data found when processing input)"
            ),
        );
    }
    bench.refused(
        "sound.mp4 -o out.mp4",
        3,
        "sound.mp4 has no picture: recode needs a video track with at least one frame",
    );
}

#[test]
fn wishes_that_do_not_fit_the_source_are_named() {
    let bench = Bench::new();
    if !bench.clip("in.mp4") {
        return;
    }
    for (line, code, message) in [
        (
            "in.mp4 -o out.mp4 --start 100",
            3,
            "no frame lies in the wanted part: the source lasts 4.000 seconds, check --start and --duration",
        ),
        (
            "in.mp4 -o out.mp4 --tracks audio:7",
            3,
            "no track of the source matches audio 7: see recode-client probe for its tracks",
        ),
        (
            "in.mp4 -o out.webm --audio-codec copy",
            3,
            "webm cannot hold the aac audio of track 1 as it is: leave --audio-codec copy out or use mkv",
        ),
        (
            "in.mp4 -o out.mp4 --preset fastest",
            2,
            "libx264 has no preset fastest: choose one of ultrafast, superfast, veryfast, faster, fast, medium, slow, \
             slower, veryslow, placebo",
        ),
        (
            "in.mp4 -o out.mp4 --tune foo",
            2,
            "libx264 has no tune foo: choose one of film, animation, grain, stillimage, psnr, ssim, fastdecode, \
             zerolatency",
        ),
    ] {
        bench.refused(line, code, message);
    }
}

#[test]
fn a_source_that_changes_while_it_is_read_is_an_error_and_no_mixture() {
    let bench = Bench::new();
    if !bench.clip("in.mp4") {
        return;
    }
    let source = bench.file("in.mp4");
    let size = std::fs::metadata(&source).expect("it was just made").len();
    // The first encode writes to the source, the others do not.
    let ffmpeg = bench.stand_in(
        "ffmpeg",
        &format!(
            "case \"$*\" in *libx264*) if (set -C; : > '{}') 2>/dev/null; then printf x >> '{}'; fi;; esac",
            bench.file("state-once").display(),
            source.display()
        ),
    );
    let line = "in.mp4 -o out.mp4 --segment 1s";
    bench.refused_by(
        bench.command_with(&ffmpeg, line),
        line,
        3,
        &format!(
            "\"DIR/in.mp4\" changed while it was being read (it was {size} bytes and is {}); start again when it is \
             complete",
            size + 1
        ),
    );
}
