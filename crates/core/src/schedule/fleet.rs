//! All Nodes as the scheduler sees them: what each holds and how fast it is. Time is an argument, counted from any fixed
//! moment.

use super::{Class, FreeNode, Held, Load, Pending, Speeds};
use recode_types::{AttemptToken, NodeId};
use std::collections::BTreeMap;
use std::time::Duration;

/// A Node whose progress falls below this part of its known speed has become slower: what it will do is expected of its
/// progress. Above, it is the content that differs.
const SLOWED: f64 = 0.5;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    loads: BTreeMap<NodeId, Load>,
    speeds: Speeds,
}

impl Fleet {
    /// A Node of so many heavy slots has come, or come again: it holds nothing that was not added since. `memory_bytes`: what its
    /// runs may have; `None`: it does not say.
    pub fn came(&mut self, node: NodeId, slots: u32, memory_bytes: Option<u64>) {
        let load = Load::new(slots).within(memory_bytes);
        self.loads.insert(node, load);
    }

    /// A Node is known no longer.
    pub fn left(&mut self, node: NodeId) {
        self.loads.remove(&node);
        self.speeds.forget(node);
    }

    /// A Node holds an Attempt from now on.
    pub fn granted(&mut self, node: NodeId, token: AttemptToken, held: Held, now: Duration) {
        if let Some(load) = self.loads.get_mut(&node) {
            load.add(token, held, now);
        }
    }

    /// A Node has said how far an Attempt is.
    pub fn seen(
        &mut self,
        node: NodeId,
        token: &AttemptToken,
        (frames, total): (u64, u64),
        now: Duration,
    ) {
        if let Some(load) = self.loads.get_mut(&node) {
            load.seen(token, frames, total, now);
        }
    }

    /// A Node is going to have this speed at a Class, as samples show.
    pub fn foretold(&mut self, node: NodeId, class: Class, speed: f64) {
        self.speeds.foretell(node, class, speed);
    }

    /// A Node has told all it had to tell: what its progress shows is learned.
    pub fn told(&mut self, node: NodeId) {
        if let Some((class, pace)) = self.loads.get(&node).and_then(Load::pace) {
            self.speeds.glimpse(node, class, pace);
        }
    }

    /// A Node holds an Attempt no longer. `worked`: it did the work that was predicted, in this time, which holds no waiting
    /// for a slot.
    pub fn ended(
        &mut self,
        node: NodeId,
        token: &AttemptToken,
        worked: Option<Duration>,
        now: Duration,
    ) {
        let Some(load) = self.loads.get_mut(&node) else {
            return;
        };
        let pace = load.pace_of(token);
        let Some(held) = load.remove(token, now) else {
            return;
        };
        // What was taken from it while it was slow must not make it look as fast as before.
        if let (None, Some(pace)) = (worked, pace)
            && let Some(known) = self.speeds.measured(node, held.class)
            && pace < known * SLOWED
        {
            self.speeds.slowed(node, held.class, pace);
        }
        if let Some(took) = worked
            && held.heavy
            && !held.again
        {
            self.speeds.learn(node, held.class, held.cost, took);
        }
    }

    /// How an Attempt counts that a Node is known to hold.
    pub fn held(&self, node: NodeId, token: &AttemptToken) -> Option<Held> {
        self.loads.get(&node)?.held(token)
    }

    /// Whether a Node is known to hold an Attempt.
    pub fn holds(&self, node: NodeId, token: &AttemptToken) -> bool {
        self.loads.get(&node).is_some_and(|load| load.holds(token))
    }

    /// Work per second of one heavy slot at what the Node did last; for people.
    pub fn speed(&self, node: NodeId) -> Option<f64> {
        self.speeds.latest(node)
    }

    /// What Nodes would take now. `room`: the Nodes and how many heavy and light Attempts each would take.
    pub fn free(
        &self,
        room: impl Iterator<Item = (NodeId, u32, u32)>,
        now: Duration,
    ) -> Vec<FreeNode> {
        let room: Vec<(NodeId, u32, u32)> = room.collect();
        let nodes: Vec<NodeId> = room.iter().map(|(node, ..)| *node).collect();
        let mut expected = self.speeds.expected(&nodes);
        let means: BTreeMap<Class, f64> = self.speeds.means();
        let free = room.into_iter().map(|(node, heavy, light)| {
            let mut speeds = expected.remove(&node).unwrap_or_default();
            let load = self.loads.get(&node);
            if let Some((class, pace)) = load.and_then(Load::pace)
                && let Some(speed) = speeds.get_mut(&class)
                && pace < *speed * SLOWED
            {
                let slowed = pace / *speed;
                speeds.values_mut().for_each(|speed| *speed *= slowed);
            }
            let of = |class| supposed(&speeds, &means, class);
            let busy = load.map_or_else(|| vec![0.0], |load| load.busy(now, of));
            FreeNode {
                node,
                heavy,
                light,
                busy,
                speeds,
                memory: load.and_then(Load::memory),
            }
        });
        free.collect()
    }

    /// What each of `nodes` holds, with the speeds that are given with it.
    pub fn pending(&self, nodes: &[FreeNode], now: Duration) -> Vec<(NodeId, Pending)> {
        let means = self.speeds.means();
        let loads = nodes
            .iter()
            .filter_map(|n| Some((n, self.loads.get(&n.node)?)));
        let pending = loads.flat_map(|(node, load)| {
            let pending = load.pending(now, |class| supposed(&node.speeds, &means, class));
            pending.into_iter().map(move |pending| (node.node, pending))
        });
        pending.collect()
    }
}

/// The speed of a Node at a Class; the mean of the others where it is not known.
fn supposed(speeds: &BTreeMap<Class, f64>, means: &BTreeMap<Class, f64>, class: Class) -> f64 {
    let known = speeds.get(&class).or_else(|| means.get(&class));
    known.copied().unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{at, held, token};
    use super::*;

    const NODE: NodeId = NodeId(1);

    fn speed(fleet: &Fleet, now: u64) -> Option<f64> {
        let free = fleet.free([(NODE, 1, 1)].into_iter(), at(now));
        free[0].speeds.get(&Class::default()).copied()
    }

    fn fleet() -> Fleet {
        let mut fleet = Fleet::default();
        fleet.came(NODE, 1, None);
        fleet.granted(NODE, token(0), held(100), at(0));
        fleet
    }

    #[test]
    fn work_that_was_not_done_says_nothing_of_speed() {
        let mut fleet = fleet();
        fleet.ended(NODE, &token(0), None, at(1));
        assert_eq!(speed(&fleet, 1), None, "reused, failed or revoked");
        let again = Held {
            again: true,
            ..held(100)
        };
        fleet.granted(NODE, token(1), again, at(1));
        fleet.ended(NODE, &token(1), Some(at(10)), at(11));
        assert_eq!(speed(&fleet, 11), None, "it may have had it already");
        fleet.granted(NODE, token(2), held(100), at(11));
        fleet.ended(NODE, &token(2), Some(at(10)), at(21));
        assert_eq!(speed(&fleet, 21), Some(10.0));
    }

    #[test]
    fn a_node_that_is_slowed_down_is_expected_to_stay_slow() {
        let mut fleet = fleet();
        fleet.ended(NODE, &token(0), Some(at(10)), at(10));
        fleet.granted(NODE, token(1), held(100), at(10));
        for second in 11..20 {
            fleet.seen(NODE, &token(1), (second - 10, 100), at(second));
            fleet.told(NODE);
        }
        assert_eq!(speed(&fleet, 20), Some(1.0));
    }

    #[test]
    fn what_is_taken_from_a_slow_node_leaves_it_known_as_slow() {
        let mut fleet = fleet();
        fleet.ended(NODE, &token(0), Some(at(10)), at(10));
        fleet.granted(NODE, token(1), held(100), at(10));
        fleet.seen(NODE, &token(1), (1, 100), at(11));
        fleet.seen(NODE, &token(1), (10, 100), at(20));
        fleet.ended(NODE, &token(1), None, at(21));
        assert_eq!(speed(&fleet, 21), Some(1.0));
    }

    #[test]
    fn content_that_is_somewhat_slower_is_no_slower_node() {
        let mut fleet = fleet();
        fleet.ended(NODE, &token(0), Some(at(10)), at(10));
        fleet.granted(NODE, token(1), held(100), at(10));
        for second in 11..20 {
            fleet.seen(NODE, &token(1), ((second - 10) * 7, 100), at(second));
            fleet.told(NODE);
        }
        assert_eq!(speed(&fleet, 20), Some(10.0));
    }
}
