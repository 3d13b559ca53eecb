//! Measuring one file against another outside any Job, for `recode-client score`.
//!
//! Both files are looked at first: frames are paired by number, so files with different numbers of frames are refused
//! rather than compared wrongly.

use crate::look::look;
use crate::run::failure;
use crate::source::Sources;
use recode_media::run::{Invocation, spawn};
use recode_media::score::{ScoreArgs, Side, parse_log};
use recode_media::toolchain::Ffmpeg;
use recode_types::task::{Failure, FailureClass};
use recode_types::{Metric, ScoreSummary, VideoFacts};
use std::path::Path;
use std::sync::Arc;

/// What measuring gave.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Frames compared.
    pub frames: u64,
    /// Size at which they were compared: that of the distorted file.
    pub size: (u32, u32),
    /// Size of the reference before it was scaled to that.
    pub reference_size: (u32, u32),
    /// One per metric.
    pub scores: Vec<ScoreSummary>,
    /// Scores of every frame, JSON.
    pub per_frame: String,
}

/// Measures `distorted` against `reference` (URLs). `dir` is an empty directory of the caller's, who removes it
/// afterwards. `seen` is told how many frames are done, and of how many.
/// # Errors
/// `BadInput`: a file cannot be read, has no picture, or the two differ in frames. Else what FFmpeg ended with.
pub async fn measure(
    ffmpeg: Arc<Ffmpeg>,
    dir: &Path,
    distorted: &str,
    reference: &str,
    metrics: &[Metric],
    mut seen: impl FnMut(u64, u64) + Send,
) -> Result<Measured, Failure> {
    let (first, second) = (dir.join("distorted"), dir.join("reference"));
    let (d, r) = tokio::try_join!(
        look(Arc::clone(&ffmpeg), &first, distorted, false),
        look(Arc::clone(&ffmpeg), &second, reference, false),
    )?;
    let d = picture(d.facts.video.as_ref(), distorted)?;
    let r = picture(r.facts.video.as_ref(), reference)?;
    if d.frames != r.frames {
        return Err(bad_input(format!(
            "{distorted} has {} frames and {reference} has {}; frames can only be compared one by one, so measure a file \
             that was made from all of the other",
            d.frames, r.frames
        )));
    }
    let sources = Sources::new(dir);
    let side = async |url: &str| {
        let path = sources.open(url, None).await?.whole().await?;
        Ok::<_, Failure>(Side {
            path,
            demuxer: None,
            start_pts: None,
            end_pts: None,
        })
    };
    let log = dir.join("log.json");
    let args = ScoreArgs {
        distorted: side(distorted).await?,
        reference: side(reference).await?,
        size: (d.width, d.height),
        pix_fmt: Some(d.pix_fmt.clone()),
        context: (false, false),
        metrics: metrics.to_vec(),
        log: log.clone(),
    };
    let invocation = Invocation::new(args.build())
        .reading(&args.distorted.path)
        .reading(&args.reference.path)
        .writing(&log);
    let child = spawn(&ffmpeg, invocation).await.map_err(|e| e.failure)?;
    child
        .wait(|progress| seen(progress.frames, d.frames))
        .await
        .map_err(|e| e.failure)?;
    let text =
        std::fs::read_to_string(&log).map_err(|e| failure(FailureClass::OutOfResources, e))?;
    let unknown = |e: recode_media::score::Error| failure(FailureClass::Unknown, e);
    let frames = parse_log(&text, metrics, d.frames as usize, false, false).map_err(unknown)?;
    Ok(Measured {
        frames: d.frames,
        size: (d.width, d.height),
        reference_size: (r.width, r.height),
        scores: frames.summaries().map_err(unknown)?,
        per_frame: frames.to_json(),
    })
}

fn picture<'a>(video: Option<&'a VideoFacts>, url: &str) -> Result<&'a VideoFacts, Failure> {
    video.ok_or_else(|| bad_input(format!("{url} has no picture; name a video file")))
}

fn bad_input(message: String) -> Failure {
    Failure {
        class: FailureClass::BadInput,
        message,
        stderr_tail: None,
    }
}
