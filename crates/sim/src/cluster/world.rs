//! One run: what all its parts share, how it begins, and how it ends.

use super::book::Book;
use super::client::Seen;
use super::machine::Machine;
use super::net::Place;
use super::node::Process;
use super::store::Objects;
use super::{CALM_MS, LEAST_MS, LEAST_TASKS};
use crate::client::Client;
use crate::faults::{Fault, Fired};
use crate::film::Library;
use crate::oracle::Oracle;
use crate::report::Report;
use crate::rng::{Rng, mix};
use crate::schedule::{LEAST_FAULTS, Schedule};
use crate::trace::Trace;
use recode_coordinator::simulated::{Host, Keep, News};
use recode_types::{AttemptToken, JobId, JobState};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// The coordinators that found the cluster.
const FOUNDERS: [u64; 3] = [1, 2, 3];

/// What all parts of a run share.
#[derive(Debug)]
pub struct World {
    pub library: Arc<Library>,
    inner: Mutex<Inner>,
    /// The network, the clients and chance itself live here.
    outside: Arc<Host>,
    over: Notify,
    calm: Notify,
}

#[derive(Debug)]
pub struct Inner {
    began: Instant,
    pub rng: Rng,
    pub schedule: Schedule,
    pub keep: Keep,
    pub calm: bool,
    pub fired: Fired,
    pub trace: Trace,
    pub oracle: Oracle,
    pub broken: Option<String>,
    pub book: Book,
    pub founders: Vec<u64>,
    pub machines: Vec<Machine>,
    pub nodes: Vec<Process>,
    pub clients: Vec<Client>,
    pub cuts: BTreeSet<(Place, Place)>,
    /// When the latest message on each way arrives.
    pub arrivals: BTreeMap<(Place, Place), u64>,
    pub objects: Objects,
    /// Until then the work store answers nothing.
    pub store_out_until: u64,
    /// Artifacts made so far: none is like another.
    pub made: u64,
    /// Attempts whose end the log has taken.
    pub taken: BTreeSet<AttemptToken>,
    /// The least that a read must show.
    pub seen: BTreeMap<JobId, Seen>,
    pub commands: u64,
    pub attempts: u64,
}

impl Inner {
    pub fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    pub fn machine(&mut self, id: u64) -> Option<&mut Machine> {
        self.machines.iter_mut().find(|m| m.id == id)
    }

    /// What is still missing; empty: nothing.
    fn why_not_ended(&self) -> String {
        if let Some(client) = self.clients.iter().find(|c| !c.is_satisfied()) {
            return format!(
                "client {} still wants something: {}",
                client.request_id,
                client.wants()
            );
        }
        let jobs = self.oracle.state().jobs.values();
        if let Some(job) = jobs.into_iter().find(|j| !j.state().is_terminal()) {
            return format!("{} is {:?}", job.id, job.state());
        }
        let busy = self.nodes.iter().position(|n| !n.holds.is_empty());
        if let Some(node) = busy {
            return format!("node {node} still has {:?}", self.nodes[node].holds);
        }
        let next = self.book.len();
        for machine in &self.machines {
            let Some(server) = &machine.server else {
                return format!("coordinator {} does not run", machine.id);
            };
            let view = server.coordinator.consensus.view();
            if view.applied + 1 != next || view.last + 1 != next {
                return format!(
                    "coordinator {} has applied {} of {} entries, {next} are committed",
                    machine.id, view.applied, view.last
                );
            }
        }
        String::new()
    }

    fn judge_end(&mut self) -> Result<(), String> {
        let truth = self.oracle.state();
        for machine in &self.machines {
            let server = machine.server.as_ref().ok_or("a coordinator is gone")?;
            let shared = server.coordinator.consensus.shared();
            if shared.look(|state| state != truth) {
                return Err(format!("coordinator {} differs at the end", machine.id));
            }
        }
        if truth.nodes.values().any(|n| !n.leases.is_empty()) {
            return Err("a lease is left at the end".to_owned());
        }
        for client in &self.clients {
            client.judge(truth)?;
        }
        let bytes = truth.encode();
        self.trace.digest = bytes.chunks(8).fold(self.trace.digest, |digest, bytes| {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            mix(digest, u64::from_le_bytes(word))
        });
        Ok(())
    }
}

/// The host of everything that is no process of the cluster.
struct Outside(Weak<World>);

impl recode_coordinator::simulated::World for Outside {
    fn wall_ms(&self) -> u64 {
        0
    }

    fn draw(&self) -> u64 {
        self.0.upgrade().map_or(0, |world| world.lock().rng.word())
    }

    fn tell(&self, what: News) {
        if let (Some(world), News::Panicked) = (self.0.upgrade(), what) {
            world.broke(format!("panic of the world: {}", crate::quiet::said()));
        }
    }
}

impl World {
    fn new(seed: u64, library: Arc<Library>, lines: bool) -> Arc<Self> {
        let mut rng = Rng::new(mix(seed, 0xc1u64));
        let schedule = Schedule::draw_cluster(&mut rng, &library);
        let keep = Keep {
            snapshot_every: rng.within(20, 200),
            behind: rng.within(0, 40),
            segment_bytes: rng.within(2_000, 60_000) as usize,
        };
        let mut fired = Fired::default();
        let rates = schedule.nodes.iter().map(|n| n.rate);
        if rates.clone().max() > rates.min().map(|r| r + 100) {
            fired.add(Fault::ClockSkew);
        }
        let clients = schedule.jobs.iter().enumerate();
        let clients = clients.map(|(index, draw)| Client::new(index, *draw, &library));
        let inner = Inner {
            began: Instant::now(),
            keep,
            calm: false,
            fired,
            trace: Trace::new(lines),
            oracle: Oracle::new(library.clone()),
            broken: None,
            book: Book::default(),
            founders: FOUNDERS.to_vec(),
            machines: FOUNDERS.iter().map(|id| Machine::new(*id)).collect(),
            nodes: schedule.nodes.iter().map(|_| Process::default()).collect(),
            clients: clients.collect(),
            cuts: BTreeSet::new(),
            arrivals: BTreeMap::new(),
            objects: Objects::default(),
            store_out_until: 0,
            made: 1 << 32,
            taken: BTreeSet::new(),
            seen: BTreeMap::new(),
            commands: 0,
            attempts: 0,
            rng,
            schedule,
        };
        Arc::new_cyclic(|world| Self {
            library,
            inner: Mutex::new(inner),
            outside: Host::new(Outside(world.clone())),
            over: Notify::new(),
            calm: Notify::new(),
        })
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .expect("a panic with it has ended the run")
    }

    /// Starts a task that is part of no process.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.outside.spawn(future)
    }

    /// A fault has fired.
    pub fn fire(&self, fault: Fault) {
        self.lock().fired.add(fault);
    }

    pub fn fire_unless_calm(&self, fault: Fault) {
        let mut inner = self.lock();
        if !inner.calm {
            inner.fired.add(fault);
        }
    }

    /// An invariant does not hold.
    pub fn broke(&self, what: String) {
        self.lock().broken.get_or_insert(what);
        self.over.notify_one();
    }

    /// Resolves when the faults have stopped.
    pub async fn calmed(&self) {
        let calmed = self.calm.notified();
        if !self.lock().calm {
            calmed.await;
        }
    }

    pub fn is_calm(&self) -> bool {
        self.lock().calm
    }

    pub fn line(&self, line: impl FnOnce() -> String) {
        let mut inner = self.lock();
        let now = inner.now_ms();
        inner.trace.line(now, line);
    }

    /// A coordinator has come to lead.
    pub fn leads(self: &Arc<Self>, id: u64, term: u64) {
        let mut inner = self.lock();
        let former = inner.book.newest();
        if former == Some((term, id)) {
            return;
        }
        let was_well = former.and_then(|(_, former)| {
            let host = inner.machine(former)?.host.clone()?;
            Some(host.runs())
        });
        if was_well == Some(true) && former.is_some_and(|f| f.1 != id) {
            inner.fired.add(Fault::LeaderChange);
        }
        inner.book.leads(id, term);
        let now = inner.now_ms();
        inner
            .trace
            .line(now, || format!("coordinator {id} leads in term {term}"));
        drop(inner);
        super::chaos::aim(self, id);
    }

    /// How long the work store takes, and whether it fails.
    pub fn store_answers(&self) -> (u64, bool) {
        let mut inner = self.lock();
        let rate = inner.schedule.rates.store;
        let took = inner.rng.within(2, 60);
        let is_out = inner.now_ms() < inner.store_out_until;
        let fails = !inner.calm && (is_out || inner.rng.chance(rate));
        (took, fails)
    }

    /// The faults stop, everything is mended, everybody works honestly from now on.
    fn becomes_calm(self: &Arc<Self>) {
        let mut inner = self.lock();
        inner.calm = true;
        inner.cuts.clear();
        let now = inner.now_ms();
        for machine in &mut inner.machines {
            machine.drive.fill(false);
            machine.slow_until = 0;
            machine.fuse = None;
            if let Some(host) = &machine.host {
                host.light(None);
            }
        }
        inner.trace.line(now, || "calm".to_owned());
        drop(inner);
        self.calm.notify_waiters();
    }

    async fn live(self: Arc<Self>) {
        for id in FOUNDERS {
            self.start(id);
        }
        let (nodes, clients, chaos_ms) = {
            let inner = self.lock();
            let counts = (inner.nodes.len(), inner.clients.len());
            (counts.0, counts.1, inner.schedule.chaos_ms)
        };
        for node in 0..nodes {
            let wait = self.lock().rng.within(0, 3_000);
            self.start_node(node, wait);
        }
        for client in 0..clients {
            self.spawn(super::client::live(self.clone(), client));
        }
        self.spawn(super::client::read(self.clone()));
        self.spawn(super::chaos::live(self.clone()));
        tokio::select! {
            () = self.over.notified() => return,
            () = sleep(Duration::from_millis(chaos_ms)) => {}
        }
        self.becomes_calm();
        loop {
            tokio::select! {
                () = self.over.notified() => return,
                () = sleep(Duration::from_secs(1)) => {}
            }
            let mut inner = self.lock();
            let missing = inner.why_not_ended();
            if missing.is_empty() {
                if inner.now_ms() < LEAST_MS {
                    continue;
                }
                if let Err(what) = inner.judge_end() {
                    inner.broken.get_or_insert(what);
                }
                return;
            }
            if inner.now_ms() > chaos_ms + CALM_MS {
                let what = format!("it does not come to an end without faults: {missing}");
                inner.broken.get_or_insert(what);
                return;
            }
        }
    }

    fn report(&self, seed: u64) -> Report {
        let mut inner = self.lock();
        let mut ends = [0; 3];
        for job in inner.oracle.state().jobs.values() {
            match job.state() {
                JobState::Done => ends[0] += 1,
                JobState::Failed => ends[1] += 1,
                JobState::Cancelled => ends[2] += 1,
                _ => {}
            }
        }
        let now = inner.now_ms();
        let tasks: BTreeSet<_> = inner.taken.iter().map(|token| token.task).collect();
        let trace = std::mem::take(&mut inner.trace);
        let too_little = inner.fired.total() < LEAST_FAULTS
            || (tasks.len() as u64) < LEAST_TASKS
            || now < LEAST_MS;
        Report {
            seed,
            void: inner.broken.is_none() && too_little,
            broken: inner.broken.clone(),
            digest: trace.digest,
            last: trace.last(),
            fired: inner.fired.clone(),
            commands: inner.commands,
            attempts: inner.attempts,
            tasks: tasks.len() as u64,
            terms: inner.book.terms(),
            virtual_ms: now,
            calm_ms: now.saturating_sub(inner.schedule.chaos_ms),
            ends,
        }
    }
}

fn runtime(seed: u64) -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true);
    #[cfg(tokio_unstable)]
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&seed.to_le_bytes()));
    #[cfg(not(tokio_unstable))]
    let _ = seed;
    builder
        .build()
        .expect("a runtime without IO asks nothing of the system")
}

/// See [`super::run`].
pub fn run(seed: u64, library: &Arc<Library>, lines: bool) -> Report {
    let ran = crate::quiet::catch(AssertUnwindSafe(|| {
        let runtime = runtime(seed);
        let world = {
            let _inside = runtime.enter();
            World::new(seed, library.clone(), lines)
        };
        runtime.block_on(world.clone().live());
        let report = {
            let _inside = runtime.enter();
            world.report(seed)
        };
        drop(runtime);
        report
    }));
    ran.unwrap_or_else(|panic| Report {
        seed,
        broken: Some(format!("panic: {panic}")),
        ..Report::default()
    })
}
