//! A job that encodes no video: packets of the Source in another container.

use super::mux::{self, Cover, Cut, MuxInputs, Plan, SourceFile, VideoInput};
use recode_types::request::OutputRequest;
use recode_types::source::SourceFacts;
use std::path::Path;

/// Plans the run that makes the Output. `covers` are what [`mux::covers`] asks for; `sent` as [`MuxInputs::sent`].
pub fn plan(
    facts: &SourceFacts,
    output: &OutputRequest,
    cut: Cut,
    source: &Path,
    covers: Vec<Cover>,
    out: &Path,
    sent: bool,
) -> Plan {
    let inputs = MuxInputs {
        source: Some(SourceFile::whole(source)),
        video: VideoInput::Source,
        video_offset_us: 0,
        audio: None,
        whole: Vec::new(),
        covers,
        cut,
        out,
        sent,
    };
    mux::plan(facts, output, &inputs)
}
