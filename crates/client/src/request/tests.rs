use super::*;
use crate::flags::{Cli, Command};
use clap::Parser as _;
use recode_types::rendition::Scale;
use recode_types::{RateControl, SegmentLength};

fn request(line: &str) -> Result<JobRequest, String> {
    let words = ["recode-client", "transcode"];
    let cli = Cli::try_parse_from(words.into_iter().chain(line.split_whitespace()))
        .map_err(|e| e.to_string())?;
    let Command::Transcode(t) = cli.command else {
        unreachable!("transcode was asked for");
    };
    let cwd = Path::new("/w");
    let source = Place::parse(
        t.input.as_deref().expect("an input is in the line"),
        cwd,
        Use::Read,
    )
    .map_err(|f| f.message)?;
    build(&source, &t.recipe.work, &[t.recipe.output], cwd).map_err(|f| f.message)
}

fn refused(line: &str, part: &str) {
    match request(line) {
        Ok(request) => panic!("{line} was taken: {request:?}"),
        Err(message) => {
            assert!(message.contains(part), "{line}: {message}");
            assert!(
                !message.ends_with('.') && !message.contains('\n'),
                "{message}"
            );
        }
    }
}

#[test]
fn plain_flags_get_the_usual_values() {
    let r = request("in.mp4 -o out.mkv").unwrap();
    assert_eq!(r.source, "file:///w/in.mp4");
    let o = &r.outputs[0];
    assert_eq!(
        (o.url.as_str(), o.container),
        ("file:///w/out.mkv", Container::Mkv)
    );
    assert_eq!(
        (o.rendition.codec, o.rendition.encoder.as_str()),
        (Codec::H264, "libx264")
    );
    assert_eq!(o.rendition.rate, None);
    assert_eq!(
        request("in.mp4 -o a.webm").unwrap().outputs[0]
            .rendition
            .codec,
        Codec::Vp9
    );
}

#[test]
fn quantities_arrive_in_their_units() {
    let r = request(
        "in.mp4 -o o.mp4 --bitrate 4M --maxrate 6M --bufsize 8M --start 1:30 --duration 90s --segment 2s \
         --scale 1280x720 --fps 29.97 --audio-codec aac --audio-bitrate 128k --score psnr,vmaf",
    )
    .unwrap();
    let v = &r.outputs[0].rendition;
    assert_eq!(v.rate, Some(RateControl::Bitrate(4_000_000)));
    assert_eq!(v.peak.unwrap().bufsize_bits, 8_000_000);
    assert_eq!(
        v.scale,
        Scale::Fit {
            width: 1280,
            height: 720
        }
    );
    assert_eq!(r.start_us, Some(90_000_000));
    assert_eq!(r.segment, SegmentLength::Millis(2000));
    assert_eq!(r.score.len(), 2);
    let r = request("in.mp4 -o o.mp4").unwrap();
    assert_eq!(r.segment, SegmentLength::Usual);
    let r = request("in.mp4 -o o.mp4 --spread").unwrap();
    assert_eq!(r.segment, SegmentLength::Spread);
    let r = request("in.mp4 -o o.mp4 --scale 720x576 --stretch").unwrap();
    assert_eq!(
        r.outputs[0].rendition.scale,
        Scale::Exact {
            width: 720,
            height: 576
        }
    );
}

#[test]
fn contradictions_are_refused_with_the_remedy() {
    for (line, part) in [
        (
            "i.mp4 -o o.mp4 --crf 20 --bitrate 4M",
            "--crf and --bitrate contradict",
        ),
        (
            "i.mp4 -o o.mp4 --crf 20 --size 7MB",
            "--crf and --size contradict",
        ),
        (
            "i.mp4 -o o.mp4 --bitrate 4M --size 7MB",
            "--bitrate and --size contradict",
        ),
        ("i.mp4 -o o.mp4 --bitrate 4000", "4000k"),
        ("i.mp4 -o o.mp4 --maxrate 4M", "needs --bufsize"),
        ("i.mp4 -o o.mp4 --bufsize 4M", "needs --maxrate"),
        (
            "i.mp4 -o o.mp4 --bitrate 4M --maxrate 2M --bufsize 4M",
            "lies below",
        ),
        ("i.mp4 -o o.mp4 --crf 60", "from 0 (best) to 51"),
        ("i.mp4 -o o.avi", ".mp4, .mov, .mkv, .webm or .ts"),
        ("i.mp4 -o o", ".mp4, .mov"),
        ("i.mp4", "add -o OUTPUT"),
        (
            "i.mp4 -o o.webm --codec h264",
            "webm cannot hold h264; name the output .mp4, .mov, .mkv or .ts",
        ),
        ("i.mp4 -o o.mp4 --codec prores", ".mov or .mkv"),
        (
            "i.mp4 -o o.mp4 --codec h265 --encoder libx264",
            "makes h264, not h265",
        ),
        ("i.mp4 -o o.mp4 --encoder magic", "libx264, libx265"),
        ("i.mp4 -o o.webm --audio-codec aac", "--audio-codec opus"),
        (
            "i.mp4 -o o.mp4 --audio-codec copy --audio-bitrate 128k",
            "leave one of them out",
        ),
        ("i.mp4 -o o.mp4 --audio-bitrate 128k", "needs --audio-codec"),
        (
            "i.mp4 -o o.mp4 --audio-codec aac --audio-bitrate 128",
            "out of range",
        ),
        ("i.mp4 -o i.mp4", "both input and output"),
        ("i.mp4 -o ./i.mp4", "both input and output"),
        ("i.mp4 -o o.mp4 --scale 721p", "720 or 722"),
        ("i.mp4 -o o.mp4 --scale 1281x720 --stretch", "1280 or 1282"),
        ("i.mp4 -o o.mp4 --scale 100000x100000", "2 to 16384"),
        ("i.mp4 -o o.mp4 --scale 0p", "2 to 16384"),
        ("i.mp4 -o o.mp4 --stretch", "--stretch needs --scale"),
        ("i.mp4 -o o.mp4 --gop 0", "at least 1"),
        (
            "i.mp4 -o o.mp4 --codec copy --crf 20",
            "no effect with --codec copy",
        ),
        (
            "i.mp4 -o o.mp4 --codec copy --score vmaf",
            "nothing to measure",
        ),
        (
            "i.mp4 -o o.mov --codec prores --bitrate 4M",
            "--encoder-profile",
        ),
        ("i.mp4 -o o.mp4 --start -5", "before the beginning"),
        ("i.mp4 -o o.mp4 --duration 0", "longer than nothing"),
        (
            "i.mp4 -o o.mp4 --segment 10s --spread",
            "--segment and --spread contradict",
        ),
        ("i.mp4 -o o.mp4 --segment 1ms", "at least 100ms"),
        ("i.mp4 -o o.mp4 --size 10", "too small"),
        ("i.mp4 -o o.mp4 --preset a:b=c", "one plain word"),
        ("i.mp4 -o http://h/o.mp4", "read-only"),
    ] {
        refused(line, part);
    }
}
