use super::super::RowTimes;
use super::super::list::shown;
use super::*;
use recode_types::rendition::{Deinterlace, PeakLimit, Profile, RateControl, Scale};

pub(crate) fn rendition(codec: Codec) -> Rendition {
    Rendition {
        codec,
        encoder: codec.default_encoder().to_owned(),
        rate: (codec != Codec::Prores).then_some(RateControl::Crf(23_000)),
        peak: None,
        preset: None,
        tune: None,
        encoder_profile: None,
        profile: Profile::Quality,
        scale: Scale::Source,
        fps: None,
        deinterlace: Deinterlace::Off,
        pix_fmt: None,
        gop: None,
    }
}

pub(crate) fn video() -> VideoFacts {
    VideoFacts {
        track: 0,
        codec: "h264".to_owned(),
        time_base: TimeBase::new(1, 30000),
        frames: 1140,
        start_pts: 0,
        end_pts: 1_141_140,
        width: 1280,
        height: 720,
        pix_fmt: "yuv420p".to_owned(),
        sample_aspect: Rational::new(1, 1),
        frame_rate: Rational::new(30000, 1001),
        interlaced_top_first: None,
        dolby_vision_profile: None,
        hdr10_plus: false,
        hdr10_static: false,
        captions: false,
        alpha: false,
        color: None,
    }
}

pub(crate) fn args<'a>(video: &'a VideoFacts, renditions: &'a [Rendition]) -> EncodeArgs<'a> {
    EncodeArgs {
        input: Input {
            path: "/s/clip.mp4".into(),
            demuxer: Some("mp4"),
            stream: 0,
            clock: Clock::Stored,
            threads: 1,
        },
        span: Span::Time {
            start_pts: 1001,
            end_pts: Some(60060),
            before_pts: Some(0),
            after_pts: Some(60060),
        },
        time_base: video.time_base,
        shift: 0,
        video,
        frames: 59,
        outputs: renditions
            .iter()
            .enumerate()
            .map(|(i, rendition)| EncodeOutput {
                rendition,
                knob: Knob {
                    quality_milli: 23_500,
                    peak: None,
                    buffer_start_milli: 900,
                },
                size: (1280, 720),
                path: format!("/s/{i}.mp4").into(),
            })
            .collect(),
        score: None,
        check: None,
        growing: false,
        major: 9,
    }
}

fn built(args: &EncodeArgs<'_>) -> String {
    shown(&args.build().unwrap())
}

#[test]
fn a_plain_rendition_is_what_a_user_would_write_plus_what_chunks_need() {
    let video = video();
    let mut r = rendition(Codec::H264);
    r.preset = Some("medium".to_owned());
    assert_eq!(
        built(&args(&video, &[r])),
        "-loglevel level+warning -y -filter_threads 1 -filter_complex_threads 1 -copyts -threads 1 -f mp4 \
         -reinit_filter 0 -i file:/s/clip.mp4 -filter_complex \
         [0:0]trim=start_pts=1001:end_pts=60060,scale=1280:720:flags=bicubic,setsar=sar='1/1':max=2147483647,format=yuv420p[v0] \
         -filter_complex [0:0]scale=64:36:flags=neighbor,format=gray[sig] \
         -map [v0] -c:v libx264 -preset medium -crf 23.5 -threads 1 -x264-params fps=30000/1001 \
         -fps_mode passthrough -enc_time_base 1:30000 -fflags +bitexact -map_metadata -1 -f mp4 file:/s/0.mp4 \
         -map [sig] -fps_mode passthrough -enc_time_base 1:30000 -f framecrc pipe:1"
    );
}

#[test]
fn frames_are_marked_with_the_colours_of_the_first_one() {
    let mut video = video();
    video.color = Some(Color {
        range: "tv".to_owned(),
        space: "bt709".to_owned(),
        primaries: "unknown".to_owned(),
        transfer: "reserved".to_owned(),
    });
    let renditions = [rendition(Codec::H264)];
    let text = built(&args(&video, &renditions));
    let marked = "trim=start_pts=1001:end_pts=60060,setparams=range=tv:colorspace=bt709:color_primaries=unknown,scale=";
    assert!(text.contains(marked), "{text}");
    video.pix_fmt = "gbrp".to_owned();
    let text = built(&args(&video, &renditions));
    assert!(!text.contains("setparams"), "{text}");
}

#[test]
fn several_renditions_share_one_decode_and_scores_come_along() {
    let video = video();
    let renditions = [rendition(Codec::H265), rendition(Codec::Av1)];
    let mut args = args(&video, &renditions);
    args.score = Some(FusedScore {
        metrics: vec![Metric::Vmaf, Metric::Psnr, Metric::MsSsim],
        logs: vec!["/s/a:b.json".into(), "/s/1.json".into()],
    });
    let text = built(&args);
    for part in [
        "[0:0]trim=start_pts=0:end_pts=60061,scale=1280:720:flags=bicubic,setsar=sar='1/1':max=2147483647,format=yuv420p,setfield=prog,\
         trim=start_pts=1001:end_pts=60060[v1]",
        "[0:0]trim=start_pts=0:end_pts=60061,scale=1280:720:flags=bicubic,setsar=sar='1/1':max=2147483647,format=yuv420p,setfield=prog[r1]",
        "-c:v libx265 -crf 23.5 -a53cc 1 -x265-params log-level=warning:fps=30000/1001:pools=none:frame-threads=1:log2-max-poc-lsb=9",
        "-c:v libsvtav1 -crf 24 -g 449 -svtav1-params lp=1:fps-num=30000:fps-denom=1001",
        "-dec 1:0 -filter_complex [dec:1]tpad=start=1:stop=1:start_mode=clone:stop_mode=clone,settb=1/1000,setpts=N[m1];\
         [r1]settb=1/1000,setpts=N[q1];[m1][q1]libvmaf=",
        "log_path=/s/a\\\\:b.json:feature='name=psnr|name=float_ms_ssim'[o0]",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
}

/// Fifty frames out of many, by number.
fn counted() -> Span {
    Span::Ordinal {
        first: 100,
        count: 50,
        more: true,
        times: RowTimes {
            from_pts: 99_099,
            start_pts: 100_100,
            after_pts: Some(150_150),
            step: Some(1001),
        },
    }
}

#[test]
fn a_source_read_by_counting_stops_after_its_segment() {
    let video = video();
    let renditions = [rendition(Codec::Vp9)];
    let mut args = args(&video, &renditions);
    args.input.clock = Clock::Plain;
    args.input.demuxer = None;
    args.span = counted();
    let text = built(&args);
    for part in [
        "[0:0]trim=end_frame=151,scale=64:36",
        "[0:0]trim=start_frame=100:end_frame=150,scale=1280:720:flags=bicubic,setsar=sar='1/1':max=2147483647,format=yuv420p,setfield=prog,settb=1/30000,setpts=trunc(N*1001/1)[v0]",
        "-c:v libvpx-vp9 -deadline good -crf 24 -b:v 0 -g 420 -threads 1 -row-mt 0",
        "-enc_time_base 1:30000 -fflags",
        "-map 0:u -map -0:d? -map -0:t? -c copy -f null -",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
    assert!(!text.contains("-copyts"));
    assert!(
        !text.contains("setpts=("),
        "frames that are only counted need no times: {text}"
    );
}

/// The clock of such a Source may repeat itself, so its rows' own times are given to the frames.
#[test]
fn frames_that_are_counted_keep_the_phase_of_a_changed_rate_too() {
    let video = video();
    let mut r = rendition(Codec::H264);
    r.fps = Some(Rational::new(25, 1));
    let renditions = [r];
    let mut args = args(&video, &renditions);
    args.input.clock = Clock::Plain;
    args.span = counted();
    args.shift = -3003;
    let text = built(&args);
    // (100100 - 3003) / 30000 * 25 = 80.9, (150150 - 3003) / 30000 * 25 = 122.6
    for part in [
        "[0:0]trim=start_frame=99:end_frame=151,setpts=(99099)+N*1001,setpts=PTS+(-3003),fps=25/1:round=near:eof_action=pass,",
        ",trim=start_pts=81:end_pts=123,settb=1/25,setpts=N[v0]",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
    assert_eq!(args.output_frames(0), Some(42));
    if let Span::Ordinal { times, .. } = &mut args.span {
        times.step = None;
    }
    assert!(
        !built(&args).contains("+N*"),
        "they come at their own times"
    );
}

#[test]
fn a_changed_frame_rate_keeps_one_phase_over_all_segments() {
    let video = video();
    let mut r = rendition(Codec::H264);
    r.fps = Some(Rational::new(25, 1));
    r.deinterlace = Deinterlace::Auto;
    let renditions = [r];
    let mut args = args(&video, &renditions);
    args.shift = 300_300;
    let text = built(&args);
    // (1001 + 300300) / 30000 * 25 = 251.08, (60060 + 300300) / 30000 * 25 = 300.3
    for part in [
        "[0:0]trim=start_pts=0:end_pts=60061,bwdif=mode=send_frame:deint=interlaced,settb=1/30000,setpts=PTS+(300300),\
         fps=25/1:round=near:eof_action=pass,scale=1280:720:flags=bicubic,setsar=sar='1/1':max=2147483647,format=yuv420p,trim=start_pts=251:end_pts=300[v0]",
        "-enc_time_base 1:25 ",
        "fps=25/1 -fps_mode",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
    assert_eq!(args.output_frames(0), Some(49));
}

#[test]
fn peaks_interlace_and_a_fixed_grid_reach_the_encoder() {
    let mut video = video();
    video.interlaced_top_first = Some(true);
    let mut r = rendition(Codec::H264);
    r.gop = Some(48);
    r.profile = Profile::Latency;
    let renditions = [r, rendition(Codec::Mpeg2), rendition(Codec::Prores)];
    let mut args = args(&video, &renditions);
    let peak = Some(PeakLimit {
        maxrate_bps: 4_000_000,
        bufsize_bits: 8_000_000,
    });
    args.outputs[0].knob.peak = peak;
    args.outputs[0].knob.buffer_start_milli = 512;
    let text = built(&args);
    for part in [
        "-c:v libx264 -tune zerolatency -crf 23.5 -maxrate 4000000 -bufsize 8000000 -g 48 -keyint_min 48 \
         -sc_threshold 0 -flags +ildct+ilme -threads 1 -x264-params fps=30000/1001:stitchable=1:vbv-init=0.512",
        "settb=1001/30000,setpts=N[v1]",
        "-c:v mpeg2video -q:v 23.5 -flags +ildct+ilme -threads 1",
        "format=yuv422p10le,setfield=tff[v2]",
        "-c:v prores_ks -flags +ildct -threads 1",
        "-f mov file:/s/2.mp4",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
}

#[test]
fn a_fixed_grid_of_mpeg2_has_closed_groups() {
    let mut video = video();
    let mut r = rendition(Codec::Mpeg2);
    r.gop = Some(12);
    let renditions = [r];
    let grid = "-g 12 -sc_threshold 1000000000 -flags +cgop";
    let text = built(&args(&video, &renditions));
    assert!(text.contains(&format!("{grid} -threads")), "{text}");
    video.interlaced_top_first = Some(true);
    let text = built(&args(&video, &renditions));
    assert!(text.contains(&format!("{grid}+ildct+ilme ")), "{text}");
}

#[test]
fn encoders_that_count_to_their_key_frames_make_few_groups_of_a_segment() {
    let asked = |codec, change: fn(&mut Rendition), frames| {
        let video = video();
        let mut r = rendition(codec);
        change(&mut r);
        let renditions = [r];
        let mut args = args(&video, &renditions);
        args.frames = frames;
        let text = built(&args);
        let mut words = text.split(' ').skip_while(|word| *word != "-g");
        words.nth(1).map(|gop| gop.parse::<u64>().unwrap())
    };
    let as_is: fn(&mut Rendition) = |_| {};
    for (frames, av1, vp9) in [
        (1_u64, 449, 420),
        (420, 449, 420),
        (421, 225, 211),
        (434, 225, 217),
        (836, 449, 418),
        (841, 289, 281),
    ] {
        let groups = |gop| frames.div_ceil(gop);
        assert_eq!(asked(Codec::Av1, as_is, frames), Some(av1), "{frames}");
        assert_eq!(asked(Codec::Vp9, as_is, frames), Some(vp9), "{frames}");
        assert_eq!(groups(av1), groups(vp9), "{frames}");
    }
    // At high rates SVT-AV1's own groups are longer.
    let fast: fn(&mut Rendition) = |r| r.fps = Some(Rational::new(120, 1));
    assert!(asked(Codec::Av1, fast, 50) >= Some(600));
    // A wish is a wish, and these look at what the pictures show.
    let wish: fn(&mut Rendition) = |r| r.gop = Some(48);
    assert_eq!(asked(Codec::Av1, wish, 434), Some(48));
    assert_eq!(asked(Codec::Vp9, wish, 434), Some(48));
    let aom: fn(&mut Rendition) = |r| r.encoder = "libaom-av1".to_owned();
    assert_eq!(asked(Codec::Av1, aom, 434), None);
    assert_eq!(asked(Codec::H264, as_is, 434), None);
}

#[test]
fn fields_that_x264_refuses_are_not_asked_of_it() {
    let mut video = video();
    video.interlaced_top_first = Some(true);
    let renditions = [rendition(Codec::H264)];
    let mut asked = |height: u32, format: &str| {
        video.height = height;
        video.pix_fmt = format.to_owned();
        built(&args(&video, &renditions)).contains("+ildct")
    };
    assert!(asked(480, "yuv420p") && asked(486, "yuv422p"));
    assert!(!asked(486, "yuv420p"));
}

#[test]
fn wishes_an_encoder_cannot_meet_are_refused_with_the_remedy() {
    let check = |change: fn(&mut Rendition), message: &str| {
        let mut r = rendition(Codec::Av1);
        change(&mut r);
        assert_eq!(encoder::check(&r).unwrap_err().to_string(), message);
    };
    check(
        |r| r.preset = Some("quick".to_owned()),
        "libsvtav1 has no preset quick: choose one of 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0",
    );
    check(
        |r| r.encoder = "libx264".to_owned(),
        "libx264 does not make av1: leave --encoder out or choose the codec it makes",
    );
    check(
        |r| r.rate = Some(RateControl::Crf(64_000)),
        "--crf 64 is beyond libsvtav1's scale: choose 0 to 63",
    );
    check(
        |r| r.pix_fmt = Some("yuv444p".to_owned()),
        "libsvtav1 has no pixel format yuv444p: choose one of yuv420p, yuv420p10le",
    );
    check(
        |r| {
            *r = Rendition {
                preset: Some("slow".to_owned()),
                ..rendition(Codec::Prores)
            }
        },
        "prores_ks has no preset to choose: leave slow out",
    );
    let mut named = rendition(Codec::Av1);
    named.preset = Some("medium".to_owned());
    assert_eq!(encoder::check(&named), Ok(()));
}

#[test]
fn the_pixel_format_stays_as_near_as_the_encoder_allows() {
    let check = |codec: Codec, source: &str, expected: &str| {
        assert_eq!(
            encoder::pixel_format(&rendition(codec), source).as_deref(),
            Some(expected),
            "{codec} from {source}"
        );
    };
    check(Codec::H264, "yuvj420p", "yuvj420p");
    check(Codec::Vp9, "yuvj420p", "yuv420p");
    check(Codec::H264, "yuv420p12le", "yuv420p10le");
    check(Codec::H265, "yuv422p10le", "yuv422p10le");
    check(Codec::Av1, "yuv444p", "yuv420p");
    check(Codec::Av1, "yuv422p10le", "yuv420p10le");
    check(Codec::Prores, "yuv420p", "yuv422p10le");
    check(Codec::Mpeg2, "yuv444p10le", "yuv420p");
    check(Codec::Mpeg2, "yuv422p10le", "yuv422p");
    check(Codec::Prores, "rgba", "yuva444p10le");
    check(Codec::Vp9, "yuv440p10le", "yuv444p10le");
    check(Codec::Vp9, "gbrap", "yuva420p");
    check(Codec::Vp9, "gray10le", "yuv420p10le");
    check(Codec::Av1, "rgb24", "yuv420p");
    check(Codec::Mpeg2, "bgr0", "yuv420p");
    let mut profiled = rendition(Codec::Prores);
    let mut of_alpha = |profile: &str| {
        profiled.encoder_profile = Some(profile.to_owned());
        encoder::pixel_format(&profiled, "yuva444p10le").unwrap()
    };
    assert_eq!(of_alpha("4444"), "yuva444p10le");
    assert_eq!(of_alpha("hq"), "yuv422p10le");
}

/// What FFmpeg 9 chooses by itself, of all formats that its scaler reads. Left out: `nv20le`, which recode makes `yuv422p10le`,
/// grey in four bits, which is colour, and transparency, which HEVC has in few decoders.
#[test]
fn pictures_become_what_plain_ffmpeg_makes_of_them() {
    let from = |codec: Codec, made: &str, sources: &str| {
        for source in sources.split_whitespace() {
            let chosen = encoder::pixel_format(&rendition(codec), source);
            assert_eq!(chosen.as_deref(), Some(made), "{codec} from {source}");
        }
    };
    from(Codec::H264, "yuv420p", "yuv420p yuv410p yuva420p");
    from(
        Codec::H264,
        "yuv422p",
        "yuyv422 yuv422p yuv411p uyvy422 yuva422p yvyu422",
    );
    from(
        Codec::H264,
        "yuv444p",
        "rgb24 bgr24 yuv444p pal8 bgr8 rgb8 argb rgba abgr bgra yuv440p rgb565be rgb565le rgb555be rgb555le \
         bgr565be bgr565le bgr555be bgr555le rgb444le rgb444be bgr444le bgr444be gbrp yuva444p gbrap 0rgb \
         rgb0 0bgr bgr0 nv24 nv42 vuya vuyx ayuv uyva vyu444",
    );
    from(Codec::H264, "gray", "gray monow monob ya8");
    from(Codec::H264, "yuvj420p", "yuvj420p");
    from(Codec::H264, "yuvj422p", "yuvj422p yuvj411p");
    from(Codec::H264, "yuvj444p", "yuvj444p yuvj440p");
    from(Codec::H264, "nv12", "nv12");
    from(Codec::H264, "nv21", "nv21");
    from(
        Codec::H264,
        "gray10le",
        "gray16be gray16le ya16be ya16le gray12be gray12le gray10be gray10le gray9be gray9le gray14be \
         gray14le grayf32be grayf32le",
    );
    from(
        Codec::H264,
        "yuv444p10le",
        "rgb48be rgb48le yuv444p16le yuv444p16be bgr48be bgr48le yuv444p9be yuv444p9le yuv444p10be \
         yuv444p10le gbrp9be gbrp9le gbrp10be gbrp10le gbrp16be gbrp16le yuva444p9be yuva444p9le yuva444p10be \
         yuva444p10le yuva444p16be yuva444p16le xyz12le xyz12be rgba64be rgba64le bgra64be bgra64le gbrap16be \
         gbrap16le yuv444p12be yuv444p12le yuv444p14be yuv444p14le gbrp12be gbrp12le gbrp14be gbrp14le \
         yuv440p10le yuv440p10be yuv440p12le yuv440p12be ayuv64le ayuv64be gbrap12be gbrap12le gbrap10be \
         gbrap10le gbrpf32be gbrpf32le gbrapf32be gbrapf32le yuva444p12be yuva444p12le x2rgb10le x2bgr10le \
         p410be p410le p416be p416le xv30le xv36be xv36le p412be p412le gbrap14be gbrap14le v30xle xv48be \
         xv48le yuv444p10msbbe yuv444p10msble yuv444p12msbbe yuv444p12msble gbrp10msbbe gbrp10msble \
         gbrp12msbbe gbrp12msble",
    );
    from(
        Codec::H264,
        "yuv420p10le",
        "yuv420p16le yuv420p16be yuv420p9be yuv420p9le yuv420p10be yuv420p10le yuva420p9be yuva420p9le \
         yuva420p10be yuva420p10le yuva420p16be yuva420p16le yuv420p12be yuv420p12le yuv420p14be yuv420p14le \
         p010le p010be p016le p016be p012le p012be",
    );
    from(
        Codec::H264,
        "yuv422p10le",
        "yuv422p16le yuv422p16be yuv422p10be yuv422p10le yuv422p9be yuv422p9le yuva422p9be yuva422p9le \
         yuva422p10be yuva422p10le yuva422p16be yuva422p16le nv20be yuv422p12be yuv422p12le yuv422p14be \
         yuv422p14le yuva422p12be yuva422p12le y210le p210be p210le p216be p216le y212le p212be p212le y216le",
    );
    from(Codec::H264, "nv16", "nv16");
    from(Codec::H265, "yuv420p", "yuv420p yuv410p nv12 nv21");
    from(
        Codec::H265,
        "yuv422p",
        "yuyv422 yuv422p yuv411p uyvy422 nv16 yvyu422",
    );
    from(
        Codec::H265,
        "gbrp",
        "rgb24 bgr24 pal8 bgr8 rgb8 rgb565be rgb565le rgb555be rgb555le bgr565be bgr565le bgr555be bgr555le \
         rgb444le rgb444be bgr444le bgr444be gbrp 0rgb rgb0 0bgr bgr0",
    );
    from(
        Codec::H265,
        "yuv444p",
        "yuv444p yuv440p nv24 nv42 vuyx vyu444",
    );
    from(Codec::H265, "gray", "gray monow monob");
    from(Codec::H265, "yuvj420p", "yuvj420p");
    from(Codec::H265, "yuvj422p", "yuvj422p yuvj411p");
    from(Codec::H265, "yuvj444p", "yuvj444p yuvj440p");
    from(
        Codec::H265,
        "gray12le",
        "gray16be gray16le gray12be gray12le gray14be gray14le grayf32be grayf32le",
    );
    from(
        Codec::H265,
        "gbrp12le",
        "rgb48be rgb48le bgr48be bgr48le gbrp16be gbrp16le gbrp12be gbrp12le gbrp14be gbrp14le gbrpf32be \
         gbrpf32le gbrp12msbbe gbrp12msble",
    );
    from(
        Codec::H265,
        "yuv420p12le",
        "yuv420p16le yuv420p16be yuv420p12be yuv420p12le yuv420p14be yuv420p14le p016le p016be p012le p012be",
    );
    from(
        Codec::H265,
        "yuv422p12le",
        "yuv422p16le yuv422p16be yuv422p12be yuv422p12le yuv422p14be yuv422p14le p216be p216le y212le p212be \
         p212le y216le",
    );
    from(
        Codec::H265,
        "yuv444p12le",
        "yuv444p16le yuv444p16be xyz12le xyz12be yuv444p12be yuv444p12le yuv444p14be yuv444p14le yuv440p12le \
         yuv440p12be p416be p416le xv36be xv36le p412be p412le xv48be xv48le yuv444p12msbbe yuv444p12msble",
    );
    from(
        Codec::H265,
        "yuv420p10le",
        "yuv420p9be yuv420p9le yuv420p10be yuv420p10le p010le p010be",
    );
    from(
        Codec::H265,
        "yuv422p10le",
        "yuv422p10be yuv422p10le yuv422p9be yuv422p9le nv20be y210le p210be p210le",
    );
    from(
        Codec::H265,
        "yuv444p10le",
        "yuv444p9be yuv444p9le yuv444p10be yuv444p10le yuv440p10le yuv440p10be p410be p410le xv30le v30xle \
         yuv444p10msbbe yuv444p10msble",
    );
    from(
        Codec::H265,
        "gbrp10le",
        "gbrp9be gbrp9le gbrp10be gbrp10le x2rgb10le x2bgr10le gbrp10msbbe gbrp10msble",
    );
    from(Codec::H265, "gray10le", "gray10be gray10le gray9be gray9le");
}
