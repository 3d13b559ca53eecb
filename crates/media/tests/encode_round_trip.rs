//! Argument lists that real FFmpeg builds must accept: two Segments of a generated clip in several Renditions, their
//! signatures against a decode of the whole, and scores from the same process against a run of their own.

use recode_media::args::encode::{EncodeArgs, EncodeOutput, FusedCheck, FusedScore};
use recode_media::args::{Clock, Input, RowTimes, Span, encoder};
use recode_media::mp4::{
    ChunkIndex, Part, Shown, append_check, check_units, closed_groups, join, read_chunk, read_grown,
};
use recode_media::run::{self, Invocation};
use recode_media::score::{self, FrameScores};
use recode_media::toolchain::{self, Ffmpeg};
use recode_media::verify::Grade;
use recode_media::{parse::framecrc, probe, verify};
use recode_types::rendition::{Codec, Deinterlace, Knob, Profile, Rendition, Scale};
use recode_types::source::VideoFacts;
use recode_types::{Metric, Rational, TimeBase};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

fn rendition(codec: Codec) -> Rendition {
    Rendition {
        codec,
        encoder: codec.default_encoder().to_owned(),
        rate: None,
        peak: None,
        preset: match codec {
            Codec::H264 | Codec::H265 => Some("ultrafast".to_owned()),
            Codec::Av1 => Some("10".to_owned()),
            Codec::Vp9 => Some("5".to_owned()),
            _ => None,
        },
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

fn video(frame_rate: Rational, time_base: TimeBase) -> VideoFacts {
    VideoFacts {
        track: 0,
        codec: "h264".to_owned(),
        time_base,
        frames: 50,
        start_pts: 0,
        end_pts: 25_600,
        width: 320,
        height: 180,
        pix_fmt: "yuv420p".to_owned(),
        sample_aspect: Rational::new(1, 1),
        frame_rate,
        interlaced_top_first: None,
        dolby_vision_profile: None,
        hdr10_plus: false,
        hdr10_static: false,
        captions: false,
        alpha: false,
        color: None,
    }
}

/// The clip of most tests: 50 frames, a key frame every 20.
const CLIP: &str = "testsrc2=s=320x180:r=25:d=2 -c:v libx264 -preset ultrafast -bf 2 -g 20";

async fn clip(ffmpeg: &Ffmpeg, what: &str, out: &Path) {
    let list = format!("-y -f lavfi -i {what} -threads 1");
    let mut list: Vec<OsString> = list.split(' ').map(Into::into).collect();
    list.push(out.into());
    run::run(ffmpeg, Invocation::new(list)).await.unwrap();
}

/// Runs an encode and lists the signature of every decoded frame.
async fn encode(ffmpeg: &Ffmpeg, args: &EncodeArgs<'_>) -> Vec<(i64, u32)> {
    run_list(ffmpeg, args.build().unwrap()).await
}

async fn run_list(ffmpeg: &Ffmpeg, list: Vec<OsString>) -> Vec<(i64, u32)> {
    let invocation = Invocation::new(list).with_stdout();
    let mut seen = vec![];
    run::spawn(ffmpeg, invocation)
        .await
        .unwrap()
        .wait_lines(
            |line| {
                if let Some(framecrc::Item::Packet(line)) = framecrc::read(line) {
                    seen.push((line.pts.unwrap(), line.checksum));
                }
            },
            |_| {},
        )
        .await
        .unwrap();
    seen
}

const SPANS: [(u64, u64); 2] = [(0, 30), (30, 20)];

/// The k-th frame of the clip is at 512 k.
fn span((first, count): (u64, u64)) -> Span {
    let at = |frame: u64| frame as i64 * 512;
    let last = first + count == 50;
    Span::Time {
        start_pts: at(first),
        end_pts: (!last).then_some(at(first + count)),
        before_pts: (first > 0).then(|| at(first - 1)),
        after_pts: (!last).then_some(at(first + count)),
    }
}

/// One process that encodes these frames of a clip, and does nothing else.
fn args<'a>(
    ffmpeg: &Ffmpeg,
    source: &Path,
    video: &'a VideoFacts,
    (span, frames): (Span, u64),
    outputs: Vec<EncodeOutput<'a>>,
) -> EncodeArgs<'a> {
    EncodeArgs {
        input: Input {
            path: source.to_owned(),
            demuxer: Some("mp4"),
            stream: 0,
            clock: Clock::Stored,
            threads: 1,
        },
        span,
        time_base: video.time_base,
        shift: 0,
        video,
        frames,
        outputs,
        score: None,
        check: None,
        growing: false,
        major: ffmpeg.major(),
    }
}

/// A Chunk at a constant quality.
fn output<'a>(
    rendition: &'a Rendition,
    quality_milli: u32,
    size: (u32, u32),
    path: PathBuf,
) -> EncodeOutput<'a> {
    EncodeOutput {
        rendition,
        knob: Knob {
            quality_milli,
            peak: None,
            buffer_start_milli: 900,
        },
        size,
        path,
    }
}

#[tokio::test]
async fn every_codec_makes_chunks_of_exactly_the_planned_frames() {
    let Ok(ffmpeg) = toolchain::find(None) else {
        eprintln!("NOT TESTED: there is no ffmpeg here");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("clip.mp4");
    clip(&ffmpeg, CLIP, &source).await;
    let picture = probe::prelude(&ffmpeg, &source)
        .await
        .unwrap()
        .picture
        .unwrap();
    let video = video(picture.frame_rate, picture.time_base);
    let table = probe::deep(&ffmpeg, &source, 0, picture.time_base, 1, |_| {})
        .await
        .unwrap()
        .table;
    let truth: Vec<(i64, u32)> = table
        .rows
        .iter()
        .map(|r| (r.pts, r.signature.unwrap()))
        .collect();
    assert_eq!((truth.len(), truth[49].0), (50, 49 * 512));
    let mut changed = rendition(Codec::H264);
    (changed.fps, changed.deinterlace) = (Some(Rational::new(15, 1)), Deinterlace::On);
    let renditions: Vec<Rendition> = [
        Codec::H264,
        Codec::H265,
        Codec::Av1,
        Codec::Vp9,
        Codec::Mpeg2,
        Codec::Prores,
    ]
    .map(rendition)
    .into_iter()
    .filter(|r| ffmpeg.has_encoder(&r.encoder))
    .chain([changed])
    .collect();
    let mut at_15_per_second = 0;
    for clock in [Clock::Stored, Clock::Plain] {
        for (segment, (first, count)) in SPANS.into_iter().enumerate() {
            let ordinal = clock == Clock::Plain;
            let outputs = renditions
                .iter()
                .filter(|r| !ordinal || r.fps.is_none())
                .enumerate();
            let span = match ordinal {
                true => Span::Ordinal {
                    first,
                    count,
                    more: first + count < 50,
                    times: RowTimes {
                        from_pts: 0,
                        start_pts: 0,
                        after_pts: None,
                        step: None,
                    },
                },
                false => span((first, count)),
            };
            let path = |i| dir.path().join(format!("{segment}-{i}.chunk"));
            let outputs = outputs.map(|(i, r)| output(r, 20_000, (320, 180), path(i)));
            let mut args = args(&ffmpeg, &source, &video, (span, count), outputs.collect());
            args.input.clock = clock;
            args.check = ffmpeg.has_loopback_decoder().then(|| FusedCheck {
                grade: if ordinal == (segment == 0) {
                    Grade::Sample
                } else {
                    Grade::Full
                },
                logs: (0..renditions.len())
                    .map(|i| dir.path().join(format!("{segment}, {i}: it's.log")))
                    .collect(),
            });
            let seen = encode(&ffmpeg, &args).await;
            let listed = if ordinal {
                ((first + count + 1) as usize).min(50)
            } else {
                50
            };
            assert_eq!(seen, truth[..listed], "segment {segment}");
            for (i, output) in args.outputs.iter().enumerate() {
                if let Some(check) = &args.check {
                    let log = std::fs::read_to_string(&check.logs[i]).unwrap();
                    let index = read_chunk(&output.path).unwrap();
                    let all =
                        check.grade == Grade::Full || verify::decodes_whole(output.rendition.codec);
                    let decoded = index.samples.iter().filter(|s| all || s.key).count() as u64;
                    verify::judge_log(&log, check.grade, decoded).unwrap();
                    check_units(&output.path, &index).unwrap();
                }
                let found = async |frames| {
                    verify::decode(&ffmpeg, &output.path, frames, verify::Depth::Full).await
                };
                match args.output_frames(i) {
                    Some(frames) => {
                        found(frames).await.unwrap();
                        at_15_per_second += if output.rendition.fps.is_some() {
                            frames
                        } else {
                            0
                        };
                    }
                    // The end of the clip at a changed rate: what is left of 2 s at 15 frames a second.
                    None => {
                        found(30 - at_15_per_second).await.unwrap();
                    }
                }
            }
        }
    }
    assert_eq!(at_15_per_second, 18);
}

/// The packets of a Chunk, and when each is shown after the first.
fn frames(path: &Path, index: &ChunkIndex) -> Vec<(Vec<u8>, i64, bool)> {
    let file = std::fs::read(path).unwrap();
    let samples = index.samples.iter().map(|s| {
        let bytes = file[s.offset as usize..][..s.size as usize].to_vec();
        let shown = index.time_base.rescale(s.pts - index.samples[0].pts, TICKS);
        (bytes, shown, s.key)
    });
    samples.collect()
}

/// Of the clip.
const TICKS: TimeBase = TimeBase::new(1, 12_800);

#[tokio::test]
async fn a_chunk_that_grows_holds_the_same_frames_and_parameter_sets() {
    let Ok(ffmpeg) = toolchain::find(None) else {
        eprintln!("NOT TESTED: there is no ffmpeg here");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("clip.mp4");
    clip(&ffmpeg, CLIP, &source).await;
    let video = video(Rational::new(25, 1), TICKS);
    let mut renditions = [
        Codec::H264,
        Codec::H265,
        Codec::Av1,
        Codec::Vp9,
        Codec::Prores,
    ]
    .map(|codec| Rendition {
        gop: (codec != Codec::Prores).then_some(10),
        ..rendition(codec)
    })
    .to_vec();
    // As its own default has it: with groups that look beyond their end.
    renditions.push(Rendition {
        gop: None,
        ..renditions[1].clone()
    });
    assert!(renditions.iter().all(|r| encoder::grows(&r.encoder)));
    renditions.retain(|r| ffmpeg.has_encoder(&r.encoder));
    for rendition in &renditions {
        let name = &rendition.encoder;
        let path = |growing: bool| dir.path().join(format!("{growing}.chunk"));
        for growing in [false, true] {
            let outputs = vec![output(rendition, 30_000, (320, 180), path(growing))];
            let mut args = args(&ffmpeg, &source, &video, (span((0, 50)), 50), outputs);
            args.growing = growing;
            assert_eq!(encode(&ffmpeg, &args).await.len(), 50, "{name}");
        }
        let plain = read_chunk(&path(false)).unwrap();
        let index = read_chunk(&path(true)).unwrap();
        assert_eq!(index.sample_description, plain.sample_description, "{name}");
        let of_plain = frames(&path(false), &plain);
        // What is no frame is all that the index takes: FFmpeg puts it at the end.
        let bytes = std::fs::read(path(false)).unwrap();
        let (size, others) = (bytes.len(), bytes.len() - plain.payload_bytes() as usize);
        let whole_size = size;
        let end = Part::End(&bytes[size - others..]).index(size as u64, &plain.ftyp);
        assert_eq!(end.unwrap(), plain, "{name}");
        assert!(
            Part::Start(&bytes[..others])
                .index(size as u64, b"")
                .is_err()
        );
        let whole = Part::Start(&bytes).index(size as u64, b"");
        assert_eq!(whole.unwrap(), plain, "{name}");
        // With its digest, no damage to it goes unnoticed.
        append_check(&path(false)).unwrap();
        assert_eq!(read_chunk(&path(false)).unwrap(), plain, "{name}");
        let mut bytes = std::fs::read(path(false)).unwrap();
        let (size, others) = (bytes.len(), bytes.len() - plain.payload_bytes() as usize);
        let last = size - others;
        assert_eq!(size, whole_size + 40, "{name}");
        for at in last..size {
            bytes[at] ^= 0x10;
            let read = Part::End(&bytes[last..]).index(size as u64, &plain.ftyp);
            assert!(read.is_err() || read.unwrap() == plain, "{name}: byte {at}");
            bytes[at] ^= 0x10;
        }
        let read = Part::End(&bytes[last..]).index(size as u64, &plain.ftyp);
        assert_eq!(read.unwrap(), plain, "{name}");
        assert!(frames(&path(true), &index) == of_plain, "{name}");
        let wanted: Vec<i64> = (0..50).map(|frame| 512 * frame).collect();
        let groups = |index: &ChunkIndex| closed_groups(index, &wanted, TICKS);
        let all = groups(&index);
        assert_eq!(all.last(), Some(&50), "{name}");
        if rendition.gop.is_some() {
            assert_eq!(all, [10, 20, 30, 40, 50], "{name}");
        }

        // As somebody sees it who looks while it is written.
        let whole = std::fs::read(path(true)).unwrap();
        let part = dir.path().join("part");
        let mut seen = Vec::new();
        for end in (0..=whole.len()).step_by(whole.len() / 97 + 1) {
            std::fs::write(&part, &whole[..end]).unwrap();
            let Some(grown) = read_grown(&part).unwrap() else {
                continue;
            };
            assert!(index.samples.starts_with(&grown.samples), "{name}");
            assert_eq!(groups(&grown).last(), Some(&grown.samples.len()), "{name}");
            seen.push(grown.samples.len());
        }
        seen.dedup();
        assert!(
            seen.len() >= usize::from(rendition.gop.is_some()) * 4,
            "{name}: {seen:?}"
        );

        // And what becomes of its pieces.
        let cut = all[all.len() / 2 - usize::from(all.len() > 1)];
        let piece = |samples: &[_]| ChunkIndex {
            samples: samples.to_vec(),
            ..index.clone()
        };
        let (head, tail) = index.samples.split_at(cut);
        let (head, tail) = (piece(head), piece(tail));
        let mut pieces = vec![(path(true), &head)];
        if !tail.samples.is_empty() {
            pieces.push((path(true), &tail));
        }
        let pieces: Vec<(&Path, &ChunkIndex)> = pieces
            .iter()
            .map(|(path, index)| (&**path, *index))
            .collect();
        let shown = |pts| Shown {
            pts,
            last_duration: 512,
            time_base: TICKS,
        };
        let joined = dir.path().join("joined");
        join(&pieces, shown(&wanted), &joined).unwrap();
        let index = read_chunk(&joined).unwrap();
        assert_eq!(index.sample_description, plain.sample_description, "{name}");
        assert!(frames(&joined, &index) == of_plain, "{name}");
        let bytes = std::fs::read(&joined).unwrap();
        let (size, others) = (bytes.len(), bytes.len() - index.payload_bytes() as usize);
        let start = Part::Start(&bytes[..others]).index(size as u64, b"");
        assert_eq!(start.unwrap(), index, "{name}");
        append_check(&joined).unwrap();
        assert_eq!(
            std::fs::read(&joined).unwrap(),
            bytes,
            "nobody would read it"
        );
        verify::decode(&ffmpeg, &joined, 50, verify::Depth::Full)
            .await
            .unwrap();
        let refused = join(&pieces, shown(&wanted[..49]), &joined);
        assert!(refused.is_err(), "{name}");
        let longer: Vec<i64> = (0..51).map(|frame| 512 * frame).collect();
        assert!(join(&pieces, shown(&longer), &joined).is_err(), "{name}");
    }
}

/// Key frames of SVT-AV1 and libvpx in one Chunk: as few as its first and the longest group allow.
#[tokio::test]
async fn encoders_that_count_to_their_key_frames_make_few_groups() {
    let Ok(ffmpeg) = toolchain::find(None) else {
        eprintln!("NOT TESTED: there is no ffmpeg here");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("clip.mp4");
    let what = "testsrc2=s=64x64:r=25:d=18 -c:v libx264 -preset ultrafast";
    clip(&ffmpeg, what, &source).await;
    let video = video(Rational::new(25, 1), TimeBase::new(1, 12_800));
    let mut tested = 0;
    for (codec, preset) in [(Codec::Av1, "12"), (Codec::Vp9, "5")] {
        let mut rendition = rendition(codec);
        rendition.preset = Some(preset.to_owned());
        if !ffmpeg.has_encoder(&rendition.encoder) {
            continue;
        }
        for (frames, keys) in [(420_u64, 1), (450, 2)] {
            let path = dir.path().join(format!("{codec}-{frames}.mp4"));
            let end = (frames < 450).then_some(frames as i64 * 512);
            let span = Span::Time {
                start_pts: 0,
                end_pts: end,
                before_pts: None,
                after_pts: end,
            };
            let outputs = vec![output(&rendition, 40_000, (64, 64), path.clone())];
            let args = args(&ffmpeg, &source, &video, (span, frames), outputs);
            encode(&ffmpeg, &args).await;
            let index = read_chunk(&path).unwrap();
            assert_eq!(index.samples.len() as u64, frames, "{codec}");
            let found = index.samples.iter().filter(|s| s.key).count();
            assert_eq!(found, keys, "{codec}, {frames} frames");
            tested += 1;
        }
    }
    if tested == 0 {
        eprintln!("NOT TESTED: neither SVT-AV1 nor libvpx is in this ffmpeg");
    }
}

/// A Chunk with several key frames far from each other, as of a film at 60 a second without cuts: where groups are open, none but the
/// first begins the count of pictures anew.
#[tokio::test]
async fn key_frames_far_apart_are_all_seen_by_a_decoder_of_key_frames() {
    let Ok(ffmpeg) = toolchain::find(None) else {
        eprintln!("NOT TESTED: there is no ffmpeg here");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("clip.mp4");
    let what = "testsrc2=s=64x64:r=25:d=31 -c:v libx264 -preset ultrafast";
    clip(&ffmpeg, what, &source).await;
    let video = video(Rational::new(25, 1), TimeBase::new(1, 12_800));
    let (log, frames) = (dir.path().join("check.log"), 775);
    for codec in [Codec::H264, Codec::H265] {
        let rendition = rendition(codec);
        if !ffmpeg.has_encoder(&rendition.encoder) {
            eprintln!("NOT TESTED: {codec} is not in this ffmpeg");
            continue;
        }
        let path = dir.path().join(format!("{codec}.mp4"));
        let span = Span::Time {
            start_pts: 0,
            end_pts: None,
            before_pts: None,
            after_pts: None,
        };
        let outputs = vec![output(&rendition, 30_000, (64, 64), path.clone())];
        let mut args = args(&ffmpeg, &source, &video, (span, frames), outputs);
        if ffmpeg.has_loopback_decoder() {
            args.check = Some(FusedCheck {
                grade: Grade::Sample,
                logs: vec![log.clone()],
            });
        }
        encode(&ffmpeg, &args).await;
        let mut samples = read_chunk(&path).unwrap().samples;
        samples.sort_by_key(|sample| sample.pts);
        let keys: Vec<usize> = (0..samples.len()).filter(|i| samples[*i].key).collect();
        assert_eq!(keys, [0, 250, 500, 750], "{codec}");
        if ffmpeg.has_loopback_decoder() {
            let log = std::fs::read_to_string(&log).unwrap();
            verify::judge_log(&log, Grade::Sample, keys.len() as u64).unwrap();
        }
        let depth = verify::Depth::Sample { last_key_us: None };
        let decoded = verify::decode(&ffmpeg, &path, frames, depth).await.unwrap();
        assert_eq!(decoded.frames.len(), keys.len(), "{codec}");
        let all = verify::decode(&ffmpeg, &path, frames, verify::Depth::Full);
        let all = all.await.unwrap().frames;
        let wanted: Vec<u32> = keys.iter().map(|key| all[*key]).collect();
        assert_eq!(decoded.frames, wanted, "{codec}");
    }
}

#[tokio::test]
async fn the_loop_back_decoder_sees_a_wrong_picture_a_lost_frame_and_a_torn_file() {
    let Ok(ffmpeg) = toolchain::find(None) else {
        eprintln!("NOT TESTED: there is no ffmpeg here");
        return;
    };
    if !ffmpeg.has_loopback_decoder() {
        eprintln!(
            "NOT TESTED: {} has no loop-back decoder",
            ffmpeg.version_line()
        );
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("clip.mp4");
    clip(&ffmpeg, CLIP, &source).await;
    let video = video(Rational::new(25, 1), TimeBase::new(1, 12_800));
    let mut rendition = rendition(Codec::H264);
    rendition.gop = Some(10);
    let log = dir.path().join("check.log");
    let judged = async |grade, from: &str, to: &str| {
        // As coarse as it gets: even then the right picture is known again.
        let path = dir.path().join("chunk.mp4");
        let outputs = vec![output(&rendition, 51_000, (320, 180), path)];
        let wanted = (span(SPANS[0]), SPANS[0].1);
        let mut args = args(&ffmpeg, &source, &video, wanted, outputs);
        args.check = Some(FusedCheck {
            grade,
            logs: vec![log.clone()],
        });
        let list: Vec<OsString> = args
            .build()
            .unwrap()
            .iter()
            .map(|a| a.to_str().unwrap().replace(from, to).into())
            .collect();
        assert!(from == to || list != args.build().unwrap());
        run_list(&ffmpeg, list).await;
        let index = read_chunk(&dir.path().join("chunk.mp4")).unwrap();
        let all = grade == Grade::Full;
        let expected = index.samples.iter().filter(|s| all || s.key).count() as u64;
        let log = std::fs::read_to_string(&log).unwrap();
        verify::judge_log(&log, grade, expected)
    };
    judged(Grade::Full, "", "").await.unwrap();
    judged(Grade::Sample, "", "").await.unwrap();
    assert!(matches!(
        judged(Grade::Full, "[r0]scale", "[r0]negate,scale").await,
        Err(verify::Error::Unlike { frame: 0, .. })
    ));
    assert!(matches!(
        judged(
            Grade::Full,
            "[dec:0]scale",
            "[dec:0]trim=end_frame=29,scale"
        )
        .await,
        Err(verify::Error::Count { .. })
    ));
    // A key frame that does not come out.
    assert!(matches!(
        judged(
            Grade::Sample,
            "[dec:0]scale",
            "[dec:0]trim=end_frame=2,scale"
        )
        .await,
        Err(verify::Error::Count {
            expected: 3,
            found: 2
        })
    ));
    let chunk = dir.path().join("chunk.mp4");
    let index = read_chunk(&chunk).unwrap();
    check_units(&chunk, &index).unwrap();
    let last = index.samples.last().unwrap();
    let mut bytes = std::fs::read(&chunk).unwrap();
    bytes[last.offset as usize..(last.offset + u64::from(last.size)) as usize].fill(0);
    std::fs::write(&chunk, bytes).unwrap();
    assert!(check_units(&chunk, &index).is_err());
}

#[tokio::test]
async fn scores_of_segments_equal_those_of_one_run_over_the_whole() {
    let Ok(ffmpeg) = toolchain::find(None) else {
        eprintln!("NOT TESTED: there is no ffmpeg here");
        return;
    };
    if !ffmpeg.has_loopback_decoder() || ffmpeg.require_vmaf().is_err() {
        eprintln!(
            "NOT TESTED: {} cannot score in the process that encodes",
            ffmpeg.version_line()
        );
        return;
    }
    const METRICS: [Metric; 4] = [Metric::Vmaf, Metric::Psnr, Metric::Ssim, Metric::MsSsim];
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("clip.mp4");
    clip(&ffmpeg, CLIP, &source).await;
    let video = video(Rational::new(25, 1), TimeBase::new(1, 12_800));
    let renditions = [rendition(Codec::H264), rendition(Codec::H265)];
    let sizes = [(320, 180), (256, 192)];
    let mut merged = [FrameScores::default(), FrameScores::default()];
    let mut lists = [String::new(), String::new()];
    for (segment, (first, count)) in SPANS.into_iter().enumerate() {
        let logs = [0, 1].map(|i| dir.path().join(format!("{segment}, {i}: it's.json")));
        let path = |i| dir.path().join(format!("{segment}-{i}.mp4"));
        let outputs = renditions.iter().enumerate();
        let outputs = outputs.map(|(i, r)| output(r, 40_000, sizes[i], path(i)));
        let wanted = (span((first, count)), count);
        let mut args = args(&ffmpeg, &source, &video, wanted, outputs.collect());
        args.score = Some(FusedScore {
            metrics: METRICS.to_vec(),
            logs: logs.to_vec(),
        });
        encode(&ffmpeg, &args).await;
        let (before, after) = args.span.neighbours();
        for i in 0..2 {
            let log = std::fs::read_to_string(&logs[i]).unwrap();
            let part = score::parse_log(&log, &METRICS, count as usize, before, after).unwrap();
            merged[i] = score::merge(
                [std::mem::take(&mut merged[i]), part]
                    .into_iter()
                    .filter(|p| p.frames() > 0),
            )
            .unwrap();
            lists[i] += &format!("file '{segment}-{i}.mp4'\n");
        }
    }
    for i in 0..2 {
        // Whole file: the Chunks' packets one after another, scored in one run without context.
        let list = dir.path().join(format!("list{i}"));
        std::fs::write(&list, &lists[i]).unwrap();
        let whole = dir.path().join(format!("whole{i}.mkv"));
        let mut join: Vec<OsString> = ["-y", "-f", "concat", "-safe", "0", "-i"]
            .map(Into::into)
            .into();
        join.extend([
            list.into(),
            "-c".into(),
            "copy".into(),
            whole.clone().into(),
        ]);
        run::run(&ffmpeg, Invocation::new(join)).await.unwrap();
        let side = |path: &Path| score::Side {
            path: path.to_owned(),
            demuxer: None,
            start_pts: None,
            end_pts: None,
        };
        let args = score::ScoreArgs {
            distorted: side(&whole),
            reference: side(&source),
            size: sizes[i],
            pix_fmt: Some("yuv420p".to_owned()),
            context: (false, false),
            metrics: METRICS.to_vec(),
            log: dir.path().join("whole.json"),
        };
        run::run(&ffmpeg, Invocation::new(args.build()))
            .await
            .unwrap();
        let log = std::fs::read_to_string(&args.log).unwrap();
        let truth = score::parse_log(&log, &METRICS, 50, false, false).unwrap();
        assert_eq!(merged[i], truth, "output {i}");
    }
}
