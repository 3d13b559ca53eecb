use super::*;
use crate::args::list::shown;

fn log(values: &[&str]) -> String {
    let frames: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(i, v)| {
            format!(
                "{{\"frameNum\": {i}, \"metrics\": {{\"psnr_y\": 31.600000, \"integer_motion2\": 0.0, \"vmaf\": {v}}}}}"
            )
        })
        .collect();
    format!(
        "{{\"version\": \"x\", \"fps\": 22.71, \"frames\": [{}], \"pooled_metrics\": {{}}}}",
        frames.join(",")
    )
}

const BOTH: [Metric; 2] = [Metric::Vmaf, Metric::Psnr];

#[test]
fn context_is_left_out_and_digits_stay() {
    let text = log(&["1.000000", "97.100000", "100.000000", "2.000000"]);
    let scores = parse_log(&text, &BOTH, 2, true, true).unwrap();
    assert_eq!(scores.values[0], ["97.100000", "100.000000"]);
    assert_eq!(scores.values[1], ["31.600000", "31.600000"]);
    assert_eq!(
        parse_log(&text, &BOTH, 3, false, true).unwrap().values[0][0],
        "1.000000"
    );
    assert_eq!(
        parse_log(&text, &BOTH, 4, true, true),
        Err(Error::Count {
            expected: 6,
            found: 4
        })
    );
    assert_eq!(
        parse_log(&text, &[Metric::Ssim], 4, false, false),
        Err(Error::Metric {
            frame: 0,
            metric: "ssim"
        })
    );
    assert!(matches!(
        parse_log("{", &BOTH, 1, false, false),
        Err(Error::Unreadable(_))
    ));
}

#[test]
fn joined_chunks_score_as_one_file() {
    let chunk = |v: &[&str]| parse_log(&log(v), &BOTH, v.len(), false, false).unwrap();
    let joined = merge([chunk(&["90.000000"]), chunk(&["100.000000", "80.000000"])]).unwrap();
    assert_eq!(joined, chunk(&["90.000000", "100.000000", "80.000000"]));
    let vmaf = &joined.summaries().unwrap()[0];
    assert_eq!((vmaf.frames, vmaf.mean, vmaf.min), (3, 90.0, 80.0));
    let json = joined.to_json();
    assert!(json.contains("{\"frame\": 2, \"vmaf\": 80.000000, \"psnr\": 31.600000}\n"));
    assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok());
    let other = parse_log(&log(&["1.0"]), &[Metric::Vmaf], 1, false, false).unwrap();
    assert_eq!(merge([joined, other]), Err(Error::Mixed));
    assert_eq!(merge([]).unwrap().summaries(), Ok(vec![]));
}

#[test]
fn a_run_of_its_own_pairs_frames_by_number() {
    let side = |path: &str| Side {
        path: path.into(),
        demuxer: Some("mp4"),
        start_pts: None,
        end_pts: None,
    };
    let mut args = ScoreArgs {
        distorted: side("/s/d.mp4"),
        reference: side("/s/r.mp4"),
        size: (640, 360),
        pix_fmt: Some("yuv420p".to_owned()),
        context: (true, false),
        metrics: vec![Metric::Vmaf],
        log: "/s/l.json".into(),
    };
    args.reference.start_pts = Some(512);
    args.reference.end_pts = Some(2048);
    let text = shown(&args.build());
    for part in [
        "-i file:/s/d.mp4 -threads 1 -reinit_filter 0 -f mp4 -i file:/s/r.mp4",
        "[0:V:0]tpad=start=1:stop=0:start_mode=clone:stop_mode=clone,settb=1/1000,setpts=N[m]",
        "[1:V:0]trim=start_pts=512:end_pts=2048,scale=640:360:flags=bicubic,format=yuv420p,settb",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
}
