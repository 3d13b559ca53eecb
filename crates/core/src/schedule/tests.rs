use super::*;
use crate::fixture::JOB;
use crate::machine::ReadyTask;
use proptest::prelude::*;
use recode_types::{NodeId, TaskId, TaskKey};
use std::collections::BTreeMap;

/// A Node of one slot; `speed` 0.0: not known.
fn node(id: u64, heavy: u32, speed: f64) -> FreeNode {
    let known = (speed > 0.0).then_some((Class::default(), speed));
    FreeNode {
        node: NodeId(id),
        heavy,
        light: 1,
        busy: vec![0.0],
        speeds: known.into_iter().collect(),
        memory: None,
    }
}

fn busy(id: u64, heavy: u32, speed: f64, seconds: f64) -> FreeNode {
    FreeNode {
        busy: vec![seconds],
        ..node(id, heavy, speed)
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
        class: Class::default(),
        memory_bytes: 0,
        priority: 50,
        avoid: avoid.iter().copied().map(NodeId).collect(),
    }
}

fn problem(nodes: Vec<FreeNode>, tasks: Vec<ReadyTask>) -> Problem {
    Problem {
        nodes,
        tasks,
        plenty: false,
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

fn reasons(problem: &Problem) -> Vec<Reason> {
    assign(problem).unplaced.iter().map(|(_, r)| *r).collect()
}

#[test]
fn tasks_go_where_they_finish_first() {
    let mut problem = problem(
        vec![node(2, 2, 10.0), node(1, 2, 1.0)],
        (0..4).map(|s| task(s, 10, &[])).collect(),
    );
    problem.plenty = true;
    assert_eq!(placed(&problem), [(0, 2), (1, 2), (2, 1), (3, 1)]);
}

#[test]
fn equal_nodes_share_evenly() {
    let problem = problem(
        vec![node(1, 1, 0.0), node(2, 1, 0.0)],
        (0..2).map(|s| task(s, 10, &[])).collect(),
    );
    assert_eq!(placed(&problem), [(0, 1), (1, 2)]);
}

#[test]
fn a_slow_node_does_not_take_the_last_piece() {
    // The fast one is free in 5 s and needs 1 s; the slow one would need 10.
    let nodes = vec![busy(1, 1, 10.0, 5.0), node(2, 1, 1.0)];
    let last = problem(nodes.clone(), vec![task(0, 10, &[])]);
    assert_eq!(placed(&last), []);
    assert_eq!(reasons(&last), [Reason::Held(NodeId(1))]);
    // It is needed where waiting takes longer,
    let slow = vec![busy(1, 1, 10.0, 50.0), node(2, 1, 1.0)];
    assert_eq!(placed(&problem(slow, vec![task(0, 10, &[])])), [(0, 2)]);
    // and where so much waits that it will have finished before the end of all.
    let many: Vec<ReadyTask> = (0..20).map(|s| task(s, 10, &[])).collect();
    let many = problem(nodes.clone(), many);
    assert!(placed(&many).iter().any(|(_, node)| *node == 2));
    let plenty = Problem {
        plenty: true,
        ..problem(nodes, vec![task(0, 10, &[]), task(1, 10, &[])])
    };
    assert!(placed(&plenty).iter().any(|(_, node)| *node == 2));
}

#[test]
fn nobody_waits_for_a_node_that_is_idle_and_takes_nothing() {
    // Its disk is full, or it has not said yet that something has ended.
    let nodes = vec![node(1, 0, 10.0), node(2, 1, 1.0)];
    assert_eq!(placed(&problem(nodes, vec![task(0, 10, &[])])), [(0, 2)]);
    let half = FreeNode {
        busy: vec![0.0, 5.0],
        ..node(1, 0, 10.0)
    };
    let nodes = vec![half, node(2, 1, 1.0)];
    assert_eq!(placed(&problem(nodes, vec![task(0, 10, &[])])), [(0, 2)]);
}

#[test]
fn the_slow_node_gets_the_small_piece_that_it_finishes_in_time() {
    let nodes = vec![busy(1, 0, 10.0, 5.0), node(2, 1, 1.0)];
    let tasks = vec![task(0, 40, &[]), task(1, 2, &[])];
    assert_eq!(placed(&problem(nodes, tasks)), [(1, 2)]);
}

#[test]
fn a_node_that_was_never_tried_gets_one_piece_for_each_slot() {
    let tasks = || (0..4).map(|s| task(s, 10, &[])).collect();
    let with = |first: FreeNode| Problem {
        plenty: true,
        ..problem(vec![first, busy(2, 0, 0.0, 50.0)], tasks())
    };
    assert_eq!(placed(&with(node(1, 2, 0.0))), [(0, 1)]);
    assert_eq!(placed(&with(node(1, 2, 1.0))), [(0, 1), (1, 1)]);
    // Whom else?
    let alone = problem(vec![node(1, 2, 0.0)], tasks());
    assert_eq!(placed(&alone), [(0, 1), (1, 1)]);
}

#[test]
fn near_the_end_nothing_is_sent_far_ahead() {
    let tasks = || (0..40).map(|s| task(s, 10, &[])).collect();
    let nodes = || vec![busy(1, 1, 1.0, 8.0), busy(2, 1, 1.0, 9.0)];
    assert_eq!(placed(&problem(nodes(), tasks())), []);
    let soon = vec![busy(1, 1, 1.0, 1.5), busy(2, 1, 1.0, 9.0)];
    assert_eq!(placed(&problem(soon, tasks())), [(0, 1)]);
    let plenty = Problem {
        plenty: true,
        ..problem(nodes(), tasks())
    };
    assert_eq!(placed(&plenty), [(0, 1), (1, 2)]);
}

#[test]
fn every_task_that_waits_says_why() {
    let tasks = vec![task(0, 1, &[1]), task(1, 1, &[]), task(2, 1, &[])];
    let mut problem = problem(vec![], tasks);
    assert_eq!(reasons(&problem), [Reason::NoNodes; 3]);
    problem.nodes.push(node(1, 1, 1.0));
    assert_eq!(reasons(&problem), [Reason::Refused, Reason::NoFreeSlot]);
}

#[test]
fn light_tasks_do_not_wait_for_heavy_slots() {
    let mut light = task(0, 1, &[]);
    light.heavy = false;
    let problem = problem(vec![busy(1, 0, 1.0, 100.0)], vec![light]);
    assert_eq!(assign(&problem).placed.len(), 1);
}

/// What [`look`] picks of 100 light and 100 heavy Tasks for such a Node.
fn picked(heavy: u32, light: u32, nodes: &[FreeNode]) -> (usize, usize, bool) {
    let of = |kind| {
        (0..100).map(move |segment| ReadyTask {
            heavy: kind,
            ..task(segment, 10, &[])
        })
    };
    let mut nodes = nodes.to_vec();
    nodes.push(FreeNode {
        light,
        ..node(9, heavy, 10.0)
    });
    let (tasks, plenty) = look(of(false), of(true), &nodes, 1);
    let heavy = tasks.iter().filter(|t| t.heavy).count();
    (heavy, tasks.len() - heavy, plenty)
}

#[test]
fn full_kinds_are_not_looked_at_and_many_tasks_only_as_far_as_needed() {
    assert_eq!(picked(2, 1, &[]), (18, 17, true));
    assert_eq!(picked(0, 1, &[]), (0, 17, true));
    assert_eq!(picked(1, 0, &[]), (17, 0, true));
    assert_eq!(picked(0, 0, &[]), (0, 0, true));
}

#[test]
fn the_end_is_seen_as_far_ahead_as_the_slowest_node_with_room_needs() {
    // One piece takes the slow Node 100 s, and all hundred the fast one 100 s: they must all be seen.
    assert_eq!(picked(1, 0, &[node(1, 1, 0.1)]), (100, 17, false));
    // A slow Node without room decides nothing.
    assert!(picked(1, 0, &[node(1, 0, 0.1)]).2);
}

/// A Node of so many slots whose runs may have `bytes` and which holds heavy Tasks with these `needs`.
fn roomy(id: u64, slots: u32, bytes: u64, needs: &[u64]) -> FreeNode {
    let held = needs.len() as u32;
    let mut busy = vec![0.0; (slots - held) as usize];
    busy.extend(needs.iter().map(|_| 100.0));
    FreeNode {
        busy,
        memory: Some(Memory::new(bytes, slots, needs.iter().copied())),
        ..node(id, slots + 1 - held, 1.0)
    }
}

fn needing(segment: u32, memory_bytes: u64) -> ReadyTask {
    ReadyTask {
        memory_bytes,
        ..task(segment, 10, &[])
    }
}

/// As many alike as are taken of twenty.
fn taken(node: FreeNode, need: u64) -> usize {
    let tasks = (0..20).map(|segment| needing(segment, need)).collect();
    let other = super::FreeNode {
        heavy: 0,
        ..busy(9, 0, 1.0, 100.0)
    };
    let problem = Problem {
        plenty: true,
        ..problem(vec![node, other], tasks)
    };
    assign(&problem).placed.len()
}

#[test]
fn a_node_gets_as_many_tasks_as_its_memory_bears_and_one_in_any_case() {
    assert_eq!(taken(roomy(1, 8, 80, &[]), 25), 3);
    assert_eq!(taken(roomy(1, 8, 80, &[25]), 25), 2);
    // One more than the slots is held ahead and takes nothing yet.
    assert_eq!(taken(roomy(1, 8, 80, &[]), 10), 9);
    assert_eq!(taken(roomy(1, 8, 80, &[]), 100), 1);
    assert_eq!(taken(roomy(1, 8, 80, &[5]), 100), 0);
    assert_eq!(taken(node(1, 9, 1.0), 100), 9, "it says nothing of memory");
}

#[test]
fn who_waits_for_memory_says_so_and_light_tasks_do_not() {
    let light = ReadyTask {
        heavy: false,
        ..needing(2, 100)
    };
    let tasks = vec![needing(0, 25), needing(1, 30), light];
    let problem = problem(vec![roomy(1, 8, 80, &[60])], tasks);
    let solution = assign(&problem);
    let why: Vec<Reason> = solution.unplaced.iter().map(|(_, why)| *why).collect();
    assert_eq!(
        why,
        [Reason::NoMemory { need: 25 }, Reason::NoMemory { need: 30 }]
    );
    assert!(why[0].to_string().contains("memory"), "{}", why[0]);
    assert_eq!(solution.placed.len(), 1);
    // Where all slots are taken that is why.
    let full = FreeNode {
        heavy: 0,
        ..roomy(1, 1, 80, &[60])
    };
    let problem = Problem {
        nodes: vec![full],
        ..problem
    };
    assert_eq!(reasons(&problem)[0], Reason::NoFreeSlot);
}

#[test]
fn small_tasks_do_not_keep_memory_from_a_more_urgent_large_one() {
    let nodes = vec![roomy(1, 8, 80, &[60]), roomy(2, 8, 80, &[70])];
    let small = |segment| ReadyTask {
        class: Class::of_kind(TaskKey::Stitch { output: 0 }),
        ..needing(segment, 5)
    };
    let problem = Problem {
        plenty: true,
        ..problem(nodes, vec![needing(0, 50), small(1), small(2), small(3)])
    };
    // The Node with the most left is kept for the large one; on the other are 10 left.
    assert_eq!(placed_on(&problem), [2, 2]);
    assert_eq!(
        reasons(&problem),
        [Reason::NoMemory { need: 50 }, Reason::NoMemory { need: 5 }]
    );
}

#[test]
fn one_node_is_kept_for_large_tasks_that_are_alike_and_small_ones_go_to_the_others() {
    let nodes = (1..4).map(|id| roomy(id, 8, 80, &[60])).collect();
    // Nodes that some Tasks avoid make them no less alike.
    let large = |segment| ReadyTask {
        avoid: vec![NodeId(9)],
        ..needing(segment, 50)
    };
    let small = ReadyTask {
        class: Class::of_kind(TaskKey::Stitch { output: 0 }),
        ..needing(4, 5)
    };
    let problem = Problem {
        plenty: true,
        ..problem(nodes, vec![large(0), large(1), large(2), small])
    };
    assert_eq!(placed_on(&problem), [2]);
}

fn placed_on(problem: &Problem) -> Vec<u64> {
    let placed = assign(problem).placed;
    placed.iter().map(|placed| placed.node.0).collect()
}

#[test]
fn nobody_waits_for_a_node_that_has_no_memory_left() {
    // The first is far faster, and shows idle slots; the second has them.
    let fast = FreeNode {
        speeds: [(Class::default(), 100.0)].into(),
        ..roomy(1, 8, 80, &[70])
    };
    let problem = problem(vec![fast, roomy(2, 8, 80, &[])], vec![needing(0, 20)]);
    assert_eq!(placed_on(&problem), [2]);
}

proptest! {
    #[test]
    fn no_node_is_given_more_than_its_memory_bears(
        nodes in prop::collection::vec((1u32..9, 1u64..100, prop::collection::vec(1u64..60, 0..1)), 1..5),
        needs in prop::collection::vec(1u64..120, 0..30),
        plenty in prop::bool::ANY,
    ) {
        let given = nodes.iter().enumerate();
        let given = given.map(|(i, (slots, bytes, held))| roomy(i as u64, *slots, *bytes, held));
        let tasks = needs.iter().enumerate();
        let problem = Problem {
            nodes: given.collect(),
            tasks: tasks.map(|(i, need)| needing(i as u32, *need)).collect(),
            plenty,
        };
        let solution = assign(&problem);
        for (i, (slots, bytes, held)) in nodes.iter().enumerate() {
            let of = |id: &TaskId| problem.tasks.iter().find(|t| t.id == *id).unwrap().memory_bytes;
            let got = solution.placed.iter().filter(|p| p.node.0 == i as u64);
            let mut all: Vec<u64> = got.map(|p| of(&p.task)).chain(held.iter().copied()).collect();
            all.sort_unstable_by(|a, b| b.cmp(a));
            let at_once: u64 = all.iter().take(*slots as usize).sum();
            prop_assert!(all.len() <= 1 || at_once <= *bytes, "{all:?} of {bytes}");
        }
        // Whoever waits for memory would not fit where nothing was given either, unless it was kept for another.
        let nothing = solution.placed.is_empty() && nodes.iter().all(|(.., held)| held.is_empty());
        prop_assert!(!nothing || problem.tasks.is_empty());
    }

    #[test]
    fn no_node_gets_more_than_it_asked_for_and_no_slot_stays_empty_while_plenty_waits(
        slots in prop::collection::vec((0u32..4, 0.1f64..5.0, -5.0f64..20.0), 0..5),
        costs in prop::collection::vec((1u64..100, 0u64..6), 0..20),
        plenty in prop::bool::ANY,
    ) {
        let nodes = slots.iter().enumerate();
        let nodes = nodes.map(|(i, (heavy, speed, seconds))| busy(i as u64, *heavy, *speed, seconds.max(0.0)));
        let tasks = costs.iter().enumerate();
        let problem = Problem {
            nodes: nodes.collect(),
            tasks: tasks.map(|(i, (cost, avoid))| task(i as u32, *cost, &[*avoid])).collect(),
            plenty,
        };
        let solution = assign(&problem);
        prop_assert_eq!(solution.placed.len() + solution.unplaced.len(), problem.tasks.len());
        let tasks: BTreeMap<TaskId, &ReadyTask> = problem.tasks.iter().map(|t| (t.id, t)).collect();
        let held = |why: &Reason| matches!(why, Reason::Held(_));
        for node in &problem.nodes {
            let got = solution.placed.iter().filter(|p| p.node == node.node).count();
            prop_assert!(got <= node.heavy as usize);
            // Who is waited for is at work, and ends some day.
            let waited_for = |(_, why): &(TaskId, Reason)| *why == Reason::Held(node.node);
            if solution.unplaced.iter().any(waited_for) {
                prop_assert!(got > 0 || node.busy.iter().all(|busy| *busy > 0.0));
            }
            // Room that is left means that everybody who waits was refused by this node, or waits for another.
            if got < node.heavy as usize {
                for (waiting, why) in &solution.unplaced {
                    prop_assert!(held(why) && !plenty || tasks[waiting].avoid.contains(&node.node));
                }
            }
        }
        for p in &solution.placed {
            prop_assert!(!tasks[&p.task].avoid.contains(&p.node));
        }
        // Somebody is given something wherever all are idle.
        if problem.nodes.iter().all(|n| n.busy == [0.0] && n.heavy > 0) && !problem.nodes.is_empty() {
            let refused = |(_, why): &(TaskId, Reason)| *why == Reason::Refused;
            prop_assert!(!solution.placed.is_empty() || solution.unplaced.iter().all(refused));
        }
    }
}
