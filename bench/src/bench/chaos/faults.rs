//! What is broken when. Pure: a plan follows from its seed.

use crate::seed::Seed;
use crate::site::COORDINATORS;
use crate::site::network::Member;
use std::time::Duration;

/// Who is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The coordinator that leads when the time comes.
    Leader,
    /// This coordinator or node.
    Member(Member),
}

/// A kind of fault, with what it needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// kill -9; it starts again at the end.
    Kill(Target),
    /// SIGSTOP; SIGCONT at the end.
    Pause(Target),
    /// Cut off from everybody.
    Cut(Target),
    /// Two coordinators do not hear each other; all others hear both.
    Split(Member, Member),
    /// What the first sends to the second is lost; the other direction works.
    Mute(Member, Member),
    /// The disk below a coordinator's log is full, which ends its process; it starts again when there is room.
    FillDisk(Member),
    /// kill -9 of a client while it submits.
    KillClient,
}

/// The names of all classes, in the order of [`Fault::class`].
pub const CLASSES: [&str; 11] = [
    "kill_leader",
    "kill_coordinator",
    "kill_node",
    "kill_client",
    "pause_leader",
    "pause_coordinator",
    "pause_node",
    "cut_leader",
    "cut_member",
    "split_or_mute",
    "fill_disk",
];

impl Fault {
    /// Index into [`CLASSES`].
    pub fn class(self) -> usize {
        let is_node = |member| member > COORDINATORS;
        match self {
            Self::Kill(Target::Leader) => 0,
            Self::Kill(Target::Member(member)) => 1 + usize::from(is_node(member)),
            Self::KillClient => 3,
            Self::Pause(Target::Leader) => 4,
            Self::Pause(Target::Member(member)) => 5 + usize::from(is_node(member)),
            Self::Cut(Target::Leader) => 7,
            Self::Cut(Target::Member(_)) => 8,
            Self::Split(..) | Self::Mute(..) => 9,
            Self::FillDisk(_) => 10,
        }
    }
}

/// A fault and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// From the start of the run.
    pub at: Duration,
    /// Until it is undone.
    pub lasts: Duration,
    /// What.
    pub fault: Fault,
}

/// Faults of one run, at most.
const MOST: u64 = 7;
/// Faults of one run, at least.
const LEAST: u64 = 4;

/// Draws the faults of a run with `nodes` nodes, none of which begins or ends after `length`. In order of time.
pub fn plan(seed: &mut Seed, nodes: Member, length: Duration) -> Vec<Planned> {
    let count = LEAST + seed.number() % (MOST - LEAST + 1);
    let mut planned: Vec<Planned> = (0..count)
        .map(|_| {
            let fault = draw(seed, nodes);
            let lasts = match fault {
                // It takes a client that comes later.
                Fault::KillClient => Duration::from_secs(5),
                _ => Duration::from_millis(500 + seed.number() % 4500),
            };
            // The last one ends with the run, the first one meets a cluster that works.
            let latest = length.saturating_sub(lasts + Duration::from_secs(1));
            let at = Duration::from_secs(1) + latest.mul_f64(seed.fraction());
            Planned { at, lasts, fault }
        })
        .collect();
    planned.sort_by_key(|one| one.at);
    planned
}

fn draw(seed: &mut Seed, nodes: Member) -> Fault {
    let mut below = |limit: Member| (seed.number() % u64::from(limit)) as Member;
    // Every class is as likely as any other, so that a few hundred runs show all of them many times.
    let class = below(CLASSES.len() as Member);
    let coordinator = 1 + below(COORDINATORS);
    let node = COORDINATORS + 1 + below(nodes);
    let other = 1 + (coordinator + below(COORDINATORS - 1)) % COORDINATORS;
    let member = match below(2) {
        0 => coordinator,
        _ => node,
    };
    match class {
        0 => Fault::Kill(Target::Leader),
        1 => Fault::Kill(Target::Member(coordinator)),
        2 => Fault::Kill(Target::Member(node)),
        3 => Fault::KillClient,
        4 => Fault::Pause(Target::Leader),
        5 => Fault::Pause(Target::Member(coordinator)),
        6 => Fault::Pause(Target::Member(node)),
        7 => Fault::Cut(Target::Leader),
        8 => Fault::Cut(Target::Member(member)),
        9 if member == coordinator => Fault::Split(coordinator, other),
        9 => Fault::Mute(coordinator, other),
        _ => Fault::FillDisk(coordinator),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_follows_from_its_seed_and_stays_within_the_run() {
        let length = Duration::from_secs(20);
        let mut classes = [0; CLASSES.len()];
        for seed in 0..500 {
            let one = plan(&mut Seed::new(seed), 3, length);
            assert_eq!(one, plan(&mut Seed::new(seed), 3, length));
            assert!((LEAST..=MOST).contains(&(one.len() as u64)));
            assert!(one.is_sorted_by_key(|planned| planned.at));
            for Planned { at, lasts, fault } in one {
                assert!(at >= Duration::from_secs(1) && at + lasts <= length);
                classes[fault.class()] += 1;
                if let Fault::Split(one, other) | Fault::Mute(one, other) = fault {
                    assert!(one != other && one.max(other) <= COORDINATORS && one.min(other) > 0);
                }
            }
        }
        assert!(classes.iter().all(|count| *count > 100), "{classes:?}");
    }
}
