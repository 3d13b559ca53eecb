//! Where an Output is joined: where that costs least. Chunks that were made at the same site cost nothing to fetch, all others cross the
//! site's link; beyond that the cheaper machine is taken. A choice among those that have room now, so that no join waits for it.

use super::Registry;
use crate::State;
use crate::machine::{ReadyTask, Run};
use crate::schedule::FreeNode;
use recode_types::{NodeId, TaskKey};
use std::collections::BTreeMap;

/// What a gigabyte is taken to cost where nobody says: about what hyperscalers' lists say.
const EGRESS: f64 = 0.09;

/// Bytes that a join moves in a second, roughly: it says what the time of a machine adds.
const BYTES_PER_SECOND: f64 = 100e6;

/// Adds to [`ReadyTask::avoid`]. `remote`: reading a Chunk from the work store costs something.
pub fn keep(
    registry: &Registry,
    state: &State,
    tasks: &mut [ReadyTask],
    nodes: &[FreeNode],
    remote: bool,
) {
    let room: Vec<NodeId> = nodes
        .iter()
        .filter(|n| n.light > 0)
        .map(|n| n.node)
        .collect();
    for task in tasks {
        let TaskKey::Stitch { output } = task.id.key else {
            continue;
        };
        let Some(run) = state.jobs.get(&task.id.job).and_then(|job| job.run()) else {
            continue;
        };
        let may: Vec<NodeId> = room
            .iter()
            .filter(|n| !task.avoid.contains(n))
            .copied()
            .collect();
        if may.len() < 2 {
            continue;
        }
        let made = Made::of(run, output, registry);
        let cost = |node: &NodeId| made.cost(registry, *node, remote);
        let least = may.iter().map(cost).fold(f64::INFINITY, f64::min);
        let dearer = may.iter().filter(|node| cost(node) > least);
        task.avoid.extend(dearer);
    }
}

/// Where the Chunks of an Output were made.
struct Made<'a> {
    bytes: u64,
    by_site: BTreeMap<&'a str, u64>,
    by_node: BTreeMap<NodeId, u64>,
}

impl<'a> Made<'a> {
    fn of(run: &Run, output: u16, registry: &'a Registry) -> Self {
        let mut made = Self {
            bytes: 0,
            by_site: BTreeMap::new(),
            by_node: BTreeMap::new(),
        };
        let output = run.outputs.get(usize::from(output));
        for chunk in output.into_iter().flat_map(|o| &o.chunks).flatten() {
            let bytes = chunk.facts.payload_bytes;
            made.bytes += bytes;
            *made.by_node.entry(chunk.node).or_default() += bytes;
        }
        for (node, bytes) in &made.by_node {
            if let Some(site) = registry.site(*node) {
                *made.by_site.entry(site).or_default() += bytes;
            }
        }
        made
    }

    /// Money, in the currency of the labels.
    fn cost(&self, registry: &Registry, node: NodeId, remote: bool) -> f64 {
        let site = registry.site(node);
        let near = site.and_then(|site| self.by_site.get(site));
        let far = self.bytes - near.copied().unwrap_or(0);
        let (price, egress) = registry.prices(node);
        let fetched = far as f64 / 1e9 * egress.unwrap_or(EGRESS);
        let seconds = 1.0 + self.bytes as f64 / BYTES_PER_SECOND;
        let time = price.unwrap_or(0.0) / 3600.0 * seconds;
        if remote { fetched + time } else { time }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{self, Bench};
    use recode_types::{Codec, NodeHello, NodeReport};
    use std::time::Instant;

    /// All Chunks are there, made by Node 1; the join is ready.
    fn joinable() -> Bench {
        let rendition = fixture::rendition(Codec::H264);
        let request = fixture::request(vec![fixture::output("a.mp4", rendition)]);
        let mut bench = Bench::running(request);
        let is_stitch = |key: &TaskKey| matches!(key, TaskKey::Stitch { .. });
        while !bench.ready().first().is_none_or(is_stitch) {
            assert!(bench.step(&fixture::even_size));
        }
        bench
    }

    /// Where the join may go, of Nodes 1, 2 ... with these labels and a slot each.
    fn goes(labels: &[&str], remote: bool) -> Vec<u64> {
        let bench = joinable();
        let now = Instant::now();
        let mut registry = Registry::new(now);
        for (number, labels) in labels.iter().enumerate() {
            let labels = labels.split(' ').filter_map(|label| label.split_once('='));
            let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
            let hello = NodeHello {
                heavy_slots: 1,
                labels: labels.collect(),
                peer: "10.0.0.1:1".to_owned(),
                ..NodeHello::default()
            };
            let report = NodeReport {
                hello: Some(hello),
                free_light: 1,
                ..NodeReport::default()
            };
            registry.opened(NodeId(number as u64 + 1), 1, report, now);
        }
        let nodes = registry.free(now);
        let ready = bench.state.ready(bench.now_ms);
        let mut tasks: Vec<ReadyTask> = ready.collect();
        assert_eq!(tasks.len(), 1);
        keep(&registry, &bench.state, &mut tasks, &nodes, remote);
        let may = nodes.iter().filter(|n| !tasks[0].avoid.contains(&n.node));
        may.map(|n| n.node.0).collect()
    }

    #[test]
    fn an_output_is_joined_where_its_chunks_were_made() {
        let labels = ["site=east", "site=west", "site=east", "zone=east"];
        assert_eq!(goes(&labels, true), [1, 3]);
        assert_eq!(goes(&labels, false), [1, 2, 3, 4], "the disk is everywhere");
    }

    #[test]
    fn where_bytes_cost_nothing_the_cheapest_machine_joins() {
        let labels = ["site=east price=0.7", "site=west price=0.1 egress=0"];
        assert_eq!(goes(&labels, true), [2]);
        assert_eq!(goes(&["price=0.7", "price=0.1"], false), [2]);
        assert_eq!(
            goes(&["zone=a", "zone=b"], true),
            [1, 2],
            "nobody says anything"
        );
    }
}
