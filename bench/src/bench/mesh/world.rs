//! One Job on make-believe Nodes. What cuts, learns and places is recode's own code; make-believe are the Nodes, which have
//! true speeds, and the time, which jumps from event to event.

use recode_core::machine::ReadyTask;
use recode_core::schedule::{self, Class, Fleet, Held, Problem};
use recode_types::{AttemptToken, JobId, NodeId, TaskId, TaskKey};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

/// A Node reports at least so often; its reports carry how far it is.
const REPORT: f64 = 1.0;
/// From a report to the grant it brings.
const TRIP: f64 = 0.02;
/// Fetching a Segment. Of the one granted ahead it costs nothing.
const FETCH: f64 = 0.2;
/// Reports that change nothing but progress cause a look at what waits at most this often.
const LOOK: f64 = 0.25;
/// A Node that died is known as silent after a lease and its grace.
const SILENCE: f64 = 15.0;

/// A Node as it truly is.
#[derive(Clone, Debug, PartialEq)]
pub struct TrueNode {
    /// Heavy slots.
    pub slots: u32,
    /// Frames a second of each.
    pub speed: f64,
    /// When it comes, in seconds.
    pub from: f64,
    /// When it dies.
    pub until: f64,
}

impl TrueNode {
    /// One slot, there from the beginning to the end.
    pub fn of(speed: f64) -> Self {
        Self {
            slots: 1,
            speed,
            from: 0.0,
            until: f64::INFINITY,
        }
    }
}

/// A Segment as the scheduler sees it, and as it is.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Frames.
    pub frames: u64,
    /// What they are worth in frames of the usual kind.
    pub truly: f64,
    /// What is decoded before them costs so much more.
    pub preroll: f64,
}

impl Piece {
    /// All that it costs.
    pub fn effort(&self) -> f64 {
        self.truly + self.preroll
    }
}

/// What came of a run.
#[derive(Clone, Copy, Debug)]
pub struct Ran {
    /// When the last Segment was done.
    pub makespan: f64,
    /// When it could have been at best: all that the pieces cost, over the true speeds of the Nodes that were there.
    pub bound: f64,
    /// Work that was done, over the work there was.
    pub done_ratio: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Comes(usize),
    Dies(usize),
    Silent(usize),
    Reports(usize),
    /// Node, piece, number of the beginning.
    Ends(usize, usize, u64),
}

/// A piece on a Node.
#[derive(Clone, Copy, Debug)]
struct Begun {
    piece: usize,
    number: u64,
    /// When its encoder starts.
    at: f64,
}

#[derive(Debug, Default)]
struct Host {
    running: Vec<Begun>,
    /// Granted, and when fetched.
    waiting: VecDeque<(usize, f64)>,
    alive: bool,
    /// The Leader counts it in.
    known: bool,
}

/// One run. See the module.
pub struct World<'a> {
    nodes: &'a [TrueNode],
    pieces: &'a [Piece],
    hosts: Vec<Host>,
    now: f64,
    events: BinaryHeap<Reverse<(Time, u64, Event)>>,
    counter: u64,
    /// Pieces nobody has, in the order of handing out.
    ready: BTreeMap<usize, usize>,
    rank: Vec<usize>,
    done: Vec<bool>,
    attempts: Vec<u32>,
    worked: f64,
    /// When it was looked last what could be given out.
    looked: f64,
    /// What the Leader knows of the Nodes.
    fleet: Fleet,
    /// And who has what.
    holders: BTreeMap<usize, usize>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Time(f64);
impl Eq for Time {}
impl PartialOrd for Time {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Time {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// Runs a Job whose Segments are handed out in `order`.
pub fn run(nodes: &[TrueNode], pieces: &[Piece], order: &[u32]) -> Ran {
    let mut rank = vec![0; pieces.len()];
    for (at, piece) in order.iter().enumerate() {
        rank[*piece as usize] = at;
    }
    let mut world = World {
        nodes,
        pieces,
        hosts: nodes.iter().map(|_| Host::default()).collect(),
        now: 0.0,
        events: BinaryHeap::new(),
        counter: 0,
        ready: order.iter().map(|p| *p as usize).enumerate().collect(),
        rank,
        done: vec![false; pieces.len()],
        attempts: vec![0; pieces.len()],
        worked: 0.0,
        looked: f64::NEG_INFINITY,
        fleet: Fleet::default(),
        holders: BTreeMap::new(),
    };
    for (at, node) in nodes.iter().enumerate() {
        world.at(node.from, Event::Comes(at));
        if node.until.is_finite() {
            world.at(node.until, Event::Dies(at));
        }
    }
    let makespan = world.run();
    let work: f64 = pieces.iter().map(Piece::effort).sum();
    Ran {
        makespan,
        bound: bound(nodes, work),
        done_ratio: world.worked / work,
    }
}

/// When all Nodes together have done so much work, each in the time it is there.
fn bound(nodes: &[TrueNode], work: f64) -> f64 {
    let mut changes: Vec<f64> = nodes.iter().flat_map(|n| [n.from, n.until]).collect();
    changes.retain(|at| at.is_finite());
    changes.sort_by(f64::total_cmp);
    let (mut at, mut done) = (0.0, 0.0);
    loop {
        let there = nodes.iter().filter(|n| n.from <= at && at < n.until);
        let speed: f64 = there.map(|n| n.speed * f64::from(n.slots)).sum();
        let next = changes.iter().copied().find(|change| *change > at);
        match next {
            Some(next) if done + speed * (next - at) < work => {
                done += speed * (next - at);
                at = next;
            }
            _ => return at + (work - done) / speed,
        }
    }
}

impl World<'_> {
    fn at(&mut self, at: f64, event: Event) {
        self.counter += 1;
        self.events.push(Reverse((Time(at), self.counter, event)));
    }

    fn clock(&self) -> Duration {
        Duration::from_secs_f64(self.now)
    }

    fn token(&self, piece: usize) -> AttemptToken {
        let key = TaskKey::Encode {
            group: 0,
            segment: piece as u32,
        };
        AttemptToken {
            task: TaskId { job: JobId(1), key },
            attempt: self.attempts[piece],
        }
    }

    fn run(&mut self) -> f64 {
        let mut left = self.pieces.len();
        while let Some(Reverse((Time(now), _, event))) = self.events.pop() {
            self.now = now;
            match event {
                Event::Comes(at) => {
                    self.hosts[at].alive = true;
                    self.hosts[at].known = true;
                    self.fleet.came(number(at), self.nodes[at].slots, None);
                    self.at(now, Event::Reports(at));
                }
                Event::Dies(at) => {
                    let host = &mut self.hosts[at];
                    host.alive = false;
                    let speed = self.nodes[at].speed;
                    self.worked += host
                        .running
                        .iter()
                        .map(|b| (now - b.at).max(0.0) * speed)
                        .sum::<f64>();
                    host.running.clear();
                    host.waiting.clear();
                    self.at(now + SILENCE, Event::Silent(at));
                }
                Event::Silent(at) => self.silent(at),
                Event::Reports(at) => {
                    if self.hosts[at].alive {
                        self.report(at, now == self.nodes[at].from);
                        self.at(now + REPORT, Event::Reports(at));
                    }
                }
                Event::Ends(at, piece, number) => {
                    let host = &mut self.hosts[at];
                    let Some(place) = host.running.iter().position(|b| b.number == number) else {
                        continue;
                    };
                    let begun = host.running.swap_remove(place);
                    self.worked += self.pieces[piece].effort();
                    self.ended(at, piece, now - begun.at);
                    if !std::mem::replace(&mut self.done[piece], true) {
                        left -= 1;
                    }
                    if left == 0 {
                        return now;
                    }
                    self.begin(at);
                    self.report(at, true);
                }
            }
        }
        unreachable!("every run ends, since some node lives on")
    }

    /// The Leader hears that a piece is done.
    fn ended(&mut self, at: usize, piece: usize, took: f64) {
        let (token, clock) = (self.token(piece), self.clock());
        let took = Some(Duration::from_secs_f64(took));
        self.fleet.ended(number(at), &token, took, clock);
        self.holders.remove(&piece);
    }

    /// The Leader has not heard a Node for too long: what it held is ready again.
    fn silent(&mut self, at: usize) {
        self.fleet.left(number(at));
        self.hosts[at].known = false;
        let held = self.holders.iter().filter(|(_, node)| **node == at);
        for piece in held.map(|(piece, _)| *piece).collect::<Vec<_>>() {
            self.holders.remove(&piece);
            self.ready.insert(self.rank[piece], piece);
        }
        self.dispatch();
    }

    /// The Leader hears how far a Node is, and gives out what there is.
    fn report(&mut self, at: usize, changed: bool) {
        let (clock, speed) = (self.clock(), self.nodes[at].speed);
        for begun in self.hosts[at].running.clone() {
            let piece = self.pieces[begun.piece];
            let share = ((self.now - begun.at).max(0.0) * speed / piece.effort()).min(1.0);
            let frames = (share * piece.frames as f64) as u64;
            let token = self.token(begun.piece);
            self.fleet
                .seen(number(at), &token, (frames, piece.frames), clock);
        }
        self.fleet.told(number(at));
        if changed || self.now - self.looked >= LOOK {
            self.dispatch();
        }
    }

    fn dispatch(&mut self) {
        self.looked = self.now;
        let hosts = self.hosts.iter().enumerate().filter(|(_, host)| host.known);
        let room = hosts.map(|(at, host)| {
            // One more than there are slots: its Segment is fetched meanwhile.
            let held = host.running.len() + host.waiting.len();
            let heavy = (self.nodes[at].slots + 1).saturating_sub(held as u32);
            (number(at), if host.alive { heavy } else { 0 }, 0)
        });
        let nodes = self.fleet.free(room, self.clock());
        let ready = self.ready.values().map(|piece| self.task(*piece));
        let (tasks, plenty) = schedule::look(std::iter::empty(), ready, &nodes, 1);
        if !plenty && tasks.is_empty() {
            let pending = self.fleet.pending(&nodes, self.clock());
            for (node, token) in schedule::relieve(&pending, &nodes) {
                self.relieve(node.0 as usize - 1, token);
            }
            return;
        }
        let problem = Problem {
            nodes,
            tasks,
            plenty,
        };
        for placed in schedule::assign(&problem).placed {
            let TaskKey::Encode { segment, .. } = placed.task.key else {
                continue;
            };
            self.grant(placed.node.0 as usize - 1, segment as usize);
        }
    }

    /// A piece is taken from a Node that is slow, and given to one that is idle.
    fn relieve(&mut self, at: usize, token: AttemptToken) {
        let TaskKey::Encode { segment, .. } = token.task.key else {
            return;
        };
        let piece = segment as usize;
        let (now, speed) = (self.now, self.nodes[at].speed);
        let host = &mut self.hosts[at];
        host.waiting.retain(|(waits, _)| *waits != piece);
        if let Some(place) = host.running.iter().position(|b| b.piece == piece) {
            let begun = host.running.swap_remove(place);
            self.worked += (now - begun.at).max(0.0) * speed;
        }
        self.fleet.ended(number(at), &token, None, self.clock());
        self.holders.remove(&piece);
        self.ready.insert(self.rank[piece], piece);
        self.begin(at);
        self.dispatch();
    }

    fn task(&self, piece: usize) -> ReadyTask {
        let token = self.token(piece);
        ReadyTask {
            id: token.task,
            attempt: token.attempt + 1,
            heavy: true,
            cost: self.pieces[piece].frames,
            class: Class::default(),
            memory_bytes: 0,
            priority: 50,
            avoid: Vec::new(),
        }
    }

    fn grant(&mut self, at: usize, piece: usize) {
        self.ready.remove(&self.rank[piece]);
        self.attempts[piece] += 1;
        self.holders.insert(piece, at);
        let held = Held {
            heavy: true,
            cost: self.pieces[piece].frames,
            class: Class::default(),
            memory_bytes: 0,
            again: false,
        };
        let (token, clock) = (self.token(piece), self.clock());
        self.fleet.granted(number(at), token, held, clock);
        let fetched = self.now + TRIP + FETCH;
        self.hosts[at].waiting.push_back((piece, fetched));
        self.begin(at);
    }

    /// A Node starts what it has slots for.
    fn begin(&mut self, at: usize) {
        let node = &self.nodes[at];
        while self.hosts[at].running.len() < node.slots as usize
            && let Some((piece, fetched)) = self.hosts[at].waiting.pop_front()
        {
            let begins = fetched.max(self.now);
            self.counter += 1;
            let begun = Begun {
                piece,
                number: self.counter,
                at: begins,
            };
            self.hosts[at].running.push(begun);
            let ends = begins + self.pieces[piece].effort() / node.speed;
            self.at(ends, Event::Ends(at, piece, begun.number));
        }
    }
}

fn number(at: usize) -> NodeId {
    NodeId(at as u64 + 1)
}
