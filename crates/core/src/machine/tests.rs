//! The life of a Job, command by command; every step is checked against all invariants by [`Bench::apply`].

mod encodings;
mod failing;
mod knobs;
mod life;
mod lists;
mod retiring;
mod wishes;

use super::*;
use crate::fixture::*;
use recode_types::event::EventKind;
use recode_types::rendition::RateControl;
use recode_types::task::{FailureClass, TaskResult, Work};
use recode_types::{Codec, Knob, TaskKey};

const PROBE: TaskKey = TaskKey::Probe { deep: false };
const STITCH: TaskKey = TaskKey::Stitch { output: 0 };

fn encode(segment: u32) -> TaskKey {
    TaskKey::Encode { group: 0, segment }
}
