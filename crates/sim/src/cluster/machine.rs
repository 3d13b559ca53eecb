//! A coordinator's process on its machine: started, stopped, killed, and looked after while it lives.

use super::book::Listener;
use super::disk::Drive;
use super::net::Wire;
use super::store::Shelf;
use super::world::World;
use crate::faults::Fault;
use crate::rng::Rng;
use recode_coordinator::simulated::{
    Call, Consensus, Coordinator, Host, Identity, Leadership, News, Setup, Timings, term_bound_to,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::sleep;

/// When the world began, in milliseconds since 1970.
const EPOCH_MS: u64 = 1_800_000_000_000;

/// Where log and snapshots are on each drive.
const DIR: &str = "/data";

/// What is to happen when a fuse has burnt down.
#[derive(Clone, Copy, Debug)]
pub enum Fuse {
    /// The process dies and starts again so much later.
    Crash { down_ms: u64 },
    /// It goes on so much later.
    Pause { ms: u64 },
}

/// One machine. Its drive outlives its processes.
#[derive(Debug)]
pub struct Machine {
    pub id: u64,
    pub drive: Drive,
    pub host: Option<Arc<Host>>,
    pub server: Option<Arc<Server>>,
    /// Counts its processes.
    pub life: u64,
    pub fuse: Option<Fuse>,
    /// What its wall clock is wrong by.
    pub wall_error_ms: i64,
    pub slow_until: u64,
    /// The term to which its answers have bound it: none of its processes begins with a lower one.
    pub bound_to: u64,
    /// The process that met a full disk: it may end by itself.
    out_of_space: u64,
}

impl Machine {
    pub fn new(id: u64) -> Self {
        Self {
            id,
            drive: Drive::default(),
            host: None,
            server: None,
            life: 0,
            fuse: None,
            wall_error_ms: 0,
            slow_until: 0,
            bound_to: 0,
            out_of_space: 0,
        }
    }
}

/// A coordinator that answers calls.
pub struct Server {
    pub id: u64,
    pub host: Arc<Host>,
    pub coordinator: Coordinator,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("id", &self.id).finish()
    }
}

impl Server {
    /// Runs a call on its host. `None`: it died before it answered.
    pub async fn run<T: Send + 'static>(
        &self,
        call: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (tell, answer) = oneshot::channel();
        self.host.spawn(async move {
            // Who asked may have given up.
            let _ = tell.send(call.await);
        });
        answer.await.ok()
    }
}

/// What a process takes from the world.
struct Surroundings {
    world: Weak<World>,
    machine: u64,
    life: u64,
}

impl recode_coordinator::simulated::World for Surroundings {
    fn wall_ms(&self) -> u64 {
        self.world
            .upgrade()
            .map_or(0, |world| world.wall_ms(self.machine))
    }

    fn draw(&self) -> u64 {
        self.world
            .upgrade()
            .map_or(0, |world| world.lock().rng.word())
    }

    fn tell(&self, what: News) {
        let Some(world) = self.world.upgrade() else {
            return;
        };
        match what {
            News::Panicked => {
                let said = crate::quiet::said();
                world.broke(format!("panic of coordinator {}: {said}", self.machine));
            }
            News::Stopped => world.burnt_down(self.machine, self.life),
        }
    }
}

/// What a wall clock is wrong by.
pub fn wrong_by(rng: &mut Rng) -> i64 {
    rng.within(0, 172_800_000) as i64 - 86_400_000
}

/// The term that a coordinator knows when it begins, before anybody has reached it.
async fn first_term(consensus: &Consensus) -> u64 {
    // Raft has looked at its log when it names the members.
    while consensus.view().members.is_empty() {
        sleep(Duration::from_millis(1)).await;
    }
    consensus.view().term
}

impl World {
    /// A process begins on a machine, unless one runs there.
    pub fn start(self: &Arc<Self>, id: u64) {
        let mut inner = self.lock();
        let founders: BTreeMap<u64, String> = inner
            .founders
            .iter()
            .map(|id| (*id, id.to_string()))
            .collect();
        let keep = inner.keep;
        let now = inner.now_ms();
        let Some(machine) = inner.machine(id) else {
            return;
        };
        if machine.host.is_some() {
            return;
        }
        machine.life += 1;
        let life = machine.life;
        let host = Host::new(Surroundings {
            world: Arc::downgrade(self),
            machine: id,
            life,
        });
        machine.host = Some(host.clone());
        let drive = machine.drive.clone();
        inner
            .trace
            .line(now, || format!("coordinator {id} starts, life {life}"));
        drop(inner);
        let setup = Setup {
            identity: Identity {
                cluster: "sim".to_owned(),
                id,
            },
            founders,
            link: Arc::new(Wire {
                world: Arc::downgrade(self),
                from: id,
            }),
            timings: Timings::default(),
            keep,
            disk: drive.mount(self, id),
            witness: Some(Arc::new(Listener {
                world: Arc::downgrade(self),
                machine: id,
                started: false.into(),
            })),
        };
        let (world, me) = (Arc::downgrade(self), host.clone());
        host.spawn(async move { live(world, me, id, life, setup).await });
    }

    /// Kills the process of a machine and loses what was not durable. `false`: there is none.
    pub fn kill(self: &Arc<Self>, id: u64, down_ms: u64) -> bool {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let now = inner.now_ms();
        let Some(machine) = inner.machines.iter_mut().find(|m| m.id == id) else {
            return false;
        };
        let Some(host) = machine.host.take() else {
            return false;
        };
        machine.server = None;
        machine.fuse = None;
        host.kill();
        let loss = machine.drive.crash(&mut inner.rng);
        if loss.lost {
            inner.fired.add(Fault::UnsyncedTailLost);
        }
        if loss.torn {
            inner.fired.add(Fault::TornWrite);
        }
        if inner.schedule.rates.clock > 0 && !inner.calm && inner.rng.chance(300) {
            // A machine's clock may be wrong when it comes up.
            machine.wall_error_ms = wrong_by(&mut inner.rng);
        }
        inner.trace.line(now, || {
            format!("coordinator {id} is gone for {down_ms} ms: {loss:?}")
        });
        let world = self.clone();
        self.spawn(async move {
            sleep(Duration::from_millis(down_ms)).await;
            world.start(id);
        });
        true
    }

    /// A process stands still for a while.
    pub fn pause(self: &Arc<Self>, id: u64, ms: u64) {
        let host = self.lock().machine(id).and_then(|m| m.host.clone());
        let Some(host) = host else { return };
        host.stop();
        let world = self.clone();
        self.spawn(async move {
            // Faults end all at once when it becomes calm.
            tokio::select! {
                () = sleep(Duration::from_millis(ms)) => {}
                () = world.calmed() => {}
            }
            host.go_on();
        });
    }

    fn burnt_down(self: &Arc<Self>, id: u64, life: u64) {
        let mut inner = self.lock();
        let machine = inner.machine(id).filter(|m| m.life == life);
        let fuse = machine.and_then(|m| m.fuse.take());
        drop(inner);
        match fuse {
            Some(Fuse::Crash { down_ms }) => {
                self.fire(Fault::CoordinatorCrash);
                self.kill(id, down_ms);
            }
            Some(Fuse::Pause { ms }) => {
                self.fire(Fault::CoordinatorPause);
                self.pause(id, ms);
            }
            None => self.pause(id, 1),
        }
    }

    /// A coordinator has answered another: what that binds it to.
    pub fn answered(&self, id: u64, call: Call, payload: &[u8], answer: &[u8]) {
        let term = term_bound_to(call, payload, answer).unwrap_or(0);
        if let Some(machine) = self.lock().machine(id) {
            machine.bound_to = machine.bound_to.max(term);
        }
    }

    /// Who answers calls on a machine.
    pub fn server(&self, id: u64) -> Option<Arc<Server>> {
        self.lock().machine(id)?.server.clone()
    }

    fn wall_ms(&self, id: u64) -> u64 {
        let mut inner = self.lock();
        let now = inner.now_ms();
        let error = inner.machine(id).map_or(0, |m| m.wall_error_ms);
        if error != 0 {
            inner.fired.add(Fault::ClockJump);
        }
        (EPOCH_MS + now).saturating_add_signed(error)
    }

    /// How long a flush takes now.
    pub fn flush_ms(&self, id: u64) -> u64 {
        let mut inner = self.lock();
        let now = inner.now_ms();
        let slow = inner.machine(id).is_some_and(|m| m.slow_until > now);
        if slow {
            inner.fired.add(Fault::SlowDisk);
            return inner.rng.within(50, 1_500);
        }
        inner.rng.within(1, 8)
    }

    /// A disk took no more bytes.
    pub fn no_space(&self, id: u64) {
        let mut inner = self.lock();
        inner.fired.add(Fault::DiskFull);
        if let Some(machine) = inner.machine(id) {
            machine.out_of_space = machine.life;
        }
    }

    /// A process cannot go on by itself.
    fn gave_up(self: &Arc<Self>, id: u64, life: u64, why: &str) {
        let mut inner = self.lock();
        let calm = inner.calm;
        let Some(machine) = inner.machine(id).filter(|m| m.life == life) else {
            return;
        };
        let is_full = machine.out_of_space == life;
        drop(inner);
        if !is_full {
            self.broke(format!("coordinator {id} gave up: {why}"));
            return;
        }
        self.fire(Fault::ProcessEnded);
        let wait = if calm { 100 } else { 3_000 };
        self.kill(id, wait);
    }
}

async fn live(world: Weak<World>, host: Arc<Host>, id: u64, life: u64, setup: Setup) {
    let Some(alive) = world.upgrade() else { return };
    let shelf = Arc::new(Shelf(world.clone()));
    let started = Coordinator::start(Path::new(DIR), setup, shelf).await;
    let (coordinator, ending) = match started {
        Ok(started) => started,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let why = format!("{error} ({})", cause.unwrap_or_default());
            return alive.gave_up(id, life, &why);
        }
    };
    let ended = ending.ended();
    tokio::pin!(ended);
    let term = tokio::select! {
        biased;
        term = first_term(&coordinator.consensus) => term,
        why = &mut ended => return alive.gave_up(id, life, &why),
        () = sleep(Duration::from_secs(60)) => {
            return alive.broke(format!("coordinator {id} does not find its members"));
        }
    };
    let bound_to = alive.lock().machine(id).map_or(0, |m| m.bound_to);
    if term < bound_to {
        alive.broke(format!(
            "coordinator {id} begins in term {term}, and had answered in term {bound_to}: its vote is lost"
        ));
    }
    let mut leadership = coordinator.consensus.leadership();
    let server = Arc::new(Server {
        id,
        host: host.clone(),
        coordinator,
    });
    if let Some(machine) = alive.lock().machine(id).filter(|m| m.life == life) {
        machine.server = Some(server);
    }
    let observed = world.clone();
    host.spawn(async move {
        loop {
            let now = leadership.borrow_and_update().clone();
            let Some(world) = observed.upgrade() else {
                return;
            };
            if let Leadership::Leads { term } = now {
                world.leads(id, term);
            }
            if leadership.changed().await.is_err() {
                return;
            }
        }
    });
    drop(alive);
    let why = ended.await;
    if let Some(world) = world.upgrade() {
        world.gave_up(id, life, &why);
    }
}
