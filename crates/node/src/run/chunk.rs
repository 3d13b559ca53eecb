//! What an encode made of one Rendition: checked, stored, and found again.

use super::frames::Matched;
use super::{Attempt, failure, from_store, resources};
use crate::peer::Neighbours;
use recode_media::args::encode::FusedCheck;
use recode_media::clip::Clip;
use recode_media::mp4::{ChunkIndex, append_check, check_units, read_rows, without_level};
use recode_media::score;
use recode_media::verify::{self, Grade};
use recode_store::Take;
use recode_types::task::{ChunkFacts, EncodeRendition, EncodeWork, Failure, FailureClass};
use recode_types::{Digest, FrameTable};
use std::path::PathBuf;
use std::sync::Arc;

/// What one FFmpeg process made of one Rendition.
pub(super) struct MadeChunk {
    pub matched: Matched,
    pub path: PathBuf,
    pub index: ChunkIndex,
    /// Log of the scores, where they were measured.
    pub scores: Option<PathBuf>,
    /// What the loop-back decoder wrote, where it decoded.
    pub check: Option<(Grade, PathBuf)>,
    /// Whether a frame of context lies before and after.
    pub neighbours: (bool, bool),
}

/// How the Chunks of some work are checked in the process that makes them. `None`: by scores, which look at every frame
/// too, or by a process of its own ([`decode`]).
pub(super) fn fused_check(
    work: &EncodeWork,
    has_loopback_decoder: bool,
    logs: impl FnOnce() -> Vec<PathBuf>,
) -> Option<FusedCheck> {
    (has_loopback_decoder && work.score.is_empty()).then(|| FusedCheck {
        grade: grade(work),
        logs: logs(),
    })
}

fn grade(work: &EncodeWork) -> Grade {
    match work.verify_full {
        true => Grade::Full,
        false => Grade::Sample,
    }
}

/// Every packet's number, order and key flag.
pub(super) fn check_chunk(index: &ChunkIndex, frames: usize) -> Result<(), Failure> {
    let bad = |message: String| Failure {
        class: FailureClass::Unknown,
        message,
        stderr_tail: None,
    };
    if index.samples.len() != frames {
        return Err(bad(format!(
            "the encoder made {} frames of {frames}",
            index.samples.len()
        )));
    }
    let first = index
        .samples
        .first()
        .ok_or_else(|| bad("the encoder made nothing".into()))?;
    let earliest = index.samples.iter().map(|s| s.pts).min();
    if !first.key || earliest != Some(first.pts) {
        return Err(bad(
            "the chunk does not begin with a key frame that is shown first".into(),
        ));
    }
    let mut times: Vec<i64> = index.samples.iter().map(|s| s.pts).collect();
    times.sort_unstable();
    if times.windows(2).any(|w| w[0] == w[1]) {
        return Err(bad(
            "two frames of the chunk are shown at the same time".into()
        ));
    }
    Ok(())
}

/// Distances between frames in the Chunk are those of the table, where the encoder was given the frames' own times.
pub(super) fn check_times(
    indexes: &[ChunkIndex],
    table: &FrameTable,
    work: &EncodeWork,
    clip: &Clip,
) -> Result<(), Failure> {
    for (index, wanted) in indexes.iter().zip(&work.renditions) {
        let even = wanted.rendition.fps.is_some() || wanted.rendition.counts_frames();
        if even || indexes.len() != work.renditions.len() {
            continue;
        }
        let mut times: Vec<i64> = index.samples.iter().map(|s| s.pts).collect();
        times.sort_unstable();
        let (base, first) = (times[0], clip.expected[0]);
        let tick = table.time_base;
        for (row, (seen, wanted)) in times.iter().zip(&clip.expected).enumerate() {
            let wanted = tick.rescale(wanted - first, index.time_base);
            if (seen - base - wanted).abs() > 1 {
                return Err(Failure {
                    class: FailureClass::Unknown,
                    message: format!(
                        "frame {row} of the chunk is shown {} ticks off",
                        seen - base - wanted
                    ),
                    stderr_tail: None,
                });
            }
        }
    }
    Ok(())
}

/// Digest of what all Chunks of a Rendition must agree on. `has_peak`: a limit may be tighter for some of them, and their level (of H.264, H.265) lower.
pub(super) fn params(index: &ChunkIndex, has_peak: bool) -> Digest {
    match has_peak {
        true => Digest::of(&without_level(&index.sample_description)),
        false => Digest::of(&index.sample_description),
    }
}

/// Holds a Chunk to its grade.
pub(super) async fn verify(
    attempt: &mut Attempt,
    work: &EncodeWork,
    wanted: &EncodeRendition,
    made: &MadeChunk,
) -> Result<(), Failure> {
    if let Some((grade, log)) = &made.check {
        let log = std::fs::read_to_string(log).map_err(resources)?;
        let whole = *grade == Grade::Full || verify::decodes_whole(wanted.rendition.codec);
        let samples = made.index.samples.iter();
        let expected = samples.filter(|sample| whole || sample.key).count() as u64;
        verify::judge_log(&log, *grade, expected).map_err(|e| e.failure())?;
        // The decoder was given what the encoder made; the rest is how it was written down.
        check_units(&made.path, &made.index).map_err(|e| failure(FailureClass::Unknown, e))
    } else if made.scores.is_some() {
        Ok(())
    } else {
        decode(attempt, grade(work), wanted, made).await
    }
}

async fn decode(
    attempt: &mut Attempt,
    grade: Grade,
    wanted: &EncodeRendition,
    made: &MadeChunk,
) -> Result<(), Failure> {
    let ffmpeg = Arc::clone(&attempt.ffmpeg);
    let whole = grade == Grade::Full || verify::decodes_whole(wanted.rendition.codec);
    let depth = if whole {
        verify::Depth::Full
    } else {
        verify::Depth::sample(made.index.last_key())
    };
    let frames = made.index.samples.len() as u64;
    let decoded = verify::decode(&ffmpeg, &made.path, frames, depth)
        .await
        .map_err(|e| e.failure())?;
    attempt.used(&decoded.usage);
    Ok(())
}

/// Stores a Chunk. `build`: of the FFmpeg under whose name it may be found again by later Jobs; `None`: it is for this one.
pub(super) async fn store(
    attempt: &mut Attempt,
    work: &EncodeWork,
    wanted: &EncodeRendition,
    made: MadeChunk,
    build: Option<&Digest>,
) -> Result<ChunkFacts, Failure> {
    let (mut score_frames, mut scores) = (None, Vec::new());
    if let Some(log) = &made.scores {
        let text = std::fs::read_to_string(log).map_err(resources)?;
        let (before, after) = made.neighbours;
        let frames = score::parse_log(&text, &work.score, made.index.samples.len(), before, after)
            .map_err(|e| failure(FailureClass::Unknown, e))?;
        scores = frames
            .summaries()
            .map_err(|e| failure(FailureClass::Unknown, e))?;
        let json = serde_json::to_vec(&frames).map_err(|e| failure(FailureClass::Unknown, e))?;
        let name = format!("scores-{}.json", wanted.output);
        let artifact = attempt
            .store
            .put(&attempt.key(&name), json)
            .await
            .map_err(from_store)?;
        attempt.usage.bytes_written += artifact.size_bytes;
        score_frames = Some(artifact);
    }
    let params = params(&made.index, wanted.knob.peak.is_some());
    append_check(&made.path).map_err(resources)?;
    let key = recode_store::key::chunk(
        attempt.task.job,
        &wanted.address,
        wanted.output,
        attempt.attempt,
        "mp4",
    );
    let cache = attempt.context.cache.as_ref().zip(build);
    let near = near(attempt);
    let take = match (cache, &near) {
        (None, None) => Take::Move,
        _ => Take::Copy,
    };
    let artifact = attempt
        .store
        .put_file(&key, &made.path, take)
        .await
        .map_err(from_store)?;
    attempt.usage.bytes_written += artifact.size_bytes;
    let chunk = ChunkFacts {
        output: wanted.output,
        segment: work.segment.index,
        address: wanted.address,
        artifact,
        frames: made.index.samples.len() as u32,
        payload_bytes: made.index.payload_bytes(),
        params,
        signature_before: made.matched.before,
        signature_first: made.matched.first,
        signature_last: made.matched.last,
        signature_after: made.matched.after,
        score_frames,
        scores,
        reused: false,
    };
    if let Some((cache, build)) = cache {
        cache.keep(build, &chunk, &made.path);
    }
    if let Some(near) = near {
        near.keep(&chunk.artifact, &made.path);
    }
    Ok(chunk)
}

/// The nodes of this site, one of which may join the Chunk: where it is stored on a disk that all of them have, they read it
/// there.
fn near(attempt: &Attempt) -> Option<Neighbours> {
    let neighbours = attempt.context.sources.neighbours();
    neighbours.filter(|_| !attempt.store.is_local()).cloned()
}

/// A Chunk that was finished before, under the same address by the same build. Scored jobs make their Chunks again:
/// scores are not kept.
pub(super) async fn from_cache(
    attempt: &mut Attempt,
    work: &EncodeWork,
    wanted: &EncodeRendition,
    build: &Digest,
    needs_rows: bool,
) -> Result<Option<ChunkFacts>, Failure> {
    let Some(cache) = attempt
        .context
        .cache
        .clone()
        .filter(|_| work.score.is_empty())
    else {
        return Ok(None);
    };
    let to = attempt.room.file(&format!("kept-{}", wanted.output));
    let Some(mut chunk) = cache.find(&wanted.address, build, &to) else {
        return Ok(None);
    };
    // Made under a table that said it all.
    if needs_rows && read_rows(&to).map_err(resources)?.is_none() {
        return Ok(None);
    }
    let key = recode_store::key::chunk(
        attempt.task.job,
        &wanted.address,
        wanted.output,
        attempt.attempt,
        "mp4",
    );
    let near = near(attempt);
    let take = match &near {
        None => Take::Move,
        Some(_) => Take::Copy,
    };
    chunk.artifact = attempt
        .store
        .put_file(&key, &to, take)
        .await
        .map_err(from_store)?;
    if let Some(near) = near {
        near.keep(&chunk.artifact, &to);
    }
    chunk.output = wanted.output;
    chunk.segment = work.segment.index;
    chunk.reused = true;
    Ok(Some(chunk))
}
