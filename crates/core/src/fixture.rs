//! Small Sources, requests and results for tests of this crate.

use crate::machine::{Command, Entry, LeaseGrant, Order, Outcome, State, Wish};
use crate::plan::{Plan, PlanPolicy, plan};
use recode_types::event::JobState;
use recode_types::rendition::{Deinterlace, Profile, RateControl, Scale};
use recode_types::request::TrackSelection;
use recode_types::source::{ReadMode, SourceIdentity, Track, TrackKind, VideoFacts};
use recode_types::task::{
    AttemptOutcome, ChunkFacts, EncodeWork, Failure, FailureClass, OutputFacts, TaskResult, Usage,
    Work,
};
use recode_types::time::Rational;
use recode_types::{
    ArtifactRef, AttemptNo, Codec, CommandFile, CommandOutput, CommandRequest, Container, Digest,
    FrameRow, FrameTable, JobId, JobRequest, Making, Needs, NodeId, OutputRequest, Rendition,
    SegmentLength, SourceFacts, TaskId, TaskKey,
};
use std::collections::BTreeMap;

pub const JOB: JobId = JobId(7);
pub const NODE: NodeId = NodeId(1);

pub fn artifact(name: &str) -> ArtifactRef {
    ArtifactRef {
        key: name.to_owned(),
        size_bytes: 100,
        digest: Digest::of(name.as_bytes()),
    }
}

/// `seconds` of 25 frames a second in a time base of 1/12800, with a key frame every `gop` frames.
pub fn table(seconds: u32, gop: usize) -> FrameTable {
    FrameTable {
        time_base: Rational::new(1, 12800),
        rows: (0..seconds as usize * 25)
            .map(|i| FrameRow {
                pts: i as i64 * 512,
                key: i % gop == 0,
                signature: None,
            })
            .collect(),
        last_duration: 512,
    }
}

pub fn track(index: u32, kind: TrackKind, codec: &str) -> Track {
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

pub fn facts(table: &FrameTable) -> SourceFacts {
    SourceFacts {
        identity: SourceIdentity {
            url: "file:///film.mp4".to_owned(),
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
        deep: false,
        decode_threads: 1,
        rows_estimated: false,
        table: Some(artifact("table")),
        index: None,
        rewrapped: None,
        index_digest: None,
        ffmpeg: "ffmpeg version 9".to_owned(),
        warnings: Vec::new(),
    }
}

pub fn rendition(codec: Codec) -> Rendition {
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

pub fn output(name: &str, rendition: Rendition) -> OutputRequest {
    OutputRequest {
        url: format!("file:///{name}"),
        container: Container::from_name(name).expect("tests name outputs well"),
        rendition,
        audio_codec: None,
        audio_bitrate_bps: None,
        tracks: TrackSelection::All,
    }
}

pub fn request(outputs: Vec<OutputRequest>) -> JobRequest {
    JobRequest {
        source: "file:///film.mp4".to_owned(),
        start_us: None,
        duration_us: None,
        outputs,
        segment: SegmentLength::Millis(2_000),
        score: Vec::new(),
        making: Making::Usual,
        strict: false,
        overwrite: false,
        labels: BTreeMap::new(),
        priority: 50,
    }
}

/// One H.264 Output in MP4 of 10 s: five Segments and one audio task.
pub fn small_request() -> JobRequest {
    request(vec![output("out.mp4", rendition(Codec::H264))])
}

pub fn small_plan(request: &JobRequest) -> Plan {
    let table = table(10, 50);
    plan(&facts(&table), &table, request, &PlanPolicy::default()).expect("a plain request")
}

/// A command with two inputs, and two outputs of which one is many files.
pub fn command_request() -> CommandRequest {
    let file = |options: &str, url: &str| CommandFile {
        options: options.to_owned(),
        url: url.to_owned(),
    };
    CommandRequest {
        inputs: vec![file("-ss 5", "s3://in/a.mp4"), file("", "s3://in/b.png")],
        outputs: vec![
            file("-c copy", "s3://out/a.mkv"),
            file("-r 1", "s3://out/%03d.png"),
        ],
        labels: BTreeMap::from([("team".to_owned(), "news".to_owned())]),
        priority: 60,
        ..CommandRequest::default()
    }
}

pub fn needs() -> Needs {
    Needs {
        capabilities: vec!["libx264".to_owned(), "recode:command".to_owned()],
        labels: BTreeMap::new(),
        heavy: true,
    }
}

/// What a Node makes of a command.
pub fn made(request: &CommandRequest) -> TaskResult {
    let outputs = request.outputs.iter().map(|output| CommandOutput {
        url: output.url.clone(),
        files: 3,
        size_bytes: 1_000,
        frames: 25,
        duration_us: 1_000_000,
    });
    TaskResult::Commanded {
        outputs: outputs.collect(),
    }
}

/// A State with hands: applies commands and plays the Node.
#[derive(Clone, Default)]
pub struct Bench {
    pub state: State,
    pub now_ms: u64,
    /// Everything applied so far.
    pub log: Vec<Entry>,
}

impl Bench {
    pub fn apply(&mut self, command: Command) -> Outcome {
        let before = self.state.clone();
        self.now_ms += 1;
        let entry = Entry {
            at_ms: self.now_ms,
            command,
        };
        let (outcome, _) = self.state.apply(&entry);
        self.log.push(entry.clone());
        if let Err(broken) = crate::invariant::check(&before, &self.state) {
            panic!("{broken} after {:?}", entry.command);
        }
        if let Outcome::Rejected(_) = outcome {
            assert_eq!(before, self.state, "a rejected command changes nothing");
        }
        outcome
    }

    pub fn register(&mut self) -> NodeId {
        let n = self.state.last_node + 1;
        match self.apply(Command::RegisterNode {
            name: format!("host {n}"),
            incarnation: format!("start {n}"),
        }) {
            Outcome::Registered { node } => node,
            other => panic!("{other:?}"),
        }
    }

    /// A Job and one Node.
    pub fn submitted(request: JobRequest) -> Self {
        let mut bench = Self::default();
        assert_eq!(bench.register(), NODE);
        bench.apply(Command::SubmitJob {
            request_id: "one".to_owned(),
            job: JOB,
            request: Box::new(request),
        });
        bench
    }

    /// A command job and one Node, in a cluster that knows both.
    pub fn commanded(request: CommandRequest) -> Self {
        let mut bench = Self::default();
        assert_eq!(bench.register(), NODE);
        bench.apply(Command::RaiseLevel {
            level: crate::machine::level::COMMANDS,
        });
        let submitted = bench.apply(Command::SubmitCommand {
            request_id: "one".to_owned(),
            job: JOB,
            request: Box::new(request),
            needs: needs(),
        });
        assert!(matches!(
            submitted,
            Outcome::Submitted {
                existing: false,
                ..
            }
        ));
        bench
    }

    /// Probed and planned.
    pub fn running(request: JobRequest) -> Self {
        let plan = small_plan(&request);
        let mut bench = Self::submitted(request);
        bench.probe(false);
        bench.plan(plan, false);
        bench
    }

    pub fn probe(&mut self, deep: bool) {
        let attempt = self.grant(TaskKey::Probe { deep });
        self.done(
            TaskKey::Probe { deep },
            attempt,
            TaskResult::Probed {
                facts: artifact("facts"),
            },
        );
    }

    pub fn plan(&mut self, plan: Plan, deep: bool) {
        for command in plan.into_commands(JOB, deep, artifact("segments")) {
            assert_eq!(self.apply(command), Outcome::Accepted);
        }
    }

    pub fn ask(&mut self, request_id: &str, wish: Wish) -> Outcome {
        self.apply(Command::Ask {
            job: JOB,
            request_id: request_id.to_owned(),
            wish,
        })
    }

    /// Archives an ended Job.
    pub fn archive(&mut self, job: JobId) {
        let at_ms = self.now_ms;
        self.apply(Command::Retire {
            ended_before_ms: at_ms,
            most_ended: 1_000,
            most_stubs: 1_000,
        });
        let events = self.state.jobs[&job].events.len() as u64;
        let archived = self.apply(Command::ArchiveJob {
            job,
            events,
            archive: artifact("archive"),
        });
        assert_eq!(archived, Outcome::Accepted);
    }

    pub fn job_state(&self) -> JobState {
        self.state.jobs[&JOB].state()
    }

    pub fn ready(&self) -> Vec<TaskKey> {
        self.state.ready(self.now_ms).map(|t| t.id.key).collect()
    }

    pub fn try_grant(&mut self, key: TaskKey) -> Outcome {
        let attempt = self.state.jobs[&JOB].next_attempt(key);
        self.apply(Command::GrantLeases {
            grants: vec![LeaseGrant {
                task: TaskId { job: JOB, key },
                attempt,
                node: NODE,
            }],
        })
    }

    pub fn grant(&mut self, key: TaskKey) -> AttemptNo {
        let attempt = self.state.jobs[&JOB].next_attempt(key);
        assert_eq!(
            self.try_grant(key),
            Outcome::Granted {
                results: vec![Ok(())]
            },
            "{key}"
        );
        attempt
    }

    pub fn done(&mut self, key: TaskKey, attempt: AttemptNo, result: TaskResult) -> Outcome {
        self.complete(
            key,
            attempt,
            AttemptOutcome::Done {
                result,
                usage: usage(),
            },
        )
    }

    pub fn fail(&mut self, key: TaskKey, attempt: AttemptNo, class: FailureClass) -> Outcome {
        self.complete(
            key,
            attempt,
            AttemptOutcome::Failed {
                failure: Failure {
                    class,
                    message: format!("{class:?} it was"),
                    stderr_tail: Some("last line\n\n".to_owned()),
                },
                usage: usage(),
            },
        )
    }

    pub fn complete(
        &mut self,
        key: TaskKey,
        attempt: AttemptNo,
        outcome: AttemptOutcome,
    ) -> Outcome {
        self.apply(Command::CompleteAttempt {
            task: TaskId { job: JOB, key },
            attempt,
            outcome: Box::new(outcome),
        })
    }

    /// What an honest Node would answer. `size` says how large a Chunk comes out.
    pub fn result(&self, key: TaskKey, size: &dyn Fn(&Rendition, u32, u32) -> u64) -> TaskResult {
        let task = TaskId { job: JOB, key };
        match self.state.work_for(task).expect("the task exists") {
            Order::Stitch(order) => match order.stored(artifact("chunks")) {
                Work::Stitch(work) => stitched(work.output_index),
                other => panic!("{other:?}"),
            },
            Order::Work(work) => match *work {
                Work::Probe { .. } => TaskResult::Probed {
                    facts: artifact("facts"),
                },
                Work::Encode(work) => TaskResult::Encoded {
                    chunks: chunks(&work, size),
                },
                Work::Trial(work) => TaskResult::Tried {
                    points: work
                        .renditions
                        .iter()
                        .map(|r| {
                            let milli = r.knob.quality_milli;
                            vec![(milli, size(&r.rendition, work.segment.index, milli))]
                        })
                        .collect(),
                },
                Work::Audio { .. } | Work::Whole { .. } => TaskResult::Track {
                    artifact: artifact("track"),
                    payload_bytes: 10_000,
                },
                Work::Command { .. } => stitched(0),
                Work::CommandLine(work) => made(&work.request),
                Work::Stitch(_) => panic!("stitches are ordered in two steps"),
            },
        }
    }

    /// Grants and finishes the next ready Task; `false`: there is none.
    pub fn step(&mut self, size: &dyn Fn(&Rendition, u32, u32) -> u64) -> bool {
        let Some(key) = self.ready().first().copied() else {
            return false;
        };
        let attempt = self.grant(key);
        let result = self.result(key, size);
        assert_eq!(self.done(key, attempt, result), Outcome::Accepted);
        true
    }
}

pub fn stitched(output: u16) -> TaskResult {
    TaskResult::Stitched {
        output: OutputFacts {
            output,
            url: format!("file:///{output}"),
            size_bytes: 5_000,
            frames: 250,
            duration_us: 10_000_000,
            video_bytes: 4_000,
            scores: Vec::new(),
            score_frames_url: None,
            warnings: Vec::new(),
        },
    }
}

pub fn chunks(work: &EncodeWork, size: &dyn Fn(&Rendition, u32, u32) -> u64) -> Vec<ChunkFacts> {
    let index = work.segment.index;
    work.renditions
        .iter()
        .map(|r| ChunkFacts {
            output: r.output,
            segment: index,
            address: r.address,
            artifact: artifact("chunk"),
            frames: work.segment.rows,
            payload_bytes: size(&r.rendition, index, r.knob.quality_milli),
            params: Digest::of(&[r.output as u8]),
            // Frames are called by their number.
            signature_before: work.segment.first_row.checked_sub(1),
            signature_first: work.segment.first_row,
            signature_last: work.segment.first_row + work.segment.rows - 1,
            signature_after: Some(work.segment.first_row + work.segment.rows),
            score_frames: None,
            scores: Vec::new(),
            reused: false,
        })
        .collect()
}

pub fn usage() -> Usage {
    Usage {
        wall_ms: 1_000,
        cpu_ms: 900,
        source_bytes_read: 10,
        bytes_written: 5,
        peak_rss_bytes: 1,
    }
}

pub fn even_size(_: &Rendition, _: u32, _: u32) -> u64 {
    1_000
}

pub fn rated(codec: Codec, rate: RateControl) -> Rendition {
    Rendition {
        rate: Some(rate),
        ..rendition(codec)
    }
}
