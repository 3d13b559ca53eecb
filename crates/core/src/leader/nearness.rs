//! Which site is to have which Segment, so that its bytes come to one site only, whatever Jobs read them. Pure: time is an
//! argument, and the dispatcher owns the one instance.
//!
//! Stretches of a Source go to sites in turn; which site has which follows from Source and sites alone, so Jobs that are handed
//! in on different days, or under different Leaders, agree. It is a wish: a site that has room and nothing of its own earns the
//! bytes of a Segment by having waited for them, see [`IDLE_SLOT_SECOND`].

use super::sites::{Member, Sites};
use crate::State;
use crate::machine::ReadyTask;
use crate::schedule::{FreeNode, Solution};
use recode_types::{Digest, NodeId, TaskId, TaskKey};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

/// Every site gets at least so many stretches of a Source, so that shares of a short one are even. Not many more: what the end of
/// one shares with the next (frames of context, a GOP that is cut) is read at both their sites.
const STRETCHES: usize = 4;

/// A stretch is at most so long, in seconds, so that all sites have work from the beginning: Tasks come in film order.
const LONGEST: f64 = 30.0;

/// Bytes over a paid link that a second of an idle slot is worth where nobody says what either costs: about what a slot costs in an hour, twice, where a gigabyte of
/// traffic is paid for by hyperscalers' lists. Having waited for as much as the bytes cost, a site has at worst paid twice what
/// it would have paid had it known what was to come.
const IDLE_SLOT_SECOND: f64 = 256.0 * 1024.0;

/// Segments of which it is remembered which sites had them.
const MOST_KNOWN: usize = 1 << 14;

/// A part of a Source, the same for all Jobs that cut it alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    source: Digest,
    /// First and past the last, in the time base of the Source.
    span: (i64, i64),
}

/// What a Task reads of its Source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Read {
    part: Part,
    /// Where its middle is, as a part of what is wanted of the Source.
    middle: f64,
    /// How long all is that is wanted, in seconds.
    seconds: f64,
    /// About how many bytes it is.
    bytes: f64,
}

/// A site that has room and nothing of its own.
#[derive(Clone, Copy, Debug)]
struct Idle {
    /// When it was last looked at.
    seen: Instant,
    /// Its idle slots then.
    slots: u32,
    /// Bytes that it may have of what is not its own.
    earned: f64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Nearness {
    idle: BTreeMap<String, Idle>,
    /// Tasks that were kept for sites in the round under way.
    kept: BTreeMap<TaskId, Kept>,
    /// Sites that were given a part, and so have its bytes or are about to.
    had: BTreeMap<Part, BTreeSet<String>>,
    /// The same parts, the oldest first.
    oldest: VecDeque<Part>,
}

#[derive(Debug)]
struct Kept {
    read: Read,
    near: BTreeSet<String>,
}

/// What a heavy Task reads of a Source that is elsewhere. `None`: nothing of the kind, or all of it.
pub fn read(state: &State, task: TaskId) -> Option<Read> {
    let (TaskKey::Encode { segment, .. } | TaskKey::Trial { segment, .. }) = task.key else {
        return None;
    };
    let plan = &state.jobs.get(&task.job)?.run()?.plan;
    let segment = plan.segments.get(segment as usize)?;
    let source = &plan.source;
    if !is_remote(&source.url) || source.end_pts <= source.first_pts {
        return None;
    }
    let length = (source.end_pts - source.first_pts) as f64;
    let middle = (segment.start_pts + segment.end_pts) as f64 / 2.0 - source.first_pts as f64;
    Some(Read {
        part: Part {
            source: source.digest,
            span: (segment.start_pts, segment.end_pts),
        },
        middle: middle / length,
        seconds: length * source.time_base.as_f64(),
        bytes: source.size_bytes as f64 * (segment.end_pts - segment.start_pts) as f64 / length,
    })
}

/// Whether reading it from another site costs anything: a shared disk is everywhere.
pub fn is_remote(source: &str) -> bool {
    let scheme = source.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| scheme != "file")
}

/// The site of a part, by the slots that sites have. `None`: no site has any.
fn home<'a>(read: &Read, sites: &'a Sites) -> Option<&'a str> {
    let slots = |site: &str| {
        sites[site]
            .values()
            .map(|m| u64::from(m.slots))
            .sum::<u64>()
    };
    let total: u64 = sites.keys().map(|site| slots(site)).sum();
    let stretches = (read.seconds / LONGEST).max((STRETCHES * sites.len()) as f64);
    let stretch = (read.middle * stretches).max(0.0) as u64;
    let digest = read.part.source.0;
    let start = u64::from_be_bytes(digest[..8].try_into().expect("eight bytes"));
    // Neighbours lie far apart, and any few of them evenly (van der Corput): equal sites take turns.
    let at = stretch.reverse_bits() ^ start;
    let mut at = ((u128::from(at) * u128::from(total)) >> 64) as u64;
    for site in sites.keys() {
        match at.checked_sub(slots(site)) {
            Some(beyond) => at = beyond,
            None => return Some(site),
        }
    }
    None
}

/// Bytes over its link that a second of one of a site's slots is worth; infinite: they cost nothing there.
fn worth(members: &BTreeMap<NodeId, Member>) -> f64 {
    let slots: f64 = members.values().map(|m| f64::from(m.slots)).sum();
    let of = |m: &Member| f64::from(m.slots) * m.worth.unwrap_or(IDLE_SLOT_SECOND);
    match slots > 0.0 {
        true => members.values().map(of).sum::<f64>() / slots,
        false => IDLE_SLOT_SECOND,
    }
}

impl Nearness {
    /// Keeps Tasks for the sites of what they read: the Nodes of other sites are to avoid them. `reads`: what each Task reads.
    pub fn keep(
        &mut self,
        tasks: &mut [ReadyTask],
        nodes: &[FreeNode],
        mut sites: Sites,
        reads: impl Fn(TaskId) -> Option<Read>,
        now: Instant,
    ) {
        self.kept.clear();
        let there: BTreeSet<NodeId> = nodes.iter().map(|n| n.node).collect();
        for members in sites.values_mut() {
            members.retain(|node, _| there.contains(node));
        }
        sites.retain(|_, members| !members.is_empty());
        self.idle.retain(|site, _| sites.contains_key(site));
        if sites.len() < 2 {
            return;
        }
        for (site, idle) in &mut self.idle {
            let waited = now.saturating_duration_since(idle.seen);
            idle.seen = now;
            let slots = waited.as_secs_f64() * f64::from(idle.slots);
            idle.earned += slots * worth(&sites[site]).min(f64::MAX / 1e12);
        }
        let mut earned: BTreeMap<String, f64> = self
            .idle
            .iter()
            .map(|(site, idle)| (site.clone(), idle.earned))
            .collect();
        for task in tasks.iter_mut().filter(|task| task.heavy) {
            let Some(read) = reads(task.id) else {
                continue;
            };
            let Some(home) = home(&read, &sites) else {
                continue;
            };
            let mut near = self.had.get(&read.part).cloned().unwrap_or_default();
            near.insert(home.to_owned());
            // Nobody there can do it.
            let can = |site: &String| {
                let members = sites.get(site).into_iter().flatten();
                members.into_iter().any(|(n, _)| !task.avoid.contains(n))
            };
            if !near.iter().any(can) {
                continue;
            }
            for (site, members) in &sites {
                if near.contains(site) || worth(members).is_infinite() {
                    continue;
                }
                match earned.get_mut(site).filter(|earned| **earned >= read.bytes) {
                    Some(earned) => *earned -= read.bytes,
                    None => task.avoid.extend(members.keys()),
                }
            }
            self.kept.insert(task.id, Kept { read, near });
        }
        // Nobody loses anything by being idle: what was earned does not outlast the work that it was earned by.
        if self.kept.is_empty() {
            self.idle.clear();
        }
    }

    /// Sees from what was placed which sites have room and nothing of their own. Answers what was placed at sites that it is not
    /// near to.
    pub fn placed(
        &mut self,
        solution: &Solution,
        nodes: &[FreeNode],
        sites: &Sites,
        now: Instant,
    ) -> Vec<(TaskId, String)> {
        let waiting: Vec<&Kept> = solution
            .unplaced
            .iter()
            .filter_map(|(task, _)| self.kept.get(task))
            .collect();
        let (mut had, mut strange) = (Vec::new(), Vec::new());
        for (site, members) in sites {
            let has = |node: NodeId| members.contains_key(&node);
            let (mut heavy, mut own, mut spent) = (0, false, 0.0);
            for one in solution.placed.iter().filter(|one| has(one.node)) {
                heavy += u32::from(is_heavy(one.task.key));
                let Some(kept) = self.kept.get(&one.task) else {
                    continue;
                };
                match kept.near.contains(site) {
                    true => own = true,
                    false => {
                        spent += kept.read.bytes;
                        strange.push((one.task, site.clone()));
                    }
                }
                had.push((kept.read.part, site.clone()));
            }
            let free: u32 = nodes.iter().filter(|n| has(n.node)).map(|n| n.heavy).sum();
            let idle = free.saturating_sub(heavy);
            let others_wait = waiting.iter().any(|kept| !kept.near.contains(site));
            if own || idle > 0 && !others_wait {
                self.idle.remove(site);
                continue;
            }
            if idle > 0 || self.idle.contains_key(site) {
                let entry = self.idle.entry(site.clone()).or_insert(Idle {
                    seen: now,
                    slots: 0,
                    earned: 0.0,
                });
                entry.slots = idle;
                entry.earned = (entry.earned - spent).max(0.0);
            }
        }
        for (part, site) in had {
            self.has(part, site);
        }
        strange
    }

    fn has(&mut self, part: Part, site: String) {
        let sites = self.had.entry(part).or_insert_with(|| {
            self.oldest.push_back(part);
            BTreeSet::new()
        });
        sites.insert(site);
        if self.oldest.len() > MOST_KNOWN
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.had.remove(&oldest);
        }
    }
}

fn is_heavy(key: TaskKey) -> bool {
    matches!(key, TaskKey::Encode { .. } | TaskKey::Trial { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Class, Problem, assign};
    use recode_types::JobId;
    use std::time::Duration;

    const SEGMENT: i64 = 2;
    /// What a Segment weighs: a second of one idle slot.
    const BYTES: f64 = IDLE_SLOT_SECOND;
    const SECOND: Duration = Duration::from_secs(1);

    fn sites(slots: &[(&str, &[u32])]) -> Sites {
        let mut number = 0;
        let mut sites = Sites::new();
        for (site, nodes) in slots {
            let members = nodes.iter().map(|slots| {
                number += 1;
                let address = format!("10.0.0.{number}:1");
                let slots = *slots;
                let member = Member {
                    address,
                    slots,
                    worth: None,
                };
                (NodeId(number), member)
            });
            sites.insert((*site).to_owned(), members.collect());
        }
        sites
    }

    fn reads(segment: u32) -> Read {
        let start = i64::from(segment) * SEGMENT;
        Read {
            part: Part {
                source: Digest::of(b"a film"),
                span: (start, start + SEGMENT),
            },
            // Of a thousand, each a stretch of its own.
            middle: (f64::from(segment) + 0.5) / 1000.0,
            seconds: LONGEST * 1000.0,
            bytes: BYTES,
        }
    }

    fn number(key: TaskKey) -> u32 {
        match key {
            TaskKey::Encode { segment, .. } => segment,
            _ => panic!("only encodes here"),
        }
    }

    fn task(job: u64, segment: u32) -> ReadyTask {
        let key = TaskKey::Encode { group: 0, segment };
        ReadyTask {
            id: TaskId {
                job: JobId(job.into()),
                key,
            },
            attempt: 1,
            heavy: true,
            cost: 1,
            class: Class::default(),
            memory_bytes: 0,
            priority: 50,
            avoid: Vec::new(),
        }
    }

    fn free(node: u64, heavy: u32) -> FreeNode {
        FreeNode {
            node: NodeId(node),
            heavy,
            light: 1,
            busy: vec![0.0],
            speeds: BTreeMap::new(),
            memory: None,
        }
    }

    /// Which Segments were placed on which Node, in rounds of one Job.
    struct Rounds {
        nearness: Nearness,
        sites: Sites,
        began: Instant,
        job: u64,
    }

    impl Rounds {
        fn new(sites: Sites) -> Self {
            Self {
                nearness: Nearness::default(),
                sites,
                began: Instant::now(),
                job: 1,
            }
        }

        fn at(&mut self, after: Duration, nodes: &[FreeNode], segments: &[u32]) -> Vec<(u32, u64)> {
            let now = self.began + after;
            let mut tasks: Vec<_> = segments.iter().map(|s| task(self.job, *s)).collect();
            let reads = |task: TaskId| Some(reads(number(task.key)));
            self.nearness
                .keep(&mut tasks, nodes, self.sites.clone(), reads, now);
            // As the dispatcher, which has nothing to place then.
            if tasks.is_empty() {
                return Vec::new();
            }
            let nodes = nodes.to_vec();
            let problem = Problem {
                nodes,
                tasks,
                plenty: true,
            };
            let solution = assign(&problem);
            self.nearness
                .placed(&solution, &problem.nodes, &self.sites, now);
            let placed = solution.placed.iter();
            placed
                .map(|one| (number(one.task.key), one.node.0))
                .collect()
        }

        /// Segments of a site.
        fn of(&self, site: &str) -> Vec<u32> {
            let of = |segment: &u32| home(&reads(*segment), &self.sites) == Some(site);
            (0..1000).filter(of).collect()
        }
    }

    #[test]
    fn stretches_go_to_sites_by_their_slots_and_the_same_ones_always() {
        let unequal = sites(&[("east", &[1, 2]), ("west", &[4, 5])]);
        let rounds = Rounds::new(unequal);
        let few = rounds.of("east").iter().filter(|s| **s < 32).count();
        assert_eq!(few, 8, "of 32 for 3 of 12 slots");
        let all = rounds.of("east").len();
        assert!((248..=252).contains(&all), "{all} of 1000");
        let equal = Rounds::new(sites(&[("east", &[1, 1]), ("west", &[2])]));
        let turns = equal.of("east");
        assert!(
            turns.windows(2).all(|pair| pair[1] - pair[0] == 2),
            "{turns:?}"
        );
        assert_eq!(home(&reads(0), &sites(&[("east", &[0])])), None);
    }

    #[test]
    fn a_segment_goes_to_its_site_although_another_has_more_room() {
        let mut rounds = Rounds::new(sites(&[("east", &[4]), ("west", &[4])]));
        let (east, west) = (rounds.of("east")[0], rounds.of("west")[0]);
        let placed = rounds.at(Duration::ZERO, &[free(1, 1), free(2, 4)], &[east, west]);
        assert_eq!(placed, [(east, 1), (west, 2)]);
    }

    #[test]
    fn a_site_takes_what_is_anothers_when_it_has_waited_for_as_much_as_that_costs() {
        let mut rounds = Rounds::new(sites(&[("east", &[4]), ("west", &[4])]));
        let all = &rounds.of("east")[..4];
        let first = rounds.at(Duration::ZERO, &[free(1, 1), free(2, 2)], all);
        assert_eq!(first, [(all[0], 1)]);
        let nodes = [free(1, 0), free(2, 2)];
        let soon = rounds.at(SECOND / 4, &nodes, &all[1..]);
        assert_eq!(soon, [], "two slots for a quarter of a second");
        let then = rounds.at(SECOND / 2, &nodes, &all[1..]);
        assert_eq!(then, [(all[1], 2)], "and for another");
        let nodes = [free(1, 0), free(2, 1)];
        let at_once = rounds.at(SECOND / 2, &nodes, &all[2..]);
        assert_eq!(at_once, [], "that is spent");
        let later = rounds.at(SECOND * 3 / 2, &nodes, &all[2..]);
        assert_eq!(later, [(all[2], 2)]);
        // With work of its own all begins anew: nine tenths of what it takes are worth nothing then.
        let tenth = SECOND / 10;
        assert_eq!(rounds.at(tenth * 15, &nodes, &all[3..]), []);
        assert_eq!(rounds.at(tenth * 24, &nodes, &all[3..]), []);
        let west = rounds.of("west")[0];
        assert_eq!(rounds.at(tenth * 24, &nodes, &[west]), [(west, 2)]);
        assert_eq!(rounds.at(tenth * 25, &nodes, &all[3..]), []);
        assert_eq!(rounds.at(tenth * 27, &nodes, &all[3..]), []);
        assert_eq!(rounds.at(tenth * 35, &nodes, &all[3..]), [(all[3], 2)]);
    }

    #[test]
    fn a_dear_machine_waits_for_less_and_a_free_link_is_never_waited_for() {
        let mut two = sites(&[("east", &[4]), ("west", &[4])]);
        let west = |two: &mut Sites, worth| {
            let member = two
                .get_mut("west")
                .and_then(|west| west.get_mut(&NodeId(2)));
            member.unwrap().worth = Some(worth);
        };
        west(&mut two, 4.0 * IDLE_SLOT_SECOND);
        let mut rounds = Rounds::new(two.clone());
        let east = rounds.of("east")[0];
        let nodes = [free(1, 0), free(2, 1)];
        assert_eq!(rounds.at(Duration::ZERO, &nodes, &[east]), []);
        assert_eq!(rounds.at(SECOND / 8, &nodes, &[east]), []);
        assert_eq!(rounds.at(SECOND / 4, &nodes, &[east]), [(east, 2)]);
        west(&mut two, f64::INFINITY);
        let mut rounds = Rounds::new(two);
        assert_eq!(rounds.at(Duration::ZERO, &nodes, &[east]), [(east, 2)]);
    }

    #[test]
    fn nothing_is_earned_while_nothing_waits() {
        let mut rounds = Rounds::new(sites(&[("east", &[4]), ("west", &[4])]));
        let east = rounds.of("east")[0];
        let nodes = [free(1, 0), free(2, 1)];
        assert_eq!(rounds.at(Duration::ZERO, &nodes, &[east]), []);
        assert_eq!(rounds.at(SECOND / 2, &nodes, &[]), []);
        assert_eq!(rounds.at(SECOND * 60, &nodes, &[]), []);
        assert_eq!(rounds.at(SECOND * 60, &nodes, &[east]), []);
        assert_eq!(rounds.at(SECOND * 61, &nodes, &[east]), [(east, 2)]);
    }

    #[test]
    fn bytes_that_a_site_has_are_near_to_it_for_other_jobs_too() {
        let mut rounds = Rounds::new(sites(&[("east", &[4]), ("west", &[4])]));
        let east = rounds.of("east")[0];
        let nodes = [free(1, 0), free(2, 1)];
        assert_eq!(rounds.at(Duration::ZERO, &nodes, &[east]), []);
        assert_eq!(rounds.at(SECOND, &nodes, &[east]), [(east, 2)]);
        rounds.job = 2;
        assert_eq!(rounds.at(SECOND, &nodes, &[east]), [(east, 2)]);
        let home = rounds.at(SECOND, &[free(1, 1), free(2, 0)], &[east]);
        assert_eq!(home, [(east, 1)], "and to its home as before");
    }

    #[test]
    fn nothing_is_kept_for_a_site_that_refused_it_or_is_not_there() {
        let two = sites(&[("east", &[4]), ("west", &[4])]);
        let mut rounds = Rounds::new(two.clone());
        let east = rounds.of("east")[0];
        let placed = rounds.at(Duration::ZERO, &[free(2, 1)], &[east]);
        assert_eq!(placed, [(east, 2)]);
        let both = [free(1, 1), free(2, 1)];
        let mut refused = [ReadyTask {
            avoid: vec![NodeId(1)],
            ..task(1, east)
        }];
        let mut nearness = Nearness::default();
        let now = Instant::now();
        let some = |_| Some(reads(east));
        nearness.keep(&mut refused, &both, two.clone(), some, now);
        assert_eq!(refused[0].avoid, [NodeId(1)]);
        let mut on_disk = [task(1, east)];
        nearness.keep(&mut on_disk, &both, two, |_| None, now);
        assert_eq!(on_disk[0].avoid, []);
    }

    #[test]
    fn no_more_is_remembered_than_has_a_bound() {
        let mut nearness = Nearness::default();
        for segment in 0..=MOST_KNOWN as u32 {
            nearness.has(reads(segment).part, "east".to_owned());
            nearness.has(reads(segment).part, "west".to_owned());
        }
        assert_eq!(nearness.had.len(), MOST_KNOWN);
        assert!(!nearness.had.contains_key(&reads(0).part));
        assert_eq!(nearness.had[&reads(1).part].len(), 2);
    }
}
