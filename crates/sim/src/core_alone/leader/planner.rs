//! Plans and decisions, two commands at a time.

use super::*;

impl World {
    pub(super) fn decide(&mut self, at: usize, job: JobId) {
        let commands = decide::next(&self.coordinators[at].state, job);
        if commands.is_empty() {
            return;
        }
        if let Some(reign) = self.reign(at) {
            reign.deciding = true;
        }
        self.propose_in_pairs(at, job, commands, true);
    }

    pub(super) fn propose_in_pairs(
        &mut self,
        at: usize,
        job: JobId,
        commands: Vec<Command>,
        decides: bool,
    ) {
        let mut rest: VecDeque<Vec<Command>> = commands.chunks(2).map(<[_]>::to_vec).collect();
        let Some(first) = rest.pop_front() else {
            return;
        };
        self.propose(at, first, Reply::Planner { job, rest, decides });
    }

    pub fn plan_again(&mut self, at: usize, term: u64, job: JobId) {
        if self.reign_of(at, term).is_some() {
            let gathered = &mut self.coordinators[at].gathered;
            gathered.plan.insert(job);
            gathered.decide.insert(job);
        }
    }

    pub fn on_facts(&mut self, at: usize, term: u64, job: JobId, tries: u32) {
        if self.reign_of(at, term).is_none() {
            return;
        }
        let known = self.coordinators[at].state.jobs.get(&job);
        let planning = known.and_then(|known| match &known.phase {
            Phase::Planning { deep, facts, .. } => Some((*deep, facts.size_bytes)),
            _ => None,
        });
        let Some((deep, facts)) = planning else {
            if let Some(reign) = self.reign(at) {
                reign.planning -= 1;
            }
            return;
        };
        let mut commands;
        if !self.calm && self.rng.chance(self.schedule.rates.store) {
            self.fired.add(Fault::StoreFailed);
            let tries = tries + 1;
            if tries < STORE_TRIES {
                self.after(
                    1_000 << tries,
                    Event::FactsRead {
                        at,
                        term,
                        job,
                        tries,
                    },
                );
                return;
            }
            commands = vec![Command::FailJob {
                job,
                class: FailureClass::Store,
                message: "the facts cannot be read".into(),
            }];
        } else {
            let plan = self.library.plan((facts >> 1) as usize, deep).clone();
            commands = plan.into_commands(job, deep, film::artifact(1));
            // A real part holds more Segments than these films have: shorter ones, so that there are several.
            if let [
                Command::PlanPart { segments, .. },
                Command::PlanReady { .. },
            ] = &commands[..]
            {
                let size = self.rng.within(1, 6) as usize;
                let mut parts: Vec<Command> = segments
                    .chunks(size)
                    .zip(0..)
                    .map(|(segments, part)| Command::PlanPart {
                        job,
                        deep,
                        part,
                        segments: segments.to_vec(),
                    })
                    .collect();
                let count = parts.len() as u32;
                let mut ready = commands.pop().expect("there are two");
                if let Command::PlanReady { parts, .. } = &mut ready {
                    *parts = count;
                }
                parts.push(ready);
                commands = parts;
            }
        }
        self.propose_in_pairs(at, job, commands, false);
    }
}
