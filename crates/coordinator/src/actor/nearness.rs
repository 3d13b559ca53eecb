//! Which site is to have which Segment, so that its bytes come to one site only, whatever Jobs read them. Pure: time is an
//! argument, and [`super::dispatcher`] owns the one instance.
//!
//! Segments go to sites by runs, since neighbours share bytes; which site has which run follows from Source and sites alone, so
//! Jobs that are handed in on different days, or under different Leaders, agree. It is a wish: a site that has room and nothing
//! of its own to do takes what is there after a short while.

use super::registry::Sites;
use recode_core::machine::ReadyTask;
use recode_core::schedule::{FreeNode, Solution};
use recode_store::Location;
use recode_types::{Digest, NodeId, TaskId, TaskKey};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Segments in a row that are one site's.
const RUN: u32 = 8;

/// How long a site with room leaves alone what is another's.
const PATIENCE: Duration = Duration::from_secs(3);

/// The fractional part of the golden ratio: its multiples spread evenly, however many there are.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// See the module.
#[derive(Debug, Default)]
pub struct Nearness {
    /// Sites that had room and nothing of their own, since when.
    idle: BTreeMap<String, Instant>,
    /// Tasks that were kept for a site in the round under way.
    kept: BTreeMap<TaskId, String>,
}

/// The Segment that a Task reads, where it reads one.
fn segment(key: TaskKey) -> Option<u32> {
    match key {
        TaskKey::Encode { segment, .. } | TaskKey::Trial { segment, .. } => Some(segment),
        _ => None,
    }
}

/// Whether reading it from another site costs anything: a shared disk is everywhere.
fn is_remote(source: &str) -> bool {
    let location = Location::parse(source);
    matches!(location, Ok(Location::S3 { .. } | Location::Http(_)))
}

/// The site of a Segment, by the slots that sites have. `None`: no site has any.
fn home<'a>(source: &str, segment: u32, sites: &'a Sites) -> Option<&'a str> {
    let slots = |site: &str| {
        sites[site]
            .values()
            .map(|m| u64::from(m.slots))
            .sum::<u64>()
    };
    let total: u64 = sites.keys().map(|site| slots(site)).sum();
    let digest = Digest::of(source.as_bytes()).0;
    let start = u64::from_be_bytes(digest[..8].try_into().expect("eight bytes"));
    let run = u64::from(segment / RUN);
    let at = start.wrapping_add(run.wrapping_mul(GOLDEN));
    let mut at = ((u128::from(at) * u128::from(total)) >> 64) as u64;
    for site in sites.keys() {
        match at.checked_sub(slots(site)) {
            Some(beyond) => at = beyond,
            None => return Some(site),
        }
    }
    None
}

impl Nearness {
    /// Keeps Tasks for the sites of their Segments: the Nodes of other sites are to avoid them. `sources`: the Source of each
    /// Task's Job.
    pub fn keep<'a>(
        &mut self,
        tasks: &mut [ReadyTask],
        nodes: &[FreeNode],
        mut sites: Sites,
        source: impl Fn(TaskId) -> Option<&'a str>,
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
        let patient = |site: &str| {
            let since = self.idle.get(site);
            since.is_none_or(|since| now.saturating_duration_since(*since) < PATIENCE)
        };
        for task in tasks.iter_mut().filter(|task| task.heavy) {
            let Some(segment) = segment(task.id.key) else {
                continue;
            };
            let Some(source) = source(task.id).filter(|source| is_remote(source)) else {
                continue;
            };
            let Some(home) = home(source, segment, &sites) else {
                continue;
            };
            // Nobody there can do it.
            if sites[home].keys().all(|node| task.avoid.contains(node)) {
                continue;
            }
            self.kept.insert(task.id, home.to_owned());
            for (site, members) in &sites {
                if site != home && patient(site) {
                    task.avoid.extend(members.keys());
                }
            }
        }
    }

    /// Sees from what was placed which sites have room and nothing of their own.
    pub fn placed(&mut self, solution: &Solution, nodes: &[FreeNode], sites: &Sites, now: Instant) {
        let kept_waits = solution
            .unplaced
            .iter()
            .any(|(task, _)| self.kept.contains_key(task));
        for (site, members) in sites {
            let has = |node: NodeId| members.contains_key(&node);
            let placed = solution.placed.iter().filter(|one| has(one.node));
            let own = placed
                .clone()
                .any(|one| self.kept.get(&one.task).is_some_and(|home| home == site));
            let heavy = placed.filter(|one| segment(one.task.key).is_some()).count();
            let free: u32 = nodes.iter().filter(|n| has(n.node)).map(|n| n.heavy).sum();
            let has_room = free as usize > heavy;
            if own || has_room && !kept_waits {
                self.idle.remove(site);
            } else if has_room {
                self.idle.entry(site.clone()).or_insert(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::registry::Member;
    use super::*;
    use recode_core::schedule::{Class, Problem, assign};
    use recode_types::JobId;

    const FILM: &str = "s3://media/film.mov";

    fn sites(slots: &[(&str, &[u32])]) -> Sites {
        let mut number = 0;
        let mut sites = Sites::new();
        for (site, nodes) in slots {
            let members = nodes.iter().map(|slots| {
                number += 1;
                let address = format!("10.0.0.{number}:1");
                let slots = *slots;
                (NodeId(number), Member { address, slots })
            });
            sites.insert((*site).to_owned(), members.collect());
        }
        sites
    }

    fn task(segment: u32) -> ReadyTask {
        let key = TaskKey::Encode { group: 0, segment };
        ReadyTask {
            id: TaskId { job: JobId(1), key },
            attempt: 1,
            heavy: true,
            cost: 1,
            class: Class::default(),
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
        }
    }

    /// Which Segments were placed on which Node.
    fn round(
        nearness: &mut Nearness,
        sites: &Sites,
        nodes: &[FreeNode],
        segments: &[u32],
        now: Instant,
    ) -> Vec<(u32, u64)> {
        let mut tasks: Vec<_> = segments.iter().map(|s| task(*s)).collect();
        nearness.keep(&mut tasks, nodes, sites.clone(), |_| Some(FILM), now);
        let nodes = nodes.to_vec();
        let problem = Problem {
            nodes,
            tasks,
            plenty: true,
        };
        let solution = assign(&problem);
        nearness.placed(&solution, &problem.nodes, sites, now);
        let placed = solution.placed.iter();
        placed
            .map(|one| (segment(one.task.key).unwrap(), one.node.0))
            .collect()
    }

    /// The first Segment of a run of this site.
    fn run_of(site: &str, sites: &Sites) -> u32 {
        let mut runs = (0..1000).step_by(RUN as usize);
        runs.find(|s| home(FILM, *s, sites) == Some(site)).unwrap()
    }

    #[test]
    fn runs_go_to_sites_by_their_slots_and_the_same_ones_always() {
        let unequal = sites(&[("east", &[1, 2]), ("west", &[4, 5])]);
        let homes: Vec<_> = (0..960).map(|s| home(FILM, s, &unequal).unwrap()).collect();
        let east = homes.iter().filter(|site| **site == "east").count();
        assert!(
            (220..=260).contains(&east),
            "{east} of 960 for 3 of 12 slots"
        );
        assert!(
            homes
                .chunks(8)
                .all(|run| run.iter().all(|site| *site == run[0]))
        );
        assert_eq!(home(FILM, 0, &sites(&[("east", &[0])])), None);
    }

    #[test]
    fn a_segment_goes_to_its_site_although_another_has_more_room() {
        let two = sites(&[("east", &[4]), ("west", &[4])]);
        let now = Instant::now();
        let (east, west) = (run_of("east", &two), run_of("west", &two));
        let nodes = [free(1, 1), free(2, 4)];
        let placed = round(&mut Nearness::default(), &two, &nodes, &[east, west], now);
        assert_eq!(placed, [(east, 1), (west, 2)]);
    }

    #[test]
    fn a_site_with_nothing_of_its_own_takes_what_is_there_after_a_while_and_goes_on_with_it() {
        let two = sites(&[("east", &[4]), ("west", &[4])]);
        let now = Instant::now();
        let east = run_of("east", &two);
        let mut nearness = Nearness::default();
        let all = [east, east + 1, east + 2];
        let nodes = [free(1, 1), free(2, 1)];
        assert_eq!(round(&mut nearness, &two, &nodes, &all, now), [(east, 1)]);
        let soon = now + PATIENCE / 2;
        let nodes = [free(1, 0), free(2, 1)];
        assert_eq!(round(&mut nearness, &two, &nodes, &all[1..], soon), []);
        let later = now + PATIENCE;
        let placed = round(&mut nearness, &two, &nodes, &all[1..], later);
        assert_eq!(placed, [(east + 1, 2)]);
        let placed = round(&mut nearness, &two, &nodes, &all[2..], later);
        assert_eq!(placed, [(east + 2, 2)], "it has waited once");
        // With work of its own it is patient again.
        let west = run_of("west", &two);
        let placed = round(&mut nearness, &two, &nodes, &[west], later);
        assert_eq!(placed, [(west, 2)]);
        assert_eq!(round(&mut nearness, &two, &nodes, &all[2..], later), []);
    }

    #[test]
    fn nothing_is_kept_for_a_site_that_refused_it_or_is_not_there() {
        let two = sites(&[("east", &[4]), ("west", &[4])]);
        let now = Instant::now();
        let east = run_of("east", &two);
        let west_alone = [free(2, 1)];
        let placed = round(&mut Nearness::default(), &two, &west_alone, &[east], now);
        assert_eq!(placed, [(east, 2)]);
        let both = [free(1, 1), free(2, 1)];
        let mut refused = [ReadyTask {
            avoid: vec![NodeId(1)],
            ..task(east)
        }];
        let mut nearness = Nearness::default();
        nearness.keep(&mut refused, &both, two.clone(), |_| Some(FILM), now);
        assert_eq!(refused[0].avoid, [NodeId(1)]);
        let mut on_disk = [task(east)];
        nearness.keep(&mut on_disk, &both, two, |_| Some("file:///film.mov"), now);
        assert_eq!(on_disk[0].avoid, []);
    }
}
