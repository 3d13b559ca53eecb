use super::*;
use crate::args::encode::tests::{rendition, video};
use crate::args::list::shown;
use crate::args::whole::WholeArgs;
use crate::args::{copy, encoder};
use recode_types::rendition::AudioCodec;
use recode_types::request::{TrackChoice, TrackSelection};
use recode_types::source::{ReadMode, SourceIdentity, VideoFacts};
use std::collections::BTreeMap;

pub(crate) fn track(index: u32, kind: TrackKind, codec: &str) -> Track {
    Track {
        index,
        kind,
        codec: codec.to_owned(),
        description: String::new(),
        language: None,
        title: None,
        dispositions: Vec::new(),
        attached_pic: false,
        size: (kind == TrackKind::Video).then_some((1280, 720)),
        sample_rate: (kind == TrackKind::Audio).then_some(48_000),
        channel_layout: None,
        tags: BTreeMap::new(),
        damaged: false,
        resets: false,
        trim: recode_types::Trim::Whole,
    }
}

fn facts(format: &str, tracks: Vec<Track>) -> SourceFacts {
    let main = tracks
        .iter()
        .find(|t| t.kind == TrackKind::Video && !t.attached_pic);
    SourceFacts {
        identity: SourceIdentity {
            url: "file:///in".to_owned(),
            size_bytes: 1,
            version: "1-1".to_owned(),
        },
        format: format.to_owned(),
        start_us: 0,
        duration_us: None,
        chapters: 0,
        tags: BTreeMap::new(),
        video: main.map(|t| VideoFacts {
            track: t.index,
            ..video()
        }),
        tracks,
        read_mode: ReadMode::Clip,
        deep: false,
        decode_threads: 1,
        rows_estimated: false,
        table: None,
        index: None,
        rewrapped: None,
        index_digest: None,
        ffmpeg: String::new(),
        warnings: Vec::new(),
    }
}

fn output(container: Container) -> OutputRequest {
    OutputRequest {
        url: format!("file:///out.{container}"),
        container,
        rendition: rendition(Codec::H264),
        audio_codec: None,
        audio_bitrate_bps: None,
        tracks: TrackSelection::All,
    }
}

fn inputs(out: &Path) -> MuxInputs<'_> {
    MuxInputs {
        source: Some(SourceFile::whole("/in")),
        video: VideoInput::Pipe,
        video_offset_us: 0,
        audio: None,
        whole: Vec::new(),
        covers: Vec::new(),
        cut: Cut::default(),
        out,
        sent: false,
    }
}

fn planned(facts: &SourceFacts, output: &OutputRequest, inputs: &MuxInputs<'_>) -> String {
    let plan = plan(facts, output, inputs);
    assert_eq!(plan.warnings, Vec::<String>::new());
    shown(&plan.args)
}

#[test]
fn copied_sound_keeps_its_place_and_the_video_keeps_its_offset() {
    let facts = facts(
        "mov,mp4,m4a,3gp,3g2,mj2",
        vec![
            track(0, TrackKind::Audio, "aac"),
            track(1, TrackKind::Video, "h264"),
        ],
    );
    let mut inputs = inputs(Path::new("/out.part"));
    inputs.video_offset_us = 44_000;
    assert_eq!(
        planned(&facts, &output(Container::Mp4), &inputs),
        "-loglevel level+warning -y -itsoffset 44000us -f mp4 -i pipe:0 -f mov -i file:/in \
         -map 1:0 -map 0:0 -c:0 copy -map_metadata:s:0 1:s:0 \
         -c:1 copy -map_metadata:s:1 1:s:1 -metadata:s:1 encoder=libx264 \
         -disposition:0 0 -disposition:1 0 -map_metadata:g 1:g -map_chapters 1 -movflags +faststart \
         -movie_timescale 90000 -max_muxing_queue_size 16384 -strict -2 -fflags +bitexact -f mp4 file:/out.part"
    );
}

#[test]
fn encoded_files_say_themselves_when_they_start() {
    let facts = facts(
        "matroska,webm",
        vec![
            track(0, TrackKind::Video, "vp9"),
            track(1, TrackKind::Audio, "vorbis"),
            track(2, TrackKind::Video, "vp9"),
            track(3, TrackKind::Audio, "opus"),
        ],
    );
    let mut inputs = inputs(Path::new("/o"));
    inputs.audio = Some(("/a.mp4".into(), vec![1]));
    inputs.whole = vec![(2, "/w.mp4".into())];
    let text = planned(&facts, &output(Container::Mp4), &inputs);
    for part in [
        "-i file:/in -seek_timestamp 1 -f mp4 -i file:/a.mp4 -seek_timestamp 1 -f mp4 -i file:/w.mp4",
        "-map 0:0 -map 2:0 -map 3:0 -map 1:3",
        // Two of a kind and none marked: the first is the default one.
        "-disposition:0 default -disposition:1 default -disposition:2 0 -disposition:3 0",
    ] {
        assert!(text.contains(part), "no \"{part}\" in {text}");
    }
}

/// Seen with FFmpeg 5.1 and 9: a converted text of before the start moved the pictures, and chapters made the Output longer.
#[test]
fn texts_and_chapters_of_a_part_are_those_of_the_part() {
    let facts = facts(
        "mov,mp4,m4a,3gp,3g2,mj2",
        vec![
            track(0, TrackKind::Video, "h264"),
            track(1, TrackKind::Subtitle, "mov_text"),
        ],
    );
    let mut inputs = inputs(Path::new("/o"));
    inputs.cut = Cut {
        start_us: Some(2_000_000),
        duration_us: Some(500_000),
    };
    let converted = planned(&facts, &output(Container::Mkv), &inputs);
    assert!(
        converted.contains("-bsf:1 noise=drop='lt(pts,0)'"),
        "{converted}"
    );
    assert!(
        converted.contains("-map_chapters 1 -t 500000us"),
        "{converted}"
    );
    let copied = planned(&facts, &output(Container::Mp4), &inputs);
    assert!(copied.contains("-copypriorss:1 0"), "{copied}");
    assert!(!copied.contains("-bsf"), "{copied}");
    inputs.cut = Cut::default();
    let whole = planned(&facts, &output(Container::Mkv), &inputs);
    assert!(!whole.contains("-bsf") && !whole.contains("-t "), "{whole}");
}

#[test]
fn a_source_with_a_loose_clock_is_used_whole_and_moved() {
    let facts = facts(
        "mpegts",
        vec![
            track(0, TrackKind::Video, "h264"),
            track(1, TrackKind::Audio, "mp2"),
            track(2, TrackKind::Data, "none"),
        ],
    );
    let mut inputs = inputs(Path::new("/o"));
    inputs.audio = Some(("/a.mp4".into(), vec![1]));
    inputs.cut = Cut {
        start_us: Some(2_000_000),
        duration_us: Some(500_000),
    };
    inputs.video_offset_us = 10;
    let plan = plan(&facts, &output(Container::Mp4), &inputs);
    let text = shown(&plan.args);
    for part in [
        "-itsoffset 10us -f mp4 -i pipe:0 -itsoffset -2000000us -fflags +genpts -t 500000us -f mpegts -i file:/in \
         -seek_timestamp 1 -f mp4 -i file:/a.mp4",
        "-copypriorss:0 1",
        "-f mp4 file:/o -map 1:u -map -1:d? -map -1:t? -c copy -f null -",
    ] {
        assert!(text.contains(part), "no \"{part}\" in {text}");
    }
    assert!(!text.contains("-ss "), "it would drop pictures: {text}");
    assert_eq!(
        plan.warnings,
        ["data track 2 (none) is left out: mp4 has no place for it"]
    );
    let sound = audio::args(
        &facts,
        &output(Container::Mp4),
        &[1],
        inputs.cut,
        Path::new("/in"),
        Path::new("/a.mp4"),
    );
    assert_eq!(
        shown(&sound),
        "-loglevel level+warning -y -fflags +genpts -t 2500000us -f mpegts -i file:/in -map 0:1 -c:0 aac \
         -map_metadata -1 -map_chapters -1 -ss 2000000us -strict -2 -fflags +bitexact -movie_timescale 1000000 -f mp4 file:/a.mp4 \
         -map 0:u -map -0:d? -map -0:t? -c copy -f null -"
    );
}

#[test]
fn nothing_is_shown_before_the_beginning() {
    let facts = facts(
        "mpegts",
        vec![
            track(0, TrackKind::Video, "h264"),
            track(1, TrackKind::Audio, "mp2"),
        ],
    );
    let mut inputs = inputs(Path::new("/o"));
    inputs.audio = Some(("/a.mp4".into(), vec![1]));
    inputs.video_offset_us = -26_122;
    inputs.cut.duration_us = Some(500_000);
    let text = shown(&plan(&facts, &output(Container::Mp4), &inputs).args);
    for part in [
        "-y -f mp4 -i pipe:0 -itsoffset 26122us -fflags +genpts -t 500000us -f mpegts -i file:/in \
         -itsoffset 26122us -seek_timestamp 1 -f mp4 -i file:/a.mp4",
        "-t 526122us -movflags",
    ] {
        assert!(text.contains(part), "no \"{part}\" in {text}");
    }
}

#[test]
fn an_indexed_source_is_sought_in_and_sound_before_the_start_is_dropped() {
    let facts = facts(
        "matroska,webm",
        vec![
            track(0, TrackKind::Video, "h264"),
            track(1, TrackKind::Audio, "aac"),
        ],
    );
    let mut inputs = inputs(Path::new("/o"));
    inputs.cut.start_us = Some(1_500_000);
    let text = planned(&facts, &output(Container::Mkv), &inputs);
    assert!(text.contains("-i pipe:0 -ss 1500000us -f matroska -i file:/in"));
    assert!(text.contains("-c:1 copy -copypriorss:1 0"));
    assert!(!text.contains("-f null"));
}

#[test]
fn only_chosen_tracks_travel_and_what_cannot_is_named() {
    let mut german = track(2, TrackKind::Audio, "aac");
    german.language = Some("ger".to_owned());
    let mut facts = facts(
        "matroska,webm",
        vec![
            track(0, TrackKind::Video, "h264"),
            track(1, TrackKind::Audio, "aac"),
            german,
            track(3, TrackKind::Subtitle, "hdmv_pgs_subtitle"),
            track(4, TrackKind::Subtitle, "subrip"),
        ],
    );
    facts.chapters = 2;
    let out = PathBuf::from("/o");
    let all = plan(&facts, &output(Container::Ts), &inputs(&out));
    assert_eq!(
        all.warnings,
        [
            "subtitle track 3 (hdmv_pgs_subtitle) is left out: ts has no place for bitmap subtitles",
            "subtitle track 4 (subrip) is left out: ts has no place for it",
            "the chapters are left out: ts has no place for them",
        ]
    );
    let mut wish = output(Container::Mp4);
    wish.tracks = TrackSelection::Only(vec![
        TrackChoice {
            language: Some("ger".to_owned()),
            ..TrackChoice::default()
        },
        TrackChoice {
            kind: Some(TrackKind::Subtitle),
            number: Some(1),
            language: None,
        },
    ]);
    let text = planned(&facts, &wish, &inputs(&out));
    assert!(text.contains("-map 0:0 -map 1:2 -map 1:4 -c:0"), "{text}");
    assert!(text.contains("-c:2 mov_text"), "{text}");
    wish.audio_codec = Some(AudioCodec::None);
    wish.tracks = TrackSelection::All;
    let silent = shown(&plan(&facts, &wish, &inputs(&out)).args);
    assert!(silent.contains("-map 0:0 -map 1:4 -c:0"), "{silent}");
}

#[test]
fn covers_become_attached_files_in_matroska_only() {
    let mut cover = track(1, TrackKind::Video, "png");
    cover.attached_pic = true;
    cover.tags.insert("filename".into(), "bird.png".into());
    let facts = facts(
        "matroska,webm",
        vec![track(0, TrackKind::Video, "h264"), cover],
    );
    let mkv = output(Container::Mkv);
    let found = covers(&facts, &mkv, Path::new("/s"));
    assert_eq!(
        shown(&found[0].args(&facts, &SourceFile::whole("/in"))),
        "-loglevel level+warning -y -f matroska -i file:/in -map 0:1 -c copy -frames:v 1 -f data file:/s/cover-1"
    );
    let mut inputs = inputs(Path::new("/o"));
    inputs.covers = found;
    let text = planned(&facts, &mkv, &inputs);
    assert!(text.contains(
        "-map 0:0 -attach file:/s/cover-1 -metadata:s:1 filename=bird.png -metadata:s:1 mimetype=image/png"
    ));
    let mp4 = output(Container::Mp4);
    assert_eq!(covers(&facts, &mp4, Path::new("/s")), []);
    inputs.covers.clear();
    let text = planned(&facts, &mp4, &inputs);
    assert!(text.contains("-disposition:1 attached_pic"), "{text}");
}

#[test]
fn what_was_measured_on_the_source_is_not_said_of_new_pictures() {
    let mut main = track(0, TrackKind::Video, "vp9");
    for (key, value) in [("BPS-eng", "12"), ("alpha_mode", "1"), ("title", "x")] {
        main.tags.insert(key.into(), value.into());
    }
    main.dispositions = vec!["default".into(), "hearing impaired".into(), "odd".into()];
    let mut facts = facts("matroska,webm", vec![main]);
    facts.tags.insert("major_brand".into(), "isom".into());
    let out = PathBuf::from("/o");
    let text = planned(&facts, &output(Container::Mkv), &inputs(&out));
    assert!(
        text.contains("-metadata:s:0 BPS-eng= -metadata:s:0 alpha_mode= -metadata:s:0 encoder")
    );
    assert!(text.contains("-disposition:0 default+hearing_impaired "));
    assert!(text.contains("-metadata major_brand= "));
    // Without the Source, its tags are given one by one.
    let mut inputs = inputs(&out);
    inputs.source = None;
    let text = planned(&facts, &output(Container::Mkv), &inputs);
    assert!(text.contains("-metadata:s:0 title=x"), "{text}");
}

#[test]
fn a_remnant_of_the_source_is_addressed_by_its_own_numbers() {
    let facts = facts(
        "matroska,webm",
        vec![
            track(0, TrackKind::Video, "h264"),
            track(1, TrackKind::Audio, "aac"),
            track(2, TrackKind::Subtitle, "ass"),
        ],
    );
    let mut inputs = inputs(Path::new("/o"));
    inputs.source = Some(SourceFile {
        path: "/rest.mkv".into(),
        holds: Some(vec![2, 1]),
    });
    let text = planned(&facts, &output(Container::Mkv), &inputs);
    assert!(text.contains("-map 0:0 -map 1:1 -map 1:0"), "{text}");
    assert!(text.contains("-c:1 copy -map_metadata:s:1 1:s:1"), "{text}");
}

#[test]
fn a_copy_job_takes_the_pictures_from_the_source() {
    let facts = facts(
        "mov,mp4,m4a,3gp,3g2,mj2",
        vec![
            track(0, TrackKind::Video, "h264"),
            track(1, TrackKind::Audio, "aac"),
        ],
    );
    let mut wish = output(Container::Mkv);
    wish.rendition.codec = Codec::Copy;
    let (source, out) = (Path::new("/in"), Path::new("/o"));
    let copied =
        |facts: &_| copy::plan(facts, &wish, Cut::default(), source, Vec::new(), out, false);
    let plan = copied(&facts);
    let text = shown(&plan.args);
    assert!(
        text.contains("-f mov -i file:/in -map 0:0 -map 0:1 -c:0 copy"),
        "{text}"
    );
    assert!(!text.contains("encoder="), "{text}");
    assert_eq!(plan.video, Some(0));
    let cover = Track {
        attached_pic: true,
        ..track(1, TrackKind::Video, "mjpeg")
    };
    let mut facts = super::tests::facts("mov", vec![track(0, TrackKind::Audio, "aac"), cover]);
    assert_eq!(copied(&facts).video, None, "a cover is no film");
    facts.tracks.push(track(2, TrackKind::Video, "h264"));
    let place = copied(&facts).video;
    // The cover is a file of its own in Matroska, and was not given here.
    assert_eq!(place, Some(2));
}

#[test]
fn opus_gets_a_layout_it_takes_and_bitrates_go_to_lossy_codecs() {
    let facts = facts("mpegts", vec![track(0, TrackKind::Audio, "ac3")]);
    let mut wish = output(Container::Mkv);
    wish.audio_bitrate_bps = Some(96_000);
    let built = |wish: &OutputRequest| {
        let (source, out) = (Path::new("/in"), Path::new("/o"));
        shown(&audio::args(
            &facts,
            wish,
            &[0],
            Cut::default(),
            source,
            out,
        ))
    };
    wish.audio_codec = Some(AudioCodec::Opus);
    assert!(built(&wish).contains(
        "-c:0 libopus -filter:0 aformat=channel_layouts=mono|stereo|3.0|quad|5.0|5.1|6.1|7.1 -b:0 96000"
    ));
    wish.audio_codec = Some(AudioCodec::Flac);
    assert!(!built(&wish).contains("-b:0"));
}

#[test]
fn a_further_track_keeps_its_own_size_and_rate() -> Result<(), encoder::Error> {
    let mut second = track(3, TrackKind::Video, "h264");
    second.description = "(High), yuv420p, 480x270, 29.97 fps, 29.97 tbr".to_owned();
    let facts = facts(
        "mov,mp4,m4a,3gp,3g2,mj2",
        vec![track(0, TrackKind::Video, "h264"), second],
    );
    let output = output(Container::Mp4);
    let args = WholeArgs {
        facts: &facts,
        output: &output,
        track: 3,
        cut: Cut::default(),
        major: 9,
        source: Path::new("/in"),
        out: Path::new("/o.mp4"),
    };
    let text = shown(&args.build()?);
    for part in [
        "-map 0:3 -vf scale=trunc(iw/2)*2:trunc(ih/2)*2 -c:v libx264",
        "fps=30000/1001",
        "-fps_mode passthrough -enc_time_base 1:90000",
    ] {
        assert!(text.contains(part), "no \"{part}\" in {text}");
    }
    Ok(())
}

#[test]
fn titles_of_tracks_reach_players_old_and_new() {
    let mut main = track(0, TrackKind::Video, "vp9");
    main.title = Some("From above".into());
    main.tags.insert("name".into(), "From above".into());
    let facts = facts("mov,mp4,m4a,3gp,3g2,mj2", vec![main]);
    let out = PathBuf::from("/o");
    let in_mp4 = planned(&facts, &output(Container::Mp4), &inputs(&out));
    assert!(
        in_mp4.contains("title=From above -metadata:s:0 handler_name=From above"),
        "{in_mp4}"
    );
    let in_mkv = planned(&facts, &output(Container::Mkv), &inputs(&out));
    assert!(
        in_mkv.contains("title=From above") && !in_mkv.contains("handler_name"),
        "{in_mkv}"
    );
}
