//! From the facts to a Plan, and back: the parts of a Plan as they come, knobs, and planning again.

use super::{Job, Phase};
use crate::machine::command::{Effect, Rejected};
use crate::machine::run::Run;
use crate::plan::cut;
use recode_types::event::EventKind;
use recode_types::{ArtifactRef, Knob, Segment};
use std::sync::Arc;

impl Job {
    pub(super) fn plan_part(
        &mut self,
        deep: bool,
        part: u32,
        more: &[Segment],
    ) -> Result<(), Rejected> {
        let Phase::Planning {
            deep: grade,
            parts,
            segments,
            ..
        } = &mut self.phase
        else {
            return Err(Rejected::Outdated);
        };
        if *grade != deep {
            return Err(Rejected::Outdated);
        }
        if part == 0 {
            *parts = 0;
            if !planted!(PlanKeepsOldParts) {
                segments.clear();
            }
        }
        if part != *parts {
            return Err(Rejected::BadPlan);
        }
        *parts += 1;
        segments.extend_from_slice(more);
        Ok(())
    }

    pub(super) fn plan_ready(
        &mut self,
        deep: bool,
        count: u32,
        plan: &crate::plan::Plan,
        list: &ArtifactRef,
    ) -> Result<Run, Rejected> {
        let Phase::Planning {
            deep: grade,
            facts,
            parts,
            segments,
        } = &mut self.phase
        else {
            return Err(Rejected::Outdated);
        };
        if *grade != deep && !planted!(PlanGradeIgnored) {
            return Err(Rejected::Outdated);
        }
        if (*parts != count && !planted!(PlanIncomplete))
            || plan.outputs.len() != self.request.outputs.len()
        {
            return Err(Rejected::BadPlan);
        }
        let mut plan = plan.clone();
        plan.segments = segments.clone();
        let order = cut::order(&plan.segments, self.request.segment);
        Run::start(facts.clone(), deep, plan, list.clone(), order).ok_or(Rejected::BadPlan)
    }

    pub(super) fn set_knobs(
        &mut self,
        at_ms: u64,
        (output, round): (u16, u32),
        knobs: &[(u32, Knob)],
        reason: &str,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Rejected> {
        let Phase::Running(run) = &mut self.phase else {
            return Err(Rejected::Outdated);
        };
        let reopened = run.set_knobs(output, round, knobs, &mut self.tasks)?;
        if reopened > 0 {
            let tasks = &self.tasks;
            self.backoff
                .retain(|key| tasks.get(key).is_some_and(|t| t.retry_at_ms > 0));
            self.tell(
                at_ms,
                EventKind::Reopened {
                    chunks: reopened,
                    reason: reason.to_owned(),
                },
            );
            effects.push(Effect::Announce { job: self.id });
        }
        effects.push(Effect::Dispatch);
        Ok(())
    }

    pub(super) fn replan(&mut self, at_ms: u64, reason: String, effects: &mut Vec<Effect>) {
        if !planted!(ReplanKeepsLeases) {
            self.revoke_all(effects);
        }
        if planted!(ReplanDropsEvents) {
            Arc::make_mut(&mut self.events).truncate(1);
        }
        self.tell(at_ms, EventKind::Replanning { reason });
        // Attempt numbers go on, so that no earlier Attempt can be taken for a new one.
        if planted!(ReplanRestartsNumbers) {
            self.tasks.clear();
        }
        for task in self.tasks.values_mut() {
            task.reopen();
        }
        self.backoff.clear();
        self.phase = Phase::Probing {
            deep: !planted!(ReplanLooksQuickly),
        };
        effects.push(Effect::Announce { job: self.id });
        effects.push(Effect::Dispatch);
    }
}
