//! Nodes without encoders: each speaks the exchange of a real one over gRPC, and a granted Attempt ends when its time has
//! passed.

use super::film::{self, Film};
use super::latency::Latencies;
use anyhow::Result;
use recode_mesh::retry::Backoff;
use recode_mesh::{Exchange, Leader};
use recode_store::WorkStore;
use recode_types::task::{AttemptOutcome, Failure, FailureClass, Grant, TaskResult, Usage, Work};
use recode_types::{
    AttemptProgress, AttemptToken, FinishedAttempt, JobId, NodeHello, NodeOrders, NodeReport,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A report is sent at least this often, as by real nodes.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// When a report is tried again that the stream had no room for.
const NO_ROOM: Duration = Duration::from_millis(2);

/// How many nodes, and what they are like.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Nodes.
    pub nodes: usize,
    /// Heavy Attempts that each runs at once.
    pub slots: u32,
    /// Nodes that share a connection: 1 for nodes as they are.
    pub sharing: usize,
}

/// What the nodes saw. Latencies are those since [`Nodes::begin`].
#[derive(Debug, Default)]
pub struct Seen {
    /// Attempts granted.
    pub grants: u64,
    /// Attempts that ended and were acknowledged.
    pub completions: u64,
    /// From a completion said to its acknowledgement.
    pub commit: Latencies,
    /// From a slot freed to a grant for it.
    pub dispatch: Latencies,
    /// Grants of a second or later Attempt.
    pub granted_again: u64,
    /// Attempts taken back.
    pub revoked: u64,
    /// Exchanges that ended before they were told to.
    pub lost: u64,
}

struct Shared {
    hold_us: AtomicU64,
    present: AtomicUsize,
    seen: Mutex<(Instant, Seen)>,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, (Instant, Seen)> {
        self.seen.lock().expect("nothing panics with it")
    }
}

/// All of them. They end when it is dropped.
pub struct Nodes {
    shared: Arc<Shared>,
    size: Size,
    _tasks: JoinSet<()>,
}

impl Nodes {
    /// Starts them against the cluster at `endpoints`, whose artifacts are in `store`.
    pub async fn start(endpoints: &str, store: &str, size: Size) -> Result<Self> {
        let shared = Arc::new(Shared {
            hold_us: AtomicU64::new(0),
            present: AtomicUsize::new(0),
            seen: Mutex::new((Instant::now(), Seen::default())),
        });
        let store = WorkStore::open(store).await?;
        let mut tasks = JoinSet::new();
        let mut leader = Leader::at(endpoints)?;
        for number in 0..size.nodes {
            if number % size.sharing == 0 {
                leader = Leader::at(endpoints)?;
            }
            let node = Node {
                leader: leader.clone(),
                store: store.clone(),
                shared: shared.clone(),
                instance: JobId::generate().to_string(),
                slots: size.slots,
                number,
                sequence: 0,
                running: BTreeMap::new(),
                finished: BTreeMap::new(),
                freed: VecDeque::new(),
            };
            tasks.spawn(node.run());
        }
        Ok(Self {
            shared,
            size,
            _tasks: tasks,
        })
    }

    /// How long an Attempt takes from now on, half of it more or less by chance.
    pub fn hold(&self, time: Duration) {
        let us = time.as_micros() as u64;
        self.shared.hold_us.store(us, Ordering::Relaxed);
    }

    /// Begins to look at latencies anew.
    pub fn begin(&self) {
        let mut seen = self.shared.seen();
        seen.0 = Instant::now();
        seen.1.commit = Latencies::default();
        seen.1.dispatch = Latencies::default();
    }

    /// Looks at what they saw.
    pub fn look<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.shared.seen().1)
    }

    /// Grants and acknowledged completions so far.
    pub fn transitions(&self) -> u64 {
        self.look(|seen| seen.grants + seen.completions)
    }

    /// Nodes with an open exchange.
    pub fn present(&self) -> usize {
        self.shared.present.load(Ordering::Relaxed)
    }

    /// Waits until all have an open exchange; answers how long that took.
    pub async fn all_present(&self, within: Duration) -> Result<Duration> {
        let started = Instant::now();
        while self.present() < self.size.nodes {
            anyhow::ensure!(
                started.elapsed() < within,
                "{} of {} nodes are there after {within:?}",
                self.present(),
                self.size.nodes
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(started.elapsed())
    }
}

/// An Attempt that runs.
struct Running {
    ends: Instant,
    heavy: bool,
    outcome: AttemptOutcome,
}

struct Node {
    leader: Leader,
    store: WorkStore,
    shared: Arc<Shared>,
    instance: String,
    slots: u32,
    number: usize,
    sequence: u64,
    running: BTreeMap<AttemptToken, Running>,
    /// With the time at which each ended.
    finished: BTreeMap<AttemptToken, (AttemptOutcome, Instant)>,
    /// Since when slots are free.
    freed: VecDeque<Instant>,
}

impl Node {
    async fn run(mut self) {
        let mut backoff = Backoff::reconnect();
        loop {
            self.end_due();
            let first = self.report(true);
            if let Ok(exchange) = Exchange::open(&self.leader, first).await {
                backoff.reset();
                self.shared.present.fetch_add(1, Ordering::Relaxed);
                self.converse(exchange).await;
                self.shared.present.fetch_sub(1, Ordering::Relaxed);
                self.shared.seen().1.lost += 1;
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// Until the exchange ends.
    async fn converse(&mut self, mut exchange: Exchange) {
        let mut said = Instant::now();
        let mut owed = false;
        loop {
            let next = if owed {
                Instant::now() + NO_ROOM
            } else {
                let ends = self.running.values().map(|running| running.ends).min();
                ends.unwrap_or(said + KEEP_ALIVE).min(said + KEEP_ALIVE)
            };
            tokio::select! {
                orders = exchange.hear() => match orders {
                    Ok(orders) => owed |= self.on_orders(orders).await,
                    Err(_) => return,
                },
                () = tokio::time::sleep_until(next) => {}
            }
            owed |= self.end_due() || said.elapsed() >= KEEP_ALIVE;
            if owed && exchange.has_room() {
                if exchange.say(self.report(false)).is_err() {
                    return;
                }
                owed = false;
                said = Instant::now();
            }
        }
    }

    /// Returns whether a report is due at once.
    async fn on_orders(&mut self, orders: NodeOrders) -> bool {
        let now = Instant::now();
        {
            let mut seen = self.shared.seen();
            let (since, seen) = &mut *seen;
            for token in &orders.acknowledged {
                if let Some((_, ended)) = self.finished.remove(token) {
                    seen.completions += 1;
                    if ended >= *since {
                        seen.commit.add(now - ended);
                    }
                }
            }
        }
        for token in &orders.revocations {
            self.running.remove(token);
            self.finished.remove(token);
        }
        self.shared.seen().1.revoked += orders.revocations.len() as u64;
        for grant in orders.grants {
            let token = AttemptToken {
                task: grant.task,
                attempt: grant.attempt,
            };
            if self.running.contains_key(&token) || self.finished.contains_key(&token) {
                continue;
            }
            let heavy = grant.work.is_heavy();
            {
                let mut seen = self.shared.seen();
                let (since, seen) = &mut *seen;
                seen.grants += 1;
                seen.granted_again += u64::from(grant.attempt > 1);
                if heavy
                    && let Some(freed) = self.freed.pop_front()
                    && freed >= *since
                {
                    seen.dispatch.add(now - freed);
                }
            }
            let outcome = self.outcome(&grant).await;
            let hold = self.shared.hold_us.load(Ordering::Relaxed);
            let hold = if heavy { self.by_chance(hold) } else { 0 };
            let ends = now + Duration::from_micros(hold);
            let running = Running {
                ends,
                heavy,
                outcome,
            };
            self.running.insert(token, running);
        }
        !orders.revocations.is_empty()
    }

    /// Half of `us` more or less.
    fn by_chance(&self, us: u64) -> u64 {
        let seed = (self.number as u64) << 32 ^ self.sequence ^ (self.running.len() as u64) << 20;
        (us as f64 * (0.5 + crate::seed::Seed::new(seed).fraction())) as u64
    }

    /// Ends what has run for long enough; returns whether anything did.
    fn end_due(&mut self) -> bool {
        let now = Instant::now();
        let due: Vec<AttemptToken> = self
            .running
            .iter()
            .filter(|(_, running)| running.ends <= now)
            .map(|(token, _)| *token)
            .collect();
        for token in &due {
            let running = self.running.remove(token).expect("it was just found");
            self.finished.insert(*token, (running.outcome, now));
            if running.heavy {
                self.freed.push_back(now);
            }
        }
        !due.is_empty()
    }

    async fn outcome(&self, grant: &Grant) -> AttemptOutcome {
        let usage = Usage {
            wall_ms: 1000,
            cpu_ms: 1000,
            source_bytes_read: 1_000_000,
            bytes_written: 1_000_000,
            peak_rss_bytes: 200_000_000,
        };
        match self.result(grant).await {
            Ok(result) => AttemptOutcome::Done { result, usage },
            Err(message) => AttemptOutcome::Failed {
                failure: Failure {
                    class: FailureClass::BadInput,
                    message,
                    stderr_tail: None,
                },
                usage,
            },
        }
    }

    async fn result(&self, grant: &Grant) -> Result<TaskResult, String> {
        match &grant.work {
            Work::Probe { source, .. } => {
                let film = Film::of_source(source).ok_or("there is no such film")?;
                let probed = film.probe(&self.store, &grant.task, grant.attempt).await;
                let facts = probed.map_err(|e| e.to_string())?;
                Ok(TaskResult::Probed { facts })
            }
            Work::Encode(work) => Ok(TaskResult::Encoded {
                chunks: film::encoded(&grant.task, grant.attempt, work),
            }),
            Work::Stitch(work) => Ok(TaskResult::Stitched {
                output: film::stitched(work),
            }),
            _ => Err("these nodes only encode".to_owned()),
        }
    }

    fn report(&mut self, first: bool) -> NodeReport {
        self.sequence = if first { 1 } else { self.sequence + 1 };
        let held = self.running.values().filter(|r| r.heavy).count() as u32;
        let light = self.running.len() as u32 - held;
        NodeReport {
            instance: self.instance.clone(),
            sequence: self.sequence,
            hello: first.then(|| NodeHello {
                name: format!("make-believe {}", self.instance),
                heavy_slots: self.slots,
                light_slots: 1,
                ..NodeHello::default()
            }),
            running: self.running.keys().map(progress).collect(),
            finished: self.finished.iter().map(said).collect(),
            free_heavy: self.slots.saturating_sub(held),
            free_light: 1u32.saturating_sub(light),
            draining: false,
            returned: Vec::new(),
            offer: None,
            load: None,
            traffic: None,
        }
    }
}

fn progress(token: &AttemptToken) -> AttemptProgress {
    AttemptProgress {
        task: token.task,
        attempt: token.attempt,
        frames: 0,
        frames_total: 0,
        media_us: 0,
    }
}

fn said((token, (outcome, _)): (&AttemptToken, &(AttemptOutcome, Instant))) -> FinishedAttempt {
    FinishedAttempt {
        token: *token,
        outcome: outcome.clone(),
    }
}
