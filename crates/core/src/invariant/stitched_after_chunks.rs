//! An encoded Output is in its place only when every Segment has exactly one committed Chunk and all tracks are there; a Job
//! is done only when all Outputs are in their places.

use crate::machine::State;
use recode_types::event::JobState;

/// See the module.
/// # Errors
/// The Output that came too early.
pub fn check(state: &State) -> Result<(), String> {
    for (id, job) in &state.jobs {
        let Some(run) = job.run() else { continue };
        for (index, output) in run.outputs.iter().enumerate() {
            let complete =
                output.chunks.iter().all(Option::is_some) && run.tracks_done(index as u16);
            if output.result.is_some() && !run.plan.outputs[index].unsplit && !complete {
                return Err(format!("output {index} of {id} was stitched too early"));
            }
            if job.state() == JobState::Done && output.result.is_none() {
                return Err(format!("{id} is done without output {index}"));
            }
        }
    }
    Ok(())
}
