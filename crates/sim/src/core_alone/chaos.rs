//! The larger faults: which process dies, stands still or is cut off, and when all of that stops.

use super::world::{Event, Place, World};
use crate::faults::Fault;
use crate::film;
use recode_core::machine::{Command, Job, LeaseGrant, Phase, level};
use recode_types::task::FailureClass;
use recode_types::{JobId, NodeId, TaskId, TaskKey};

type Happening = fn(&mut World);

impl World {
    pub fn on_chaos(&mut self) {
        if self.calm {
            return;
        }
        let rates = self.schedule.rates;
        let mean = rates.every_ms;
        let wait = self.rng.within(mean / 2, mean * 3 / 2);
        self.after(wait, Event::Chaos);
        let kinds: [(u32, Happening); 11] = [
            (rates.crash, World::chaos_crash),
            (rates.pause, World::chaos_pause),
            (rates.cut, World::chaos_cut),
            (rates.depose, |w| w.after(0, Event::Elect { force: true })),
            (rates.echo, World::chaos_echo),
            (rates.absurd, World::chaos_absurd),
            (rates.restore, World::chaos_restore),
            (rates.slow_disk, World::chaos_slow_disk),
            (rates.node_crash, World::chaos_node_crash),
            (rates.node_pause, World::chaos_node_pause),
            (rates.clock, World::chaos_clock),
        ];
        let total: u64 = kinds.iter().map(|k| u64::from(k.0)).sum();
        let mut draw = self.rng.below(total);
        for (weight, happen) in kinds {
            if draw < u64::from(weight) {
                happen(self);
                return;
            }
            draw -= u64::from(weight);
        }
    }

    fn some_coordinator(&mut self) -> usize {
        match self.log.leader {
            // The Leader's troubles are the interesting ones.
            Some(leader) if self.rng.chance(500) => leader,
            _ => self.rng.index(self.coordinators.len()),
        }
    }

    fn chaos_crash(&mut self) {
        let at = self.some_coordinator();
        if !self.coordinators[at].up {
            return;
        }
        self.trace
            .line(self.now, || format!("coordinator {at} dies"));
        self.crash(at);
        let wait = self.rng.within(50, 12_000);
        self.after(wait, Event::Restart { at });
    }

    fn chaos_pause(&mut self) {
        let at = self.some_coordinator();
        let one = &mut self.coordinators[at];
        if !one.up || one.paused_until > self.now {
            return;
        }
        one.paused_until = self.now + self.rng.within(200, 20_000);
        self.trace
            .line(self.now, || format!("coordinator {at} stands still"));
        self.fired.add(Fault::CoordinatorPause);
    }

    fn chaos_cut(&mut self) {
        let at = Place::Coordinator(self.some_coordinator());
        let one_way = self.rng.chance(400);
        let outward = self.rng.chance(500);
        let nodes_too = self.rng.chance(500);
        let wait = self.rng.within(500, 25_000);
        let others = (0..self.coordinators.len()).map(Place::Coordinator);
        let nodes = (0..self.nodes.len()).filter(|_| nodes_too).map(Place::Node);
        let others: Vec<Place> = others.chain(nodes).filter(|p| *p != at).collect();
        if others.is_empty() {
            return;
        }
        for other in others {
            for (a, b, cut) in [(at, other, outward), (other, at, !outward)] {
                if (cut || !one_way) && self.cuts.insert((a, b)) {
                    self.after(wait, Event::Mend { a, b });
                }
            }
        }
        self.trace.line(self.now, || format!("{at:?} is cut off"));
        self.fired.add(match one_way {
            true => Fault::OneWayCut,
            false => Fault::Partition,
        });
    }

    /// A proposal that its proposer made again, or one that was long under way.
    fn chaos_echo(&mut self) {
        // Somewhere in the middle all coordinators are of the newest build.
        if self.oracle.state().level < level::LEVEL && self.rng.chance(30) {
            let level = level::LEVEL;
            self.shout(Command::RaiseLevel { level });
            return;
        }
        if self.rng.chance(30)
            && let Some(job) = self.oracle.state().jobs.keys().next().copied()
        {
            let reason = "somebody doubts the index".to_owned();
            if self.shout(Command::Replan { job, reason }) {
                self.fired.add(Fault::CommandEchoed);
            }
            return;
        }
        for _ in 0..5 {
            if self.log.committed == 0 {
                return;
            }
            let entry = self.rng.index(self.log.committed);
            let batch = self.log.entries[entry].batch.clone();
            if batch.0.is_empty() {
                continue;
            }
            let mut command = batch.0[self.rng.index(batch.0.len())].command.clone();
            let may_come_again = match &command {
                Command::CompleteAttempt { .. }
                | Command::GrantLeases { .. }
                | Command::ExpireLeases { .. }
                | Command::PlanReady { .. }
                | Command::CancelJob { .. }
                | Command::ForgetNode { .. }
                | Command::Ask { .. }
                | Command::ForgetJob { .. }
                | Command::RaiseLevel { .. }
                | Command::TurnKnobs { .. } => true,
                // A request that was forgotten is a new one.
                Command::SubmitJob { request_id, .. } => {
                    self.oracle.state().requests.contains_key(request_id)
                }
                // Its round counts within one Plan, and no proposal of the Leader's outlives a second probe.
                Command::SetKnobs { job, .. } => {
                    let job = self.oracle.state().jobs.get(job);
                    job.is_some_and(|job| {
                        let replans = |e: &recode_types::Event| {
                            matches!(e.kind, recode_types::EventKind::Replanning { .. })
                        };
                        !job.events.iter().any(replans)
                    })
                }
                // These follow each other through one Leader's queue and cannot overtake.
                Command::PlanPart { .. }
                | Command::Warn { .. }
                | Command::RegisterNode { .. }
                | Command::FailJob { .. }
                | Command::DrainNode { .. }
                // No client of the simulation submits commands.
                | Command::SubmitCommand { .. }
                | Command::Retire { .. }
                | Command::ArchiveJob { .. }
                | Command::Replan { .. } => false,
            };
            // As a coordinator names it when the client asks again. Under its old name it could come back after it was
            // forgotten, which no proposer can cause.
            if let Command::SubmitJob { job, .. } = &mut command {
                self.jobs_named += 1;
                *job = JobId(u128::from(self.now) << 64 | u128::from(self.jobs_named));
            }
            if may_come_again && self.shout(command) {
                self.fired.add(Fault::CommandEchoed);
                return;
            }
        }
    }

    /// The Leader chooses, `apply` checks: whatever a confused Leader proposes must be refused. Only what could not come to
    /// fit while it is under way.
    fn chaos_absurd(&mut self) {
        let state = self.oracle.state();
        let jobs: Vec<&Job> = state.jobs.values().collect();
        if jobs.is_empty() {
            return;
        }
        let job = jobs[self.rng.index(jobs.len())];
        let (id, draw) = (job.id, self.rng.below(6));
        let template = film::template_of(&job.request.source);
        let command = match &job.phase {
            Phase::Planning { deep, parts, .. } if draw < 5 => {
                let other = draw < 3;
                let plan = self.library.plan(template, *deep != other).clone();
                let mut commands = plan.into_commands(id, *deep != other, film::artifact(1));
                let mut ready = commands.pop().expect("a plan has an end");
                if let Command::PlanReady { parts: count, .. } = &mut ready {
                    *count = if other { *parts } else { 1_000_000 };
                }
                ready
            }
            // Its name is taken, unless it is forgotten before this lands.
            Phase::Probing { .. } | Phase::Planning { .. }
                if self.schedule.jobs.iter().any(|j| j.forget) =>
            {
                return;
            }
            Phase::Probing { .. } | Phase::Planning { .. } => Command::SubmitJob {
                request_id: format!("absurd {id}"),
                job: id,
                request: Box::new(job.request.clone()),
            },
            Phase::Running(run) => {
                let unwanted = [
                    TaskKey::Score { segment: 0 },
                    TaskKey::Encode {
                        group: 0,
                        segment: 4_000_000,
                    },
                    TaskKey::Probe { deep: run.deep },
                ];
                let key = self.rng.pick(&unwanted);
                let task = TaskId { job: id, key };
                match draw {
                    0..3 => Command::GrantLeases {
                        grants: vec![LeaseGrant {
                            task,
                            attempt: job.next_attempt(key),
                            node: *state.nodes.keys().next().unwrap_or(&NodeId(0)),
                        }],
                    },
                    3 => Command::CompleteAttempt {
                        task,
                        attempt: job.next_attempt(key) + 7,
                        outcome: Box::new(film::failed(FailureClass::BadInput)),
                    },
                    _ => Command::SetKnobs {
                        job: id,
                        output: 0,
                        round: run.outputs[0].rounds + 7,
                        knobs: Vec::new(),
                        reason: String::new(),
                    },
                }
            }
            // No client of the simulation submits commands.
            Phase::Command => return,
            Phase::Ended(_) => Command::FailJob {
                job: id,
                class: FailureClass::BadInput,
                message: String::new(),
            },
        };
        if self.shout(command) {
            self.fired.add(Fault::CommandAbsurd);
        }
    }

    fn chaos_restore(&mut self) {
        let at = self.some_coordinator();
        if self.coordinators[at].up {
            self.restore(at);
        }
    }

    fn chaos_slow_disk(&mut self) {
        let at = self.some_coordinator();
        self.coordinators[at].slow_disk_until = self.now + self.rng.within(1_000, 25_000);
    }

    fn chaos_node_crash(&mut self) {
        let node = self.rng.index(self.nodes.len());
        if !self.nodes[node].up {
            return;
        }
        self.trace.line(self.now, || format!("node {node} dies"));
        self.node_dies(node);
        self.fired.add(Fault::NodeCrash);
        let wait = self.rng.within(20, 30_000);
        self.after(wait, Event::NodeStarts { node });
    }

    fn chaos_node_pause(&mut self) {
        let node = self.rng.index(self.nodes.len());
        let one = &mut self.nodes[node];
        if !one.up || one.paused_until > self.now {
            return;
        }
        one.paused_until = self.now + self.rng.within(500, 40_000);
        self.trace
            .line(self.now, || format!("node {node} stands still"));
        self.fired.add(Fault::NodePause);
    }

    fn chaos_clock(&mut self) {
        let at = self.some_coordinator();
        self.coordinators[at].wall_error_ms = self.rng.within(0, 172_800_000) as i64 - 86_400_000;
        self.fired.add(Fault::ClockJump);
    }

    /// The faults stop, everything is mended, everybody works honestly from now on.
    pub fn on_calm(&mut self) {
        self.calm = true;
        self.cuts.clear();
        self.trace.line(self.now, || "calm".to_owned());
        for at in 0..self.coordinators.len() {
            let one = &mut self.coordinators[at];
            one.up = true;
            one.paused_until = one.paused_until.min(self.now);
            one.slow_disk_until = one.slow_disk_until.min(self.now);
        }
        for node in 0..self.nodes.len() {
            self.nodes[node].paused_until = self.nodes[node].paused_until.min(self.now);
            self.node_starts(node);
        }
        self.end_hung();
        self.after(1_000, Event::Look);
    }
}
