//! Sound as one continuous encode, and further video tracks as one encode each: files of their own, muxed at the end.

use super::{Attempt, Cut, failure, from_store, resources};
use recode_media::args::{audio, whole};
use recode_media::memory::{UNKNOWN, UNKNOWN_ENCODE};
use recode_media::run::Invocation;
use recode_store::Take;
use recode_types::request::OutputRequest;
use recode_types::task::{Failure, FailureClass, TaskResult};
use recode_types::{ArtifactRef, Codec};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Encodes audio tracks.
pub async fn run(
    attempt: &mut Attempt,
    facts: &ArtifactRef,
    output: &OutputRequest,
    tracks: &[u32],
    cut: Cut,
) -> Result<TaskResult, Failure> {
    let loaded = attempt.context.inputs.load(&attempt.store, facts).await?;
    let identity = &loaded.facts.identity;
    let source = attempt
        .context
        .sources
        .open(&identity.url, Some(identity))
        .await?;
    let path = source.rest(&loaded).await?;
    let out = attempt.room.file("audio.mp4");
    let args = audio::args(&loaded.facts, output, tracks, cut.into(), &path, &out);
    finish(attempt, invocation(args, &path, &out), out, "audio.mp4").await
}

/// Encodes a further video track.
pub async fn whole(
    attempt: &mut Attempt,
    facts: &ArtifactRef,
    output: &OutputRequest,
    track: u32,
    cut: Cut,
) -> Result<TaskResult, Failure> {
    let loaded = attempt.context.inputs.load(&attempt.store, facts).await?;
    let identity = &loaded.facts.identity;
    let source = attempt
        .context
        .sources
        .open(&identity.url, Some(identity))
        .await?;
    let path = source.rest(&loaded).await?;
    let name = if output.rendition.codec == Codec::Prores {
        "whole.mov"
    } else {
        "whole.mp4"
    };
    let out = attempt.room.file(name);
    let args = whole::WholeArgs {
        facts: &loaded.facts,
        output,
        track,
        cut: cut.into(),
        major: attempt.ffmpeg.major(),
        source: &path,
        out: &out,
    }
    .build()
    .map_err(|e| failure(FailureClass::BadInput, e))?;
    attempt.start(UNKNOWN).await;
    let mut invocation = invocation(args, &path, &out);
    invocation.need_bytes = UNKNOWN_ENCODE;
    finish(attempt, invocation, out, name).await
}

fn invocation(args: Vec<OsString>, source: &Path, out: &Path) -> Invocation {
    tracing::debug!(?args, "encoding a track");
    Invocation::new(args).reading(source).writing(out)
}

async fn finish(
    attempt: &mut Attempt,
    invocation: Invocation,
    out: PathBuf,
    name: &str,
) -> Result<TaskResult, Failure> {
    let child = recode_media::run::spawn(&attempt.ffmpeg, invocation).await;
    let ended = match child {
        Ok(child) => child.wait(attempt.on_progress()).await,
        Err(error) => Err(error),
    };
    match ended {
        Ok(finished) => attempt.used(&finished.usage),
        Err(error) => {
            attempt.used(&error.usage);
            return Err(error.failure);
        }
    }
    let payload_bytes = std::fs::metadata(&out).map_err(resources)?.len();
    let key = attempt.key(name);
    let artifact = attempt
        .store
        .put_file(&key, &out, Take::Move)
        .await
        .map_err(from_store)?;
    attempt.usage.bytes_written += artifact.size_bytes;
    Ok(TaskResult::Track {
        artifact,
        payload_bytes,
    })
}
