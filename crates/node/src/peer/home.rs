//! Who fetches which part of a Source for its site: pure.
//!
//! A Source is cut into stripes, and every stripe has its home among the nodes of the site: the one with the highest weight, a
//! digest of Source, stripe and node (rendezvous hashing). All nodes find the same without a word, a node that leaves moves only
//! its own stripes, and one that is new takes its share of everybody's.

use recode_types::{Digest, SourceIdentity};
use std::ops::Range;

/// The length of a stripe, which is the most that one question is about.
pub const STRIPE_BYTES: u64 = 8 << 20;

/// A part of a Source within one stripe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which stripe.
    pub stripe: u64,
    /// The bytes.
    pub range: Range<u64>,
}

/// Cuts `range` where stripes end.
/// # Shape
/// In order, covering `range` exactly; none is empty.
pub fn pieces(range: Range<u64>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let stripe = at / STRIPE_BYTES;
        let end = ((stripe + 1) * STRIPE_BYTES).min(range.end);
        pieces.push(Piece {
            stripe,
            range: at..end,
        });
        at = end;
    }
    pieces
}

/// What tells Sources apart when homes are sought.
pub fn name(identity: &SourceIdentity) -> Digest {
    let SourceIdentity {
        url,
        size_bytes,
        version,
    } = identity;
    Digest::of(format!("{url}\n{size_bytes}\n{version}").as_bytes())
}

/// The nodes of a site, the home of a stripe first, then who stands in for it.
pub fn ranked<'a>(source: &Digest, stripe: u64, site: &'a [String]) -> Vec<&'a str> {
    let weight = |node: &str| {
        let mut text = Vec::with_capacity(40 + node.len());
        text.extend_from_slice(&source.0);
        text.extend_from_slice(&stripe.to_be_bytes());
        text.extend_from_slice(node.as_bytes());
        Digest::of(&text).0
    };
    let mut ranked: Vec<_> = site
        .iter()
        .map(|node| (weight(node), node.as_str()))
        .collect();
    ranked.sort_by(|a, b| b.cmp(a));
    ranked.into_iter().map(|(_, node)| node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Digest {
        name(&SourceIdentity {
            url: "s3://media/film.mov".into(),
            size_bytes: 1 << 31,
            version: "one".into(),
        })
    }

    fn site(nodes: u32) -> Vec<String> {
        (1..=nodes).map(|n| format!("10.0.0.{n}:7430")).collect()
    }

    #[test]
    fn pieces_end_where_stripes_do() {
        let at = |stripe, range| Piece { stripe, range };
        let s = STRIPE_BYTES;
        assert_eq!(pieces(5..5), []);
        assert_eq!(pieces(0..s), [at(0, 0..s)]);
        assert_eq!(
            pieces(s - 1..2 * s + 1),
            [at(0, s - 1..s), at(1, s..2 * s), at(2, 2 * s..2 * s + 1)]
        );
    }

    #[test]
    fn every_node_is_home_to_its_share() {
        let site = site(4);
        let mut shares = [0; 4];
        for stripe in 0..1000 {
            let home = ranked(&source(), stripe, &site)[0];
            shares[site.iter().position(|node| node == home).unwrap()] += 1;
        }
        assert!(
            shares.iter().all(|share| (190..310).contains(share)),
            "{shares:?}"
        );
    }

    #[test]
    fn a_node_that_leaves_moves_only_what_was_its_own_and_the_order_of_the_list_is_nothing() {
        let (four, mut three) = (site(4), site(4));
        let gone = three.remove(1);
        three.reverse();
        for stripe in 0..200 {
            let before = ranked(&source(), stripe, &four);
            let after = ranked(&source(), stripe, &three);
            let stayed: Vec<_> = before
                .iter()
                .filter(|node| **node != gone)
                .copied()
                .collect();
            assert_eq!(stayed, after);
        }
    }
}
