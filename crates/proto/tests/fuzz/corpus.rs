//! Sound messages with every field in use.

use prost::Message;
use recode_proto::convert::list::ListQuery;
use recode_proto::v1;
use recode_types::cluster::{ClusterStatus, CoordinatorStatus};
use recode_types::rendition::{
    AudioCodec, Deinterlace, PeakLimit, Profile, RateControl, Rendition, Scale,
};
use recode_types::request::{TrackChoice, TrackSelection};
use recode_types::source::TrackKind;
use recode_types::task::{
    AttemptOutcome, Failure, FailureClass, Grant, OutputFacts, TaskResult, Usage, Work,
};
use recode_types::{
    ArtifactRef, AttemptLog, AttemptProgress, AttemptToken, Codec, CommandFile, CommandRequest,
    Container, Digest, Event, EventKind, Explanation, FinishedAttempt, JobFilter, JobId,
    JobRequest, JobState, JobStatus, Making, Metric, NodeHeard, NodeHello, NodeId, NodeOrders,
    NodeReport, NodeStatus, OutputRequest, Progress, Rational, SegmentLength, Suspended, TaskId,
    TaskKey, Wait, Waiting,
};

fn wire<Plain, Wire: From<Plain> + Message>(plain: Plain) -> Vec<u8> {
    Wire::from(plain).encode_to_vec()
}

fn rendition(rate: Option<RateControl>, scale: Scale) -> Rendition {
    Rendition {
        codec: Codec::H265,
        encoder: "libx265".into(),
        rate,
        peak: Some(PeakLimit {
            maxrate_bps: 6_000_000,
            bufsize_bits: 12_000_000,
        }),
        preset: Some("slow".into()),
        tune: Some("grain".into()),
        encoder_profile: Some("main10".into()),
        profile: Profile::Latency,
        scale,
        fps: Some(Rational::new(30000, 1001)),
        deinterlace: Deinterlace::Auto,
        pix_fmt: Some("yuv420p10le".into()),
        gop: Some(48),
    }
}

fn output() -> OutputRequest {
    let scale = Scale::Fit {
        width: 1280,
        height: 720,
    };
    OutputRequest {
        url: "file:///out/a.mkv".into(),
        container: Container::Mkv,
        rendition: rendition(Some(RateControl::Bitrate(4_000_000)), scale),
        audio_codec: Some(AudioCodec::None),
        audio_bitrate_bps: Some(192_000),
        tracks: TrackSelection::Only(vec![TrackChoice {
            kind: Some(TrackKind::Subtitle),
            number: Some(0),
            language: Some("deu".into()),
        }]),
    }
}

pub fn requests() -> Vec<Vec<u8>> {
    let second = OutputRequest {
        url: "s3://bucket/b.webm".into(),
        rendition: rendition(Some(RateControl::Crf(23_500)), Scale::Source),
        tracks: TrackSelection::All,
        ..output()
    };
    let request = JobRequest {
        source: "file:///in.mp4".into(),
        start_us: Some(-1),
        duration_us: Some(5_000_000),
        outputs: vec![output(), second],
        segment: SegmentLength::Millis(2000),
        score: vec![Metric::Vmaf, Metric::MsSsim],
        making: Making::SplitTail,
        strict: true,
        overwrite: true,
        labels: [("show".to_owned(), "one".to_owned())].into(),
        priority: 100,
    };
    let spread = JobRequest {
        segment: SegmentLength::Spread,
        ..request.clone()
    };
    vec![
        wire::<_, v1::JobRequest>(request),
        wire::<_, v1::JobRequest>(spread),
    ]
}

pub fn commands() -> Vec<Vec<u8>> {
    let file = |options: &str, url: &str| CommandFile {
        options: options.into(),
        url: url.into(),
    };
    let request = CommandRequest {
        global: "-xerror".into(),
        inputs: vec![file("-ss 5", "s3://b/a.mp4"), file("", "s3://b/b.png")],
        outputs: vec![file("-vf fps=1", "s3://b/%03d.png")],
        compute: Some("intel".into()),
        instance_type: Some("c6i.*".into()),
        overwrite: true,
        labels: [("name".to_owned(), "clip".to_owned())].into(),
        priority: 100,
    };
    vec![wire::<_, v1::CommandRequest>(request)]
}

pub fn renditions() -> Vec<Vec<u8>> {
    [
        None,
        Some(RateControl::Crf(23_500)),
        Some(RateControl::Bitrate(1)),
    ]
    .map(|rate| wire::<_, v1::Rendition>(rendition(rate, Scale::Source)))
    .into()
}

fn task(key: TaskKey) -> TaskId {
    TaskId { job: JobId(5), key }
}

const SEGMENT: TaskKey = TaskKey::Encode {
    group: 1,
    segment: 12,
};

fn token() -> AttemptToken {
    AttemptToken {
        task: task(SEGMENT),
        attempt: 3,
    }
}

fn artifact() -> ArtifactRef {
    ArtifactRef {
        key: "jobs/job_00000000000000000000000000000005/plan/a.json".into(),
        size_bytes: 7,
        digest: Digest::of(b"a"),
    }
}

fn running() -> AttemptProgress {
    AttemptProgress {
        task: task(SEGMENT),
        attempt: 3,
        frames: 4,
        frames_total: 5,
        media_us: 6,
    }
}

fn hello() -> NodeHello {
    NodeHello {
        name: "host".into(),
        version: "0.1".into(),
        heavy_slots: 2,
        light_slots: 4,
        ffmpeg: "9".into(),
        capabilities: vec!["libx264".into(), "libvmaf".into()],
        labels: [("compute".to_owned(), "intel".to_owned())].into(),
        peer: "10.0.0.1:7430".into(),
        memory_bytes: Some(14_000_000_000),
    }
}

fn outcomes() -> Vec<AttemptOutcome> {
    let usage = Usage {
        wall_ms: 1,
        cpu_ms: 2,
        ..Usage::default()
    };
    let failure = Failure {
        class: FailureClass::Killed,
        message: "signal 9".into(),
        stderr_tail: Some("tail".into()),
    };
    let stitched = OutputFacts {
        output: 1,
        url: "file:///out/a.mkv".into(),
        size_bytes: 1,
        frames: 2,
        duration_us: 3,
        video_bytes: 4,
        scores: Vec::new(),
        score_frames_url: None,
        warnings: vec!["w".into()],
    };
    let results = [
        TaskResult::Probed { facts: artifact() },
        TaskResult::Tried {
            points: vec![vec![(18_000, 1000), (30_000, 100)]],
        },
        TaskResult::Track {
            artifact: artifact(),
            payload_bytes: 5,
        },
        TaskResult::Stitched { output: stitched },
        TaskResult::Revise {
            violations: vec![(1, 2, 3)],
        },
    ];
    let done = results.map(|result| AttemptOutcome::Done { result, usage });
    let failed = AttemptOutcome::Failed { failure, usage };
    done.into_iter().chain([failed]).collect()
}

pub fn reports() -> Vec<Vec<u8>> {
    let report = |outcome: AttemptOutcome| NodeReport {
        instance: "one".into(),
        sequence: 2,
        hello: Some(hello()),
        running: vec![running()],
        finished: vec![FinishedAttempt {
            token: token(),
            outcome,
        }],
        free_heavy: 1,
        free_light: 2,
        draining: true,
        returned: vec![token()],
        offer: Some(offer()),
        load: Some(LOAD),
        traffic: Some(TRAFFIC),
    };
    let outcomes = outcomes().into_iter();
    outcomes
        .map(|outcome| wire::<_, v1::NodeReport>(report(outcome)))
        .collect()
}

pub fn orders() -> Vec<Vec<u8>> {
    let works = [
        Work::Probe {
            source: "file:///a".into(),
            deep: true,
            start_us: Some(-1),
            duration_us: Some(7),
        },
        Work::Audio {
            facts: artifact(),
            output: output(),
            tracks: vec![1, 2],
            start_us: None,
            duration_us: None,
        },
        Work::Command {
            source: "file:///a".into(),
            output: output(),
            overwrite: true,
            start_us: None,
            duration_us: None,
        },
    ];
    let orders = |work| NodeOrders {
        sequence: 9,
        node: Some(NodeId(4)),
        grants: vec![Grant {
            task: token().task,
            attempt: 3,
            work_store: "file:///store".into(),
            work,
            memory_bytes: Some(2_000_000_000),
        }],
        revocations: vec![token()],
        acknowledged: vec![token()],
        drained: true,
        peers: Some(vec!["10.0.0.1:7430".into(), "10.0.0.2:7430".into()]),
    };
    works
        .map(|work| wire::<_, v1::NodeOrders>(orders(work)))
        .into()
}

const TRAFFIC: recode_types::PeerTraffic = recode_types::PeerTraffic {
    from_store: 1,
    from_peers: 2,
    to_peers: 3,
};

const LOAD: recode_types::NodeLoad = recode_types::NodeLoad {
    busy_milli: 500,
    memory_free_bytes: 1 << 33,
    disk_free_bytes: 1 << 40,
};

fn offer() -> recode_types::Offer {
    let mut offer = recode_types::Offer::default();
    offer.put(recode_types::Proof {
        encoder: "h264_nvenc".into(),
        sessions: Some(3),
        ..Default::default()
    });
    offer
}

pub fn nodes() -> Vec<Vec<u8>> {
    let status = NodeStatus {
        node: NodeId(3),
        name: "host".into(),
        registered_at_ms: 4,
        draining: true,
        leases: 5,
        heard: Some(NodeHeard {
            hello: hello(),
            present: true,
            free_heavy: 6,
            free_light: 7,
            speed: 8.5,
            running: vec![running()],
            leaving: true,
            suspended: Some(Suspended {
                failures: 3,
                left_ms: 9,
            }),
            offer: Some(offer()),
            load: Some(LOAD),
            traffic: Some(TRAFFIC),
        }),
    };
    vec![wire::<_, v1::NodeStatus>(status)]
}

pub fn events() -> Vec<Vec<u8>> {
    let kinds = [
        EventKind::Submitted,
        EventKind::Planned {
            segments: 3,
            frames: 99,
            warnings: vec!["captions are lost".into()],
        },
        EventKind::Replanning {
            reason: "frame 3 differs".into(),
        },
        EventKind::TaskDone {
            task: SEGMENT,
            attempt: 2,
            node: NodeId(3),
            frames: 48,
            bytes: 1000,
            reused: true,
        },
        EventKind::AttemptFailed {
            task: SEGMENT,
            attempt: 2,
            node: NodeId(3),
            class: FailureClass::Killed,
            message: "signal 9".into(),
            retried: true,
        },
        EventKind::Reopened {
            chunks: 4,
            reason: "the size is missed".into(),
        },
        EventKind::OutputReady {
            output: 1,
            url: "file:///a".into(),
            size_bytes: 5,
        },
        EventKind::Warning { text: "w".into() },
        EventKind::Ended {
            state: JobState::Failed,
            class: Some(FailureClass::BadInput),
            reason: "no picture".into(),
        },
        EventKind::Paused,
        EventKind::Resumed,
        EventKind::Retried { chunks_kept: 9 },
    ];
    let event = |kind| Event {
        index: 7,
        at_ms: 8,
        kind,
    };
    kinds.map(|kind| wire::<_, v1::Event>(event(kind))).into()
}

pub fn statuses() -> Vec<Vec<u8>> {
    let status = JobStatus {
        job: JobId(9),
        state: JobState::Cancelled,
        source: "file:///a".into(),
        outputs: vec!["file:///b".into()],
        submitted_at_ms: 1,
        ended_at_ms: Some(2),
        tasks: 3,
        tasks_done: 4,
        events: 5,
        class: Some(FailureClass::Store),
        reason: Some("r".into()),
        paused: true,
        priority: 6,
        labels: [("show".to_owned(), "one".to_owned())].into(),
        archive: Some("archive/a".into()),
    };
    vec![wire::<_, v1::JobStatus>(status)]
}

pub fn progress() -> Vec<Vec<u8>> {
    let progress = Progress {
        frames_done: 1,
        frames_total: 2,
        tasks_done: 3,
        tasks: 4,
        running: vec![running()],
    };
    vec![wire::<_, v1::Progress>(progress)]
}

pub fn logs() -> Vec<Vec<u8>> {
    let log = AttemptLog {
        number: 1,
        task: TaskKey::Stitch { output: 2 },
        attempt: 3,
        node: NodeId(4),
        at_ms: 5,
        class: FailureClass::Store,
        message: "m".into(),
        stderr_tail: "t".into(),
    };
    vec![wire::<_, v1::AttemptLog>(log)]
}

pub fn explanations() -> Vec<Vec<u8>> {
    let reasons = [
        Wait::Tasks {
            trials: 1,
            encodes: 2,
            tracks: 3,
        },
        Wait::Knobs { output: 4 },
        Wait::Backoff { until_ms: 5 },
        Wait::NoNode {
            needs: "the label compute=arm".into(),
        },
        Wait::NoEncoder {
            encoder: "libx264".into(),
        },
        Wait::Refused {
            nodes: vec![NodeId(6)],
        },
        Wait::Behind {
            job: JobId(7),
            priority: 8,
        },
        Wait::Nothing,
    ];
    let explanation = Explanation {
        job: JobId(9),
        state: JobState::Running,
        tasks: 10,
        tasks_done: 11,
        tasks_running: 12,
        waiting: reasons
            .map(|why| Waiting {
                why,
                count: 13,
                tasks: vec![TaskKey::Audio { output: 14 }],
            })
            .into(),
    };
    vec![wire::<_, v1::ExplainResponse>(explanation)]
}

pub fn clusters() -> Vec<Vec<u8>> {
    let status = ClusterStatus {
        cluster: "c".into(),
        coordinator: 1,
        term: 2,
        leader: Some(3),
        coordinators: vec![CoordinatorStatus {
            coordinator: 1,
            address: "a:1".into(),
            voter: true,
            matched_index: Some(4),
        }],
        last_index: 5,
        applied_index: 6,
        snapshot_index: Some(7),
        quorum_age_ms: Some(8),
    };
    vec![wire::<_, v1::ClusterStatusResponse>(status)]
}

pub fn lists() -> Vec<Vec<u8>> {
    let filter = JobFilter {
        states: vec![JobState::Done],
        labels: [("show".to_owned(), "one".to_owned())].into(),
        source_prefix: "s3://".into(),
        submitted_after_ms: 5,
        live_only: true,
        archived: true,
    };
    let query = ListQuery {
        filter: filter.clone(),
        after: None,
        limit: 10,
    };
    let mut page = v1::ListRequest::from(filter);
    let first = page.encode_to_vec();
    page.page_token = query.token(JobId(3));
    vec![first, page.encode_to_vec()]
}
