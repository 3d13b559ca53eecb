//! A Run as it is stored.

use super::tally::Tally;
use super::{OutputRun, Run};
use crate::machine::open;
use crate::plan::{Plan, PlannedOutput, Promise};
use recode_types::ArtifactRef;
use serde::Deserialize;
use std::sync::Arc;

/// A [`Run`] as it is stored.
#[derive(Deserialize)]
pub(super) struct Stored {
    facts: ArtifactRef,
    deep: bool,
    plan: Plan,
    segments: ArtifactRef,
    outputs: Vec<OutputRun>,
    order: Vec<u32>,
    rank: Vec<u32>,
    open: open::Stored,
    open_trials: open::Stored,
}

impl TryFrom<Stored> for Run {
    type Error = &'static str;

    fn try_from(mut stored: Stored) -> Result<Self, Self::Error> {
        if !stored.plan.agrees_with_itself() {
            return Err("a plan contradicts itself");
        }
        let (segments, groups) = (stored.plan.segments.len(), stored.plan.groups.len());
        if !is_order_of(segments, &stored.order, &stored.rank) {
            return Err("the order of encodes is not one of all segments");
        }
        let among = |places: open::Stored| {
            let places = places.among(segments, groups);
            places.ok_or("a task is open that the plan does not have")
        };
        let (open, open_trials) = (among(stored.open)?, among(stored.open_trials)?);
        if stored.plan.outputs.len() != stored.outputs.len() {
            return Err("a run has not the outputs of its plan");
        }
        for (planned, output) in stored.plan.outputs.iter().zip(&mut stored.outputs) {
            // Earlier builds kept an empty list for each Segment where there are no trials.
            if matches!(planned.promise, Promise::Quality { .. }) {
                output.trials = Vec::new();
            }
            if !output.fits(planned, segments) {
                return Err("an output has not a place for every segment");
            }
        }
        let mut run = Self {
            facts: stored.facts,
            deep: stored.deep,
            plan: Arc::new(stored.plan),
            segments: stored.segments,
            outputs: stored.outputs,
            order: stored.order.into(),
            rank: stored.rank.into(),
            open,
            open_trials,
            tally: Tally::default(),
        };
        run.tally = run.counted();
        Ok(run)
    }
}

impl OutputRun {
    /// There is a place for every Segment in all that has one.
    fn fits(&self, planned: &PlannedOutput, segments: usize) -> bool {
        let places = if planned.unsplit { 0 } else { segments };
        let trials = match planned.promise {
            Promise::Quality { .. } => 0,
            _ => places,
        };
        self.knobs.len() == places && self.chunks.len() == places && self.trials.len() == trials
    }
}

/// `order` has every Segment once, and `rank` says where.
fn is_order_of(segments: usize, order: &[u32], rank: &[u32]) -> bool {
    let stands = |(position, segment): (usize, &u32)| {
        rank.get(*segment as usize).map(|&at| at as usize) == Some(position)
    };
    order.len() == segments && rank.len() == segments && order.iter().enumerate().all(stands)
}
