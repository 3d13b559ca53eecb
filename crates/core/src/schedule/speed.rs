//! How fast Nodes are, as learned from the work they finish and from the progress they report.

use super::Class;
use recode_types::NodeId;
use std::collections::BTreeMap;
use std::time::Duration;

/// How much of what was learned counts on when the next measurement comes: content differs from Segment to Segment, so that
/// one measurement says little, and a machine may become slower, so that old ones must fade.
const KEPT: f64 = 0.85;

/// Classes that are remembered; those that were not seen for longest go first.
const MOST_CLASSES: usize = 64;

/// Work per second of one heavy slot, by Class and Node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Speeds {
    classes: BTreeMap<Class, Known>,
    /// Counts measurements.
    clock: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Known {
    nodes: BTreeMap<NodeId, Learned>,
    used: u64,
}

/// Sums whose ratio is the speed: long measurements count for more than short ones.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Learned {
    cost: f64,
    seconds: f64,
    /// Of Attempts that have not ended, for as long as none has.
    glimpse: Option<f64>,
    /// What samples of the Node foretell.
    foretold: Option<f64>,
}

impl Learned {
    fn speed(&self) -> Option<f64> {
        if self.seconds > 0.0 {
            Some(self.cost / self.seconds)
        } else {
            self.glimpse
        }
    }
}

impl Speeds {
    /// A Node has done work of this cost in this time. The time must not contain waiting for a slot, and the work must have
    /// been done: a Chunk that was found finished says nothing.
    pub fn learn(&mut self, node: NodeId, class: Class, cost: u64, took: Duration) {
        if cost == 0 || took.is_zero() {
            return;
        }
        let learned = self.entry(node, class);
        learned.cost = learned.cost * KEPT + cost as f64;
        learned.seconds = learned.seconds * KEPT + took.as_secs_f64();
        learned.glimpse = None;
    }

    /// What runs on a Node goes at this speed. Counts only until the first Attempt of the Class has ended there.
    pub fn glimpse(&mut self, node: NodeId, class: Class, speed: f64) {
        if speed > 0.0 {
            self.entry(node, class).glimpse = Some(speed);
        }
    }

    /// A Node has become so slow that what it did before says nothing any more.
    pub fn slowed(&mut self, node: NodeId, class: Class, speed: f64) {
        let learned = self.entry(node, class);
        *learned = Learned {
            glimpse: Some(speed),
            foretold: learned.foretold,
            ..Learned::default()
        };
    }

    /// What samples of a Node foretell of a Class. Counts until something of the Class has shown its speed there.
    pub fn foretell(&mut self, node: NodeId, class: Class, speed: f64) {
        if speed > 0.0 {
            self.entry(node, class).foretold = Some(speed);
        }
    }

    /// A Node is known no longer.
    pub fn forget(&mut self, node: NodeId) {
        for known in self.classes.values_mut() {
            known.nodes.remove(&node);
        }
    }

    fn entry(&mut self, node: NodeId, class: Class) -> &mut Learned {
        self.clock += 1;
        if !self.classes.contains_key(&class) && self.classes.len() >= MOST_CLASSES {
            let oldest = self.classes.iter().min_by_key(|(_, known)| known.used);
            if let Some(oldest) = oldest.map(|(class, _)| *class) {
                self.classes.remove(&oldest);
            }
        }
        let known = self.classes.entry(class).or_default();
        known.used = self.clock;
        known.nodes.entry(node).or_default()
    }

    /// What was measured of this Node at this Class.
    pub fn measured(&self, node: NodeId, class: Class) -> Option<f64> {
        self.classes.get(&class)?.nodes.get(&node)?.speed()
    }

    /// The speed of a Node at the Class that was measured last of it; for people.
    pub fn latest(&self, node: NodeId) -> Option<f64> {
        let of_node = self.classes.values().filter_map(|known| {
            let speed = known.nodes.get(&node)?.speed()?;
            Some((known.used, speed))
        });
        of_node
            .max_by_key(|(used, _)| *used)
            .map(|(_, speed)| speed)
    }

    /// The mean over all Nodes that were measured at a Class.
    pub fn mean(&self, class: Class) -> Option<f64> {
        let nodes = &self.classes.get(&class)?.nodes;
        let (mut sum, mut count) = (0.0, 0u32);
        for speed in nodes.values().filter_map(Learned::speed) {
            sum += speed;
            count += 1;
        }
        (count > 0).then(|| sum / f64::from(count))
    }

    /// The means of all Classes that anybody was measured at.
    pub fn means(&self) -> BTreeMap<Class, f64> {
        let classes = self.classes.keys();
        let means = classes.filter_map(|class| Some((*class, self.mean(*class)?)));
        means.collect()
    }

    /// How much faster work of a Class went than samples had foretold, where anybody has shown both: the geometric mean.
    fn beyond_samples(&self, class: Class) -> f64 {
        let nodes = self.classes.get(&class).into_iter();
        let both = nodes.flat_map(|known| known.nodes.values());
        let both = both.filter_map(|l| Some((l.speed()? / l.foretold?).ln()));
        let (sum, count) = both.fold((0.0, 0u32), |(sum, n), log| (sum + log, n + 1));
        (sum / f64::from(count.max(1))).exp()
    }

    /// What to expect of each of `nodes` at each Class of which anything is known: its own speed; else what its samples foretell,
    /// as far off as they were with others; else the mean of the others times how much faster than the others it was at other
    /// Classes. Nothing for a Node of which nothing is known.
    pub fn expected(&self, nodes: &[NodeId]) -> BTreeMap<NodeId, BTreeMap<Class, f64>> {
        let means = self.means();
        let beyond = |class: &Class| (*class, self.beyond_samples(*class));
        let beyond: BTreeMap<Class, f64> = self.classes.keys().map(beyond).collect();
        let mut expected: BTreeMap<NodeId, BTreeMap<Class, f64>> = BTreeMap::new();
        for &node in nodes {
            let mut own = BTreeMap::new();
            let (mut logs, mut count) = (0.0, 0u32);
            for (class, mean) in &means {
                if let Some(speed) = self.measured(node, *class) {
                    own.insert(*class, speed);
                    logs += (speed / mean).ln();
                    count += 1;
                }
            }
            for (class, known) in &self.classes {
                if let Some(foretold) = known.nodes.get(&node).and_then(|l| l.foretold) {
                    own.entry(*class).or_insert(foretold * beyond[class]);
                }
            }
            if count == 0 {
                if !own.is_empty() {
                    expected.insert(node, own);
                }
                continue;
            }
            let factor = (logs / f64::from(count)).exp();
            for (class, mean) in &means {
                own.entry(*class).or_insert(mean * factor);
            }
            expected.insert(node, own);
        }
        expected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::TaskKey;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    fn class(output: u16) -> Class {
        // Classes that differ, whatever they stand for.
        match output {
            0 => Class::of_kind(TaskKey::Audio { output }),
            _ => Class::of_kind(TaskKey::Stitch { output }),
        }
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_node_that_becomes_slower_is_known_as_slower_soon() {
        let mut speeds = Speeds::default();
        for _ in 0..20 {
            speeds.learn(A, class(0), 100, seconds(1));
        }
        assert!((speeds.measured(A, class(0)).unwrap() - 100.0).abs() < 1e-9);
        for _ in 0..3 {
            speeds.learn(A, class(0), 100, seconds(10));
        }
        let now = speeds.measured(A, class(0)).unwrap();
        assert!(now < 30.0, "{now}");
    }

    #[test]
    fn nothing_is_learned_from_no_work_and_no_time() {
        let mut speeds = Speeds::default();
        speeds.learn(A, class(0), 0, seconds(1));
        speeds.learn(A, class(0), 5, seconds(0));
        speeds.glimpse(A, class(0), 0.0);
        assert_eq!(speeds.measured(A, class(0)), None);
        assert!(speeds.expected(&[A]).is_empty());
    }

    #[test]
    fn progress_tells_the_speed_until_something_has_ended() {
        let mut speeds = Speeds::default();
        speeds.glimpse(A, class(0), 7.0);
        assert_eq!(speeds.measured(A, class(0)), Some(7.0));
        speeds.learn(A, class(0), 100, seconds(10));
        speeds.glimpse(A, class(0), 3.0);
        assert_eq!(speeds.measured(A, class(0)), Some(10.0));
        assert_eq!(speeds.latest(A), Some(10.0));
    }

    #[test]
    fn a_class_a_node_never_did_is_expected_from_what_it_did() {
        let mut speeds = Speeds::default();
        speeds.learn(A, class(0), 100, seconds(10));
        speeds.learn(B, class(0), 300, seconds(10));
        speeds.learn(B, class(1), 60, seconds(10));
        let expected = speeds.expected(&[A, B]);
        assert_eq!(expected[&B][&class(1)], 6.0);
        // Half as fast as the mean at the one, so at the other: B alone is the mean there.
        assert!((expected[&A][&class(1)] - 3.0).abs() < 1e-9);
        speeds.forget(A);
        assert_eq!(speeds.measured(A, class(0)), None);
    }

    #[test]
    fn samples_tell_the_speed_until_work_has_and_are_as_wrong_for_all() {
        let mut speeds = Speeds::default();
        speeds.foretell(A, class(0), 10.0);
        speeds.foretell(B, class(0), 30.0);
        let of = |speeds: &Speeds, node| speeds.expected(&[A, B])[&node][&class(0)];
        assert_eq!((of(&speeds, A), of(&speeds, B)), (10.0, 30.0));
        assert_eq!(speeds.measured(A, class(0)), None, "nothing was done");
        speeds.learn(A, class(0), 100, seconds(20));
        assert_eq!(of(&speeds, A), 5.0);
        let seen = of(&speeds, B);
        assert!(
            (seen - 15.0).abs() < 1e-9,
            "half as fast as foretold, as A: {seen}"
        );
        speeds.slowed(B, class(0), 2.0);
        assert_eq!(of(&speeds, B), 2.0);
    }

    #[test]
    fn classes_do_not_pile_up() {
        let mut speeds = Speeds::default();
        let rendition = crate::fixture::small_request().outputs[0].rendition.clone();
        for number in 0..200 {
            let mut other = rendition.clone();
            other.preset = Some(number.to_string());
            speeds.learn(A, class(0).with(&other), 1, seconds(1));
        }
        assert_eq!(speeds.classes.len(), MOST_CLASSES);
    }
}
