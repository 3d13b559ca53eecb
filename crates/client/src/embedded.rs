//! Work on this machine: one coordinator and one node inside this process, talked to over the same gRPC as any others.
//! The only file that knows coordinator and node.
//!
//! ```text
//!  claim the job's folder ─► coordinator on 127.0.0.1:0, its log in raft/ ─► node, its scratch in scratch/
//!        ▲                         │ submit (request id = digest of the job, so a rerun finds its job)
//!        └── failed earlier: start anew          done or failed: the folder goes; interrupted: it stays
//! ```

use crate::bars::Bar;
use crate::command::Asked;
use crate::fault::{Fault, Kind};
use crate::flags::{Probe, RunCommand, Score, Transcode};
use crate::follow::{self, Followed, Interrupt};
use crate::place::{Place, path_of};
use crate::preflight;
use crate::remote::{fault, runtime};
use crate::score::Measured;
use crate::state::{Claim, State, job_digest};
use recode_client::Client;
use recode_node::encoder;
use recode_node::look::look;
use recode_node::measure::measure;
use recode_node::sandbox::Policy;
use recode_node::toolchain::{self, Ffmpeg};
use recode_types::command::CAPABILITY;
use recode_types::rendition::{AudioCodec, Codec};
use recode_types::task::Failure;
use recode_types::{Digest, FrameTable, JobRequest, JobState, SourceFacts};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long the parts inside this process may take to answer each other.
const PATIENCE: Duration = Duration::from_secs(30);

/// Transcodes here.
/// # Errors
/// See [`Kind`]. An interrupted job keeps its folder.
pub fn transcode(
    args: &Transcode,
    request: &JobRequest,
    source: &Place,
) -> Result<Followed, Fault> {
    let seen = preflight::source(source)?;
    let state = State::open(args.machine.state.as_deref())?;
    let ffmpeg = ffmpeg(&state, args.machine.sandbox)?;
    check_encoders(&ffmpeg, request)?;
    let digest = digest(request, seen.as_ref(), &ffmpeg);
    let mut claim = state.claim(&digest, request)?;
    if let Err(fault) = preflight::outputs(request, seen.as_ref(), claim.resumes()) {
        if !claim.resumes() {
            claim.remove();
        }
        return Err(fault);
    }
    if claim.resumes() {
        take_back(request, claim.path());
    }
    let setting = Setting {
        ffmpeg: Arc::new(ffmpeg),
        workers: args.workers,
        cache: args.cache.map(|size| (state.cache_dir(), size.0)),
    };
    let runtime = runtime()?;
    let outcome = runtime.block_on(work(
        &setting,
        &mut claim,
        &digest,
        request,
        args.talk.quiet,
    ));
    // Threads that still read or write files have nothing left that anyone waits for.
    runtime.shutdown_background();
    if !matches!(&outcome, Err(fault) if fault.kind == Kind::Interrupted) {
        let others = state.has_other_jobs(&claim);
        claim.remove();
        if others {
            state.forget_old_jobs();
        }
    }
    outcome
}

/// Runs a command here. Nothing of it is kept for another time: it is one run of FFmpeg.
/// # Errors
/// See [`Kind`].
pub fn command(asked: &Asked, args: &RunCommand) -> Result<Followed, Fault> {
    let state = State::open(args.machine.state.as_deref())?;
    let ffmpeg = ffmpeg(&state, args.machine.sandbox)?;
    let needs = asked.line.needs(&asked.request).capabilities;
    for encoder in needs.iter().filter(|name| *name != CAPABILITY) {
        let has = ffmpeg.require_encoder(encoder);
        has.map_err(|e| Fault::environment(e.to_string()))?;
    }
    let setting = Setting {
        ffmpeg: Arc::new(ffmpeg),
        workers: Some(1),
        cache: None,
    };
    let room = state.room()?;
    let runtime = runtime()?;
    let outcome = runtime.block_on(async {
        let mut interrupt = Interrupt::listen()?;
        let parts = Parts::start(&setting, room.path()).await?;
        let outcome = {
            let quiet = args.talk.quiet || args.talk.json;
            let job = follow::run_command(&parts.client, "command", &asked.request, quiet);
            tokio::select! {
                followed = job => followed,
                () = parts.coordinator.failed() => Err(Fault::environment(
                    "the job's log can no longer be written; free the disk or name another place with --state DIR",
                )),
                () = interrupt.heard() => Err(Fault::new(
                    Kind::Interrupted,
                    "interrupted; run the same command again, it begins anew",
                )),
            }
        };
        if outcome.is_err() {
            interrupt.end_on_next();
        }
        parts.stop().await;
        outcome
    });
    // Threads that still read or write files have nothing left that anyone waits for.
    runtime.shutdown_background();
    outcome
}

/// The build to use, in its sandbox. What it can do is remembered in the state folder.
pub fn ffmpeg(state: &State, policy: Policy) -> Result<Ffmpeg, Fault> {
    let found = toolchain::find_confined(Some(state.root()), policy)
        .map_err(|e| Fault::environment(e.to_string()))?;
    if let Some(warning) = &found.warning {
        crate::bars::line(&format!("recode-client: warning: {warning}"));
    }
    tracing::debug!(layers = %found.sandbox, "sandbox");
    Ok(found)
}

/// Refuses what this machine's FFmpeg cannot do before anything starts.
fn check_encoders(ffmpeg: &Ffmpeg, request: &JobRequest) -> Result<(), Fault> {
    let missing = |e: toolchain::Error| Fault::environment(e.to_string());
    for output in &request.outputs {
        if output.rendition.codec != Codec::Copy {
            encoder::check(&output.rendition).map_err(|e| Fault::usage(e.to_string()))?;
            ffmpeg
                .require_encoder(&output.rendition.encoder)
                .map_err(missing)?;
        }
        if let Some(encoder) = output.audio_codec.and_then(AudioCodec::encoder)
            && !ffmpeg.has_encoder(encoder)
        {
            return Err(Fault::environment(format!(
                "{} has no audio encoder {encoder}; choose another --audio-codec, or run `make setup` for a full build",
                ffmpeg.path.display()
            )));
        }
    }
    if !request.score.is_empty() {
        ffmpeg.require_vmaf().map_err(missing)?;
    }
    Ok(())
}

/// Names the job: chunks of two FFmpeg builds must not meet in one Output, so the build is part of it.
fn digest(request: &JobRequest, source: Option<&std::fs::Metadata>, ffmpeg: &Ffmpeg) -> Digest {
    let job = job_digest(request, source);
    let build = format!("{job} {} {}", ffmpeg.path.display(), ffmpeg.version_line());
    Digest::of(build.as_bytes())
}

/// Removes Outputs that an earlier run put in their place without living to say so: they are joined again from the same
/// Chunks, and would be in the way. Anybody else's file stays, and is an error later.
fn take_back(request: &JobRequest, folder: &Path) {
    let scratch = folder.join("scratch");
    for path in request.outputs.iter().filter_map(|o| path_of(&o.url)) {
        if recode_node::scratch::was_published_from(&scratch, &path) {
            tracing::info!(path = %path.display(), "an earlier run died with its output in place; it is joined again");
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "it cannot be removed");
            }
        }
    }
}

struct Setting {
    ffmpeg: Arc<Ffmpeg>,
    workers: Option<u32>,
    cache: Option<(std::path::PathBuf, u64)>,
}

async fn work(
    setting: &Setting,
    claim: &mut Claim,
    digest: &Digest,
    request: &JobRequest,
    quiet: bool,
) -> Result<Followed, Fault> {
    let mut interrupt = Interrupt::listen()?;
    let request_id = digest.to_string();
    let mut parts = Parts::start(setting, claim.path()).await?;
    if claim.resumes() && is_over(&parts.client, &request_id, request).await? {
        parts.stop().await;
        claim.start_anew()?;
        parts = Parts::start(setting, claim.path()).await?;
    }
    if claim.resumes() && !quiet {
        crate::bars::line("recode-client: going on where an earlier run stopped");
    }
    let outcome = {
        let job = follow::run(&parts.client, &request_id, request, quiet);
        tokio::select! {
            followed = job => followed,
            () = parts.coordinator.failed() => Err(Fault::environment(
                "the job's log can no longer be written; free the disk or name another place with --state DIR",
            )),
            () = interrupt.heard() => Err(Fault::new(
                Kind::Interrupted,
                "interrupted; run the same command again to go on where it stopped",
            )),
        }
    };
    if outcome.is_err() {
        interrupt.end_on_next();
    }
    parts.stop().await;
    outcome
}

/// Whether the job an earlier run left is one to leave alone: it failed or was cancelled, or it is done and somebody
/// has taken the Output away since.
async fn is_over(client: &Client, request_id: &str, request: &JobRequest) -> Result<bool, Fault> {
    let job = client.submit(request_id, request).await.map_err(fault)?;
    let status = client.get(job).await.map_err(fault)?.status;
    Ok(match status.state {
        JobState::Failed | JobState::Cancelled => true,
        JobState::Done => !request
            .outputs
            .iter()
            .filter_map(|output| path_of(&output.url))
            .all(|path| path.exists()),
        JobState::Probing | JobState::Planning | JobState::Running => false,
    })
}

/// The running parts.
struct Parts {
    client: Client,
    coordinator: recode_coordinator::assembly::Running,
    node: recode_node::assembly::Running,
}

impl Parts {
    async fn start(setting: &Setting, folder: &Path) -> Result<Self, Fault> {
        let store = folder.join("store");
        std::fs::create_dir_all(&store).map_err(|e| {
            Fault::environment(format!(
                "the state folder {} cannot be written ({e}); free the disk or name another with --state DIR",
                folder.display()
            ))
        })?;
        let work_store = url::Url::from_file_path(&store)
            .expect("the state folder is absolute")
            .to_string();
        let coordinator = recode_coordinator::assembly::start(
            recode_coordinator::assembly::Config::embedded(folder.join("raft"), work_store),
        )
        .await
        .map_err(|e| Fault::environment(chain(&e)))?;
        let endpoint = format!("http://{}", coordinator.local_addr());
        let node = recode_node::assembly::start(recode_node::assembly::Config {
            nats: None,
            ahead: None,
            coordinator: endpoint.clone(),
            scratch: folder.join("scratch"),
            scratch_budget: None,
            workers: setting.workers,
            ffmpeg: Arc::clone(&setting.ffmpeg),
            cache: setting.cache.clone(),
            labels: Default::default(),
            habits: recode_node::leaving::Habits::default(),
            peer: None,
            // A machine that encodes one film has no time to measure itself.
            measured: None,
        })
        .map_err(|e| Fault::environment(chain(&e)))?;
        let client = Client::at(&endpoint).map_err(fault)?.patience(PATIENCE);
        Ok(Self {
            client,
            coordinator,
            node,
        })
    }

    /// Children first: nothing may be written after the folder's claim is gone.
    async fn stop(self) {
        self.node.stop().await;
        self.coordinator.stop().await;
    }
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        out = format!("{out}: {e}");
        cause = e.source();
    }
    out
}

/// Looks at a Source.
/// # Errors
/// [`Kind::Input`]: it cannot be read.
pub fn probe(args: &Probe, place: &Place) -> Result<(SourceFacts, FrameTable), Fault> {
    let state = State::open(args.machine.state.as_deref())?;
    let ffmpeg = Arc::new(ffmpeg(&state, args.machine.sandbox)?);
    let room = state.room()?;
    let looking = look(ffmpeg, room.path(), &place.url, args.deep);
    let loaded = unless_interrupted(looking).map_err(|fault| fault.of_source(&place.typed))?;
    Ok((loaded.facts.clone(), (*loaded.table).clone()))
}

/// Measures a file against another.
/// # Errors
/// [`Kind::Input`]: a file cannot be read, or the two do not belong together.
pub fn score(args: &Score, distorted: &Place, reference: &Place) -> Result<Measured, Fault> {
    let state = State::open(args.machine.state.as_deref())?;
    let ffmpeg = Arc::new(ffmpeg(&state, args.machine.sandbox)?);
    ffmpeg
        .require_vmaf()
        .map_err(|e| Fault::environment(e.to_string()))?;
    let room = state.room()?;
    let mut bar = Bar::frames("score", args.talk.quiet);
    let seen = |done, total| {
        if let Some(bar) = &mut bar {
            bar.show(done, total);
        }
    };
    let measuring = measure(
        ffmpeg,
        room.path(),
        &distorted.url,
        &reference.url,
        &args.score,
        seen,
    );
    let measured = unless_interrupted(measuring)?;
    Ok(Measured {
        frames: measured.frames,
        size: measured.size,
        scaled: measured.size != measured.reference_size,
        scores: measured.scores,
        per_frame: measured.per_frame,
    })
}

/// Runs `what` to its end, or to Ctrl-C; its children end with it.
fn unless_interrupted<T>(what: impl Future<Output = Result<T, Failure>>) -> Result<T, Fault> {
    let runtime = runtime()?;
    let outcome = runtime.block_on(async {
        let mut interrupt = Interrupt::listen()?;
        tokio::select! {
            done = what => done.map_err(|failure| Fault {
                kind: Kind::from(failure.class),
                message: failure.message,
                stderr_tail: None,
            }),
            () = interrupt.heard() => Err(Fault::new(Kind::Interrupted, "interrupted; nothing is left behind")),
        }
    });
    runtime.shutdown_background();
    outcome
}
