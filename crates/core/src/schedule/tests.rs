use super::*;
use crate::fixture::JOB;
use proptest::prelude::*;
use recode_types::TaskKey;

fn node(id: u64, heavy: u32, speed: f64) -> FreeNode {
    FreeNode {
        node: NodeId(id),
        heavy,
        light: 1,
        speed,
        queued: 0,
    }
}

fn task(segment: u32, cost: u64, avoid: &[u64]) -> ReadyTask {
    ReadyTask {
        id: TaskId {
            job: JOB,
            key: TaskKey::Encode { group: 0, segment },
        },
        attempt: 1,
        heavy: true,
        cost,
        priority: 50,
        avoid: avoid.iter().copied().map(NodeId).collect(),
    }
}

fn placed(problem: &Problem) -> Vec<(u32, u64)> {
    assign(problem)
        .placed
        .iter()
        .map(|p| match p.task.key {
            TaskKey::Encode { segment, .. } => (segment, p.node.0),
            other => panic!("{other}"),
        })
        .collect()
}

#[test]
fn tasks_go_where_they_finish_first() {
    let problem = Problem {
        nodes: vec![node(2, 2, 10.0), node(1, 2, 1.0)],
        tasks: (0..4).map(|s| task(s, 10, &[])).collect(),
    };
    assert_eq!(placed(&problem), [(0, 2), (1, 2), (2, 1), (3, 1)]);
}

#[test]
fn equal_nodes_share_evenly() {
    let problem = Problem {
        nodes: vec![node(1, 2, 0.0), node(2, 2, 0.0)],
        tasks: (0..4).map(|s| task(s, 10, &[])).collect(),
    };
    assert_eq!(placed(&problem), [(0, 1), (1, 2), (2, 1), (3, 2)]);
}

#[test]
fn every_task_that_waits_says_why() {
    let reasons = |problem: &Problem| -> Vec<Reason> {
        assign(problem).unplaced.iter().map(|(_, r)| *r).collect()
    };
    let mut problem = Problem {
        nodes: vec![],
        tasks: vec![task(0, 1, &[1]), task(1, 1, &[]), task(2, 1, &[])],
    };
    assert_eq!(reasons(&problem), [Reason::NoNodes; 3]);
    problem.nodes.push(node(1, 1, 1.0));
    assert_eq!(reasons(&problem), [Reason::Refused, Reason::NoFreeSlot]);
}

#[test]
fn light_tasks_do_not_wait_for_heavy_slots() {
    let mut light = task(0, 1, &[]);
    light.heavy = false;
    let problem = Problem {
        nodes: vec![node(1, 0, 1.0)],
        tasks: vec![light],
    };
    assert_eq!(assign(&problem).placed.len(), 1);
}

proptest! {
    #[test]
    fn no_node_gets_more_than_it_asked_for_and_no_slot_stays_empty(
        slots in prop::collection::vec((0u32..4, 0.0f64..5.0), 0..5),
        costs in prop::collection::vec((0u64..100, 0u64..6), 0..20),
    ) {
        let problem = Problem {
            nodes: slots.iter().enumerate().map(|(i, (heavy, speed))| node(i as u64, *heavy, *speed)).collect(),
            tasks: costs.iter().enumerate().map(|(i, (cost, avoid))| task(i as u32, *cost, &[*avoid])).collect(),
        };
        let solution = assign(&problem);
        prop_assert_eq!(solution.placed.len() + solution.unplaced.len(), problem.tasks.len());
        for node in &problem.nodes {
            let got = solution.placed.iter().filter(|p| p.node == node.node).count();
            prop_assert!(got <= node.heavy as usize);
            // A free slot means that everybody who waits has been refused by this node.
            if got < node.heavy as usize {
                for (waiting, _) in &solution.unplaced {
                    let task = problem.tasks.iter().find(|t| t.id == *waiting).unwrap();
                    prop_assert!(task.avoid.contains(&node.node));
                }
            }
        }
        for p in &solution.placed {
            let task = problem.tasks.iter().find(|t| t.id == p.task).unwrap();
            prop_assert!(!task.avoid.contains(&p.node));
        }
    }
}
