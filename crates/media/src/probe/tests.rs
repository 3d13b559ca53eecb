use super::*;
use std::path::PathBuf;

/// The builds to try: the one that would be used, and the one on PATH where that is another.
fn builds() -> Vec<Ffmpeg> {
    let mut all: Vec<Ffmpeg> = crate::toolchain::find(None).into_iter().collect();
    let on_path = std::env::var_os("PATH").into_iter().flat_map(|path| {
        std::env::split_paths(&path)
            .map(|dir| dir.join("ffmpeg"))
            .filter(|f| f.is_file())
            .collect::<Vec<PathBuf>>()
    });
    for path in on_path {
        if let Ok(found) = crate::toolchain::open(&path, None)
            && all.iter().all(|f| f.path != found.path)
        {
            all.push(found);
        }
    }
    if all.is_empty() {
        eprintln!("NOT TESTED: there is no ffmpeg here");
    }
    all
}

async fn make(ffmpeg: &Ffmpeg, args: &str, out: &Path) {
    let mut args: Vec<std::ffi::OsString> = args.split(' ').map(Into::into).collect();
    args.push(out.into());
    run::run(ffmpeg, Invocation::new(args)).await.unwrap();
}

const CLIP: &str = "-y -f lavfi -i testsrc2=s=320x180:r=25:d=2 -f lavfi -i sine=d=2 -metadata title=Test -c:v mpeg2video -g 12 -bf 2 -c:a mp2 -shortest";

#[tokio::test]
async fn a_clip_is_described_by_every_build() {
    for ffmpeg in builds() {
        let dir = tempfile::tempdir().unwrap();
        let clip = dir.path().join("clip.mkv");
        make(&ffmpeg, CLIP, &clip).await;
        let prelude = prelude(&ffmpeg, &clip).await.unwrap();
        assert_eq!(prelude.banner.format, "matroska,webm");
        assert_eq!(prelude.banner.tags["title"], "Test");
        assert_eq!(prelude.banner.tracks.len(), 2);
        let picture = prelude.picture.unwrap();
        assert_eq!((picture.width, picture.height), (320, 180));
        assert_eq!(
            (picture.codec.as_str(), picture.pix_fmt.as_str()),
            ("mpeg2video", "yuv420p")
        );
        assert_eq!(picture.frame_rate, Rational::new(25, 1));
        assert_eq!(
            (picture.interlaced_top_first, picture.hdr10_plus),
            (None, false)
        );
    }
}

#[tokio::test]
async fn scanning_rewrapping_and_decoding_agree_on_the_frames() {
    for ffmpeg in builds() {
        let dir = tempfile::tempdir().unwrap();
        let clip = dir.path().join("clip.ts");
        make(&ffmpeg, CLIP, &clip).await;
        let picture = prelude(&ffmpeg, &clip).await.unwrap().picture.unwrap();
        let (base, packets, _) = scan_packets(&ffmpeg, &clip, picture.track, |_| {})
            .await
            .unwrap();
        assert!(are_sane(&packets) && packets.len() == 50);
        assert_eq!((base, picture.time_base), (TimeBase::new(1, 90_000), base));
        let deep_original = deep(&ffmpeg, &clip, picture.track, base, 1, |_| {})
            .await
            .unwrap()
            .table;
        assert_eq!(deep_original.rows.len(), 50);
        let mut shown: Vec<i64> = packets.iter().filter_map(|p| p.pts).collect();
        shown.sort_unstable();
        assert_eq!(
            deep_original.rows.iter().map(|r| r.pts).collect::<Vec<_>>(),
            shown
        );
        let copy = dir
            .path()
            .join("copy")
            .with_extension(rewrap_ending(&picture.codec));
        rewrap(&ffmpeg, &clip, picture.track, &copy, |_| {})
            .await
            .unwrap();
        let deep_copy = deep(&ffmpeg, &copy, 0, base, 1, |_| {})
            .await
            .unwrap()
            .table;
        let signatures = |t: &FrameTable| t.rows.iter().map(|r| r.signature).collect::<Vec<_>>();
        assert_eq!(signatures(&deep_copy), signatures(&deep_original));
        let first = deep_original.rows[0].pts - deep_copy.rows[0].pts;
        assert!(
            deep_original
                .rows
                .iter()
                .zip(&deep_copy.rows)
                .all(|(a, b)| a.pts - b.pts == first)
        );
    }
}

#[tokio::test]
async fn what_cannot_be_probed_is_told_apart() {
    for ffmpeg in builds() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("text.mp4");
        std::fs::write(&text, "this is no video at all\n").unwrap();
        let error = prelude(&ffmpeg, &text).await.unwrap_err();
        assert!(matches!(error, Error::CannotOpen { .. }), "{error}");
        assert_eq!(error.failure().class, FailureClass::BadInput);
        let sound = dir.path().join("sound.mp4");
        make(&ffmpeg, "-y -f lavfi -i sine=d=1 -c:a aac", &sound).await;
        assert_eq!(prelude(&ffmpeg, &sound).await.unwrap().picture, None);
        let cover = dir.path().join("cover.m4a");
        make(
            &ffmpeg,
            "-y -f lavfi -i sine=d=1 -f lavfi -i testsrc2=s=64x64:r=1:d=1 -map 0 -map 1 -c:a aac -c:v mjpeg \
             -disposition:v attached_pic -f mp4",
            &cover,
        )
        .await;
        let prelude = prelude(&ffmpeg, &cover).await.unwrap();
        assert!(prelude.banner.tracks.iter().any(|t| t.attached_pic));
        assert_eq!(prelude.picture, None, "a cover is no moving picture");
    }
}

#[tokio::test]
async fn sound_of_which_no_copy_would_play_is_marked() {
    const VIDEO: &str = "-y -f lavfi -i testsrc2=s=64x64:r=25";
    for ffmpeg in builds() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let marked = async |file: &Path| {
            let mut tracks = prelude(&ffmpeg, file).await.unwrap().banner.tracks;
            mark_damage(&ffmpeg, file, "mpegts", &mut tracks)
                .await
                .unwrap();
            let sound = tracks.iter().find(|t| t.kind == TrackKind::Audio).unwrap();
            (sound.sample_rate.is_some(), sound.damaged)
        };
        for (name, channels) in [("one.ts", 1), ("six.ts", 6)] {
            let args =
                format!("{VIDEO}:d=2 -f lavfi -i sine=d=2 -c:v mpeg2video -c:a aac -ac {channels}");
            make(&ffmpeg, &args, &path(name)).await;
        }
        let mut both = std::fs::read(path("one.ts")).unwrap();
        both.extend(std::fs::read(path("six.ts")).unwrap());
        std::fs::write(path("both.ts"), both).unwrap();
        assert_eq!(marked(&path("one.ts")).await, (true, false));
        assert_eq!(marked(&path("both.ts")).await, (true, true));
        // Announced at once, heard much later.
        let args = format!(
            "{VIDEO}:d=24 -itsoffset 14 -f lavfi -i sine=d=6 -c:v mpeg2video -b:v 3M -minrate 3M -maxrate 3M -bufsize 1M -c:a aac"
        );
        make(&ffmpeg, &args, &path("late.ts")).await;
        assert_eq!(marked(&path("late.ts")).await, (false, true));
        let (_, packets, _) = scan_packets(&ffmpeg, &path("late.ts"), 0, |_| {})
            .await
            .unwrap();
        assert_eq!(packets.len(), 600);
    }
}

#[test]
fn times_that_repeat_or_are_missing_are_nudged() {
    let mut rows = Rows::default();
    for pts in [Some(-5), Some(-5), None, Some(-6), Some(10)] {
        rows.push(pts, 7, 1);
    }
    let table = rows.table(TimeBase::new(1, 1000));
    let pts: Vec<i64> = table.rows.iter().map(|r| r.pts).collect();
    assert_eq!((pts, table.last_duration), (vec![-5, -4, -3, -2, 10], 7));
    assert!(table.rows[0].key && !table.rows[1].key);
}

#[test]
fn the_container_and_the_frames_are_put_together() {
    let log = include_str!("../parse/fixtures/phone-9.txt");
    let picture = picture(&Banner::parse(log).unwrap(), &Shown::parse(log).unwrap());
    assert_eq!(picture.dolby_vision_profile, Some(8));
    assert_eq!((picture.width, picture.height), (1080, 1920));
    assert_eq!(picture.codec, "hevc");
    assert!(!picture.hdr10_plus && !picture.hdr10_static && !picture.captions && !picture.alpha);
}

#[test]
fn plain_threads_are_those_ffmpeg_gives_itself() {
    let counts = [(1, 1080), (2, 1080), (2, 16), (8, 64), (64, 2160)];
    let given = counts.map(|(cores, height)| plain_threads(cores, height));
    assert_eq!(given, [1, 3, 1, 5, 16]);
}
