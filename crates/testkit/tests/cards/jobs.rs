//! Whole jobs on a node with scripted cards.

use crate::site::{Site, rendition};
use recode_client::{Client, End};
use recode_coordinator::assembly as coordinator;
use recode_node::assembly as node;
use recode_node::toolchain;
use recode_testkit::card::{Behaviour, Card};
use recode_types::rendition::RateControl;
use recode_types::request::JobRequest;
use recode_types::task::FailureClass;
use recode_types::{Engine, JobState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// One coordinator and one node with this machine's cards.
pub struct Mesh {
    pub site: Site,
    pub client: Client,
    pub node: node::Running,
    coordinator: coordinator::Running,
}

impl Mesh {
    /// With `measured` it tries its encoders first; otherwise it believes what FFmpeg lists.
    pub async fn start(site: Site, workers: u32, measured: bool) -> Self {
        let measured = measured.then(|| site.file("measured.json"));
        let store = format!("file://{}", site.file("store").display());
        let config = coordinator::Config::embedded(site.file("raft"), store);
        let coordinator = coordinator::start(config).await.unwrap();
        let address = format!("http://{}", coordinator.local_addr());
        let node = node::start(node::Config {
            coordinator: address.clone(),
            nats: None,
            ahead: None,
            scratch: site.file("scratch"),
            scratch_budget: None,
            workers: Some(workers),
            ffmpeg: Arc::new(toolchain::open(&site.ffmpeg.path, None).unwrap()),
            cache: None,
            labels: std::collections::BTreeMap::new(),
            habits: recode_node::leaving::Habits::default(),
            measured,
            peer: None,
        });
        Self {
            client: Client::at(&address).unwrap(),
            node: node.unwrap(),
            coordinator,
            site,
        }
    }

    /// Runs a job to its end.
    pub async fn run(&self, encoder: &str, change: impl FnOnce(&mut JobRequest)) -> (End, PathBuf) {
        let out = self.site.file(&format!("{encoder}.mp4"));
        let mut request = request(encoder, &out);
        change(&mut request);
        let job = self.client.submit(encoder, &request).await.unwrap();
        let ended = self.client.follow(job, |_| {});
        let ended = tokio::time::timeout(Duration::from_secs(120), ended).await;
        (ended.expect("the job ends").unwrap(), out)
    }

    pub async fn stop(self) {
        self.node.stop().await;
        self.coordinator.stop().await;
    }
}

fn sample() -> PathBuf {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples");
    samples
        .join("sintel_trailer_720p24.mp4")
        .canonicalize()
        .unwrap()
}

fn request(encoder: &str, out: &Path) -> JobRequest {
    let mut request: JobRequest = serde_json::from_value(serde_json::json!({
        "source": format!("file://{}", sample().display()),
        "duration_us": 8_000_000, "segment_ms": 2000,
        "outputs": [{
            "url": format!("file://{}", out.display()), "container": "mp4", "tracks": "all",
            "rendition": {
                "codec": "h264", "encoder": "libx264", "profile": "quality", "scale": { "height": 180 },
                "deinterlace": "off"
            }
        }],
        "score": [], "verify_full": false, "strict": false, "overwrite": true, "labels": {}, "priority": 50
    }))
    .unwrap();
    let scale = request.outputs[0].rendition.scale;
    request.outputs[0].rendition = rendition(encoder);
    request.outputs[0].rendition.scale = scale;
    request
}

/// Frames of the video track, by what the file says.
fn frames(path: &Path) -> usize {
    recode_media::mp4::read_chunk(path).unwrap().samples.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_card_is_used_when_it_is_asked_for_and_only_then() {
    let site = Site::with([
        (Engine::Nvenc, Card::default()),
        (Engine::Vaapi, Card::default()),
    ]);
    let mesh = Mesh::start(site, 2, false).await;
    let without_audio = |request: &mut JobRequest| {
        request.outputs[0].audio_codec = Some(recode_types::rendition::AudioCodec::None);
    };
    for encoder in ["libx264", "hevc_nvenc", "h264_vaapi"] {
        let before = mesh.site.played().len();
        let (end, out) = mesh.run(encoder, without_audio).await;
        assert_eq!(end.state, JobState::Done, "{encoder}: {}", end.reason);
        assert_eq!(frames(&out), 192, "{encoder}: 8 s of 24 frames");
        let played = mesh.site.played().split_off(before);
        let asked: Vec<&str> = played.iter().map(|p| p.encoder.as_str()).collect();
        match encoder {
            "libx264" => assert!(asked.is_empty(), "{asked:?}"),
            _ => assert!(
                asked.len() >= 2 && asked.iter().all(|e| *e == encoder),
                "{asked:?}"
            ),
        }
    }
    let (end, _) = mesh
        .run("h264_nvenc", |request| {
            request.outputs[0].rendition.rate = Some(RateControl::Bitrate(300_000));
        })
        .await;
    assert_eq!(end.state, JobState::Done, "by bitrate: {}", end.reason);
    mesh.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_no_card_can_do_fails_with_the_cards_own_reason() {
    let broken = |behaviour| Card {
        behaviour,
        ..Card::default()
    };
    let site = Site::with([
        (Engine::Amf, broken(Behaviour::Crashes)),
        (Engine::Qsv, broken(Behaviour::OtherSets)),
    ]);
    let mesh = Mesh::start(site, 1, false).await;
    let mut seen = Vec::new();
    for encoder in ["h264_amf", "h264_qsv"] {
        let (end, _) = mesh.run(encoder, |_| {}).await;
        assert_eq!(end.state, JobState::Failed, "{encoder}");
        seen.push((end.class, end.reason));
    }
    let (class, reason) = &seen[0];
    assert_eq!(*class, Some(FailureClass::Killed));
    assert!(reason.contains("SIGSEGV"), "{reason}");
    let (_, reason) = &seen[1];
    assert!(reason.contains("parameter sets"), "{reason}");
    mesh.stop().await;
}
