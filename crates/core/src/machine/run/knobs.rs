//! Knobs of the Segments of an Output, as the rate control decides them.

use super::Run;
use crate::machine::command::Rejected;
use crate::machine::rows::Rows;
use crate::plan::{Promise, rate};
use recode_types::{Knob, TaskKey};
use std::sync::Arc;

impl Run {
    /// Returns how many finished Chunks are made again.
    pub(in crate::machine) fn set_knobs(
        &mut self,
        output: u16,
        round: u32,
        knobs: &[(u32, Knob)],
        tasks: &mut Rows,
    ) -> Result<u32, Rejected> {
        let count = self.plan.segments.len();
        let group = self.plan.group_of(output).ok_or(Rejected::Outdated)?;
        let run = &mut self.outputs[output as usize];
        if (run.rounds != round && !planted!(RoundIgnored))
            || run.result.is_some()
            || knobs.iter().any(|(s, _)| *s as usize >= count)
        {
            return Err(Rejected::Outdated);
        }
        run.rounds += 1;
        let for_peak = !run.violations.is_empty();
        if !planted!(ViolationsKept) {
            run.violations.clear();
        }
        let mut reopened = 0;
        for &(segment, knob) in knobs {
            let at = segment as usize;
            if run.knobs[at] == Some(knob) {
                continue;
            }
            Arc::make_mut(&mut run.knobs)[at] = Some(knob);
            let key = TaskKey::Encode { group, segment };
            if let Some(old) = match planted!(ReopenKeepsChunk) {
                true => None,
                false => run.chunks.take(at),
            } {
                reopened += 1;
                let kept = match planted!(HistoryOfAnother) {
                    true => segment + 1,
                    false => segment,
                };
                run.history
                    .entry(kept)
                    .or_default()
                    .push((old.knob.quality_milli, old.facts.payload_bytes));
                let task = tasks.row(key);
                task.reopen();
                if task.lease.is_none() && !planted!(ReopenForgetsTask) {
                    self.open.insert((self.rank[at], group));
                }
            }
        }
        // What the limit takes away may be missing from a promised size: it is looked at again.
        let promise = &self.plan.outputs[output as usize].promise;
        if for_peak && reopened > 0 && !matches!(promise, Promise::Quality { .. }) {
            run.settled = false;
        }
        if reopened > 0 {
            self.tally = self.counted();
        }
        Ok(reopened)
    }

    /// The rate control of an Output has done what it can.
    pub(in crate::machine) fn settle(&mut self, output: u16) -> Result<(), Rejected> {
        let run = self
            .outputs
            .get_mut(output as usize)
            .filter(|run| !run.settled)
            .ok_or(Rejected::Outdated)?;
        run.settled = true;
        Ok(())
    }

    /// Trials of an Output are there, or not wanted.
    pub fn trials_done(&self, output: u16) -> bool {
        !rate::wants_trial(&self.plan.outputs[output as usize])
            || self.outputs[output as usize]
                .trials
                .iter()
                .all(|t| !t.is_empty())
    }

    pub(super) fn tried(&self, group: u16, segment: u32) -> bool {
        self.trial_outputs(group)
            .iter()
            .all(|&o| !self.outputs[o as usize].trials[segment as usize].is_empty())
    }

    /// The first Output of an Encode task that has no knob yet.
    pub(in crate::machine) fn without_knob(&self, key: TaskKey) -> Option<u16> {
        let TaskKey::Encode { group, segment } = key else {
            return None;
        };
        self.missing(group, segment)
            .into_iter()
            .find(|&o| self.outputs[o as usize].knobs[segment as usize].is_none())
    }

    /// Segments whose trial for an Output is missing.
    pub(in crate::machine) fn missing_trials(&self, output: u16) -> u32 {
        if !rate::wants_trial(&self.plan.outputs[output as usize]) {
            return 0;
        }
        let trials = &self.outputs[output as usize].trials;
        trials.iter().filter(|t| t.is_empty()).count() as u32
    }

    pub(super) fn knobs_known(&self, group: u16, segment: u32) -> bool {
        self.missing(group, segment)
            .iter()
            .all(|&o| self.outputs[o as usize].knobs[segment as usize].is_some())
    }
}
