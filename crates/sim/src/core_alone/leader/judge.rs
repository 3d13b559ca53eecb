//! What the scheduler promises.

use super::*;

/// What the scheduler promises of a solution.
pub(super) fn judge(problem: &Problem, solution: &Solution) -> Result<(), String> {
    let mut free: BTreeMap<NodeId, (u32, u32)> = problem
        .nodes
        .iter()
        .map(|n| (n.node, (n.heavy, n.light)))
        .collect();
    let mut left: BTreeMap<_, _> = problem.tasks.iter().map(|t| (t.id, t)).collect();
    for placed in &solution.placed {
        let Some(task) = left.remove(&placed.task) else {
            return Err(format!("{} was placed twice", placed.task));
        };
        if task.avoid.contains(&placed.node) {
            return Err(format!("{} was placed where it was refused", placed.task));
        }
        let room = free.entry(placed.node).or_default();
        let room = if task.heavy { &mut room.0 } else { &mut room.1 };
        if *room == 0 {
            return Err(format!("{} was placed on a full node", placed.task));
        }
        *room -= 1;
    }
    let alone = problem.nodes.len() == 1;
    // Slots that nothing holds, and nothing was placed on.
    let idle = |n: &FreeNode| {
        let idle = n.busy.iter().filter(|busy| **busy <= 0.0).count();
        let left = free.get(&n.node).map_or(0, |(heavy, _)| *heavy);
        idle.saturating_sub((n.heavy - left) as usize)
    };
    for (task, reason) in &solution.unplaced {
        let Some(task) = left.remove(task) else {
            return Err(format!("{task} is both placed and not"));
        };
        if let Reason::Held(node) = reason {
            let fast = problem.nodes.iter().find(|n| n.node == *node);
            // A slot that is idle would take it now or, if the Node has no room, never for certain.
            if fast.is_none_or(|n| idle(n) > 0) {
                return Err(format!(
                    "{} is held back for {node}, which has an idle slot",
                    task.id
                ));
            }
            if task.avoid.contains(node) {
                return Err(format!("{} is held back for who refused it", task.id));
            }
            continue;
        }
        let fits = |n: &FreeNode| {
            let (heavy, light) = free.get(&n.node).copied().unwrap_or_default();
            let room = match task.heavy {
                // Of a Node that was never tried no more is wanted than it can begin.
                true if !alone && !n.speeds.contains_key(&task.class) => heavy > 0 && idle(n) > 0,
                true => heavy > 0,
                false => light > 0,
            };
            !task.avoid.contains(&n.node) && room
        };
        if problem.nodes.iter().any(fits) {
            return Err(format!("{} waits though a node has room", task.id));
        }
    }
    if !left.is_empty() {
        return Err("the scheduler has lost a task".to_owned());
    }
    for heavy in [false, true] {
        let order = problem.tasks.iter().filter(|t| t.heavy == heavy);
        if !order.rev().map(|t| t.priority).is_sorted() {
            return Err("the ready tasks are not in the order of their priority".to_owned());
        }
    }
    Ok(())
}
