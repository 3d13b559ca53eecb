//! A job that encodes no video: packets of the Source in another container.

use super::mux::{self, Cut, MuxInputs, Plan, SourceFile, VideoInput};
use recode_types::request::OutputRequest;
use recode_types::source::SourceFacts;
use std::path::Path;

/// Plans the one run that makes the Output.
pub fn plan(
    facts: &SourceFacts,
    output: &OutputRequest,
    cut: Cut,
    source: &Path,
    out: &Path,
) -> Plan {
    let inputs = MuxInputs {
        source: Some(SourceFile::whole(source)),
        video: VideoInput::Source,
        video_offset_us: 0,
        audio: None,
        whole: Vec::new(),
        cut,
        out,
    };
    mux::plan(facts, output, &inputs)
}
