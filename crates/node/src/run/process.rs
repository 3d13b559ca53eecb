//! One FFmpeg process that encodes a Segment: what it is given, and what it made.

use super::chunk::{MadeChunk, check_chunk, fused_check};
use super::frames::{Matched, Mismatch, Seen};
use super::tail::{Keeper, Parts};
use super::timeline::{Timeline, is_last};
use super::{Attempt, Loaded, failure};
use crate::proof::no_session;
use recode_media::args::encode::{EncodeArgs, EncodeOutput, FusedCheck, FusedScore};
use recode_media::args::{Input, Span};
use recode_media::memory;
use recode_media::mp4::{ChunkIndex, read_chunk};
use recode_media::run::{Invocation, spawn};
use recode_types::rendition::Scale;
use recode_types::task::{EncodeRendition, EncodeWork, Failure, FailureClass};
use recode_types::{Engine, FrameTable, Segment};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What to make of one Segment.
#[derive(Clone, Copy)]
pub(super) struct Order<'a> {
    pub loaded: &'a Arc<Loaded>,
    pub work: &'a EncodeWork,
    /// Indexes into its Renditions.
    pub which: &'a [usize],
    /// What comes out is kept, and so must be checked.
    pub kept: bool,
    /// What is finished is put away for Attempts to come; `None`: nothing is.
    pub parts: Option<Parts>,
}

/// The frames a process is to be given: the Segment, and the table its rows are those of. Where the Source's own table is
/// an estimate, both are what was found in the clip.
#[derive(Clone, Copy)]
pub(super) struct Frames<'a> {
    pub table: &'a FrameTable,
    pub segment: Segment,
}

/// What one FFmpeg process made.
pub(super) struct Made {
    pub matched: Matched,
    pub paths: Vec<PathBuf>,
    pub indexes: Vec<ChunkIndex>,
    /// Logs of the scores; empty where there are none.
    scores: Vec<PathBuf>,
    check: Option<FusedCheck>,
    neighbours: (bool, bool),
}

impl Made {
    /// One for each Rendition.
    pub fn chunks(self) -> impl Iterator<Item = MadeChunk> {
        let mut scores = self.scores.into_iter();
        let (grade, logs) = self
            .check
            .map_or((None, vec![]), |c| (Some(c.grade), c.logs));
        let mut logs = logs.into_iter();
        let (matched, neighbours) = (self.matched, self.neighbours);
        self.paths
            .into_iter()
            .zip(self.indexes)
            .map(move |(path, index)| MadeChunk {
                matched: matched.clone(),
                path,
                index,
                scores: scores.next(),
                check: grade.zip(logs.next()),
                neighbours,
            })
    }
}

/// What a process decodes.
pub(super) struct Feed {
    pub input: Input,
    /// Which of the decoded frames are wanted.
    pub span: Span,
    /// From the input's clock to the Output's.
    pub shift: i64,
}

/// Something between the table and the decoder does not fit, or the Attempt failed otherwise.
pub(super) enum Trouble {
    Mismatch(Mismatch),
    Failure(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Encodes. `check` says whether the decode gave the right frames; `keeper` puts away what is finished meanwhile.
pub(super) async fn one_process(
    attempt: &mut Attempt,
    order: Order<'_>,
    frames: Frames<'_>,
    feed: Feed,
    check: impl Fn(&[Seen]) -> Result<Matched, Mismatch>,
    keeper: Option<Keeper>,
) -> Result<Made, Trouble> {
    let Order {
        loaded,
        work,
        which,
        kept,
        ..
    } = order;
    let Feed { input, span, shift } = feed;
    let ffmpeg = Arc::clone(&attempt.ffmpeg);
    let video = loaded
        .facts
        .video
        .as_ref()
        .expect("a plan to encode has a picture");
    let paths: Vec<PathBuf> = which.iter().map(|i| chunk_path(attempt, *i)).collect();
    let logs = |kind: &str| -> Vec<PathBuf> {
        let name = |i| attempt.room.file(&format!("{kind}-{i}.log"));
        which.iter().map(name).collect()
    };
    let outputs = which
        .iter()
        .zip(&paths)
        .map(|(i, path)| EncodeOutput {
            rendition: &work.renditions[*i].rendition,
            knob: work.renditions[*i].knob,
            size: size(&work.renditions[*i], (video.width, video.height)),
            path: path.clone(),
        })
        .collect();
    let scored = !work.score.is_empty();
    let scores = if scored { logs("scores") } else { vec![] };
    let check_of_chunks = kept
        .then(|| fused_check(work, ffmpeg.has_loopback_decoder(), || logs("check")))
        .flatten();
    let mut args = EncodeArgs {
        input,
        span,
        time_base: frames.table.time_base,
        shift,
        video,
        frames: u64::from(frames.segment.rows),
        outputs,
        score: scored.then(|| FusedScore {
            metrics: work.score.clone(),
            logs: scores.clone(),
        }),
        check: check_of_chunks,
        growing: keeper.is_some(),
        major: ffmpeg.major(),
    };
    for i in which {
        ffmpeg
            .require_encoder(&work.renditions[*i].rendition.encoder)
            .map_err(|e| failure(FailureClass::MissingCapability, e))?;
        offered(attempt, &work.renditions[*i].rendition.encoder).await?;
    }
    if scored {
        ffmpeg
            .require_vmaf()
            .map_err(|e| failure(FailureClass::MissingCapability, e))?;
    }
    // Before the slot: work that needs no card may have that meanwhile.
    let engines: BTreeSet<Engine> = encoders(work, which)
        .filter_map(Engine::of_encoder)
        .collect();
    let mut sessions = Vec::new();
    for engine in engines {
        sessions.extend(attempt.context.proofs.session(engine).await);
    }
    let peak = |encoder: &str| attempt.context.proofs.peak_bytes(encoder);
    let usual = memory::usual_of_encode(&args, peak);
    attempt.start(usual).await;
    let seen = match decoded(attempt, &args, work, keeper.clone()).await {
        // FFmpeg's loop-back decoder stumbles over what plain decoders take: pictures in 3D, for one.
        Err(failed) if args.check.is_some() && may_be_the_check(failed.class) => {
            tracing::warn!(
                error = failed.message,
                "encoding again, with the check in a process of its own"
            );
            args.check = None;
            decoded(attempt, &args, work, keeper).await
        }
        done => done,
    };
    let proofs = &attempt.context.proofs;
    if seen.as_ref().is_err_and(no_session) {
        sessions.into_iter().for_each(|one| proofs.refused(one));
    } else {
        drop(sessions);
    }
    for encoder in encoders(work, which) {
        match &seen {
            Ok(_) => proofs.worked(encoder),
            Err(failed) => proofs.failed(encoder, failed),
        }
    }
    let seen = seen?;
    let matched = check(&seen).map_err(Trouble::Mismatch)?;
    let mut indexes = Vec::with_capacity(paths.len());
    for (n, path) in paths.iter().enumerate() {
        let index = read_chunk(path).map_err(|e| failure(FailureClass::Unknown, e))?;
        let rendition = &work.renditions[which[n]].rendition;
        let timeline = Timeline::new(
            &loaded.facts,
            frames.table,
            rendition.fps,
            &[frames.segment],
            work.start_us,
            is_last(&loaded.table, &work.segment),
        );
        check_chunk(&index, timeline.of_segment(&frames.segment).len())?;
        indexes.push(index);
    }
    Ok(Made {
        matched,
        paths,
        indexes,
        scores,
        check: args.check,
        neighbours: span.neighbours(),
    })
}

/// Where the encoder writes the Chunk of a Rendition.
pub(super) fn chunk_path(attempt: &Attempt, rendition: usize) -> PathBuf {
    attempt.room.file(&format!("chunk-{rendition}.mp4"))
}

fn encoders<'a>(work: &'a EncodeWork, which: &'a [usize]) -> impl Iterator<Item = &'a str> {
    which
        .iter()
        .map(|i| work.renditions[*i].rendition.encoder.as_str())
}

/// Says no to an encoder that did not pass, or was withdrawn.
async fn offered(attempt: &Attempt, encoder: &str) -> Result<(), Failure> {
    let Some(reason) = attempt.context.proofs.refuses(encoder).await else {
        return Ok(());
    };
    Err(Failure {
        class: FailureClass::MissingCapability,
        message: format!("this node does not offer {encoder}: {reason}"),
        stderr_tail: None,
    })
}

fn may_be_the_check(class: FailureClass) -> bool {
    matches!(class, FailureClass::Unknown | FailureClass::Killed)
}

/// Runs the process; answers what it decoded.
async fn decoded(
    attempt: &mut Attempt,
    args: &EncodeArgs<'_>,
    work: &EncodeWork,
    keeper: Option<Keeper>,
) -> Result<Vec<Seen>, Failure> {
    let list = args
        .build()
        .map_err(|e| failure(FailureClass::BadInput, e))?;
    tracing::debug!(args = ?list, "encoding");
    let mut invocation = Invocation::new(list)
        .reading(&args.input.path)
        .writing(attempt.room.path())
        .on_cards(
            args.outputs
                .iter()
                .filter_map(|output| Engine::of_encoder(&output.rendition.encoder)),
        )
        .with_stdout();
    let peak = |encoder: &str| attempt.context.proofs.peak_bytes(encoder);
    invocation.need_bytes = memory::of_encode(args, peak);
    let sizes = args.outputs.iter().map(|output| output.size);
    invocation.wall = Some(longest(work.segment.rows, sizes));
    let child = spawn(&attempt.ffmpeg, invocation)
        .await
        .map_err(|e| e.failure)?;
    let seen = Mutex::new(Vec::with_capacity(work.segment.rows as usize + 2));
    let encoded = child.wait_lines(
        |line| {
            if let Some(frame) = signature(line) {
                lock(&seen).push(frame);
            }
        },
        attempt.on_progress(),
    );
    let finished = match keeper {
        Some(mut keeper) => {
            let finished = tokio::select! {
                finished = encoded => finished,
                never = keeper.run(&seen) => match never {},
            };
            attempt.usage.bytes_written += keeper.bytes_written();
            finished
        }
        None => encoded.await,
    };
    match finished {
        Ok(finished) => {
            attempt.used(&finished.usage);
            Ok(seen.into_inner().unwrap_or_else(PoisonError::into_inner))
        }
        Err(error) => {
            attempt.used(&error.usage);
            Err(error.failure)
        }
    }
}

/// When this encode is taken for one that never ends, although it shows progress. Half a minute for each frame, and a minute for
/// each megapixel of it: many times what the slowest presets take.
fn longest(frames: u32, sizes: impl Iterator<Item = (u32, u32)>) -> Duration {
    let pixels = |(width, height): (u32, u32)| u64::from(width) * u64::from(height);
    let of_a_frame = 30 + 60 * sizes.map(pixels).sum::<u64>() / 1_000_000;
    Duration::from_secs(3600 + u64::from(frames) * of_a_frame)
}

/// What was seen so far: whoever panicked while adding to it left it whole.
pub(super) fn lock(seen: &Mutex<Vec<Seen>>) -> MutexGuard<'_, Vec<Seen>> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `0, 12, 12, 1, 2304, 0x6ad8fc11` as framecrc prints it: stream, dts, pts, duration, size, CRC.
fn signature(line: &str) -> Option<Seen> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = line.split(',').map(str::trim);
    let pts = fields.nth(2)?.parse().ok()?;
    let crc = fields.nth(2)?.strip_prefix("0x")?;
    Some(Seen {
        pts,
        signature: u32::from_str_radix(crc, 16).ok()?,
    })
}

/// Planned picture size: the Plan has settled it; what is still open follows the Source.
fn size(wanted: &EncodeRendition, source: (u32, u32)) -> (u32, u32) {
    match wanted.rendition.scale {
        Scale::Exact { width, height } => (width, height),
        _ => source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encode_may_take_minutes_for_each_frame_and_no_more() {
        let hours =
            |frames, sizes: &[(u32, u32)]| longest(frames, sizes.iter().copied()).as_secs() / 3600;
        assert_eq!(hours(0, &[]), 1);
        assert_eq!(hours(240, &[(1920, 1080)]), 11);
        assert_eq!(hours(240, &[(1920, 1080), (3840, 2160)]), 44);
    }

    #[test]
    fn signature_lines_are_read_and_headers_passed_over() {
        assert_eq!(
            signature("0,          1,          7,        1,     2304, 0x8612fc3c"),
            Some(Seen {
                pts: 7,
                signature: 0x8612_fc3c
            })
        );
        assert_eq!(signature("#tb 0: 1001/30000"), None);
        assert_eq!(signature("0, 1, 2"), None);
    }
}
