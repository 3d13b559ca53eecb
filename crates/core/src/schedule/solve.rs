//! The choice itself. See README.md beside.

use super::problem::{FreeNode, Placed, Problem, Reason, Solution};
use super::{Class, Memory};
use crate::machine::ReadyTask;
use std::collections::{BTreeMap, BTreeSet};

/// Seconds before a slot is free for which the next piece is sent ahead when pieces are short: it takes about as long to fetch.
const AHEAD: f64 = 1.0;

/// The same where the end is near but not there, so that nothing is sent ahead to a Node whose present piece turns out to be
/// a long one.
const AHEAD_OF_THE_END: f64 = 2.0;

/// How much longer than predicted a Task is expected to take when it might be the last to finish: content differs.
const CAUTION: f64 = 1.25;

/// How many times the largest Task all that waits must last for the end to be far away. Until then Nodes are sent pieces ahead
/// whatever they do, so that they have work if nobody leads for a while; a piece that waits behind a long one while others end
/// costs most when there are but a few for each.
const FAR: f64 = 3.0;

/// Tasks that are held back for a busy Node at most; the rest waits behind them. Bounds what an end with many Nodes costs.
const MOST_HELD: u32 = 128;

/// A Node while Tasks are placed.
struct Lane<'a> {
    given: &'a FreeNode,
    heavy: u32,
    light: u32,
    busy: Vec<f64>,
    memory: Option<Memory>,
    /// A more urgent Task waits for its memory: nothing else is put there, or small ones would keep it from a large one for ever.
    kept: bool,
}

impl Lane<'_> {
    fn room(&self, heavy: bool) -> u32 {
        if heavy { self.heavy } else { self.light }
    }

    /// It has the memory for a Task beside what it holds.
    fn has_memory(&self, task: &ReadyTask) -> bool {
        let memory = self.memory.as_ref().filter(|_| task.heavy);
        memory.is_none_or(|memory| !self.kept && memory.fits(task.memory_bytes))
    }

    /// Seconds until its first slot is free.
    fn soonest(&self) -> f64 {
        self.busy.first().copied().unwrap_or(0.0)
    }

    /// Its first free slot is taken for so many seconds more.
    fn take(&mut self, seconds: f64) {
        if let Some(first) = self.busy.first_mut() {
            *first += seconds;
            self.busy.sort_by(f64::total_cmp);
        }
    }
}

/// Speeds of all Nodes at one Class.
struct Paces {
    /// Of each Node, and whether it is known or only supposed.
    speeds: Vec<(f64, bool)>,
    mean: f64,
}

impl Paces {
    /// Where no speed is known, a Node is taken to be as fast as the mean of those that are.
    fn of(class: Class, nodes: &[FreeNode]) -> Self {
        let known: Vec<f64> = nodes.iter().filter_map(|n| speed(n, class)).collect();
        let mean = if known.is_empty() {
            1.0
        } else {
            known.iter().sum::<f64>() / known.len() as f64
        };
        let speeds = nodes.iter().map(|n| match speed(n, class) {
            Some(speed) => (speed, true),
            None => (mean, false),
        });
        Self {
            speeds: speeds.collect(),
            mean,
        }
    }
}

fn speed(node: &FreeNode, class: Class) -> Option<f64> {
    node.speeds
        .get(&class)
        .copied()
        .filter(|speed| *speed > 0.0)
}

/// Places each Task, most urgent first, on the Node that would finish it earliest, be it free or not.
/// # Shape
/// Every Task of the Problem is either placed once or unplaced with a reason. No Node gets more than it asked for, and
/// no Task goes to a Node that refused it. No heavy Task goes to a Node whose memory it does not fit in beside what is held there, but
/// where nothing heavy is. A Task that would end after everything else could have ended waits for a Node that is
/// busy if that one finishes it earlier; while more than that waits, no slot stays empty. One Node alone gets all it asks for. Ties go to the Node with more room,
/// then to the lower id.
pub fn assign(problem: &Problem) -> Solution {
    let mut given = problem.nodes.clone();
    given.sort_by_key(|n| n.node);
    let mut solver = Solver::new(problem, &given);
    let mut solution = Solution::default();
    for task in &problem.tasks {
        match solver.place(task) {
            Ok(at) => solution.placed.push(Placed {
                task: task.id,
                attempt: task.attempt,
                node: given[at].node,
            }),
            Err(reason) => solution.unplaced.push((task.id, reason)),
        }
    }
    solution
}

struct Solver<'a> {
    problem: &'a Problem,
    given: &'a [FreeNode],
    lanes: Vec<Lane<'a>>,
    /// Room that is left, heavy and light.
    room: [u64; 2],
    paces: BTreeMap<Class, Paces>,
    /// When all that waits could have ended, by the Class that it is asked for.
    ends: BTreeMap<Class, f64>,
    /// Heavy Classes of which no Node that has room takes more.
    closed: BTreeSet<Class>,
    /// Of heavy Classes the least need of memory that no Node with room has left.
    crowded: BTreeMap<Class, u64>,
    /// Classes for which a Node is kept until it has the memory. One each: the others would idle for it.
    kept_for: BTreeSet<Class>,
    held: u32,
}

impl<'a> Solver<'a> {
    fn new(problem: &'a Problem, given: &'a [FreeNode]) -> Self {
        let lanes: Vec<Lane<'a>> = given
            .iter()
            .map(|node| Lane {
                given: node,
                heavy: node.heavy,
                light: node.light,
                busy: match node.busy.is_empty() {
                    true => vec![0.0],
                    false => node.busy.clone(),
                },
                memory: node.memory.clone(),
                kept: false,
            })
            .collect();
        let sum = |heavy| lanes.iter().map(|lane| u64::from(lane.room(heavy))).sum();
        let mut paces = BTreeMap::new();
        for task in &problem.tasks {
            paces
                .entry(task.class)
                .or_insert_with(|| Paces::of(task.class, given));
        }
        Self {
            problem,
            given,
            room: [sum(true), sum(false)],
            lanes,
            paces,
            ends: BTreeMap::new(),
            closed: BTreeSet::new(),
            crowded: BTreeMap::new(),
            kept_for: BTreeSet::new(),
            held: 0,
        }
    }

    fn place(&mut self, task: &ReadyTask) -> Result<usize, Reason> {
        if self.lanes.is_empty() {
            return Err(Reason::NoNodes);
        }
        if !task.avoid.is_empty() && !self.lanes.iter().any(|lane| self.may(task, lane)) {
            return Err(Reason::Refused);
        }
        if self.room[usize::from(!task.heavy)] == 0 && !planted!(NodeOverfilled) {
            return Err(Reason::NoFreeSlot);
        }
        if task.heavy && self.closed.contains(&task.class) {
            return Err(Reason::NoFreeSlot);
        }
        let no_memory = Reason::NoMemory {
            need: task.memory_bytes,
        };
        let crowded = self.crowded.get(&task.class);
        if task.heavy && crowded.is_some_and(|need| *need <= task.memory_bytes) {
            return Err(no_memory);
        }
        let Some(free) = self.earliest(task, true) else {
            if self.keep_for(task) {
                if task.avoid.is_empty() {
                    self.crowded.insert(task.class, task.memory_bytes);
                }
                return Err(no_memory);
            }
            if task.heavy && task.avoid.is_empty() {
                self.closed.insert(task.class);
            }
            return Err(Reason::NoFreeSlot);
        };
        if task.heavy {
            let takes_there = task.cost as f64 / self.paces[&task.class].speeds[free].0;
            let soonest = self.lanes[free].soonest();
            let early = !self.problem.plenty && soonest > AHEAD_OF_THE_END;
            let late = soonest + takes_there * CAUTION > self.end(task.class);
            if (early || late) && !self.is_alone() {
                let best = self.earliest(task, false).unwrap_or(free);
                if best != free || soonest > AHEAD {
                    let takes_there = task.cost as f64 / self.paces[&task.class].speeds[best].0;
                    self.lanes[best].take(takes_there);
                    self.held += 1;
                    if self.held >= MOST_HELD {
                        self.closed.insert(task.class);
                    }
                    return Err(Reason::Held(self.lanes[best].given.node));
                }
            }
            self.lanes[free].take(takes_there);
            if let Some(memory) = &mut self.lanes[free].memory {
                memory.take(task.memory_bytes);
            }
        }
        let lane = &mut self.lanes[free];
        let room = if task.heavy {
            &mut lane.heavy
        } else {
            &mut lane.light
        };
        *room = room.saturating_sub(1);
        let room = &mut self.room[usize::from(!task.heavy)];
        *room = room.saturating_sub(1);
        Ok(free)
    }

    /// The Node that would finish a Task first. `free`: of those that would take it now; else of those too that will when they
    /// have finished something.
    fn earliest(&self, task: &ReadyTask, free: bool) -> Option<usize> {
        let speeds = &self.paces[&task.class].speeds;
        let cost = task.cost as f64;
        let mut best: Option<(f64, u32, usize)> = None;
        for (at, (lane, (speed, known))) in self.lanes.iter().zip(speeds).enumerate() {
            let (soonest, room) = (lane.soonest(), lane.room(task.heavy));
            // What a Node is not known to be fast enough for it gets no more of than it can begin.
            let tried = !task.heavy || *known || soonest <= 0.0 || self.is_alone();
            let takes = (room > 0 || planted!(NodeOverfilled)) && tried;
            // One that shows idle slots and yet takes nothing does so for reasons of its own: nobody waits for it.
            let idle = task.heavy && room == 0 && soonest <= 0.0;
            // Nor for one that has no memory left: when it will have some is not known.
            if free && !takes || idle || !lane.has_memory(task) {
                continue;
            }
            let finish = soonest + cost / speed;
            // Of two that finish at the same time the one with more room, which can be none.
            if best.is_none_or(|(least, most, _)| (finish, most) < (least, room))
                && self.may(task, lane)
            {
                best = Some((finish, room, at));
            }
        }
        best.map(|(.., at)| at)
    }

    /// Whether a Node has room for the Task and lacks but the memory. Of those the one with the most left is kept for it.
    fn keep_for(&mut self, task: &ReadyTask) -> bool {
        let lacks: Vec<usize> = (0..self.lanes.len())
            .filter(|at| {
                let lane = &self.lanes[*at];
                lane.room(task.heavy) > 0 && !lane.has_memory(task) && self.may(task, lane)
            })
            .collect();
        let left = |at: &usize| self.lanes[*at].memory.as_ref().map_or(0, Memory::left);
        let open = lacks.iter().filter(|at| !self.lanes[**at].kept);
        let most = open
            .copied()
            .max_by_key(|at| (left(at), std::cmp::Reverse(*at)));
        if let Some(most) = most
            && self.kept_for.insert(task.class)
        {
            self.lanes[most].kept = true;
        }
        !lacks.is_empty()
    }

    /// There is one Node: whatever it does not get nobody does.
    fn is_alone(&self) -> bool {
        self.lanes.len() == 1
    }

    /// The Node has not refused the Task.
    fn may(&self, task: &ReadyTask, lane: &Lane<'_>) -> bool {
        !task.avoid.contains(&lane.given.node) || planted!(PlacedWhereRefused)
    }

    /// When all heavy work that is held or waits could have ended, if it could be divided at will.
    fn end(&mut self, class: Class) -> f64 {
        if self.problem.plenty {
            return f64::INFINITY;
        }
        if let Some(known) = self.ends.get(&class) {
            return *known;
        }
        let here = &self.paces[&class];
        let heavy = self.problem.tasks.iter().filter(|task| task.heavy);
        let work: f64 = heavy
            .map(|task| task.cost as f64 / self.paces[&task.class].mean * here.mean)
            .sum();
        let slots = self
            .given
            .iter()
            .zip(&here.speeds)
            .flat_map(|(node, (speed, _))| {
                let idle = node.busy.is_empty().then_some(0.0);
                node.busy
                    .iter()
                    .copied()
                    .chain(idle)
                    .map(|busy| (busy, *speed))
            });
        let end = filled(work, slots.collect());
        self.ends.insert(class, end);
        end
    }
}

/// The time by which slots, each busy for some seconds and then of some speed, have done `work`, which goes wherever there is
/// time before that.
fn filled(work: f64, mut slots: Vec<(f64, f64)>) -> f64 {
    loop {
        let speed: f64 = slots.iter().map(|(_, speed)| speed).sum();
        let done: f64 = slots.iter().map(|(busy, speed)| busy * speed).sum();
        if speed <= 0.0 {
            return f64::INFINITY;
        }
        let end = (work + done) / speed;
        let before = slots.len();
        slots.retain(|(busy, _)| *busy <= end);
        if slots.len() == before || slots.is_empty() {
            return end;
        }
    }
}

/// Heavy Tasks looked at beyond the free slots, so that ones which only some Nodes refuse, or which are kept for other sites, do not
/// hide others. As many again for every further site.
const LOOK_BEYOND: usize = 16;

/// Heavy Tasks looked at in any case at most.
const LOOK_MOST: usize = 4096;

/// The ready Tasks that are worth placing, and whether plenty more wait (see [`Problem::plenty`]): as many of each kind as
/// there are slots and some more; of the heavy ones so many that it is certain whether the end is near. Looks no further than
/// that, since there may be a hundred thousand.
pub fn look(
    light: impl Iterator<Item = ReadyTask>,
    heavy: impl Iterator<Item = ReadyTask>,
    nodes: &[FreeNode],
    sites: usize,
) -> (Vec<ReadyTask>, bool) {
    let room = |slots: u32| {
        if slots == 0 {
            0
        } else {
            slots as usize + LOOK_BEYOND * sites.max(1)
        }
    };
    let lights = room(nodes.iter().map(|n| n.light).sum());
    let heavies = room(nodes.iter().map(|n| n.heavy).sum());
    let mut tasks: Vec<ReadyTask> = light.take(lights).collect();
    if heavies == 0 {
        return (tasks, true);
    }
    let mut look = Look::default();
    for (number, task) in heavy.enumerate() {
        if number >= LOOK_MOST || number >= heavies && look.is_plenty(nodes) {
            return (tasks, true);
        }
        look.add(&task, nodes);
        tasks.push(task);
    }
    (tasks, false)
}

/// Heavy Tasks that were looked at.
#[derive(Default)]
struct Look {
    /// Of each Class its work, the largest of its Tasks, and the speeds of Nodes at it.
    classes: BTreeMap<Class, (f64, f64, Option<Paces>)>,
    /// The work that makes plenty; computed again when a larger Task is seen.
    enough: Option<f64>,
}

impl Look {
    fn add(&mut self, task: &ReadyTask, nodes: &[FreeNode]) {
        let cost = task.cost as f64;
        let (work, largest, paces) = self.classes.entry(task.class).or_default();
        let mean = paces
            .get_or_insert_with(|| Paces::of(task.class, nodes))
            .mean;
        *work += cost / mean;
        if cost > *largest {
            *largest = cost;
            self.enough = None;
        }
    }

    /// Whether all slots together need longer for what was seen than any Node with room would for the largest Task.
    fn is_plenty(&mut self, nodes: &[FreeNode]) -> bool {
        let work: f64 = self.classes.values().map(|(work, ..)| work).sum();
        let enough = *self.enough.get_or_insert_with(|| {
            let mut enough = 0.0f64;
            for (_, largest, paces) in self.classes.values() {
                let Some(paces) = paces else { continue };
                let with_room = nodes.iter().zip(&paces.speeds).filter(|(n, _)| n.heavy > 0);
                let latest = with_room
                    .map(|(n, (speed, _))| {
                        n.busy.first().copied().unwrap_or(0.0) + largest / speed * CAUTION * FAR
                    })
                    .fold(0.0, f64::max);
                let until = nodes.iter().zip(&paces.speeds).flat_map(|(n, (speed, _))| {
                    let left = n.busy.iter().map(|busy| (latest - busy).max(0.0));
                    left.map(move |left| left * speed / paces.mean)
                });
                enough = enough.max(until.sum());
            }
            enough
        });
        work >= enough
    }
}
