//! Make-believe Nodes: processes that dial, report and work. What they hold is [`crate::slots`], how Attempts end
//! [`crate::fate`].

use super::machine::Server;
use super::net::{Place, Serve, ask, pipe};
use super::world::{Inner, World};
use crate::fate::Fate;
use crate::faults::Fault;
use crate::film;
use crate::slots::Slots;
use futures::{StreamExt as _, stream};
use recode_coordinator::simulated::{Host, News};
use recode_proto::convert::status::leader_of;
use recode_proto::v1;
use recode_types::task::{AttemptOutcome, FailureClass};
use recode_types::{AttemptToken, NodeOrders, NodeReport};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// A dial that is not answered.
const DIAL: Duration = Duration::from_secs(5);

/// The process of a Node, as the world sees it.
#[derive(Debug, Default)]
pub struct Process {
    pub host: Option<Arc<Host>>,
    /// Counts its starts: each is another incarnation.
    pub life: u32,
    /// It never starts again.
    pub gone: bool,
    /// What it holds, for people.
    pub holds: Vec<String>,
}

struct Surroundings(Weak<World>, usize);

impl recode_coordinator::simulated::World for Surroundings {
    fn wall_ms(&self) -> u64 {
        0
    }

    fn draw(&self) -> u64 {
        self.0.upgrade().map_or(0, |world| world.lock().rng.word())
    }

    fn tell(&self, what: News) {
        if let (Some(world), News::Panicked) = (self.0.upgrade(), what) {
            let said = crate::quiet::said();
            world.broke(format!("panic of node {}: {said}", self.1));
        }
    }
}

impl World {
    /// A Node's process begins after a while, unless one runs.
    pub fn start_node(self: &Arc<Self>, index: usize, wait_ms: u64) {
        let world = self.clone();
        self.spawn(async move {
            tokio::select! {
                () = sleep(Duration::from_millis(wait_ms)) => {}
                () = world.calmed() => {}
            }
            let host = Host::new(Surroundings(Arc::downgrade(&world), index));
            let mut inner = world.lock();
            let process = &mut inner.nodes[index];
            if process.host.is_some() || process.gone {
                return;
            }
            process.host = Some(host.clone());
            process.life += 1;
            let life = process.life;
            drop(inner);
            host.spawn(live(Arc::downgrade(&world), host.clone(), index, life));
        });
    }

    /// A Node's process dies. `false`: there is none.
    pub fn kill_node(self: &Arc<Self>, index: usize) -> bool {
        let mut inner = self.lock();
        let process = &mut inner.nodes[index];
        process.holds.clear();
        let host = process.host.take();
        drop(inner);
        host.is_some_and(|host| {
            host.kill();
            true
        })
    }
}

impl Inner {
    fn fate<'a>(&'a mut self, world: &'a World) -> Fate<'a> {
        Fate {
            rng: &mut self.rng,
            fired: &mut self.fired,
            rates: self.schedule.rates,
            calm: self.calm,
            library: &world.library,
            made: &mut self.made,
        }
    }
}

/// What a Node's process keeps.
struct Node {
    host: Arc<Host>,
    index: usize,
    life: u32,
    slots: Slots,
    ended: mpsc::UnboundedSender<AttemptToken>,
}

async fn live(world: Weak<World>, host: Arc<Host>, index: usize, life: u32) {
    let Some(alive) = world.upgrade() else { return };
    let draw = alive.lock().schedule.nodes[index];
    let (ended, mut ends) = mpsc::unbounded_channel();
    let mut node = Node {
        host,
        index,
        life,
        slots: Slots::new(draw),
        ended,
    };
    let tick = Duration::from_micros(1_000_000_000 / draw.rate);
    let mut target = 1;
    loop {
        let opened = timeout(DIAL, node.dial(&alive, target)).await;
        let (say, mut orders) = match opened {
            Ok(Ok(opened)) => opened,
            failed => {
                let named = match failed {
                    Ok(Err(named)) => named,
                    _ => None,
                };
                alive.line(|| format!("node {index} does not reach {target}; {named:?} leads"));
                target = named.unwrap_or_else(|| next_target(&alive, target));
                let wait = alive.lock().rng.within(100, 1_000);
                sleep(Duration::from_millis(wait)).await;
                continue;
            }
        };
        alive.line(|| format!("node {index} has an exchange with {target}"));
        loop {
            let owed = tokio::select! {
                biased;
                order = orders.recv() => match order {
                    None => break,
                    Some(order) => node.on_orders(&alive, &order),
                },
                token = ends.recv() => match token {
                    Some(token) => node.on_end(&alive, token),
                    None => return,
                },
                () = sleep(tick) => {
                    node.look_for_hung(&alive);
                    true
                }
            };
            node.publish(&alive);
            if owed && say.send(node.report(false)).is_err() {
                break;
            }
        }
        alive.line(|| format!("node {index} has lost its exchange with {target}"));
        target = next_target(&alive, target);
        let wait = alive.lock().rng.within(100, 1_000);
        sleep(Duration::from_millis(wait)).await;
    }
}

/// Another one to try.
pub fn next_target(world: &World, target: u64) -> u64 {
    let mut inner = world.lock();
    let inner = &mut *inner;
    let others = inner.machines.iter().map(|m| m.id);
    let others: Vec<u64> = others.filter(|id| *id != target).collect();
    inner.rng.pick(&others)
}

/// Who leads, as a coordinator said that does not.
pub fn named(status: &Status) -> Option<u64> {
    leader_of(status)?.parse().ok()
}

type Exchange = (
    mpsc::UnboundedSender<v1::NodeReport>,
    mpsc::UnboundedReceiver<v1::NodeOrders>,
);

impl Node {
    fn report(&mut self, first: bool) -> v1::NodeReport {
        let report: NodeReport = self.slots.report(self.index, self.life, first);
        report.into()
    }

    /// Opens an exchange. The error: who leads, where that was said.
    async fn dial(&mut self, world: &Arc<World>, target: u64) -> Result<Exchange, Option<u64>> {
        let (here, there) = (Place::Node(self.index), Place::Coordinator(target));
        let torn = CancellationToken::new();
        let (say, reports) = pipe(world, here, there, &torn);
        // The pipe is open before the first report goes through it.
        let first = self.report(true);
        if say.send(first).is_err() {
            return Err(None);
        }
        let reports = Arc::new(Mutex::new(Some(reports)));
        let carrier = world.clone();
        let serve: Serve<Result<_, Status>> = Arc::new(move |server: &Arc<Server>| {
            let (server, torn) = (server.clone(), torn.clone());
            let (reports, world) = (reports.clone(), carrier.clone());
            Box::pin(async move {
                world.passes(&server, "/recode.v1.NodeService/Exchange")?;
                let reports = reports.lock().expect("nothing panics with it").take();
                let mut reports =
                    reports.ok_or_else(|| Status::internal("the exchange is open already"))?;
                let reports = stream::poll_fn(move |cx| reports.poll_recv(cx)).map(Ok);
                let nodes = &server.coordinator.services.nodes;
                let mut orders = nodes.open(reports).await?;
                let (tell, told) = pipe(&world, there, here, &torn);
                server.host.spawn(async move {
                    // At the end of either side the pipe closes behind it.
                    while let Some(Ok(order)) = orders.next().await {
                        if tell.send(order).is_err() {
                            return;
                        }
                    }
                });
                Ok(told)
            })
        });
        match ask(world, here, target, serve).await {
            Ok(Ok(Ok(told))) => Ok((say, told)),
            Ok(Ok(Err(status))) => Err(named(&status)),
            _ => Err(None),
        }
    }

    fn on_orders(&mut self, world: &Arc<World>, orders: &v1::NodeOrders) -> bool {
        let orders = match NodeOrders::try_from(orders.clone()) {
            Ok(orders) => orders,
            Err(error) => {
                world.broke(format!("orders do not read: {error}"));
                return false;
            }
        };
        let mut inner = world.lock();
        let late = orders
            .acknowledged
            .iter()
            .filter(|token| !inner.taken.contains(token))
            .count();
        for _ in 0..late {
            inner.fired.add(Fault::ResultLate);
        }
        drop(inner);
        let owed = self.slots.take(&orders);
        self.begin(world);
        owed
    }

    fn begin(&mut self, world: &Arc<World>) {
        let draw = self.slots.draw;
        for token in self.slots.start() {
            let Some(running) = self.slots.get(&token) else {
                continue;
            };
            let mut inner = world.lock();
            let mut fate = inner.fate(world);
            running.hung = fate.hangs();
            if running.hung {
                continue;
            }
            let took = fate.takes_ms(&running.work, &draw);
            drop(inner);
            let ended = self.ended.clone();
            self.host.spawn(async move {
                sleep(Duration::from_millis(took)).await;
                // A Node that is gone does not work.
                let _ = ended.send(token);
            });
        }
    }

    fn on_end(&mut self, world: &Arc<World>, token: AttemptToken) -> bool {
        let draw = self.slots.draw;
        let Some(running) = self.slots.get(&token) else {
            return false;
        };
        let outcome: AttemptOutcome = if running.hung {
            film::failed(FailureClass::Killed)
        } else {
            let mut inner = world.lock();
            let inner = &mut *inner;
            let objects = std::mem::take(&mut inner.objects);
            let list = |number| objects.list(number);
            let outcome = inner.fate(world).outcome(&draw, &running.work, &list);
            inner.objects = objects;
            outcome
        };
        self.slots.end(token, outcome);
        self.begin(world);
        true
    }

    /// The watchdog: what has hung is killed, once the faults have stopped.
    fn look_for_hung(&mut self, world: &Arc<World>) {
        if world.is_calm() {
            for token in self.slots.hung() {
                self.on_end(world, token);
            }
        }
    }

    fn publish(&self, world: &Arc<World>) {
        let mut inner = world.lock();
        let process = &mut inner.nodes[self.index];
        if process.life == self.life {
            process.holds = self.slots.holds();
        }
    }
}
