//! Single encodes by scripted cards.

use crate::site::{Site, encode, rendition};
use recode_media::mp4::read_chunk;
use recode_media::run::{self, Invocation, Trouble, trouble};
use recode_testkit::card::{Behaviour, Card, Played};
use recode_types::Engine;
use recode_types::engine::ENGINE_ENCODERS;
use recode_types::task::FailureClass;
use std::path::Path;

const ENGINES: [Engine; 5] = [
    Engine::Nvenc,
    Engine::Qsv,
    Engine::Vaapi,
    Engine::Amf,
    Engine::Videotoolbox,
];

fn h264(engine: Engine) -> String {
    format!("h264_{engine}")
}

/// Encodes frames of the clip; the failure's class, sentence and words where it fails.
async fn make(
    site: &Site,
    encoder: &str,
    frames: (u64, u64),
    quality: u32,
    out: &Path,
) -> Result<(), (FailureClass, String, String)> {
    let clip = site.file("clip.mp4");
    let list = encode(
        &rendition(encoder),
        frames,
        quality,
        &clip,
        out,
        site.ffmpeg.major(),
    );
    let invocation = Invocation::new(list).with_stdout();
    let child = run::spawn(&site.ffmpeg, invocation).await.unwrap();
    match child.wait_lines(|_| {}, |_| {}).await {
        Ok(_) => Ok(()),
        Err(e) => Err((
            e.failure.class,
            e.failure.message,
            e.failure.stderr_tail.unwrap_or_default(),
        )),
    }
}

#[tokio::test]
async fn every_encoder_makes_chunks_that_can_follow_each_other() {
    let site = Site::with(ENGINES.map(|engine| (engine, Card::default())));
    site.clip().await;
    for encoder in ENGINE_ENCODERS {
        let (one, two) = (site.file("1.mp4"), site.file("2.mp4"));
        make(&site, encoder, (0, 30), 23, &one).await.unwrap();
        make(&site, encoder, (30, 20), 30, &two).await.unwrap();
        let (one, two) = (read_chunk(&one).unwrap(), read_chunk(&two).unwrap());
        assert_eq!(
            (one.samples.len(), two.samples.len()),
            (30, 20),
            "{encoder}"
        );
        assert!(one.samples[0].key && two.samples[0].key, "{encoder}");
        assert_eq!(
            one.sample_description, two.sample_description,
            "{encoder}: their parameter sets agree"
        );
    }
    let names: Vec<String> = site.played().into_iter().map(|p| p.encoder).collect();
    let expected: Vec<&str> = ENGINE_ENCODERS.iter().flat_map(|e| [*e, *e]).collect();
    assert_eq!(names, expected);
}

#[tokio::test]
async fn a_machine_without_the_card_lacks_something_and_says_what() {
    let site = Site::with([]);
    site.clip().await;
    for (engine, words) in [
        (Engine::Nvenc, "Cannot load libcuda.so.1"),
        (Engine::Qsv, "Error creating a MFX session: -9."),
        (Engine::Vaapi, "No VA display found for any default device."),
        (Engine::Amf, "DLL libamfrt64.so.1 failed to open"),
        (
            Engine::Videotoolbox,
            "Error: cannot create compression session: -12908",
        ),
    ] {
        let made = make(&site, &h264(engine), (0, 30), 23, &site.file("o.mp4")).await;
        let (class, sentence, said) = made.unwrap_err();
        assert_eq!(class, FailureClass::MissingCapability);
        assert_eq!(
            sentence,
            format!("ffmpeg finds no card for this encoder: {words}")
        );
        assert_eq!(trouble(&said).unwrap().0, Trouble::Absent);
    }
}

#[tokio::test]
async fn a_card_without_the_codec_is_no_card_for_it() {
    let card = Card {
        lacks: ENGINE_ENCODERS
            .into_iter()
            .filter(|e| e.starts_with("hevc_"))
            .map(str::to_owned)
            .collect(),
        ..Card::default()
    };
    let site = Site::with(ENGINES.map(|engine| (engine, card.clone())));
    site.clip().await;
    for engine in ENGINES {
        let out = site.file("o.mp4");
        make(&site, &h264(engine), (0, 10), 23, &out).await.unwrap();
        let made = make(&site, &format!("hevc_{engine}"), (0, 10), 23, &out).await;
        assert_eq!(
            made.unwrap_err().0,
            FailureClass::MissingCapability,
            "{engine}"
        );
    }
}

#[tokio::test]
async fn a_session_too_many_may_be_tried_again_and_is_free_when_its_encode_has_ended() {
    let card = Card {
        sessions: Some(0),
        ..Card::default()
    };
    for engine in [Engine::Nvenc, Engine::Vaapi, Engine::Videotoolbox] {
        let mut site = Site::with([(engine, card.clone())]);
        site.clip().await;
        let out = site.file("o.mp4");
        let made = make(&site, &h264(engine), (0, 10), 23, &out).await;
        let (class, sentence, said) = made.unwrap_err();
        assert_eq!(class, FailureClass::OutOfResources, "{engine}");
        assert!(
            sentence.starts_with("the card has no free encoding session: "),
            "{sentence}"
        );
        assert_eq!(trouble(&said).unwrap().0, Trouble::NoSession);
        site.now_with([(
            engine,
            Card {
                sessions: Some(1),
                ..card.clone()
            },
        )]);
        for _ in 0..2 {
            make(&site, &h264(engine), (0, 10), 23, &out).await.unwrap();
        }
        let played = |session| Played {
            encoder: h264(engine),
            session,
        };
        assert_eq!(
            site.played(),
            [played(None), played(Some(1)), played(Some(1))]
        );
    }
}

#[tokio::test]
async fn a_card_that_goes_away_in_mid_encode_is_told_from_one_that_was_never_there() {
    for engine in ENGINES {
        let card = Card {
            behaviour: Behaviour::LostAfter(1),
            ..Card::default()
        };
        let site = Site::with([(engine, card)]);
        site.clip().await;
        let out = site.file("o.mp4");
        make(&site, &h264(engine), (0, 10), 23, &out).await.unwrap();
        let mut seen = Vec::new();
        for _ in 0..2 {
            let made = make(&site, &h264(engine), (0, 10), 23, &out).await;
            let (class, _, said) = made.unwrap_err();
            seen.push((class, trouble(&said).unwrap().0));
        }
        let class = FailureClass::MissingCapability;
        assert_eq!(
            seen,
            [(class, Trouble::Lost), (class, Trouble::Absent)],
            "{engine}"
        );
    }
}

#[tokio::test]
async fn an_encoder_that_dies_is_killed_not_unknown() {
    let card = Card {
        behaviour: Behaviour::Crashes,
        ..Card::default()
    };
    let site = Site::with([(Engine::Amf, card)]);
    site.clip().await;
    let made = make(&site, "h264_amf", (0, 30), 23, &site.file("o.mp4")).await;
    let (class, sentence, _) = made.unwrap_err();
    assert_eq!(class, FailureClass::Killed);
    assert_eq!(sentence, "ffmpeg was ended by SIGSEGV");
}

#[tokio::test]
async fn other_parameter_sets_are_seen_when_chunks_are_compared() {
    let card = Card {
        behaviour: Behaviour::OtherSets,
        ..Card::default()
    };
    let site = Site::with([(Engine::Nvenc, card)]);
    site.clip().await;
    let (one, two) = (site.file("1.mp4"), site.file("2.mp4"));
    make(&site, "h264_nvenc", (0, 30), 23, &one).await.unwrap();
    make(&site, "h264_nvenc", (30, 20), 23, &two).await.unwrap();
    let (one, two) = (read_chunk(&one).unwrap(), read_chunk(&two).unwrap());
    assert_ne!(one.sample_description, two.sample_description);
}

#[tokio::test]
async fn the_scripted_ffmpeg_refuses_what_the_real_one_would() {
    let site = Site::with(ENGINES.map(|engine| (engine, Card::default())));
    let clip = site.clip().await;
    let try_with = async |encoder: &str, change: fn(&mut Vec<std::ffi::OsString>)| {
        let out = site.file("o.mp4");
        let mut list = encode(
            &rendition(encoder),
            (0, 10),
            23,
            &clip,
            &out,
            site.ffmpeg.major(),
        );
        change(&mut list);
        let ended = run::run(&site.ffmpeg, Invocation::new(list)).await;
        ended.unwrap_err().failure.message
    };
    let said = try_with("h264_nvenc", |list| {
        let at = list.iter().position(|a| a == "-cq").unwrap();
        list[at] = "-crf".into();
    })
    .await;
    assert!(said.contains("Unrecognized option 'crf'"), "{said}");
    let said = try_with("h264_qsv", |list| {
        let at = list.iter().position(|a| a == "-c:v").unwrap() + 2;
        list.splice(at..at, ["-preset".into(), "p4".into()]);
    })
    .await;
    assert!(
        said.contains("Error opening output files: Invalid argument"),
        "{said}"
    );
    let said = try_with("h264_vaapi", |list| {
        for arg in list {
            *arg = arg.to_string_lossy().replace(",hwupload", "").into();
        }
    })
    .await;
    assert!(said.contains("reinitializing filters"), "{said}");
}
