//! Why Tasks wait. See [`Wait`] for the reasons.

use super::commanded::COMMAND;
use super::{Job, Phase, Run, State};
use recode_types::{Explanation, JobId, NodeHeard, NodeId, NodeStatus, TaskKey, Wait, Waiting};

/// Tasks named for each reason.
const NAMED: usize = 8;

/// A Node that takes work.
struct Taker<'a> {
    node: NodeId,
    heard: &'a NodeHeard,
}

struct Explainer<'a> {
    state: &'a State,
    job: &'a Job,
    now_ms: u64,
    any_present: bool,
    takers: Vec<Taker<'a>>,
    /// The first Job that comes before this one and has a ready Task of the kind, by whether it is heavy; looked up once.
    ahead: [Option<Option<(JobId, u8)>>; 2],
    /// What heavy Tasks of the Job need of memory, where no Node had so much left when the Leader looked last.
    short_of: Option<u64>,
    /// Why Encodes of an Output have no settings yet; looked up once.
    no_knob: Vec<Option<Wait>>,
}

impl State {
    /// Why each waiting Task of a Job waits, given how `nodes` are; `None`: no such Job in the state. Pure: what the
    /// Leader remembers of Nodes comes in with them. `short_of`: the memory that Tasks of the Job wait for beside free slots, in
    /// bytes.
    pub fn explain(
        &self,
        job: JobId,
        nodes: &[NodeStatus],
        short_of: Option<u64>,
        now_ms: u64,
    ) -> Option<Explanation> {
        let job = self.jobs.get(&job)?;
        let (tasks, tasks_done) = job.count_tasks();
        let running = job.tasks.values().filter(|t| t.lease.is_some()).count();
        let mut explanation = Explanation {
            job: job.id,
            state: job.state(),
            tasks,
            tasks_done,
            tasks_running: running as u32,
            waiting: Vec::new(),
        };
        let present = || {
            let heard = nodes.iter().filter_map(|n| Some((n, n.heard.as_ref()?)));
            heard.filter(|(_, heard)| heard.present)
        };
        let mut explainer = Explainer {
            state: self,
            job,
            now_ms,
            any_present: present().next().is_some(),
            takers: present()
                .filter(|(status, _)| !status.draining)
                .map(|(status, heard)| Taker {
                    node: status.node,
                    heard,
                })
                .collect(),
            ahead: [None, None],
            short_of,
            no_knob: Vec::new(),
        };
        explainer.explain(&mut explanation.waiting);
        Some(explanation)
    }
}

impl Explainer<'_> {
    fn explain(&mut self, waiting: &mut Vec<Waiting>) {
        let run = match &self.job.phase {
            Phase::Ended(_) => return,
            Phase::Planning { .. } => return waiting.push(unknown(Wait::Plan)),
            Phase::Probing { deep } => {
                let probe = TaskKey::Probe { deep: *deep };
                if self.lacks_lease(probe) {
                    add(waiting, self.of_ready(probe), probe);
                }
                return waiting.push(unknown(Wait::Probe));
            }
            Phase::Command => {
                if self.lacks_lease(COMMAND) {
                    add(waiting, self.of_ready(COMMAND), COMMAND);
                }
                return;
            }
            Phase::Running(run) => run,
        };
        for key in run.single_tasks() {
            if run.lacks_result(key) && self.lacks_lease(key) {
                let why = match of_single(run, key) {
                    Some(why) => why,
                    None => self.of_ready(key),
                };
                add(waiting, why, key);
            }
        }
        for key in run.waiting_trials() {
            add(waiting, self.of_ready(key), key);
        }
        for key in run.waiting_encodes() {
            let why = match self.of_knobs(run, key) {
                Some(why) => why,
                None => self.of_ready(key),
            };
            add(waiting, why, key);
        }
    }

    fn lacks_lease(&self, key: TaskKey) -> bool {
        self.job.tasks.get(&key).is_none_or(|t| t.lease.is_none())
    }

    /// What an Encode waits for before it is ready.
    fn of_knobs(&mut self, run: &Run, key: TaskKey) -> Option<Wait> {
        let output = run.without_knob(key)?;
        let known = self.no_knob.get(output as usize).cloned().flatten();
        let why = known.unwrap_or_else(|| match run.missing_trials(output) {
            0 => Wait::Knobs { output },
            trials => Wait::Tasks {
                trials,
                encodes: 0,
                tracks: 0,
            },
        });
        self.no_knob.resize(run.outputs.len(), None);
        self.no_knob[output as usize] = Some(why.clone());
        Some(why)
    }

    /// What a Task waits for that needs nothing but a Node.
    fn of_ready(&mut self, key: TaskKey) -> Wait {
        if self.job.paused {
            return Wait::Paused;
        }
        let task = self.job.tasks.get(&key);
        if let Some(until_ms) = task.map(|t| t.retry_at_ms).filter(|at| *at > self.now_ms) {
            return Wait::Backoff { until_ms };
        }
        if !self.any_present {
            return Wait::NoNodes;
        }
        if self.takers.is_empty() {
            return Wait::Draining;
        }
        if let Some(encoder) = self.lacking_encoder(key) {
            return Wait::NoEncoder { encoder };
        }
        if let Some(needs) = self.job.needs()
            && !self
                .takers
                .iter()
                .any(|taker| needs.fits(&taker.heard.hello))
        {
            return Wait::NoNode {
                needs: needs.to_string(),
            };
        }
        let avoid = task.map_or(&[][..], |t| &t.avoid);
        let (mut refused, mut free) = (Vec::new(), false);
        let heavy = self.job.is_heavy(key);
        for taker in &self.takers {
            if avoid.contains(&taker.node) {
                refused.push(taker.node);
                continue;
            }
            let slots = if heavy {
                taker.heard.free_heavy
            } else {
                taker.heard.free_light
            };
            free |= slots > 0;
        }
        if refused.len() == self.takers.len() {
            return Wait::Refused { nodes: refused };
        }
        if free {
            return match self.short_of.filter(|_| heavy) {
                Some(need_bytes) => Wait::NoMemory { need_bytes },
                None => Wait::Nothing,
            };
        }
        match self.ahead(heavy) {
            Some((job, priority)) => Wait::Behind { job, priority },
            None => Wait::NoFreeSlot,
        }
    }

    /// An encoder that the Task needs and no Node that takes work has. Nodes that do not say what they have may have it.
    fn lacking_encoder(&self, key: TaskKey) -> Option<String> {
        let outputs = self.job.outputs_of(key);
        let mut encoders = outputs.iter().filter_map(|o| self.job.encoder(*o));
        let lacked = encoders.find(|encoder| {
            let takers = self.takers.iter();
            takers
                .map(|taker| &taker.heard.hello)
                .all(|hello| hello.lacks(encoder))
        });
        lacked.map(str::to_owned)
    }

    fn ahead(&mut self, heavy: bool) -> Option<(JobId, u8)> {
        let (state, job, now_ms) = (self.state, self.job, self.now_ms);
        *self.ahead[usize::from(heavy)].get_or_insert_with(|| {
            state
                .in_turn()
                .into_iter()
                .take_while(|other| other.turn() < job.turn())
                .filter(|other| !heavy || other.precedes(job))
                .find(|other| other.ready(now_ms).any(|task| task.heavy == heavy))
                .map(|other| (other.id, other.request.priority))
        })
    }
}

/// What a Task that is not per Segment waits for before it is ready.
fn of_single(run: &Run, key: TaskKey) -> Option<Wait> {
    if run.is_open(key) {
        return None;
    }
    Some(match key {
        TaskKey::Stitch { output } => match run.missing_parts(output) {
            (0, 0) => Wait::Knobs { output },
            (encodes, tracks) => Wait::Tasks {
                trials: 0,
                encodes,
                tracks,
            },
        },
        // Sound and further tracks of a remote Source: read with the Segments.
        _ => Wait::Tasks {
            trials: 0,
            encodes: (0..run.outputs.len() as u16)
                .map(|output| run.missing_parts(output).0)
                .max()
                .unwrap_or(0),
            tracks: 0,
        },
    })
}

fn unknown(why: Wait) -> Waiting {
    Waiting {
        why,
        count: 0,
        tasks: Vec::new(),
    }
}

/// Counts a Task in. Whatever backs off stands together, with the first time that comes.
fn add(waiting: &mut Vec<Waiting>, why: Wait, key: TaskKey) {
    let same = |known: &Wait| match (known, &why) {
        (Wait::Backoff { .. }, Wait::Backoff { .. }) => true,
        (known, why) => known == why,
    };
    let Some(group) = waiting.iter_mut().find(|group| same(&group.why)) else {
        waiting.push(Waiting {
            why,
            count: 1,
            tasks: vec![key],
        });
        return;
    };
    group.count += 1;
    if group.tasks.len() < NAMED {
        group.tasks.push(key);
    }
    if let (Wait::Backoff { until_ms }, Wait::Backoff { until_ms: other }) = (&mut group.why, why) {
        *until_ms = other.min(*until_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::*;
    use crate::machine::{Command, Wish};
    use recode_types::event::JobState;
    use recode_types::rendition::RateControl;
    use recode_types::task::FailureClass;
    use recode_types::{Codec, NodeHello};

    fn node(id: u64, heavy: u32, light: u32) -> NodeStatus {
        NodeStatus {
            node: NodeId(id),
            name: format!("host {id}"),
            registered_at_ms: 0,
            draining: false,
            leases: 0,
            heard: Some(NodeHeard {
                present: true,
                free_heavy: heavy,
                free_light: light,
                ..NodeHeard::default()
            }),
        }
    }

    #[test]
    fn heavy_tasks_that_wait_for_memory_beside_free_slots_say_how_much() {
        let bench = Bench::running(small_request());
        let reasons = |nodes: &[NodeStatus]| {
            let explained = bench.state.explain(JOB, nodes, Some(7), bench.now_ms);
            let waiting = explained.unwrap().waiting.into_iter();
            waiting.map(|w| w.why).collect::<Vec<Wait>>()
        };
        let short = Wait::NoMemory { need_bytes: 7 };
        let stitch = tasks(0, 5, 1);
        assert_eq!(
            reasons(&[node(1, 1, 1)]),
            [Wait::Nothing, stitch.clone(), short]
        );
        assert_eq!(reasons(&[node(1, 0, 0)]), [Wait::NoFreeSlot, stitch]);
    }

    /// Reasons with their counts, in order.
    fn reasons(bench: &Bench, nodes: &[NodeStatus]) -> Vec<(Wait, u32)> {
        let explained = bench.state.explain(JOB, nodes, None, bench.now_ms).unwrap();
        let waiting = explained.waiting.into_iter();
        waiting.map(|w| (w.why, w.count)).collect()
    }

    fn tasks(trials: u32, encodes: u32, tracks: u32) -> Wait {
        Wait::Tasks {
            trials,
            encodes,
            tracks,
        }
    }

    const ENCODE: TaskKey = TaskKey::Encode {
        group: 0,
        segment: 0,
    };

    #[test]
    fn before_the_plan_everything_waits_for_the_probe_and_the_plan() {
        let mut bench = Bench::submitted(small_request());
        assert_eq!(reasons(&bench, &[]), [(Wait::NoNodes, 1), (Wait::Probe, 0)]);
        let attempt = bench.grant(TaskKey::Probe { deep: false });
        assert_eq!(reasons(&bench, &[]), [(Wait::Probe, 0)]);
        let result = bench.result(TaskKey::Probe { deep: false }, &even_size);
        bench.done(TaskKey::Probe { deep: false }, attempt, result);
        assert_eq!(reasons(&bench, &[]), [(Wait::Plan, 0)]);
    }

    #[test]
    fn ready_tasks_say_what_is_wrong_with_the_nodes() {
        let bench = Bench::running(small_request());
        // Sound is light, five Segments are heavy; the stitch waits for both.
        let stitch = (tasks(0, 5, 1), 1);
        let all = |why: Wait| vec![(why, 6), stitch.clone()];
        let sorted = |nodes: &[NodeStatus]| {
            let mut reasons = reasons(&bench, nodes);
            reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            reasons
        };
        assert_eq!(sorted(&[]), all(Wait::NoNodes));
        let mut silent = node(1, 2, 2);
        silent.heard = None;
        assert_eq!(sorted(&[silent]), all(Wait::NoNodes));
        let mut closed = node(1, 2, 2);
        closed.heard.as_mut().unwrap().present = false;
        assert_eq!(sorted(&[closed]), all(Wait::NoNodes));
        let mut draining = node(1, 2, 2);
        draining.draining = true;
        assert_eq!(sorted(&[draining.clone()]), all(Wait::Draining));
        assert_eq!(sorted(&[draining, node(2, 0, 0)]), all(Wait::NoFreeSlot));
        assert_eq!(sorted(&[node(1, 1, 1)]), all(Wait::Nothing));
        assert_eq!(
            sorted(&[node(1, 0, 1)]),
            [(Wait::NoFreeSlot, 5), (Wait::Nothing, 1), stitch.clone()]
        );
        let mut poor = node(1, 1, 1);
        poor.heard.as_mut().unwrap().hello = NodeHello {
            capabilities: vec!["libx265".to_owned()],
            ..NodeHello::default()
        };
        let encoder = "libx264".to_owned();
        assert_eq!(
            sorted(&[poor.clone()]),
            [
                (Wait::NoEncoder { encoder }, 5),
                (Wait::Nothing, 1),
                stitch.clone()
            ]
        );
        // One that does not say may have it.
        assert_eq!(sorted(&[poor, node(2, 1, 1)]), all(Wait::Nothing));
    }

    #[test]
    fn pauses_refusals_and_backoffs_are_told() {
        let mut bench = Bench::running(small_request());
        let attempt = bench.grant(ENCODE);
        bench.fail(ENCODE, attempt, FailureClass::MissingCapability);
        let other = TaskKey::Encode {
            group: 0,
            segment: 1,
        };
        let attempt = bench.grant(other);
        bench.fail(other, attempt, FailureClass::Store);
        let until_ms = bench.now_ms + 1_000;
        let nodes = vec![NODE];
        assert_eq!(
            reasons(&bench, &[node(1, 0, 0)]),
            [
                (Wait::NoFreeSlot, 4),
                (tasks(0, 5, 1), 1),
                (Wait::Refused { nodes }, 1),
                (Wait::Backoff { until_ms }, 1),
            ]
        );
        bench.apply(Command::Ask {
            job: JOB,
            request_id: String::new(),
            wish: Wish::Pause,
        });
        assert_eq!(
            reasons(&bench, &[node(1, 9, 9)]),
            [(Wait::Paused, 6), (tasks(0, 5, 1), 1)]
        );
    }

    #[test]
    fn tasks_that_back_off_stand_together_with_the_first_time() {
        let mut bench = Bench::running(small_request());
        let mut first = None;
        for segment in 0..3 {
            let key = TaskKey::Encode { group: 0, segment };
            let attempt = bench.grant(key);
            bench.fail(key, attempt, FailureClass::Store);
            first.get_or_insert(bench.now_ms + 1_000);
        }
        let until_ms = first.unwrap();
        assert!(reasons(&bench, &[]).contains(&(Wait::Backoff { until_ms }, 3)));
    }

    #[test]
    fn a_promised_bitrate_waits_for_trials_and_then_for_its_settings() {
        let rendition = rated(Codec::H264, RateControl::Bitrate(200_000));
        let mut bench = Bench::running(request(vec![output("a.mkv", rendition)]));
        let free = [node(1, 9, 9)];
        assert_eq!(
            reasons(&bench, &free),
            [(tasks(0, 5, 0), 1), (Wait::Nothing, 5), (tasks(5, 0, 0), 5),]
        );
        while bench.step(&even_size) {}
        assert_eq!(
            reasons(&bench, &free),
            [(tasks(0, 5, 0), 1), (Wait::Knobs { output: 0 }, 5)]
        );
    }

    #[test]
    fn who_comes_first_is_named() {
        let mut bench = Bench::running(small_request());
        let mut later = small_request();
        later.priority = 70;
        bench.apply(Command::SubmitJob {
            request_id: "two".to_owned(),
            job: JobId(9),
            request: Box::new(later),
        });
        // The other Job's probe is light: only the sound waits behind it.
        let full = [node(1, 0, 0)];
        let behind = Wait::Behind {
            job: JobId(9),
            priority: 70,
        };
        assert_eq!(
            reasons(&bench, &full),
            [(behind, 1), (tasks(0, 5, 1), 1), (Wait::NoFreeSlot, 5)]
        );
        // A paused one holds nobody up, and the first in line has nobody before it.
        let other = bench
            .state
            .explain(JobId(9), &full, None, bench.now_ms)
            .unwrap();
        assert_eq!(other.waiting[0].why, Wait::NoFreeSlot);
        bench.apply(Command::Ask {
            job: JobId(9),
            request_id: String::new(),
            wish: Wish::Pause,
        });
        assert_eq!(reasons(&bench, &full)[0], (Wait::NoFreeSlot, 6));
    }

    #[test]
    fn an_ended_job_waits_for_nothing_and_counts_add_up_on_the_way() {
        let mut bench = Bench::running(small_request());
        loop {
            let explained = bench.state.explain(JOB, &[], None, bench.now_ms).unwrap();
            let waiting: u32 = explained.waiting.iter().map(|w| w.count).sum();
            assert_eq!(
                explained.tasks,
                explained.tasks_done + explained.tasks_running + waiting
            );
            if !bench.step(&even_size) {
                break;
            }
        }
        let explained = bench.state.explain(JOB, &[], None, bench.now_ms).unwrap();
        assert_eq!(explained.state, JobState::Done);
        assert!(explained.waiting.is_empty());
        assert_eq!(bench.state.explain(JobId(1), &[], None, 0), None);
    }
}
