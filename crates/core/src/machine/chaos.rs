//! Random commands in random order, many of them wrong: after every step all invariants hold ([`Bench::apply`] checks them),
//! and once the chaos stops every Job reaches its end.

use super::*;
use crate::fixture::*;
use proptest::prelude::*;
use recode_types::rendition::RateControl;
use recode_types::task::{FailureClass, TaskResult};
use recode_types::{Codec, JobRequest, TaskKey};

/// One thing that may happen. Numbers are reduced to what is there.
#[derive(Clone, Debug)]
enum Event {
    Grant(usize),
    Finish(usize),
    /// Delivered a second time, or after its Lease was lost.
    FinishOld(usize),
    Fail(usize, FailureClass),
    Expire(usize),
    Replace,
    Decide,
    Plan(bool),
    Revise(u32),
    Replan,
    Wait,
    Ask(Wish),
    /// The last wish once more, delivered late.
    AskOld,
    Drain(bool),
    /// Archive what has ended, the last one asked for twice.
    Retire,
    Reload,
}

fn event() -> impl Strategy<Value = Event> {
    let class = prop::sample::select(vec![
        FailureClass::Killed,
        FailureClass::Store,
        FailureClass::IndexLied,
        FailureClass::MissingCapability,
        FailureClass::BadInput,
        FailureClass::Unknown,
    ]);
    prop_oneof![
        20 => (0usize..20).prop_map(Event::Grant),
        20 => (0usize..20).prop_map(Event::Finish),
        4 => (0usize..20).prop_map(Event::FinishOld),
        2 => (0usize..20, class).prop_map(|(i, c)| Event::Fail(i, c)),
        3 => (0usize..20).prop_map(Event::Expire),
        1 => Just(Event::Replace),
        4 => Just(Event::Decide),
        4 => any::<bool>().prop_map(Event::Plan),
        1 => (0u32..5).prop_map(Event::Revise),
        1 => Just(Event::Replan),
        2 => Just(Event::Wait),
        1 => Just(Event::Ask(Wish::Cancel { reason: "enough".to_owned() })),
        2 => Just(Event::Ask(Wish::Pause)),
        4 => Just(Event::Ask(Wish::Resume)),
        8 => Just(Event::Ask(Wish::Retry)),
        2 => Just(Event::AskOld),
        3 => any::<bool>().prop_map(Event::Drain),
        1 => Just(Event::Retire),
        2 => Just(Event::Reload),
    ]
}

struct World {
    bench: Bench,
    request: JobRequest,
    /// Attempts that run, with the result an honest Node would give.
    running: Vec<(TaskKey, AttemptNo, TaskResult)>,
    /// Attempts that have ended in one way or another.
    old: Vec<(TaskKey, AttemptNo, TaskResult)>,
    starts: u32,
    /// The last wish that was granted, with its request id.
    wished: Option<(String, Wish)>,
}

impl World {
    fn new(request: JobRequest) -> Self {
        Self {
            bench: Bench::submitted(request.clone()),
            request,
            running: Vec::new(),
            old: Vec::new(),
            starts: 0,
            wished: None,
        }
    }

    fn commanded() -> Self {
        Self {
            bench: Bench::commanded(command_request()),
            ..Self::new(small_request())
        }
    }

    fn ask(&mut self, request_id: String, wish: Wish) -> Outcome {
        self.bench.apply(Command::Ask {
            job: JOB,
            request_id,
            wish,
        })
    }

    fn node(&self) -> NodeId {
        *self.bench.state.nodes.keys().next_back().expect("a node")
    }

    fn grant(&mut self, pick: usize) {
        let now = self.bench.now_ms;
        let ready: Vec<ReadyTask> = self.bench.state.ready(now).collect();
        let Some(task) = ready.get(pick % ready.len().max(1)) else {
            return;
        };
        let result = self.bench.result(task.id.key, &even_size);
        let node = self.node();
        let draining = self.bench.state.nodes[&node].draining;
        let outcome = self.bench.apply(Command::GrantLeases {
            grants: vec![LeaseGrant {
                task: task.id,
                attempt: task.attempt,
                node,
            }],
        });
        let expected = if draining {
            Err(Rejected::NodeDraining)
        } else {
            Ok(())
        };
        assert_eq!(
            outcome,
            Outcome::Granted {
                results: vec![expected]
            },
            "what is ready can be granted"
        );
        if draining {
            return;
        }
        self.running.push((task.id.key, task.attempt, result));
    }

    fn take(&mut self, pick: usize) -> Option<(TaskKey, AttemptNo, TaskResult)> {
        if self.running.is_empty() {
            return None;
        }
        let taken = self.running.remove(pick % self.running.len());
        self.old.push(taken.clone());
        Some(taken)
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Grant(pick) => self.grant(*pick),
            Event::Finish(pick) => {
                if let Some((key, attempt, result)) = self.take(*pick) {
                    self.bench.done(key, attempt, result);
                }
            }
            Event::FinishOld(pick) => {
                if !self.old.is_empty() {
                    let (key, attempt, result) = self.old[pick % self.old.len()].clone();
                    let outcome = self.bench.done(key, attempt, result);
                    let gone = if self.bench.state.jobs.contains_key(&JOB) {
                        Rejected::StaleAttempt
                    } else {
                        Rejected::JobArchived
                    };
                    assert_eq!(outcome, Outcome::Rejected(gone));
                }
            }
            Event::Fail(pick, class) => {
                if let Some((key, attempt, _)) = self.take(*pick) {
                    self.bench.fail(key, attempt, *class);
                }
            }
            Event::Expire(pick) => {
                if let Some((key, attempt, _)) = self.take(*pick) {
                    self.bench.apply(Command::ExpireLeases {
                        leases: vec![(TaskId { job: JOB, key }, attempt)],
                    });
                }
            }
            Event::Replace => {
                self.starts += 1;
                self.bench.apply(Command::RegisterNode {
                    name: "host 1".to_owned(),
                    incarnation: format!("again {}", self.starts),
                });
                self.old.append(&mut self.running);
            }
            Event::Decide => {
                for command in decide::next(&self.bench.state, JOB) {
                    let outcome = self.bench.apply(command);
                    assert_eq!(outcome, Outcome::Accepted, "a fresh decision fits");
                }
                let nodes = [self.node()].into();
                let job = self.bench.state.jobs.get(&JOB);
                let end = job.and_then(|job| decide::stuck(job, &nodes, self.bench.now_ms));
                if let Some(end) = end {
                    assert_eq!(self.bench.apply(end), Outcome::Accepted);
                }
            }
            Event::Plan(deep) => {
                let plan = small_plan(&self.request);
                for command in plan.into_commands(JOB, *deep, artifact("segments")) {
                    self.bench.apply(command);
                }
            }
            Event::Revise(segment) => {
                let stitch = self
                    .running
                    .iter()
                    .position(|(key, ..)| matches!(key, TaskKey::Stitch { .. }));
                if let Some((key, attempt, _)) = stitch.and_then(|i| self.take(i)) {
                    let violations = vec![(*segment, 500, 1_000)];
                    self.bench
                        .done(key, attempt, TaskResult::Revise { violations });
                }
            }
            Event::Replan => {
                let outcome = self.bench.apply(Command::Replan {
                    job: JOB,
                    reason: "doubt".to_owned(),
                });
                if outcome == Outcome::Accepted {
                    self.old.append(&mut self.running);
                }
            }
            Event::Wait => self.bench.now_ms += 20_000,
            Event::Ask(wish) => {
                let id = format!("wish {}", self.bench.now_ms);
                if self.ask(id.clone(), wish.clone()) == Outcome::Accepted {
                    self.wished = Some((id, wish.clone()));
                }
            }
            Event::AskOld => {
                if let Some((id, wish)) = self.wished.clone() {
                    let before = self.bench.state.clone();
                    let outcome = self.ask(id, wish);
                    let known = before.jobs.contains_key(&JOB);
                    assert_eq!(outcome == Outcome::Accepted, known, "the same answer twice");
                    assert_eq!(before, self.bench.state, "and nothing happens twice");
                }
            }
            Event::Drain(draining) => {
                self.bench.apply(Command::DrainNode {
                    node: self.node(),
                    draining: *draining,
                });
            }
            Event::Retire => self.retire(),
            Event::Reload => {
                let bytes = self.bench.state.encode();
                assert_eq!(State::decode(&bytes).as_ref(), Ok(&self.bench.state));
            }
        }
        // What the state took away, the Node drops.
        let state = &self.bench.state;
        let (held, lost) = self.running.drain(..).partition(|(key, attempt, _)| {
            let job = state.jobs.get(&JOB);
            job.is_some_and(|job| job.lease(*key, *attempt).is_ok())
        });
        self.running = held;
        let mut lost: Vec<_> = lost;
        self.old.append(&mut lost);
    }

    fn retire(&mut self) {
        let none = Retention {
            keep_ms: 0,
            most_ended: 0,
            most_stubs: 1,
        };
        let state = &self.bench.state;
        let due = decide::retire(state, &none, self.bench.now_ms);
        if let Some(command) = due {
            assert_eq!(self.bench.apply(command), Outcome::Accepted);
        }
        let retiring: Vec<(JobId, u64)> = self
            .bench
            .state
            .retiring()
            .map(|job| (job.id, job.events.len() as u64))
            .collect();
        for (job, events) in retiring {
            let archived = |events| Command::ArchiveJob {
                job,
                events,
                archive: artifact("archive"),
            };
            let outdated = self.bench.apply(archived(events + 1));
            assert_eq!(outdated, Outcome::Rejected(Rejected::Outdated));
            assert_eq!(self.bench.apply(archived(events)), Outcome::Accepted);
            let again = self.bench.apply(archived(events));
            assert_eq!(again, Outcome::Rejected(Rejected::JobArchived));
        }
    }

    /// Everything works from now on, and nobody holds anything back.
    fn calm(&mut self) {
        self.happen(&Event::Drain(false));
        self.happen(&Event::Ask(Wish::Resume));
        for _ in 0..500 {
            if self
                .bench
                .state
                .status(JOB)
                .expect("it is known")
                .state
                .is_terminal()
            {
                return;
            }
            self.happen(&Event::Wait);
            if self.bench.job_state() == JobState::Planning {
                let deep = self.bench.state.jobs[&JOB].deep();
                self.happen(&Event::Plan(deep));
            }
            self.happen(&Event::Decide);
            self.happen(&Event::Grant(0));
            self.happen(&Event::Finish(0));
        }
        panic!("the job does not end: {:?}", self.bench.ready());
    }
}

fn requests() -> impl Strategy<Value = JobRequest> {
    prop::sample::select(vec![
        small_request(),
        request(vec![
            output("a.mp4", rendition(Codec::H264)),
            output("b.mkv", rated(Codec::H265, RateControl::Bitrate(4_000))),
        ]),
        request(vec![
            output("a.mkv", rated(Codec::Av1, RateControl::Size(250_000))),
            output("b.mkv", rendition(Codec::Copy)),
        ]),
    ])
}

proptest! {
    #[test]
    fn whatever_happens_invariants_hold_and_jobs_end(
        request in requests(),
        events in prop::collection::vec(event(), 0..120),
    ) {
        let mut world = World::new(request);
        for event in &events {
            world.happen(event);
        }
        world.calm();
    }

    #[test]
    fn whatever_happens_to_a_command_it_ends_and_snapshots_keep_it(
        events in prop::collection::vec(event(), 0..120),
    ) {
        let mut world = World::commanded();
        for event in &events {
            world.happen(event);
        }
        let read = State::decode(&world.bench.state.encode());
        prop_assert_eq!(read.as_ref(), Ok(&world.bench.state));
        let log = Batch::decode(&Batch(world.bench.log.clone()).encode()).expect("own bytes");
        let mut replica = State::default();
        replica.apply_batch(&log);
        prop_assert_eq!(&replica, &world.bench.state);
        world.calm();
    }

    #[test]
    fn every_replica_gets_the_same_state(
        events in prop::collection::vec(event(), 0..60),
        snapshot_at in 0usize..60,
    ) {
        let mut world = World::new(small_request());
        for event in &events {
            world.happen(event);
        }
        // One replica reads the log from its start, another goes on from a snapshot taken on the way.
        let log = &world.bench.log;
        let at = snapshot_at.min(log.len());
        let mut replica = State::default();
        replica.apply_batch(&Batch(log[..at].to_vec()));
        let mut other = State::decode(&replica.encode()).expect("own bytes");
        let rest = Batch::decode(&Batch(log[at..].to_vec()).encode()).expect("own bytes");
        prop_assert_eq!(replica.apply_batch(&rest), other.apply_batch(&rest));
        prop_assert_eq!(&replica, &other);
        prop_assert_eq!(&replica, &world.bench.state);
    }
}
