//! A job that encodes no video: the Source's packets in another container, unsplit, on one node.

use super::{Attempt, Cut, from_store, probe, resources};
use recode_media::args::copy;
use recode_media::args::mux::SourceFile;
use recode_media::run::{Invocation, spawn};
use recode_store::Location;
use recode_types::request::OutputRequest;
use recode_types::task::{Failure, OutputFacts, TaskResult};

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
    let reads: Vec<_> = covers.iter().map(|cover| cover.path.clone()).collect();
    let plan = copy::plan(
        &facts,
        output,
        cut.into(),
        &path,
        covers,
        publication.path(),
    );
    tracing::debug!(args = ?plan.args, "copying");
    let mut invocation = Invocation::new(plan.args)
        .reading(&path)
        .writing(publication.path());
    invocation.reads.extend(reads);
    let child = spawn(&ffmpeg, invocation).await.map_err(|e| e.failure)?;
    let finished = child
        .wait(attempt.on_progress())
        .await
        .map_err(|e| e.failure)?;
    attempt.used(&finished.usage);
    source.recheck().await?;
    let frames = match prelude.picture {
        Some(_) => {
            let (_, packets, usage) =
                recode_media::probe::scan_packets(&ffmpeg, publication.path(), 0, |_| {})
                    .await
                    .map_err(|e| e.failure())?;
            attempt.used(&usage);
            packets.len() as u64
        }
        None => 0,
    };
    attempt
        .room
        .note_publication(publication.path())
        .map_err(resources)?;
    let published = publication.commit().await.map_err(from_store)?;
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
