//! What a node finds out about cards, one behaviour after the other, and what it does with that.

use crate::jobs::Mesh;
use crate::site::Site;
use recode_node::proof::Prover;
use recode_node::slots::Slots;
use recode_node::toolchain;
use recode_testkit::card::{Behaviour, Card};
use recode_types::engine::ENGINE_ENCODERS;
use recode_types::rendition::AudioCodec;
use recode_types::task::FailureClass;
use recode_types::{Engine, JobState, NodeId, Offer};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const ENGINES: [Engine; 5] = [
    Engine::Nvenc,
    Engine::Qsv,
    Engine::Vaapi,
    Engine::Amf,
    Engine::Videotoolbox,
];

/// What a node with these cards, whose FFmpeg lists these encoders, offers once it has tried them.
async fn offered(cards: Vec<(Engine, Card)>, encoders: &[&str], heavy: u32) -> Offer {
    let lists = encoders.iter().map(|e| (*e).to_owned()).collect();
    let site = Site::listing(cards, Some(lists));
    let ffmpeg = Arc::new(toolchain::open(&site.ffmpeg.path, None).unwrap());
    let (samples, memory) = (site.file("samples"), site.file("measured.json"));
    let prover = Prover::new(
        ffmpeg,
        samples,
        memory,
        heavy,
        Slots::new(heavy, 1, 1).watch(),
    );
    let mut offer = prover.proofs().watch().unwrap();
    let untried = |offer: &Offer| encoders.iter().any(|e| offer.proof(e).is_none());
    assert!(untried(&offer.borrow()));
    for encoder in encoders {
        assert_eq!(
            offer.borrow().withholds(encoder),
            Some("it was not tried yet")
        );
    }
    let stop = CancellationToken::new();
    let running = tokio::spawn(prover.run(stop.clone()));
    let tried = offer.wait_for(|offer| !untried(offer));
    let tried = tokio::time::timeout(Duration::from_secs(300), tried).await;
    let tried = tried.expect("every encoder is tried").unwrap().clone();
    stop.cancel();
    running.await.unwrap();
    assert!(!site.file("samples").exists(), "nothing is left behind");
    tried
}

fn h264() -> Vec<&'static str> {
    let all = ENGINE_ENCODERS.into_iter();
    all.filter(|e| e.starts_with("h264_")).collect()
}

fn cards(card: &Card) -> Vec<(Engine, Card)> {
    ENGINES.map(|engine| (engine, card.clone())).to_vec()
}

/// A figure for bench/evidence.py.
fn say(case: &str, metric: &str, value: usize) {
    println!("{{\"case\": \"{case}\", \"metric\": \"{metric}\", \"value\": {value}}}");
}

/// Every engine's H.264 encoder is withheld for a reason that contains `words`.
async fn withheld(case: &str, cards: Vec<(Engine, Card)>, words: impl Fn(Engine) -> &'static str) {
    let encoders = h264();
    let offer = offered(cards, &encoders, 1).await;
    let (mut as_specified, mut otherwise) = (0, 0);
    for encoder in encoders {
        let words = words(Engine::of_encoder(encoder).unwrap());
        match offer.withholds(encoder) {
            Some(reason) if reason.contains(words) => as_specified += 1,
            other => {
                otherwise += 1;
                println!("{encoder}: {other:?} instead of {words}");
            }
        }
    }
    say(case, "as_specified", as_specified);
    say(case, "otherwise", otherwise);
    assert_eq!((as_specified, otherwise), (5, 0));
}

async fn broken(case: &str, behaviour: Behaviour, words: &'static str) {
    let card = Card {
        behaviour,
        ..Card::default()
    };
    withheld(case, cards(&card), |_| words).await;
}

#[tokio::test]
async fn a_card_that_works_is_offered_with_its_sessions() {
    let card = Card {
        sessions: Some(2),
        ..Card::default()
    };
    let offer = offered(cards(&card), &ENGINE_ENCODERS, 3).await;
    let (mut as_specified, mut otherwise) = (0, 0);
    for encoder in ENGINE_ENCODERS {
        let proof = offer.proof(encoder).unwrap();
        // FFmpeg has no words for a session too many of these two: no limit is known of them.
        let sessions = match Engine::of_encoder(encoder) {
            Some(Engine::Qsv | Engine::Amf) => None,
            _ => Some(2),
        };
        if proof.fault.is_none()
            && proof.sessions == sessions
            && proof.psnr > 26.0
            && proof.peak_rss_bytes > 1 << 20
        {
            as_specified += 1;
        } else {
            otherwise += 1;
            println!("{proof:?}");
        }
    }
    say("works", "as_specified", as_specified);
    say("works", "otherwise", otherwise);
    assert_eq!((as_specified, otherwise), (14, 0));
}

#[tokio::test]
async fn without_a_card_nothing_is_offered() {
    withheld("absent", vec![], |engine| match engine {
        Engine::Nvenc => "Cannot load libcuda.so.1",
        Engine::Qsv => "Error creating a MFX session: -9",
        Engine::Vaapi => "No VA display found",
        Engine::Amf => "DLL libamfrt64.so.1 failed to open",
        Engine::Videotoolbox => "cannot create compression session: -12908",
    })
    .await;
}

#[tokio::test]
async fn a_card_that_lacks_the_codec_does_not_offer_it() {
    let card = Card {
        lacks: h264().into_iter().map(str::to_owned).collect(),
        ..Card::default()
    };
    withheld("lacks", cards(&card), |_| "finds no card for this encoder").await;
}

#[tokio::test]
async fn a_card_that_crashes_is_not_offered() {
    broken("crashes", Behaviour::Crashes, "SIGSEGV").await;
}

#[tokio::test]
async fn green_pictures_are_seen() {
    broken("green", Behaviour::Green, "not the sample's").await;
}

#[tokio::test]
async fn wrong_pictures_are_seen() {
    broken("negative", Behaviour::Negative, "not the sample's").await;
}

#[tokio::test]
async fn lost_frames_are_seen() {
    let words = "12 frames went in and 8 came out";
    broken("drops frames", Behaviour::DropsFrames, words).await;
}

#[tokio::test]
async fn parameter_sets_that_differ_are_seen() {
    broken("other sets", Behaviour::OtherSets, "parameter sets").await;
}

#[tokio::test]
async fn a_card_that_goes_away_between_two_samples_is_not_offered() {
    broken("lost", Behaviour::LostAfter(1), "the card stopped encoding").await;
}

/// Waits until what the Leader heard of the node's encoder is as wanted.
async fn heard(mesh: &Mesh, encoder: &str, wanted: impl Fn(&Offer) -> bool) -> Offer {
    let started = std::time::Instant::now();
    loop {
        // It has registered some moments after it was started.
        let node = mesh.client.node(NodeId(1)).await;
        let offer = node.ok().and_then(|n| n.heard).and_then(|h| h.offer);
        if let Some(offer) = &offer
            && offer.proof(encoder).is_some()
            && wanted(offer)
        {
            return offer.clone();
        }
        assert!(started.elapsed() < Duration::from_secs(300), "{offer:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_asked_of_a_card_than_it_bears() {
    let card = Card {
        sessions: Some(2),
        ..Card::default()
    };
    let mesh = Mesh::start(Site::with([(Engine::Nvenc, card)]), 4, true).await;
    let offer = heard(&mesh, "h264_nvenc", |_| true).await;
    assert_eq!(offer.proof("h264_nvenc").unwrap().sessions, Some(2));
    // The other encoders are tried meanwhile, and some of them use the card.
    heard(&mesh, "av1_nvenc", |_| true).await;
    let before = mesh.site.played().len();
    let (end, _) = mesh
        .run("h264_nvenc", |request| {
            request.outputs[0].audio_codec = Some(AudioCodec::None);
        })
        .await;
    assert_eq!(end.state, JobState::Done, "{}", end.reason);
    let played = mesh.site.played().split_off(before);
    let refused = played.iter().filter(|p| p.session.is_none()).count();
    say("sessions", "encodes", played.len());
    say("sessions", "refused", refused);
    assert!(played.len() >= 4, "{played:?}");
    assert_eq!(refused, 0, "{played:?}");
    mesh.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_that_goes_away_at_work_is_withdrawn_and_says_why() {
    let site = Site::with([(Engine::Nvenc, Card::default())]);
    let mut mesh = Mesh::start(site, 1, true).await;
    heard(&mesh, "av1_nvenc", |o| o.withholds("h264_nvenc").is_none()).await;
    let asked = mesh.site.played().len() as u32;
    let lost = Card {
        behaviour: Behaviour::LostAfter(asked + 1),
        ..Card::default()
    };
    mesh.site.now_with([(Engine::Nvenc, lost)]);
    let (end, _) = mesh.run("h264_nvenc", |_| {}).await;
    assert_eq!(end.state, JobState::Failed);
    assert_eq!(end.class, Some(FailureClass::MissingCapability));
    let withdrawn = |offer: &Offer| offer.withholds("h264_nvenc").is_some();
    let offer = heard(&mesh, "h264_nvenc", withdrawn).await;
    let reason = offer.withholds("h264_nvenc").unwrap();
    let words = "withdrawn: the card stopped encoding: EncodePicture failed!";
    assert!(reason.starts_with(words), "{reason}");
    let node = mesh.client.node(NodeId(1)).await.unwrap();
    let capable = &node.heard.as_ref().unwrap().hello.capabilities;
    assert!(!capable.iter().any(|c| c == "h264_nvenc"));
    assert!(capable.iter().any(|c| c == "libx264"));
    say("withdrawn", "as_specified", 1);
    mesh.stop().await;
}
