//! One Segment to Chunks: fetch, decode once, encode every Rendition of the group, hold what came out against the
//! frame table, store.

use super::chunk::{MadeChunk, check_chunk, check_times, from_cache, fused_check, store, verify};
use super::frames::{Expected, Matched, Mismatch, Seen, match_frames};
use super::timeline::{Timeline, is_last};
use super::{Attempt, Loaded, failure, resources, rows};
use crate::proof::no_session;
use crate::source::{Source, from_read};
use recode_media::args::encode::{EncodeArgs, EncodeOutput, FusedCheck, FusedScore};
use recode_media::args::{Clock, Input, Span};
use recode_media::clip::{self, ClipContext};
use recode_media::mp4::{ChunkIndex, append_rows, read_chunk};
use recode_media::run::{Invocation, spawn};
use recode_types::rendition::{Deinterlace, Scale};
use recode_types::source::ReadMode;
use recode_types::task::{EncodeRendition, EncodeWork, Failure, FailureClass, TaskResult};
use recode_types::{Engine, FrameRow, FrameTable, Segment};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Encodes and stores every Rendition of the work.
pub async fn run(attempt: &mut Attempt, work: EncodeWork) -> Result<TaskResult, Failure> {
    let loaded = attempt
        .context
        .inputs
        .load(&attempt.store, &work.facts)
        .await?;
    let build = attempt
        .context
        .ffmpeg
        .identity()
        .map_err(|e| failure(FailureClass::MissingCapability, e))?;
    let mut chunks = Vec::with_capacity(work.renditions.len());
    let mut todo = Vec::new();
    let mut unsteady = false;
    for (i, wanted) in work.renditions.iter().enumerate() {
        let needs_rows = loaded.facts.rows_estimated;
        match from_cache(attempt, &work, wanted, &build, needs_rows).await? {
            Some(chunk) => chunks.push(chunk),
            None => todo.push(i),
        }
    }
    if !todo.is_empty() {
        let order = Order {
            loaded: &loaded,
            work: &work,
            which: &todo,
            kept: true,
        };
        let mut made = encode_some(attempt, order).await?;
        if loaded.facts.deep {
            // Every frame was held against one decode of the whole Source: what the neighbours saw adds nothing, and of
            // damaged pictures no two decodes show the same.
            (made.matched.before, made.matched.after) = (None, None);
        }
        unsteady = made.matched.unsteady;
        // The encoder has ended; the next Segment may have its slot while this one is checked and stored.
        attempt.held.release();
        for (i, made) in todo.into_iter().zip(made.chunks()) {
            let wanted = &work.renditions[i];
            verify(attempt, &work, wanted, &made).await?;
            chunks.push(store(attempt, &work, wanted, made, &build).await?);
        }
    }
    chunks.sort_by_key(|chunk| chunk.output);
    Ok(match unsteady {
        false => TaskResult::Encoded { chunks },
        true => TaskResult::EncodedUnsteady { chunks },
    })
}

/// Encodes every Rendition of the work only to see how many bytes come out.
pub async fn trial(attempt: &mut Attempt, work: EncodeWork) -> Result<TaskResult, Failure> {
    let loaded = attempt
        .context
        .inputs
        .load(&attempt.store, &work.facts)
        .await?;
    let all: Vec<usize> = (0..work.renditions.len()).collect();
    let order = Order {
        loaded: &loaded,
        work: &work,
        which: &all,
        kept: false,
    };
    let made = encode_some(attempt, order).await?;
    attempt.held.release();
    let points = work
        .renditions
        .iter()
        .zip(&made.indexes)
        .map(|(wanted, index)| vec![(wanted.knob.quality_milli, index.payload_bytes())])
        .collect();
    Ok(TaskResult::Tried { points })
}

/// What to make of one Segment.
#[derive(Clone, Copy)]
struct Order<'a> {
    loaded: &'a Arc<Loaded>,
    work: &'a EncodeWork,
    /// Indexes into its Renditions.
    which: &'a [usize],
    /// What comes out is kept, and so must be checked.
    kept: bool,
}

/// The frames a process is to be given: the Segment, and the table its rows are those of. Where the Source's own table is
/// an estimate, both are what was found in the clip.
#[derive(Clone, Copy)]
struct Frames<'a> {
    table: &'a FrameTable,
    segment: Segment,
}

/// What one FFmpeg process made.
struct Made {
    matched: Matched,
    paths: Vec<PathBuf>,
    indexes: Vec<ChunkIndex>,
    /// Logs of the scores; empty where there are none.
    scores: Vec<PathBuf>,
    check: Option<FusedCheck>,
    neighbours: (bool, bool),
}

impl Made {
    fn chunks(self) -> impl Iterator<Item = MadeChunk> {
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

/// Something between the table and the decoder does not fit, or the Attempt failed otherwise.
enum Trouble {
    Mismatch(Mismatch),
    Failure(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Reads the Segment in the cheapest way that gives the table's frames.
async fn encode_some(attempt: &mut Attempt, order: Order<'_>) -> Result<Made, Failure> {
    let Order { loaded, work, .. } = order;
    let identity = &loaded.facts.identity;
    let source = attempt
        .context
        .sources
        .open(&identity.url, Some(identity))
        .await?;
    if work.read_mode == ReadMode::Clip {
        // Under a deep table every frame's signature is known: a decode that began one GOP too late is tried once more
        // from further back before the slow way. Without one, only a deep probe can tell who is right.
        let looks_back = looks_back(work);
        let tries: &[u32] = match (loaded.facts.deep, looks_back) {
            (false, false) => &[0],
            (false, true) => &[1],
            (true, false) => &[0, 2],
            (true, true) => &[1, 3],
        };
        for gops_before in tries {
            let context = ClipContext {
                gops_before: *gops_before,
                frames_after: 1,
            };
            match from_clip(attempt, order, &source, context).await {
                Ok(made) => return Ok(made),
                Err(Trouble::Failure(failure)) => return Err(failure),
                Err(Trouble::Mismatch(mismatch)) if !loaded.facts.deep => {
                    return Err(failure(FailureClass::IndexLied, mismatch));
                }
                Err(Trouble::Mismatch(mismatch)) => {
                    tracing::info!(segment = work.segment.index, %mismatch, "reading this segment from further back");
                }
            }
        }
    }
    match linear(attempt, order, &source).await {
        Ok(made) => Ok(made),
        Err(Trouble::Failure(failure)) => Err(failure),
        Err(Trouble::Mismatch(mismatch)) => {
            let class = if loaded.facts.deep {
                FailureClass::BadInput
            } else {
                FailureClass::IndexLied
            };
            Err(failure(class, mismatch))
        }
    }
}

/// Whether frames before the Segment are needed.
fn looks_back(work: &EncodeWork) -> bool {
    let filters = |r: &EncodeRendition| {
        r.rendition.fps.is_some() || r.rendition.deinterlace != Deinterlace::Off
    };
    !work.score.is_empty() || work.renditions.iter().any(filters)
}

async fn from_clip(
    attempt: &mut Attempt,
    order: Order<'_>,
    source: &Arc<Source>,
    context: ClipContext,
) -> Result<Made, Trouble> {
    let Order { loaded, work, .. } = order;
    let video = loaded
        .facts
        .video
        .as_ref()
        .expect("a plan to encode has a picture");
    let index = loaded
        .index
        .as_ref()
        .ok_or_else(|| missing("packet index"))?;
    let (stream, path) = match &loaded.facts.rewrapped {
        None => (video.track, None),
        Some(artifact) => (
            0,
            Some(super::stitch::artifact_path(attempt, artifact, "rewrapped").await?),
        ),
    };
    let file = attempt.room.file(&format!("clip-{}", context.gops_before));
    let build = |bytes: Arc<dyn recode_media::bytes::ByteSource>| {
        let (index, table, file) = (Arc::clone(index), Arc::clone(&loaded.table), file.clone());
        let segment = work.segment;
        async move { clip::build(&index, stream, &table, &segment, context, &*bytes, &file).await }
    };
    let built = match path {
        None => {
            let held = source.hold(loaded, &work.segment, context).await?;
            let bytes = match &held {
                Some(held) => Arc::clone(held) as Arc<dyn recode_media::bytes::ByteSource>,
                None => Arc::clone(source) as _,
            };
            let built = build(bytes).await;
            if let Some(held) = held {
                source.stage(loaded, &held).await?;
            }
            built
        }
        Some(path) => {
            let file = recode_media::bytes::FileSource::open(&path).map_err(resources)?;
            build(Arc::new(file)).await
        }
    };
    let clip = match built {
        Ok(clip) => clip,
        Err(clip::Error::Mismatch(_)) => {
            return Err(Trouble::Mismatch(Mismatch::Count {
                expected: work.segment.rows as usize,
                seen: 0,
            }));
        }
        Err(error @ clip::Error::Write { .. }) => return Err(resources(error).into()),
        Err(error) => return Err(from_read(error).into()),
    };
    attempt.usage.source_bytes_read += clip.bytes_read;
    let found = loaded.facts.rows_estimated;
    let found = found.then(|| rows::of_clip(&clip, work.segment));
    let frames = match &found {
        Some((table, segment)) => Frames {
            table,
            segment: *segment,
        },
        None => Frames {
            table: &loaded.table,
            segment: work.segment,
        },
    };
    let span = Span::Time {
        start_pts: clip.trim_start,
        end_pts: Some(clip.trim_end),
        before_pts: clip.before.map(|pts| pts - clip.base),
        after_pts: clip.after.map(|pts| pts - clip.base),
    };
    let timeline = timeline_zero(loaded, work, frames);
    let input = Input {
        path: clip.path.clone(),
        demuxer: Some(clip.demuxer),
        stream: 0,
        clock: Clock::Stored,
        threads: 1,
    };
    let shift = clip.base - timeline;
    let check = |seen: &[Seen]| {
        match_frames(
            seen,
            Expected {
                pts: &clip.expected,
                rows: &clip.rows,
                span: (clip.trim_start, clip.trim_end),
                before_is_good: context.gops_before > 0,
            },
        )
    };
    let made = one_process(attempt, order, frames, input, span, shift, check).await;
    // The clip has served; scratch is for the Segments to come.
    let _ = std::fs::remove_file(&clip.path);
    let made = made?;
    check_times(&made.indexes, frames.table, work, &clip)?;
    if let Some((table, _)) = &found {
        for path in &made.paths {
            append_rows(path, table).map_err(resources)?;
        }
    }
    Ok(made)
}

fn timeline_zero(loaded: &Loaded, work: &EncodeWork, frames: Frames<'_>) -> i64 {
    Timeline::new(
        &loaded.facts,
        frames.table,
        None,
        &[frames.segment],
        work.start_us,
        is_last(&loaded.table, &work.segment),
    )
    .zero()
}

async fn linear(
    attempt: &mut Attempt,
    order: Order<'_>,
    source: &Arc<Source>,
) -> Result<Made, Trouble> {
    let Order { loaded, work, .. } = order;
    let video = loaded
        .facts
        .video
        .as_ref()
        .expect("a plan to encode has a picture");
    let path = source.whole().await?;
    let input = Input {
        path,
        demuxer: None,
        stream: video.track,
        clock: Clock::Plain,
        threads: loaded.facts.decode_threads,
    };
    let (first, count) = (
        u64::from(work.segment.first_row),
        u64::from(work.segment.rows),
    );
    let more = (first + count) < loaded.table.rows.len() as u64;
    let span = Span::Ordinal { first, count, more };
    let frames = Frames {
        table: &loaded.table,
        segment: work.segment,
    };
    let shift = -timeline_zero(loaded, work, frames);
    let rows = &loaded.table.rows[work.segment.row_range()];
    // What FFmpeg's decoder paints over damage differs from run to run, even with one thread. A decode from the start
    // that gives the right number of frames is the decode a plain process makes, whatever the signatures say.
    let unsigned: Vec<FrameRow> = rows
        .iter()
        .map(|row| FrameRow {
            signature: None,
            ..*row
        })
        .collect();
    let check = |seen: &[Seen]| {
        // By number: the clock of a Source that is read this way is not to be trusted, and the table's rows were
        // nudged where it repeated itself.
        let numbered: Vec<Seen> = (0..)
            .zip(seen)
            .map(|(pts, seen)| Seen {
                pts,
                signature: seen.signature,
            })
            .collect();
        let range = first as i64..(first + count) as i64;
        let pts: Vec<i64> = range.clone().collect();
        let expected = |rows| Expected {
            pts: &pts,
            rows,
            span: (range.start, range.end),
            before_is_good: true,
        };
        match_frames(&numbered, expected(rows)).or_else(|mismatch| {
            let mut matched = match_frames(&numbered, expected(&unsigned))?;
            matched.unsteady = true;
            tracing::warn!(segment = work.segment.index, %mismatch, "the decoder does not show the same picture twice");
            Ok(matched)
        })
    };
    one_process(attempt, order, frames, input, span, shift, check).await
}

async fn one_process(
    attempt: &mut Attempt,
    order: Order<'_>,
    frames: Frames<'_>,
    input: Input,
    span: Span,
    shift: i64,
    check: impl Fn(&[Seen]) -> Result<Matched, Mismatch>,
) -> Result<Made, Trouble> {
    let Order {
        loaded,
        work,
        which,
        kept,
    } = order;
    let ffmpeg = Arc::clone(&attempt.context.ffmpeg);
    let video = loaded
        .facts
        .video
        .as_ref()
        .expect("a plan to encode has a picture");
    let paths: Vec<PathBuf> = which
        .iter()
        .map(|i| attempt.room.file(&format!("chunk-{i}.mp4")))
        .collect();
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
        outputs,
        score: scored.then(|| FusedScore {
            metrics: work.score.clone(),
            logs: scores.clone(),
        }),
        check: check_of_chunks,
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
    attempt.held.start().await;
    let seen = match decoded(attempt, &args, work).await {
        // FFmpeg's loop-back decoder stumbles over what plain decoders take: pictures in 3D, for one.
        Err(failed) if args.check.is_some() && may_be_the_check(failed.class) => {
            tracing::warn!(
                error = failed.message,
                "encoding again, with the check in a process of its own"
            );
            args.check = None;
            decoded(attempt, &args, work).await
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
) -> Result<Vec<Seen>, Failure> {
    let list = args
        .build()
        .map_err(|e| failure(FailureClass::BadInput, e))?;
    tracing::debug!(args = ?list, "encoding");
    let invocation = Invocation::new(list)
        .reading(&args.input.path)
        .writing(attempt.room.path())
        .on_cards(
            args.outputs
                .iter()
                .filter_map(|output| Engine::of_encoder(&output.rendition.encoder)),
        )
        .with_stdout();
    let child = spawn(&attempt.context.ffmpeg, invocation)
        .await
        .map_err(|e| e.failure)?;
    let mut seen = Vec::with_capacity(work.segment.rows as usize + 2);
    let finished = child
        .wait_lines(
            |line| {
                if let Some(frame) = signature(line) {
                    seen.push(frame);
                }
            },
            attempt.on_progress(),
        )
        .await;
    match finished {
        Ok(finished) => {
            attempt.used(&finished.usage);
            Ok(seen)
        }
        Err(error) => {
            attempt.used(&error.usage);
            Err(error.failure)
        }
    }
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

fn missing(what: &str) -> Failure {
    Failure {
        class: FailureClass::Unknown,
        message: format!(
            "the job's facts name no {what}; this is a defect of recode, please report it"
        ),
        stderr_tail: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
