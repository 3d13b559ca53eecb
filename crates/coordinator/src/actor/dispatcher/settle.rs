//! What ended and who gets what: decided on the state as it is, and put into the log together.

use super::Dispatcher;
use crate::artifacts::Store;
use crate::runtime::{self, Polite};
use recode_core::leader::{
    Registry, Verdict, apart, cheapest, fit, footprint, foretell, judge, nearness, sites,
};
use recode_core::machine::{LeaseGrant, Order, ReadyTask, StitchOrder, decide};
use recode_core::schedule::{self, FreeNode, Held, Problem, Reason};
use recode_core::{Command, Outcome, Rejected, State};
use recode_store::digest_of;
use recode_types::task::{AttemptOutcome, Grant, ListedChunk, Work};
use recode_types::{AttemptToken, JobId, NodeId, NodeOrders, TaskId};
use serde::Serializer as _;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

impl Dispatcher {
    /// Puts what ended into the log together with what is granted instead.
    pub(super) async fn settle(&mut self) {
        let finished = std::mem::take(&mut self.finished);
        let shared = self.parts.consensus.shared().clone();
        shared.look(|state| {
            for (token, (node, outcome)) in &finished {
                footprint::learn(&mut self.registry, state, *node, token, outcome);
            }
        });
        for (token, (node, outcome)) in &finished {
            let all = token.attempt == 1 || shared.look(|state| begins_anew(state, token));
            let worked = worked(outcome).filter(|_| all);
            // Whatever becomes of the proposal, the Node is done with it.
            self.registry.ended(*node, token, worked, runtime::now());
        }
        let level = shared.look(|state| state.level);
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
        let apart = shared.look(|state| apart(&mut self.registry, state, &finished));
        self.tell(apart);
        commands.append(&mut self.warnings);
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
        self.judge(&finished, &outcomes);
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

    /// Learns from what ended, and says what that changes.
    fn judge(
        &mut self,
        finished: &BTreeMap<AttemptToken, (NodeId, AttemptOutcome)>,
        outcomes: &[Outcome],
    ) {
        let (shared, now) = (self.parts.consensus.shared().clone(), runtime::now());
        let verdicts =
            shared.look(|state| judge(&mut self.registry, state, finished, outcomes, now));
        self.tell(verdicts);
    }

    /// Says what has changed for Nodes, in the log of this program and to watchers of Jobs.
    fn tell(&mut self, verdicts: Vec<Verdict>) {
        for verdict in verdicts {
            match verdict {
                Verdict::Suspended { node, pause } => {
                    let name = self.registry.name(node);
                    tracing::warn!(%node, name, seconds = pause.as_secs(), "fails again and again: it gets nothing for a while");
                }
                Verdict::Apart { node, job, text } => {
                    tracing::warn!(%node, %job, "{text}");
                    self.warnings.push(Command::Warn {
                        job,
                        settled: None,
                        text,
                    });
                }
            }
        }
    }

    /// What is to be granted now, with how the scheduler counts it. Adds the ends of Jobs that no Node can serve.
    fn placements(&mut self, commands: &mut Vec<Command>) -> Vec<(LeaseGrant, Held)> {
        self.looked = Some(runtime::now());
        let shared = self.parts.consensus.shared().clone();
        let now = runtime::now();
        let sites = self.registry.sites();
        let now_ms = self.parts.consensus.now_ms();
        let (nodes, tasks, plenty) = shared.look(|state| {
            let free = |registry: &Registry| {
                let mut nodes = registry.free(now);
                nodes.retain(|n| state.nodes.get(&n.node).is_some_and(|n| !n.draining));
                nodes
            };
            let mut nodes = free(&self.registry);
            let heavy = state.ready_heavy(now_ms);
            let (mut tasks, plenty) =
                schedule::look(state.ready_light(now_ms), heavy, &nodes, sites.len());
            if foretell(&mut self.registry, state, &tasks) {
                nodes = free(&self.registry);
            }
            for task in &mut tasks {
                let needs = state.jobs.get(&task.id.job).and_then(|job| job.needs());
                if let Some(needs) = needs {
                    task.avoid.extend(self.registry.without(needs));
                }
            }
            fit::keep(&mut self.registry, state, &mut tasks, &nodes);
            let remote = nearness::is_remote(self.parts.store.url());
            cheapest::keep(&self.registry, state, &mut tasks, &nodes, remote);
            let picture = |job: JobId| self.parts.planner.picture(job);
            footprint::weigh(&mut self.registry, state, &mut tasks, &nodes, picture);
            let reads = |task: TaskId| nearness::read(state, task);
            self.nearness
                .keep(&mut tasks, &nodes, sites.clone(), reads, now);
            (nodes, tasks, plenty)
        });
        if !plenty && tasks.iter().all(|task| !task.heavy) {
            commands.extend(self.relief(&nodes));
        }
        self.short.clear();
        if tasks.is_empty() {
            return Vec::new();
        }
        let problem = Problem {
            nodes,
            tasks,
            plenty,
        };
        let solution = schedule::assign(&problem);
        for (task, reason) in &solution.unplaced {
            if let Reason::NoMemory { need } = reason {
                self.short.entry(task.job).or_insert(*need);
            }
        }
        let strange = self.nearness.placed(&solution, &problem.nodes, &sites, now);
        for (task, site) in strange {
            tracing::info!(%task, site, "goes to a site that is idle, though another has its bytes");
        }
        let present = || self.registry.present();
        let ends = |state: &State| decide::dead_ends(state, &solution, present, now_ms);
        commands.extend(shared.look(ends));
        // Placed in the order of the Problem.
        let mut tasks = problem.tasks.iter();
        let placed = solution.placed.iter().map(|placed| {
            let task = tasks.find(|task| task.id == placed.task);
            let held = task.map_or_else(Held::default, ReadyTask::held);
            let grant = LeaseGrant {
                task: placed.task,
                attempt: placed.attempt,
                node: placed.node,
            };
            (grant, held)
        });
        placed.collect()
    }

    /// Nothing heavy waits: the end of Leases of slow Nodes whose work idle ones have done much earlier. Their Tasks are ready then,
    /// as if the holders had been silent.
    fn relief(&self, nodes: &[FreeNode]) -> Option<Command> {
        let shared = self.parts.consensus.shared();
        let mut late = self.registry.relieve(nodes, runtime::now());
        shared.look(|state| late.retain(|(_, token)| decide::may_move(state, token)));
        for (node, token) in &late {
            tracing::info!(%node, attempt = %token, "taken from a node that is slow: an idle one has it done earlier");
        }
        let leases: Vec<_> = late.iter().map(|(_, t)| (t.task, t.attempt)).collect();
        (!leases.is_empty()).then_some(Command::ExpireLeases { leases })
    }

    /// A grant holds. Answers what to send, unless a list has to be stored first.
    fn granted(&mut self, grant: &LeaseGrant, held: Held) -> Option<Grant> {
        let token = AttemptToken {
            task: grant.task,
            attempt: grant.attempt,
        };
        self.registry
            .granted(grant.node, token, held, runtime::now());
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
        let memory_bytes = self.registry.memory_for(node, &token);
        let grant = move |store: &Store, work: Work| Grant {
            task: token.task,
            attempt: token.attempt,
            work_store: store.url().to_owned(),
            work,
            memory_bytes,
        };
        match state.work_for(token.task)? {
            Order::Work(work) => Some(grant(&self.parts.store, *work)),
            Order::Stitch(order) => {
                let (store, one_list) = (self.parts.store.clone(), self.one_list.clone());
                let near = sites::around(&self.registry.sites(), node);
                let stored = async move {
                    let alone = one_list.acquire_owned().await;
                    let _alone = alone.expect("it is never closed");
                    let stored = store_list(&store, token.task.job, *order, near).await;
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

/// Whether an Attempt after the first does all of the work, so that the time it took says how fast its Node is.
fn begins_anew(state: &State, token: &AttemptToken) -> bool {
    let job = state.jobs.get(&token.task.job);
    job.is_none_or(|job| !job.request.making.split_tail())
}

/// How long an Attempt worked, where that says how fast its Node is: a Chunk that was found finished took no work.
fn worked(outcome: &AttemptOutcome) -> Option<Duration> {
    let AttemptOutcome::Done { result, usage } = outcome else {
        return None;
    };
    (!result.is_reused()).then_some(Duration::from_millis(usage.wall_ms))
}

/// Stores the list of Chunks of a stitch, which can be long. `near`: where Nodes serve the one that stitches.
async fn store_list(
    store: &Store,
    job: JobId,
    order: StitchOrder,
    near: BTreeMap<NodeId, String>,
) -> Result<Work, String> {
    let listed = runtime::behind(move || {
        let chunks = order.chunks().zip(order.makers());
        let listed = chunks.map(|(facts, maker)| {
            runtime::others_first();
            let maker = near.get(&maker).cloned().unwrap_or_default();
            ListedChunk { facts, maker }
        });
        let mut json = Vec::new();
        let mut list = serde_json::Serializer::new(&mut json);
        let written = list.collect_seq(listed);
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
