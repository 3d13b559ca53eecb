//! FFmpeg missing, too old, without the encoder, killed, hanging.

use crate::bench::Bench;

const REMEDY: &str = "run `make setup`, install ffmpeg 5.1 or later, or set RECODE_FFMPEG to one";

#[test]
fn builds_that_cannot_be_used_are_told_apart() {
    let bench = Bench::new();
    bench.write("in.mp4", b"not looked at");
    let line = "in.mp4 -o out.mp4";
    let refused = |ffmpeg: &std::path::Path, message: &str| {
        bench.refused_by(bench.command_with(ffmpeg, line), line, 5, message);
    };
    refused(
        &bench.file("none"),
        &format!("DIR/none cannot be run as ffmpeg (RECODE_FFMPEG names no file): {REMEDY}"),
    );
    let odd = bench.stand_in("odd", "echo hello; exit 0");
    refused(
        &odd,
        &format!("DIR/odd does not answer -version as ffmpeg does: {REMEDY}"),
    );
    let old = bench.stand_in(
        "old",
        "echo 'ffmpeg version 4.4.1 Copyright (c) 2000-2021'; echo 'libavcodec     58.134.100 / 58.134.100'; exit 0",
    );
    refused(
        &old,
        &format!("DIR/old is ffmpeg 4.4.1, older than 5.1: {REMEDY}"),
    );
}

#[test]
fn encoders_and_libvmaf_are_missed_before_anything_starts() {
    let bench = Bench::new();
    if !bench.clip("in.mp4") {
        return;
    }
    let poor = bench.stand_in(
        "poor",
        "case \"$*\" in *-encoders*) $REAL \"$@\" | grep -v x265; exit;; *-filters*) $REAL \"$@\" | grep -v vmaf; exit;; esac",
    );
    let line = "in.mp4 -o out.mp4 --codec h265";
    bench.refused_by(
        bench.command_with(&poor, line),
        line,
        5,
        &format!("DIR/poor has no encoder libx265: choose another --encoder, or {REMEDY}"),
    );
    let line = "in.mp4 -o out.mp4 --score vmaf";
    bench.refused_by(
        bench.command_with(&poor, line),
        line,
        5,
        "DIR/poor has no libvmaf filter, so it cannot score: run `make setup` for a build that has it, or leave --score out",
    );
}

#[test]
fn an_ffmpeg_that_is_killed_every_time_ends_the_job() {
    let bench = Bench::new();
    if !bench.clip("in.mp4") {
        return;
    }
    let dying = bench.stand_in("dying", "case \"$*\" in *libx264*) kill -9 $$;; esac");
    let line = "in.mp4 -o out.mp4";
    bench.refused_by(
        bench.command_with(&dying, line),
        line,
        1,
        "ffmpeg was ended by SIGKILL",
    );
}

#[test]
#[ignore = "the watchdog waits half a minute for each of three attempts"]
fn an_ffmpeg_that_hangs_is_ended() {
    let bench = Bench::new();
    if !bench.clip("in.mp4") {
        return;
    }
    let hanging = bench.stand_in(
        "hanging",
        "case \"$*\" in *libx264*) exec /bin/sleep 1000;; esac",
    );
    let line = "in.mp4 -o out.mp4 --segment 10s";
    bench.refused_by(
        bench.command_with(&hanging, line),
        line,
        1,
        "ffmpeg made no progress for 30 s and was stopped",
    );
}
