//! Make-believe Sources, requests for them, and the results an honest Node would give. No media: a Chunk is a number, and
//! its size follows from Segment and knob alone, so that the same Job must come to the same Chunks whatever happens on the
//! way.

use recode_core::machine::{Command, Entry, LeaseGrant, Order, Phase, State, decide};
use recode_core::{Plan, PlanPolicy};
use recode_types::rendition::{Deinterlace, PeakLimit, Profile, RateControl, Scale};
use recode_types::request::TrackSelection;
use recode_types::source::{ReadMode, SourceIdentity, Track, TrackKind, VideoFacts};
use recode_types::task::{
    AttemptOutcome, ChunkFacts, EncodeWork, Failure, FailureClass, OutputFacts, StitchWork,
    TaskResult, Usage, Work,
};
use recode_types::{
    ArtifactRef, Codec, Container, Digest, FrameRow, FrameTable, JobId, JobRequest, Knob, Making,
    OutputRequest, Rational, Rendition, Segment, SegmentLength, SourceFacts, TaskKey,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One kind of Job.
#[derive(Clone, Debug)]
pub struct Template {
    /// What is asked.
    pub request: JobRequest,
    /// The quick look at the Source is wrong: encodes find out, and it is planned again.
    pub index_lies: bool,
    /// After a quick look, and after a deep one.
    plans: [Arc<Plan>; 2],
    ends: [Arc<Made>; 2],
    /// Facts and frame table as they are stored.
    stored: [Arc<(Vec<u8>, Vec<u8>)>; 2],
}

/// What a Job must come to: per Output the Chunks' addresses and knobs, in order.
pub type Made = Vec<Vec<(Digest, Knob)>>;

/// Where the Source is, its seconds, whether its index lies, the Outputs.
type Wanted = (&'static str, u32, bool, Vec<(&'static str, Rendition)>);

/// All kinds of Job.
#[derive(Clone, Debug)]
pub struct Library {
    /// By number, which is also in the Source's URL.
    pub templates: Vec<Template>,
}

/// An artifact that is a number.
pub fn artifact(number: u64) -> ArtifactRef {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_le_bytes());
    ArtifactRef {
        key: String::new(),
        size_bytes: number,
        digest: Digest(digest),
    }
}

/// The number of the template that a URL names.
pub fn template_of(url: &str) -> usize {
    let (_, name) = url.rsplit_once('/').unwrap_or(("", url));
    name.parse().unwrap_or(0)
}

/// `SourceFacts` as an artifact.
pub fn facts_artifact(template: usize, deep: bool) -> ArtifactRef {
    artifact((template as u64) << 1 | u64::from(deep))
}

/// Added to the number of facts: that of their frame table.
const TABLES: u64 = 1 << 20;

impl Library {
    /// Makes them all, and each Job's end as it is without faults.
    pub fn new() -> Self {
        let rated = |codec, rate| Rendition {
            rate: Some(rate),
            ..rendition(codec)
        };
        let peaked = Rendition {
            peak: Some(PeakLimit {
                maxrate_bps: 8_000,
                bufsize_bits: 16_000,
            }),
            ..rated(Codec::H264, RateControl::Crf(22_000))
        };
        let rated_and_peaked = Rendition {
            peak: peaked.peak,
            ..rated(Codec::H264, RateControl::Bitrate(5_000))
        };
        let wanted: Vec<Wanted> = vec![
            (
                "file:///",
                10,
                false,
                vec![("a.mp4", rendition(Codec::H264))],
            ),
            ("file:///", 8, true, vec![("a.mp4", rendition(Codec::H264))]),
            (
                "file:///",
                10,
                false,
                vec![
                    ("a.mp4", rendition(Codec::H264)),
                    ("b.mkv", rated(Codec::H265, RateControl::Bitrate(4_000))),
                ],
            ),
            (
                "file:///",
                10,
                false,
                vec![
                    ("a.mkv", rated(Codec::Av1, RateControl::Size(250_000))),
                    ("b.mkv", rendition(Codec::Copy)),
                ],
            ),
            ("file:///", 8, false, vec![("a.mp4", peaked)]),
            ("s3://b/", 6, false, vec![("a.mp4", rated_and_peaked)]),
            (
                "s3://b/",
                14,
                false,
                vec![("a.mp4", rendition(Codec::H264))],
            ),
            (
                "file:///",
                5,
                false,
                vec![("a.mkv", rendition(Codec::Copy))],
            ),
            (
                "file:///",
                14,
                true,
                vec![
                    ("a.mkv", rated(Codec::H264, RateControl::Bitrate(4_500))),
                    ("b.mp4", rated(Codec::H265, RateControl::Crf(26_000))),
                ],
            ),
        ];
        let templates = wanted
            .into_iter()
            .enumerate()
            .map(|(number, (root, seconds, index_lies, outputs))| {
                Template::new(number, root, seconds, index_lies, outputs)
            })
            .collect();
        Self { templates }
    }

    /// The Plan of a template.
    pub fn plan(&self, template: usize, deep: bool) -> &Plan {
        &self.templates[template].plans[usize::from(deep)]
    }

    /// What a Job of a template must come to, planned on such a probe.
    pub fn end(&self, template: usize, deep: bool) -> &Made {
        &self.templates[template].ends[usize::from(deep)]
    }

    /// What is stored under the number of facts or of a frame table.
    pub fn object(&self, number: u64) -> Option<Vec<u8>> {
        let (of, is_table) = (number % TABLES, number / TABLES);
        let template = self.templates.get((of >> 1) as usize)?;
        let (facts, table) = &*template.stored[(of & 1) as usize];
        match is_table {
            0 => Some(facts.clone()),
            1 => Some(table.clone()),
            _ => None,
        }
    }

    /// How an honest Node ends an Attempt. `number` makes its artifacts unlike all others.
    pub fn honest(&self, work: &Work, number: u64) -> AttemptOutcome {
        let result = match work {
            Work::Probe { source, deep, .. } => TaskResult::Probed {
                facts: facts_artifact(template_of(source), *deep),
            },
            Work::Encode(work) => {
                let facts = work.facts.size_bytes;
                let lies = self.templates[(facts >> 1) as usize].index_lies && facts & 1 == 0;
                if lies && work.segment.index == 1 {
                    return failed(FailureClass::IndexLied);
                }
                TaskResult::Encoded {
                    chunks: chunks(work, number),
                }
            }
            Work::Trial(work) => TaskResult::Tried {
                points: work
                    .renditions
                    .iter()
                    .map(|r| {
                        let bytes = size(r.output, &work.segment, &r.knob) * 11 / 10;
                        vec![(r.knob.quality_milli, bytes)]
                    })
                    .collect(),
            },
            Work::Audio { .. } | Work::Whole { .. } => TaskResult::Track {
                artifact: artifact(number),
                payload_bytes: 1_000,
            },
            Work::Command { output, .. } => stitched(index_of(&output.url), 0),
            // No client of the simulation submits commands.
            Work::CommandLine(_) => return failed(FailureClass::BadInput),
            Work::Stitch(work) => stitched(work.output_index, of_parts(work)),
        };
        done(result, HONEST)
    }
}

impl Default for Library {
    fn default() -> Self {
        Self::new()
    }
}

impl Template {
    fn new(
        number: usize,
        root: &str,
        seconds: u32,
        index_lies: bool,
        outputs: Vec<(&str, Rendition)>,
    ) -> Self {
        let request = JobRequest {
            source: format!("{root}{number}"),
            start_us: None,
            duration_us: None,
            outputs: outputs
                .into_iter()
                .enumerate()
                .map(|(index, (name, rendition))| OutputRequest {
                    url: format!("file:///{index}{}", &name[1..]),
                    container: Container::from_name(name).expect("names are well chosen"),
                    rendition,
                    audio_codec: None,
                    audio_bitrate_bps: None,
                    tracks: TrackSelection::All,
                })
                .collect(),
            segment: SegmentLength::Millis(1_000 + 500 * (number as u64 % 3)),
            score: Vec::new(),
            making: Making::Usual,
            strict: false,
            overwrite: false,
            labels: BTreeMap::new(),
            priority: 50,
        };
        let looked = |deep| {
            // A deep look finds more frames where the quick one was wrong.
            let more = if index_lies && deep { 7 } else { 0 };
            let table = table(seconds, more);
            (facts(&request.source, &table, deep), table)
        };
        let plan = |deep| {
            let (facts, table) = looked(deep);
            let plan = recode_core::plan(&facts, &table, &request, &PlanPolicy::default());
            Arc::new(plan.expect("the request is plain"))
        };
        let plans = [plan(false), plan(true)];
        let stored = [false, true].map(|deep| {
            let (facts, table) = looked(deep);
            let facts = serde_json::to_vec(&facts).expect("plain data always serialises");
            Arc::new((facts, table.encode()))
        });
        let mut template = Self {
            request,
            index_lies,
            plans,
            ends: [Arc::default(), Arc::default()],
            stored,
        };
        template.ends = [false, true].map(|deep| Arc::new(template.alone(number, deep)));
        template
    }

    /// One Job on one Node without faults.
    fn alone(&self, number: usize, deep: bool) -> Made {
        let job = JobId(1);
        let library = Library {
            // Only the facts' number is looked up, and here no index lies: that has another end.
            templates: vec![
                Self {
                    index_lies: false,
                    ..self.clone()
                };
                number + 1
            ],
        };
        let mut state = State::default();
        let mut at_ms = 0;
        let mut apply = |state: &mut State, command| {
            at_ms += 1;
            state.apply(&Entry { at_ms, command });
        };
        apply(
            &mut state,
            Command::RegisterNode {
                name: "a".into(),
                incarnation: "1".into(),
            },
        );
        let node = *state.nodes.keys().next().expect("it has registered");
        apply(
            &mut state,
            Command::SubmitJob {
                request_id: "1".into(),
                job,
                request: Box::new(self.request.clone()),
            },
        );
        if deep {
            apply(
                &mut state,
                Command::Replan {
                    job,
                    reason: String::new(),
                },
            );
        }
        let mut lists = BTreeMap::new();
        for turn in 0..2_000 {
            if state.jobs[&job].state().is_terminal() {
                break;
            }
            if matches!(state.jobs[&job].phase, Phase::Planning { .. }) {
                let plan = (*self.plans[usize::from(deep)]).clone();
                for command in plan.into_commands(job, deep, artifact(0)) {
                    apply(&mut state, command);
                }
            }
            for command in decide::next(&state, job) {
                apply(&mut state, command);
            }
            let Some(task) = state.ready(u64::MAX).next() else {
                continue;
            };
            apply(
                &mut state,
                Command::GrantLeases {
                    grants: vec![LeaseGrant {
                        task: task.id,
                        attempt: task.attempt,
                        node,
                    }],
                },
            );
            let work = match state.work_for(task.id).expect("it is leased") {
                Order::Work(work) => *work,
                Order::Stitch(order) => {
                    lists.insert(turn, order.chunks().collect::<Vec<_>>());
                    order.stored(artifact(turn))
                }
            };
            let outcome = match &work {
                Work::Stitch(work) => stitch(work, &lists[&work.chunks.size_bytes], &self.request),
                work => library.honest(work, 1),
            };
            apply(
                &mut state,
                Command::CompleteAttempt {
                    task: task.id,
                    attempt: task.attempt,
                    outcome: Box::new(outcome),
                },
            );
        }
        assert_eq!(
            state.jobs[&job].state(),
            recode_types::JobState::Done,
            "kind {number} of job does not end by itself"
        );
        made(&state, job).expect("it has run")
    }
}

/// What a Job has come to.
pub fn made(state: &State, job: JobId) -> Option<Made> {
    let run = state.jobs.get(&job)?.run()?;
    let chunks = run.outputs.iter().map(|output| {
        let chunks = output.chunks.iter().flatten();
        chunks.map(|c| (c.facts.address, *c.knob)).collect()
    });
    Some(chunks.collect())
}

/// In `peak_rss_bytes`: the Attempt did what was asked.
pub const HONEST: u64 = 1;

/// An Attempt that has ended with a result.
pub fn done(result: TaskResult, honesty: u64) -> AttemptOutcome {
    AttemptOutcome::Done {
        result,
        usage: Usage {
            wall_ms: 1_000,
            cpu_ms: 900,
            source_bytes_read: 10,
            bytes_written: 5,
            peak_rss_bytes: honesty,
        },
    }
}

/// An Attempt that has failed.
pub fn failed(class: FailureClass) -> AttemptOutcome {
    AttemptOutcome::Failed {
        failure: Failure {
            class,
            message: format!("{class:?}"),
            stderr_tail: None,
        },
        usage: Usage::default(),
    }
}

/// Bytes of a Chunk: falls with the knob, differs from Segment to Segment.
fn size(output: u16, segment: &Segment, knob: &Knob) -> u64 {
    let weight = u64::from(segment.rows) * (60 + u64::from(segment.index * 37 % 50)) / 4;
    let rate = knob.peak.map_or(1.0, |p| p.maxrate_bps as f64 / 8_000.0);
    let steps = (f64::from(knob.quality_milli) / 1000.0 - 24.0 - f64::from(output)) * 0.12;
    (weight as f64 * (-steps).exp() * rate).max(1.0) as u64
}

/// What an honest encode makes.
pub fn chunks(work: &EncodeWork, number: u64) -> Vec<ChunkFacts> {
    let segment = &work.segment;
    work.renditions
        .iter()
        .map(|r| ChunkFacts {
            output: r.output,
            segment: segment.index,
            address: r.address,
            artifact: artifact(number),
            frames: segment.rows,
            payload_bytes: size(r.output, segment, &r.knob),
            params: Digest([r.output as u8; 32]),
            signature_before: segment.first_row.checked_sub(1),
            signature_first: segment.first_row,
            signature_last: segment.first_row + segment.rows - 1,
            signature_after: Some(segment.first_row + segment.rows),
            score_frames: None,
            scores: Vec::new(),
            reused: false,
        })
        .collect()
}

/// How a stitch of these Chunks ends: under a peak limit one large Chunk breaks it, and more than one round may be needed.
pub fn stitch(work: &StitchWork, chunks: &[ChunkFacts], request: &JobRequest) -> AttemptOutcome {
    let peak = request
        .outputs
        .get(work.output_index as usize)
        .and_then(|o| o.rendition.peak);
    if let Some(peak) = peak {
        let violations: Vec<(u32, u32, u64)> = chunks
            .iter()
            .filter(|c| {
                c.segment % 3 == 1
                    && c.payload_bytes * 10 > u64::from(c.frames) * 24
                    && c.payload_bytes * 8 * 25 * 20 > peak.maxrate_bps * u64::from(c.frames) * 21
            })
            .map(|c| (c.segment, 400, 500))
            .collect();
        if !violations.is_empty() {
            return done(TaskResult::Revise { violations }, HONEST);
        }
    }
    done(
        stitched(work.output_index, of_list(chunks) ^ of_parts(work)),
        HONEST,
    )
}

/// A number for a list of Chunks in its order.
pub fn of_list(chunks: &[ChunkFacts]) -> u64 {
    chunks.iter().fold(7, |digest, chunk| {
        let what = u64::from(chunk.output) << 32 | u64::from(chunk.segment);
        crate::rng::mix(crate::rng::mix(digest, what), chunk.artifact.size_bytes)
    })
}

/// A number for the tracks that go into an Output.
pub fn of_tracks(audio: Option<u64>, whole: impl Iterator<Item = (u32, u64)>) -> u64 {
    whole.fold(audio.unwrap_or(0), |digest, (track, number)| {
        crate::rng::mix(digest, u64::from(track) << 40 | number)
    })
}

fn of_parts(work: &StitchWork) -> u64 {
    let whole = work.whole.iter().map(|(track, a)| (*track, a.size_bytes));
    of_tracks(work.audio.as_ref().map(|a| a.size_bytes), whole)
}

/// An Output in its place.
pub fn stitched(output: u16, of: u64) -> TaskResult {
    TaskResult::Stitched {
        output: OutputFacts {
            output,
            url: String::new(),
            size_bytes: of,
            frames: 250,
            duration_us: 10_000_000,
            video_bytes: 4_000,
            scores: Vec::new(),
            score_frames_url: None,
            warnings: Vec::new(),
        },
    }
}

fn index_of(url: &str) -> u16 {
    let digits: String = url.chars().filter(char::is_ascii_digit).collect();
    digits[..1].parse().unwrap_or(0)
}

fn rendition(codec: Codec) -> Rendition {
    Rendition {
        codec,
        encoder: codec.default_encoder().to_owned(),
        rate: None,
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

fn table(seconds: u32, more: usize) -> FrameTable {
    FrameTable {
        time_base: Rational::new(1, 12800),
        rows: (0..seconds as usize * 25 + more)
            .map(|i| FrameRow {
                pts: i as i64 * 512,
                key: i % 25 == 0,
                signature: None,
            })
            .collect(),
        last_duration: 512,
    }
}

fn track(index: u32, kind: TrackKind, codec: &str) -> Track {
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

fn facts(url: &str, table: &FrameTable, deep: bool) -> SourceFacts {
    SourceFacts {
        identity: SourceIdentity {
            url: url.to_owned(),
            size_bytes: 1 << 20,
            version: "1-1".to_owned(),
        },
        format: "mov,mp4,m4a,3gp,3g2,mj2".to_owned(),
        start_us: 0,
        duration_us: None,
        tracks: vec![
            track(0, TrackKind::Video, "h264"),
            track(1, TrackKind::Audio, "pcm_s16le"),
        ],
        chapters: 0,
        tags: BTreeMap::new(),
        video: Some(VideoFacts {
            track: 0,
            codec: "h264".to_owned(),
            time_base: table.time_base,
            frames: table.rows.len() as u64,
            start_pts: 0,
            end_pts: table.end_pts(),
            width: 1280,
            height: 720,
            pix_fmt: "yuv420p".to_owned(),
            sample_aspect: Rational::new(1, 1),
            frame_rate: Rational::new(25, 1),
            interlaced_top_first: None,
            dolby_vision_profile: None,
            hdr10_plus: false,
            hdr10_static: false,
            captions: false,
            alpha: false,
            color: None,
        }),
        read_mode: ReadMode::Clip,
        deep,
        decode_threads: 1,
        rows_estimated: false,
        table: Some(artifact(
            TABLES + facts_artifact(template_of(url), deep).size_bytes,
        )),
        index: None,
        rewrapped: None,
        index_digest: None,
        ffmpeg: "ffmpeg version 9".to_owned(),
        warnings: Vec::new(),
    }
}

/// Whether a Task may be granted as far as its Job's results say, told independently of the Job's own lists.
pub fn is_wanted(state: &State, job: JobId, key: TaskKey) -> bool {
    let Some(job) = state.jobs.get(&job) else {
        return false;
    };
    let run = match (&job.phase, key) {
        (Phase::Probing { deep }, TaskKey::Probe { deep: wanted }) => return *deep == wanted,
        (Phase::Running(run), _) => run,
        _ => return false,
    };
    let output = |index: u16| run.outputs.get(index as usize);
    let group = |index: u16| run.plan.groups.get(index as usize).into_iter().flatten();
    match key {
        TaskKey::Encode { group: g, segment } => {
            let lacking: Vec<_> = group(g)
                .filter_map(|&o| output(o))
                .filter(|o| matches!(o.chunks.get(segment as usize), Some(None)))
                .collect();
            !lacking.is_empty() && lacking.iter().all(|o| o.knobs[segment as usize].is_some())
        }
        TaskKey::Trial { group: g, segment } => group(g)
            .filter_map(|&o| output(o))
            .any(|o| o.trials.get(segment as usize).is_some_and(Vec::is_empty)),
        TaskKey::Audio { output: o } => output(o).is_some_and(|o| o.audio.is_none()),
        TaskKey::Whole { output: o, track } => {
            output(o).is_some_and(|o| !o.whole.contains_key(&track))
        }
        TaskKey::Stitch { output: o } => output(o).is_some_and(|o| {
            o.result.is_none()
                && o.settled
                && o.violations.is_empty()
                && o.chunks.iter().all(Option::is_some)
        }),
        TaskKey::Command { output: o } => output(o).is_some_and(|o| o.result.is_none()),
        TaskKey::Probe { .. } | TaskKey::Score { .. } => false,
    }
}
