//! A job that encodes no video: the Source's packets in another container, unsplit, on one node.

use super::streamed::{Size, Streamed};
use super::{Attempt, Cut, from_store, probe, resources};
use crate::budget::Budget;
use recode_media::args::copy;
use recode_media::args::mux::SourceFile;
use recode_media::run::{Invocation, spawn};
use recode_media::toolchain::Ffmpeg;
use recode_store::Location;
use recode_types::request::OutputRequest;
use recode_types::task::{Failure, OutputFacts, TaskResult};
use std::path::Path;

/// Copies.
pub async fn run(
    attempt: &mut Attempt,
    url: &str,
    output: &OutputRequest,
    overwrite: bool,
    cut: Cut,
) -> Result<TaskResult, Failure> {
    let source = attempt.context.sources.open(url, None).await?;
    let path = source.whole().await?;
    let ffmpeg = std::sync::Arc::clone(&attempt.ffmpeg);
    let prelude = recode_media::probe::prelude(&ffmpeg, &path)
        .await
        .map_err(|e| e.failure())?;
    let facts = probe::facts_of(&source, &prelude, &ffmpeg);
    let location = Location::parse(&output.url).map_err(from_store)?;
    let publication = attempt.publication(&location, overwrite).await?;
    let covers = super::stitch::covers(attempt, &facts, output, &SourceFile::whole(&path)).await?;
    let budget_bytes = attempt.context.scratch.budget().map(Budget::total_bytes);
    let layout = Size::of_copy(&facts, cut).layout(output, budget_bytes);
    let mut streamed = Streamed::begin(&publication, layout, output.container).await?;
    let reads: Vec<_> = covers.iter().map(|cover| cover.path.clone()).collect();
    let plan = copy::plan(
        &facts,
        output,
        cut.into(),
        &path,
        covers,
        publication.path(),
        streamed.is_some(),
    );
    tracing::debug!(args = ?plan.args, "copying");
    let mut invocation = Invocation::new(plan.args)
        .reading(&path)
        .writing(publication.path());
    invocation.reads.extend(reads);
    let made = async {
        let child = spawn(&ffmpeg, invocation).await.map_err(|e| e.failure)?;
        let brake = child.brake();
        let making = child.wait(attempt.on_progress());
        let ended = match streamed.as_mut() {
            Some(streamed) => {
                let making = streamed.beside(&ffmpeg, plan.video, &brake, making);
                making.await?
            }
            None => making.await,
        };
        attempt.used(&ended.map_err(|e| e.failure)?.usage);
        source.recheck().await?;
        let finished = streamed.as_mut().map(Streamed::finished).transpose()?;
        if let Some(finished) = &finished {
            attempt.used(&finished.usage());
        }
        let known = |video| finished.as_ref()?.packets(video);
        let frames = match plan.video {
            Some(video) => match known(video) {
                Some(frames) => frames,
                None => count(attempt, &ffmpeg, publication.path(), video).await?,
            },
            None => 0,
        };
        attempt
            .room
            .note_publication(publication.path())
            .map_err(resources)?;
        Ok::<_, Failure>((finished, frames))
    };
    let (frames, published) = match (made.await, streamed) {
        (Ok((Some(finished), frames)), Some(streamed)) => {
            (frames, streamed.commit(publication, finished).await?)
        }
        (Ok((_, frames)), _) => (frames, publication.commit().await.map_err(from_store)?),
        (Err(failure), streamed) => {
            if let Some(streamed) = streamed {
                streamed.abort().await;
            }
            return Err(failure);
        }
    };
    attempt.usage.bytes_written += published.size_bytes;
    attempt.usage.source_bytes_read = source.bytes_read();
    Ok(TaskResult::Stitched {
        output: OutputFacts {
            output: 0,
            url: published.url,
            size_bytes: published.size_bytes,
            frames,
            duration_us: cut.duration_us.or(facts.duration_us).unwrap_or_default(),
            video_bytes: 0,
            scores: Vec::new(),
            score_frames_url: None,
            warnings: plan.warnings,
        },
    })
}

/// Packets of one stream of a file, as FFmpeg finds them. Of an MP4 that has been sent its index and its front are enough: what is a hole
/// reads as zeroes.
async fn count(
    attempt: &mut Attempt,
    ffmpeg: &Ffmpeg,
    path: &Path,
    video: u32,
) -> Result<u64, Failure> {
    let scanned = recode_media::probe::scan_packets(ffmpeg, path, video, |_| {}).await;
    let (_, packets, usage) = scanned.map_err(|e| e.failure())?;
    attempt.used(&usage);
    Ok(packets.len() as u64)
}
