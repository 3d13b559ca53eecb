//! Flags and job files that cannot be served, and local files that cannot be used.

use crate::bench::Bench;

/// Flags that contradict each other, or ask for what nothing can do. Nothing is read or written for these.
const USAGE: &[(&str, &str)] = &[
    ("in.mp4", "no output is named; add -o OUTPUT"),
    (
        "in.mp4 -o out.avi",
        "the name out.avi does not say which container to make; let it end in .mp4, .mov, .mkv, .webm or .ts",
    ),
    (
        "in.mp4 -o out.mp4 --crf 20 --bitrate 4M",
        "--crf and --bitrate contradict each other; give one of --crf (quality), --bitrate and --size",
    ),
    (
        "in.mp4 -o out.mp4 --crf 20 --size 700MB",
        "--crf and --size contradict each other; give one of --crf (quality), --bitrate and --size",
    ),
    (
        "in.mp4 -o out.mp4 --crf 99",
        "--crf 99 is outside the scale of libx264, which goes from 0 (best) to 51; 23 is a usual value",
    ),
    (
        "in.mp4 -o out.mp4 --crf good",
        "invalid value 'good' for '--crf <N>': \"good\" is not a number such as 18 or 23.5",
    ),
    (
        "in.mp4 -o out.mp4 --bitrate 4000",
        "--bitrate of 4000 b/s is out of range; name one from 8k to 2000M, such as 4M or 4000k",
    ),
    (
        "in.mp4 -o out.mp4 --bitrate 4M --maxrate 6M",
        "--maxrate needs --bufsize, the buffer over which the peak is measured; twice the rate is usual",
    ),
    (
        "in.mp4 -o out.mp4 --bitrate 4M --maxrate 2M --bufsize 4M",
        "--maxrate 2000000 lies below --bitrate 4000000; the peak is at least the mean",
    ),
    (
        "in.mp4 -o out.mp4 --size 10",
        "--size of 10 bytes is too small for any video; write it as 700MB or 1.5GB",
    ),
    (
        "in.mp4 -o out.webm --codec h264",
        "webm cannot hold h264; name the output .mp4, .mov, .mkv or .ts",
    ),
    (
        "in.mp4 -o out.mp4 --codec prores",
        "mp4 cannot hold prores; name the output .mov or .mkv",
    ),
    (
        "in.mp4 -o out.webm --codec vp9 --audio-codec aac",
        "webm cannot hold aac audio; use --audio-codec opus, or name the output .mp4, .mov, .mkv or .ts",
    ),
    (
        "in.mp4 -o out.mp4 --audio-codec flac --audio-bitrate 128k",
        "--audio-bitrate has no effect with flac, which is lossless; leave it out or use --audio-codec aac",
    ),
    (
        "in.mp4 -o out.mp4 --codec h265 --encoder libx264",
        "--encoder libx264 makes h264, not h265; use --codec h264 or --encoder libx265",
    ),
    (
        "in.mp4 -o out.mp4 --encoder h264_magic",
        "recode does not know the encoder h264_magic; use one of libx264, libx265, libsvtav1, libaom-av1, \
         libvpx-vp9, prores_ks, mpeg2video, or a card's: h264_nvenc, hevc_nvenc, av1_nvenc, h264_qsv, hevc_qsv, av1_qsv, h264_vaapi, hevc_vaapi, av1_vaapi, \
             h264_amf, hevc_amf, av1_amf, h264_videotoolbox, hevc_videotoolbox",
    ),
    (
        "in.mp4 -o out.mp4 --codec h266",
        "invalid value 'h266' for '--codec <CODEC>' [possible values: h264, h265, av1, vp9, prores, mpeg2, copy] \
         (a similar value exists: 'h265')",
    ),
    (
        "in.mp4 -o out.mp4 --codec copy --crf 20",
        "--crf has no effect with --codec copy, which keeps the video as it is; leave it out or name a codec",
    ),
    (
        "in.mp4 -o out.mp4 --codec copy --score vmaf",
        "--score has nothing to measure with --codec copy, since the pictures stay the same; leave one of them out",
    ),
    (
        "in.mp4 -o in.mp4",
        "in.mp4 is both input and output; name another output, the source is never written to",
    ),
    (
        "in.mp4 -o out.mp4 --scale 853x480 --stretch",
        "853 is odd, and pictures with shared colour samples have even sizes; use 852 or 854, or --pix-fmt yuv444p",
    ),
    (
        "in.mp4 -o out.mp4 --scale 40000x30000",
        "a picture cannot be 40000 pixels wide or high; --scale goes from 2 to 16384",
    ),
    (
        "in.mp4 -o out.mp4 --scale huge",
        "invalid value 'huge' for '--scale <SIZE>': \"huge\" is not a picture size such as 1080p, 1280x720 or source",
    ),
    (
        "in.mp4 -o out.mp4 --segment 1ms",
        "--segment must be at least 100ms; 2s to 30s make sense, and leaving it out lets recode choose",
    ),
    (
        "in.mp4 -o out.mp4 --segment 10s --spread",
        "--segment and --spread contradict each other; name one length, or leave the lengths to --spread",
    ),
    (
        "in.mp4 -o out.mp4 --verify full --split-tail",
        "--verify full and --split-tail contradict each other: not every frame of a piece that several workers made can be \
         compared; leave one of them out",
    ),
    (
        "in.mp4 -o out.mp4 --start -3",
        "--start lies before the beginning; count it from the start of the source, as in --start 1:30",
    ),
    (
        "in.mp4 -o out.mp4 --duration 0",
        "--duration must be longer than nothing, as in --duration 90s",
    ),
    (
        "in.mp4 -o out.mp4 --gop 0",
        "--gop must be at least 1, the distance of key frames in frames",
    ),
    (
        "in.mp4 -o out.mp4 --score psnr,beauty",
        "invalid value 'beauty' for '--score <METRICS>' [possible values: vmaf, psnr, ssim, ms-ssim]",
    ),
    (
        "in.mp4 -o out.mp4 --tracks au:dio",
        "invalid value 'au:dio' for '--tracks <TRACKS>': \"au:dio\" names no tracks; write all, a kind (video, audio, \
         subtitle, data, attachment), a kind with a number or language (audio:0, subtitle:eng), a track number (#2) or a \
         language (eng)",
    ),
    (
        "in.mp4 -o out.mp4 --quiet -v",
        "the argument '--quiet' cannot be used with '--verbose...'; see recode-client transcode --help",
    ),
    (
        "in.mp4 -o out.mp4 --workers 0",
        "--workers must be at least 1; leave it out to use all cores",
    ),
    (
        "in.mp4 -o out.mp4 --endpoint http://127.0.0.1:9",
        "in.mp4 is on this machine, where the nodes of http://127.0.0.1:9 may not see it; send it along with --upload, name an \
         s3:// URL, or write file://DIR/in.mp4 where all nodes share that disk",
    ),
    (
        "in.mp4 -o out.mp4 --upload",
        "no cluster is named; add --endpoint HOST:PORT or set RECODE_ENDPOINT",
    ),
];

#[test]
fn contradictions_and_impossible_flags_are_refused_before_anything_is_touched() {
    let bench = Bench::new();
    for (line, message) in USAGE {
        bench.refused(line, 2, message);
    }
}

#[test]
fn job_files_are_refused_with_the_place_of_the_mistake() {
    let bench = Bench::new();
    for (text, message) in [
        (
            "input = ",
            "in the job file job.toml, line 1: string values must be quoted, expected literal string",
        ),
        (
            "input = \"in.mp4\"",
            "in the job file job.toml, output: there is none; add at least one [[output]] with a path",
        ),
        (
            "input = \"in.mp4\"\n[[output]]\npath = \"a.mp4\"\n[[output]]\npath = \"a.mp4\"",
            "a.mp4 is named as output twice; give each output its own name",
        ),
        (
            "[[output]]\npath = \"a.mp4\"",
            "the job file job.toml has no input; add input = \"FILE\", or name it on the command line",
        ),
    ] {
        bench.write("job.toml", text.as_bytes());
        bench.refused("--job job.toml", 2, message);
    }
    bench.refused(
        "--job none.toml",
        2,
        "the job file none.toml cannot be read (no such file or directory); check the path",
    );
    bench.refused(
        "--job job.toml --crf 20",
        2,
        "flags that describe an output cannot be used with --job; write them into the job file",
    );
}

#[test]
fn inputs_that_cannot_be_read_are_told_apart() {
    let bench = Bench::new();
    bench.write("empty.mp4", b"");
    bench.refused(
        "none.mp4 -o out.mp4",
        3,
        "none.mp4 does not exist; check the path",
    );
    bench.refused(
        ". -o out.mp4",
        3,
        ". is a directory; name a video file in it",
    );
    bench.refused(
        "empty.mp4 -o out.mp4",
        3,
        "empty.mp4 is empty; it was probably not copied completely",
    );
    bench.refused(
        "/dev/zero -o out.mp4",
        3,
        "/dev/zero is not a regular file, and recode reads its source more than once; save it to a file first",
    );
    bench.refused(
        "ftp://host/in.mp4 -o out.mp4",
        3,
        "ftp://host/in.mp4 begins with ftp://, which recode cannot use; write a path or a URL with file://, s3://, \
         http:// or https://",
    );
    bench.refused(
        "- -o out.mp4",
        3,
        "standard input cannot be read more than once; save it to a file first",
    );
}

#[test]
fn a_file_without_permission_is_named_with_the_remedy() {
    let bench = Bench::new();
    bench.write("secret.mp4", b"x");
    bench.chmod("secret.mp4", 0o000);
    bench.refused_as_nobody(
        "secret.mp4 -o out.mp4",
        3,
        "secret.mp4 may not be read by this user; change its permissions (chmod +r)",
    );
}
