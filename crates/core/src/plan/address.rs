//! Content addresses: the digest of what was asked. Equal addresses mean interchangeable Chunks (the Node adds the encoder
//! build, which is not known here).

use super::Plan;
use recode_types::{Digest, Knob, Rendition, SourceFacts};

/// Changes whenever the meaning of what is hashed changes.
const VERSION: u32 = 1;

/// Digest of a Source's identity and of its index.
pub fn source_digest(facts: &SourceFacts) -> Digest {
    digest(&(
        "source",
        VERSION,
        &facts.identity.url,
        facts.identity.size_bytes,
        &facts.identity.version,
        &facts.index_digest,
    ))
}

/// The address of a Chunk. The promise about rate and peak is left out: what counts for one Chunk is its knob.
pub fn chunk(plan: &Plan, output: u16, segment: u32, knob: &Knob) -> Digest {
    let rendition = &plan.outputs[output as usize].output.rendition;
    of("chunk", plan, segment, rendition, knob)
}

/// The address of a trial encode.
pub fn trial(plan: &Plan, segment: u32, rendition: &Rendition, knob: &Knob) -> Digest {
    of("trial", plan, segment, rendition, knob)
}

fn of(kind: &str, plan: &Plan, segment: u32, rendition: &Rendition, knob: &Knob) -> Digest {
    let s = plan.segments[segment as usize];
    let rendition = Rendition {
        rate: None,
        peak: None,
        ..rendition.clone()
    };
    // The first wanted frame sets the phase of frame-rate conversion and of a fixed key frame grid.
    let interval = (
        plan.source.time_base,
        plan.source.start_us,
        plan.source.first_pts,
        s.start_pts,
        s.end_pts,
        s.rows,
    );
    digest(&(
        kind,
        VERSION,
        plan.source.digest,
        interval,
        rendition,
        knob,
        &plan.score,
        plan.verify_full,
    ))
}

fn digest<T: serde::Serialize>(value: &T) -> Digest {
    Digest::of(&postcard::to_stdvec(value).expect("plain data always serialises"))
}
