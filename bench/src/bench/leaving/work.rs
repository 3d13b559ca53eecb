//! How much of what a node held when it was told to go could be delivered, by hindsight. Pure.
//!
//! Deliverable is what was delivered, and beyond that what would have been finished in time at the pace that Chunks had just then.
//! The last second belongs to the node's last words.
//! The pace is that of the results of all nodes in the seconds before and after, one result following another on the same node,
//! times what the Segment is worth: pictures differ, and all Jobs are of one Source.

use recode_types::{AttemptToken, NodeId, TaskKey};
use std::collections::BTreeMap;

/// A result that counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Result {
    /// Of which Attempt.
    pub token: AttemptToken,
    /// Made where.
    pub node: NodeId,
    /// In the log at this time, in milliseconds since 1970.
    pub at_ms: u64,
    /// Source frames it covers.
    pub frames: u64,
}

/// What a node held when it first said that it leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The node.
    pub node: NodeId,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// When its machine ended, in milliseconds since 1970.
    pub end_ms: u64,
    /// The Attempt that had got furthest first; of those without a frame, what was granted first.
    pub held: Vec<Held>,
}

/// An Attempt that a node held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Held {
    /// Which.
    pub token: AttemptToken,
    /// Its frames.
    pub frames: u64,
    /// How many of them it had done.
    pub done: u64,
}

/// Frames delivered, and frames that could have been.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Balance {
    /// Delivered by the node that was told.
    pub delivered: u64,
    /// Delivered, or given back although there was time.
    pub deliverable: u64,
    /// Given back, whether or not there was time.
    pub given_back: u64,
}

/// Results this much earlier or later tell the pace.
const AROUND_MS: u64 = 30_000;

/// What a node keeps of its time to say what it gives back.
const UPLOAD_MS: f64 = 1000.0;

/// How many times as long a frame of each Segment takes as one of others at the same time; 1 where it is not named.
pub type Worth = BTreeMap<TaskKey, f64>;

/// Made fewer times than this, a Segment is taken to be like others.
const LEAST_TIMES: usize = 3;

/// What Segments are worth, by the median of all that were made. `results`: those of all nodes, by time.
pub fn worth(results: &[Result]) -> Worth {
    let mut found: BTreeMap<TaskKey, Vec<f64>> = BTreeMap::new();
    for (i, result) in results.iter().enumerate() {
        if let (Some(own), Some(all)) = (own_pace(results, i), pace(result.at_ms, results)) {
            let of = found.entry(result.token.task.key).or_default();
            of.push(own / all);
        }
    }
    found.retain(|_, all| all.len() >= LEAST_TIMES);
    let worth = |(key, all): (TaskKey, Vec<f64>)| (key, crate::figure::median(&all));
    found.into_iter().map(worth).collect()
}

/// The balance of one node. `results`: those of all nodes, by time.
pub fn balance(told: &Told, results: &[Result], worth: &Worth) -> Balance {
    let mut balance = Balance::default();
    let pace = pace(told.at_ms, results);
    // When the slot was free for the first of what was given back: one result follows another, and before the first it is
    // known how far that one was.
    let own = |result: &&Result| result.node == told.node;
    let last_ms = results.iter().filter(own).map(|r| r.at_ms).max();
    let begun_ms = || {
        let done = told.held.first().map_or(0, |held| held.done);
        told.at_ms as f64 - pace.unwrap_or(0.0) * done as f64
    };
    let mut free_ms = last_ms.map_or_else(begun_ms, |ms| ms as f64);
    for held in &told.held {
        let made = results
            .iter()
            .find(|r| r.token == held.token && r.node == told.node);
        match made {
            // It was finished before it could matter.
            Some(result) if result.at_ms < told.at_ms => {}
            Some(_) => {
                balance.delivered += held.frames;
                balance.deliverable += held.frames;
            }
            None => {
                balance.given_back += held.frames;
                let worth = worth.get(&held.token.task.key).unwrap_or(&1.0);
                free_ms += pace.unwrap_or(f64::INFINITY) * worth * held.frames as f64;
                if free_ms + UPLOAD_MS <= told.end_ms as f64 {
                    balance.deliverable += held.frames;
                }
            }
        }
    }
    balance
}

/// Milliseconds for each frame on one node around this time: the median over pairs of results.
fn pace(at_ms: u64, results: &[Result]) -> Option<f64> {
    let around = |i: &usize| results[*i].at_ms.abs_diff(at_ms) <= AROUND_MS;
    let near = (0..results.len()).filter(around);
    let paces: Vec<f64> = near.filter_map(|i| own_pace(results, i)).collect();
    (!paces.is_empty()).then(|| crate::figure::median(&paces))
}

/// Milliseconds for each frame of one result, where its node had another before it.
fn own_pace(results: &[Result], i: usize) -> Option<f64> {
    let result = results.get(i).filter(|result| result.frames > 0)?;
    let mut earlier = results[..i].iter().rev();
    let before = earlier.find(|before| before.node == result.node)?;
    Some((result.at_ms - before.at_ms) as f64 / result.frames as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use recode_types::TaskId;

    fn of(segment: u32) -> AttemptToken {
        let key = TaskKey::Encode { group: 0, segment };
        let job = recode_types::JobId(1);
        AttemptToken {
            task: TaskId { job, key },
            attempt: 1,
        }
    }

    /// One result of 50 frames every second of node 2, and some of node 1.
    fn results(of_one: &[(u32, u64)]) -> Vec<Result> {
        let made = |segment, node, at_ms| Result {
            token: of(segment),
            node: NodeId(node),
            at_ms,
            frames: 50,
        };
        let mut all: Vec<Result> = (0..40u32)
            .map(|i| made(1000 + i, 2, 80_000 + 1000 * u64::from(i)))
            .collect();
        all.extend(of_one.iter().map(|&(segment, at)| made(segment, 1, at)));
        all.sort_by_key(|r| r.at_ms);
        all
    }

    #[test]
    fn what_would_have_been_finished_in_time_was_deliverable() {
        let told = |end_ms| Told {
            node: NodeId(1),
            at_ms: 100_000,
            end_ms,
            held: [1, 2]
                .map(|segment| Held {
                    token: of(segment),
                    frames: 50,
                    done: 0,
                })
                .to_vec(),
        };
        let check = |end_ms, of_one: &[(u32, u64)], delivered, deliverable| {
            let found = balance(&told(end_ms), &results(of_one), &Worth::new());
            assert_eq!(
                (found.delivered, found.deliverable),
                (delivered, deliverable)
            );
            assert_eq!(found.delivered + found.given_back, 100);
        };
        check(
            110_000,
            &[(0, 99_500), (1, 100_500), (2, 101_500)],
            100,
            100,
        );
        // The second would have needed until 101.5 s, and there must be time for last words.
        check(102_400, &[(0, 99_500), (1, 100_500)], 50, 50);
        check(102_600, &[(0, 99_500), (1, 100_500)], 50, 100);
        check(110_000, &[(0, 99_500)], 0, 100);
        check(100_100, &[(0, 99_500)], 0, 0);
    }

    #[test]
    fn a_segment_that_takes_longer_wherever_it_is_made_is_not_deliverable_as_soon() {
        // Segment 7 takes three seconds each time, all others one; 8 was made twice only.
        let mut all = results(&[]);
        let long = [
            (7, 83_000),
            (9, 84_000),
            (7, 87_000),
            (9, 88_000),
            (7, 91_000),
            (9, 92_000),
        ];
        let rare = [(8, 94_000), (9, 95_000), (8, 97_000)];
        let before = std::iter::once((9, 80_000));
        for (segment, at_ms) in before.chain(long).chain(rare) {
            all.push(Result {
                token: of(segment),
                node: NodeId(3),
                at_ms,
                frames: 50,
            });
        }
        all.sort_by_key(|r| r.at_ms);
        let worth = worth(&all);
        let worth_of = |segment| worth.get(&of(segment).task.key).copied();
        assert_eq!((worth_of(7), worth_of(9)), (Some(3.0), Some(1.0)));
        assert_eq!(worth_of(8), None);
        let deliverable = |segment, end_ms| {
            let held = Held {
                token: of(segment),
                frames: 50,
                done: 0,
            };
            let told = Told {
                node: NodeId(1),
                at_ms: 95_000,
                end_ms,
                held: vec![held],
            };
            balance(&told, &all, &worth).deliverable
        };
        assert_eq!((deliverable(9, 97_500), deliverable(7, 97_500)), (50, 0));
        assert_eq!((deliverable(8, 97_500), deliverable(7, 99_500)), (50, 50));
    }
}
