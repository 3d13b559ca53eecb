//! A committed Chunk goes only where an event says so: it was reopened, or the Job was planned again. Another try at a
//! failed Job keeps every one of them.

use crate::machine::{Run, State};
use recode_types::event::EventKind;

/// See the module.
/// # Errors
/// The Job that lost a Chunk.
pub fn check(before: &State, after: &State) -> Result<(), String> {
    for (id, job) in &before.jobs {
        let (Some(run), Some(now)) = (job.run(), after.jobs.get(id)) else {
            continue;
        };
        let told = now.events[job.events.len()..].iter().any(|event| {
            matches!(
                event.kind,
                EventKind::Reopened { .. }
                    | EventKind::Replanning { .. }
                    | EventKind::Retried { chunks_kept: 0 }
            )
        });
        let had = run.count_chunks();
        let has = now.run().map_or(0, Run::count_chunks);
        if has < had && !told {
            return Err(format!("{id} had {had} chunks and has {has}"));
        }
    }
    Ok(())
}
