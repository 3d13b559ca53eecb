//! One Attempt, by kind of Task. A run reads artifacts and the Source, drives FFmpeg, and returns a result or a classed
//! failure; it decides nothing.

mod audio;
mod chunk;
mod command;
mod copy;
mod encode;
pub mod frames;
mod inputs;
mod joints;
mod peak;
mod probe;
mod process;
mod room;
mod rows;
mod shown;
mod stitch;
mod streamed;
mod tail;
mod timeline;

pub use inputs::{Inputs, Loaded};
pub use room::GivenBack;

use crate::budget::{Claim, likeness};
use crate::scratch::{Room, Scratch};
use crate::slots::Held;
use crate::source::Sources;
use recode_media::run::ChildUsage;
use recode_media::toolchain::Ffmpeg;
use recode_store::{Location, Publication, WorkStore};
use recode_types::task::{AttemptOutcome, Failure, FailureClass, Grant, TaskResult, Usage, Work};
use recode_types::{AttemptNo, TaskId};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long FFmpeg may be silent where it waits for others: whoever reads or sends for it gives up sooner by himself.
const WAITS_FOR_OTHERS: Duration = Duration::from_secs(600);

/// What every Attempt of a node shares.
pub struct Context {
    /// The FFmpeg in use.
    pub ffmpeg: Arc<Ffmpeg>,
    /// Local disk.
    pub scratch: Scratch,
    /// Open Sources and their block caches.
    pub sources: Sources,
    /// Artifacts that were read and decoded before.
    pub inputs: Inputs,
    /// Finished Chunks kept beyond their Job, where the operator gave them room.
    pub cache: Option<crate::cache::ChunkCache>,
    /// What its encoders were seen to do.
    pub proofs: crate::proof::Proofs,
}

/// How far a running Attempt is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AttemptProgress {
    /// Frames done.
    pub frames: u64,
    /// Of them, those that an earlier Attempt had done.
    pub found: u64,
    /// Media time done, in microseconds.
    pub media_us: u64,
}

/// One Attempt while it runs.
pub struct Attempt {
    /// Shared things.
    pub context: Arc<Context>,
    /// The FFmpeg in use, with as much memory as this try may have.
    pub ffmpeg: Arc<Ffmpeg>,
    /// The Task.
    pub task: TaskId,
    /// Which try.
    pub attempt: AttemptNo,
    /// Where artifacts are.
    pub store: WorkStore,
    /// Its directory.
    pub room: Room,
    /// Its slot.
    pub held: Held,
    /// Memory that it is likely to need, as its Leader counts it; `None`: that is to be counted here.
    pub memory_bytes: Option<u64>,
    /// Where progress goes.
    pub progress: watch::Sender<AttemptProgress>,
    /// Frames that an earlier Attempt had done, and this one does not.
    pub found: u64,
    /// What it used so far.
    pub usage: Usage,
}

impl Attempt {
    /// Adds a finished child process.
    pub fn used(&mut self, child: &ChildUsage) {
        self.usage.cpu_ms += child.cpu.as_millis() as u64;
        self.usage.peak_rss_bytes = self.usage.peak_rss_bytes.max(child.peak_rss_bytes);
    }

    /// Waits until its encoder may start. `usual`: what that is likely to need of memory, as counted here.
    pub async fn start(&mut self, usual: u64) {
        let need = self.memory_bytes.unwrap_or(usual);
        // No more than a control group would let it have.
        let need = need.min(self.ffmpeg.allowance.limit(need));
        self.held.start(need).await;
    }

    /// It goes on after so many frames, which an earlier one has done.
    pub fn goes_on_after(&mut self, frames: u64) {
        self.found = frames;
        self.progress.send_replace(AttemptProgress {
            frames,
            found: frames,
            media_us: 0,
        });
    }

    /// Key of an artifact of this Attempt.
    pub fn key(&self, name: &str) -> String {
        recode_store::key::of_attempt(&self.task, self.attempt, name)
    }

    /// Begins an Output. An Attempt before this one may have given it its name and not lived to say so.
    pub async fn publication(
        &self,
        location: &Location,
        overwrite: bool,
    ) -> Result<Publication, Failure> {
        let scratch = self.room.path();
        let begun = match self.attempt {
            1 => Publication::begin(location, overwrite, scratch).await,
            _ => Publication::begin_again(location, overwrite, scratch).await,
        };
        let begun = begun.map_err(from_store)?;
        Ok(begun.noted_in(&self.store, &self.key("output")))
    }

    /// Counts frames for the progress report.
    pub fn on_progress(
        &self,
    ) -> impl FnMut(recode_media::parse::progress::Progress) + Send + 'static {
        let (progress, found) = (self.progress.clone(), self.found);
        move |p| {
            progress.send_replace(AttemptProgress {
                frames: found + p.frames,
                found,
                media_us: p.time.as_micros() as u64,
            });
        }
    }
}

/// Runs one granted Attempt to its end.
/// # Errors
/// [`GivenBack`]: it did not come to one, and somebody else may try.
pub async fn run(
    context: Arc<Context>,
    grant: Grant,
    held: Held,
    progress: watch::Sender<AttemptProgress>,
) -> Result<AttemptOutcome, GivenBack> {
    let started = Instant::now();
    let mut usage = Usage::default();
    let scratch = context.scratch.clone();
    let mut waited = Duration::ZERO;
    let result = match prepare(context, &grant, held, progress).await {
        // The room goes first, then the claim on what it held.
        Ok((mut claim, mut attempt)) => {
            let result = within(&mut attempt, grant.work, claim.as_mut()).await?;
            usage = attempt.usage;
            waited = attempt.held.waited();
            result
        }
        Err(failure) => Err(failure),
    };
    usage.wall_ms = started.elapsed().saturating_sub(waited).as_millis() as u64;
    Ok(match result {
        Ok(result) => AttemptOutcome::Done { result, usage },
        Err(failure) => {
            if failure.class == FailureClass::OutOfResources {
                scratch.was_short();
            }
            AttemptOutcome::Failed { failure, usage }
        }
    })
}

/// Does the work, within what it may use of scratch.
async fn within(
    attempt: &mut Attempt,
    grant: Work,
    claim: Option<&mut Claim>,
) -> Result<Result<TaskResult, Failure>, GivenBack> {
    let context = Arc::clone(&attempt.context);
    let (Some(claim), Some(budget)) = (claim, context.scratch.budget()) else {
        return Ok(work(attempt, grant).await);
    };
    let kind = room::Kind {
        like: likeness(attempt.task.job, attempt.task.key),
        frames: room::frames(&grant),
    };
    let path = attempt.room.path().to_owned();
    tokio::select! {
        result = work(attempt, grant) => Ok(result),
        full = room::guard(budget, claim, kind, path) => match full {
            Ok(given_back) => {
                tracing::info!("given back: it needs more scratch than is free");
                Err(given_back)
            }
            Err(failure) => Ok(Err(failure)),
        },
    }
}

async fn prepare(
    context: Arc<Context>,
    grant: &Grant,
    held: Held,
    progress: watch::Sender<AttemptProgress>,
) -> Result<(Option<Claim>, Attempt), Failure> {
    let store = context.inputs.store(&grant.work_store).await?;
    // Before the first byte is written.
    let claim = match context.scratch.budget() {
        Some(budget) => {
            let like = likeness(grant.task.job, grant.task.key);
            let guess = room::guess(&context, &store, grant).await?;
            let need = budget.need(like, room::frames(&grant.work), guess);
            Some(budget.claim(need).await)
        }
        None => None,
    };
    let room = context
        .scratch
        .room(&grant.task.key.to_string())
        .map_err(resources)?;
    // One before may have had too little memory. If it ended otherwise, nothing is lost: more is allowed, not set aside.
    let ffmpeg = match grant.attempt {
        ..=1 => Arc::clone(&context.ffmpeg),
        _ => Arc::new(context.ffmpeg.roomier()),
    };
    let attempt = Attempt {
        context,
        ffmpeg,
        task: grant.task,
        attempt: grant.attempt,
        store,
        room,
        held,
        memory_bytes: grant.memory_bytes,
        progress,
        found: 0,
        usage: Usage::default(),
    };
    Ok((claim, attempt))
}

async fn work(attempt: &mut Attempt, work: Work) -> Result<TaskResult, Failure> {
    match work {
        Work::Probe { source, deep, .. } => probe::run(attempt, &source, deep).await,
        Work::Encode(work) => encode::run(attempt, work).await,
        Work::Trial(work) => encode::trial(attempt, work).await,
        Work::Audio {
            facts,
            output,
            tracks,
            start_us,
            duration_us,
        } => {
            let cut = Cut {
                start_us,
                duration_us,
            };
            audio::run(attempt, &facts, &output, &tracks, cut).await
        }
        Work::Whole {
            facts,
            output,
            track,
            start_us,
            duration_us,
        } => {
            let cut = Cut {
                start_us,
                duration_us,
            };
            audio::whole(attempt, &facts, &output, track, cut).await
        }
        // Boxed: with one FFmpeg beside another they are large.
        Work::Stitch(work) => Box::pin(stitch::run(attempt, work)).await,
        Work::Command {
            source,
            output,
            overwrite,
            start_us,
            duration_us,
        } => {
            let cut = Cut {
                start_us,
                duration_us,
            };
            Box::pin(copy::run(attempt, &source, &output, overwrite, cut)).await
        }
        Work::CommandLine(work) => command::run(attempt, work).await,
    }
}

/// The wanted part of the Source, in microseconds from its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Where it begins.
    pub start_us: Option<i64>,
    /// How long it is.
    pub duration_us: Option<i64>,
}

impl From<Cut> for recode_media::args::mux::Cut {
    fn from(cut: Cut) -> Self {
        Self {
            start_us: cut.start_us,
            duration_us: cut.duration_us,
        }
    }
}

/// A failure of this node's disk or memory.
pub fn resources(error: impl std::error::Error) -> Failure {
    failure(FailureClass::OutOfResources, error)
}

/// A failure of a class, with the whole chain of causes in its sentence.
pub fn failure(class: FailureClass, error: impl std::error::Error) -> Failure {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        message = format!("{message}: {e}");
        cause = e.source();
    }
    Failure {
        class,
        message,
        stderr_tail: None,
    }
}

/// A failure of the work store or the Source, classed by what can be done about it.
pub fn from_store(error: recode_store::Error) -> Failure {
    use recode_store::Error as E;
    let class = match &error {
        E::Changed { .. } => FailureClass::SourceChanged,
        E::Exists { .. } => FailureClass::OutputExists,
        E::NotFound { .. } | E::Forbidden { .. } | E::Invalid(..) => FailureClass::BadInput,
        E::NoSpace { .. } => FailureClass::OutOfResources,
        _ => FailureClass::Store,
    };
    failure(class, error)
}
