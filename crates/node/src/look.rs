//! Looking at a Source outside any Job: the same probe a Job begins with, for `recode-client probe`.

use crate::run::{Context, Inputs, Loaded, failure, run};
use crate::scratch::Scratch;
use crate::slots::Slots;
use crate::source::Sources;
use recode_media::toolchain::Ffmpeg;
use recode_types::task::{AttemptOutcome, Failure, FailureClass, Grant, TaskResult, Work};
use recode_types::{JobId, TaskId, TaskKey};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

/// Probes `url`. `dir` is an empty directory of the caller's, who removes it afterwards. With `deep` every frame is
/// decoded.
/// # Errors
/// The failure a Job would end with.
pub async fn look(
    ffmpeg: Arc<Ffmpeg>,
    dir: &Path,
    url: &str,
    deep: bool,
) -> Result<Arc<Loaded>, Failure> {
    let resources = |e: &dyn std::error::Error| Failure {
        class: FailureClass::OutOfResources,
        message: e.to_string(),
        stderr_tail: None,
    };
    let scratch = dir.join("scratch");
    let store = dir.join("store");
    std::fs::create_dir_all(&store).map_err(|e| resources(&e))?;
    let context = Arc::new(Context {
        sources: Sources::new(&scratch),
        ffmpeg,
        scratch: Scratch::open(&scratch).map_err(|e| resources(&e))?,
        inputs: Inputs::default(),
        cache: None,
        proofs: crate::proof::Proofs::default(),
    });
    let work_store = format!("{}", store.display());
    let grant = Grant {
        task: TaskId {
            job: JobId::generate(),
            key: TaskKey::Probe { deep },
        },
        attempt: 1,
        work_store: work_store.clone(),
        work: Work::Probe {
            source: url.to_owned(),
            deep,
            start_us: None,
            duration_us: None,
        },
        memory_bytes: None,
    };
    let held = Slots::new(1, 1, 1).hold(deep);
    let (progress, _) = watch::channel(Default::default());
    let outcome = run(Arc::clone(&context), grant, held, progress).await;
    match outcome.expect("scratch has no budget here") {
        AttemptOutcome::Done {
            result: TaskResult::Probed { facts },
            ..
        } => {
            let store = context.inputs.store(&work_store).await?;
            context.inputs.load(&store, &facts).await
        }
        AttemptOutcome::Done { .. } => Err(failure(
            FailureClass::Unknown,
            std::io::Error::other("a probe gave something else than facts"),
        )),
        AttemptOutcome::Failed { failure, .. } => Err(failure),
    }
}
