//! Chunks to Output: checked, joined, muxed with everything else, checked again, published.

mod away;
mod body;
mod check;
mod chunks;
mod feed;
mod look;
mod reader;

use super::streamed::{Size, Streamed};
use super::timeline::{Timeline, is_last};
use super::{
    Attempt, Loaded, WAITS_FOR_OTHERS, failure, from_store, joints, peak, resources, rows,
};
use crate::budget::Budget;
use crate::source::Source;
pub(super) use away::on_disk;
use chunks::Chunks;
use recode_media::args::mux::{self, Cover, Cut, MuxInputs, SourceFile, VideoInput};
use recode_media::mp4::{Stitched, Stitcher};
use recode_media::run::{Invocation, spawn};
use recode_media::score;
use recode_store::Location;
use recode_types::request::OutputRequest;
use recode_types::task::{
    ChunkFacts, Failure, FailureClass, ListedChunk, OutputFacts, StitchWork, TaskResult,
};
use recode_types::{ArtifactRef, Rational, ScoreSummary, Segment, SourceFacts};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MICRO: Rational = Rational::new(1, 1_000_000);

/// Makes one Output.
pub async fn run(attempt: &mut Attempt, work: StitchWork) -> Result<TaskResult, Failure> {
    let loaded = attempt
        .context
        .inputs
        .load(&attempt.store, &work.facts)
        .await?;
    let segments: Vec<Segment> = read_json(attempt, &work.segments).await?;
    let listed: Vec<ListedChunk> = read_json(attempt, &work.chunks).await?;
    let (chunks, makers): (Vec<ChunkFacts>, Vec<String>) =
        listed.into_iter().map(|c| (c.facts, c.maker)).unzip();
    joints::check(&chunks).map_err(|e| failure(FailureClass::IndexLied, e))?;

    let facts = &loaded.facts;
    let source = attempt
        .context
        .sources
        .open(&facts.identity.url, Some(&facts.identity))
        .await?;
    let parts = Chunks::find(attempt, &chunks, makers).await?;
    let to_end = segments.last().is_some_and(|s| is_last(&loaded.table, s));
    let (table, segments) = match facts.rows_estimated {
        true => {
            let found = parts.rows()?;
            let rendition = &work.output.rendition;
            let gop = rendition.gop.filter(|_| rendition.fps.is_none());
            let whole = rows::assemble(found, &segments, gop);
            let (table, segments) = whole.map_err(|e| failure(FailureClass::IndexLied, e))?;
            (Arc::new(table), segments)
        }
        false => (Arc::clone(&loaded.table), segments),
    };
    let times = Timeline::new(
        facts,
        &table,
        work.output.rendition.fps,
        &segments,
        work.start_us,
        to_end,
    );
    let mut stitcher = Stitcher::new(times.time_base);
    let mut sizes = Vec::with_capacity(chunks.len());
    let mut pts = Vec::new();
    for (number, segment) in segments.iter().take(chunks.len()).enumerate() {
        let index = parts.index(number)?;
        let shown = times.of_segment(segment);
        stitcher
            .push(&index, &shown)
            .map_err(|e| failure(FailureClass::IndexLied, e))?;
        if work.output.rendition.peak.is_some() {
            sizes.push(index.samples.iter().map(|s| s.size).collect());
            pts.extend(shown);
        }
    }
    if let Some(limit) = work.output.rendition.peak {
        let seconds: Vec<f64> = pts
            .iter()
            .map(|t| *t as f64 * times.time_base.as_f64())
            .collect();
        let violations = peak::replay(limit, &sizes, &seconds);
        if !violations.is_empty() {
            let violations = violations
                .iter()
                .map(|v| (v.segment, v.start_milli, v.missing_bits))
                .collect();
            return Ok(TaskResult::Revise { violations });
        }
    }
    let stitched = stitcher
        .finish(times.last_duration)
        .map_err(|e| failure(FailureClass::IndexLied, e))?;
    let (frames, video_bytes) = (stitched.frames, stitched.payload_bytes);

    let location = Location::parse(&work.output.url).map_err(from_store)?;
    let publication = attempt.publication(&location, work.overwrite).await?;
    let budget_bytes = attempt.context.scratch.budget().map(Budget::total_bytes);
    let layout = Size::of(facts, &work, &chunks).layout(&work.output, budget_bytes);
    let mut streamed = Streamed::begin(&publication, layout, work.output.container).await?;
    let made = async {
        let (warnings, video) = mux_all(
            attempt,
            &work,
            &loaded,
            &source,
            stitched,
            &times,
            parts,
            publication.path(),
            streamed.as_mut(),
        )
        .await?;
        let (finished, shown) = match streamed.as_mut() {
            Some(streamed) => {
                let finished = streamed.finished()?;
                let shown = finished.shown().await.map_err(check::wrong)?;
                (Some(finished), shown)
            }
            None => {
                let container = work.output.container;
                let shown = check::shown(&attempt.ffmpeg, publication.path(), container, video);
                (None, shown.await?)
            }
        };
        check::check(&shown, &times, &segments)?;
        source.recheck().await?;
        let merged = merge_scores(attempt, &work, &chunks).await?;
        attempt
            .room
            .note_publication(publication.path())
            .map_err(resources)?;
        Ok::<_, Failure>((warnings, finished, merged))
    };
    let (warnings, merged, published) = match (made.await, streamed) {
        (Ok((warnings, Some(finished), merged)), Some(streamed)) => {
            let published = streamed.commit(publication, finished).await?;
            (warnings, merged, published)
        }
        (Ok((warnings, _, merged)), _) => {
            let published = publication.commit().await.map_err(from_store)?;
            (warnings, merged, published)
        }
        (Err(failure), streamed) => {
            if let Some(streamed) = streamed {
                streamed.abort().await;
            }
            return Err(failure);
        }
    };
    attempt.usage.bytes_written += published.size_bytes;
    let (mut scores, mut score_frames_url) = (Vec::new(), None);
    if let Some((pooled, per_frame)) = merged {
        let url = format!("{}.scores.json", published.url);
        let location = Location::parse(&url).map_err(from_store)?;
        recode_store::publish::publish_bytes(&location, &per_frame, true, attempt.room.path())
            .await
            .map_err(from_store)?;
        (scores, score_frames_url) = (pooled, Some(url));
    }
    Ok(TaskResult::Stitched {
        output: OutputFacts {
            output: work.output_index,
            url: published.url,
            size_bytes: published.size_bytes,
            frames,
            duration_us: times.duration_us(),
            video_bytes,
            scores,
            score_frames_url,
            warnings,
        },
    })
}

/// The one FFmpeg that joins the stitched track with everything else.
#[allow(
    clippy::too_many_arguments,
    reason = "one call site; a struct would only rename the list"
)]
async fn mux_all(
    attempt: &mut Attempt,
    work: &StitchWork,
    loaded: &Loaded,
    source: &Source,
    stitched: Stitched,
    times: &Timeline<'_>,
    chunks: Chunks,
    out: &Path,
    streamed: Option<&mut Streamed>,
) -> Result<(Vec<String>, u32), Failure> {
    let audio = match &work.audio {
        Some(artifact) => Some((
            artifact_path(attempt, artifact, "audio").await?,
            work.audio_tracks.clone(),
        )),
        None => None,
    };
    let mut whole = Vec::new();
    for (track, artifact) in &work.whole {
        whole.push((
            *track,
            artifact_path(attempt, artifact, &format!("whole-{track}")).await?,
        ));
    }
    let facts = &loaded.facts;
    let file = SourceFile::whole(source.rest(loaded).await?);
    let covers = covers(attempt, facts, &work.output, &file).await?;
    let inputs = MuxInputs {
        source: Some(file),
        video: VideoInput::Pipe,
        video_offset_us: times.micros(stitched.first_pts),
        audio,
        whole,
        covers,
        cut: Cut {
            start_us: work.start_us,
            duration_us: work.duration_us,
        },
        out,
        sent: streamed.is_some(),
    };
    let plan = mux::plan(facts, &work.output, &inputs);
    tracing::debug!(args = ?plan.args, "muxing");
    let mut invocation = Invocation::new(plan.args).writing(out).with_stdin();
    invocation.reads = inputs.reads().map(Path::to_owned).collect();
    if !chunks.are_here() {
        invocation.patience = WAITS_FOR_OTHERS;
    }
    let mut child = spawn(&attempt.ffmpeg, invocation)
        .await
        .map_err(|e| e.failure)?;
    let stdin = child.stdin.take().expect("asked for");
    let brake = child.brake();
    // A Chunk that cannot be read ends FFmpeg at once; a pipe that it has closed is judged by how it ended.
    let making = async {
        tokio::try_join!(chunks.feed(stitched, stdin), async {
            Ok(child.wait(attempt.on_progress()).await)
        })
    };
    let (fed, ended) = match streamed {
        Some(streamed) => {
            let making = streamed.beside(&attempt.ffmpeg, plan.video, &brake, making);
            making.await??
        }
        None => making.await?,
    };
    match ended {
        Ok(finished) => attempt.used(&finished.usage),
        Err(error) => {
            attempt.used(&error.usage);
            return Err(error.failure);
        }
    }
    // FFmpeg that ended well has read all it wanted; what is left in the pipe is nobody's.
    if let Err(error) = fed
        && error.kind() != std::io::ErrorKind::BrokenPipe
    {
        return Err(resources(error));
    }
    let video = plan.video.expect("a join has a video");
    Ok((plan.warnings, video))
}

async fn read_json<T: serde::de::DeserializeOwned>(
    attempt: &Attempt,
    artifact: &ArtifactRef,
) -> Result<T, Failure> {
    let bytes = attempt.store.get(artifact).await.map_err(from_store)?;
    serde_json::from_slice(&bytes).map_err(|e| failure(FailureClass::Unknown, e))
}

/// A local path to an artifact's verified bytes: the store's own file where it is local, else a copy in scratch.
pub async fn artifact_path(
    attempt: &Attempt,
    artifact: &ArtifactRef,
    name: &str,
) -> Result<PathBuf, Failure> {
    if let Some(path) = attempt
        .store
        .local_path(artifact)
        .await
        .map_err(from_store)?
    {
        return Ok(path);
    }
    let path = attempt.room.file(name);
    attempt
        .store
        .get_to_file(artifact, &path)
        .await
        .map_err(from_store)?;
    Ok(path)
}

/// Takes cover pictures out of the Source, for containers that keep them as attached files.
pub async fn covers(
    attempt: &mut Attempt,
    facts: &SourceFacts,
    output: &OutputRequest,
    source: &SourceFile,
) -> Result<Vec<Cover>, Failure> {
    let covers = mux::covers(facts, output, attempt.room.path());
    for cover in &covers {
        let invocation = Invocation::new(cover.args(facts, source))
            .reading(&source.path)
            .writing(&cover.path);
        let finished = recode_media::run::run(&attempt.ffmpeg, invocation)
            .await
            .map_err(|e| e.failure)?;
        attempt.used(&finished.usage);
    }
    Ok(covers)
}

/// Scores of the whole Output: the Chunks' frames one after another.
async fn merge_scores(
    attempt: &Attempt,
    work: &StitchWork,
    chunks: &[ChunkFacts],
) -> Result<Option<(Vec<ScoreSummary>, Vec<u8>)>, Failure> {
    if work.score.is_empty() {
        return Ok(None);
    }
    let mut parts = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        let artifact = chunk.score_frames.as_ref().ok_or_else(|| Failure {
            class: FailureClass::Unknown,
            message: format!("chunk {} was not scored", chunk.segment),
            stderr_tail: None,
        })?;
        let bytes = attempt.store.get(artifact).await.map_err(from_store)?;
        parts.push(serde_json::from_slice(&bytes).map_err(|e| failure(FailureClass::Unknown, e))?);
    }
    let merged = score::merge(parts).map_err(|e| failure(FailureClass::Unknown, e))?;
    let pooled = merged
        .summaries()
        .map_err(|e| failure(FailureClass::Unknown, e))?;
    Ok(Some((pooled, merged.to_json().into_bytes())))
}
