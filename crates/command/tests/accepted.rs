//! What people write must pass: commands from aws-batch-with-ffmpeg's own documentation and tests, and FFmpeg's everyday ones.

use recode_command::parse;
use recode_types::{CommandFile, CommandRequest, Needs};
use std::path::PathBuf;

/// Global options; inputs; outputs.
type Line = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static [(&'static str, &'static str)],
);

const IN: &[(&str, &str)] = &[("", "s3://in/a.mp4")];

const LINES: &[Line] = &[
    // aws-batch-with-ffmpeg: README, examples of its tests.
    (
        "",
        IN,
        &[(
            "-ss 00:00:10 -t 00:00:15 -c:v copy -c:a copy",
            "s3://out/clip.mp4",
        )],
    ),
    ("", IN, &[("-ac 1 -ar 48000", "s3://out/a.wav")]),
    (
        "-y",
        IN,
        &[("-c:v libx264 -preset fast -crf 23", "s3://out/a.mp4")],
    ),
    (
        "-hide_banner -loglevel info",
        IN,
        &[("-vcodec libx265 -b:v 1M -tag:v hvc1", "s3://out/a.mp4")],
    ),
    (
        "",
        &[("-hwaccel cuda", "s3://in/a.mp4")],
        &[("-c:v h264_nvenc -preset p4 -b:v 5M", "s3://out/a.mp4")],
    ),
    (
        "",
        &[(
            "-hwaccel cuda -hwaccel_output_format cuda -c:v h264_cuvid",
            "s3://in/a.mp4",
        )],
        &[("-c:v hevc_nvenc -cq 24 -rc vbr", "s3://out/a.mp4")],
    ),
    (
        "",
        &[("-c:v mpsoc_vcu_h264", "s3://in/a.mp4")],
        &[("-c:v mpsoc_vcu_hevc -b:v 5M", "s3://out/a.mp4")],
    ),
    ("", IN, &[("-r 1", "s3://out/thumbs/img%03d.png")]),
    ("", IN, &[("-vf fps=1/10 -q:v 2", "s3://out/img%05d.jpg")]),
    (
        "-nostdin -stats",
        IN,
        &[("-an -f image2 -vf fps=1", "s3://out/%d.jpeg")],
    ),
    // Containers and copies.
    ("", IN, &[("-c copy", "s3://out/a.mkv")]),
    (
        "",
        IN,
        &[("-codec copy -map 0 -movflags +faststart", "s3://out/a.mp4")],
    ),
    (
        "",
        IN,
        &[("-c copy -bsf:v h264_mp4toannexb -f mpegts", "s3://out/a.ts")],
    ),
    (
        "",
        &[("-ss 5 -to 65", "s3://in/a.mp4")],
        &[("-c copy -avoid_negative_ts make_zero", "s3://out/a.mp4")],
    ),
    (
        "",
        IN,
        &[(
            "-map 0:v:0 -map 0:a? -map -0:d -c copy -map_metadata 0 -map_chapters -1",
            "s3://out/a.mov",
        )],
    ),
    (
        "",
        IN,
        &[(
            "-c copy -f segment -segment_time 10 -reset_timestamps 1",
            "s3://out/part%04d.ts",
        )],
    ),
    (
        "",
        IN,
        &[(
            "-metadata title=\"My film, part 1\" -metadata:s:a:0 language=deu -disposition:a:0 default -c copy",
            "s3://out/a.mkv",
        )],
    ),
    (
        "",
        &[(
            "-fflags +genpts -analyzeduration 100M -probesize 100M",
            "s3://in/a.ts",
        )],
        &[("-c copy", "s3://out/a.mp4")],
    ),
    // Sound.
    ("", IN, &[("-vn -c:a libmp3lame -q:a 2", "s3://out/a.mp3")]),
    ("", IN, &[("-vn -acodec copy", "s3://out/a.m4a")]),
    (
        "",
        IN,
        &[("-vn -c:a flac -compression_level 8", "s3://out/a.flac")],
    ),
    (
        "",
        IN,
        &[("-vn -c:a libopus -b:a 96k -vbr on", "s3://out/a.opus")],
    ),
    (
        "",
        IN,
        &[(
            "-c:v copy -af loudnorm=I=-16:TP=-1.5:LRA=11 -c:a aac -b:a 192k",
            "s3://out/a.mp4",
        )],
    ),
    (
        "",
        IN,
        &[(
            "-c:v copy -af volume=-3dB,aresample=48000",
            "s3://out/a.mp4",
        )],
    ),
    (
        "",
        &[("", "s3://in/a.mp4"), ("", "s3://in/b.mp3")],
        &[(
            "-filter_complex '[0:a][1:a]amix=inputs=2:duration=first:dropout_transition=2[a]' -map 0:v -map '[a]' -c:v copy",
            "s3://out/a.mp4",
        )],
    ),
    (
        "",
        &[("", "s3://in/a.mp4"), ("-itsoffset -0.25", "s3://in/b.wav")],
        &[("-map 0:v -map 1:a -c:v copy -shortest", "s3://out/a.mp4")],
    ),
    // Pictures of a film.
    (
        "",
        &[("-ss 00:01:00", "s3://in/a.mp4")],
        &[("-frames:v 1 -q:v 2", "s3://out/poster.jpg")],
    ),
    (
        "",
        IN,
        &[(
            "-vf thumbnail=300,scale=320:-1 -vframes 1",
            "s3://out/thumb.png",
        )],
    ),
    (
        "",
        IN,
        &[(
            "-vf \"select='not(mod(n,100))',scale=160:-1,tile=5x5\" -frames:v 1 -fps_mode vfr",
            "s3://out/sheet.png",
        )],
    ),
    (
        "",
        IN,
        &[(
            "-vf select='eq(pict_type\\,I)' -vsync vfr",
            "s3://out/key%04d.png",
        )],
    ),
    (
        "",
        IN,
        &[(
            "-vf \"select='gt(scene,0.4)',showinfo_free=0\"",
            "s3://out/x.png",
        )],
    ),
    (
        "",
        &[("-t 5", "s3://in/a.mp4")],
        &[(
            "-filter_complex '[0:v]fps=12,scale=480:-1:flags=lanczos,split[a][b];[a]palettegen[p];[b][p]paletteuse=dither=bayer' -loop 0",
            "s3://out/a.gif",
        )],
    ),
    (
        "",
        &[
            ("-loop 1 -framerate 25 -t 10", "s3://in/a.png"),
            ("", "s3://in/b.mp3"),
        ],
        &[(
            "-c:v libx264 -tune stillimage -pix_fmt yuv420p -shortest",
            "s3://out/a.mp4",
        )],
    ),
    // Encodes.
    (
        "",
        IN,
        &[("-c:v libx264 -crf 23 -vf scale=1280:-2", "s3://out/a.mp4")],
    ),
    (
        "",
        IN,
        &[(
            "-c:v libx264 -preset veryslow -profile:v high -level 4.1 -x264-params keyint=60:min-keyint=60:no-scenecut=1 -b:v 4M -maxrate 5M -bufsize 8M",
            "s3://out/a.mp4",
        )],
    ),
    (
        "",
        IN,
        &[(
            "-c:v libx265 -crf 26 -x265-params keyint=48:no-sao=1:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400 -pix_fmt yuv420p10le",
            "s3://out/a.mkv",
        )],
    ),
    (
        "",
        IN,
        &[(
            "-c:v libsvtav1 -preset 6 -crf 35 -svtav1-params tune=0:film-grain=8 -c:a libopus",
            "s3://out/a.webm",
        )],
    ),
    (
        "",
        IN,
        &[(
            "-c:v libvpx-vp9 -b:v 0 -crf 31 -row-mt 1 -deadline good -cpu-used 2 -auto-alt-ref 1",
            "s3://out/a.webm",
        )],
    ),
    (
        "",
        IN,
        &[(
            "-c:v prores_ks -profile:v 3 -vendor_free 0",
            "s3://out/x.mov",
        )],
    ),
    (
        "",
        IN,
        &[(
            "-c:v prores_ks -profile:v hq -pix_fmt yuv422p10le -c:a pcm_s24le",
            "s3://out/a.mov",
        )],
    ),
    (
        "",
        IN,
        &[(
            "-vf yadif=1:-1:0,crop=iw-16:ih:8:0,pad=1920:1080:(ow-iw)/2:(oh-ih)/2:black,setsar=1",
            "s3://out/a.mp4",
        )],
    ),
    (
        "",
        IN,
        &[(
            "-vf \"scale='min(1280,iw)':'min(720,ih)':force_original_aspect_ratio=decrease:force_divisible_by=2\" -r 30000/1001",
            "s3://out/a.mp4",
        )],
    ),
    (
        "",
        IN,
        &[("-vf setpts=0.5*PTS -af atempo=2.0", "s3://out/a.mp4")],
    ),
    (
        "",
        IN,
        &[("-vf transpose=1 -metadata:s:v rotate=0", "s3://out/a.mp4")],
    ),
    (
        "",
        IN,
        &[(
            "-vf zscale=t=linear:npl=100,format=gbrpf32le_free",
            "s3://out/x.mp4",
        )],
    ),
    (
        "",
        IN,
        &[(
            "-vf \"fade=t=in:st=0:d=2,fade=t=out:st=58:d=2\" -af afade=t=out:st=58:d=2",
            "s3://out/a.mp4",
        )],
    ),
    (
        "",
        IN,
        &[(
            "-force_key_frames 0,10,20.5 -g 250 -keyint_min 25 -sc_threshold 0 -bf 2 -flags +cgop",
            "s3://out/a.mp4",
        )],
    ),
    // Several inputs and outputs.
    (
        "",
        &[("", "s3://in/a.mp4"), ("", "s3://in/logo.png")],
        &[(
            "-filter_complex overlay=main_w-overlay_w-10:10",
            "s3://out/a.mp4",
        )],
    ),
    (
        "",
        &[("", "s3://in/a.mp4"), ("", "s3://in/b.mp4")],
        &[(
            "-filter_complex '[0:v][0:a][1:v][1:a]concat=n=2:v=1:a=1[v][a]' -map '[v]' -map '[a]'",
            "s3://out/a.mp4",
        )],
    ),
    (
        "-filter_complex '[0:v]split=2[x][y];[y]scale=640:-2[z]'",
        IN,
        &[
            ("-map '[x]' -c:v libx264 -crf 20", "s3://out/a.mp4"),
            ("-map '[z]' -c:v libx264 -crf 26", "s3://out/b.mp4"),
        ],
    ),
    (
        "",
        IN,
        &[
            ("-vn -c:a copy", "s3://out/a.m4a"),
            ("-an -c:v copy", "s3://out/a.mp4"),
            ("-frames:v 1", "s3://out/a.jpg"),
        ],
    ),
    (
        "",
        &[("", "s3://in/a.mp4"), ("", "s3://in/b.srt")],
        &[(
            "-map 0 -map 1 -c copy -c:s mov_text -metadata:s:s:0 language=eng",
            "s3://out/a.mp4",
        )],
    ),
];

fn request(line: &Line) -> CommandRequest {
    let files = |files: &[(&str, &str)]| {
        let file = |(options, url): &(&str, &str)| CommandFile {
            options: (*options).to_owned(),
            url: (*url).to_owned(),
        };
        files.iter().map(file).collect()
    };
    CommandRequest {
        global: line.0.to_owned(),
        inputs: files(line.1),
        outputs: files(line.2),
        ..CommandRequest::default()
    }
}

/// Those that hold a word which stands for what FFmpeg does not have: they must fail, or the others would prove nothing.
fn is_wrong(line: &Line) -> bool {
    line.2.iter().any(|(options, _)| options.contains("_free"))
}

fn argv(request: &CommandRequest) -> Vec<String> {
    let line = parse(request).unwrap_or_else(|refused| panic!("{refused}: {request:?}"));
    let inputs: Vec<PathBuf> = (0..request.inputs.len())
        .map(|n| format!("/scratch/in{n}").into())
        .collect();
    let outputs: Vec<PathBuf> = line
        .made()
        .enumerate()
        .map(|(n, made)| format!("/scratch/{}", made.scratch_name(n)).into())
        .collect();
    let args = line.argv(&inputs, &outputs).into_iter();
    args.map(|arg| arg.into_string().expect("all of it is text"))
        .collect()
}

#[test]
fn what_people_write_is_taken_and_names_our_files_only() {
    let (wrong, right): (Vec<&Line>, Vec<&Line>) = LINES.iter().partition(|line| is_wrong(line));
    assert!(
        right.len() >= 45 && wrong.len() >= 3,
        "{} and {}",
        right.len(),
        wrong.len()
    );
    for line in wrong {
        parse(&request(line)).expect_err("it has a word that nobody knows");
    }
    for line in right {
        let request = request(line);
        let args = argv(&request);
        let files = args.iter().filter(|arg| arg.starts_with("file:"));
        assert_eq!(
            files.count(),
            request.inputs.len() + request.outputs.len(),
            "{args:?}"
        );
        for arg in &args {
            assert!(
                !arg.contains("://")
                    && (arg.starts_with("file:/scratch/") || !arg.contains("/scratch")),
                "{arg}"
            );
        }
    }
}

#[test]
fn arguments_stand_where_ffmpeg_wants_them() {
    let request = request(&(
        "-y -filter_complex_threads 2",
        &[
            ("-ss 00:01:00", "s3://in/a.mp4"),
            ("-loop 1", "s3://in/b.png"),
        ],
        &[
            (
                "-filter_complex '[0:v][1:v]overlay[v]' -map '[v]' -vcodec h264 -vsync 2 -ab 128k",
                "s3://out/a.mp4",
            ),
            ("-vf fps=1/10", "s3://out/i%03d.PNG"),
        ],
    ));
    let args = argv(&request).join(" ");
    let (before, outputs) = args.split_at(args.find("-map").expect("it is there"));
    assert!(before.starts_with("-filter_complex_threads 2 -filter_complex [0:v][1:v]overlay[v] -protocol_whitelist file,pipe -format_whitelist "));
    assert!(
        before.contains(" -ss 60 -i file:/scratch/in0 -protocol_whitelist "),
        "{before}"
    );
    assert!(
        before.ends_with(" -loop 1 -i file:/scratch/in1 "),
        "{before}"
    );
    assert_eq!(
        outputs,
        "-map [v] -c:v libx264 -fps_mode vfr -b:a 128000 -f mp4 file:/scratch/output0.mp4 -vf fps=fps=1/10 -frames:v 10001 -f image2 \
         file:/scratch/output1-%06d.png"
    );
    assert!(
        parse(&request).expect("it was taken before").overwrite,
        "-y asks for it"
    );
}

#[test]
fn files_are_told_from_their_names() {
    let request = request(&(
        "",
        IN,
        &[("", "s3://out/a.mp4"), ("", "s3://out/i%03d.jpg")],
    ));
    let line = parse(&request).expect("both are usual");
    let made: Vec<_> = line.made().collect();
    assert_eq!(made[1].number(1, "output1-000042.jpg"), Some(42));
    for other in [
        "output0-000042.jpg",
        "output1-000042.png",
        "output1-42.jpg",
        "output1-.jpg",
        "output1-00004x.jpg",
        "x",
    ] {
        assert_eq!(made[1].number(1, other), None, "{other}");
    }
}

#[test]
fn a_node_needs_what_the_command_names() {
    let of = |line: &Line, compute: Option<&str>| -> Needs {
        let mut request = request(line);
        request.compute = compute.map(str::to_owned);
        request.instance_type = compute.map(|_| "c6i.*".to_owned());
        parse(&request).expect("it is usual").needs(&request)
    };
    let out = |options: &'static str| -> Vec<(&'static str, &'static str)> {
        vec![(options, "s3://out/a.mp4")]
    };
    let needs = |input: &'static str, options: &'static str| {
        let inputs: &'static [_] = Box::leak(Box::new([(input, "s3://in/a.mp4")]));
        of(&("", inputs, out(options).leak()), None)
    };
    for (input, options, capabilities, heavy) in [
        ("", "-c copy", vec!["recode:command"], false),
        (
            "",
            "-c:v copy -c:a aac",
            vec!["aac", "recode:command"],
            false,
        ),
        ("", "", vec!["recode:command"], true),
        ("", "-vn -c:a aac", vec!["aac", "recode:command"], false),
        ("", "-c:v hevc", vec!["libx265", "recode:command"], true),
        (
            "-hwaccel cuda",
            "-c:v copy",
            vec!["h264_nvenc", "recode:command"],
            false,
        ),
        (
            "-c:v h264_cuvid",
            "-c:v hevc_nvenc",
            vec!["h264_nvenc", "hevc_nvenc", "recode:command"],
            true,
        ),
        (
            "-c:v mpeg4",
            "-c:v libx264 -c:a copy",
            vec!["libx264", "recode:command"],
            true,
        ),
    ] {
        let needs = needs(input, options);
        assert_eq!(needs.capabilities, capabilities, "{input} {options}");
        assert_eq!(needs.heavy, heavy, "{input} {options}");
        assert!(needs.labels.is_empty());
    }
    let needs = of(&("", IN, &[("", "s3://out/a.mp4")]), Some("intel"));
    let labels: Vec<_> = needs
        .labels
        .iter()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    assert_eq!(labels, ["compute=intel", "instance-type=c6i.*"]);
}
