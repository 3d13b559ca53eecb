//! In which order Jobs are served: by priority, then fair between owners, then by age.
//!
//! The owner of a Job is what its label `owner` says; Jobs without the label share one. Of owners that want heavy work at one
//! priority, the one with the fewest heavy Leases comes next, so that all have as many slots as long as all have work, and
//! nobody has fewer because another has handed in a hundred Jobs before. Light Tasks are served by age alone: they run beside
//! the others and end soon.

use super::{Job, ReadyTask, State};
use std::collections::{BTreeMap, BTreeSet};

/// The label that names the owner of a Job.
pub const OWNER: &str = "owner";

impl State {
    /// Jobs that may be granted something: by priority, then by age.
    pub(super) fn in_turn(&self) -> Vec<&Job> {
        let mut jobs: Vec<&Job> = self.jobs.values().filter(|job| job.is_served()).collect();
        jobs.sort_by_key(|job| job.turn());
        jobs
    }

    /// The heavy ones of [`State::ready`], in turns of owners. Lazy as that is.
    pub fn ready_heavy(&self, now_ms: u64) -> impl Iterator<Item = ReadyTask> + '_ {
        let jobs = self.in_turn();
        let several = jobs.windows(2).any(|two| two[0].owner() != two[1].owner());
        let held = match several {
            true => self.heavy_leases(),
            false => BTreeMap::new(),
        };
        let alike = jobs.chunk_by(|a, b| a.request.priority == b.request.priority);
        let turns: Vec<Turns<'_>> = alike.map(|jobs| Turns::new(jobs, &held, now_ms)).collect();
        turns.into_iter().flatten()
    }

    /// Heavy Leases by owner.
    fn heavy_leases(&self) -> BTreeMap<&str, u64> {
        let mut held = BTreeMap::new();
        let leases = self.nodes.values().flat_map(|node| &node.leases);
        for task in leases {
            if let Some(job) = self.jobs.get(&task.job).filter(|j| j.is_heavy(task.key)) {
                *held.entry(job.owner()).or_default() += 1;
            }
        }
        held
    }
}

impl Job {
    /// Who it belongs to; empty: nobody said.
    pub fn owner(&self) -> &str {
        self.request.labels.get(OWNER).map_or("", String::as_str)
    }

    /// Whether its heavy Tasks are all served before those of another, however many slots each has.
    pub(super) fn precedes(&self, other: &Self) -> bool {
        self.turn() < other.turn()
            && (self.request.priority > other.request.priority || self.owner() == other.owner())
    }
}

/// The heavy ready Tasks of Jobs of one priority.
struct Turns<'a> {
    tasks: Vec<Box<dyn Iterator<Item = ReadyTask> + 'a>>,
    /// Heavy Tasks that an owner has or has been given here, with its place in `tasks`: the first one is next.
    order: BTreeSet<(u64, usize)>,
}

impl<'a> Turns<'a> {
    /// `jobs`: by age. `held`: heavy Leases by owner.
    fn new(jobs: &[&'a Job], held: &BTreeMap<&str, u64>, now_ms: u64) -> Self {
        // Of owners that have as much, the one with the oldest Job comes first.
        let mut owners: Vec<(&str, Vec<&'a Job>)> = Vec::new();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for job in jobs {
            let place = *places.entry(job.owner()).or_insert_with(|| {
                owners.push((job.owner(), Vec::new()));
                owners.len() - 1
            });
            owners[place].1.push(job);
        }
        let counts = owners.iter().enumerate();
        let order = counts.map(|(i, (owner, _))| (held.get(owner).copied().unwrap_or(0), i));
        Self {
            order: order.collect(),
            tasks: owners
                .into_iter()
                .map(|(_, jobs)| {
                    let ready = jobs.into_iter().flat_map(move |job| job.ready(now_ms));
                    Box::new(ready.filter(|task| task.heavy)) as Box<dyn Iterator<Item = _>>
                })
                .collect(),
        }
    }
}

impl Iterator for Turns<'_> {
    type Item = ReadyTask;

    fn next(&mut self) -> Option<ReadyTask> {
        while let Some((held, owner)) = self.order.pop_first() {
            if let Some(task) = self.tasks[owner].next() {
                self.order.insert((held + 1, owner));
                return Some(task);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::machine::{Command, LeaseGrant, Outcome};
    use recode_types::task::{AttemptOutcome, TaskResult};
    use recode_types::{JobId, TaskId, TaskKey};

    /// A Job of an owner, planned: its Segments are ready.
    fn submit(bench: &mut fixture::Bench, number: u128, owner: &str, priority: u8) {
        let mut request = fixture::small_request();
        request.priority = priority;
        request.labels = [(OWNER.to_owned(), owner.to_owned())].into();
        let plan = fixture::small_plan(&request);
        let job = JobId(number);
        bench.apply(Command::SubmitJob {
            request_id: number.to_string(),
            job,
            request: Box::new(request),
        });
        let key = TaskKey::Probe { deep: false };
        let task = TaskId { job, key };
        let probe = bench.state.jobs[&job].describe(key);
        grant_all(bench, &[probe]);
        let facts = fixture::artifact("facts");
        bench.apply(Command::CompleteAttempt {
            task,
            attempt: 1,
            outcome: Box::new(AttemptOutcome::Done {
                result: TaskResult::Probed { facts },
                usage: fixture::usage(),
            }),
        });
        for command in plan.into_commands(job, false, fixture::artifact("segments")) {
            assert_eq!(bench.apply(command), Outcome::Accepted);
        }
    }

    fn owners(bench: &fixture::Bench, count: usize) -> String {
        let tasks = bench.state.ready_heavy(bench.now_ms).take(count);
        let owner = |task: ReadyTask| bench.state.jobs[&task.id.job].owner().to_owned();
        tasks.map(owner).collect()
    }

    fn grant_all(bench: &mut fixture::Bench, tasks: &[ReadyTask]) {
        let grant = |task: &ReadyTask| LeaseGrant {
            task: task.id,
            attempt: task.attempt,
            node: fixture::NODE,
        };
        let grants: Vec<LeaseGrant> = tasks.iter().map(grant).collect();
        let results = vec![Ok(()); grants.len()];
        let granted = bench.apply(Command::GrantLeases { grants });
        assert_eq!(granted, Outcome::Granted { results });
    }

    fn grant(bench: &mut fixture::Bench, count: usize) {
        let tasks: Vec<ReadyTask> = bench.state.ready_heavy(bench.now_ms).take(count).collect();
        grant_all(bench, &tasks);
    }

    fn bench() -> fixture::Bench {
        let mut bench = fixture::Bench::default();
        bench.register();
        bench
    }

    #[test]
    fn owners_have_as_many_slots_whatever_each_has_handed_in_before() {
        let mut bench = bench();
        submit(&mut bench, 11, "a", 50);
        submit(&mut bench, 12, "a", 50);
        grant(&mut bench, 3);
        submit(&mut bench, 13, "b", 50);
        assert_eq!(owners(&bench, 7), "bbbabab", "b has none yet, a has three");
        grant(&mut bench, 3);
        assert_eq!(owners(&bench, 4), "abab");
    }

    #[test]
    fn priority_goes_before_owners_and_age_decides_within_one() {
        let mut bench = bench();
        submit(&mut bench, 11, "a", 50);
        submit(&mut bench, 12, "b", 50);
        submit(&mut bench, 13, "a", 60);
        let first = bench.state.ready_heavy(bench.now_ms).next().unwrap();
        assert_eq!(first.id.job, JobId(13));
        let all: Vec<ReadyTask> = bench.state.ready_heavy(bench.now_ms).collect();
        let each = all.len() / 3;
        assert!(all[..each].iter().all(|task| task.id.job == JobId(13)));
        assert_eq!(owners(&bench, all.len())[each..each + 4], *"abab");
        let sorted = |tasks: Vec<ReadyTask>| {
            let ids: BTreeSet<TaskId> = tasks.into_iter().map(|task| task.id).collect();
            ids
        };
        let plain = bench.state.ready(bench.now_ms).filter(|task| task.heavy);
        assert_eq!(sorted(all), sorted(plain.collect()), "none is left out");
    }

    #[test]
    fn jobs_of_one_owner_come_by_age_in_their_own_order() {
        let mut bench = bench();
        submit(&mut bench, 11, "a", 50);
        submit(&mut bench, 12, "a", 50);
        let heavy: Vec<ReadyTask> = bench.state.ready_heavy(bench.now_ms).collect();
        let plain = bench.state.ready(bench.now_ms);
        let plain: Vec<ReadyTask> = plain.filter(|task| task.heavy).collect();
        assert_eq!(heavy, plain);
        assert!(matches!(heavy[0].id.key, TaskKey::Encode { .. }));
    }
}
