//! What is taken from Nodes that are slow when others have nothing left to do.

use super::{FreeNode, Pending};
use recode_types::{AttemptNo, AttemptToken, NodeId};

/// A Task is taken away when it would otherwise end after so many times what it takes on an idle Node, and some seconds. Far
/// beyond what content explains: what was done of it is lost.
const TIMES: f64 = 2.0;
const SECONDS: f64 = 5.0;

/// One that has not begun is taken away when another would have ended it so many seconds earlier: about what fetching it again takes.
const WAITING_SECONDS: f64 = 1.0;

/// The newest Attempt of a Task that may be taken away: where the Task itself is what takes long, moving it again helps nobody.
const LAST_ATTEMPT: AttemptNo = 1;

/// One part in so many of all slots is relieved at once at most, and one in any case.
const PART: usize = 10;

/// Attempts that should end where they are, so that Nodes that are idle have them done earlier: much, if they have begun. To be asked when nothing else
/// waits. The same Attempt begins anew elsewhere and gives the same bytes.
/// # Shape
/// At most one Attempt for each idle slot, the latest first. Only Nodes whose speed is known relieve others.
pub fn relieve(pending: &[(NodeId, Pending)], nodes: &[FreeNode]) -> Vec<(NodeId, AttemptToken)> {
    let slots: usize = nodes.iter().map(|n| n.busy.len()).sum();
    let mut idle: Vec<(&FreeNode, usize)> = nodes
        .iter()
        .map(|n| {
            let idle = n.busy.iter().filter(|busy| **busy <= 0.0).count();
            (n, idle.min(n.heavy as usize))
        })
        .filter(|(_, idle)| *idle > 0)
        .collect();
    let movable = |(_, p): &&(NodeId, Pending)| p.token.attempt <= LAST_ATTEMPT && p.held.cost > 0;
    let mut late: Vec<&(NodeId, Pending)> = pending.iter().filter(movable).collect();
    late.sort_by(|(_, a), (_, b)| b.ends.total_cmp(&a.ends).then(a.token.cmp(&b.token)));
    let mut relieved = Vec::new();
    for (node, pending) in late {
        if relieved.len() >= (slots / PART).max(1) {
            break;
        }
        let takes = |other: &FreeNode| {
            let speed = other.speeds.get(&pending.held.class).copied();
            let speed = speed.filter(|speed| *speed > 0.0 && other.node != *node)?;
            Some(pending.held.cost as f64 / speed)
        };
        let free = idle.iter_mut().filter(|(_, idle)| *idle > 0);
        let best = free
            .filter_map(|(other, idle)| Some((takes(other)?, idle)))
            .min_by(|(a, _), (b, _)| a.total_cmp(b));
        if let Some((takes, idle)) = best
            && pending.ends > latest(pending, takes)
        {
            *idle -= 1;
            relieved.push((*node, pending.token));
        }
    }
    relieved
}

/// In how many seconds an Attempt must have ended to stay where it is, where another Node takes so many.
fn latest(pending: &Pending, takes: f64) -> f64 {
    match pending.waits {
        true => takes + WAITING_SECONDS,
        false => takes * TIMES + SECONDS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Class, Held};
    use recode_types::{JobId, TaskId, TaskKey};

    fn node(id: u64, speed: f64, busy: f64) -> FreeNode {
        FreeNode {
            node: NodeId(id),
            heavy: 1,
            light: 1,
            busy: vec![busy],
            speeds: [(Class::default(), speed)].into(),
            memory: None,
        }
    }

    fn pending(node: u64, segment: u32, attempt: AttemptNo, ends: f64) -> (NodeId, Pending) {
        let key = TaskKey::Encode { group: 0, segment };
        let task = TaskId { job: JobId(1), key };
        let pending = Pending {
            token: AttemptToken { task, attempt },
            held: Held {
                heavy: true,
                cost: 100,
                ..Held::default()
            },
            waits: false,
            ends,
        };
        (NodeId(node), pending)
    }

    #[test]
    fn what_an_idle_node_has_done_much_earlier_is_taken_from_a_slow_one() {
        let nodes = [node(1, 1.0, 90.0), node(2, 10.0, 0.0)];
        let late = pending(1, 0, 1, 90.0);
        assert_eq!(relieve(&[late], &nodes), [(late.0, late.1.token)]);
    }

    #[test]
    fn what_is_only_somewhat_late_stays_where_it_is() {
        let nodes = [node(1, 1.0, 24.0), node(2, 10.0, 0.0)];
        assert_eq!(relieve(&[pending(1, 0, 1, 24.0)], &nodes), []);
    }

    #[test]
    fn nobody_who_is_busy_or_untried_relieves_anybody() {
        let mut untried = node(2, 10.0, 0.0);
        untried.speeds.clear();
        let late = [pending(1, 0, 1, 900.0)];
        for other in [node(2, 10.0, 1.0), untried] {
            assert_eq!(relieve(&late, &[node(1, 1.0, 900.0), other]), []);
        }
    }

    #[test]
    fn a_task_that_takes_long_wherever_it_runs_is_moved_once() {
        let nodes = [node(1, 1.0, 900.0), node(2, 10.0, 0.0)];
        assert_eq!(relieve(&[pending(1, 0, 2, 900.0)], &nodes), []);
    }

    #[test]
    fn what_waits_behind_another_goes_to_whoever_has_it_done_somewhat_earlier() {
        let nodes = [node(1, 10.0, 15.0), node(2, 10.0, 0.0)];
        let mut one = pending(1, 0, 1, 15.0);
        assert_eq!(relieve(&[one], &nodes), [], "it has begun: half is done");
        one.1.waits = true;
        assert_eq!(relieve(&[one], &nodes), [(one.0, one.1.token)]);
        one.1.ends = 10.5;
        assert_eq!(relieve(&[one], &nodes), [], "it must be fetched again");
    }

    #[test]
    fn a_tenth_of_the_slots_is_relieved_at_once_and_the_latest_first() {
        let mut nodes: Vec<FreeNode> = (1..=20).map(|id| node(id, 1.0, 900.0)).collect();
        nodes.extend((21..=30).map(|id| node(id, 10.0, 0.0)));
        let late: Vec<_> = (1..=20)
            .map(|id| pending(id, id as u32, 1, 900.0 + id as f64))
            .collect();
        let relieved: Vec<u64> = relieve(&late, &nodes)
            .iter()
            .map(|(node, _)| node.0)
            .collect();
        assert_eq!(relieved, [20, 19, 18]);
    }
}
