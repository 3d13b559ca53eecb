//! One Segment to Chunks: fetch, decode once, encode every Rendition of the group, hold what came out against the
//! frame table, store.

use super::chunk::{check_times, from_cache, store, verify};
use super::frames::{Expected, Mismatch, Seen, match_frames};
use super::process::{Feed, Frames, Made, Order, Trouble, one_process};
use super::tail::{self, Head, Keeper, Parts};
use super::timeline::{Timeline, is_last};
use super::{Attempt, Loaded, failure, resources, rows};
use crate::source::{Source, from_read};
use recode_media::args::{Clock, GENERATION, Input, RowTimes, Span};
use recode_media::clip::{self, ClipContext};
use recode_media::mp4::append_rows;
use recode_types::rendition::Deinterlace;
use recode_types::source::ReadMode;
use recode_types::task::{EncodeRendition, EncodeWork, Failure, FailureClass, TaskResult};
use recode_types::{Digest, FrameRow};
use std::sync::Arc;

/// What makes the same bytes of the same wish: an FFmpeg, and what it is told.
fn build(ffmpeg: &Digest) -> Digest {
    Digest::of(&[&ffmpeg.0[..], &GENERATION.to_be_bytes()].concat())
}

/// Encodes and stores every Rendition of the work.
pub async fn run(attempt: &mut Attempt, work: EncodeWork) -> Result<TaskResult, Failure> {
    let loaded = attempt
        .context
        .inputs
        .load(&attempt.store, &work.facts)
        .await?;
    let ffmpeg = attempt.context.ffmpeg.identity();
    let build = build(&ffmpeg.map_err(|e| failure(FailureClass::MissingCapability, e))?);
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
            parts: None,
        };
        let split = tail::splits(&work, &loaded.facts);
        let (head, mut made) = match split {
            true => encode_rest(attempt, order, build).await?,
            false => (None, encode_some(attempt, order).await?),
        };
        if loaded.facts.deep {
            // Every frame was held against one decode of the whole Source: what the neighbours saw adds nothing, and of
            // damaged pictures no two decodes show the same.
            (made.matched.before, made.matched.after) = (None, None);
        }
        unsteady = made.matched.unsteady;
        // The encoder has ended; the next Segment may have its slot while this one is checked and stored.
        attempt.held.release();
        // Others of this address are made in one go.
        let keeps = head.is_none();
        for (n, (i, mut made)) in todo.into_iter().zip(made.chunks()).enumerate() {
            let wanted = &work.renditions[i];
            // What a decoder in the encoding process has seen is the rest alone; one of its own looks at the whole.
            let is_checked = made.check.is_some();
            if is_checked || !split {
                verify(attempt, &work, wanted, &made).await?;
            }
            if split {
                made = tail::whole(attempt, (&work, &loaded.table), head.as_ref(), n, made).await?;
            }
            if split && !is_checked {
                verify(attempt, &work, wanted, &made).await?;
            }
            let build = Some(&build).filter(|_| keeps);
            chunks.push(store(attempt, &work, wanted, made, build).await?);
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
        parts: None,
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

/// Encodes what no earlier Attempt has finished, and puts away what is finished of that. Answers what one has.
async fn encode_rest(
    attempt: &mut Attempt,
    order: Order<'_>,
    build: Digest,
) -> Result<(Option<Head>, Made), Failure> {
    let parts = |after| Some(Parts { build, after });
    let order = Order {
        parts: parts(0),
        ..order
    };
    if let Some(head) = tail::find(attempt, order).await {
        let rest = EncodeWork {
            segment: head.rest_of(&order.work.segment, &order.loaded.table),
            ..order.work.clone()
        };
        attempt.goes_on_after(u64::from(head.rows));
        let order = Order {
            work: &rest,
            parts: parts(head.rows),
            ..order
        };
        let why = match encode_some(attempt, order).await {
            Ok(made) => match head.followed_by(made) {
                Ok(made) => return Ok((Some(head), made)),
                Err(why) => why,
            },
            // There may be nothing wrong with the index but where the rest begins.
            Err(failure) if failure.class == FailureClass::IndexLied => failure.message,
            Err(failure) => return Err(failure),
        };
        tracing::warn!(
            why,
            "what another attempt has finished does not fit the rest"
        );
        attempt.goes_on_after(0);
    }
    Ok((None, encode_some(attempt, order).await?))
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
    let keeper = order
        .parts
        .map(|parts| Keeper::new(attempt, order, parts, &clip));
    let feed = Feed { input, span, shift };
    let made = one_process(attempt, order, frames, feed, check, keeper).await;
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
    let span = Span::Ordinal {
        first,
        count,
        more,
        times: RowTimes::of(&loaded.table, work.segment.row_range()),
    };
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
    let feed = Feed { input, span, shift };
    one_process(attempt, order, frames, feed, check, None).await
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
