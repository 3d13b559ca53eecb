//! Which parts an Attempt goes on from. Pure.

use super::part::Evidence;
use recode_types::Digest;

/// A part, as far as the choice looks at it.
#[derive(Clone, Debug)]
pub(super) struct Offered {
    pub evidence: Evidence,
    /// Digest of its parameter sets.
    pub params: Digest,
}

/// What an Attempt is to make.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// Content address of the Chunk.
    pub address: Digest,
    /// The FFmpeg it works with.
    pub build: Digest,
    /// Rows of the Chunk.
    pub rows: u32,
    /// Digest of the parameter sets that Chunks of the Rendition must have, where that is known.
    pub params: Option<Digest>,
}

impl Asked {
    /// Whether a part belongs to the Chunk. The last row is never part of one: there is always a rest to encode.
    fn takes(&self, part: &Offered) -> bool {
        let evidence = &part.evidence;
        evidence.address == self.address
            && evidence.build == self.build
            && evidence.rows > 0
            && evidence.end() < self.rows
            && self.params.is_none_or(|params| params == part.params)
    }
}

/// Whether `two` goes on where `one` ends, and both saw the same frames there.
fn follows(one: &Offered, two: &Offered) -> bool {
    let before = two.evidence.before;
    two.evidence.first_row == one.evidence.end()
        && two.params == one.params
        && two.evidence.first == one.evidence.after
        && before.is_none_or(|before| before == one.evidence.last)
}

/// Indexes of the parts that together hold the most rows from the first on, none missing. Several Attempts may have made parts
/// of the same rows; which of equal ones are taken follows from their order.
pub(super) fn longest(offered: &[Offered], asked: Asked) -> Vec<usize> {
    let mut by_row: Vec<usize> = (0..offered.len())
        .filter(|i| asked.takes(&offered[*i]))
        .collect();
    by_row.sort_by_key(|i| offered[*i].evidence.first_row);
    // Last rows first, so that the best continuation of each is known.
    let mut best: Vec<(usize, u32, Option<usize>)> = Vec::new();
    for &i in by_row.iter().rev() {
        let part = &offered[i];
        let next = (0..best.len())
            .filter(|at| follows(part, &offered[best[*at].0]))
            .max_by_key(|at| best[*at].1);
        let reach = next.map_or(part.evidence.end(), |at| best[at].1);
        best.push((i, reach, next));
    }
    let first = (0..best.len())
        .filter(|at| offered[best[*at].0].evidence.first_row == 0)
        .max_by_key(|at| best[*at].1);
    let mut run = Vec::new();
    let mut at = first;
    while let Some(this) = at {
        run.push(best[this].0);
        at = best[this].2;
    }
    run
}

/// The last row that parts of all Renditions end before, given where those of each end; 0: there is none.
pub(super) fn common(ends: &[Vec<u32>]) -> u32 {
    let Some((first, others)) = ends.split_first() else {
        return 0;
    };
    let everywhere = |end: &&u32| others.iter().all(|other| other.contains(end));
    first.iter().filter(everywhere).max().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::super::frames::Matched;
    use super::*;

    const ADDRESS: Digest = Digest([1; 32]);
    const BUILD: Digest = Digest([2; 32]);
    const ASKED: Asked = Asked {
        address: ADDRESS,
        build: BUILD,
        rows: 100,
        params: None,
    };

    /// Of a decode whose frames have the number of their row as signature.
    fn part(first_row: u32, rows: u32) -> Offered {
        let end = first_row + rows;
        let matched = Matched {
            before: first_row.checked_sub(1),
            first: first_row,
            last: end - 1,
            after: Some(end),
            unsteady: false,
        };
        Offered {
            evidence: Evidence::of((ADDRESS, BUILD), first_row..end, &matched).unwrap(),
            params: Digest([3; 32]),
        }
    }

    fn but(mut part: Offered, change: impl FnOnce(&mut Offered)) -> Offered {
        change(&mut part);
        part
    }

    #[test]
    fn the_run_from_the_first_row_on_is_taken_and_ends_at_the_first_gap() {
        let all = [part(72, 20), part(24, 24), part(0, 24), part(50, 22)];
        assert_eq!(longest(&all, ASKED), [2, 1]);
        assert_eq!(longest(&all[..2], ASKED), [0; 0]);
        assert_eq!(longest(&[], ASKED), [0; 0]);
    }

    #[test]
    fn of_several_attempts_parts_those_that_reach_farthest_are_taken() {
        // The longer first part leads nowhere.
        let all = [part(0, 48), part(0, 24), part(24, 12), part(36, 60)];
        assert_eq!(longest(&all, ASKED), [1, 2, 3]);
        let all = [part(0, 24), part(0, 60), part(24, 24)];
        assert_eq!(longest(&all, ASKED), [1]);
    }

    #[test]
    fn a_part_of_something_else_is_ignored_with_all_that_follows() {
        let check = |change: fn(&mut Offered)| {
            let all = [part(0, 24), but(part(24, 24), change), part(48, 24)];
            assert_eq!(longest(&all, ASKED), [0]);
        };
        check(|part| part.evidence.address = BUILD);
        check(|part| part.evidence.build = ADDRESS);
        check(|part| part.params = ADDRESS);
        // Not the frame that the one before saw there, and the other way round.
        check(|part| part.evidence.first = 7);
        check(|part| part.evidence.before = Some(7));
        check(|part| part.evidence.rows = 0);
        check(|part| part.evidence.rows = u32::MAX);
        let saw_another = but(part(24, 24), |part| part.evidence.after = 7);
        assert_eq!(
            longest(&[part(0, 24), saw_another, part(48, 24)], ASKED),
            [0, 1]
        );
        let all = [part(0, 24), part(24, 24)];
        let other = Asked {
            params: Some(ADDRESS),
            ..ASKED
        };
        assert_eq!(longest(&all, other), [0; 0]);
    }

    #[test]
    fn the_last_row_is_always_encoded() {
        assert_eq!(longest(&[part(0, 99)], ASKED), [0]);
        assert_eq!(longest(&[part(0, 100)], ASKED), [0; 0]);
    }

    #[test]
    fn all_renditions_go_on_from_the_same_row_or_none_does() {
        let ends = |all: &[&[u32]]| -> Vec<Vec<u32>> { all.iter().map(|e| e.to_vec()).collect() };
        assert_eq!(common(&ends(&[&[24, 48, 72]])), 72);
        assert_eq!(common(&ends(&[&[24, 48, 72], &[30, 48]])), 48);
        assert_eq!(common(&ends(&[&[24, 48], &[30, 60]])), 0);
        assert_eq!(common(&ends(&[&[24, 48], &[]])), 0);
        assert_eq!(common(&[]), 0);
    }
}
