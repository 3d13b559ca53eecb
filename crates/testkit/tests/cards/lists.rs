//! The argument lists against FFmpeg's own option parser. It reads every option of an encoder before it looks for a card.

use crate::site::{FRAMES, encode, real, rendition, video};
use recode_media::args::encode::EncodeArgs;
use recode_media::run::{self, Invocation, Trouble, trouble};
use recode_testkit::card::{OPTIONS, Value};
use recode_types::Engine;
use recode_types::engine::ENGINE_ENCODERS;
use recode_types::rendition::{Knob, PeakLimit, Profile, Rendition};
use std::path::Path;
use std::process::Command;

/// The ways a list can differ.
fn variants(encoder: &str) -> Vec<Rendition> {
    let plain = rendition(encoder);
    let mut all = vec![
        plain.clone(),
        Rendition {
            profile: Profile::Latency,
            ..plain.clone()
        },
        Rendition {
            gop: Some(48),
            ..plain.clone()
        },
    ];
    let names = ["ultrafast", "medium", "slow", "placebo"];
    let words = ["p4", "balanced", "veryslow"];
    let with = |preset: &&str| Rendition {
        preset: Some((*preset).to_owned()),
        ..plain.clone()
    };
    let profile = |profile: &&str| Rendition {
        encoder_profile: Some((*profile).to_owned()),
        ..plain.clone()
    };
    let profiles = ["main", "high", "main10", "constrained_baseline"];
    all.extend(names.iter().chain(&words).map(with));
    all.extend(profiles.iter().map(profile));
    if Engine::of_encoder(encoder) == Some(Engine::Nvenc) {
        all.extend(["hq", "ll", "ull"].map(|tune| Rendition {
            tune: Some(tune.to_owned()),
            ..plain.clone()
        }));
    }
    if !matches!(encoder, "h264_vaapi" | "hevc_vaapi") {
        all.push(Rendition {
            peak: Some(PeakLimit {
                maxrate_bps: 2_000_000,
                bufsize_bits: 4_000_000,
            }),
            ..plain
        });
    }
    let possible = |r: &Rendition| recode_media::args::encoder::check(r).is_ok();
    all.into_iter().filter(possible).collect()
}

#[tokio::test]
async fn ffmpeg_understands_every_argument_and_misses_only_the_card() {
    let ffmpeg = real();
    let (mut read, mut unknown) = (0, vec![]);
    for encoder in ENGINE_ENCODERS {
        if !ffmpeg.has_encoder(encoder) {
            unknown.push(encoder);
            continue;
        }
        for wanted in variants(encoder) {
            let folder = tempfile::tempdir().unwrap();
            let (clip, out) = (folder.path().join("c.y4m"), folder.path().join("o.mp4"));
            y4m(&clip);
            let mut list = encode(&wanted, (0, FRAMES), 23, &clip, &out, ffmpeg.major());
            for arg in &mut list {
                // Pictures of our own making, so that no encoder is needed. Devices are opened before options are read:
                // without one FFmpeg gets as far as the upload that is missing.
                let text = arg.to_string_lossy().replace(",hwupload", "");
                *arg = text.into();
            }
            if let Some(at) = list.iter().position(|a| a == "-init_hw_device") {
                list.drain(at..at + 4);
            }
            let demuxer = list.iter().position(|a| a == "mp4").unwrap();
            list[demuxer] = "yuv4mpegpipe".into();
            let ended = run::run(&ffmpeg, Invocation::new(list.clone()).with_stdout()).await;
            if let Err(error) = ended {
                let said = error.failure.stderr_tail.unwrap_or_default();
                let missing = matches!(trouble(&said), Some((Trouble::Absent, _)));
                let not_uploaded = encoder.ends_with("_vaapi")
                    && (said.contains("Impossible to convert")
                        || said.contains("reinitializing filters"));
                assert!(
                    missing || not_uploaded,
                    "{encoder}: {:?}\n{list:?}\n{said}",
                    error.failure.message
                );
            }
            read += 1;
        }
    }
    println!("{read} lists were read; this ffmpeg does not have {unknown:?}");
    assert!(
        read > 0,
        "this ffmpeg has no engine's encoder: nothing was tested"
    );
}

/// As many frames of grey as the clip has.
fn y4m(path: &Path) {
    let mut bytes = b"YUV4MPEG2 W320 H180 F25:1 Ip A1:1 C420jpeg\n".to_vec();
    for _ in 0..3 {
        bytes.extend(b"FRAME\n");
        bytes.extend(std::iter::repeat_n(128u8, 320 * 180 * 3 / 2));
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn the_scripted_options_are_ffmpegs() {
    let ffmpeg = real();
    let mut compared = 0;
    for options in OPTIONS {
        if !ffmpeg.has_encoder(options.encoder) {
            continue;
        }
        let help = Command::new(&ffmpeg.path)
            .args([
                "-hide_banner",
                "-h",
                &format!("encoder={}", options.encoder),
            ])
            .output()
            .unwrap();
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        for (name, value) in options.own {
            let start = help
                .find(&format!("\n  -{name} "))
                .unwrap_or_else(|| panic!("{} has no -{name}", options.encoder));
            let rest = &help[start + 1..];
            let end = rest.find("\n  -").unwrap_or(rest.len());
            let (head, words) = rest[..end].split_once('\n').unwrap_or((&rest[..end], ""));
            match value {
                Value::Word(known) => {
                    for word in *known {
                        let listed = words
                            .lines()
                            .any(|l| l.split_whitespace().next() == Some(word));
                        assert!(listed, "{} -{name} takes no {word}", options.encoder);
                    }
                }
                Value::Number(_, most) if head.contains("(from ") => {
                    let most = most.to_string();
                    let named = head.contains(&format!("to {most})")) || head.contains("INT_MAX");
                    assert!(
                        named,
                        "{} -{name} does not go to {most}: {head}",
                        options.encoder
                    );
                }
                Value::Number(..) => {}
            }
            compared += 1;
        }
    }
    assert!(
        compared > 0,
        "this ffmpeg has no engine's encoder: nothing was compared"
    );
}

#[test]
fn every_engine_is_told_what_its_documentation_says() {
    let list = |encoder: &str, change: fn(&mut Rendition)| {
        let mut wanted = rendition(encoder);
        change(&mut wanted);
        let list = encode(&wanted, (0, 20), 23, Path::new("/c"), Path::new("/o"), 9);
        let text: Vec<String> = list
            .iter()
            .map(|a| a.to_string_lossy().into_owned())
            .collect();
        let text = text.join(" ");
        let from = text.find("-filter_complex [").unwrap_or(0);
        let head = text[..text.find("-copyts").unwrap()].replace("-loglevel level+warning -y ", "");
        let graph = &text[from..text[from..].find("[v0]").unwrap() + from];
        let encoder = &text[text.find("-c:v").unwrap()..text.find(" -fflags").unwrap()];
        format!(
            "{head}| {} | {encoder}",
            &graph[graph.find("format=").unwrap()..]
        )
    };
    let plain = "-filter_threads 1 -filter_complex_threads 1 ";
    let even = ",settb=1/25,setpts=N";
    let end = "-r 25/1 -fps_mode cfr -enc_time_base 1:25";
    let check = |encoder: &str,
                 change: fn(&mut Rendition),
                 device: &str,
                 format: &str,
                 upload: &str,
                 told: &str| {
        // H.264 says of each picture what its fields are.
        let fields = match encoder.starts_with("h264") {
            true => "",
            false => ",setfield=prog",
        };
        assert_eq!(
            list(encoder, change),
            format!(
                "{plain}{device}| format={format}{fields}{even}{upload} | -c:v {encoder} {told} {end}"
            )
        );
    };
    let none = |_: &mut Rendition| {};
    let medium = |r: &mut Rendition| r.preset = Some("medium".to_owned());
    let slow = |r: &mut Rendition| {
        r.preset = Some("slow".to_owned());
        r.gop = Some(50);
    };
    let latency = |r: &mut Rendition| r.profile = Profile::Latency;
    check(
        "h264_nvenc",
        medium,
        "",
        "yuv420p",
        "",
        "-preset p4 -rc vbr -cq 23 -b:v 0 -g 250",
    );
    check(
        "hevc_nvenc",
        |r| {
            r.peak = Some(PeakLimit {
                maxrate_bps: 5_000_000,
                bufsize_bits: 10_000_000,
            });
        },
        "",
        "yuv420p",
        "",
        "-rc vbr -cq 23 -b:v 0 -maxrate 5000000 -bufsize 10000000 -g 250",
    );
    check(
        "av1_nvenc",
        latency,
        "",
        "yuv420p",
        "",
        "-tune ll -rc vbr -cq 23 -b:v 0 -zerolatency 1 -delay 0 -bf 0 -g 250",
    );
    check(
        "h264_qsv",
        slow,
        "",
        "nv12",
        "",
        "-preset slow -global_quality 23 -adaptive_i 0 -flags +cgop -g 50",
    );
    check(
        "av1_qsv",
        latency,
        "",
        "nv12",
        "",
        "-global_quality 23 -async_depth 1 -bf 0 -flags +cgop -g 250",
    );
    let device = "-init_hw_device vaapi=card -filter_hw_device card ";
    check(
        "h264_vaapi",
        none,
        device,
        "nv12",
        ",hwupload",
        "-rc_mode CQP -global_quality 23 -idr_interval 0 -flags +cgop -g 250",
    );
    check(
        "hevc_vaapi",
        |r| r.encoder_profile = Some("main10".to_owned()),
        device,
        "p010le",
        ",hwupload",
        "-profile:v main10 -rc_mode CQP -global_quality 23 -idr_interval 0 -flags +cgop -g 250",
    );
    check(
        "h264_amf",
        slow,
        "",
        "yuv420p",
        "",
        "-usage transcoding -quality quality -rc cqp -qp_i 23 -qp_p 23 -qp_b 23 -g 50",
    );
    check(
        "av1_amf",
        latency,
        "",
        "yuv420p",
        "",
        "-usage lowlatency -rc cqp -qp_i 23 -qp_p 23 -g 250",
    );
    check(
        "hevc_videotoolbox",
        none,
        "",
        "yuv420p",
        "",
        "-q:v 77 -allow_sw 0 -g 250",
    );
}

#[test]
fn what_an_engine_cannot_do_is_refused_with_a_sentence() {
    let refused = |encoder: &str, change: fn(&mut Rendition)| {
        let mut wanted = rendition(encoder);
        change(&mut wanted);
        recode_media::args::encoder::check(&wanted).unwrap_err().0
    };
    let medium = |r: &mut Rendition| r.preset = Some("medium".to_owned());
    assert_eq!(
        refused("h264_vaapi", medium),
        "h264_vaapi has no preset to choose: leave medium out"
    );
    assert_eq!(
        refused("h264_nvenc", |r| r.tune = Some("film".to_owned())),
        "h264_nvenc has no tune film: choose one of hq, ll, ull"
    );
    assert_eq!(
        refused("hevc_vaapi", |r| r.rate =
            Some(recode_types::RateControl::Bitrate(1_000_000))),
        "hevc_vaapi writes its quality into the parameter sets, so pieces of different quality cannot be joined: leave \
         --bitrate out and use --crf"
    );
    assert_eq!(
        refused("h264_qsv", |r| r.pix_fmt = Some("yuv444p".to_owned())),
        "h264_qsv has no pixel format yuv444p: choose one of nv12"
    );
    assert_eq!(
        refused("h264_nvenc", |r| r.rate =
            Some(recode_types::RateControl::Crf(60_000))),
        "--crf 60 is beyond h264_nvenc's scale: choose 0 to 51"
    );
}

#[test]
fn several_renditions_share_one_device() {
    let video = video();
    let wanted = [rendition("h264_vaapi"), rendition("hevc_vaapi")];
    let output = |rendition| recode_media::args::encode::EncodeOutput {
        rendition,
        knob: Knob {
            quality_milli: 23_000,
            peak: None,
            buffer_start_milli: 900,
        },
        size: (320, 180),
        path: "/o".into(),
    };
    let args = EncodeArgs {
        input: recode_media::args::Input {
            path: "/c".into(),
            demuxer: Some("mp4"),
            stream: 0,
            clock: recode_media::args::Clock::Stored,
            threads: 1,
        },
        span: recode_media::args::Span::Ordinal {
            first: 0,
            count: 5,
            more: false,
            times: recode_media::args::RowTimes {
                from_pts: 0,
                start_pts: 0,
                after_pts: None,
                step: None,
            },
        },
        time_base: video.time_base,
        shift: 0,
        video: &video,
        frames: 5,
        outputs: wanted.iter().map(output).collect(),
        score: None,
        check: None,
        growing: false,
        major: 9,
    };
    let list = args.build().unwrap();
    let opened = list.iter().filter(|a| *a == "-init_hw_device").count();
    let uploaded = list
        .iter()
        .filter(|a| a.to_string_lossy().contains("hwupload"))
        .count();
    assert_eq!((opened, uploaded), (1, 2));
}
