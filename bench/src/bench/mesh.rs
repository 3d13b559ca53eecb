//! `mesh`: how close a Job on unequal Nodes comes to what their speeds allow.
//!
//! `--simulate`: recode's own cut, scheduler and learning of speeds on make-believe Nodes with true speeds. What a frame really
//! costs differs from scene to scene (lognormal, deviation 0.3), and the scheduler knows only how many frames there are. The
//! bound is true work over the true speeds of all Nodes that are there, and nothing else. What is decoded only to reach a cut is
//! work too, as it is where processor seconds are counted, and has a figure of its own.

mod film;
mod world;

use super::unequal;
use crate::figure::Sheet;
use crate::seed::Seed;
use anyhow::Result;
use film::Keys;
use recode_core::plan::cut::{self, CutPolicy, Wish};
use recode_types::{Segment, SegmentLength};
use world::{Piece, TrueNode};

/// What is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Wanted {
    /// Make-believe nodes, with recode's own cut and scheduler
    #[arg(long, group = "what")]
    pub simulate: bool,
    /// Or real ones.
    #[command(flatten)]
    pub real: unequal::Asked,
    /// Films of each kind that are simulated, each with a seed of its own, from --seed on
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub films: u64,
    /// Simulate only cases whose name contains this
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
}

/// Frames a second of a Node that is called 1: about x265 at its usual preset on one core.
const USUAL: f64 = 8.0;
/// How far costs of scenes differ: deviation of their logarithm.
const SCATTER: f64 = 0.3;

/// Decoding a frame, in parts of encoding it.
const DECODE: f64 = 0.05;

/// A kind of mesh, how long its films are, and how they are asked to be cut.
struct Case {
    name: String,
    seconds: f64,
    length: SegmentLength,
    nodes: Vec<TrueNode>,
}

/// Measures what `--simulate` asks for.
/// # Errors
/// The cut fails.
pub fn run(wanted: &Wanted, sheet: &mut Sheet) -> Result<()> {
    for case in cases() {
        for keys in Keys::ALL {
            let name = format!("{}, {}", case.name, keys.name());
            if wanted
                .only
                .as_ref()
                .is_some_and(|only| !name.contains(only.as_str()))
            {
                continue;
            }
            let (mut ratios, mut done, mut to_cuts) = (Vec::new(), Vec::new(), Vec::new());
            for film in 0..wanted.films {
                let mut seed = Seed::new(wanted.real.seed + film);
                let (pieces, order) = job(case.seconds, case.length, keys, &mut seed);
                let ran = world::run(&case.nodes, &pieces, &order);
                ratios.push(ran.makespan / ran.bound);
                done.push(ran.done_ratio);
                let frames: f64 = pieces.iter().map(|p| p.truly).sum();
                let preroll: f64 = pieces.iter().map(|p| p.preroll).sum();
                to_cuts.push(preroll / frames);
            }
            sheet.add(
                &name,
                "makespan_ratio",
                "ratio",
                &ratios,
                "true work / sum of true speeds",
            );
            sheet.add(&name, "work_ratio", "ratio", &done, "true work");
            let against = "true work of the frames that are shown";
            sheet.add(&name, "preroll_work", "ratio", &to_cuts, against);
        }
    }
    Ok(())
}

/// The Segments of a film as recode cuts it, with what they truly cost, and the order of handing out.
fn job(seconds: f64, length: SegmentLength, keys: Keys, seed: &mut Seed) -> (Vec<Piece>, Vec<u32>) {
    let film = film::Film::new(seconds, keys, SCATTER, seed);
    let table = &film.table;
    // As of a request for x264 or x265: key frames at 250 frames at the latest.
    let wish = Wish {
        length,
        usual_gop_rows: Some(250),
        ..Wish::default()
    };
    let segments = cut::cut(table, 0..table.rows.len(), &wish, &CutPolicy::default());
    let piece = |segment: &Segment| Piece {
        frames: u64::from(segment.rows),
        truly: film.cost(segment.first_row, segment.rows),
        preroll: film.preroll(segment.first_row) as f64 * DECODE,
    };
    let order = cut::order(&segments, length);
    (segments.iter().map(piece).collect(), order)
}

fn cases() -> Vec<Case> {
    let of = |speeds: &[f64]| -> Vec<TrueNode> {
        speeds
            .iter()
            .map(|speed| TrueNode::of(speed * USUAL))
            .collect()
    };
    let case = |name: &str, minutes: f64, nodes: Vec<TrueNode>| Case {
        name: format!("{name}, {minutes} min"),
        seconds: minutes * 60.0,
        length: SegmentLength::Usual,
        nodes,
    };
    let mut cases = Vec::new();
    for minutes in [10.0, 40.0, 120.0] {
        cases.push(case("1:2:4", minutes, of(&[1.0, 2.0, 4.0])));
    }
    cases.push(case("1:10", 40.0, of(&[1.0, 10.0])));
    let mut late = of(&[1.0; 8]);
    for (at, node) in late.iter_mut().enumerate().skip(4) {
        node.from = 60.0 * at as f64;
    }
    cases.push(case("4 and 4 late", 40.0, late));
    let mut lost = of(&[1.0; 8]);
    for (at, node) in lost.iter_mut().enumerate().skip(6) {
        node.until = 120.0 * (at - 5) as f64;
    }
    cases.push(case("8, 2 lost", 40.0, lost));
    let mut slow = of(&[1.0; 8]);
    slow[3].speed = 0.1 * USUAL;
    cases.push(case("8, one at 10 %", 40.0, slow));
    for count in [1, 2, 4, 8, 16, 32, 64, 128, 256] {
        cases.push(case(
            &format!("{count} equal"),
            120.0,
            of(&vec![1.0; count]),
        ));
    }
    for count in [64, 128, 256] {
        let nodes = of(&vec![1.0; count]);
        cases.push(Case {
            name: format!("{count} equal, 120 min, spread"),
            length: SegmentLength::Spread,
            ..case("", 120.0, nodes)
        });
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_node_has_nothing_to_wait_for_and_does_all_the_work_once() {
        let usual = SegmentLength::Usual;
        let (pieces, order) = job(300.0, usual, Keys::TwoSeconds, &mut Seed::new(1));
        assert_eq!(pieces.len(), order.len());
        let ran = world::run(&[TrueNode::of(10.0)], &pieces, &order);
        let ratio = ran.makespan / ran.bound;
        assert!((1.0..1.001).contains(&ratio), "{ratio}");
        assert!((ran.done_ratio - 1.0).abs() < 1e-9);
        let seconds = ran.bound * 10.0 / film::FPS;
        assert!((200.0..450.0).contains(&seconds), "{seconds}");
    }

    #[test]
    fn what_is_decoded_to_reach_a_cut_is_work() {
        let piece = |preroll| Piece {
            frames: 100,
            truly: 100.0,
            preroll,
        };
        let ran = |preroll| world::run(&[TrueNode::of(10.0)], &[piece(preroll)], &[0]);
        let (plain, inside) = (ran(0.0), ran(5.0));
        assert!((inside.makespan - plain.makespan - 0.5).abs() < 1e-9);
        assert!((inside.bound - plain.bound - 0.5).abs() < 1e-9);
        assert!((inside.done_ratio - 1.0).abs() < 1e-9);
    }

    #[test]
    fn spread_segments_let_many_nodes_finish_together() {
        let ratio = |length| {
            let (pieces, order) = job(1200.0, length, Keys::TwoSeconds, &mut Seed::new(1));
            let ran = world::run(&vec![TrueNode::of(USUAL); 42], &pieces, &order);
            ran.makespan / ran.bound
        };
        let (usual, spread) = (ratio(SegmentLength::Usual), ratio(SegmentLength::Spread));
        assert!(spread < 1.08 && usual > spread + 0.1, "{usual} {spread}");
    }

    #[test]
    fn the_bound_counts_nodes_only_while_they_are_there() {
        let piece = Piece {
            frames: 100,
            truly: 100.0,
            preroll: 0.0,
        };
        let late = TrueNode {
            from: 5.0,
            ..TrueNode::of(10.0)
        };
        let lost = TrueNode {
            until: 2.0,
            ..TrueNode::of(10.0)
        };
        let ran = world::run(&[TrueNode::of(10.0), late], &[piece], &[0]);
        assert_eq!(ran.bound, 7.5);
        let ran = world::run(&[TrueNode::of(10.0), lost], &[piece], &[0]);
        assert_eq!(ran.bound, 8.0);
    }
}
