//! What ended and who gets what: decided on the state as it is, and put into the log together.

use super::super::registry::Held;
use super::Dispatcher;
use crate::artifacts::Store;
use crate::runtime::{self, Polite};
use recode_core::machine::{LeaseGrant, Order, ReadyTask, StitchOrder, decide};
use recode_core::schedule::{self, FreeNode, Problem, Reason};
use recode_core::{Command, Outcome, Rejected, State};
use recode_store::digest_of;
use recode_types::task::{AttemptOutcome, Grant, Work};
use recode_types::{AttemptToken, JobId, NodeId, NodeOrders};
use serde::Serializer as _;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Tasks looked at beyond the free slots, so that ones which only some Nodes refuse do not hide others.
const LOOK_BEYOND: usize = 16;

impl Dispatcher {
    /// Puts what ended into the log together with what is granted instead.
    pub(super) async fn settle(&mut self) {
        let finished = std::mem::take(&mut self.finished);
        for (token, (node, outcome)) in &finished {
            let took = match outcome {
                AttemptOutcome::Done { usage, .. } => Some(Duration::from_millis(usage.wall_ms)),
                AttemptOutcome::Failed { .. } => None,
            };
            // Whatever becomes of the proposal, the Node is done with it.
            self.registry.ended(*node, token, took);
        }
        let level = self.parts.consensus.shared().look(|state| state.level);
        let mut commands: Vec<Command> = finished
            .iter()
            .map(|(token, (_, outcome))| Command::CompleteAttempt {
                task: token.task,
                attempt: token.attempt,
                outcome: Box::new(decide::told(level, outcome)),
            })
            .collect();
        let returned = std::mem::take(&mut self.returned);
        if !returned.is_empty() {
            tracing::info!(attempts = returned.len(), "given back by nodes that leave");
            // As if their holders had been silent: the Attempt's number is spent, and nobody is to blame.
            commands.push(Command::ExpireLeases {
                leases: returned.iter().map(|t| (t.task, t.attempt)).collect(),
            });
        }
        let wanted = match std::mem::take(&mut self.due) {
            true => self.placements(&mut commands),
            false => Vec::new(),
        };
        let grants: Vec<LeaseGrant> = wanted.iter().map(|(grant, _)| *grant).collect();
        if !grants.is_empty() {
            commands.push(Command::GrantLeases { grants });
        }
        if commands.is_empty() {
            return;
        }
        let outcomes = match self.parts.consensus.propose(commands).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                tracing::warn!(%error, "results and grants are not in the log yet");
                self.not_proposed(finished, &wanted);
                return;
            }
        };
        let mut orders: BTreeMap<NodeId, NodeOrders> = BTreeMap::new();
        for (token, (node, _)) in finished {
            // Accepted or stale, the log is done with it.
            orders.entry(node).or_default().acknowledged.push(token);
            self.due = true;
        }
        if let Some(Outcome::Granted { results }) = outcomes.last() {
            for ((grant, held), result) in wanted.iter().zip(results) {
                match result {
                    Ok(()) => orders
                        .entry(grant.node)
                        .or_default()
                        .grants
                        .extend(self.granted(grant, *held)),
                    Err(rejected) => self.not_granted(grant, *rejected),
                }
            }
        }
        for (node, orders) in orders {
            self.order(node, orders);
        }
    }

    /// Whether they hold is not known. Results are proposed again on the next wake: what the log has taken meanwhile is stale
    /// then, which harms nobody. Who might hold a grant is cut off: it dials again, which the log hears after these grants, and
    /// then everything is compared. Left on its exchange it would never learn of them.
    fn not_proposed(
        &mut self,
        finished: BTreeMap<AttemptToken, (NodeId, AttemptOutcome)>,
        wanted: &[(LeaseGrant, Held)],
    ) {
        self.finished = finished;
        if planted!(UnknownGrantsForgotten) {
            return;
        }
        let nodes: BTreeSet<NodeId> = wanted.iter().map(|(grant, _)| grant.node).collect();
        for node in nodes {
            self.cut_off(node);
        }
    }

    /// What is to be granted now, with how the scheduler counts it. Adds the ends of Jobs that no Node can serve.
    fn placements(&self, commands: &mut Vec<Command>) -> Vec<(LeaseGrant, Held)> {
        let shared = self.parts.consensus.shared();
        let now_ms = self.parts.consensus.now_ms();
        let mut nodes = self.registry.free();
        let tasks = shared.look(|state| {
            nodes.retain(|n| state.nodes.get(&n.node).is_some_and(|n| !n.draining));
            let mut tasks = worth_placing(state.ready_light(now_ms), state.ready(now_ms), &nodes);
            for task in &mut tasks {
                let needs = state.jobs.get(&task.id.job).and_then(|job| job.needs());
                if let Some(needs) = needs {
                    task.avoid.extend(self.registry.without(needs));
                }
            }
            tasks
        });
        if tasks.is_empty() {
            return Vec::new();
        }
        let problem = Problem { nodes, tasks };
        let solution = schedule::assign(&problem);
        let stuck: BTreeSet<JobId> = solution
            .unplaced
            .iter()
            .filter(|(_, reason)| *reason == Reason::Refused)
            .map(|(task, _)| task.job)
            .collect();
        if !stuck.is_empty() {
            let present = self.registry.present();
            shared.look(|state| {
                let jobs = stuck.iter().filter_map(|job| state.jobs.get(job));
                commands.extend(jobs.filter_map(|job| decide::stuck(job, &present, now_ms)));
            });
        }
        // Placed in the order of the Problem.
        let mut tasks = problem.tasks.iter();
        let placed = solution.placed.iter().map(|placed| {
            let task = tasks.find(|task| task.id == placed.task);
            let held = Held {
                heavy: task.is_some_and(|t| t.heavy),
                cost: task.map_or(0, |t| t.cost),
            };
            let grant = LeaseGrant {
                task: placed.task,
                attempt: placed.attempt,
                node: placed.node,
            };
            (grant, held)
        });
        placed.collect()
    }

    /// A grant holds. Answers what to send, unless a list has to be stored first.
    fn granted(&mut self, grant: &LeaseGrant, held: Held) -> Option<Grant> {
        let token = AttemptToken {
            task: grant.task,
            attempt: grant.attempt,
        };
        self.registry.granted(grant.node, token, held);
        let shared = self.parts.consensus.shared().clone();
        shared.look(|state| self.prepare(state, grant.node, token))
    }

    fn not_granted(&mut self, grant: &LeaseGrant, rejected: Rejected) {
        tracing::debug!(task = %grant.task, attempt = grant.attempt, %rejected, "not granted");
        self.due = true;
        // The log has forgotten it while it was heard (a proposal that landed after its deadline): it must register anew,
        // or it would be offered work for ever and get none.
        if rejected == Rejected::UnknownNode {
            self.cut_off(grant.node);
            self.registry.forget(grant.node);
        }
    }

    /// Builds a grant, or has its list stored first.
    pub(super) fn prepare(
        &mut self,
        state: &State,
        node: NodeId,
        token: AttemptToken,
    ) -> Option<Grant> {
        let grant = move |store: &Store, work: Work| Grant {
            task: token.task,
            attempt: token.attempt,
            work_store: store.url().to_owned(),
            work,
        };
        match state.work_for(token.task)? {
            Order::Work(work) => Some(grant(&self.parts.store, *work)),
            Order::Stitch(order) => {
                let (store, one_list) = (self.parts.store.clone(), self.one_list.clone());
                let stored = async move {
                    let alone = one_list.acquire_owned().await;
                    let _alone = alone.expect("it is never closed");
                    let stored = store_list(&store, token.task.job, *order).await;
                    (node, token, stored.map(|work| grant(&store, work)))
                };
                self.storing.spawn(runtime::task(stored));
                None
            }
        }
    }

    pub(super) fn send_grants(&mut self, node: NodeId, grants: Vec<Grant>) {
        self.order(
            node,
            NodeOrders {
                grants,
                ..NodeOrders::default()
            },
        );
    }
}

/// Stores the list of Chunks of a stitch, which can be long.
async fn store_list(store: &Store, job: JobId, order: StitchOrder) -> Result<Work, String> {
    let listed = runtime::behind(move || {
        let mut json = Vec::new();
        let mut list = serde_json::Serializer::new(&mut json);
        let written = list.collect_seq(order.chunks().inspect(|_| runtime::others_first()));
        written.expect("plain data always serialises");
        let (_, digest) = digest_of(&mut Polite(json.as_slice()), |_| Ok(()))?;
        Ok::<_, std::io::Error>((digest, json, order))
    });
    let listed = listed.await.and_then(|listed| listed);
    let (digest, json, order) = listed.map_err(|e| e.to_string())?;
    let key = recode_store::key::of_plan(job, &digest, "json");
    let chunks = store.put(&key, json).await.map_err(|e| e.to_string())?;
    Ok(order.stored(chunks))
}

/// The first of the ready Tasks that could be placed: as many of each kind as there are slots, and some more. Looks no
/// further than that, since there may be a hundred thousand.
fn worth_placing(
    light: impl Iterator<Item = ReadyTask>,
    ready: impl Iterator<Item = ReadyTask>,
    nodes: &[FreeNode],
) -> Vec<ReadyTask> {
    let room = |slots: u32| {
        if slots == 0 {
            0
        } else {
            slots as usize + LOOK_BEYOND
        }
    };
    let mut tasks: Vec<ReadyTask> = light
        .take(room(nodes.iter().map(|n| n.light).sum()))
        .collect();
    let heavy = room(nodes.iter().map(|n| n.heavy).sum());
    tasks.extend(ready.filter(|task| task.heavy).take(heavy));
    tasks
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::{TaskId, TaskKey};

    #[test]
    fn many_light_tasks_do_not_hide_heavy_ones_and_full_kinds_are_left_out() {
        let task = |segment, heavy| ReadyTask {
            id: TaskId {
                job: JobId(1),
                key: TaskKey::Encode { group: 0, segment },
            },
            attempt: 1,
            heavy,
            cost: 1,
            priority: 50,
            avoid: Vec::new(),
        };
        let ready = || (0..200).map(|i| task(i, i >= 100));
        let count = |heavy, light| {
            let node = FreeNode {
                node: NodeId(1),
                heavy,
                light,
                speed: 0.0,
                queued: 0,
            };
            let light = ready().filter(|task| !task.heavy);
            let tasks = worth_placing(light, ready(), &[node]);
            let heavy = tasks.iter().filter(|t| t.heavy).count();
            (heavy, tasks.len() - heavy)
        };
        assert_eq!(count(2, 1), (2 + LOOK_BEYOND, 1 + LOOK_BEYOND));
        assert_eq!(count(0, 1), (0, 1 + LOOK_BEYOND));
        assert_eq!(count(1, 0), (1 + LOOK_BEYOND, 0));
        assert_eq!(count(0, 0), (0, 0));
    }
}
