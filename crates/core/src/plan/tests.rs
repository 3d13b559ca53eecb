use super::*;
use crate::fixture::{artifact, facts, output, rated, rendition, request, table, track};
use recode_types::rendition::{AudioCodec, Deinterlace, Profile, Scale};
use recode_types::request::{TrackChoice, TrackSelection};
use recode_types::source::{TrackKind, Trim};
use recode_types::{Making, Metric, Rendition, SegmentLength};

fn planned(request: &JobRequest, change: impl FnOnce(&mut SourceFacts)) -> Result<Plan, PlanError> {
    let table = table(10, 50);
    let mut facts = facts(&table);
    change(&mut facts);
    plan(&facts, &table, request, &PlanPolicy::default())
}

fn one(name: &str, rendition: Rendition) -> JobRequest {
    request(vec![output(name, rendition)])
}

/// The sentence with which a request is refused.
fn refused(request: &JobRequest) -> String {
    planned(request, |_| {})
        .expect_err("this cannot be planned")
        .to_string()
}

#[test]
fn a_plain_request_is_filled_in() {
    let plan = planned(&one("a.mp4", rendition(Codec::H264)), |_| {}).unwrap();
    let rendition = &plan.outputs[0].output.rendition;
    assert_eq!(rendition.rate, Some(RateControl::Crf(23_000)));
    assert_eq!(
        rendition.scale,
        Scale::Exact {
            width: 1280,
            height: 720
        }
    );
    assert_eq!(plan.outputs[0].audio_tracks, [1], "mp4 cannot hold PCM");
    assert_eq!(plan.groups, [[0]]);
    assert_eq!(plan.segments.len(), 5);
    assert_eq!(plan.warnings, Vec::<String>::new());
    assert_eq!(plan.source.frames, 250);
    assert_eq!(plan.source.seconds(), 10.0);
}

#[test]
fn contradictions_are_refused_in_one_sentence() {
    let mut none = one("a.mp4", rendition(Codec::H264));
    none.outputs.clear();
    let mut twice = one("a.mp4", rendition(Codec::H264));
    twice.outputs.push(twice.outputs[0].clone());
    let mut opus = one("a.ts", rendition(Codec::H264));
    opus.outputs[0].audio_codec = Some(AudioCodec::Flac);
    let mut copied = one("a.mp4", rendition(Codec::H264));
    copied.outputs[0].audio_codec = Some(AudioCodec::Copy);
    let mut encoder = rendition(Codec::H264);
    encoder.encoder = "libx265".to_owned();
    let mut copy = rendition(Codec::Copy);
    copy.scale = Scale::Height(720);
    let mut odd = rendition(Codec::H264);
    odd.scale = Scale::Exact {
        width: 641,
        height: 360,
    };
    let mut huge = rendition(Codec::H264);
    huge.scale = Scale::Height(40_000);
    let mut nothing = rendition(Codec::H264);
    nothing.scale = Scale::Height(0);
    let mut prores = rated(Codec::Prores, RateControl::Bitrate(5_000_000));
    prores.gop = None;
    let mut late = one("a.mp4", rendition(Codec::H264));
    late.start_us = Some(60_000_000);
    let mut tracks = one("a.mkv", rendition(Codec::H264));
    tracks.outputs[0].tracks = TrackSelection::Only(vec![TrackChoice {
        kind: Some(TrackKind::Audio),
        number: None,
        language: Some("ger".to_owned()),
    }]);
    let mut scored = one("a.mp4", rendition(Codec::H264));
    scored.score = vec![Metric::Vmaf];
    scored.outputs[0].rendition.deinterlace = Deinterlace::On;
    let mut tiny = one("a.mp4", rendition(Codec::H264));
    tiny.segment = SegmentLength::Millis(0);
    for (request, sentence) in [
        (none, "the job names no output: give at least one"),
        (
            twice,
            "two outputs would be written to file:///a.mp4: give each its own name",
        ),
        (
            one("film.mp4", rendition(Codec::H264)),
            "file:///film.mp4 is both source and output: choose another output name",
        ),
        (
            one("a.webm", rendition(Codec::H264)),
            "webm cannot hold h264: use mp4 or mov or mkv or ts",
        ),
        (
            opus,
            "ts cannot hold flac audio: leave --audio-codec out or use mp4 or mkv",
        ),
        (
            copied,
            "mp4 cannot hold the pcm_s16le audio of track 1 as it is: leave --audio-codec copy out or use mkv",
        ),
        (
            one("a.mp4", encoder),
            "libx265 does not make h264: leave --encoder out for libx264",
        ),
        (
            one("a.mkv", copy),
            "--codec copy leaves the packets as they are, so --scale is not possible: leave it out or choose a codec",
        ),
        (
            one("a.mp4", odd),
            "a picture of 641x360 is not possible with yuv420p: choose even numbers",
        ),
        (
            one("a.mp4", huge),
            "a picture of 71112x40000 is not possible with libx264: each side must be from 2 to 16384 pixels",
        ),
        (
            one("a.mp4", nothing),
            "a picture of 2x0 is not possible with libx264: each side must be from 2 to 16384 pixels",
        ),
        (
            one("a.mov", prores),
            "prores_ks takes its quality from its profile: use --encoder-profile instead of --bitrate",
        ),
        (
            one("a.mp4", rated(Codec::H264, RateControl::Crf(60_000))),
            "quality 60 is outside the scale of libx264, which goes from 0 to 51",
        ),
        (
            one("a.mp4", rated(Codec::H264, RateControl::Bitrate(10))),
            "a bitrate of 10 bit/s is not possible: it must be at least 1000 bit/s",
        ),
        (
            late,
            "no frame lies in the wanted part: the source lasts 10.000 seconds, check --start and --duration",
        ),
        (
            tracks,
            "no track of the source matches audio in language ger: see recode-client probe for its tracks",
        ),
        (
            scored,
            "a score against an interlaced source says nothing about a deinterlaced output: leave --score or \
             --deinterlace out",
        ),
        (
            tiny,
            "segments of length 0 are not possible: leave --segment out or choose a longer one",
        ),
    ] {
        assert_eq!(refused(&request), sentence);
    }
    let silent = one("a.mp4", rendition(Codec::H264));
    let error = planned(&silent, |facts| facts.video = None).unwrap_err();
    assert_eq!(error, PlanError::NoPicture);
}

#[test]
fn what_cannot_be_kept_is_named_and_refused_when_strict() {
    let mut request = one("a.mp4", rendition(Codec::Av1));
    let rich = |facts: &mut SourceFacts| {
        let video = facts.video.as_mut().unwrap();
        video.dolby_vision_profile = Some(8);
        video.hdr10_plus = true;
        video.interlaced_top_first = Some(true);
        video.captions = true;
        video.alpha = true;
        facts
            .tracks
            .push(track(2, TrackKind::Subtitle, "hdmv_pgs_subtitle"));
        facts.warnings.push("looked odd".to_owned());
    };
    let plan = planned(&request, rich).unwrap();
    for word in [
        "Dolby Vision (profile 8)",
        "HDR10+",
        "interlaced",
        "captions",
        "alpha",
        "hdmv_pgs_subtitle",
        "looked odd",
    ] {
        let named = plan.warnings.iter().filter(|w| w.contains(word)).count();
        assert_eq!(named, 1, "{word} in {:?}", plan.warnings);
    }
    request.strict = true;
    let error = planned(&request, rich).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("refused by --strict: the Dolby Vision"),
        "{error}"
    );
    let odd_only = |facts: &mut SourceFacts| facts.warnings.push("looked odd".to_owned());
    assert!(planned(&request, odd_only).is_ok(), "that is no loss");
}

#[test]
fn a_copy_of_what_is_shown_in_pieces_is_warned_of() {
    let warned = |request: &JobRequest, index: usize| {
        let plan = planned(request, |facts| facts.tracks[index].trim = Trim::Pieces).unwrap();
        let about = format!("of track {index} the source shows several pieces");
        plan.warnings.iter().any(|w| w.starts_with(&about))
    };
    let encoded = one("a.mkv", rendition(Codec::H264));
    assert!(!warned(&encoded, 0) && !warned(&encoded, 1));
    let mut sound = encoded.clone();
    sound.outputs[0].audio_codec = Some(AudioCodec::Copy);
    assert!(!warned(&sound, 0) && warned(&sound, 1));
    assert!(warned(&one("a.mkv", rendition(Codec::Copy)), 0));
}

#[test]
fn an_encoder_that_keeps_it_loses_nothing() {
    let mut mpeg2 = one("a.mkv", rendition(Codec::Mpeg2));
    mpeg2.strict = true;
    let fields = |facts: &mut SourceFacts| {
        let video = facts.video.as_mut().unwrap();
        video.interlaced_top_first = Some(false);
        video.captions = true;
    };
    assert_eq!(
        planned(&mpeg2, fields).unwrap().warnings,
        Vec::<String>::new()
    );
    let mut clean = one("a.mkv", rendition(Codec::H265));
    clean.strict = true;
    clean.outputs[0].rendition.deinterlace = Deinterlace::Auto;
    assert!(planned(&clean, fields).is_ok());
}

#[test]
fn pictures_keep_their_shape_and_scaled_sides_are_even() {
    let scaled = |scale: Scale, width: u32, height: u32| {
        let mut wanted = rendition(Codec::H264);
        wanted.scale = scale;
        let plan = planned(&one("a.mkv", wanted), |facts| {
            let video = facts.video.as_mut().unwrap();
            (video.width, video.height) = (width, height);
        });
        match plan.unwrap().outputs[0].output.rendition.scale {
            Scale::Exact { width, height } => (width, height),
            other => panic!("{other:?}"),
        }
    };
    let fit = |width, height| Scale::Fit { width, height };
    assert_eq!(scaled(Scale::Source, 161, 121), (160, 120), "x264 needs it");
    assert_eq!(scaled(Scale::Height(1080), 1280, 720), (1920, 1080));
    assert_eq!(scaled(Scale::Height(720), 1668, 1080), (1112, 720));
    assert_eq!(scaled(Scale::Height(121), 161, 121), (160, 120));
    assert_eq!(scaled(Scale::Height(480), 161, 121), (638, 480));
    assert_eq!(scaled(fit(1280, 720), 1920, 800), (1280, 534));
    assert_eq!(scaled(fit(1280, 720), 1080, 1920), (406, 720));
    assert_eq!(scaled(fit(1280, 720), 640, 360), (1280, 720));
}

#[test]
fn odd_sizes_are_kept_where_the_encoder_takes_them() {
    let planned_size = |codec: Codec, format: &str| {
        let plan = planned(&one("a.mkv", rendition(codec)), |facts| {
            let video = facts.video.as_mut().unwrap();
            (video.width, video.height) = (161, 121);
            video.pix_fmt = format.to_owned();
        })
        .unwrap();
        let Scale::Exact { width, height } = plan.outputs[0].output.rendition.scale else {
            panic!("sizes are planned");
        };
        (width, height, plan.warnings.len())
    };
    assert_eq!(planned_size(Codec::H264, "yuv420p"), (160, 120, 1));
    assert_eq!(planned_size(Codec::H265, "yuv422p10le"), (160, 121, 1));
    assert_eq!(planned_size(Codec::H264, "yuv444p"), (161, 121, 0));
    assert_eq!(planned_size(Codec::H264, "bgr0"), (161, 121, 0));
    assert_eq!(planned_size(Codec::H264, "gray10le"), (161, 121, 0));
    assert_eq!(planned_size(Codec::H265, "yuv411p"), (160, 121, 1));
    assert_eq!(planned_size(Codec::H265, "yuv440p"), (161, 121, 0));
    assert_eq!(planned_size(Codec::Vp9, "yuv420p"), (161, 121, 0));
}

#[test]
fn fields_are_kept_where_both_have_whole_lines() {
    let warnings = |codec: Codec, height: u32, format: &str, deinterlace: Deinterlace| {
        let mut wanted = rendition(codec);
        wanted.deinterlace = deinterlace;
        let plan = planned(&one("a.mkv", wanted), |facts| {
            let video = facts.video.as_mut().unwrap();
            (video.width, video.height) = (720, height);
            video.pix_fmt = format.to_owned();
            video.interlaced_top_first = Some(false);
        });
        plan.unwrap().warnings
    };
    assert!(warnings(Codec::H264, 480, "yuv420p", Deinterlace::Off).is_empty());
    let lost = warnings(Codec::H264, 486, "yuv420p", Deinterlace::Off);
    assert_eq!(
        lost,
        [
            "the source is interlaced and two fields of 486 lines are not alike, which libx264 asks for: fields stay woven into \
          progressive frames; --deinterlace auto makes clean frames"
        ]
    );
    assert!(warnings(Codec::H264, 486, "yuv422p", Deinterlace::Off).is_empty());
    assert!(warnings(Codec::H264, 486, "yuv420p", Deinterlace::Auto).is_empty());
    assert!(warnings(Codec::Mpeg2, 486, "yuv420p", Deinterlace::Off).is_empty());
    assert_eq!(
        warnings(Codec::H265, 480, "yuv420p", Deinterlace::Off).len(),
        1
    );
}

#[test]
fn captions_need_a_build_that_hands_them_on() {
    let warnings = |build: &str| {
        let plan = planned(&one("a.mkv", rendition(Codec::H265)), |facts| {
            facts.video.as_mut().unwrap().captions = true;
            facts.ffmpeg = build.to_owned();
        });
        plan.unwrap().warnings.len()
    };
    assert_eq!(warnings("ffmpeg version 5.1.9-0+deb12u1 Copyright"), 1);
    assert_eq!(warnings("ffmpeg version n7.1 Copyright"), 1);
    assert_eq!(warnings("ffmpeg version 9.0.2-static Copyright"), 0);
    assert_eq!(warnings("ffmpeg version N-12345-gabcdef"), 0);
}

#[test]
fn buffers_follow_from_the_profile() {
    let peak = |rate, profile, asked: Option<(u64, u64)>| {
        let mut wanted = rendition(Codec::H264);
        wanted.rate = rate;
        wanted.profile = profile;
        wanted.peak = asked.map(|(maxrate_bps, bufsize_bits)| PeakLimit {
            maxrate_bps,
            bufsize_bits,
        });
        let plan = planned(&one("a.mkv", wanted), |_| {}).unwrap();
        plan.outputs[0]
            .peak()
            .map(|p| (p.maxrate_bps, p.bufsize_bits))
    };
    let mean = Some(RateControl::Bitrate(1_000_000));
    assert_eq!(peak(None, Profile::Quality, None), None);
    assert_eq!(peak(mean, Profile::Quality, None), None);
    assert_eq!(
        peak(mean, Profile::Latency, None),
        Some((1_000_000, 40_000))
    );
    assert_eq!(
        peak(mean, Profile::Quality, Some((1_500_000, 0))),
        Some((1_500_000, 2_000_000))
    );
    assert_eq!(
        peak(None, Profile::Quality, Some((1_500_000, 0))),
        Some((1_500_000, 3_000_000))
    );
    assert_eq!(
        peak(None, Profile::Quality, Some((1_500_000, 7))),
        Some((1_500_000, 7))
    );
}

#[test]
fn a_file_size_leaves_room_for_what_is_not_video() {
    let request = one("a.mkv", rated(Codec::H264, RateControl::Size(1_000_000)));
    let plan = planned(&request, |facts| {
        facts.tracks[1].description = "aac (LC), 48000 Hz, stereo, fltp, 128 kb/s".to_owned();
    })
    .unwrap();
    let Promise::FileBytes { bytes, other_bytes } = plan.outputs[0].promise else {
        panic!("a size is promised");
    };
    assert_eq!(bytes, 1_000_000);
    // 160,000 bytes of sound, and a few thousand of container.
    assert!((162_000..175_000).contains(&other_bytes), "{other_bytes}");
    let small = one("a.mkv", rated(Codec::H264, RateControl::Size(100_000)));
    assert!(
        refused(&small).starts_with("a file of 100000 bytes leaves no room for video beside"),
        "{}",
        refused(&small)
    );
}

#[test]
fn a_bitrate_counts_over_the_wanted_part() {
    let mut request = one("a.mkv", rated(Codec::H264, RateControl::Bitrate(800_000)));
    request.start_us = Some(5_000_000);
    let plan = planned(&request, |_| {}).unwrap();
    assert_eq!(
        plan.outputs[0].promise,
        Promise::VideoBytes { bytes: 500_000 }
    );
    assert_eq!(plan.segments[0].first_row, 125);
}

#[test]
fn further_video_tracks_are_encoded_whole() {
    let plan = planned(&one("a.mkv", rendition(Codec::H264)), |facts| {
        facts.tracks.push(track(2, TrackKind::Video, "h264"));
        let mut empty = track(3, TrackKind::Video, "h264");
        empty.size = None;
        facts.tracks.push(empty);
        let mut cover = track(4, TrackKind::Video, "mjpeg");
        cover.attached_pic = true;
        facts.tracks.push(cover);
    })
    .unwrap();
    assert_eq!(plan.outputs[0].whole_tracks, [2]);
    assert_eq!(
        plan.warnings,
        ["video track 3 (h264) is left out: FFmpeg cannot read it"]
    );
}

#[test]
fn addresses_tell_what_matters_apart_and_nothing_else() {
    let plan = |change: &dyn Fn(&mut JobRequest)| {
        let mut request = one("a.mkv", rated(Codec::H264, RateControl::Crf(20_000)));
        change(&mut request);
        planned(&request, |_| {}).unwrap()
    };
    let address = |plan: &Plan, segment: u32| {
        let knob = plan.outputs[0].fixed_knob(segment).unwrap();
        address::chunk(plan, 0, segment, &knob)
    };
    let base = plan(&|_| {});
    let same = plan(&|r| {
        r.outputs[0].url = "file:///b.mkv".to_owned();
        r.priority = 1;
    });
    assert_eq!(address(&base, 1), address(&same, 1));
    assert_ne!(address(&base, 1), address(&base, 2));
    for change in [
        (&|r: &mut JobRequest| r.outputs[0].rendition.preset = Some("slow".to_owned()))
            as &dyn Fn(&mut JobRequest),
        &|r| r.outputs[0].rendition.rate = Some(RateControl::Crf(20_010)),
        &|r| r.outputs[0].rendition.scale = Scale::Height(480),
        &|r| r.start_us = Some(40_000),
        &|r| r.making = Making::Verified,
        &|r| r.score = vec![Metric::Psnr],
    ] {
        assert_ne!(address(&base, 1), address(&plan(change), 1));
    }
}

#[test]
fn the_parts_of_a_plan_stay_small() {
    let table = table(20_000, 25);
    let mut request = one("a.mkv", rendition(Codec::H264));
    request.segment = SegmentLength::Millis(1_000);
    let plan = plan(&facts(&table), &table, &request, &PlanPolicy::default()).unwrap();
    assert_eq!(plan.segments.len(), 20_000);
    let commands = plan.into_commands(crate::fixture::JOB, false, artifact("segments"));
    assert!(commands.len() > 2);
    for command in commands {
        let bytes = postcard::to_stdvec(&command).unwrap();
        assert!(bytes.len() < 64 << 10, "{} bytes", bytes.len());
    }
}

#[test]
fn more_segments_than_a_job_may_have_are_refused() {
    let table = table(100, 1);
    let mut request = one("a.mkv", rendition(Codec::H264));
    request.segment = SegmentLength::Millis(40);
    let policy = PlanPolicy {
        most_segments: 1_000,
        ..PlanPolicy::default()
    };
    let error = plan(&facts(&table), &table, &request, &policy).unwrap_err();
    assert_eq!(
        error.to_string(),
        "2500 segments are more than the 1000 of one job: choose a longer --segment, or leave \
         --spread out"
    );
}
