//! The larger faults: which process dies, stands still or is cut off, and which disk is slow or full.

use super::machine::{Fuse, wrong_by};
use super::net::Place;
use super::world::World;
use crate::faults::Fault;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

type Happening = fn(&Arc<World>);

/// Until the faults stop.
pub async fn live(world: Arc<World>) {
    sleep(Duration::from_millis(500)).await;
    loop {
        let wait = {
            let mut inner = world.lock();
            let mean = inner.schedule.rates.every_ms;
            inner.rng.within(mean / 2, mean * 3 / 2)
        };
        sleep(Duration::from_millis(wait)).await;
        if world.is_calm() {
            return;
        }
        if let Some(happen) = draw(&world) {
            happen(&world);
        }
    }
}

fn draw(world: &World) -> Option<Happening> {
    let mut inner = world.lock();
    let rates = inner.schedule.rates;
    let kinds: [(u32, Happening); 11] = [
        (rates.crash, |world| crash(world, some_coordinator(world))),
        (rates.pause, |world| pause(world, some_coordinator(world))),
        (rates.cut, |world| cut(world, some_coordinator(world))),
        (rates.slow_disk, slow_disk),
        (rates.full_disk, full_disk),
        (rates.node_crash, node_crash),
        (rates.node_pause, node_pause),
        (rates.clock, clock),
        (rates.outage, outage),
        (rates.node_gone, node_gone),
        (rates.store_outage, store_outage),
    ];
    let total: u64 = kinds.iter().map(|k| u64::from(k.0)).sum();
    let mut draw = inner.rng.below(total);
    for (weight, happen) in kinds {
        if draw < u64::from(weight) {
            return Some(happen);
        }
        draw -= u64::from(weight);
    }
    None
}

fn some_coordinator(world: &World) -> u64 {
    let mut inner = world.lock();
    let inner = &mut *inner;
    let leader = inner.book.newest().map(|(_, leader)| leader);
    match leader {
        // The Leader's troubles are the interesting ones.
        Some(leader) if inner.rng.chance(500) => leader,
        _ => {
            let at = inner.rng.index(inner.machines.len());
            inner.machines[at].id
        }
    }
}

/// Sets what happens to a process after a few more polls of its tasks; half of the time at once.
fn light(world: &Arc<World>, id: u64, fuse: Fuse) {
    let mut inner = world.lock();
    let inner = &mut *inner;
    let polls = match inner.rng.chance(500) {
        true => 0,
        false => inner.rng.below(400) as u32,
    };
    let machine = inner.machines.iter_mut().find(|m| m.id == id);
    if let Some(machine) = machine
        && let Some(host) = &machine.host
        && host.runs()
    {
        machine.fuse = Some(fuse);
        host.light(Some(polls));
    }
}

fn crash(world: &Arc<World>, id: u64) {
    let down_ms = {
        let rng = &mut world.lock().rng;
        match rng.chance(300) {
            true => rng.within(1, 400),
            false => rng.within(50, 12_000),
        }
    };
    light(world, id, Fuse::Crash { down_ms });
}

/// Power fails for all coordinators, or for all but the Leader, which then waits in vain for the others.
fn outage(world: &Arc<World>) {
    let mut inner = world.lock();
    let leader = inner.book.newest().map(|(_, leader)| leader);
    let spared = leader.filter(|_| inner.rng.chance(600));
    let down_ms = inner.rng.within(500, 30_000);
    let ids: Vec<u64> = inner.machines.iter().map(|m| m.id).collect();
    drop(inner);
    for id in ids.into_iter().filter(|id| Some(*id) != spared) {
        let later = world.lock().rng.within(0, 1_000);
        if world.kill(id, down_ms + later) {
            world.fire(Fault::CoordinatorCrash);
        }
    }
}

/// A coordinator is in the middle of something, or somebody has asked it for something: now and then a fault finds it there.
pub fn aim(world: &Arc<World>, id: u64) {
    let mut inner = world.lock();
    let rate = inner.schedule.rates.aim;
    if inner.calm || !inner.rng.chance(rate) {
        return;
    }
    let what = inner.rng.below(3);
    drop(inner);
    match what {
        0 => crash(world, id),
        1 => pause(world, id),
        _ => cut(world, id),
    }
}

fn pause(world: &Arc<World>, id: u64) {
    let ms = {
        let rng = &mut world.lock().rng;
        match rng.chance(300) {
            true => rng.within(20, 1_500),
            false => rng.within(200, 20_000),
        }
    };
    light(world, id, Fuse::Pause { ms });
}

fn cut(world: &Arc<World>, id: u64) {
    let at = Place::Coordinator(id);
    let mut inner = world.lock();
    let inner = &mut *inner;
    let one_way = inner.rng.chance(400);
    let outward = inner.rng.chance(500);
    let others_too = inner.rng.chance(500);
    // Two that do not see each other, but both see the third.
    let only_one = inner.rng.chance(300);
    let wait = inner.rng.within(500, 25_000);
    let mut others: Vec<Place> = inner
        .machines
        .iter()
        .map(|m| Place::Coordinator(m.id))
        .filter(|other| *other != at)
        .collect();
    if only_one {
        let one = inner.rng.index(others.len());
        others = vec![others[one]];
    }
    if others_too {
        others.extend((0..inner.nodes.len()).map(Place::Node));
        // The last one only reads.
        others.extend((0..=inner.clients.len()).map(Place::Client));
    }
    let mut new = Vec::new();
    for other in others {
        for (a, b, cut) in [(at, other, outward), (other, at, !outward)] {
            if (cut || !one_way) && inner.cuts.insert((a, b)) {
                new.push((a, b));
            }
        }
    }
    if new.is_empty() {
        return;
    }
    inner.fired.add(match one_way {
        true => Fault::OneWayCut,
        false => Fault::Partition,
    });
    let now = inner.now_ms();
    inner
        .trace
        .line(now, || format!("cut for {wait} ms: {new:?}"));
    let mending = world.clone();
    world.spawn(async move {
        sleep(Duration::from_millis(wait)).await;
        let mut inner = mending.lock();
        for way in &new {
            inner.cuts.remove(way);
        }
    });
}

fn slow_disk(world: &Arc<World>) {
    let id = some_coordinator(world);
    let mut inner = world.lock();
    let until = inner.now_ms() + inner.rng.within(1_000, 25_000);
    if let Some(machine) = inner.machine(id) {
        machine.slow_until = until;
    }
}

fn full_disk(world: &Arc<World>) {
    let id = some_coordinator(world);
    let mut inner = world.lock();
    let wait = inner.rng.within(500, 15_000);
    let Some(machine) = inner.machine(id) else {
        return;
    };
    let drive = machine.drive.clone();
    drive.fill(true);
    drop(inner);
    world.line(|| format!("the disk of coordinator {id} is full for {wait} ms"));
    world.spawn(async move {
        sleep(Duration::from_millis(wait)).await;
        drive.fill(false);
    });
}

fn node_crash(world: &Arc<World>) {
    let (node, wait) = {
        let mut inner = world.lock();
        let count = inner.nodes.len();
        (inner.rng.index(count), inner.rng.within(20, 30_000))
    };
    if world.kill_node(node) {
        world.line(|| format!("node {node} dies"));
        world.fire(Fault::NodeCrash);
        world.start_node(node, wait);
    }
}

/// A Node whose machine is lost: others must do its work. Half of them stay.
fn node_gone(world: &Arc<World>) {
    let mut inner = world.lock();
    let staying: Vec<usize> = (0..inner.nodes.len())
        .filter(|node| !inner.nodes[*node].gone)
        .collect();
    if (staying.len() - 1) * 2 < inner.nodes.len() {
        return;
    }
    let node = inner.rng.pick(&staying);
    inner.nodes[node].gone = true;
    drop(inner);
    world.kill_node(node);
    world.line(|| format!("node {node} is gone for good"));
    world.fire(Fault::NodeGone);
}

fn store_outage(world: &Arc<World>) {
    let mut inner = world.lock();
    inner.store_out_until = inner.now_ms() + inner.rng.within(500, 8_000);
}

fn node_pause(world: &Arc<World>) {
    let (node, host, wait) = {
        let mut inner = world.lock();
        let count = inner.nodes.len();
        let node = inner.rng.index(count);
        (
            node,
            inner.nodes[node].host.clone(),
            inner.rng.within(500, 40_000),
        )
    };
    let Some(host) = host.filter(|host| host.runs()) else {
        return;
    };
    host.stop();
    world.fire(Fault::NodePause);
    world.line(|| format!("node {node} stands still for {wait} ms"));
    let going = world.clone();
    world.spawn(async move {
        tokio::select! {
            () = sleep(Duration::from_millis(wait)) => {}
            () = going.calmed() => {}
        }
        host.go_on();
    });
}

fn clock(world: &Arc<World>) {
    let id = some_coordinator(world);
    let mut inner = world.lock();
    let error = wrong_by(&mut inner.rng);
    if let Some(machine) = inner.machine(id) {
        machine.wall_error_ms = error;
    }
}
