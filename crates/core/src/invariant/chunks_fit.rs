//! A committed Chunk is the one its Segment and present knob ask for; all Chunks of an Output have equal parameter sets.

use crate::machine::State;

/// See the module.
/// # Errors
/// The Chunk that does not fit.
pub fn check(state: &State) -> Result<(), String> {
    for (id, job) in &state.jobs {
        let Some(run) = job.run() else { continue };
        for (index, output) in run.outputs.iter().enumerate() {
            for (segment, chunk) in output.chunks.iter().enumerate() {
                let Some(chunk) = chunk else { continue };
                let at = format!("chunk {segment} of output {index} of {id}");
                if chunk.facts.segment as usize != segment || chunk.facts.output as usize != index {
                    return Err(format!("{at} is that of another segment or output"));
                }
                if output.knobs[segment] != Some(*chunk.knob) {
                    return Err(format!("{at} was made with another knob"));
                }
                if run.address(index as u16, segment as u32) != Some(chunk.facts.address) {
                    return Err(format!("{at} answers another address"));
                }
                if output.params != Some(*chunk.facts.params) {
                    return Err(format!("{at} has other parameter sets"));
                }
            }
        }
    }
    Ok(())
}
